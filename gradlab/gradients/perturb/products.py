"""The change of a product: (a + da) (b + db) - a b = da b + a db + da db.

Each term is a change times a value, `_times`. It changes all of the result, or a slice of it in
each lane. A slice of a column times a constant row is a power series of first order, u w.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gradlab.gradients.perturb.changes import Change
from gradlab.gradients.perturb.contraction import LANE_LETTERS, align, multiply
from gradlab.gradients.perturb.evaluate import Changes, Patched
from gradlab.gradients.perturb.extents import Entries, Slice
from gradlab.gradients.perturb.layout import LaneSlice, at_slice, put
from gradlab.gradients.perturb.powers import Powers
from gradlab.params import Array
from gradlab.program.ir import Node

Term: TypeAlias = tuple["Array | Powers", "LaneSlice | None"]
"""A term of a product, and the slice that it changes; None for all of the result."""


def product(of: Changes, node: Node) -> None:
    """Compute the change of a product from the changes of its operands."""
    *letters, out = of.layout.letters[node]
    operands = node.operands[-2:]
    changed = [i for i, o in enumerate(operands) if of.is_changed(o)]
    if not changed:
        of.keep_same(node)
        return
    terms = [
        (operands[i], letters[i], np.asarray(of.extents.constant(operands[1 - i])), letters[1 - i])
        for i in changed
    ]
    if len(terms) == 2:
        wide = of.wide(operands[0]).delta
        terms.append((operands[1], letters[1], wide, letters[0] + LANE_LETTERS))
    in_series = node in of.extents.series
    found = [_times(of, *term, out, in_series) for term in terms]
    _add_up(of, node, found)


def _add_up(of: Changes, node: Node, terms: Sequence[Term]) -> None:
    """Store the sum of the terms: a series with a patch if one term is a series, else an array."""
    base = of.base(node, of.at(of.of[node]), of.ndim[node])
    series = [found for found, _ in terms if isinstance(found, Powers)]
    rest = [(found, at) for found, at in terms if not isinstance(found, Powers)]
    slices = [at for _, at in rest if at is not None]
    is_patched = len(series) == 1 and len(slices) == len(rest)
    if is_patched and all(at.axis == slices[0].axis for at in slices):
        powers = replace(series[0], base=base)
        patch = sum(found for found, _ in rest) if rest else None
        if patch is not None:
            patch = patch + at_slice(powers, slices[0])
        of.series[node] = Patched(powers, slices[0] if slices else None, patch)
    elif len(terms) == 1:
        ((found, _),) = terms
        of.changes[node] = Change(base, found)
    else:
        delta = np.zeros((*of.features[node], *of.lanes))
        for found, at in terms:
            put(delta, at, found.change().delta if isinstance(found, Powers) else found)
        of.changes[node] = Change(base, delta)


def _times(
    of: Changes, node: Node, own: str, other: Array, of_other: str, out: str, in_series: bool
) -> Term:
    """Multiply a change by another value, which may have lanes."""
    if in_series and node in of.series and of.series[node].at is None:
        return _series_times(of, node, own, other, of_other, out), None
    extent = of.of[node]
    if isinstance(extent, Entries):
        # First sum over letters that occur only in the other value: an entry has no axis for them.
        alone = [i for i, k in enumerate(of_other) if k not in {*own, *out, *LANE_LETTERS}]
        other = other.sum(axis=tuple(alone))
        of_other = "".join(k for i, k in enumerate(of_other) if i not in alone)
        if sum(k in out for k in own) <= 1:
            return _entry_times(of, node, own, other, of_other, out)
        return multiply(
            of.wide(node).delta, own + LANE_LETTERS, other, of_other, out + LANE_LETTERS
        ), None
    delta = of.change(node).delta
    if not isinstance(extent, Slice):
        return multiply(delta, own + LANE_LETTERS, other, of_other, out + LANE_LETTERS), None
    return _slice_times(of, extent, delta, own, other, of_other, out, in_series)


def _entry_times(of: Changes, node: Node, own: str, other: Array, of_other: str, out: str) -> Term:
    """Multiply one entry in each lane, (1, M, 1), by the matching entries of the other value."""
    extent = of.of[node]
    assert isinstance(extent, Entries)
    where = {k: of.block.each(index) for k, index in zip(own, extent.axes, strict=True)}
    kept = [k for k in own if k in out]
    at = LaneSlice(out.index(kept[0]) - len(out), where[kept[0]]) if kept else None
    if of_other.endswith(LANE_LETTERS):  # (..., 1, M, 1) -> (..., M)
        other, of_other = other[..., 0, :, 0], of_other[:-3] + "M"
        where["M"] = np.arange(of.lanes[1])[None]
    # The same index for all lanes gives a view.
    once = {k: index[0, 0] for k, index in where.items() if index.size == 1}
    other = other[tuple(once.get(k, slice(None)) for k in of_other)]
    of_other = "".join(k for k in of_other if k not in once)
    # Advanced indexing puts its axis first: (M,), then the remaining axes.
    taken = [k for k in of_other if k in where]
    free = [k for k in out if k in of_other and k not in where]
    picked = other.transpose([of_other.index(k) for k in taken + free])
    if not taken:
        picked = picked[None]
    elif taken != ["M"]:
        picked = picked[tuple(where[k][0] for k in taken)]
    found = np.moveaxis(picked, 0, -1) * of.changes[node].delta[0, :, 0]  # (*free, M)
    return found[..., None, :, None], at


def _slice_times(
    of: Changes,
    extent: Slice,
    delta: Array,
    own: str,
    other: Array,
    of_other: str,
    out: str,
    in_series: bool,
) -> Term:
    """Multiply the slice of each lane by the same slice of the other value, or by all of it."""
    at = of.at(extent)
    assert at is not None
    k = own[extent.axis]
    own = own.replace(k, "")
    if k in of_other:
        other, of_other = _slice_of(of, other, of_other, k, at)
    if k in out:
        rest = out.replace(k, "")
        found = multiply(delta, own + LANE_LETTERS, other, of_other, rest + LANE_LETTERS)
        return found, LaneSlice(out.index(k) - len(out), at.hit)
    if (
        in_series
        and of.lanes[1] >= of.extents.limits.min_series_lanes
        and other.shape[-2:] == (1, 1)
    ):
        # u: (..., J, M, R), 1 along the axes of w; w: (..., J, 1, 1), 1 along the axes of u
        u = align(delta, own + LANE_LETTERS, out + LANE_LETTERS) if own else delta
        w = align(other, of_other, out + LANE_LETTERS)
        return Powers.rank_one(None, w, u, axis=-2), None
    return multiply(delta, own + LANE_LETTERS, other, of_other, out + LANE_LETTERS), None


def slice_of(other: Array, of_other: str, k: str, at: LaneSlice) -> tuple[Array, str]:
    """Select the slice of each lane from a value without lanes, along the axis of letter k."""
    moved = np.moveaxis(other, of_other.index(k), -1)  # (..., k) at the indices (J, M or 1)
    return moved[..., at.hit, None], of_other.replace(k, "") + LANE_LETTERS


def _slice_of(of: Changes, other: Array, of_other: str, k: str, at: LaneSlice) -> tuple[Array, str]:
    """Select the slice of each lane from the other value, along the axis of letter k."""
    if not of_other.endswith(LANE_LETTERS):
        return slice_of(other, of_other, k, at)
    moved = np.moveaxis(other, of_other.index(k), -1)
    # (..., J, M, R, k) at one index for each lane
    j, m = np.arange(of.lanes[0])[:, None], np.arange(of.lanes[1])
    return np.moveaxis(moved, -1, -4)[..., at.hit, j, m, :], of_other.replace(k, "")


def _series_times(
    of: Changes, node: Node, own: str, other: Array, of_other: str, out: str
) -> Powers:
    """Apply a product to the coefficients of a power series."""
    powers, shape = of.series[node].powers, of.features[node]
    varying = {own[axis] for axis in of.extents.series[node].varying}
    full = [s if k not in varying else 1 for k, s in zip(own, shape, strict=True)]

    def times(c: Array) -> Array:
        if c.shape[:-3] != shape:
            c = np.broadcast_to(c, np.broadcast_shapes(c.shape, (*full, 1, 1, 1)))
        return multiply(c, own + LANE_LETTERS, other, of_other, out + LANE_LETTERS)

    # u has length 1 along each axis of the value along which it does not vary.
    inside = [s for k, s in zip(own, shape, strict=True) if k in varying]
    letters = "".join(k for k in own if k in varying) + LANE_LETTERS
    u = align(powers.u.reshape(*inside, *powers.u.shape[-3:]), letters, out + LANE_LETTERS)
    u = u if varying else u[(0,) * len(out)]
    reach: Any = np.abs(u).max(-2, keepdims=True) if varying else powers.reach
    return Powers(None, [times(c) for c in powers.coefficients], u, reach)
