"""Workers of a Dask cluster: the task is scattered once, then chunks are submitted."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from gradlab.errors import GradlabError, WorkerError, reason_of
from gradlab.gradients.probing import Probe
from gradlab.gradients.workers.chunks import Chunk, span
from gradlab.gradients.workers.task import Answer, Task, answer
from gradlab.gradients.workers.waiting import interruptible
from gradlab.interrupts import allowed


def by_dask(client: Any, task: Task, pieces: list[Chunk], probe: Probe) -> Generator[Answer]:
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
            with allowed(), asking(client):
                if not (attempt or client.nthreads()):  # a scatter would wait for them in vain
                    raise WorkerError(
                        f"workers={client!r}: the cluster has no workers; start some, and "
                        "client.wait_for_workers(1)"
                    )
                sent.append(client.scatter(task, broadcast=True, hash=False))
                futures = {client.submit(answer, *sent, piece, pure=False): piece for piece in left}
                sent += futures
            waiting = as_completed(list(futures))  # type: ignore[no-untyped-call,unused-ignore]
            for future in interruptible(waiting):
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
def asking(client: Any) -> Iterator[None]:
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
