"""Which traced arrays are views of others: in NumPy, they would share memory."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import Traced, held

VIEWS = {
    np.reshape,
    np.ravel,
    np.transpose,
    np.permute_dims,
    np.matrix_transpose,
    np.linalg.matrix_transpose,
    np.swapaxes,
    np.moveaxis,
    np.rollaxis,
    np.expand_dims,
    np.squeeze,
    np.diagonal,
    np.linalg.diagonal,
    np.real,
    np.imag,
    np.flip,
    np.fliplr,
    np.flipud,
    np.rot90,
    np.broadcast_to,
    np.broadcast_arrays,
    np.atleast_1d,
    np.atleast_2d,
    np.atleast_3d,
    np.split,
    np.array_split,
    np.hsplit,
    np.vsplit,
    np.dsplit,
}
"""Functions whose result shares memory with their argument in NumPy if possible."""


class Viewed(Traced):
    """A traced array with references to its base and to its views."""

    shape: tuple[int, ...]
    _base: Any = None  # for a view: (its base, the index or None)
    _views: list[Any] | None = None  # weak references to views, and their indices


def as_view(found: Any, function: Any, args: tuple[Any, ...]) -> Any:
    """Record which array a result is a view of, if the function makes views."""
    if function in VIEWS and args and isinstance(base := held(args[0]), Viewed):
        for view in found if isinstance(found, (list, tuple)) else (found,):
            mark_view(view, base, None)
    return found


def mark_view(view: Any, base: Viewed, index: Any) -> None:
    """Record that one traced array is a view of another; None stands for an unknown index."""
    if view is base or not isinstance(view, Viewed) or not view.shape:
        return
    view._base = (base, index)
    living = [pair for pair in base._views or () if pair[0]() is not None]
    base._views = [*living, (weakref.ref(view), index)]


def same_index(a: Any, b: Any) -> bool:
    """Tell whether two indices are equal."""
    try:
        return bool(a == b)
    except ValueError:  # of arrays
        return False


def overlap(shape: tuple[int, ...], a: Any, b: Any) -> bool:
    """Tell whether two indices into an array have an entry in common."""
    try:
        mask = np.zeros(shape, bool)
        mask[b] = True
        return bool(mask[a].any())
    except Exception:  # an index that is traced itself
        return True
