"""A guess at what went wrong, where the pattern of a leaf's errors shows it.

Each pattern is a mistake that is made by hand: it is said only if it explains every entry of the
leaf that was looked at, within the entries' own tolerances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradlab.checking.report import Entry, Leaf
from gradlab.params import Array


@dataclass(frozen=True)
class _Columns:
    """The entries of one leaf that were looked at, side by side."""

    shape: tuple[int, ...]
    analytic: Array
    numerical: Array
    tolerance: Array

    @classmethod
    def of(cls, leaf: Leaf, entries: Sequence[Entry]) -> _Columns:
        rows = [(e.analytic, e.numerical, e.tolerance) for e in entries if e.path == leaf.path]
        columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return cls(leaf.shape, *columns)

    @property
    def complete(self) -> bool:
        """Whether all entries of the leaf are here, so that they can be put in its shape."""
        return self.analytic.size == int(np.prod(self.shape))

    def explained(self, claimed: Array, numerical: Array | None = None) -> bool:
        """Tell whether the measured values are those that `claimed` would have been right for."""
        wanted = self.numerical if numerical is None else numerical
        return bool(np.all(np.abs(claimed - wanted) <= 2 * self.tolerance))


def guess(entries: Sequence[Entry], leaves: Sequence[Leaf]) -> dict[str, str]:
    """Return a likely cause for each leaf that has a mismatch and shows a pattern.

    Examples
    --------
    >>> entries = [Entry("b", (i,), -g, g, 1e-9, 1e-9, "mismatch") for i, g in enumerate([1., 3.])]
    >>> guess(entries, [Leaf("b", (2,), "mismatch", 2)])
    {'b': 'the wrong sign'}
    """
    columns = {leaf.path: _Columns.of(leaf, entries) for leaf in leaves}
    wrong = {entry.path for entry in entries if entry.verdict == "mismatch"}
    found: dict[str, str] = {}
    for path in (leaf.path for leaf in leaves if leaf.path in wrong):
        swaps = (
            f"the gradient of {other}"
            for other, theirs in columns.items()
            if other != path
            and theirs.shape == columns[path].shape
            and theirs.complete
            and columns[path].complete
            and theirs.explained(columns[path].analytic)
        )
        own = (cause for pattern in PATTERNS for cause in pattern(columns[path]))
        if cause := next(own, "") or next(swaps, "") or next(_loose(columns[path]), ""):
            found[path] = cause
    return found


def _not_finite(c: _Columns) -> Iterator[str]:
    if not np.isfinite(c.analytic).all():
        yield "not finite"


def _never_updated(c: _Columns) -> Iterator[str]:
    if not c.analytic.any():
        yield "zero throughout: never computed, or never stored"


def _constant_factor(c: _Columns) -> Iterator[str]:
    """One number by which all entries are too large: a sum for a mean, a sign, a forgotten 2."""
    clear = np.abs(c.numerical) > 10 * c.tolerance
    if not clear.any():
        return
    weights = 1 / c.tolerance[clear]
    a, n = c.analytic[clear] * weights, c.numerical[clear] * weights
    factor = float(a @ n / (n @ n))
    if factor == 0 or not c.explained(c.analytic / factor):
        return
    name = _name(factor)
    yield name if c.analytic.size > 1 else f"{name} (one entry)"


def _name(factor: float) -> str:
    """Say what a factor is likely to be.

    Examples
    --------
    >>> _name(-1.0), _name(100.0), _name(-0.5)
    ('the wrong sign', '100 times too large: a sum for a mean?', '−0.5 times what it should be')
    """
    if abs(factor + 1) < 1e-3:
        return "the wrong sign"
    for times, what in ((factor, "too large: a sum for a mean?"), (1 / factor, "too small")):
        if times > 1.5 and abs(times - round(times)) < 1e-3 * times:
            return f"{round(times)} times {what}"
    return f"{factor:.6g} times what it should be".replace("-", "−")


def _rearranged(c: _Columns) -> Iterator[str]:
    if not c.complete or len(c.shape) == 0 or c.analytic.size < 2:
        return
    a = c.analytic.reshape(c.shape)
    if len(c.shape) == 2 and c.shape[0] == c.shape[1] and c.explained(a.T.ravel()):
        yield "transposed"
    for axis in range(len(c.shape)):
        if c.shape[axis] > 1:
            along = f" along axis {axis}" if len(c.shape) > 1 else ""
            if c.explained(np.flip(a, axis).ravel()):
                yield f"in reverse order{along}"
            if any(c.explained(np.roll(a, by, axis).ravel()) for by in (-1, 1)):
                yield f"off by one{along}"


def _smeared(c: _Columns) -> Iterator[str]:
    """Tell sums over another axis by their total, sums over too many axes by being all alike."""
    if not c.complete or c.analytic.size < 2:
        return
    if np.ptp(c.analytic) == 0:
        yield "the same number throughout: summed over too many axes?"
    elif abs(c.analytic.sum() - c.numerical.sum()) <= c.tolerance.sum():
        yield "right in total: summed over the wrong axis?"


PATTERNS: tuple[Callable[[_Columns], Iterator[str]], ...] = (
    _not_finite,
    _never_updated,
    _constant_factor,
    _rearranged,
    _smeared,
)


def _loose(c: _Columns) -> Iterator[str]:
    """Nearly parallel, and yet no multiple: the gradient of something much alike."""
    if c.analytic.size > 2 and np.abs(c.analytic - c.numerical).min() > c.tolerance.min():
        sizes = np.linalg.norm(c.analytic) * np.linalg.norm(c.numerical)
        if sizes > 0 and float(c.analytic @ c.numerical) > 0.9 * sizes:
            yield "close to right throughout: stale values, or a missing term?"
