"""A gradient by several workers is that of one, to the bit; errors name places; all is tidy."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib.util import find_spec
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import PATIENCE, is_alive, running, wait_until
from stored import arrays_in

import gradlab
from gradlab import files
from gradlab.errors import (
    CheckpointWarning,
    GradlabError,
    LossError,
    NonFiniteError,
    OptionError,
    WorkerError,
)
from gradlab.gradients.differences.numerical import Numerical
from gradlab.gradients.workers import gradient as sharing
from gradlab.gradients.workers import processes, resuming
from gradlab.gradients.workers.chunks import chunk_size, chunks
from gradlab.gradients.workers.processes import Worker
from gradlab.gradients.workers.resuming import PartialGradient

METHODS = [
    gradlab.ForwardDifference,
    gradlab.CentralDifference,
    gradlab.CentralDifference4,
    gradlab.Richardson,
]
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")
RNG = np.random.default_rng(0)
PARAMS = {"w": RNG.normal(size=(4, 3)), "b": 0.3, "none": np.zeros((0, 2)), "i": np.array([2])}
X = RNG.normal(size=(20, 4))


def loss(params: Any, x: Any, *rest: Any) -> Any:
    """Smooth, and no two entries of the parameters are alike."""
    return (np.sin(x @ params["w"]) ** 2).mean() * (1 + params["i"][0]) + np.exp(params["b"])


def moved(params: Any, name: str, index: int) -> bool:
    """Tell whether an entry is not where it started."""
    return bool(np.ravel(params[name])[index] != np.ravel(PARAMS[name])[index])


def same_bits(found: Any, wanted: Any) -> bool:
    return all(
        np.asarray(found[name]).tobytes() == np.asarray(wanted[name]).tobytes()
        and type(found[name]) is type(wanted[name])
        for name in wanted
    )


def gradient(params: Any = PARAMS, *args: Any, of: Any = loss, **options: Any) -> Any:
    return gradlab.grad(of, gradlab.CentralDifference(**options))(params, *(args or (X,)))


# The same bits, whoever works


@every_method
def test_processes_give_the_bits_of_the_plain_loop(method: type[Numerical]) -> None:
    value, wanted = gradlab.value_and_grad(loss, method())(PARAMS, X)
    for count in (1, 3):
        found = gradlab.value_and_grad(loss, method(workers=count))(PARAMS, X)
        assert found[0] == value
        assert same_bits(found[1], wanted)


@every_method
def test_maps_of_executors_give_the_bits_of_the_plain_loop(method: type[Numerical]) -> None:
    wanted = gradlab.grad(loss, method())(PARAMS, X)
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for mapping in (map, threads.map, pool.map):
            assert same_bits(gradlab.grad(loss, method(workers=mapping))(PARAMS, X), wanted)


@given(sizes=st.lists(st.integers(0, 20), max_size=3), size=st.integers(1, 9), data=st.data())
def test_chunks_are_what_is_missing(sizes: list[int], size: int, data: Any) -> None:
    missing = [
        np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool) for n in sizes
    ]
    left = [mask.copy() for mask in missing]
    for leaf, start, stop in chunks(missing, size):
        assert 0 < stop - start <= size
        assert left[leaf][start:stop].all()
        left[leaf][start:stop] = False
    assert not any(mask.any() for mask in left)


@given(
    entries=st.integers(1, 10**6),
    workers=st.integers(1, 64),
    evaluation=st.floats(1e-6, 100),
    sending=st.just(0.0) | st.floats(1e-3, 1),
)
def test_sending_is_little_beside_a_chunk(
    entries: int, workers: int, evaluation: float, sending: float
) -> None:
    size = chunk_size(entries, workers, evaluation, sending)
    assert size >= 1
    assert sending <= 0.05 * size * evaluation * (1 + 1e-9)
    worth = int(np.ceil(sending / 0.05 / evaluation))
    assert size <= max(1, worth, entries // workers)  # not fewer chunks than that asks for


def test_the_order_of_the_answers_does_not_matter() -> None:
    def backwards(function: Callable[..., Any], values: Any) -> Any:
        return reversed(list(map(function, values)))

    assert same_bits(gradient(workers=backwards), gradient())


class Counted:
    """Data that leave a mark wherever they arrive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return arrive, (self.folder,)


