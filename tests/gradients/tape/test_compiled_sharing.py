"""Products that threads share have the same bits whichever thread computes, and never hang."""

from __future__ import annotations

import os
import re
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
from random_programs import eager
from test_compiled_programs import KNOWN, check, steps_of

from gradlab import Tape, affinity, blas, network
from gradlab.gradients.tape.comparing import agree
from gradlab.gradients.tape.compiled import chunks, is_missing, loops, products, sharing
from gradlab.gradients.tape.compiled.plan import FusedLoop

pytestmark = pytest.mark.skipif(is_missing(), reason="llvmlite is not installed")

RNG = np.random.default_rng(0)
PARAMS = network.init([30, 21, 3], 0)
X, LABELS = RNG.random((67, 30)), RNG.integers(0, 3, 67)


def share_small_steps(set_attribute: Any) -> None:
    """Have four threads share small steps as well, also on fewer processors."""
    set_attribute(chunks, "MIN_SHARED_WORK", 1000)
    for module in (products, loops):
        set_attribute(module, "MIN_STEP_WORK", 100)
    set_attribute(products, "MIN_CHUNK_ROWS", 6)
    set_attribute(blas, "in_use", lambda: 4)
    set_attribute(affinity, "elsewhere", lambda: None)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share small steps, too, among four threads."""
    share_small_steps(monkeypatch.setattr)


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


def several(params: Any, x: Any) -> Any:
    """Reductions along each axis, calls of NumPy's loops, a long vector that fills no strips."""
    h = np.tanh(x @ params["W"] + params["b"])
    shares = np.exp(h) / np.sum(np.exp(h), axis=1, keepdims=True)
    columns = np.sum(h * h, axis=0) + np.max(h, axis=0)
    v = params["v"]
    long = np.sum(v / (1 + v * v)) + np.sum(np.log(1 + v * v)) ** 2 + np.max(v)
    return np.sum(columns**2) - np.sum(np.log(shares) ** 2) + long


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fused_loops_are_shared(shared: None, dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"W": RNG.normal(size=(30, 21)), "b": np.zeros(21), "v": RNG.normal(size=10_007)}
    params = {name: leaf.astype(dtype) for name, leaf in given.items()}
    x = X.astype(dtype)
    f = Tape(compile=True, verify=None).value_and_grad(several)
    for _ in range(3):
        f(params, x)
    found = [bits(f(params, x)) for _ in range(30)]
    module = f._latest.native.module
    fused = sum(isinstance(step, FusedLoop) for step in module.steps)
    assert module.source.count("call void @share") >= fused / 2
    assert re.search(r"%b\d+_at = mul i64 %chunk", module.source)  # each chunk has its own rows
    monkeypatch.setattr(blas, "in_use", lambda: 1)
    value, grads = f(params, x)
    assert found == [bits((value, grads))] * 30
    wanted, expected = eager(several, (params, x))
    assert agree(value, list(grads.values()), wanted, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_programs_are_shared(shared: None, seed: int, monkeypatch: Any) -> None:
    monkeypatch.setattr(chunks, "MIN_SHARED_WORK", 0)
    assert check(steps_of(KNOWN, seed, 14), (np.float32, np.float64)[seed % 2], seed)


def test_a_thread_that_helps_runs_on_another_processor(shared: None, monkeypatch: Any) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(affinity, "elsewhere", lambda: frozenset({0}))
    monkeypatch.setattr(affinity, "keep_on", lambda *given: asked.append(given))
    helpers = sharing._Helpers()
    monkeypatch.setattr(sharing, "_HELPERS", helpers)
    f = gradient()
    for _ in range(3):
        f(PARAMS, X, LABELS)
    assert len(helpers._threads) == 1  # as many as there are other processors
    assert asked == [([helpers._threads[0].native_id], {0})]


def test_no_thread_helps_on_a_single_processor(shared: None, monkeypatch: Any) -> None:
    monkeypatch.setattr(affinity, "elsewhere", frozenset)
    monkeypatch.setattr(sharing._HELPERS, "ask", None)
    gradient()(PARAMS, X, LABELS)


def test_a_small_program_is_not_shared() -> None:
    assert not gradient()._latest.native.module.is_shared


def test_a_thread_that_helps_computes_chunks(shared: None, monkeypatch: Any) -> None:
    """The caller waits for the thread, because it is in the middle of a chunk."""
    f = gradient()
    machine = f._latest.native.build()
    arrays = (*PARAMS.values(), X, LABELS, *map(np.zeros_like, PARAMS.values()))
    machine(arrays)
    asked: list[Any] = []
    monkeypatch.setattr(sharing._HELPERS, "ask", lambda *given: asked.append(given))
    value = machine(arrays)
    ((count, help, _),) = asked
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
        from gradlab.gradients.tape.compiled import sharing
        tests.share_small_steps(setattr)
        f = tests.gradient()
        wanted = tests.bits(f(tests.PARAMS, tests.X, tests.LABELS))
        assert len(sharing._HELPERS._threads) == 3
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        else:
            assert len(sharing._HELPERS._threads) == 0
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
