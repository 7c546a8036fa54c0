"""Failed evaluations are repeated once, then reported; no process or file is left behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import PATIENCE, is_alive, running, wait_until
from shared_losses import PARAMS, X, bad, loss, moved, slow_but_well
from sharing import gradient, same_bits, share_out

import gradlab
from gradlab import files
from gradlab.errors import CheckpointWarning, GradlabError, NonFiniteError, OptionError, WorkerError
from gradlab.gradients.workers import processes
from gradlab.gradients.workers.processes import Worker
from gradlab.gradients.workers.resuming import PartialGradient

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")


# Errors name the failure

STALL = 5.0
"""Seconds that an evaluation of microseconds never takes, however busy the machine is."""


def timeout(how: str) -> float:
    return STALL if how.startswith("hangs") else PATIENCE


@on_linux
@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize(
    "how",
    [
        "raises once",
        "nan once",
        "killed once",
        "exits once",
        pytest.param("hangs once", marks=pytest.mark.slow),  # it waits for a while
    ],
)
def test_a_failed_evaluation_is_repeated(how: str, tmp_path: Path) -> None:
    found = gradient(PARAMS, X, how, tmp_path / "log", of=bad, workers=2, timeout=timeout(how))
    assert same_bits(found, gradient())
    assert (tmp_path / "log").stat().st_size == 3  # above, above again, below


@on_linux
@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize(
    ("how", "error", "cause"),
    [
        ("raises", WorkerError, "Unpicklable: the simulator stopped"),
        ("nan", NonFiniteError, "the loss is nan"),
        ("killed", WorkerError, "killed by SIGKILL"),
        ("exits", WorkerError, "exit code 3"),
        pytest.param(
            "hangs",
            WorkerError,
            "another one that took over: it hung, for 5 s",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_evaluation_that_fails_twice_is_named(
    how: str, error: type[GradlabError], cause: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        gradient(PARAMS, X, how, tmp_path / "log", of=bad, workers=2, timeout=timeout(how))
    told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "w[2, 1]" in told
    assert cause in told
    assert (tmp_path / "log").stat().st_size == 2


@on_linux
@pytest.mark.slow
@pytest.mark.usefixtures("tidy")
def test_a_chunk_may_take_longer_than_one_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = 26
    share_out(monkeypatch, entries)
    f = gradlab.grad(slow_but_well, gradlab.CentralDifference(workers=1, timeout=STALL))
    started = time.monotonic()
    np.testing.assert_allclose(f(np.ones(entries)), np.full(entries, 2.0), rtol=1e-9)
    assert time.monotonic() - started > STALL  # two evaluations per entry, of 0.1 s each


@on_linux
@pytest.mark.usefixtures("tidy")
def test_ctrl_c_ends_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(range(2))
    put = PartialGradient.put

    def pressed(self: PartialGradient, chunk: Any, found: Any) -> None:
        put(self, chunk, found)
        if next(answers):
            raise KeyboardInterrupt

    monkeypatch.setattr(PartialGradient, "put", pressed)
    with pytest.raises(KeyboardInterrupt):
        gradlab.grad(slow_but_well, gradlab.CentralDifference(workers=2))(np.ones(9))


@on_linux
@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("place", ["start", "end"])
def test_ctrl_c_while_workers_start_or_end_leaves_no_worker(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals are deferred until all workers are started or ended."""
    called = []

    def pressed(function: Any) -> Any:
        def around(*args: Any) -> Any:
            signal.raise_signal(signal.SIGINT)
            found = function(*args)
            called.append(args)
            signal.raise_signal(signal.SIGINT)
            return found

        return around

    if place == "start":
        monkeypatch.setattr(processes, "start", pressed(processes.start))
    else:
        monkeypatch.setattr(Worker, "end", pressed(Worker.end))
    with pytest.raises(KeyboardInterrupt):
        gradient(workers=2)
    assert len(called) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@on_linux
def test_workers_of_an_unclosed_generator_do_not_outlive_the_interpreter(
    tmp_path: Path,
) -> None:
    """Workers ignore Ctrl-C, so the interpreter would wait for them without end."""
    command = script(
        tmp_path,
        """
        import numpy as np
        import gradlab
        from gradlab.gradients.workers import processes
        from gradlab.gradients.workers.chunks import Chunk
        from gradlab.gradients.workers.task import Task
        def loss(p):
            return (p ** 2).sum()
        if __name__ == "__main__":
            method = gradlab.CentralDifference()
            task = Task(method, loss, np.ones(9), (), np.float64(9), 2.0**-52)
            pieces = [Chunk(0, i, i + 1) for i in range(9)]
            kept = processes.work(1, None, task, pieces, task.probe())
            next(kept)
            (worker,) = processes._alive
            print(worker.process.pid)
        """,
    )
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert not is_alive(done.stdout.strip())


@on_linux
def test_a_full_folder_for_temporary_files_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(WorkerError, match=r"No space left on device\): make room.*TMPDIR"):
        gradient(workers=2)


@on_linux
@pytest.mark.usefixtures("tidy")
def test_exhausted_descriptors_are_named() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        opened = [stack.enter_context(open(os.devnull)) for _ in range(30)]
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        for free in (1, 3, 5):
            stack.enter_context(suppress(OSError))
            resource.setrlimit(resource.RLIMIT_NOFILE, (opened[-1].fileno() + 1 + free, before[1]))
            with pytest.raises(WorkerError, match=r"Too many open files\): give fewer workers"):
                gradient(workers=2)


