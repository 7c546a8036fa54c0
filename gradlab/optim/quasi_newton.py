"""L-BFGS: a quasi-Newton step from the last few changes of the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradlab import options
from gradlab.optim.optimiser import Arrays, Optimiser
from gradlab.optim.schedules import Rate
from gradlab.params import Array

CURVATURE_ROUNDOFF = 2.0**-52
"""Curvature of a pair, relative to the norms of s and y, that counts as round-off."""


@dataclass(frozen=True)
class LBFGS(Optimiser):
    """L-BFGS without a line search, for the gradient of all data at once.

    The direction is -H g, where H is the inverse Hessian estimated from the last `memory` steps and
    changes of the gradient; the first step is ``-η min(1, 1 / ‖g‖₁) g``, as in PyTorch. (Nocedal
    and Wright, *Numerical Optimization*, 2006, algorithm 7.4. A pair without positive curvature is
    omitted.) With minibatches, noise would count as curvature, so `fit` uses all data in each step.
    For a line search, use SciPy's optimisers.

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule; 1 is Newton's step.
    memory : int
        The number of steps that H is estimated from.

    Examples
    --------
    >>> from gradlab import optim
    >>> rule, scales = optim.lbfgs(), np.array([1.0, 10.0])
    >>> x = np.array([3.0, 1.0])
    >>> state = rule.init(x)
    >>> for _ in range(20):
    ...     update, state = rule.update(scales * x, state, x)
    ...     x = x + update
    >>> bool(np.abs(x).max() < 1e-6)
    True
    """

    learning_rate: Rate = 1.0
    memory: int = 10
    weight_decay: float = field(default=0.0, init=False)
    clip: float | None = field(default=None, init=False)

    whole_data = True
    needs_spare = True

    def __post_init__(self) -> None:
        super().__post_init__()
        options.integer("memory", self.memory)

    @property
    def slots(self) -> tuple[str, ...]:
        """The last gradient, the last step, and two rings: the last steps s, the changes y of g.

        The pair of step t has the position t modulo `memory`.
        """
        pairs = [f"{kind}{i}" for kind in "sy" for i in range(self.memory)]
        return ("gradient", "step", *pairs)

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
        if curvature > CURVATURE_ROUNDOFF * math.sqrt(_dot(s, s) * size):
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
