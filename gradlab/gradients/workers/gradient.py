"""A gradient in chunks: distributes them among workers, and keeps those that are done."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from gradlab import files
from gradlab.errors import OptionError, WorkerError
from gradlab.gradients.probing import Method, Probe, ProbeOfTerms
from gradlab.gradients.workers.chunks import Chunk, chunk_size, chunks
from gradlab.gradients.workers.resuming import PartialGradient, identity
from gradlab.gradients.workers.task import Answer, Failure, Task
from gradlab.gradients.workers.teams import find_team
from gradlab.interrupts import held
from gradlab.locks import locked
from gradlab.params import Array

BANDWIDTH = 200e6
"""Bytes per second at which a task that travels with its chunks is pickled and sent."""


def slopes(
    method: Method, probe: Probe, *, workers: Any, timeout: float | None, resume: Any
) -> list[Array]:
    """Return the slopes of all leaves, computed with `method` by these workers."""
    if isinstance(probe, ProbeOfTerms):
        raise OptionError(
            "workers and resume move one entry at a time: a SumOfTerms, which moves "
            "many, is differentiated without them"
        )
    probe.looped = True
    task = Task.of(method, probe)
    team = find_team(workers, timeout)
    known = None if resume is None else identity(task, probe)
    with (
        held(),
        _exclusive(resume),
        PartialGradient.open(resume, known, probe) as done,
        _progress(done) as show,
    ):
        sending = team.round_trip + (task.bytes / BANDWIDTH if team.carries else 0)
        size = chunk_size(done.pending, team.count, probe.seconds, sending)
        pieces = chunks(done.missing, size)
        if sample := done.sample():
            pieces.insert(0, sample)
        for chunk, found in _successes(team.work(task, pieces, probe)):
            if chunk == sample:
                done.confirm(sample, found)
            else:
                done.put(chunk, found)
            show()
        if done.pending:
            raise WorkerError(
                f"workers={workers!r} left {done.pending} entries without an answer: give "
                "a function that calls another on each of some values, as map does"
            )
    return done.slopes


@contextmanager
def _exclusive(resume: Any) -> Iterator[None]:
    """Lock the file of `resume`, if there is one, against other writers."""
    if resume is None:
        yield
        return
    with locked("resume", Path(resume)):
        files.sweep(Path(resume))
        yield


def _successes(answers: Generator[Answer]) -> Iterator[tuple[Chunk, Array]]:
    """Yield answers until one is a failure; stop all workers, then raise it."""
    with closing(answers):
        for chunk, found in answers:
            if isinstance(found, Failure):
                raise found.error
            yield chunk, found


@contextmanager
def _progress(done: PartialGradient) -> Iterator[Callable[[], None]]:
    """Show how many entries are done and the time left, on a terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("slopes"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=done.size, completed=done.size - done.pending)
        yield lambda: bar.update(task, completed=done.size - done.pending)
