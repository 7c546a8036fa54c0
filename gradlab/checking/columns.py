"""The entries of one leaf in arrays, to match them against patterns of errors."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradlab.checking.result import Entry, Leaf
from gradlab.params import Array

SIGNIFICANT_RATIO = 10
"""Ratio of size to tolerance above which an entry, or a difference of two, is significant."""

ROUNDOFF = 2.0**-53
"""Relative error of any float64 value: half a unit in the last place."""


@dataclass(frozen=True)
class Clues:
    """Properties of a loss's arguments that point to likely mistakes."""

    lengths: Collection[int] = ()  # sizes over which the loss may take a mean
    # Integers that occur more than once in one array, such as a repeated index.
    repeated: Collection[int] = ()


@dataclass(frozen=True)
class Columns:
    """Arrays of the m entries of one leaf that were checked and resolved."""

    shape: tuple[int, ...]
    index: Array  # shape (m, axes): the index of each entry in the leaf
    # Shape (m,): see `Entry`; `wrong` says whether the entry is a mismatch.
    analytic: Array
    numerical: Array
    tolerance: Array
    wrong: Array
    value: Array  # shape (m,): the value of the parameter; NaN if it is not known
    clues: Clues
    rest_is_right: bool = False  # whether directions found the entries that are absent here right

    @classmethod
    def of(
        cls, leaf: Leaf, entries: Sequence[Entry], values: Array | None, clues: Clues
    ) -> Columns:
        """Collect the resolved entries of a leaf; `values` are its parameters."""
        own = [e for e in entries if e.path == leaf.path and _is_resolved(e)]
        index = np.array([e.index for e in own], dtype=int).reshape(len(own), len(leaf.shape))
        rows = np.array([(e.analytic, e.numerical, e.tolerance) for e in own], dtype=np.float64)
        analytic, numerical, tolerance = rows.reshape(-1, 3).T
        size = np.fmax(np.abs(analytic), np.abs(numerical))
        # Even an exact value is rounded.
        floor = ROUNDOFF * size + ROUNDOFF**2 * size.max(initial=0.0) + np.finfo(np.float64).tiny
        return cls(
            leaf.shape,
            index,
            analytic,
            numerical,
            np.maximum(tolerance, floor),
            np.array([e.verdict == "mismatch" for e in own], dtype=bool),
            np.broadcast_to(np.nan if values is None else values[tuple(index.T)], len(own)),
            clues,
            leaf.rest in ("agree", "kink") and bool(leaf.checked < np.prod(leaf.shape)),
        )

    def where(self, mask: Array) -> Columns:
        """Return the selected entries."""
        names = ("index", "analytic", "numerical", "tolerance", "wrong", "value")
        return replace(self, **{name: getattr(self, name)[mask] for name in names})

    def within(self, error: float) -> Columns:
        """Return the same entries with errors up to `error` tolerated."""
        tolerance = np.maximum(self.tolerance, error)
        wrong = self.wrong & (np.abs(self.analytic - self.numerical) > tolerance)
        return replace(self, tolerance=tolerance, wrong=wrong)

    @property
    def complete(self) -> bool:
        """Whether all entries of the leaf are present, so that they can be reshaped to it."""
        return self.analytic.size == int(np.prod(self.shape))

    @property
    def clear(self) -> Array:
        """Mask of the entries whose slope is significant, beyond `SIGNIFICANT_RATIO` tolerances."""
        return np.abs(self.numerical) > SIGNIFICANT_RATIO * self.tolerance

    def fit(self, wanted: Array, by: Array) -> float:
        """Return the least-squares c in ``c * by = wanted``, weighted by 1 / tolerance."""
        by = by / self.tolerance
        with np.errstate(all="ignore"):
            return float(by @ (wanted / self.tolerance) / (by @ by))

    def explained(self, claimed: Array) -> bool:
        """Tell whether all measured values equal `claimed` within the tolerances."""
        return bool(np.all(np.abs(claimed - self.numerical) <= 2 * self.tolerance))


def _is_resolved(entry: Entry) -> bool:
    """Whether an entry was resolved; an entry that is barely wrong, as at a kink, is not."""
    gap = abs(entry.analytic - entry.numerical)
    barely = entry.verdict == "mismatch" and gap <= SIGNIFICANT_RATIO * entry.tolerance
    return bool(np.isfinite(entry.numerical + entry.tolerance)) and not barely
