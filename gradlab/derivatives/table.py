"""The n-th derivative of a function of one number from its values: differences, extrapolated.

A symmetric formula for the n-th derivative has an error in even powers of the step, so that halving
steps are extrapolated to step 0 (Richardson 1911; Ridders 1982): ``T[k, j] = T[k, j-1] + (T[k, j-1]
− T[k-1, j-1]) / (4^j − 1)``. How far a member lies from those that it was made of is its error;
round-off, ε|f|/hⁿ, is added. The member with the least error is taken, among those that no finer
step contradicts: large steps alone agree on a wrong number where a function ripples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.derivatives.lines import Line
from gradlab.derivatives.measuring import ROUNDINGS
from gradlab.derivatives.stencils import weights
from gradlab.errors import GradlabError
from gradlab.params import Array

FIRST = 1
"""The first step is 2^-1, beside max(1, |x|)."""

ROWS = 24
"""The most steps that are tried; each is half the one before."""

AGREED = 4.0
"""Error bars by which two estimates of a derivative may lie apart."""


@dataclass(frozen=True)
class Estimated:
    """A derivative of each output, and how far it may be off; shape (m,).

    Attributes
    ----------
    value, error : ndarray
    row : int
        The number of the step, coarsest first.
    """

    value: Array
    error: Array
    row: int = 0


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
    """Return the n-th derivative by one formula, and its round-off; NaN where there is no value."""
    where = line.where
    points = [line(k * h) for k in offsets]
    gone = np.array([line.distance(k * h) for k in offsets])
    values = np.array([found for _, found in points])
    factors = weights(gone, order)
    size = np.maximum(np.abs(where.centre), np.abs(values).max(axis=0))
    noise = ROUNDINGS / 2 * where.epsilon * size * np.abs(factors).sum()
    return Estimated(factors @ (values - where.centre), noise)


def extrapolated(line: Line, order: int) -> Estimated:
    """Return the n-th derivative of all outputs along a line, with respect to t."""
    offsets = offsets_of(order, 2)
    row: list[Array] = []  # the members of the latest row
    members: list[Estimated] = []
    firsts: list[Estimated] = []  # what each step says alone, with its error
    for k in range(FIRST, FIRST + ROWS):
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
    """Return the member of least error that no finer step contradicts, for each output."""
    value, error = np.full(count, np.nan), np.full(count, np.inf)
    for member in members:
        agrees = np.isfinite(member.value)
        for first in firsts:
            if first.row > member.row:
                apart = np.abs(member.value - first.value)
                agrees &= ~(apart > AGREED * (member.error + first.error))
        better = agrees & (member.error < error)
        value, error = np.where(better, member.value, value), np.where(better, member.error, error)
    return Estimated(value, error)
