"""A guess at what went wrong, where the pattern of a leaf's errors shows it.

Each pattern is a mistake that is made by hand, put as a statement about the numbers: what was
claimed is 20 times what was measured, or the same numbers transposed, or lacks a tenth of the
parameter. It is said only if it explains every entry of the leaf that was looked at, within the
entries' own tolerances; so it may be missing, but seldom misleads. A pattern that holds for the
wrong entries alone is said with the place where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradlab.checking.result import Entry, Leaf
from gradlab.params import Array, flatten

CONSTANTS = {
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
"""Factors that formulas forget, or have too many of."""

CLEAR = 10
"""Size in tolerances above which an entry, or a difference of two, is known well enough to use."""

TOGETHER = 4
"""Number of wrong entries of a sample in one row or column that is no coincidence."""

FEW = 3
"""Largest number of rows or columns that a cause names."""

EXACT = 2.0**-53
"""Relative error of any float64 value: half a unit in the last place."""

SINGLE = 2e-6
"""What single precision and finite differences are off by at most, beside the largest entry."""

CLOSE = 0.5
"""A gradient that is off by less than this share of its length is close to right."""


@dataclass(frozen=True)
class _Columns:
    """The entries of one leaf that were looked at and resolved, side by side.

    Attributes
    ----------
    shape : tuple of int
        Of the leaf.
    index : ndarray, shape (m, axes)
        Where each entry is.
    analytic, numerical, tolerance, wrong : ndarray, shape (m,)
        See `Entry`; whether it is a mismatch.
    value : ndarray, shape (m,)
        The parameter itself; NaN if it is not known.
    lengths : collection of int
        Over how many terms a mean may go.
    """

    shape: tuple[int, ...]
    index: Array
    analytic: Array
    numerical: Array
    tolerance: Array
    wrong: Array
    value: Array
    lengths: Collection[int]

    @classmethod
    def of(
        cls, leaf: Leaf, entries: Sequence[Entry], values: Array | None, lengths: Collection[int]
    ) -> _Columns:
        own = [e for e in entries if e.path == leaf.path and _tells(e)]
        index = np.array([e.index for e in own], dtype=int).reshape(len(own), len(leaf.shape))
        rows = np.array([(e.analytic, e.numerical, e.tolerance) for e in own], dtype=np.float64)
        analytic, numerical, tolerance = rows.reshape(-1, 3).T
        size = np.fmax(
            np.abs(analytic), np.abs(numerical)
        )  # an exact value has rounding all the same
        floor = EXACT * size + EXACT**2 * size.max(initial=0.0) + np.finfo(np.float64).tiny
        return cls(
            leaf.shape,
            index,
            analytic,
            numerical,
            np.maximum(tolerance, floor),
            np.array([e.verdict == "mismatch" for e in own], dtype=bool),
            np.broadcast_to(np.nan if values is None else values[tuple(index.T)], len(own)),
            lengths,
        )

    def where(self, mask: Array) -> _Columns:
        """Return some of the entries."""
        return replace(
            self,
            index=self.index[mask],
            analytic=self.analytic[mask],
            numerical=self.numerical[mask],
            tolerance=self.tolerance[mask],
            wrong=self.wrong[mask],
            value=self.value[mask],
        )

    @property
    def complete(self) -> bool:
        """Whether all entries of the leaf are here, so that they can be put in its shape."""
        return self.analytic.size == int(np.prod(self.shape))

    @property
    def clear(self) -> Array:
        """Which entries have a slope beyond doubt."""
        return np.abs(self.numerical) > CLEAR * self.tolerance

    def fit(self, wanted: Array, by: Array) -> float:
        """Return c for which ``c * by`` is nearest to `wanted`, in units of the tolerances."""
        by = by / self.tolerance
        with np.errstate(all="ignore"):
            return float(by @ (wanted / self.tolerance) / (by @ by))

    def explained(self, claimed: Array) -> bool:
        """Tell whether the measured values are those that `claimed` would have been right for."""
        return bool(np.all(np.abs(claimed - self.numerical) <= 2 * self.tolerance))


def _tells(entry: Entry) -> bool:
    """Whether an entry was resolved: not so where it is barely wrong, as it is at a kink."""
    gap = abs(entry.analytic - entry.numerical)
    barely = entry.verdict == "mismatch" and gap <= CLEAR * entry.tolerance
    return bool(np.isfinite(entry.numerical + entry.tolerance)) and not barely


Pattern = Callable[[_Columns], Iterator[str]]


def guess(
    entries: Sequence[Entry],
    leaves: Sequence[Leaf],
    values: Mapping[str, Array] | None = None,
    lengths: Collection[int] = (),
) -> dict[str, str]:
    """Return a likely cause for each leaf that has a mismatch and shows a pattern.

    Parameters
    ----------
    entries : sequence of Entry
        What was looked at.
    leaves : sequence of Leaf
        The leaves, in the order of the parameters.
    values : mapping of str to ndarray, optional
        The parameters, by the leaves' paths.
    lengths : collection of int, optional
        Over how many terms the loss may take a mean, such as the samples of a batch.

    Examples
    --------
    >>> entries = [Entry("b", (i,), -g, g, 1e-9, 1e-9, "mismatch") for i, g in enumerate([1., 3.])]
    >>> guess(entries, [Leaf("b", (2,), "mismatch", 2)])
    {'b': 'the wrong sign'}
    """
    columns = {
        leaf.path: _Columns.of(leaf, entries, (values or {}).get(leaf.path), lengths)
        for leaf in leaves
    }
    right = [leaf for leaf in leaves if leaf.verdict in ("agree", "kink")]
    not_finite = {e.path for e in entries if not np.isfinite(e.analytic)}
    found: dict[str, str] = {}
    for path, own in columns.items():
        if path in not_finite:
            found[path] = "not finite"
        elif own.wrong.any():
            causes = (
                *(pattern(own) for pattern in PATTERNS),
                _swapped(path, columns),
                _in_part(own),
                _step_back(path, columns, right),
                _loose(own),
            )
            if cause := next((cause for pattern in causes for cause in pattern), ""):
                found[path] = cause
    return found


def lengths_of(args: Any) -> set[int]:
    """Return the sizes, and the lengths of all axes, of the arrays among a loss's arguments.

    Examples
    --------
    >>> sorted(lengths_of([{"x": np.zeros((20, 3))}, "mean", 5]))
    [3, 20, 60]
    """
    found = flatten(args, lambda value, path: value)[0]
    shapes = [tuple(leaf.shape) for leaf in found if hasattr(leaf, "shape")]
    return {n for shape in shapes for n in (*shape, int(np.prod(shape))) if n > 1}


# One number for all entries


def _never_updated(c: _Columns) -> Iterator[str]:
    if not c.analytic.any():
        yield "zero throughout: never computed, or never stored"


def _constant_factor(c: _Columns) -> Iterator[str]:
    """One number by which all entries are too large: a sum for a mean, a sign, a forgotten 2."""
    clear = c.where(c.clear)
    if not clear.analytic.any():
        return
    factor = clear.fit(clear.analytic, clear.numerical)
    if factor == 0 or not c.explained(c.analytic / factor):
        return
    accuracy = float((clear.tolerance / np.abs(clear.numerical)).min())
    name, known = _name(factor, min(2 * accuracy, 1e-2), c.lengths)
    if known or clear.analytic.size > 1:  # one entry is always some multiple
        yield name


def _name(factor: float, accuracy: float, lengths: Collection[int] = ()) -> tuple[str, bool]:
    """Say what a factor is likely to be, and whether it is one that mistakes have.

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
    for name, constant in CONSTANTS.items():
        if accuracy < 1e-4 and equal(size, constant):
            return f"{name} times what it should be{sign}", True
    off = size - 1
    number = f"{size:.6g}" if abs(off) > 1e-3 else f"1 {'+' if off > 0 else '-'} {abs(off):.1g}"
    return f"{number} times what it should be{sign}", False


