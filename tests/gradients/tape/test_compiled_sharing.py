"""Products that threads share: the same bits, whoever computes, and no call that hangs."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import PATIENCE, wait_until

from gradlab import Tape, blas, network
from gradlab.gradients.tape.compiled import is_missing, products, sharing

pytestmark = pytest.mark.skipif(is_missing(), reason="llvmlite is not installed")

RNG = np.random.default_rng(0)
PARAMS = network.init([30, 21, 3], 0)
X, LABELS = RNG.random((67, 30)), RNG.integers(0, 3, 67)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small products are shared as well, by four threads."""
    monkeypatch.setattr(products, "SHARED", 1000)
    monkeypatch.setattr(blas, "in_use", lambda: 4)


def bits(answer: Any) -> Any:
    return answer[0], [leaf.tobytes() for leaf in answer[1].values()]


def gradient() -> Any:
    f = Tape(compile=True, verify=None).value_and_grad(network.loss)
    for _ in range(3):
        f(PARAMS, X, LABELS)
    assert "\ncompiled: " in f.explain()
    return f


def test_the_bits_do_not_depend_on_the_threads(shared: None, monkeypatch: Any) -> None:
    f = gradient()
    assert f._latest.native.module.is_shared
    helped = {str(bits(f(PARAMS, X, LABELS))) for _ in range(50)}
    monkeypatch.setattr(blas, "in_use", lambda: 1)
    alone = bits(f(PARAMS, X, LABELS))
    assert helped == {str(alone)}
    monkeypatch.setattr(products, "SHARED", 10**9)
    assert bits(gradient()(PARAMS, X, LABELS)) == alone


def test_a_small_program_is_not_shared() -> None:
    assert not gradient()._latest.native.module.is_shared


def test_a_thread_that_helps_computes_chunks(shared: None, monkeypatch: Any) -> None:
    """The caller has to wait for it, as it is in the middle of a chunk."""
    f = gradient()
    machine = f._latest.native.build()
    arrays = (*PARAMS.values(), X, LABELS, *map(np.zeros_like, PARAMS.values()))
    machine(arrays)
    asked: list[Any] = []
    monkeypatch.setattr(sharing._HELPERS, "ask", lambda count, help: asked.append((count, help)))
    value = machine(arrays)
    ((count, help),) = asked
    assert count == 3
    job = machine._held[0]
    help()  # the call is over: it returns at once
    machine._open[0] = 1
    thread = threading.Thread(target=help)
    thread.start()
    assert thread.is_alive()  # it waits for chunks
    assert machine(arrays) == value
    wait_until(lambda: not thread.is_alive())  # the end of the call closed the flag
    assert job is machine._held[0]


def test_many_calls_at_once(shared: None) -> None:
    f = gradient()
    points = [{name: (1 + k / 8) * leaf for name, leaf in PARAMS.items()} for k in range(6)]
    wanted = [bits(f(point, X, LABELS)) for point in points]

    def work(position: int) -> bool:
        found = (bits(f(points[position], X, LABELS)) for _ in range(30))
        return all(one == wanted[position] for one in found)

    with ThreadPoolExecutor(6) as executor:
        assert all(executor.map(work, range(6)))


@pytest.mark.slow
def test_a_forked_process_has_threads_of_its_own() -> None:
    program = """
        import os, test_compiled_sharing as tests
        from gradlab import blas
        from gradlab.gradients.tape.compiled import products, sharing
        products.SHARED, blas.in_use = 1000, lambda: 4
        f = tests.gradient()
        wanted = tests.bits(f(tests.PARAMS, tests.X, tests.LABELS))
        assert sharing._HELPERS._count == 3
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        else:
            assert sharing._HELPERS._count == 0
            for _ in range(20):
                assert tests.bits(f(tests.PARAMS, tests.X, tests.LABELS)) == wanted
            os._exit(0)
    """
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        timeout=PATIENCE,
        check=True,
    )
