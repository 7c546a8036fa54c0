"""The steps of a training: one at a time, or as many as one native call takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from gradlab.params import Array
from gradlab.training.loop import Descent
from gradlab.training.schedule import Batches, Minibatch
from gradlab.training.vectors import Vector

MAX_CALL_SECONDS = 0.02
"""Seconds of one native call, which Ctrl-C has to wait for: longer ones are no faster, and a busy
machine takes several times as long."""


class Stride(NamedTuple):
    """Steps that were taken."""

    minibatch: Minibatch  # that of the last step
    batch: tuple[Array, ...]  # its samples; none after many steps, which no callback sees
    value: float  # its loss before the step
    gradient: Vector
    # For each leaf an array that has entries other than 0 if one of the gradients had.
    seen: Sequence[Array]
    steps: int


def strides(loop: Descent, batches: Batches, minibatches: Iterable[Minibatch]) -> Iterator[Stride]:
    """Take a step for each minibatch, and yield after each call: after many steps, or one."""
    left, later = iter(minibatches), deque[Minibatch]()
    fastest = float("inf")  # seconds of a step: a longer time is that of a busy machine

    def following() -> Minibatch | None:
        return later.popleft() if later else next(left, None)

    def run_from(first: Minibatch, most: int) -> list[Minibatch]:
        """Return minibatches of one size, to the end of the epoch at most."""
        run = [first]
        while len(run) < most and run[-1].epoch_sizes is None and (one := following()):
            if len(one.rows) != len(first.rows):
                later.appendleft(one)
                break
            run.append(one)
        return run

    while minibatch := following():
        started = time.perf_counter()
        most = loop.steps_at_once() if len(minibatch.rows) == batches.largest else 0
        run = run_from(minibatch, int(min(most, MAX_CALL_SECONDS / fastest)))
        count = 0
        if len(run) > 1:
            value, gradient, seen, count = loop.take_steps([one.rows for one in run])
            later.extendleft(reversed(run[max(count, 1) :]))
        batch: tuple[Array, ...] = ()
        if not count:
            batch, count = batches.take(minibatch.rows), 1
            value, gradient = loop.step(batch)
            seen = gradient.leaves
        fastest = min(fastest, (time.perf_counter() - started) / count)
        yield Stride(run[count - 1], batch, value, gradient, seen, count)
