"""Tell whether the contents of arrays have changed, in one pass over their memory."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

WHOLE = 2**26
"""Largest size in bytes of an array that is compared in full, with a copy of it."""

SAMPLE = 4096
"""Number of entries of a larger array that are compared, which takes some microseconds."""


class Captured:
    """The arrays that a loss closes over, as they were when this was made.

    Parameters
    ----------
    arrays : iterable of ndarray
        The arrays.

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
        """Tell whether the contents are as they were."""
        return not self._pairs or all(map(_is_unchanged, self._pairs))


def _pair(array: Any) -> tuple[Any, Any]:
    """Return what `_content` takes, and its content now."""
    plain = array.view(np.ndarray)
    if plain.nbytes <= WHOLE and (plain.flags.c_contiguous or plain.flags.f_contiguous):
        flat = plain.reshape(-1, order="A").view(np.uint8)  # the memory itself, no copy
        return memoryview(flat), bytearray(flat)
    return plain, _content(plain)


def _is_unchanged(pair: tuple[Any, Any]) -> bool:
    return bool(pair[1] == _content(pair[0]))


def _content(array: Any) -> Any:
    """Return what compares with a bytearray by one pass over the memory, without a copy of it."""
    if type(array) is memoryview:
        return array
    if array.nbytes <= WHOLE:
        return array.tobytes()
    return array.flat[:: array.size // SAMPLE].tobytes()
