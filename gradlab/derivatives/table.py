"""The n-th derivative of a function of one number from its values: differences, extrapolated.

A symmetric formula for the n-th derivative has an error in even powers of the step, so the values
of halving steps are extrapolated to step 0 (Richardson 1911; Ridders 1982): ``T[k, j] = T[k, j-1] +
(T[k, j-1] − T[k-1, j-1]) / (4^j − 1)``. The error of a member is its distance from the members that
it was made of, plus round-off, ε|f|/hⁿ. The result is the member with the smallest error that no
finer step contradicts: if a function ripples, large steps can agree on a wrong number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.derivatives.lines import Line
from gradlab.derivatives.measuring import EVALUATION_ROUNDINGS
from gradlab.derivatives.stencils import weights
from gradlab.errors import GradlabError
from gradlab.params import Array

FIRST_EXPONENT = 1
"""The first step is 2^-FIRST, relative to max(1, |x|)."""

MAX_ROWS = 24
"""Largest number of steps; each is half the previous one."""

MAX_BARS_APART = 4.0
"""Number of error bars by which two estimates of a derivative may differ."""


@dataclass(frozen=True)
class Estimated:
    """A derivative of each output with its error; shape (m,)."""

    value: Array
    error: Array
    row: int = 0  # the index of the step, coarsest first


def offsets_of(order: int, accuracy: int, *, one_sided: bool = False) -> Sequence[int]:
    """Return the offsets, in steps, of a formula for the n-th derivative with an error of h^q.

    Examples
    --------
    >>> offsets_of(1, 2), offsets_of(2, 2), offsets_of(3, 2), offsets_of(2, 1, one_sided=True)
    ([1, -1], [1, -1], [1, -1, 2, -2], [1, 2])
    """
    if one_sided:
        return list(range(1, order + accuracy))
    pairs = (order + accuracy - 1) // 2
    return [sign * k for k in range(1, pairs + 1) for sign in (1, -1)]


def difference(line: Line, order: int, offsets: Sequence[int], h: float) -> Estimated:
    """Return the n-th derivative by one formula, and its round-off; NaN if there is no value."""
    where = line.where
    points = [line(k * h) for k in offsets]
    gone = np.array([line.distance(k * h) for k in offsets])
    values = np.array([found for _, found in points])
    factors = weights(gone, order)
    size = np.maximum(np.abs(where.centre), np.abs(values).max(axis=0))
    noise = EVALUATION_ROUNDINGS / 2 * where.epsilon * size * np.abs(factors).sum()
    return Estimated(factors @ (values - where.centre), noise)


def extrapolated(line: Line, order: int) -> Estimated:
    """Return the n-th derivative of all outputs along a line, with respect to t."""
    offsets = offsets_of(order, 2)
    row: list[Array] = []  # the members of the latest row
    members: list[Estimated] = []
    firsts: list[Estimated] = []  # the estimate of each step, with its error
    for k in range(FIRST_EXPONENT, FIRST_EXPONENT + MAX_ROWS):
        h = 2.0**-k
        if h * max(offsets) <= line.finest:
            break
        try:
            found = difference(line, order, offsets, h)
        except GradlabError:  # at the edge of a domain
            row = []
            continue
        before, row = row, [found.value]
        for j, coarser in enumerate(before, start=1):
            row.append(row[-1] + (row[-1] - coarser) / (4**j - 1))
            apart = np.maximum(np.abs(row[j] - row[j - 1]), np.abs(row[j] - before[j - 1]))
            members.append(Estimated(row[j], apart + found.error, k))
        if before:
            firsts.append(Estimated(row[0], np.abs(row[0] - before[0]) + found.error, k))
    return _best(members, firsts, len(line.where.centre))


def _best(members: Sequence[Estimated], firsts: Sequence[Estimated], count: int) -> Estimated:
    """Return the member of smallest error that no finer step contradicts, for each output."""
    value, error = np.full(count, np.nan), np.full(count, np.inf)
    for member in members:
        agrees = np.isfinite(member.value)
        for first in firsts:
            if first.row > member.row:
                apart = np.abs(member.value - first.value)
                agrees &= ~(apart > MAX_BARS_APART * (member.error + first.error))
        better = agrees & (member.error < error)
        value, error = np.where(better, member.value, value), np.where(better, member.error, error)
    return Estimated(value, error)
