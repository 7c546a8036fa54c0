"""Small jumps far from the point, which only polynomials of high degree detect.

A solver inside the function that takes the same number of steps at all points nearby is smooth
there, but its slope is wrong. It jumps where its number of steps changes. Such a jump is small:
about 10⁻⁴ of the solver's tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from gradlab.gradients.slopes.jumps import HALVINGS, JUMP_SEARCH_RATIO, NOISE_RATIO, Jump
from gradlab.gradients.slopes.ladder import Line, Rungs
from gradlab.params import Array

MAX_PREDICTING_RUNGS = 3
"""Largest number of finer rungs from which the value on a rung is predicted."""

JUMP_TEST_HALVINGS = 6
"""Number of halvings after which the change at a jump is at least half, and at a kink 2^-6."""


@dataclass(frozen=True)
class Polynomial:
    """The polynomial through the centre and both sides of some rungs; for n rungs, of degree 2n."""

    nodes: Array
    values: Array

    @classmethod
    def through(cls, rungs: Rungs, k: int, order: int) -> Polynomial:
        """Interpolate `order` rungs, from rung `k` inward."""
        part = slice(k, k + order)
        nodes = np.concatenate([[0.0], rungs.above[part], -rungs.below[part]])
        values = np.concatenate([[rungs.centre], rungs.plus[part], rungs.minus[part]])
        return cls(nodes, values)

    def weights(self, t: float) -> Array:
        """Return the weight of each value in the polynomial's value at t (Lagrange's form)."""
        # apart[i, j] = nodes[i] - nodes[j]; the product runs over j != i
        own = np.eye(len(self.nodes), dtype=bool)
        beyond = np.where(own, 1.0, t - self.nodes)
        apart = np.where(own, 1.0, self.nodes[:, None] - self.nodes)
        weights: Array = (beyond / apart).prod(axis=1)
        return weights

    def deviation(self, t: float, value: float) -> float:
        """Return the difference between a value at t and the polynomial."""
        return value - float(self.weights(t) @ self.values)

    def amplified(self, t: float) -> float:
        """Return the largest factor by which `deviation` amplifies the noise of one value."""
        return 1.0 + float(np.abs(self.weights(t)).sum())


def misses(rungs: Rungs, k: int, side: int) -> list[tuple[Polynomial, float]]:
    """Return polynomials through 1, 2, ... finer rungs, and the error of each at one value."""
    t, value = (rungs.above[k], rungs.plus[k]) if side > 0 else (-rungs.below[k], rungs.minus[k])
    orders = range(1, min(MAX_PREDICTING_RUNGS, len(rungs.h) - k - 1) + 1)
    finer = (Polynomial.through(rungs, k + 1, order) for order in orders)
    return [(p, abs(p.deviation(float(t), float(value)))) for p in finer]


def is_sudden(rungs: Rungs, k: int, side: int, noise: float) -> bool:
    """Tell whether the error at a value is larger than a smooth function and the noise explain.

    The error of a polynomial of degree 2n through finer rungs grows as h^(2n + 1) from rung to rung
    if the function is smooth.
    """
    ratio, t = float(rungs.h[k] / rungs.h[k + 1]), side * float(rungs.h[k])
    pairs = zip(misses(rungs, k, side), misses(rungs, k + 1, side), strict=False)
    return any(
        miss
        > NOISE_RATIO * noise * p.amplified(t) + JUMP_SEARCH_RATIO * ratio ** (2 * n + 1) * before
        for n, ((p, miss), (_, before)) in enumerate(pairs, start=1)
    )


def far_jump(rungs: Rungs, line: Line, noise: float, farthest: int) -> Jump | None:
    """Return the jump nearest to 0 on the `farthest` coarsest rungs, or None."""
    for k, side in product(reversed(range(farthest)), (1, -1)):
        if not is_sudden(rungs, k, side, noise):
            continue
        model, _ = min(misses(rungs, k, side), key=lambda found: found[1])
        near, far = side * float(rungs.h[k + 1]), side * float(rungs.h[k])
        jump = search(line, model, near, far, noise * model.amplified(far))
        if jump:
            return jump
    return None


def search(line: Line, model: Polynomial, near: float, far: float, noise: float) -> Jump | None:
    """Bisect an interval for a jump; keep the half whose change deviates most from the trend.

    The change of a continuous function shrinks with each halving; the change at a jump does not.
    That of a fine ripple shrinks only in intervals below its wavelength, so that all halvings are
    made before the last ones are judged.
    """
    at_near, at_far = (model.deviation(*line(t)) for t in (near, far))
    trend, changes = 0.0, [abs(at_far - at_near)]
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        at_middle = model.deviation(*line(middle))
        nearer, farther = at_middle - at_near, at_far - at_middle
        if abs(nearer - trend) >= abs(farther - trend):
            far, at_far, trend = middle, at_middle, farther / 2
        else:
            near, at_near, trend = middle, at_middle, nearer / 2
        changes.append(abs(at_far - at_near))
        if not changes[-1] > NOISE_RATIO * noise:
            return None
    return (
        Jump(far, at_far - at_near) if changes[-1] > changes[-1 - JUMP_TEST_HALVINGS] / 2 else None
    )