def _term(c: _Columns) -> Iterator[str]:
    """One multiple of the parameter, of its sign, or of 1, that is missing or too much."""
    gap = c.analytic - c.numerical
    if np.count_nonzero(np.abs(gap) > CLEAR * c.tolerance) < 3:
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


def _rearranged(c: _Columns) -> Iterator[str]:
    if not c.complete or np.count_nonzero(c.clear) < 3:  # two numbers are soon alike
        return
    a = c.analytic.reshape(c.shape)
    if len(c.shape) == 2 and c.shape[0] == c.shape[1] and c.explained(a.T.ravel()):
        yield "transposed"
    if len(c.shape) > 1 and c.explained(a.reshape(c.shape[::-1]).T.ravel()):
        yield "laid out in the other order: transposed, then reshaped?"
    if len(c.shape) > 1 and c.explained(np.flip(a).ravel()):
        yield "in reverse order along all axes: a flipped kernel?"
    for axis in range(len(c.shape)):
        if c.shape[axis] > 1:
            along = f" along axis {axis}" if len(c.shape) > 1 else ""
            if c.explained(np.flip(a, axis).ravel()):
                yield f"in reverse order{along}"
            if any(c.explained(np.roll(a, by, axis).ravel()) for by in (-1, 1)):
                yield f"off by one{along}"
    if c.where(np.argsort(c.numerical)).explained(np.sort(c.analytic)):
        yield "the right numbers in the wrong places"


