"""Shapes of unperturbed values and slices for broadcasting against lanes: see `blocks`.

Axes of features are counted from the last feature, -1. In an array with lanes, such an axis is
``axis - 3``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.gradients.perturb.extents import Extents
from gradlab.gradients.perturb.operations import axes_of, is_maximum, is_sum, terms_of_mean
from gradlab.gradients.perturb.powers import Powers, largest_feature
from gradlab.params import Array
from gradlab.program.ir import Node
from gradlab.program.primitives import Kind


@dataclass(frozen=True)
class LaneSlice:
    """The slice of each lane: the index ``hit`` of one axis, counted from the last."""

    axis: int
    hit: Array  # shape (J, M), (J, 1) or (1, 1)

    @cached_property
    def once(self) -> tuple[Any, ...] | None:
        """The index into an array with lanes, if all lanes have the same one."""
        if self.hit.size != 1:
            return None
        return (..., self.hit.item(), *[slice(None)] * (2 - self.axis))


class Arrangement:
    """Data shared by all blocks: shapes, subscripts, and values arranged for lanes."""

    def __init__(self, extents: Extents) -> None:
        self._extents = extents
        self._laid: dict[tuple[int, int, int | None], tuple[Any, Any, bool, bool]] = {}
        of, kinds = extents.of, extents.kinds
        self.features = {n: extents.features(n) for n in of}
        self.shape = {n: extents.shape(n) for n in of}
        self.ndim = {n: extents.ndim(n) for n in of}
        # For each reduction, its axes among the features, and whether the result keeps them.
        self.axes = {n: self._axes_of(n) for n in kinds if kinds[n] is Kind.REDUCTION}
        self.letters = {n: extents.letters(n) for n in kinds if kinds[n] is Kind.PRODUCT}

    def _axes_of(self, node: Node) -> tuple[tuple[int, ...], bool]:
        axes, keepdims = axes_of(node)
        return tuple(axis - self._extents.lead for axis in axes), keepdims

    def base(self, rows: slice, operand: Any, at: LaneSlice | None, ndim: int) -> Any:
        """Return rows of a value, shaped to broadcast against lanes of a value with `ndim` axes.

        With a slice, the result holds the slice of each lane; without one, all features.
        """
        axis = None if at is None else at.axis
        known = self._laid.get((id(operand), ndim, axis))
        if known is None:  # keep the operand, so that no other object gets its id
            known = operand, *self._arranged(operand, ndim, axis)
            self._laid[id(operand), ndim, axis] = known
        _, laid, has_rows, has_slices = known
        if not has_slices:
            return laid[..., rows] if has_rows else laid
        # (..., k, 1, R) -> (..., J, M or 1, R)
        assert at is not None
        return laid[..., 0, rows if has_rows else slice(None)][..., at.hit, :]

    def reduced(self, node: Node, powers: Powers, base: Any) -> Powers | None:
        """Return the series of a sum, a mean or a maximum of features; None if it has none."""
        features, (axes, keepdims) = self.features[node.operands[0]], self.axes[node]
        if is_sum(node):
            terms = terms_of_mean(node)
            return powers.mapped(
                base,
                lambda c: np.asarray(filled(c, features).sum(axis=axes, keepdims=keepdims) / terms),
            )
        if is_maximum(node):
            return largest_feature(powers, base, features, axes[0], keepdims)
        return None

    def _arranged(self, operand: Any, ndim: int, axis: int | None) -> tuple[Any, bool, bool]:
        """Return the value with lane axes, and whether it differs by row and along the axis.

        The given axis takes the place of J.
        """
        constant = self._extents.constant(operand)
        is_constant = not (isinstance(operand, Node) and operand in self._extents.of)
        if is_constant and np.ndim(constant) == 0:
            return constant, False, False
        value = np.asarray(constant)
        value = value.reshape((1,) * (ndim - value.ndim) + value.shape)
        if self._extents.lead:  # (n or 1, *features) -> (*features, n or 1)
            value = np.ascontiguousarray(np.moveaxis(value, 0, -1))
        else:
            value = value[..., None]
        if axis is None:  # (*features, 1, 1, R)
            laid = value[..., None, None, :]
            return laid, laid.shape[-1] > 1, False
        laid = np.moveaxis(value, axis - 1, -2)[..., None, :]  # (..., k, 1, R)
        return laid, laid.shape[-1] > 1, laid.shape[-3] > 1


def put(full: Array, at: LaneSlice | None, delta: Array) -> None:
    """Add `delta`, with the features of the slice, to the slice of each lane of `full`."""
    if at is None:
        full += delta
        return
    if at.once is not None:
        full[at.once] += delta
        return
    moved = np.moveaxis(full, at.axis - 3, -4)  # (..., k, J, M, R)
    j, m = np.arange(full.shape[-3]), np.arange(full.shape[-2])
    if at.hit.shape[1] == 1:  # indices (J,) and (J,) of (k, J) -> (J,)
        moved[..., at.hit[:, 0], j, :, :] += delta
    else:  # indices (J, M), (J, 1), (M,) of (k, J, M) -> (J, M)
        moved[..., at.hit, j[:, None], m, :] += delta


def at_slice(powers: Powers, at: LaneSlice) -> Array:
    """Return the slice of a series in each lane."""

    def take(array: Array) -> Array:
        if array.ndim < 3 - at.axis:
            return array
        k = array.shape[at.axis - 3]
        if k > 1 and at.once is not None:
            return np.asarray(array[at.once])
        # (..., k, J or 1, M or 1, R) -> (..., J, M, R)
        moved = np.moveaxis(array, at.axis - 3, -4)
        if k == 1:
            return moved[..., 0, :, :, :]
        js, ms = moved.shape[-3:-1]
        j, m = np.arange(js)[:, None], np.arange(ms)
        return np.asarray(moved[..., at.hit, j, m, :])

    u = take(powers.u)
    return np.asarray(Powers(0.0, [take(c) for c in powers.coefficients], u, u).change().delta)


def is_range(numbers: Array) -> bool:
    """Tell whether the indices are 0, 1, 2, ..."""
    return bool((numbers == np.arange(len(numbers))).all())


def filled(array: Array, features: tuple[int, ...]) -> Array:
    """Broadcast an array with lanes to all features."""
    if array.shape[:-3] == features:
        return array
    return np.broadcast_to(array, (*features, *array.shape[-3:]))


def flat(array: Array) -> Array:
    """Flatten the features into one axis."""
    return array.reshape(-1, *array.shape[-3:])
