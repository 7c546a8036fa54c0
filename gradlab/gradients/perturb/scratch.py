"""Memory that is used again and again: what is new to the process costs more than to fill it."""

from __future__ import annotations

import sys
import threading
from math import prod
from typing import Any

import numpy as np

from gradlab.params import Array

LARGE = 2**13
"""Entries from which on an array comes from here."""

_local = threading.local()


def take(shape: tuple[int, ...]) -> Array:
    """Return an array of float64, not filled, from what no other array of this thread uses.

    An array keeps its memory as long as it, or a view of it, is referred to.

    Examples
    --------
    >>> with_memory = take((LARGE,))
    >>> other = take((LARGE,))
    >>> np.shares_memory(with_memory, other)
    False
    """
    size = prod(shape)
    if size < LARGE:
        return np.empty(shape)
    buffers: list[Array] | None = getattr(_local, "buffers", None)
    if buffers is None:
        buffers = _local.buffers = []
    for position in range(len(buffers)):
        if buffers[position].size >= size and sys.getrefcount(buffers[position]) == _UNUSED:
            return buffers[position][:size].reshape(shape)
    buffers.append(np.empty(size))
    return buffers[-1][:size].reshape(shape)


def release() -> None:
    """Give the memory of this thread back to the system."""
    _local.buffers = []


def into(ufunc: Any, *operands: Any) -> Any:
    """Apply a ufunc whose result is float64, into memory from here where it is large."""
    shape = np.broadcast(*operands).shape
    return ufunc(*operands, out=take(shape)) if prod(shape) >= LARGE else ufunc(*operands)


_PROBE = [np.empty(1)]
_UNUSED = sys.getrefcount(_PROBE[0])
