"""L-BFGS: a quasi-Newton step from the last few changes of the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab import options
from gradlab.optim.optimiser import Arrays, Optimiser
from gradlab.params import Array

ROUNDOFF = 2.0**-52
"""Curvature of a pair, relative to the norms of s and y, that counts as round-off."""


@dataclass(frozen=True, kw_only=True)
class LBFGS(Optimiser):
    """L-BFGS without a line search; see `gradlab.optim.lbfgs`.

    The slots are the last gradient, the last step, and two rings: the last steps s, and the changes
    y of the gradient along them. The pair of step t has the position t modulo `memory`.
    """

    memory: int = 10

    whole_data = True

    def __post_init__(self) -> None:
        super().__post_init__()
        options.integer("memory", self.memory)

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the structures in the state."""
        pairs = [f"{kind}{i}" for kind in "sy" for i in range(self.memory)]
        return ("gradient", "step", *pairs)

    @property
    def needs_spare(self) -> bool:
        """Whether a step needs arrays for intermediate results."""
        return True

    def write(
        self,
        count: int,
        params: Arrays,
        grads: Arrays,
        old: Sequence[Arrays],
        new: Sequence[Arrays],
        updates: Arrays,
        spare: Sequence[Array | None],
    ) -> None:
        """Write the updates and the state of a step into arrays."""
        for before, after in zip(old, new, strict=True):
            _each(np.copyto, after, before)
        last, step, *pairs = new
        steps, changes = pairs[: self.memory], pairs[self.memory :]
        if count:
            at = (count - 1) % self.memory
            _each(np.copyto, steps[at], step)
            for change, g, g_before in zip(changes[at], grads, last, strict=True):
                np.subtract(g, g_before, out=change)
        rate = self.rate(count)
        _each(np.copyto, last, grads)
        for update, g in zip(updates, grads, strict=True):
            np.negative(g, out=update)
        if count:
            newest_first = [(count - 1 - k) % self.memory for k in range(min(count, self.memory))]
            _to_newton(updates, [(steps[i], changes[i]) for i in newest_first], spare)
        else:  # no curvature is known for the first step: length at most 1, as in PyTorch
            total = sum(float(np.abs(update).sum()) for update in updates)
            rate *= min(1.0, 1.0 / total) if total else 1.0
        for update, s in zip(updates, step, strict=True):
            np.multiply(update, rate, out=update)
            np.copyto(s, update)


def _to_newton(
    direction: Arrays, pairs: Sequence[tuple[Arrays, Arrays]], spare: Sequence[Array | None]
) -> None:
    """Multiply a direction by the inverse Hessian estimated from the pairs (s, y), newest first.

    This is the recursion with two loops of Nocedal and Wright, *Numerical Optimization*, 2006,
    algorithm 7.4. Pairs without positive curvature are omitted.
    """
    known = []
    for s, y in pairs:
        curvature, size = _dot(s, y), _dot(y, y)
        if curvature > ROUNDOFF * math.sqrt(_dot(s, s) * size):
            known.append((s, y, curvature, size))
    weights = []
    for s, y, curvature, _ in known:
        weights.append(_dot(s, direction) / curvature)
        _add(direction, y, -weights[-1], spare)
    if known:
        _, _, curvature, size = known[0]
        for part in direction:
            np.multiply(part, curvature / size, out=part)
    for (s, y, curvature, _), weight in zip(reversed(known), reversed(weights), strict=True):
        _add(direction, s, weight - _dot(y, direction) / curvature, spare)


def _dot(a: Arrays, b: Arrays) -> float:
    return sum(float(np.vdot(x, y)) for x, y in zip(a, b, strict=True))


def _add(target: Arrays, source: Arrays, factor: float, spare: Sequence[Array | None]) -> None:
    for t, s, room in zip(target, source, spare, strict=True):
        np.add(t, np.multiply(s, factor, out=room), out=t)


def _each(function: Callable[..., Any], *arrays: Arrays) -> None:
    for row in zip(*arrays, strict=True):
        function(*row)
