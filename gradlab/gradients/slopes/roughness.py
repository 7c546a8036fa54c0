"""The noise of an evaluation, as the rungs of the ladder show it."""

from __future__ import annotations

import numpy as np

from gradlab.gradients.slopes.extrapolation import neville
from gradlab.gradients.slopes.ladder import Rungs
from gradlab.params import Array

FEW = 4
"""Number of finer rungs from which a rung's noise is estimated, at least."""


def floor_of(rungs: Rungs, bits: int, noise: float) -> float:
    """Half a unit in the last place of the values: the least noise that there can be."""
    size = np.nanmax(np.abs([0.0, rungs.centre, *rungs.plus[-3:], *rungs.minus[-3:]]))
    return max(float(np.ldexp(size, -bits - 1)), noise, float(np.finfo(np.float64).tiny))


def noise_of(rungs: Rungs) -> Array:
    """Return the noise of an evaluation, as each rung shows it; NaN where it cannot.

    The even part of a smooth function is h² (a + b h² + ...), which up to three coarser rungs
    predict. The parabola through a pair and the centre predicts the third point, but for the cubic
    term, which the coarser rung's slope tells. Both are divided by what independent errors of one
    standard deviation would make of them.
    """
    h, z, even, q, t = rungs.h, rungs.h**2, rungs.even, rungs.central, rungs.aside
    noise = np.full(len(h), np.nan)
    for i in range(2, len(h)):
        before = slice(max(i - 3, 0), i)
        predicted = z[i] * neville(z[before], even[before] / z[before], z[i])
        cubic = (q[i - 1] - q[i]) / (z[i - 1] - z[i])
        parabola = rungs.centre + q[i] * t[i] + even[i] / 2 * t[i] ** 2 / z[i]
        third = parabola + cubic * t[i] * (t[i] ** 2 - z[i])
        noise[i] = np.fmax(
            abs(even[i] - predicted) / np.sqrt(6), abs(rungs.beside[i] - third) / 2.1
        )
    return noise


def side_noise(h: Array, q: Array) -> Array:
    """Return the noise as a one-sided quotient shows it against a parabola through three rungs."""
    noise = np.full(len(h), np.nan)
    for i in range(3, len(h)):
        predicted = neville(h[i - 3 : i], q[i - 3 : i], h[i])
        noise[i] = abs(q[i] - predicted) * h[i] / np.sqrt(2)
    return noise


def credit(noise: Array, floor: float) -> Array:
    """Return the noise that each rung has to be credited with: the largest of all finer ones.

    A coarse rung's own is left out, since it has what the prediction lacks; the finest rungs get
    their coarser neighbours' besides, since they would be judged by too few numbers.
    """
    noise = np.fmax(noise, floor)
    finer = np.maximum.accumulate(noise[::-1])[::-1]
    credit = np.append(finer[1:], finer[-1:])
    for i in range(max(len(noise) - FEW, 0), len(noise)):
        credit[i] = noise[max(i - 2, 0) :].max()
    return credit