@pytest.mark.parametrize("timeout", [0, -1, "long", float("nan"), True])
def test_a_timeout_must_be_a_time(timeout: Any) -> None:
    with pytest.raises(OptionError, match=r"timeout=.*give a positive number of seconds"):
        gradlab.CentralDifference(workers=2, timeout=timeout)


@pytest.mark.parametrize("workers", [None, map])
def test_only_gradlabs_own_processes_take_a_timeout(workers: Any) -> None:
    with pytest.raises(OptionError, match="timeout=5: it takes workers= that are a number"):
        gradlab.CentralDifference(workers=workers, timeout=5)


def test_a_file_that_cannot_be_written_later_does_not_end_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = PartialGradient.put

    def full(path: Path, parts: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def due(self: PartialGradient, chunk: Any, found: Any) -> None:
        monkeypatch.setattr(files, "replace", full)
        self._next = 0.0
        put(self, chunk, found)

    monkeypatch.setattr(PartialGradient, "put", due)
    with pytest.warns(CheckpointWarning, match=r"cannot be written \(No space left on device\)"):
        found = gradient(resume=tmp_path / "partial")
    assert same_bits(found, gradient())


def test_a_step_that_vanishes_is_named() -> None:
    w = PARAMS["w"].copy()
    w[2, 1] = 1e30
    with pytest.raises(OptionError, match=r"the step vanishes beside w\[2, 1\]"):
        gradient({**PARAMS, "w": w}, workers=map, step=1e-3)


def test_an_error_of_the_loss_keeps_its_type() -> None:
    def fails(params: Any, x: Any) -> Any:
        if moved(params, "w", 7):
            raise KeyError("boom")
        return loss(params, x)

    with pytest.raises(KeyError) as caught:
        gradient(of=fails, workers=map)
    assert "w[2, 1]" in caught.value.__notes__[0]


@on_linux
@pytest.mark.usefixtures("tidy")
def test_a_pool_that_breaks_is_an_error(tmp_path: Path) -> None:
    with (
        ProcessPoolExecutor(2, get_context("spawn")) as pool,
        pytest.raises(WorkerError, match=r"failed before w\[.*BrokenProcessPool"),
    ):
        gradient(PARAMS, X, "killed", tmp_path / "log", of=bad, workers=pool.map)


@pytest.mark.parametrize(
    "mapping",
    [lambda f, values: [], lambda f, values: list(values), lambda f, values: 1, lambda f: None],
    ids=["nothing", "not called", "no iterable", "other arguments"],
)
def test_an_object_that_is_not_a_map_is_an_error(mapping: Any) -> None:
    with pytest.raises(WorkerError, match="workers="):
        gradient(workers=mapping)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda slopes: slopes[:1],
        lambda slopes: np.float64(1.0),
        lambda slopes: slopes[None],
        lambda slopes: slopes.astype(int),
        lambda slopes: slopes.tolist(),
        lambda slopes: None,
    ],
)
def test_a_map_that_returns_another_shape_is_an_error(spoil: Any) -> None:
    def mapping(function: Any, pieces: Any) -> Any:
        for chunk, slopes in map(function, pieces):
            yield chunk, spoil(slopes)

    with pytest.raises(WorkerError, match=r"failed before .* was answered: TypeError: it returned"):
        gradient(workers=mapping)


@pytest.mark.parametrize("workers", [0, -2, 1.5, True, "two", [1]])
def test_workers_must_be_a_number_or_a_map(workers: Any) -> None:
    with pytest.raises(OptionError, match="workers="):
        gradlab.CentralDifference(workers=workers)


def test_one_process_per_processor() -> None:
    assert same_bits(gradient(workers=-1), gradient())


def test_an_object_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(OptionError, match="cannot be sent to a worker"):
        gradient(PARAMS, X, (_ for _ in ()), workers=2)


def script(folder: Path, text: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


def test_a_script_without_a_main_guard_is_refused(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        """
        import gradlab
        def loss(p):
            return (p ** 2).sum()
        import numpy as np
        try:
            gradlab.grad(loss, gradlab.CentralDifference(workers=2))(np.ones(3))
        except gradlab.GradlabError as error:
            print(error)
        """,
    )
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert '__name__ == "__main__"' in done.stdout


@on_linux
def test_workers_end_when_their_caller_is_killed(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        """
        import os, sys, time
        from pathlib import Path
        import numpy as np
        import gradlab
        def loss(p, folder):
            time.sleep(0.05)
            (folder / str(os.getpid())).touch()
            return (p ** 2).sum()
        if __name__ == "__main__":
            folder = Path(sys.argv[1])
            gradlab.grad(loss, gradlab.CentralDifference(workers=2))(np.ones(10_000), folder)
        """,
    )
    pids, temporary = tmp_path / "pids", tmp_path / "temporary"
    pids.mkdir()
    temporary.mkdir()
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with running([*command, pids], env=environment) as caller:
        wait_until(lambda: len(list(pids.iterdir())) == 3, caller)
        assert not list(temporary.iterdir())  # its files have no names
    workers = [path.name for path in pids.iterdir() if path.name != str(caller.pid)]
    wait_until(lambda: not any(map(is_alive, workers)))
    assert not list(temporary.iterdir())
