"""Tell whether the contents of arrays have changed, in one pass over their memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

MAX_FULLY_COMPARED_BYTES = 2**26
"""Largest size in bytes (64 MiB) of an array that is copied and compared in full."""

SAMPLED_ENTRIES = 4096
"""Number of entries of a larger array that are compared: that takes a few microseconds."""


class Captured:
    """The arrays that a loss closes over, with their contents at construction.

    Examples
    --------
    >>> scale = np.array([1.0, 2.0])
    >>> captured = Captured([scale])
    >>> captured.are_unchanged()
    True
    >>> scale[0] = 3.0
    >>> captured.are_unchanged()
    False
    """

    __slots__ = ("_pairs",)

    def __init__(self, arrays: Iterable[Any] = ()) -> None:
        self._pairs = [_pair(array) for array in arrays if array.size]

    def are_unchanged(self) -> bool:
        """Tell whether the contents are unchanged."""
        return not self._pairs or all(map(_is_unchanged, self._pairs))


def _pair(array: Any) -> tuple[Any, Any]:
    """Return the argument of `_content` for an array, and its current content."""
    plain = array.view(np.ndarray)
    if plain.nbytes <= MAX_FULLY_COMPARED_BYTES and (
        plain.flags.c_contiguous or plain.flags.f_contiguous
    ):
        flat = plain.reshape(-1, order="A").view(np.uint8)  # the memory itself, no copy
        return memoryview(flat), bytearray(flat)
    return plain, _content(plain)


def _is_unchanged(pair: tuple[Any, Any]) -> bool:
    return bool(pair[1] == _content(pair[0]))


def _content(array: Any) -> Any:
    """Return the bytes for a comparison with a bytearray, without a copy where possible."""
    if type(array) is memoryview:
        return array
    if array.nbytes <= MAX_FULLY_COMPARED_BYTES:
        return array.tobytes()
    return array.flat[:: array.size // SAMPLED_ENTRIES].tobytes()
