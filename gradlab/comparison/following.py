"""The points of a training, and the distance between two trainings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.comparison.metering import Meter
from gradlab.gradients import ValueAndGrad
from gradlab.params import flatten, leaves_like
from gradlab.training import Fit, Step


class Follower:
    """A callback that records the parameters of a training, and the differences of gradients.

    It keeps the last parameters, those at the end of each epoch, and up to `room` others at equal
    intervals.
    """

    def __init__(self, reference: ValueAndGrad | None, room: int) -> None:
        self.points: dict[int, Any] = {}  # the parameters by number of steps
        self.ends: set[int] = set()  # the numbers of steps after which an epoch ended
        self.done = 0  # the number of steps so far
        self.differences: dict[str, list[float]] = {}
        self._reference = reference
        self._room = room
        self._every = 1

    def __call__(self, step: Step) -> None:
        """Record a step."""
        if self._reference is not None:
            _, wanted = self._reference(step.params, *step.batch)
            for path, difference in relative_differences(step.grads, wanted).items():
                self.differences.setdefault(path, []).append(difference)
        last, self.done = self.done, step.iteration + 1
        self.points[self.done] = step.updated
        if last and not self._coincides(last):
            del self.points[last]
        if step.epoch is not None:
            self.ends.add(self.done)
        elif len(self.points) - len(self.ends) > self._room:
            self._every *= 2
            self.points = {n: p for n, p in self.points.items() if self._coincides(n)}
            self.points[self.done] = step.updated

    def _coincides(self, steps: int) -> bool:
        return steps % self._every == 0 or steps in self.ends


@dataclass(frozen=True)
class Followed:
    """A training that was recorded to its end, or to Ctrl-C."""

    meter: Meter
    watch: Follower
    fit: Fit


def relative_differences(grads: Any, reference: Any) -> dict[str, float]:
    """Return each leaf's largest difference, relative to its largest entry in the reference.

    Where that entry is zero, return the difference itself.

    Examples
    --------
    >>> relative_differences({"w": np.array([1.0, 4.0])}, {"w": np.array([2.0, 4.0])})
    {'w': 0.25}
    """
    wanted, structure = flatten(reference)
    found = leaves_like(reference, grads)
    return {
        path: _largest(a - b) / (_largest(b) or 1.0)
        for path, a, b in zip(structure.paths, found, wanted, strict=True)
    }


def _largest(array: Any) -> float:
    return float(np.max(np.abs(array), initial=0.0))


def distance(params: Any, reference: Any) -> float:
    """Return the distance of two sets of parameters, relative to the norm of the second."""
    b, _ = flatten(reference)
    a = leaves_like(reference, params)
    scale = max(map(_largest, (*a, *b)), default=0.0) or 1.0  # so that no square overflows
    apart = np.sqrt(
        sum(float(np.sum(((x / scale) - (y / scale)) ** 2)) for x, y in zip(a, b, strict=True))
    )
    norm = np.sqrt(sum(float(np.sum((y / scale) ** 2)) for y in b))
    return float(apart / (norm or 1.0))
