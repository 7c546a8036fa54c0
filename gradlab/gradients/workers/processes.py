"""Our own processes, which compute the slopes of chunks and are replaced if they die.

The task is written to a file once: the pickle, and its arrays apart from it. Each worker maps
that file into its memory (`mapped`). Each worker has a pipe, through which it receives chunks and
returns slopes.

Before each evaluation, a worker writes into another mapped file which entry it perturbs. If it
dies (killed from outside, out of memory, by a fault in native code), this tells where. If it stays
there for longer than the timeout, it is killed. A new worker takes over its chunk; a second death
at the same chunk is an error.

The caller can be interrupted only while it waits for answers, so it always ends its workers. A
worker whose caller is gone ends by itself.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from gradlab.errors import WorkerError
from gradlab.gradients.probing import Probe
from gradlab.gradients.workers.chunks import Chunk
from gradlab.gradients.workers.mapped import (
    ALIGNMENT,
    LIMITS_ADVICE,
    NamelessFile,
    map_places,
    restore,
    store,
    written,
)
from gradlab.gradients.workers.task import Answer, Task, answer
from gradlab.interrupts import allowed
from gradlab.params import Array

READY = "ready"

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Environment variables for the number of threads of linear algebra: one per worker."""


@dataclass(eq=False)
class Worker:
    """A process, our end of its pipe, and the chunk that it works on."""

    slot: int
    process: Any
    connection: Connection
    owner: int = field(default_factory=os.getpid)
    ready: bool = False
    chunk: Chunk | None = None
    hung: bool = False

    def give(self, chunk: Chunk, places: Array) -> None:
        """Send a chunk; the death of the worker shows only when its answer is read."""
        self.chunk = chunk
        places[self.slot, 2] = time.monotonic_ns()
        with suppress(OSError):
            self.connection.send(chunk)

    def end(self) -> int:
        """End the process if it still runs, and return its exit code."""
        _alive.discard(self)
        self.connection.close()
        self.process.kill()
        self.process.join()
        code: int = self.process.exitcode
        self.process.close()
        return code


def work(
    count: int, timeout: float | None, task: Task, pieces: Sequence[Chunk], probe: Probe
) -> Generator[Answer]:
    """Yield the answers of a number of processes to all chunks, in any order.

    A process that evaluates the loss at one place for longer than the timeout is killed. The
    caller must hold signals: see `gradlab.interrupts`. A WorkerError is raised if a worker could
    not start, died or hung twice at the same chunk, or if the temporary folder has no room.
    """
    if not pieces:
        return
    queue, deaths = deque(pieces), Counter[Any]()
    count = min(count, len(queue))
    with ExitStack() as stack:
        stored = store(task)
        stack.callback(stored.file.close)
        shared = written([bytes(ALIGNMENT * count)])
        stack.callback(shared.file.close)
        places = map_places(shared)
        workers: list[Worker] = []
        stack.callback(lambda: [worker.end() for worker in workers if worker in _alive])
        for slot in range(count):
            workers.append(start(stored, shared, slot))
        left = len(queue)
        while left:
            for worker in _wait_for_answers(workers, places, timeout):
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    workers.remove(worker)
                    lost = _clean_up(worker, deaths, places, probe, timeout)
                    if lost is not None:
                        queue.appendleft(lost)
                    workers.append(start(stored, shared, worker.slot))
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


def _clean_up(
    worker: Worker, deaths: Counter[Any], places: Array, probe: Probe, timeout: float | None
) -> Chunk | None:
    """Clean up after a worker that died, and return its unfinished chunk, if any.

    A WorkerError is raised if it never began, or is the second worker to die at this chunk.
    """
    code = worker.end()
    ending = f"it hung, for {timeout:g} s" if worker.hung else _describe_exit(code)
    if not worker.ready:
        raise WorkerError(
            f"a worker ended before it began ({ending}): in a script, what asks for workers "
            'stands below `if __name__ == "__main__":`'
        )
    if worker.chunk is not None:
        deaths[worker.chunk] += 1
        if deaths[worker.chunk] == 2:
            where = probe.name(*map(int, places[worker.slot, :2]))
            raise WorkerError(f"a worker died at {where}, and another one that took over: {ending}")
    return worker.chunk


def _wait_for_answers(
    workers: Sequence[Worker], places: Array, timeout: float | None
) -> list[Worker]:
    """Wait until at least one worker has answered or died, and return those that have.

    Workers that hang are killed meanwhile, and returned too.
    """
    heard: list[Any] = []
    while not heard:
        with allowed():
            heard = wait(
                [worker.connection for worker in workers], None if timeout is None else timeout / 10
            )
        for worker in workers:
            busy = (time.monotonic_ns() - places[worker.slot, 2]) * 1e-9
            if timeout is not None and worker.chunk is not None and busy > timeout:
                worker.hung = True
                worker.process.kill()
    return [worker for worker in workers if worker.connection in heard]


def _describe_exit(code: int) -> str:
    """Describe how a process ended.

    Examples
    --------
    >>> _describe_exit(-9), _describe_exit(3)
    ('killed by SIGKILL, as when memory runs out', 'exit code 3')
    """
    if code >= 0:
        return f"exit code {code}"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, f"signal {-code}")
    return f"killed by {name}{', as when memory runs out' if name == 'SIGKILL' else ''}"


def start(stored: NamelessFile, shared: NamelessFile, slot: int) -> Worker:
    """Start a worker on a task that was stored."""
    context = get_context("spawn")
    try:
        ours, theirs = context.Pipe()
        with theirs:  # so that the pipe closes when the process, the last holder of this end, ends
            process = context.Process(
                target=serve, args=(theirs, stored, shared, slot), name=f"gradlab-{slot}"
            )
            with _one_thread_each(), _without_ctrl_c():
                process.start()
    except OSError as error:
        raise WorkerError(
            f"worker {slot + 1} cannot be started ({error.strerror}): {LIMITS_ADVICE}"
        ) from error
    worker = Worker(slot, process, ours)
    _alive.add(worker)
    return worker


_alive: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register  # called before the handler of multiprocessing, which waits for workers
def _end_all() -> None:
    """End workers that still run, such as those of a generator that was never closed."""
    for worker in [*_alive]:
        if worker.owner == os.getpid():  # in a forked process, these are the parent's workers
            worker.end()


def serve(connection: Connection, stored: NamelessFile, shared: NamelessFile, slot: int) -> None:
    """Run a worker: answer chunks until the caller is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller received the signal too, and decides
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        task = restore(stored)
        probe = task.probe()
    except Exception as error:
        connection.send(f"{type(error).__name__}: {error}")
        return
    places = map_places(shared)

    def mark(leaf: int, i: int) -> None:
        places[slot] = leaf, i, time.monotonic_ns()

    connection.send(READY)
    while True:
        try:
            chunk = connection.recv()
        except EOFError:
            return
        connection.send(answer(task, chunk, probe, mark))


def _end_with_caller() -> None:
    """Wait until the caller is gone, then end the process."""
    caller = parent_process()
    assert caller is not None
    wait([caller.sentinel])
    os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Make processes started in this context use one thread, unless the user chose a number.

    They read it from the environment that they inherit, before any of their code runs.
    """
    told = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(told, "1"))
    try:
        yield
    finally:
        for name in told:
            del os.environ[name]


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Block Ctrl-C in processes that start in this context, until they set a handler.

    A terminal sends it to them as well, and Python would end in a traceback while it starts.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it would lift the block if it were started in this context
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
