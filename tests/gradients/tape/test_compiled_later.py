"""Machine code that is compiled in the background and takes over at a fixed replay."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from counting import calls_of
from processes import PATIENCE, wait_until

import gradlab
from gradlab import Tape, network
from gradlab.errors import OptionError
from gradlab.gradients.protocol import repeatable
from gradlab.gradients.tape import later
from gradlab.gradients.tape.compiled import is_missing

SWITCH = 12
PARAMS = network.init([20, 9, 3], 0)
X, LABELS = np.random.default_rng(0).random((5, 20)), np.array([0, 2, 1, 1, 0])

needs_llvmlite = pytest.mark.skipif(is_missing(), reason="llvmlite is not installed")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling pays after few replays."""
    monkeypatch.setattr(later, "replays_until_it_pays", lambda program: SWITCH)


class Gate(threading.Event):
    """The compiler continues when this is set."""

    begun = 0
    """The number of calls."""


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    real, event = later.compile_native, Gate()

    def waiting(program: Any) -> Any:
        event.begun += 1
        assert event.wait(PATIENCE)
        return real(program)

    monkeypatch.setattr(later, "compile_native", waiting)
    yield event
    event.set()


def point(call: int) -> Any:
    return {name: (1 + call / 64) * leaf for name, leaf in PARAMS.items()}, X, LABELS


def bits(answer: tuple[float, Any]) -> Any:
    return answer[0], [leaf.tobytes() for leaf in answer[1].values()]


def answers(tape: Tape, count: int) -> list[Any]:
    f = tape.value_and_grad(network.loss)
    return [bits(f(*point(call))) for call in range(count)]


@cache
def wanted() -> list[Any]:
    """Return the bits of NumPy's replays up to the switch, and of machine code after it.

    The first call records; `SWITCH` replays follow.
    """
    count = 2 * SWITCH
    by_numpy, native = (answers(Tape(compile=choice), count) for choice in (False, True))
    assert all(a != b for a, b in zip(by_numpy, native, strict=True))
    return by_numpy[: SWITCH + 1] + native[SWITCH + 1 :]


def test_compile_takes_auto() -> None:
    with pytest.raises(OptionError, match="compile='always': choose True, False, or auto"):
        Tape(compile="always")  # type: ignore[arg-type]
    assert Tape().compile is False


@needs_llvmlite
def test_machine_code_is_used_from_a_fixed_replay_on(soon: None) -> None:
    """This holds if the thread ends earlier, and in a second run, which finds the code on disk."""
    for _ in range(2):
        assert answers(Tape(compile="auto"), 2 * SWITCH) == wanted()
    f = Tape(compile="auto").value_and_grad(network.loss)
    found = [bits(f(*point(call))) for call in range(SWITCH - 2)]
    wait_until(lambda: f._latest.later._outcome is not None)
    assert found + [bits(f(*point(call))) for call in range(SWITCH - 2, 2 * SWITCH)] == wanted()


@needs_llvmlite
def test_the_first_call_of_machine_code_waits_for_the_thread(soon: None, gate: Gate) -> None:
    f = Tape(compile="auto").value_and_grad(network.loss)
    found = [bits(f(*point(call))) for call in range(SWITCH + 1)]  # none of these waits
    with ThreadPoolExecutor(1) as executor:
        waiting = executor.submit(lambda: bits(f(*point(SWITCH + 1))))
        with pytest.raises(TimeoutError):
            waiting.result(timeout=0.1)
        gate.set()
        found.append(waiting.result())
    found += [bits(f(*point(call))) for call in range(SWITCH + 2, 2 * SWITCH)]
    assert found == wanted()
    assert gate.begun == 1


@needs_llvmlite
def test_one_thread_compiles(gate: Gate) -> None:
    f = Tape().value_and_grad(network.loss)
    f(*point(0))
    compiling = later.BackgroundCompilation(f.program)
    with ThreadPoolExecutor(8) as executor:
        for _ in executor.map(lambda _: compiling.start(), range(50)):
            pass
        waiting = [executor.submit(compiling.outcome) for _ in range(8)]
        gate.set()
        assert len({id(future.result()) for future in waiting}) == 1
    assert gate.begun == 1


