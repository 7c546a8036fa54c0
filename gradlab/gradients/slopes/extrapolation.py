"""Difference quotients extrapolated to step 0, with error bars for truncation and noise."""

from __future__ import annotations

import numpy as np

from gradlab.gradients.slopes.result import Bar
from gradlab.params import Array

NOISE_BOUND = 3.0
"""Assumed bound on the error of one evaluation, in standard deviations of the observed noise."""


def extrapolate_widening(h: Array, q: Array, power: int, noise: Array) -> Bar | None:
    """Extrapolate; if the finer rungs confirm no value, assume larger noise and try again."""
    for factor in (1, 4, 16, 64):
        bar = extrapolate(h, q, power, factor * noise, most=3, dissent=1)
        if bar is not None:
            return bar
    return None


def extrapolate(
    h: Array, q: Array, power: int, noise: Array, *, most: int, dissent: int
) -> Bar | None:
    """Extrapolate difference quotients to h = 0, from the rungs that give the smallest error bar.

    The steps h come coarsest first. The error's expansion has powers of h² for central quotients
    (`power` is 2), of h for one-sided ones; at most `most` orders of it are removed. `noise` is the
    error of an evaluation on each rung, `dissent` the number of finer rungs that may disagree by
    chance.
    """
    z = h**power
    # A central quotient divides the errors of two evaluations by 2 h, a one-sided one by h.
    roundoff = NOISE_BOUND * noise * (1 if power == 2 else 2) / h
    table = [[float(value)] for value in q]  # Neville's: a row per rung, a column per order
    carried = [[float(error)] for error in roundoff]  # propagated round-off of each element
    best: Bar | None = None
    for i in reversed(range(len(h))):
        for order in range(1, most + 1):
            j = i + order
            if j >= len(h) or h[j - 1] / h[j] > 20:  # the steps are too far apart to combine
                break
            coarse, fine = table[i][order - 1], table[i + 1][order - 1]
            weight = float(z[j] / (z[i] - z[j]))
            value = fine + weight * (fine - coarse)
            noisy = (1 + weight) * carried[i + 1][order - 1] + weight * carried[i][order - 1]
            table[i].append(value)
            carried[i].append(noisy)
            error = 2 * abs(value - fine) + noisy
            if len(table[i + 1]) > order:
                # Where derivatives do not exist, all columns converge equally slowly. The
                # difference to the next row bounds the error if the rate is at least h^(1/4).
                error = max(error, 4 * abs(value - table[i + 1][order]))
            if best is not None and not error < best.error:
                continue
            own = abs(q[j] - value) * z[j + 1 :] / z[j]  # error of q, scaled to the finer rungs
            apart = np.abs(q[j + 1 :] - value) > error + own + roundoff[j + 1 :]
            if np.isfinite(error) and apart.sum() <= dissent:
                best = Bar(float(value), float(error))
    return best


def neville(z: Array, q: Array, at: float) -> float:
    """Evaluate the polynomial through the points (z, q)."""
    row = [float(value) for value in q]
    for order in range(1, len(row)):
        for i in range(len(row) - order):
            j = i + order
            row[i] = ((at - z[j]) * row[i] - (at - z[i]) * row[i + 1]) / (z[i] - z[j])
    return row[0]
