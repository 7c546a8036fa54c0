"""Kinds of workers: our own processes, the `map` of an executor, or a Dask cluster."""

from __future__ import annotations

import os
import reprlib
import sys
from collections.abc import Callable, Container, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradlab import options
from gradlab.errors import GradlabError, WorkerError, reason_of
from gradlab.gradients.probing import Probe
from gradlab.gradients.workers.chunks import Chunk, span
from gradlab.gradients.workers.task import Answer, Failure, Task, answer
from gradlab.interrupts import allowed

ROUND_TRIP_SECONDS = 1e-3
"""Upper bound, in seconds, for sending a chunk and its answer to a worker with the task."""


@dataclass(frozen=True)
class Team:
    """Workers and their properties."""

    count: int  # the number of workers, as far as it is known
    round_trip: float  # seconds to send a chunk and its answer
    carries: bool  # whether each chunk carries the task with it
    # Yields the answers to chunks, in any order. The probe names entries in errors.
    work: Callable[[Task, list[Chunk], Probe], Generator[Answer]]


def find_team(workers: Any, timeout: float | None = None) -> Team:
    """Return the team for a user's `workers` and `timeout`, or raise an OptionError.

    Examples
    --------
    >>> find_team(3).count
    3
    >>> find_team("all")
    Traceback (most recent call last):
    gradlab.errors.OptionError: workers='all': give a number of processes, a function like map
    (an executor's, for example), or a Dask client
    """
    if timeout is not None:
        options.number("timeout", timeout, "give a positive number of seconds")
        if isinstance(workers, bool) or not isinstance(workers, int | np.integer):
            raise options.refusal("timeout", timeout, "it takes workers= that are a number")
    if workers is None or workers is map:
        return Team(1, 0.0, False, partial(_by_map, map))
    if hasattr(workers, "scatter") and hasattr(workers, "submit"):
        with _asking(workers):
            count = max(1, sum(workers.nthreads().values()))
        return Team(count, ROUND_TRIP_SECONDS, False, partial(_by_dask, workers))
    if callable(workers):
        return Team(_cores(), ROUND_TRIP_SECONDS, True, partial(_by_map, workers))
    advice = (
        "give a number of processes, a function like map (an executor's, for example), "
        "or a Dask client"
    )
    given = options.integer("workers", workers, advice, least=-1)
    if given == 0:
        raise options.refusal("workers", workers, advice)
    count = _cores() if given == -1 else given
    from gradlab.gradients.workers import processes  # imports multiprocessing, which is slow

    return Team(count, ROUND_TRIP_SECONDS, False, partial(processes.work, count, timeout))


def _by_map(
    mapping: Callable[..., Any], task: Task, pieces: list[Chunk], probe: Probe
) -> Generator[Answer]:
    """Compute chunks by a function like `map`; the order of its answers does not matter."""
    left = dict.fromkeys(pieces)
    answers: Any = ()
    try:
        with allowed():
            answers = iter(mapping(partial(answer, task), pieces))
        for found in _interruptible(answers):
            if not _is_answer(found, left):
                raise TypeError(f"it returned {reprlib.repr(found)}")
            del left[found[0]]
            yield found
    except GradlabError:
        raise
    except Exception as error:
        place = span(probe, next(iter(left))) if left else "the end"
        raise WorkerError(
            f"workers={mapping!r} failed before {place} was answered: "
            f"{type(error).__name__}: {reason_of(error)}"
        ) from error
    finally:
        if hasattr(answers, "close"):
            answers.close()  # an executor drops the chunks that it has not begun


def _is_answer(found: Any, left: Container[Chunk]) -> bool:
    """Tell whether an object is an answer to one of the pending chunks."""
    if not (isinstance(found, tuple) and len(found) == 2 and found[0] in left):
        return False
    chunk, slopes = found
    return isinstance(slopes, Failure) or (
        isinstance(slopes, np.ndarray)
        and slopes.shape[:1] == (chunk.stop - chunk.start,)
        and np.issubdtype(slopes.dtype, np.floating)
    )


def _by_dask(client: Any, task: Task, pieces: list[Chunk], probe: Probe) -> Generator[Answer]:
    """Scatter the task to all workers of a Dask cluster once, then submit only chunks.

    Dask itself gives a dead worker's chunk to another one. If the task was lost with its
    workers, or Dask has given up, all missing chunks are tried once more.
    """
    # The client is Dask's, so Dask is installed.
    from distributed import as_completed

    left = dict.fromkeys(pieces)
    for attempt in range(2):
        failed: dict[Chunk, Exception] = {}
        sent: list[Any] = []
        try:
            with allowed(), _asking(client):
                if not (attempt or client.nthreads()):  # a scatter would wait for them in vain
                    raise WorkerError(
                        f"workers={client!r}: the cluster has no workers; start some, and "
                        "client.wait_for_workers(1)"
                    )
                sent.append(client.scatter(task, broadcast=True, hash=False))
                futures = {client.submit(answer, *sent, piece, pure=False): piece for piece in left}
                sent += futures
            waiting = as_completed(list(futures))  # type: ignore[no-untyped-call,unused-ignore]
            for future in _interruptible(waiting):
                try:
                    found = future.result()
                except Exception as error:
                    failed[futures[future]] = error
                    continue
                del left[futures[future]]
                yield found
        finally:
            with allowed(), suppress(Exception):  # the client may be closed, or its scheduler gone
                client.cancel(sent)
        if not left:
            return
    chunk, reason = next(iter(failed.items()))
    raise WorkerError(
        f"Dask twice left {len(left)} of {len(pieces)} chunks unanswered, "
        f"{span(probe, chunk)} among them, as when its workers die: "
        f"{type(reason).__name__}: {reason}"
    ) from reason


@contextmanager
def _asking(client: Any) -> Iterator[None]:
    """Turn an error of Dask's own into one that says that the client does not work."""
    try:
        yield
    except GradlabError:
        raise
    except Exception as error:
        raise WorkerError(
            f"workers={client!r} does not answer ({type(error).__name__}: {reason_of(error)}): "
            "give a client that is connected to a cluster"
        ) from error


def _interruptible(answers: Iterator[Any]) -> Iterator[Any]:
    """Yield the items; a signal may interrupt while the next one is computed or awaited."""
    end = object()
    while True:
        with allowed():
            found = next(answers, end)
        if found is end:
            return
        yield found


def _cores() -> int:
    """Return how many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
