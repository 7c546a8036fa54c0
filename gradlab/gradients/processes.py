"""Processes of our own that take the slopes of chunks, and can be told apart when one dies.

The problem goes into a file once, pickled, its arrays apart from the rest; each worker maps that
file into its memory, so that all of them share one copy of the data (a worker that writes into it
gets its own of the page). Then chunks go out and slopes come back through a pipe a worker.

Before each evaluation a worker writes into another mapped file which entry it is about to move.
When it dies - killed from outside, out of memory, by a fault in native code - this is where it
died; and when it stays there for longer than it may, it is killed. A new worker takes its place and
its chunk; a second death at the same chunk is an error.

Nothing is left behind. The caller kills its workers on its way out, whatever that is; and a
worker whose caller is gone, however it went, removes the files and ends.
"""

from __future__ import annotations

import mmap
import os
import shutil
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from pickle import PickleBuffer
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from gradlab.errors import WorkerError
from gradlab.params import Array

if TYPE_CHECKING:
    from gradlab.gradients.parallel import Answer, Chunk, Problem
    from gradlab.gradients.probing import Probe

ALIGNMENT = 64
"""Bytes: where an array starts in the file, as it does in memory of its own."""

READY = "ready"

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What tells linear algebra how many threads to use: one each, since the workers are many."""


@dataclass
class Worker:
    """A process, our end of its pipe, and the chunk that it is busy with."""

    slot: int
    process: Any
    connection: Connection
    ready: bool = False
    chunk: Chunk | None = None
    hung: bool = False

    def give(self, chunk: Chunk, places: Array) -> None:
        """Send a chunk; a worker that died meanwhile is found out when it is listened to."""
        self.chunk = chunk
        places[self.slot, 2] = time.monotonic_ns()
        with suppress(OSError):
            self.connection.send(chunk)

    def end(self) -> int:
        """End the process, if it has not ended, and return its exit code."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        code: int = self.process.exitcode
        self.process.close()
        return code


def work(
    count: int, timeout: float | None, problem: Problem, pieces: Sequence[Chunk], probe: Probe
) -> Generator[Answer]:
    """Yield the answers of a number of processes to all chunks, in any order.

    A process that evaluates the loss at one place for longer than the timeout is killed.

    Raises
    ------
    WorkerError
        If a worker could not start, or one died or hung twice at the same chunk.
    """
    if not pieces:
        return
    queue, deaths = deque(pieces), Counter[Any]()
    with TemporaryDirectory(prefix="gradlab-") as name:
        folder = Path(name)
        store(problem, folder)
        count = min(count, len(queue))
        places = _places(folder, count)
        workers: list[Worker] = []
        try:
            for slot in range(count):
                workers.append(start(folder, slot))
            left = len(queue)
            while left:
                for worker in _heard(workers, places, timeout):
                    try:
                        message = worker.connection.recv()
                    except (EOFError, OSError):
                        workers.remove(worker)
                        code = worker.end()
                        ending = f"it hung, for {timeout:g} s" if worker.hung else _ending(code)
                        if not worker.ready:
                            raise WorkerError(
                                f"a worker ended before it began ({ending}): in a script, what "
                                'asks for workers stands below `if __name__ == "__main__":`'
                            ) from None
                        if worker.chunk is not None:
                            deaths[worker.chunk] += 1
                            if deaths[worker.chunk] == 2:
                                where = probe.name(*map(int, places[worker.slot, :2]))
                                raise WorkerError(
                                    f"a worker died at {where}, and another one that took over: "
                                    f"{ending}"
                                ) from None
                            queue.appendleft(worker.chunk)
                        workers.append(start(folder, worker.slot))
                        continue
                    if worker.ready:
                        worker.chunk = None
                        left -= 1
                        yield message
                    elif message == READY:
                        worker.ready = True
                    else:
                        raise WorkerError(f"a worker cannot load the loss: {message}")
                    if queue:
                        worker.give(queue.popleft(), places)
        finally:
            for worker in workers:
                worker.end()
            del places


