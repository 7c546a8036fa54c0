"""Blocks of lanes: the perturbations that are computed together.

A *lane* is one perturbation, in one row of the batch if the batch axis is separable. Lanes are the
last three axes of every array. The features of a value come first; a slice has no axis of its own::

    (*features, J, M, R)     J columns that change, M perturbations of each, R rows

`row_blocks` makes lanes where entries of the leaf first change rows (`Lift`). A perturbation that
is multiplied by zero gets no lane. Equal perturbations of a column share one lane, because an image
has few grey values. `entry_blocks` makes one lane for each perturbation, (1, M, 1), if no axis is
separable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from gradlab.gradients.perturb.extents import Extents, Slice
from gradlab.gradients.perturb.limits import Limits
from gradlab.gradients.perturb.rows import Lift
from gradlab.params import Array


@dataclass(frozen=True, slots=True)
class EntryBlock:
    """Perturbations of some entries of the leaf, one lane each."""

    entries: Array  # shape (i,)
    signs: int  # perturbations of each entry; M is i times this number

    rows = slice(0, 1)

    @property
    def lanes(self) -> tuple[int, int, int]:
        """All lanes in one axis: (1, M, 1)."""
        return 1, len(self.entries) * self.signs, 1

    def hit(self, extent: Slice) -> Array:
        """Return the index of the slice that changes in each lane: (1, M), or (1, 1)."""
        return self.each(extent.hit)

    def each(self, of_entries: Array) -> Array:
        """Spread values for each entry of the leaf over the lanes: (1, M), or (1, 1) if equal."""
        found = of_entries[self.entries]
        if (found == found[0]).all():
            return found[None, :1]
        return np.repeat(found, self.signs)[None]

    def add_to_total(self, total: Array, kept: Array, found: Array) -> None:
        """Add the changes in the lanes to a total for each entry of the leaf and sign, (p, S)."""
        total[self.entries] += np.broadcast_to(found, self.lanes).reshape(-1, self.signs)


@dataclass(frozen=True, slots=True)
class RowBlock:
    """Perturbations of some columns, in some rows."""

    lift: Lift
    rows: slice
    columns: slice
    change: Array  # shape (J, m, S, R): for each column, m different perturbations of S signs
    moved: Array  # shape (i,): the perturbed rows of the factor
    lane: Array  # shape (i,): the index of each one's lane among the m
    mask: Array | None = None  # shape (i, k): the perturbed entries of these rows; by default all

    @property
    def lanes(self) -> tuple[int, int, int]:
        """Perturbations and signs in one axis: (J, m S, R)."""
        j, m, signs, r = self.change.shape
        return j, m * signs, r

    def hit(self, extent: Slice) -> Array:
        """Return the columns, (J, 1): only the lift makes slices."""
        return np.arange(self.columns.start, self.columns.stop)[:, None]

    def each(self, of_entries: Array) -> Array:
        """Raise `NoRule`: entries share these lanes, so that no lane belongs to one entry."""
        raise NotImplementedError("entries share a lane of rows")

    def add_to_total(self, total: Array, kept: Array, found: Array) -> None:
        """Add the changes in the `kept` ones of the J columns, (J, M, R), to a total.

        The total is for each entry of the factor of the `Lift` and each sign, (d, k, S). All
        perturbations that share a lane get its change.
        """
        _, m, signs, _ = self.change.shape
        # (J, m S, R) -> (J, m, S) -> (m, J, S), then take the lane of each perturbed row: (i, J, S)
        each = found.sum(-1).reshape(-1, m, signs).transpose(1, 0, 2)[self.lane]
        columns: slice | Array = self.columns
        if len(kept) < len(self.change):
            columns = np.arange(self.columns.start, self.columns.stop)[kept]
        if self.mask is not None:
            each = np.where(self.mask[:, columns, None], each, 0.0)
        if isinstance(columns, slice):
            total[self.moved, columns] += each
        else:
            total[self.moved[:, None], columns] += each


Block: TypeAlias = EntryBlock | RowBlock


# Making them


def entry_blocks(extents: Extents, widest: int) -> Iterator[EntryBlock]:
    """Yield the entries of the leaf, grouped by the slice that they change where possible."""
    limits, p, signs = extents.limits, extents.p, extents.signs
    hits = [extent.hit for extent in extents.of.values() if isinstance(extent, Slice)]
    order = np.argsort(hits[0], kind="stable") if hits else np.arange(p)
    each = max(1, max(limits.block // widest, limits.lanes_side_by_side) // signs)
    cuts = [0, p]
    if hits and np.bincount(hits[0]).max() * signs >= 64:  # lanes of one slice can share more work
        cuts = [0, *(np.flatnonzero(np.diff(hits[0][order])) + 1), p]
    for start, stop in pairwise(cuts):
        for part in parts(stop - start, each):
            yield EntryBlock(order[start:stop][part], signs)


def rows_at_once(lift: Lift, lanes: int, widest: int, limits: Limits) -> int:
    """Return the number of rows of the batch in a block."""
    at_once = min(len(lift.rows), limits.block // (widest * max(lanes, 1)))
    return at_once if at_once >= limits.rows_side_by_side else 1


def row_blocks(lift: Lift, delta: Array, widest: int, limits: Limits) -> Iterator[RowBlock]:
    """Yield blocks of rows for perturbations of the factor, shape (d, k, S)."""
    d, k, signs = delta.shape
    at_once = rows_at_once(lift, delta.size, widest, limits)
    if at_once == 1 and lift.is_product:
        yield from _merged_blocks(lift, delta, max(1, limits.block // (widest * signs)), limits)
        return
    every = np.arange(d)
    for start in range(0, len(lift.rows), at_once):
        rows = slice(start, start + at_once)
        for columns in parts(k, max(1, limits.block // (widest * d * signs))):
            # (J, d, S, 1) times (1, d, 1, R)
            spread = delta[:, columns].transpose(1, 0, 2)[..., None]
            change = spread * lift.rows[rows].T[None, :, None, :]
            yield RowBlock(lift, rows, columns, change, every, every)


def _merged_blocks(lift: Lift, delta: Array, most: int, limits: Limits) -> Iterator[RowBlock]:
    """Yield blocks of one row each, without zeros; equal perturbations share a lane."""
    k = delta.shape[1]
    groups = _groups(delta, limits.sizes)
    for r, row in enumerate(lift.rows):
        for size, mask in groups:
            usable = row != 0 if mask is None else (row != 0) & mask.any(1)
            every = np.flatnonzero(usable)
            factors, lane = row[every], np.arange(len(every))
            if size is not None:
                factors, lane = np.unique(factors, return_inverse=True)
            for part in parts(len(factors), most):
                in_part = (lane >= part.start) & (lane < part.stop)
                moved = every[in_part]
                for columns in parts(k, max(1, most // (part.stop - part.start))):
                    if size is None:  # (m, J, S) -> (J, m, S)
                        spread = delta[moved, columns].transpose(1, 0, 2)
                        change = spread * factors[part][:, None]
                    else:  # (m, S), the same for all columns
                        once = factors[part][:, None] * size
                        change = np.broadcast_to(once, (columns.stop - columns.start, *once.shape))
                    yield RowBlock(
                        lift,
                        slice(r, r + 1),
                        columns,
                        change[..., None],
                        moved,
                        lane[in_part] - part.start,
                        None if mask is None else mask[moved],
                    )


def parts(length: int, each: int) -> Iterator[slice]:
    """Cut a length into slices.

    Examples
    --------
    >>> list(parts(5, 3))
    [slice(0, 3, None), slice(3, 5, None)]
    """
    for start in range(0, length, each):
        yield slice(start, min(start + each, length))


def _groups(delta: Array, most: int) -> list[tuple[Array | None, Array | None]]:
    """Group perturbations, shape (d, k, S), by size: each size, (S,), and the mask of its entries.

    There is one group without a size if there are too many sizes, and one without a mask if all
    sizes are equal.
    """
    first = delta[..., 0]
    sizes = np.unique(first)
    if len(sizes) > most:
        return [(None, None)]
    groups: list[tuple[Array | None, Array | None]] = []
    for size in sizes:
        mask = first == size
        members = delta[mask]
        if (members != members[0]).any():
            return [(None, None)]
        groups.append((members[0], None if mask.all() else mask))
    return groups
