"""Reused memory: memory that is new to the process takes longer to obtain than to fill.

Without it, the central difference of a network of tanh layers takes 1.1 times as long.
"""

from __future__ import annotations

import sys
import threading
from math import prod
from typing import Any

import numpy as np

from gradlab.params import Array

MIN_ENTRIES = 2**13
"""Smallest number of entries of an array that uses this memory."""

_local = threading.local()


def take(shape: tuple[int, ...]) -> Array:
    """Return an uninitialised float64 array in memory that no other array of this thread uses.

    An array keeps its memory as long as a reference to it, or to a view of it, exists.

    Examples
    --------
    >>> with_memory = take((MIN_ENTRIES,))
    >>> other = take((MIN_ENTRIES,))
    >>> np.shares_memory(with_memory, other)
    False
    """
    size = prod(shape)
    if size < MIN_ENTRIES:
        return np.empty(shape)
    buffers: list[Array] | None = getattr(_local, "buffers", None)
    if buffers is None:
        buffers = _local.buffers = []
    for position in range(len(buffers)):
        if buffers[position].size >= size and sys.getrefcount(buffers[position]) == _UNUSED_COUNT:
            return buffers[position][:size].reshape(shape)
    buffers.append(np.empty(size))
    return buffers[-1][:size].reshape(shape)


def release() -> None:
    """Return the memory of this thread to the system."""
    _local.buffers = []


def into(ufunc: Any, *operands: Any) -> Any:
    """Apply a ufunc with a float64 result; a large result goes into reused memory."""
    shape = np.broadcast(*operands).shape
    return ufunc(*operands, out=take(shape)) if prod(shape) >= MIN_ENTRIES else ufunc(*operands)


_PROBE = [np.empty(())]
_UNUSED_COUNT = sys.getrefcount(_PROBE[0])