def _heard(workers: Sequence[Worker], places: Array, timeout: float | None) -> list[Worker]:
    """Wait until at least one worker has said something, or died, and return those that have.

    Those that hang are killed meanwhile, and are then heard of as well.
    """
    heard: list[Any] = []
    while not heard:
        heard = wait(
            [worker.connection for worker in workers], None if timeout is None else timeout / 10
        )
        for worker in workers:
            busy = (time.monotonic_ns() - places[worker.slot, 2]) * 1e-9
            if timeout is not None and worker.chunk is not None and busy > timeout:
                worker.hung = True
                worker.process.kill()
    return [worker for worker in workers if worker.connection in heard]


def _ending(code: int) -> str:
    """Say how a process ended.

    Examples
    --------
    >>> _ending(-9), _ending(3)
    ('killed by SIGKILL, as when memory runs out', 'exit code 3')
    """
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    return f"killed by {name}{', as when memory runs out' if name == 'SIGKILL' else ''}"


def start(folder: Path, slot: int) -> Worker:
    """Start a worker on the problem of a folder."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, folder, slot), name=f"gradlab-{slot}")
    with _one_thread_each():
        process.start()
    theirs.close()  # so that its end is heard when the process, the last to hold it, is gone
    return Worker(slot, process, ours)


def serve(connection: Connection, folder: Path, slot: int) -> None:
    """Answer chunks until there is nobody to answer: what a worker does."""
    from gradlab.gradients.parallel import answer

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller decides, and has been told as well
    threading.Thread(target=_outlive_nobody, args=(folder,), daemon=True).start()
    try:
        problem = restore(folder)
        probe = problem.probe()
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    places = _places(folder)

    def mark(leaf: int, i: int) -> None:
        places[slot] = leaf, i, time.monotonic_ns()

    connection.send(READY)
    while True:
        try:
            chunk = connection.recv()
        except EOFError:
            return
        connection.send(answer(problem, chunk, probe, mark))


def _outlive_nobody(folder: Path) -> None:
    """Wait until the caller is gone, clean up after it, and end."""
    caller = parent_process()
    assert caller is not None
    wait([caller.sentinel])
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Tell processes that start in here to use one thread, where the user has not said otherwise.

    They read it from the environment that they inherit, before anything else of theirs runs.
    """
    told = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(told, "1"))
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


# The files


def store(problem: Problem, folder: Path) -> None:
    """Write a problem, its arrays apart; a full disk is an error here, and not a crash later."""
    buffers: list[PickleBuffer] = []
    stream = problem.pickle(buffers.append)
    sizes = [buffer.raw().nbytes for buffer in buffers]
    (folder / "stream").write_bytes(stream)
    np.save(folder / "sizes.npy", np.array(sizes, np.int64))
    with (folder / "arrays").open("wb") as file:
        for buffer in buffers:
            file.write(buffer.raw())
            file.write(bytes(-file.tell() % ALIGNMENT))


def restore(folder: Path) -> Problem:
    """Read a problem; its arrays are the file's pages, shared until they are written to."""
    from gradlab.gradients.parallel import load

    sizes = np.load(folder / "sizes.npy").tolist()
    path = folder / "arrays"
    view = memoryview(b"")
    if path.stat().st_size:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    starts = np.cumsum([0, *(size + -size % ALIGNMENT for size in sizes)]).tolist()
    arrays = [view[begin : begin + size] for begin, size in zip(starts, sizes, strict=False)]
    return load((folder / "stream").read_bytes(), arrays)


def _places(folder: Path, create: int | None = None) -> Array:
    """Map the file that says where each worker is: leaf, entry, and since when, on one clock."""
    path = folder / "places"
    if create is not None:
        path.write_bytes(bytes(24 * create))
    return np.memmap(path, np.int64, mode="r+").reshape(-1, 3)
