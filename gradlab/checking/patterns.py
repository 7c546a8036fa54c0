"""Patterns of errors in one leaf that common mistakes cause.

Each pattern states a relation between the claimed and the measured entries: the claim is 20 times
the measurement, or its transpose, or lacks a tenth of the parameter. A pattern yields its cause
only if it explains every resolved entry.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TypeAlias

import numpy as np

from gradlab.checking.columns import ROUNDOFF, SIGNIFICANT_RATIO, Columns

COMMON_FACTORS = {
    "ln 10": float(np.log(10)),
    "1/ln 10": float(1 / np.log(10)),
    "ln 2": float(np.log(2)),
    "1/ln 2": float(1 / np.log(2)),
    "π": np.pi,
    "1/π": 1 / np.pi,
    "2π": 2 * np.pi,
    "1/2π": 1 / (2 * np.pi),
    "π/180": np.pi / 180,
    "180/π": 180 / np.pi,
    "√2": float(np.sqrt(2)),
    "1/√2": float(np.sqrt(0.5)),
}
"""Factors that formulas often lack, or contain twice."""

MIN_WRONG_IN_LINE = 4
"""Number of wrong entries of a sample in one row or column that rules out coincidence."""

MAX_LINES = 3
"""Largest number of rows or columns that a cause names."""

COMMON_CLIPPING_LIMITS = (0.01, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 100.0)
"""Common limits for clipping gradients."""

Pattern: TypeAlias = Callable[[Columns], Iterator[str]]


# One number for all entries


def _never_updated(c: Columns) -> Iterator[str]:
    if not c.analytic.any():
        yield "zero throughout: never computed, or never stored"


def _constant_factor(c: Columns) -> Iterator[str]:
    """Recognise one factor for all entries: a sum for a mean, a sign, a missing 2."""
    clear = c.where(c.clear)
    if not clear.analytic.any():
        return
    factor = clear.fit(clear.analytic, clear.numerical)
    if factor == 0 or not c.explained(c.analytic / factor):
        return
    accuracy = float((clear.tolerance / np.abs(clear.numerical)).min())
    name, known = _name(factor, min(2 * accuracy, 1e-2), c.clues.lengths)
    if known or clear.analytic.size > 1:  # a single entry always fits a factor
        yield name


def _name(factor: float, accuracy: float, lengths: Collection[int] = ()) -> tuple[str, bool]:
    """Return the likely meaning of a factor, and whether it is a common mistake.

    Examples
    --------
    >>> _name(-1.0, 1e-9), _name(100.0, 1e-9, lengths=[100])
    (('the wrong sign', True), ('100 times too large: a sum for a mean?', True))
    >>> _name(-0.05, 1e-9), _name(np.log(10), 1e-9), _name(1.23, 1e-9)
    (('20 times too small, and of the wrong sign', True), ('ln 10 times what it should be', True),
    ('1.23 times what it should be', False))
    >>> _name(1.996, accuracy=1e-2), _name(0.69, accuracy=1e-2)
    (('2 times too large', True), ('0.69 times what it should be', False))
    """

    def equal(a: float, b: float) -> bool:
        return abs(a - b) <= accuracy * b

    size = abs(factor)
    sign = ", and of the wrong sign" if factor < 0 else ""
    if sign and equal(size, 1):
        return "the wrong sign", True
    times, how, swap = (size, "large", "a sum for a mean")
    if size < 1:
        times, how, swap = (1 / size, "small", "a mean for a sum")
    whole = round(min(times, 1e15))
    if whole > 1 and equal(times, whole):
        why = f": {swap}?" if whole in lengths else ""
        if whole == 2 and size < 1:
            why = ": the 2 of a square?"
        return f"{whole:,} times too {how}{sign}{why}", True
    for name, constant in COMMON_FACTORS.items():
        if accuracy < 1e-4 and equal(size, constant):
            return f"{name} times what it should be{sign}", True
    off = size - 1
    number = f"{size:.6g}" if abs(off) > 1e-3 else f"1 {'+' if off > 0 else '-'} {abs(off):.1g}"
    return f"{number} times what it should be{sign}", False


def _clipped(c: Columns) -> Iterator[str]:
    """Recognise entries clipped at a limit, or a leaf scaled down to a round norm."""
    wrong = c.where(c.wrong)
    limit = float(np.abs(c.analytic).max())
    cut = np.abs(np.abs(wrong.analytic) - limit) <= 4 * ROUNDOFF * limit
    same_sign = np.sign(wrong.analytic) == np.sign(wrong.numerical)
    larger = np.abs(wrong.numerical) > limit
    varied = np.ptp(np.abs(wrong.numerical)) > 2 * wrong.tolerance.max(initial=0.0)
    # Slopes of one size fit a constant factor as well.
    if varied and (cut & same_sign & larger).all():
        yield f"clipped to [-{limit:.6g}, {limit:.6g}]"
    length = float(np.linalg.norm(c.analytic))
    if c.complete and any(abs(length - r) <= 1e-6 * r for r in COMMON_CLIPPING_LIMITS):
        factor = c.fit(c.analytic, c.numerical)
        if 0 < factor < 1 and c.analytic.size > 1 and c.explained(c.analytic / factor):
            yield f"scaled to a length of {length:.6g}: clipped by its norm?"


def _term(c: Columns) -> Iterator[str]:
    """Recognise a missing or superfluous multiple of the parameter, of its sign, or of 1."""
    gap = c.analytic - c.numerical
    if np.count_nonzero(np.abs(gap) > SIGNIFICANT_RATIO * c.tolerance) < 3:
        return
    terms = [("", np.ones_like(gap), "")]
    if np.isfinite(c.value).all():
        terms.append((" times the parameter", c.value, ": an L2 penalty?"))
        terms.append((" times the parameter's sign", np.sign(c.value), ": an L1 penalty?"))
    for what, term, why in terms:
        factor = c.fit(gap, term) if term.any() else 0.0
        if factor and c.explained(c.analytic - factor * term):
            how = "large" if factor > 0 else "small"
            yield f"too {how} by {abs(factor):.6g}{what}{why}"


# The right numbers in the wrong places


def _rearranged(c: Columns) -> Iterator[str]:
    if not c.complete or np.count_nonzero(c.clear) < 3:  # two entries match too easily
        return
    a = c.analytic.reshape(c.shape)
    if len(c.shape) == 2 and c.shape[0] == c.shape[1]:
        if c.explained(a.T.ravel()):
            yield "transposed"
        n = c.numerical.reshape(c.shape)
        if np.all(np.abs(a - (n + n.T) / 2).ravel() <= 2 * c.tolerance):
            yield "symmetrised: the mean of the right one and its transpose"
    if len(c.shape) > 1 and c.explained(a.reshape(c.shape[::-1]).T.ravel()):
        yield "laid out in the other order: transposed, then reshaped?"
    if len(c.shape) > 1 and c.explained(np.flip(a).ravel()):
        yield "in reverse order along all axes: a flipped kernel?"
    for axes in ((-2, -1), (0, 1)) if len(c.shape) > 2 else ():
        if c.explained(np.flip(a, axes).ravel()):
            yield "in reverse order along the two axes of each kernel: a flipped kernel?"
    for axis in range(len(c.shape)):
        if c.shape[axis] > 1:
            along = f" along axis {axis}" if len(c.shape) > 1 else ""
            if c.explained(np.flip(a, axis).ravel()):
                yield f"in reverse order{along}"
            if any(c.explained(np.roll(a, by, axis).ravel()) for by in (-1, 1)):
                yield f"off by one{along}"
    if c.where(np.argsort(c.numerical)).explained(np.sort(c.analytic)):
        yield "the right numbers in the wrong places"


# Sums over the wrong axes


def _smeared(c: Columns) -> Iterator[str]:
    """Recognise sums over too many axes: all entries are equal, or equal along an axis."""
    if not c.complete or np.count_nonzero(c.clear) < 3:
        return
    if np.ptp(c.analytic) == 0:
        yield "the same number throughout: summed over too many axes?"
    n = c.numerical.reshape(c.shape)
    for axis in range(len(c.shape)):
        if len(c.shape) > 1 and c.shape[axis] > 1:
            tolerance = c.tolerance.sum()
            for reduced in (n.sum(axis, keepdims=True), n.mean(axis, keepdims=True)):
                spread = np.broadcast_to(reduced, c.shape).ravel()
                if np.all(np.abs(c.analytic - spread) <= tolerance):
                    yield f"the same along axis {axis}: summed over it?"


def _missing_mean(c: Columns) -> Iterator[str]:
    """Recognise inputs of a batch norm whose gradient lacks the path through the mean.

    A shift of all samples does not change the loss, so that the slopes of each column add up to 0.
    """
    batched = len(c.shape) == 2 and c.shape[0] in c.clues.lengths and c.shape[0] > 2
    if not (c.complete and batched):
        return
    a, n, tolerance = (x.reshape(c.shape) for x in (c.analytic, c.numerical, c.tolerance))
    bar = tolerance.sum(axis=0)
    vanish = np.abs(n.sum(axis=0)) <= bar
    known = np.abs(n).sum(axis=0) > SIGNIFICANT_RATIO * bar
    if (
        known.sum() > 1
        and vanish.all()
        and (np.abs(a.sum(axis=0)) > SIGNIFICANT_RATIO * bar)[known].all()
    ):
        yield (
            "the columns do not add up to 0, as the slopes of the loss do: "
            "is the path through the mean of a batch norm missing?"
        )


def _factor_a_unit(c: Columns) -> Iterator[str]:
    """Recognise a separate factor for each row or column, such as that of its unit."""
    if not c.complete or len(c.shape) != 2:
        return
    a, n, tolerance, clear = (
        column.reshape(c.shape) for column in (c.analytic, c.numerical, c.tolerance, c.clear)
    )
    for axis, each in ((0, "column"), (1, "row")):
        told = np.asarray(clear.sum(axis) > 1)
        wrong = np.asarray(c.wrong.reshape(c.shape).any(axis))
        if told.sum() < 2 or not wrong[told].all():
            continue
        weights = 1 / tolerance**2
        with np.errstate(all="ignore"):
            factors = (a * n * weights).sum(axis, keepdims=True)
            factors = factors / (n * n * weights).sum(axis, keepdims=True)
            apart = np.abs(a - factors * n) / np.maximum(1, np.abs(factors))
        if np.all(apart <= 2 * tolerance):
            yield f"each {each} is off by a factor of its own: the derivative at its unit?"


# Some entries alone


def in_part(c: Columns) -> Iterator[str]:
    """Return where the wrong entries lie, and the pattern of their errors if there is one."""
    wrong = c.where(c.wrong)
    count, place = len(wrong.index), _place(c)
    known = c.complete or c.rest_is_right
    total, looked_at = (np.prod(c.shape), "") if known else (len(c.index), " that were checked")
    where = place or f"in {count:,} of {total:,} entries{looked_at}"
    if not wrong.analytic.any():
        yield f"zero {where}: never stored, or masked?"
    for cause in _constant_factor(wrong):
        what, colon, why = cause.partition(":")
        yield f"{what} {where}{colon}{why}"
    if place:
        added = len(c.shape) > 1 and set(map(int, wrong.index[:, 0])) <= set(c.clues.repeated)
        why = ": a repeated index, of which the last one is stored instead of all added?"
        yield f"wrong {place}{why if added and place.startswith('in row') else ''}"


def _place(c: Columns) -> str:
    """Name the few rows, columns or slices that contain all wrong entries and no right ones."""
    wrong, right = c.index[c.wrong], c.index[~c.wrong & c.clear]
    enough = 2 if c.complete else MIN_WRONG_IN_LINE
    if len(c.shape) < 2 or not len(right):  # right entries may all be 0, as with dead units
        return ""
    for axis in range(len(c.shape)):
        at = np.unique(wrong[:, axis])
        few = len(at) <= MAX_LINES and len(at) < c.shape[axis] and len(wrong) >= enough * len(at)
        if few and not np.isin(right[:, axis], at).any():
            name = ("row", "column")[axis] if len(c.shape) == 2 else f"slice along axis {axis},"
            several = "s" if len(at) > 1 and name in ("row", "column") else ""
            return f"in {name}{several} {' and '.join(map(str, at))} alone"
    return ""


PATTERNS: tuple[Pattern, ...] = (
    _never_updated,
    _clipped,
    _constant_factor,
    _rearranged,
    _term,
    _smeared,
    _missing_mean,
    _factor_a_unit,
)
"""Patterns that may explain all entries of a leaf, in the order of the tests."""