def arrive(folder: Path) -> Counted:
    (folder / f"{os.getpid()} {time.monotonic_ns()}").touch()
    return Counted(folder)


def note_chunks(params: Any, x: Any, counted: Counted) -> Any:
    """Evaluate the loss, in a worker only when both have arrived."""
    if parent_process() is not None:
        wait_until(lambda: len(list(counted.folder.iterdir())) >= 2)
    return loss(params, x)


def share_out(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Have chunks of so many entries, however long an evaluation takes here and now."""
    monkeypatch.setattr(sharing, "chunk_size", lambda *args: size)


def test_the_problem_is_sent_once_to_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_out(monkeypatch, 1)
    gradient(PARAMS, X, Counted(tmp_path), of=note_chunks, workers=2)
    assert len(list(tmp_path.iterdir())) == 2


def write_into_data(params: Any, x: Any, seen: Path) -> Any:
    """Spoil a large array."""
    value = loss(params, x[:20, :4])
    if moved(params, "w", 0):
        (seen / str(os.getpid())).touch()
        x[20:] = np.nan
    return value


def test_data_are_shared_and_nobody_may_write_into_them(tmp_path: Path) -> None:
    big = np.zeros((1000, 4))
    big[:20] = X
    with pytest.raises(LossError, match=r"writes into its parameters or arguments") as caught:
        gradient(PARAMS, big, tmp_path, of=write_into_data, workers=2)
    assert "w[0, 0]" in caught.value.__notes__[0]
    assert len(list(tmp_path.iterdir())) == 1
    assert np.isfinite(big).all()


def test_data_keep_their_layout() -> None:
    fortran, strided = np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]
    for x in (fortran, strided):
        assert same_bits(gradient(PARAMS, x, workers=1), gradient(PARAMS, x))


def test_a_gradient_without_entries_needs_no_workers() -> None:
    assert gradlab.grad(lambda p: 1.0, gradlab.CentralDifference(workers=2))({}) == {}


# What goes wrong is named


def bad(params: Any, x: Any, how: str, log: Path) -> Any:
    """Fail where entry 7 of w is moved: always, or the first time alone."""
    if moved(params, "w", 7):
        first = not log.exists()
        with log.open("a") as file:
            file.write("x")
        if first or not how.endswith("once"):
            match how.split()[0]:
                case "raises":
                    raise Unpicklable("the simulator stopped", 3)
                case "nan":
                    return float("nan")
                case "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "exits":
                    sys.exit(3)
                case "hangs":
                    time.sleep(600)
    return loss(params, x)


class Unpicklable(Exception):  # noqa: N818
    """Made from two arguments, of which only one is handed on."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)


def children() -> set[tuple[str, str]]:
    """Return this process's children and their command lines, but for Python's own one."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == str(os.getpid()) and "resource_tracker" not in command:
            found.add((folder.name, command))
    return found


@pytest.fixture
def tidy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process and no file is left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    shared = set(Path("/dev/shm").iterdir())
    before = children()
    yield
    assert children() <= before
    assert list(folder.iterdir()) == []
    # Programs beside this one may have files there, which come and go.
    wait_until(lambda: not forsaken(set(Path("/dev/shm").iterdir()) - shared))


def forsaken(files: set[Path]) -> set[Path]:
    """Return those of our files that no process has open or in its memory any more."""
    used = ""
    for process in Path("/proc").glob("[0-9]*") if files else ():
        with suppress(OSError):  # it has ended, or is somebody else's
            used += (process / "maps").read_text()
            used += "".join(f"{os.readlink(link)}\n" for link in (process / "fd").iterdir())
    return {path for path in files if str(path) not in used and is_ours(path)}


def is_ours(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:
        return False


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
def test_what_fails_once_is_repeated(how: str, tmp_path: Path) -> None:
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
def test_what_fails_twice_is_named(
    how: str, error: type[GradlabError], cause: str, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        gradient(PARAMS, X, how, tmp_path / "log", of=bad, workers=2, timeout=timeout(how))
    told = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert "w[2, 1]" in told
    assert cause in told
    assert (tmp_path / "log").stat().st_size == 2


def slow_but_well(p: Any) -> Any:
    """Take its time for each evaluation."""
    time.sleep(0.1)
    return (p**2).sum()


@on_linux
@pytest.mark.slow
@pytest.mark.usefixtures("tidy")
def test_a_chunk_may_take_longer_than_one_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = 26
    share_out(monkeypatch, entries)
    f = gradlab.grad(slow_but_well, gradlab.CentralDifference(workers=1, timeout=STALL))
    started = time.monotonic()
    np.testing.assert_allclose(f(np.ones(entries)), np.full(entries, 2.0), rtol=1e-9)
    assert time.monotonic() - started > STALL  # for two evaluations an entry, of a tenth each


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
def test_ctrl_c_while_workers_start_or_end_leaves_none(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal waits until all workers are in order, and so do those that follow."""
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
def test_workers_of_a_generator_that_nobody_closed_do_not_outlive_the_interpreter(
    tmp_path: Path,
) -> None:
    """They ignore Ctrl-C, and the interpreter would wait for them for ever."""
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
def test_a_timeout_is_a_time(timeout: Any) -> None:
    with pytest.raises(OptionError, match=r"timeout=.*give a positive number of seconds"):
        gradlab.CentralDifference(workers=2, timeout=timeout)


@pytest.mark.parametrize("workers", [None, map])
def test_only_processes_of_our_own_are_timed(workers: Any) -> None:
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


def test_an_error_of_the_loss_comes_through_as_it_is() -> None:
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
def test_what_is_no_map_is_an_error(mapping: Any) -> None:
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
def test_workers_are_a_number_or_a_map(workers: Any) -> None:
    with pytest.raises(OptionError, match="workers="):
        gradlab.CentralDifference(workers=workers)


def test_one_process_a_processor() -> None:
    assert same_bits(gradient(workers=-1), gradient())


def test_what_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(OptionError, match="cannot be sent to a worker"):
        gradient(PARAMS, X, (_ for _ in ()), workers=2)


def script(folder: Path, text: str) -> list[str]:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    return [sys.executable, str(path)]


def test_a_script_without_its_guard_is_told_so(tmp_path: Path) -> None:
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


# Taken up again


class Clock:
    """A clock that stands still, but where somebody moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Interrupted:
    """A loss that counts its evaluations, and is interrupted at one of them.

    What it assigns to is no part of what it is, and neither is what its class has.
    """

    times = 1.0

    def __init__(self, at: int | None = None) -> None:
        self.at, self.calls = at, 0

    def __call__(self, params: Any, x: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            self.at = None
            raise KeyboardInterrupt
        return self.times * loss(params, x)


def interrupt(path: Path, at: int = 20) -> None:
    with pytest.raises(KeyboardInterrupt):
        gradient(of=Interrupted(at), resume=path)


def test_a_gradient_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share_out(monkeypatch, 3)
    path = tmp_path / "partial"
    interrupt(path)
    assert [file.name for file in tmp_path.iterdir()] == ["partial"]
    rest = Interrupted()
    found = gradient(of=rest, resume=str(path))
    assert same_bits(found, gradient())
    # Of 14 entries, three chunks of 3 were complete: left are the value, one slope again, and 5.
    assert rest.calls == 1 + 2 + 2 * 5
    assert list(tmp_path.iterdir()) == []


def recovers(params: Any, x: Any, log: Path) -> Any:
    """Fail at the last entry, but not for a third time."""
    if moved(params, "i", 0) and (not log.exists() or log.stat().st_size < 2):
        with log.open("a") as file:
            file.write("x")
        return float("nan")
    return loss(params, x)


def test_two_processes_take_up_what_one_began(tmp_path: Path) -> None:
    path, log = tmp_path / "partial", tmp_path / "log"
    with pytest.raises(NonFiniteError, match=r"the loss is nan at i\[0\]"):
        gradient(PARAMS, X, log, of=recovers, workers=1, resume=path)
    assert [missing.sum() for missing in arrays_in(path)[4:]] == [0, 0, 0, 1]
    assert same_bits(gradient(PARAMS, X, log, of=recovers, workers=2, resume=path), gradient())
    assert not path.exists()


def test_the_next_gradient_begins_anew(tmp_path: Path) -> None:
    f = gradlab.grad(loss, gradlab.CentralDifference(resume=tmp_path / "partial"))
    for b in (0.1, 0.2):
        assert same_bits(f({**PARAMS, "b": b}, X), gradient({**PARAMS, "b": b}))


def test_the_file_of_another_gradient_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "partial"
    interrupt(path)
    kept = path.read_bytes()
    others: dict[str, Callable[[], Any]] = {
        "method was central and is": lambda: gradient(of=Interrupted(), resume=path, step=1e-3),
        "loss was": lambda: gradient(resume=path),
        "params was": lambda: gradient({**PARAMS, "b": 0.4}, of=Interrupted(), resume=path),
        "arguments was digest": lambda: gradient(PARAMS, 2 * X, of=Interrupted(), resume=path),
    }
    for what, attempt in others.items():
        with pytest.raises(OptionError, match=what) as caught:
            attempt()
        assert "partial" in str(caught.value)
    monkeypatch.setattr(Interrupted, "times", 2.0)
    with pytest.raises(OptionError, match="value of the loss was"):
        gradient(of=Interrupted(), resume=path)
    assert path.read_bytes() == kept


class Steep(Interrupted):
    """A line of a slope that its class has."""

    def __call__(self, w: Any) -> Any:
        self.calls += 1
        if self.calls == self.at:
            self.at = None
            raise KeyboardInterrupt
        return self.times * w.sum()


@pytest.mark.parametrize("complete", [False, True], ids=["part", "complete"])
@pytest.mark.parametrize("workers", [None, lambda f, v: reversed([*map(f, v)])])
def test_a_loss_that_changed_behind_its_value_is_refused(
    workers: Any, complete: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At weights of zero, the value does not tell one slope from another."""
    monkeypatch.setattr(resuming, "time", Clock())  # with which each answer is written at once
    path = tmp_path / "partial"
    backend = gradlab.CentralDifference(resume=path)
    if complete:  # as if it was killed before it could remove the file
        with monkeypatch.context() as patched:
            patched.setattr(PartialGradient, "__exit__", lambda self, *error: self._write())
            gradlab.grad(Steep(), backend)(np.zeros(50))
    else:
        with pytest.raises(KeyboardInterrupt):
            gradlab.grad(Steep(at=90), backend)(np.zeros(50))
    kept = path.read_bytes()
    assert complete != arrays_in(path)[1].any()
    with monkeypatch.context() as patched:
        patched.setattr(Steep, "times", 2.0)
        steeper = gradlab.CentralDifference(resume=path, workers=workers)
        with pytest.raises(OptionError, match=r"params\[\d+\] was 1.0 and is 2.0"):
            gradlab.grad(Steep(), steeper)(np.zeros(50))
    assert path.read_bytes() == kept
    assert gradlab.grad(Steep(), backend)(np.zeros(50)).tolist() == [1.0] * 50
    assert not path.exists()


@pytest.mark.parametrize("workers", [None, 2])
def test_slopes_of_a_loss_that_is_bound_to_something_else_are_refused(
    workers: Any, tmp_path: Path
) -> None:
    def line(bound: Any) -> Any:
        calls = 0

        def loss(w: Any) -> Any:
            nonlocal calls
            calls += 1
            if bound[0] == 1.0 and calls == 30:
                raise KeyboardInterrupt
            return np.dot(bound, w)

        return loss

    path = tmp_path / "partial"
    bound = np.ones(2000)
    other = bound.copy()
    other[1000] = 2.0  # which repr() does not show
    with pytest.raises(KeyboardInterrupt):
        gradlab.grad(line(bound), gradlab.CentralDifference(resume=path))(np.zeros(2000))
    kept = path.read_bytes()
    backend = gradlab.CentralDifference(resume=path, workers=workers)
    with pytest.raises(OptionError, match=r"belongs to another gradient \(loss was"):
        gradlab.grad(line(other), backend)(np.zeros(2000))
    assert path.read_bytes() == kept


def test_one_gradient_at_a_time_has_a_file(tmp_path: Path) -> None:
    path = tmp_path / "partial"

    def inner(params: Any, x: Any) -> Any:
        if moved(params, "w", 7):
            gradient(resume=path)
        return loss(params, x)

    with pytest.raises(OptionError, match=r"resume=.*partial.*: process \d+ is writing it"):
        gradient(of=inner, resume=path)
    (left,) = tmp_path.iterdir()
    assert left == path


@pytest.mark.parametrize("content", [b"", b"text", None], ids=["empty", "text", "folder"])
def test_what_is_no_file_of_slopes_is_left_alone(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(OptionError, match="mine"):
        gradient(resume=path)
    assert path.is_dir() if content is None else path.read_bytes() == content


@pytest.mark.parametrize("writing", [0.0, 0.01], ids=["quick", "slow"])
def test_each_answer_counts_though_the_work_is_killed_soon(
    writing: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written at once, as long as writing takes no more than a twentieth of the time."""
    share_out(monkeypatch, 1)
    clock, saved = Clock(), []
    replace = files.replace

    def slow(path: Path, parts: Any) -> None:
        clock.now += writing
        saved.append(clock.now)
        replace(path, parts)

    def evaluated(params: Any, x: Any) -> Any:
        clock.now += 0.05
        return loss(params, x)

    monkeypatch.setattr(resuming, "time", clock)
    monkeypatch.setattr(files, "replace", slow)
    gradient(of=evaluated, resume=tmp_path / "partial")
    entries = 14
    if writing:  # 0.2 s from one to the next, and 0.1 s for each entry
        assert min(np.diff(saved)) >= writing / 0.05
        assert len(saved) >= entries // 3
    else:
        assert len(saved) == 1 + entries


def test_a_file_that_cannot_be_written_is_found_before_the_work(tmp_path: Path) -> None:
    counted = Interrupted()
    with pytest.raises(OptionError, match="cannot be written"):
        gradient(of=counted, resume=tmp_path / "missing" / "partial")
    assert counted.calls == 1
    with pytest.raises(OptionError, match="resume=3"):
        gradlab.CentralDifference(resume=3)  # type: ignore[arg-type]


def test_a_bar_is_shown_where_there_is_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gradient(workers=map)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    gradient(workers=map)
    assert "14/14" in capsys.readouterr().err


# A Dask cluster: a scheduler and two workers, each a process, on this machine


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    if find_spec("distributed") is None:
        pytest.skip("Dask is not installed")
    import dask
    from distributed import Client, LocalCluster

    with (
        dask.config.set({"distributed.comm.timeouts.connect": "60s"}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            host="127.0.0.1",
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


@every_method
def test_dask_gives_the_bits_of_the_plain_loop(client: Any, method: type[Numerical]) -> None:
    found = gradlab.grad(loss, method(workers=client))(PARAMS, X)
    assert same_bits(found, gradlab.grad(loss, method())(PARAMS, X))


def test_dask_gets_the_problem_once(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share_out(monkeypatch, 1)
    gradient(PARAMS, X, Counted(tmp_path), of=note_chunks, workers=client)
    by_worker = {path.name.split()[0] for path in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == len(by_worker) == 2


def test_dask_outlives_a_worker_that_is_killed(client: Any, tmp_path: Path) -> None:
    found = gradient(PARAMS, X, "killed once", tmp_path / "log", of=bad, workers=client)
    assert same_bits(found, gradient())
    assert (tmp_path / "log").stat().st_size == 3


class FakeClient:
    """What gradlab asks of a Dask client."""

    def __init__(self, workers: int | None) -> None:
        self.workers, self.cancelled = workers, 0

    def nthreads(self) -> dict[str, int]:
        if self.workers is None:
            raise AttributeError("'NoneType' object has no attribute 'ncores'")
        return {f"worker {i}": 1 for i in range(self.workers)}

    def scatter(self, *args: Any, **options: Any) -> Any:
        raise AssertionError("waits for a worker")

    submit = scatter

    def cancel(self, futures: Any) -> None:
        self.cancelled += 1
        raise RuntimeError("closed")


def test_dask_without_workers_is_an_error_at_once() -> None:
    if find_spec("distributed") is None:
        pytest.skip("Dask is not installed")
    with pytest.raises(WorkerError, match=r"the cluster has no workers; start some"):
        gradient(workers=FakeClient(0))


def test_a_dask_client_that_is_closed_is_an_error() -> None:
    with pytest.raises(WorkerError, match=r"does not answer .*: give a client that is connected"):
        gradlab.CentralDifference(workers=FakeClient(None))


def test_dask_names_what_fails(client: Any, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"the loss is nan at w\[2, 1\]"):
        gradient(PARAMS, X, "nan", tmp_path / "log", of=bad, workers=client)
    with pytest.raises(
        WorkerError, match=r"Dask twice left .* among them, as when its workers die"
    ):
        gradient(PARAMS, X, "killed", tmp_path / "log", of=bad, workers=client)
