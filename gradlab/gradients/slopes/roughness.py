"""The noise of an evaluation, estimated from the rungs of the ladder."""

from __future__ import annotations

import numpy as np

from gradlab.gradients.slopes.extrapolation import neville
from gradlab.gradients.slopes.ladder import Rungs
from gradlab.params import Array

MIN_FINER_RUNGS = 4
"""Smallest number of finer rungs from which the noise of a rung is estimated."""


def floor_of(rungs: Rungs, bits: int, noise: float) -> float:
    """Return the smallest possible noise: half a unit in the last place of the values."""
    size = np.nanmax(np.abs([0.0, rungs.centre, *rungs.plus[-3:], *rungs.minus[-3:]]))
    return max(float(np.ldexp(size, -bits - 1)), noise, float(np.finfo(np.float64).tiny))


def noise_of(rungs: Rungs) -> Array:
    """Return the noise of an evaluation estimated from each rung, shape (rungs,); NaN if unknown.

    The even part of a smooth function is h² (a + b h² + ...), which up to three coarser rungs
    predict. The parabola through a pair and the centre, with a cubic term from the slope of the
    coarser rung, predicts the third point. Each residual is divided by its standard deviation for
    independent errors of standard deviation 1: √6 = √(1 + 1 + 4) for the even part, about 2.1 for
    the third point.
    """
    h, z, even, q, t = rungs.h, rungs.h**2, rungs.even, rungs.central, rungs.third
    noise = np.full(len(h), np.nan)
    for i in range(2, len(h)):
        before = slice(max(i - 3, 0), i)
        predicted = z[i] * neville(z[before], even[before] / z[before], z[i])
        cubic = (q[i - 1] - q[i]) / (z[i - 1] - z[i])
        parabola = rungs.centre + q[i] * t[i] + even[i] / 2 * t[i] ** 2 / z[i]
        third = parabola + cubic * t[i] * (t[i] ** 2 - z[i])
        noise[i] = np.fmax(
            abs(even[i] - predicted) / np.sqrt(6), abs(rungs.third_value[i] - third) / 2.1
        )
    return noise


def side_noise(h: Array, q: Array) -> Array:
    """Return the noise of one-sided quotients: residuals from parabolas through three rungs."""
    noise = np.full(len(h), np.nan)
    for i in range(3, len(h)):
        predicted = neville(h[i - 3 : i], q[i - 3 : i], h[i])
        noise[i] = abs(q[i] - predicted) * h[i] / np.sqrt(2)
    return noise


def assumed_noise(noise: Array, floor: float) -> Array:
    """Return the noise assumed on each rung: the largest estimate of all finer rungs.

    The estimate of a coarse rung itself does not count, since it includes the truncation error of
    the prediction. The finest `MIN_FINER_RUNGS` rungs include the estimates of two coarser ones,
    since they have too few finer rungs.
    """
    noise = np.fmax(noise, floor)
    finer = np.maximum.accumulate(noise[::-1])[::-1]
    credit = np.append(finer[1:], finer[-1:])
    for i in range(max(len(noise) - MIN_FINER_RUNGS, 0), len(noise)):
        credit[i] = noise[max(i - 2, 0) :].max()
    return credit