def _swapped(path: str, columns: Mapping[str, _Columns]) -> Iterator[str]:
    own = columns[path]
    for other, theirs in columns.items():
        alike = theirs.shape == own.shape and theirs.complete and own.complete
        if other != path and alike and theirs.explained(own.analytic):
            yield f"the gradient of {other}"


# Sums over the wrong axes


def _smeared(c: _Columns) -> Iterator[str]:
    """Tell sums over too many axes by being all alike, sums over another axis by their total."""
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
    total, apart = c.numerical.sum(), np.abs(c.analytic - c.numerical).sum()
    tolerance = c.tolerance.sum()
    if abs(c.analytic.sum() - total) <= tolerance < min(abs(total), apart) / CLEAR:
        yield "right in total: summed over the wrong axis?"


def _factor_a_unit(c: _Columns) -> Iterator[str]:
    """Fit a factor to each row or column: that of the unit that it belongs to."""
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


def _in_part(c: _Columns) -> Iterator[str]:
    """Say where the wrong entries lie, and what is wrong with them if that is one thing."""
    wrong = c.where(c.wrong)
    count, place = len(wrong.index), _place(c)
    looked_at = "" if c.complete else " that were looked at"
    where = place or f"in {count:,} of {len(c.index):,} entries{looked_at}"
    if not wrong.analytic.any():
        yield f"zero {where}: never stored, or masked?"
    for cause in _constant_factor(wrong):
        what, colon, why = cause.partition(":")
        yield f"{what} {where}{colon}{why}"
    if place:
        yield f"wrong {place}"


def _place(c: _Columns) -> str:
    """Name the few rows, columns or slices in which all wrong entries lie, and none but they.

    Examples
    --------
    >>> g = np.arange(1.0, 13.0).reshape(4, 3)
    >>> wrong = {(1, 0), (1, 1), (1, 2), (3, 0), (3, 1), (3, 2)}
    >>> entries = [
    ...     Entry("E", i, -x, x, 1e-9, 1e-9, "mismatch" if i in wrong else "agree")
    ...     for i, x in np.ndenumerate(g)
    ... ]
    >>> _place(_Columns.of(Leaf("E", (4, 3), "mismatch", 12), entries, None, ()))
    'in rows 1 and 3 alone'
    """
    wrong, right = c.index[c.wrong], c.index[~c.wrong & c.clear]
    enough = 2 if c.complete else TOGETHER
    if len(c.shape) < 2:
        return ""
    for axis in range(len(c.shape)):
        at = np.unique(wrong[:, axis])
        few = len(at) <= FEW and len(at) < c.shape[axis] and len(wrong) >= enough * len(at)
        if few and not np.isin(right[:, axis], at).any():
            name = ("row", "column")[axis] if len(c.shape) == 2 else f"slice along axis {axis},"
            several = "s" if len(at) > 1 and name in ("row", "column") else ""
            return f"in {name}{several} {' and '.join(map(str, at))} alone"
    return ""


def _step_back(path: str, columns: Mapping[str, _Columns], right: Sequence[Leaf]) -> Iterator[str]:
    """Backpropagation that goes wrong on its way: before a layer all leaves are, after it none."""
    if not right or len(right[0].shape) < 2:  # a layer begins with its weights
        return
    paths = list(columns)
    before = paths[: len(paths) - len(right)]
    wrong = (2 * columns[p].wrong.sum() > columns[p].clear.sum() for p in before)
    if len(before) > 1 and path in before and all(wrong):
        yield f"wrong before {right[0].path}, right from there on: the derivative of an activation?"


# Nothing exact


def _precision(c: _Columns) -> Iterator[str]:
    """Tell a gradient that is right to about the seventh digit."""
    share = np.abs(c.analytic - c.numerical).max() / max(np.abs(c.numerical).max(), 1e-300)
    if c.analytic.size > 2 and c.wrong.mean() > 0.5 and share < SINGLE:
        yield f"off by {share:.0e} of its largest entry: single precision, or a finite difference?"


def _loose(c: _Columns) -> Iterator[str]:
    """Near the right one, and yet no multiple: the gradient of something much alike."""
    size = float(np.linalg.norm(c.numerical))
    share = float(np.linalg.norm(c.analytic - c.numerical)) / (size or 1.0)
    if c.analytic.size > 2 and c.wrong.mean() > 0.8 and 0 < share < CLOSE:
        yield "not far from right: other data, stale values, or a missing term?"


PATTERNS: tuple[Pattern, ...] = (
    _never_updated,
    _constant_factor,
    _rearranged,
    _term,
    _precision,
    _smeared,
    _factor_a_unit,
)
