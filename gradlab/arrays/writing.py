"""NumPy's functions that write into their first argument, where traced arrays take part.

Each is written with ``a[index] = value``, which traced arrays and buffers support. A plain array
cannot hold a traced value, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array, axis_of
from gradlab.arrays.dispatch import WRITERS, Implementation, name_of, refuse_write, values_of


def _writer(function: Any) -> Callable[[Implementation], Implementation]:
    def register(implementation: Implementation) -> Implementation:
        def write(a: Any, *args: Any, **kwargs: Any) -> None:
            if not hasattr(a, "write"):
                refuse_write(
                    f"writes a traced value into a plain array by {name_of(function)}",
                    "make the array by np.zeros",
                )
            implementation(a, *args, **kwargs)

        WRITERS[function] = write
        return implementation

    return register


def _write_flat(a: Any, places: Any, values: Any) -> None:
    """Write values, repeated as often as necessary, to places of the flattened array."""
    values = np.ravel(as_array(values))
    if np.size(places):
        a[np.unravel_index(places, np.shape(a))] = values[np.arange(places.size) % np.size(values)]


@_writer(np.copyto)
def copyto(dst: Any, src: Any, casting: str = "same_kind", where: Any = True) -> None:
    """Write an array into another, where a mask holds."""
    dst[...] = src if where is True else np.where(where, src, dst)


@_writer(np.put)
def put(a: Any, ind: Any, v: Any, mode: str = "raise") -> None:
    """Write values to places of the flattened array."""
    size = int(np.prod(np.shape(a)))
    places = np.ravel(np.asarray(values_of(ind)))
    if mode == "wrap":
        places = places % size
    elif mode == "clip":
        places = np.clip(places, 0, size - 1)
    _write_flat(a, np.arange(size)[places], v)


@_writer(np.place)
def place(arr: Any, mask: Any, vals: Any) -> None:
    """Write values one after the other to the places where a mask holds."""
    _write_flat(arr, np.flatnonzero(values_of(mask)), vals)


@_writer(np.putmask)
def putmask(a: Any, mask: Any, values: Any) -> None:
    """Write values to the places where a mask holds; each value has the place of its target."""
    values = np.ravel(as_array(values))
    size = int(np.prod(np.shape(a)))
    repeated = np.reshape(values[np.arange(size) % np.size(values)], np.shape(a))
    a[...] = np.where(mask, repeated, a)


@_writer(np.fill_diagonal)
def fill_diagonal(a: Any, val: Any, wrap: bool = False) -> None:
    """Write to the main diagonal."""
    places = np.zeros(np.shape(a))
    np.fill_diagonal(places, 1, wrap)
    _write_flat(a, np.flatnonzero(places), val)


@_writer(np.put_along_axis)
def put_along_axis(arr: Any, indices: Any, values: Any, axis: Any) -> None:
    """Write one value per index, along an axis."""
    if axis is None:
        _write_flat(arr, np.ravel(values_of(indices)), values)
        return
    axis = axis_of(arr, axis)
    grid = list(np.ogrid[tuple(map(slice, np.shape(indices)))])
    arr[tuple(indices if i == axis else row for i, row in enumerate(grid))] = values
