"""The likely cause of a wrong gradient, inferred from the pattern of a leaf's errors.

The report names a pattern (`patterns`) only if it explains every checked entry of the leaf within
the entries' tolerances. A cause may therefore be missing, but it seldom misleads. If a pattern
holds only for the wrong entries, the cause names their place. If the whole leaf is nearly right,
the report says so. If no pattern fits, the patterns are tried again with small errors tolerated,
because one mistake may hide another.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from gradlab.checking.columns import Clues, Columns
from gradlab.checking.patterns import PATTERNS, in_part
from gradlab.checking.result import Entry, Leaf
from gradlab.params import Array, flatten

SMALL_ERROR = 1e-4
"""Largest error, relative to the largest entry, that is attributed to a small number inside a log,
to single precision, to a finite difference or to a solver. The slope of log(p + 1e-7) is off by
1e-7 / p."""

APPROXIMATION_CAUSES = "log(p + ε), single precision, or a finite difference"

MAX_ERROR_OF_CLOSE_GRADIENT = 0.5
"""Error, relative to the length of a leaf, below which its gradient counts as close to right."""


def guess(
    entries: Sequence[Entry],
    leaves: Sequence[Leaf],
    values: Mapping[str, Array] | None = None,
    lengths: Collection[int] = (),
    repeated: Collection[int] = (),
) -> dict[str, str]:
    """Return a likely cause for each leaf with a mismatch whose errors match a pattern.

    The leaves are in the order of the parameters, whose `values` are given by path. See `Clues` for
    `lengths` and `repeated`.

    Examples
    --------
    >>> entries = [Entry("b", (i,), -g, g, 1e-9, 1e-9, "mismatch") for i, g in enumerate([1., 3.])]
    >>> guess(entries, [Leaf("b", (2,), "mismatch", 2)])
    {'b': 'the wrong sign'}
    """
    clues = Clues(lengths, repeated)
    columns = {
        leaf.path: Columns.of(leaf, entries, (values or {}).get(leaf.path), clues)
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
                *_exact(path, columns),
                _step_back(path, columns, right),
                _nearly_right(own),
                *_exact(path, {name: _with_wide_tolerances(c) for name, c in columns.items()}),
                _close_to_right(own),
            )
            if own.rest_is_right:  # no cause may speak of the whole leaf
                causes = (in_part(own),)
            if cause := next((cause for pattern in causes for cause in pattern), ""):
                found[path] = cause
    return found


def _exact(path: str, columns: Mapping[str, Columns]) -> Iterator[Iterator[str]]:
    """Yield the causes that explain all errors of a leaf within its tolerances."""
    own = columns[path]
    if own.wrong.any():
        yield from (pattern(own) for pattern in PATTERNS)
        yield _swapped(path, columns)
        yield in_part(own)


def _with_wide_tolerances(c: Columns) -> Columns:
    """Return the entries with tolerances widened for the error of a small number inside a log."""
    return c.within(SMALL_ERROR * float(np.abs(c.numerical).max(initial=0.0)))


def lengths_of(args: Any) -> set[int]:
    """Return the sizes, and the lengths of all axes, of the arrays among a loss's arguments."""
    found = flatten(args, lambda value, path: value)[0]
    shapes = [tuple(leaf.shape) for leaf in found if hasattr(leaf, "shape")]
    return {n for shape in shapes for n in (*shape, int(np.prod(shape))) if n > 1}


def repeated_in(args: Any) -> set[int]:
    """Return the integers that occur more than once in an array among a loss's arguments."""
    found: set[int] = set()
    for leaf in flatten(args, lambda value, path: value)[0]:
        if getattr(getattr(leaf, "dtype", None), "kind", "") in ("i", "u"):
            numbers, counts = np.unique(np.asarray(leaf), return_counts=True)
            found |= set(map(int, numbers[counts > 1]))
    return found


def _swapped(path: str, columns: Mapping[str, Columns]) -> Iterator[str]:
    own = columns[path]
    for other, theirs in columns.items():
        alike = theirs.shape == own.shape and theirs.complete and own.complete
        if other != path and alike and theirs.explained(own.analytic):
            yield f"the gradient of {other}"


def _step_back(path: str, columns: Mapping[str, Columns], right: Sequence[Leaf]) -> Iterator[str]:
    """Recognise an error at a layer: all leaves before it are wrong, and none after it."""
    if not right or len(right[0].shape) < 2:  # a layer begins with its weights
        return
    paths = list(columns)
    before = paths[: len(paths) - len(right)]
    wrong = (2 * columns[p].wrong.sum() > columns[p].clear.sum() for p in before)
    if len(before) > 1 and path in before and all(wrong):
        layer, shape = right[0].path, right[0].shape
        square = len(shape) == 2 and shape[0] == shape[1]
        why = f", or {layer} without its transpose" if square else ""
        yield f"wrong before {layer}, right from there on: the derivative of an activation{why}?"


# Approximate patterns


def _nearly_right(c: Columns) -> Iterator[str]:
    """Recognise a gradient that is nearly right throughout."""
    size = float(np.abs(c.numerical).max())
    share = float(np.abs(c.analytic - c.numerical).max()) / (size or 1.0)
    most = c.wrong[c.clear].mean() > 0.5 if c.clear.any() else False
    if c.analytic.size > 2 and most and share < SMALL_ERROR:
        single = bool(np.all(c.analytic == c.analytic.astype(np.float32)))
        why = "computed in single precision" if single else APPROXIMATION_CAUSES
        yield f"off by {share:.0e} of its largest entry: {why}?"


def _close_to_right(c: Columns) -> Iterator[str]:
    """Recognise a gradient that is close to the right one but not a multiple of it."""
    size = float(np.linalg.norm(c.numerical))
    share = float(np.linalg.norm(c.analytic - c.numerical)) / (size or 1.0)
    if c.analytic.size > 2 and c.wrong.mean() > 0.8 and 0 < share < MAX_ERROR_OF_CLOSE_GRADIENT:
        yield "not far from right: other data, stale values, or a missing term?"
