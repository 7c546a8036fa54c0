"""Joining and splitting."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import along, as_array, axis_of
from gradlab.arrays.dispatch import composite


@composite(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0, **options: Any) -> Any:
    """Join along a new axis."""
    rows = [as_array(a) for a in arrays]
    if len({np.shape(row) for row in rows}) != 1:
        raise ValueError("all input arrays must have the same shape")
    place = int(np.lib.array_utils.normalize_axis_index(axis, np.ndim(rows[0]) + 1))
    return np.concatenate([np.expand_dims(row, place) for row in rows], axis=place)


@composite(np.hstack)
def hstack(arrays: Sequence[Any], **options: Any) -> Any:
    """Join columns; vectors end to end."""
    rows = [np.atleast_1d(as_array(a)) for a in arrays]
    return np.concatenate(rows, axis=0 if np.ndim(rows[0]) == 1 else 1)


@composite(np.column_stack)
def column_stack(arrays: Sequence[Any]) -> Any:
    """Join vectors as columns."""
    columns = [as_array(a) for a in arrays]
    return np.concatenate(
        [c if np.ndim(c) > 1 else np.reshape(c, (-1, 1)) for c in columns], axis=1
    )


@composite(np.block)
def block(arrays: Any) -> Any:
    """Join nested lists: the innermost along the last axis, and so on outwards."""

    def depth_of(node: Any) -> int:
        return 1 + max(map(depth_of, node)) if isinstance(node, list) else 0

    depth = depth_of(arrays)

    def leaves(node: Any) -> list[Any]:
        return [leaf for child in node for leaf in leaves(child)] if type(node) is list else [node]

    ndim = max([depth, *[np.ndim(as_array(leaf)) for leaf in leaves(arrays)]])

    def join(node: Any, level: int) -> Any:
        if isinstance(node, list):
            return np.concatenate([join(child, level + 1) for child in node], axis=level - depth)
        leaf = as_array(node)
        return np.reshape(leaf, (1,) * (ndim - np.ndim(leaf)) + np.shape(leaf))

    return join(arrays, 0)


@composite(np.insert)
def insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Any:
    """Insert values before the given places."""
    arr, values = as_array(arr), as_array(values)
    if axis is None:
        arr, axis = np.ravel(arr), 0
    axis = axis_of(arr, axis)
    n = np.shape(arr)[axis]
    places = np.insert(np.arange(n), obj, np.full(np.shape(obj) or 1, n), axis=0)
    taken = np.append(np.arange(n), n)[places]
    shape = (*np.shape(arr)[:axis], taken.size - n, *np.shape(arr)[axis + 1 :])
    values = np.broadcast_to(values, shape)
    if np.shape(obj):
        before = np.where(np.less(obj, 0), np.add(obj, n), obj)
        values = np.take(values, np.argsort(before, kind="stable"), axis=axis)
    rows = np.cumsum(taken == n) - 1
    order = np.where(taken == n, n + rows, taken)
    return np.take(np.concatenate([arr, values], axis=axis), order, axis=axis)


@composite(np.delete)
def delete(arr: Any, obj: Any, axis: Any = None) -> Any:
    """Leave entries out."""
    if axis is None:
        arr, axis = np.ravel(arr), 0
    return np.take(arr, np.delete(np.arange(np.shape(arr)[axis]), obj), axis=axis)


@composite(np.array_split)
def array_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    """Split into parts, equal or between given places."""
    axis = axis_of(ary, axis)
    parts = np.array_split(np.arange(np.shape(ary)[axis]), indices_or_sections)
    ends = np.cumsum([0, *map(len, parts)])
    if not isinstance(indices_or_sections, (int, np.integer)):
        starts = [0, *indices_or_sections]
        stops: list[Any] = [*indices_or_sections, None]
        return [ary[along(axis, slice(*pair))] for pair in zip(starts, stops, strict=True)]
    return [ary[along(axis, slice(int(a), int(b)))] for a, b in pairwise(ends)]