@needs_llvmlite
def test_explain_states_the_progress(soon: None, gate: Gate) -> None:
    f = Tape(compile="auto").value_and_grad(network.loss)
    for _ in range(SWITCH // 2 + 1):
        f(*point(0))
    assert f"\nnot compiled yet: NumPy replays the first {SWITCH} calls, of which 6" in f.explain()
    f(*point(0))
    assert f"\nbeing compiled: NumPy replays the first {SWITCH} calls, of which 7" in f.explain()
    gate.set()
    for _ in range(SWITCH):
        f(*point(0))
    assert "\ncompiled: 4 products" in f.explain()
    assert "yet" not in f.explain()


@needs_llvmlite
def test_the_first_answers_of_machine_code_are_compared(soon: None) -> None:
    """The comparison is at the first call that machine code answers, not one left to NumPy."""

    def loss(w: Any, x: Any) -> Any:
        return (anp.tanh(w) * x).sum()

    f = Tape(compile="auto", verify=None).value_and_grad(loss)
    w, x = np.arange(1.0, 4.0), np.array([0.5, 2.0, 1.0])
    strided = np.repeat(x, 2)[::2]  # other memory, the same data
    compared = []
    for call in range(2 * SWITCH):
        with calls_of(loss) as calls:
            f(w, strided if SWITCH < call < SWITCH + 4 else x)
        compared += [call] * bool(calls)
    assert compared == [0, 1, SWITCH + 4]


@needs_llvmlite
def test_wrong_machine_code_is_detected(soon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Afterwards, NumPy replays the program exactly."""
    real = later.compile_native
    other = Tape().value_and_grad(lambda params, x, labels: 2 * network.loss(params, x, labels))
    other(*point(0))
    monkeypatch.setattr(later, "compile_native", lambda program: real(other.program))
    found = answers(Tape(compile="auto"), 2 * SWITCH)
    assert found[: SWITCH + 1] == wanted()[: SWITCH + 1]
    assert found[SWITCH + 1 :] == answers(Tape(exact=True), 2 * SWITCH)[SWITCH + 1 :]


def test_without_llvmlite_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch, soon: None) -> None:
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    f = Tape(compile="auto").value_and_grad(network.loss)
    f(*point(0))
    assert "\nnot compiled: llvmlite is not installed" in f.explain()
    found = [bits(f(*point(call))) for call in range(2 * SWITCH)]
    assert found == answers(Tape(), 2 * SWITCH)


@needs_llvmlite
def test_an_unsupported_program_is_explained(soon: None) -> None:
    f = Tape(compile="auto").value_and_grad(lambda w: anp.linalg.det(w))
    for _ in range(SWITCH + 2):
        assert f(np.eye(2))[0] == 1
    assert "\nnot compiled: det" in f.explain()


@needs_llvmlite
def test_without_threads_the_first_call_of_machine_code_compiles(
    soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert answers(Tape(compile="auto"), 2 * SWITCH) == wanted()


@needs_llvmlite
def test_threads_that_share_a_function_get_right_bits(soon: None) -> None:
    """Each answer is a replay of NumPy's or of machine code; one thread compiles."""
    before = threading.active_count()
    f = Tape(compile="auto", verify=None).value_and_grad(network.loss)
    allowed = [bits(Tape(compile=c).value_and_grad(network.loss)(*point(0))) for c in (False, True)]

    def work(_: int) -> list[Any]:
        return [bits(f(*point(0))) for _ in range(3 * SWITCH)]

    with ThreadPoolExecutor(8) as executor:
        found = [*executor.map(work, range(8))]
    assert all(answer in allowed for each in found for answer in each)
    assert bits(f(*point(0))) == allowed[1]
    wait_until(lambda: threading.active_count() == before)


@needs_llvmlite
def test_each_recording_has_its_own_count(soon: None) -> None:
    f = Tape(compile="auto").value_and_grad(lambda w: (w**2 + w).sum())
    for size in (3, 4):
        for call in range(SWITCH + 2):
            assert "\ncompiled" not in f.explain() if call else True
            f(np.ones(size))
        assert "\ncompiled: " in f.explain()


@needs_llvmlite
def test_the_same_seed_trains_to_the_same_bits(soon: None) -> None:
    """`fit` with a checkpoint uses a form of the tape that never changes its rounding."""
    results = [
        gradlab.fit(network.loss, PARAMS, (X, LABELS), epochs=8, batch_size=2, backend=backend)
        for backend in (Tape(compile="auto"), Tape(compile="auto"), Tape())
    ]
    first, second, by_numpy = (
        [leaf.tobytes() for leaf in result.params.values()] for result in results
    )
    assert first == second != by_numpy
    assert repeatable(Tape(compile="auto")) == Tape(compile="auto", exact=True)
    f = Tape(compile="auto", exact=True).value_and_grad(network.loss)
    found = [bits(f(*point(call))) for call in range(2 * SWITCH)]
    assert found == answers(Tape(exact=True), 2 * SWITCH)
    assert "\nnot compiled: the program is replayed exactly" in f.explain()


@pytest.mark.parametrize(("batch", "low", "high"), [(1, 5000, 6000), (100, 2500, 4000)])
def test_the_number_of_replays_before_machine_code(batch: int, low: int, high: int) -> None:
    """Measured values are about 6,000 for one sample, 3,700 for 100, and 500 for 1,000."""
    params = network.init([784, 50, 100, 10], 0)
    params = {name: leaf.astype(np.float32) for name, leaf in params.items()}
    x = np.zeros((batch, 784), np.float32)
    f = Tape().value_and_grad(network.loss)
    f(params, x, np.zeros(batch, int))
    assert low <= later.replays_until_it_pays(f.program) <= high


SCRIPT = """
    import os, signal, threading, time
    import numpy as np
    from gradlab import Tape, network
    from gradlab.gradients.tape import later
    from gradlab.gradients.tape.compiled import native

    later.replays_until_it_pays = lambda program: 12
    params = network.init([20, 9, 3], 0)
    x, labels = np.ones((5, 20)), np.array([0, 2, 1, 1, 0])

    def call(f, count):
        found = [f(params, x, labels) for _ in range(count)]
        return [(value, [leaf.tobytes() for leaf in grads.values()]) for value, grads in found]

    def gradient():
        return Tape(compile="auto").value_and_grad(network.loss)
"""


FORKING = """
    wanted = call(gradient(), 30)
    assert wanted[0] != wanted[-1]
    entered, compiled = threading.Event(), native.compiled
    native.compiled = lambda module: entered.set() or compiled(module)
    for calls in (8, 12):
        f = gradient()
        entered.clear()
        call(f, calls)
        entered.wait(500)
        time.sleep(0.01)  # now LLVM is at work, and holds a lock of its own
        if pid := os.fork():
            assert os.waitpid(pid, 0)[1] == 0
        else:
            signal.alarm(500)
            os._exit(call(f, 30 - calls) != wanted[calls:])

    f = gradient()
    call(f, 8)
    assert "being compiled" in f.explain()  # while the process ends
"""


@needs_llvmlite
@pytest.mark.skipif(sys.platform == "win32", reason="forks are of POSIX")
def test_a_fork_and_the_end_of_a_process_while_it_compiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child has the same bits, whether its thread was cut off or had ended."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT) + textwrap.dedent(FORKING))
    monkeypatch.setenv("GRADLAB_CACHE", str(tmp_path / "a file"))
    (tmp_path / "a file").touch()  # nothing is kept on disk: LLVM works each time
    monkeypatch.setenv("PYTHONWARNINGS", "ignore::DeprecationWarning")  # of a fork beside threads
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
