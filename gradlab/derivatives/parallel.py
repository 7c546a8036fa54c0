"""Columns of a Jacobian by several workers: the same bits as by one.

The workers are those of a gradient (`gradlab.gradients.workers`). A chunk has several groups of
entries that are perturbed together, and its answer has one row of outputs for each group. The same
code computes a column in a worker and in the calling process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from gradlab.derivatives.functions import Function, Outputs, Point
from gradlab.derivatives.measuring import Coarse
from gradlab.errors import GradlabError, WorkerError
from gradlab.gradients.workers import Workers
from gradlab.gradients.workers.chunks import Chunk, chunk_size, chunks
from gradlab.gradients.workers.gradient import BANDWIDTH
from gradlab.gradients.workers.task import Failure, Part, Task
from gradlab.gradients.workers.teams import find_team
from gradlab.interrupts import held
from gradlab.params import Array, flatten


@dataclass(frozen=True)
class ColumnPlan:
    """The columns to compute, and their steps."""

    groups: Sequence[Array]  # indices of entries that are perturbed together
    units: Array  # shape (p,): the perturbation of each entry for a step of 1
    h: float
    pattern: Array | None  # booleans (m, p): which output depends on which entry
    sure: bool  # whether the steps were given, and are used unchanged


@dataclass(frozen=True)
class ColumnMethod:
    """The task of a worker: a `Method` whose slopes are columns."""

    make: Callable[[Function], Any]  # makes the `Differences` of a function in the worker
    outputs: Outputs  # the outputs of the function at the parameters
    epsilon: Array  # the relative error of each output, as known so far
    plan: ColumnPlan
    name: ClassVar[str] = "columns"

    def probe(self, loss: Function, params: Any, args: tuple[Any, ...]) -> Lines:
        """Return the function around its parameters."""
        leaves, structure = flatten(params)
        at = Point(loss, params, args, leaves, structure, self.outputs)
        return Lines(self.make(loss), at, self.epsilon, self.plan)

    def slopes(self, part: Part, leaf: int) -> Array:
        """Return the columns of some groups, shape (n, m)."""
        lines: Any = part.whole
        chunk = part.chunk
        return np.stack([lines.column(i, part.mark) for i in range(chunk.start, chunk.stop)])

    def plain(self) -> ColumnMethod:
        """Return the same."""
        return self


@dataclass
class Lines:
    """The function around its parameters, in a worker; has what `Part` reads of a `Probe`."""

    rule: Any  # the `Differences` of the function
    at: Point
    epsilon: Array
    plan: ColumnPlan
    value: float = 0.0
    precision: float = 0.0
    closely: bool = False
    given_steps: None = None
    leaves: list[Array] = field(init=False)

    def __post_init__(self) -> None:
        self.leaves = [np.arange(len(self.plan.groups))]

    def column(self, i: int, mark: Callable[[int, int], object]) -> Array:
        """Return the slopes of all outputs for one group, shape (m,); try twice."""
        try:
            return self._column(i, mark)
        except (GradlabError, Coarse):
            raise
        except Exception:  # of the function's own
            pass
        try:
            return self._column(i, mark)
        except Exception as error:
            error.add_note("it was evaluated twice, and failed both times")
            raise

    def _column(self, i: int, mark: Callable[[int, int], object]) -> Array:
        where = self.rule.field(self.at)
        where.epsilon = self.epsilon.copy()
        where.before = lambda: mark(0, i)
        with where.restoring():
            column: Array = self.rule.column_of(where, self.plan.groups[i], self.plan)
            return column

    def name(self, leaf: int, i: int) -> str:
        """Name the first entry of a group, for errors."""
        return self.at.layout.name(int(self.plan.groups[i][0]))


def by_workers(workers: Workers, task: Task, lines: Lines, seconds: float) -> list[Array]:
    """Return the columns of all groups of a plan.

    If several chunks fail, the error is that of the first one, as with one worker. The task has a
    `ColumnMethod`, and `lines` is what that makes in the workers. A column takes `seconds`.
    """
    team = find_team(workers.workers, workers.timeout)
    sending = team.round_trip + (task.bytes / BANDWIDTH if team.carries else 0)
    count = len(lines.plan.groups)
    size = chunk_size(count, team.count, seconds, sending)
    waiting = set(chunks([np.ones(count, bool)], size))
    rows: list[Any] = [None] * count
    failures: dict[Chunk, Exception] = {}
    probe: Any = lines
    with held(), closing(team.work(task, sorted(waiting), probe)) as answers:
        for chunk, found in answers:
            waiting.discard(chunk)
            if isinstance(found, Failure):
                failures[chunk] = found.error
            else:
                rows[chunk.start : chunk.stop] = list(found)
            if failures and not any(other < min(failures) for other in waiting):
                raise failures[min(failures)]
    if waiting:
        raise WorkerError(
            f"workers={workers.workers!r} left {len(waiting)} chunks without an answer: give a "
            "function that calls another on each of some values, as map does"
        )
    return rows
