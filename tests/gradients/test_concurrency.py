"""Many threads, and processes started after the import, get the same answers."""

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from optional import unless_missing
from processes import PATIENCE

from gradlab import BACKENDS, Tape, fit, network, value_and_grad
from gradlab.arrays.creation import tracing

THREADS = 8
SIZES = (5, 6, 3)


def batch(seed, n=12):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, SIZES[0])), rng.integers(SIZES[-1], size=n)


def params(seed):
    return network.init(SIZES, seed)


def bits(grads):
    return [leaf.tobytes() for leaf in grads.values()]


@pytest.mark.parametrize("backend", [*map(unless_missing, BACKENDS), Tape(exact=True)], ids=str)
def test_eight_threads_get_the_answers_of_one(backend):
    """Batches have two sizes, so that a backend records one while it replays the other."""
    problems = [(params(i), *batch(i, n=12 - i % 2)) for i in range(4)]
    alone = value_and_grad(network.loss, backend)
    wanted = [alone(*problem) for problem in problems]
    shared = value_and_grad(network.loss, backend)
    rounds = 20 if "tape" in str(backend).lower() else 1

    def work(offset):
        order = [(offset + i) % len(problems) for i in range(rounds * len(problems))]
        return [(i, shared(*problems[i])) for i in order]

    with ThreadPoolExecutor(THREADS) as executor:
        for answers in executor.map(work, range(THREADS)):
            for i, (value, grads) in answers:
                right, right_grads = wanted[i]
                if backend != "tape":
                    assert (value, bits(grads)) == (right, bits(right_grads))
                    continue
                assert abs(value - right) <= 64 * np.finfo(float).eps * abs(right)
                for name, leaf in grads.items():  # some units in the last place of the largest
                    bound = 64 * np.finfo(float).eps * np.max(np.abs(right_grads[name]))
                    np.testing.assert_allclose(leaf, right_grads[name], rtol=0, atol=bound)


@pytest.mark.parametrize("backend", ["autograd", Tape(exact=True), "central"])
def test_two_trainings_at_once_are_those_of_one_after_the_other(backend):
    def train(seed):
        result = fit(
            network.loss, params(seed), batch(seed, 60), seed=seed, backend=backend, epochs=2,
            batch_size=7, momentum=0.9,
        )  # fmt: skip
        return bits(result.params), result.history.losses

    wanted = [train(seed) for seed in range(2)]
    with ThreadPoolExecutor(2) as executor:
        assert list(executor.map(train, range(2))) == wanted


@contextmanager
def another_thread_traces():
    started, ended = threading.Event(), threading.Event()

    def trace():
        with tracing():
            started.set()
            ended.wait()

    with ThreadPoolExecutor(1) as executor:
        executor.submit(trace)
        started.wait()
        try:
            yield
        finally:
            ended.set()


@pytest.mark.parametrize("exact", [True, False])
def test_a_recording_is_the_same_while_another_thread_traces(exact):
    """NumPy's functions are then replaced, and recorded ones must not be compared with these."""

    def source():
        f = value_and_grad(network.loss, Tape(exact=exact))
        f(params(0), *batch(0))
        return f.source

    alone = source()
    with another_thread_traces():
        assert source() == alone


def test_incremental_differences_are_the_same_while_another_thread_traces():
    problem = network.init((5, 20, 3), 0), *batch(0)
    alone = value_and_grad(network.loss, "central")(*problem)
    with another_thread_traces():
        value, grads = value_and_grad(network.loss, "central")(*problem)
    assert (value, bits(grads)) == (alone[0], bits(alone[1]))


AFTER_THE_IMPORT = """
    import multiprocessing, sys
    import numpy as np
    import gradlab
    from gradlab import network

    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(40, 5)), rng.integers(3, size=40)
    start = network.init((5, 6, 3), 0)
    # JAX and PyTorch have threads of their own, and say themselves what of them a fork survives.
    names = [name for name in gradlab.BACKENDS if name not in ("jax", "torch")]
    used = {name: gradlab.value_and_grad(network.loss, name) for name in names}

    def answers(used=None):
        found = {}
        for name in names:
            f = used[name] if used else gradlab.value_and_grad(network.loss, name)
            value, grads = f(start, x, labels)
            found[name] = value, [leaf.tobytes() for leaf in grads.values()]
        result = gradlab.fit(network.loss, start, (x, labels), epochs=2, backend="tape")
        return found, [leaf.tobytes() for leaf in result.params.values()]

    def child(queue, inherited):
        queue.put(answers(used if inherited else None))

    if __name__ == "__main__":
        wanted = answers()
        assert answers(used)[0].keys() == wanted[0].keys()  # what is recorded is there to inherit
        context = multiprocessing.get_context(sys.argv[1])
        for inherited in (False, True):
            queue = context.Queue()
            process = context.Process(target=child, args=(queue, inherited))
            process.start()
            found = queue.get(timeout=500)
            process.join()
            assert process.exitcode == 0
            for name in wanted[0]:
                if name != "tape":
                    assert found[0][name] == wanted[0][name], name
            tape = [np.frombuffer(leaf) for leaf in found[0]["tape"][1]]
            right = [np.frombuffer(leaf) for leaf in wanted[0]["autograd"][1]]
            for leaf, other in zip(tape, right):
                assert np.max(np.abs(leaf - other)) <= 64 * np.finfo(float).eps * np.max(abs(other))
            assert found[1] == wanted[1]
"""


@pytest.mark.parametrize("how", multiprocessing.get_all_start_methods())
def test_processes_made_after_the_import_get_the_same_answers(how, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(AFTER_THE_IMPORT))
    run = subprocess.run(
        [sys.executable, str(script), how],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


WHILE_RECORDING = """
    import os, signal, threading, time
    import numpy as np
    import gradlab

    def record_for_ever():
        while True:
            gradlab.value_and_grad(lambda p: (np.tanh(p) ** 2).sum(), "tape")(np.ones(3))

    threading.Thread(target=record_for_ever, daemon=True).start()
    for _ in range(20):
        time.sleep(0.01)
        if pid := os.fork():
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
        else:
            signal.alarm(500)
            f = gradlab.value_and_grad(lambda p: (p ** 2).sum(), "tape")
            same = all(f(np.ones(2))[1].tolist() == [2.0, 2.0] for _ in range(3))
            os._exit(not same)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are of POSIX")
def test_a_fork_while_another_thread_records_does_not_wait_for_it(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(WHILE_RECORDING))
    run = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert run.returncode == 0, run.stderr
