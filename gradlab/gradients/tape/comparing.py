"""Compare replays with eager autograd, and calls with earlier calls."""

from __future__ import annotations

import inspect
import math
import operator
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.params import Array, checksum

_VDOT: Any = inspect.unwrap(np.vdot)  # without the search for `__array_function__`


def squared_norm(arrays: Sequence[Array]) -> float:
    """Return the sum of the squares of all entries of arrays."""
    return float(sum(map(_VDOT, arrays, arrays)))


def are_finite(arrays: Sequence[Array], norm: float) -> bool:
    """Tell whether all entries of arrays with this squared norm are finite.

    A norm takes a fraction of the time of a test of each entry. If it is not finite, either an
    entry is not, or its square overflows; each entry is tested only then.
    """
    return math.isfinite(norm) or all(bool(np.isfinite(array).all()) for array in arrays)


def seen_params(norm: float, leaves: Sequence[Array]) -> list[float]:
    """Return numbers that identify parameters: their norm, and one entry of each leaf."""
    return [norm, *[leaf.item(0) for leaf in leaves if leaf.size]]


class DataSnapshot:
    """The data arrays of a call, and their content.

    The same arrays count as the same data. Of other arrays, a sample is compared at each call, and
    the whole content at the first call, the second, the fourth, and so on: a checksum of all data
    would take longer than a small gradient.
    """

    def __init__(self, arrays: Sequence[Any]) -> None:
        self._arrays = [weakref.ref(array) for array in arrays if isinstance(array, np.ndarray)]
        self._samples = [_sample(array) for array in arrays]
        self._sums = [checksum(array) for array in arrays]
        self._asked = 0

    def is_of(self, arrays: Sequence[Any]) -> bool:
        """Tell whether these are the same arrays, or appear to have the same content."""
        held = [reference() for reference in self._arrays]
        if len(held) == len(arrays) and all(map(operator.is_, held, arrays)):
            return True
        if self._samples != [_sample(array) for array in arrays]:
            return False
        self._asked += 1
        is_power_of_two = self._asked & (self._asked - 1) == 0
        return not is_power_of_two or self._sums == [checksum(array) for array in arrays]


SAMPLED_ENTRIES = 64
"""Number of entries of a large array compared at each call, which takes a microsecond."""

MAX_FULLY_COMPARED_BYTES = 2048
"""Largest size in bytes of an array that is compared in full, which takes as long."""


def _sample(array: Any) -> Any:
    if array.nbytes <= MAX_FULLY_COMPARED_BYTES:
        return checksum(array)
    return array.flat[:: array.size // SAMPLED_ENTRIES].tobytes()


def agree(
    value: float, gradients: Sequence[Array], wanted: float, expected: Sequence[Array]
) -> bool:
    """Tell whether two gradients have half of their digits in common, relative to each leaf."""

    def is_close(a: Any, b: Any, dtype: np.dtype[Any]) -> bool:
        difference = np.max(np.abs(np.asarray(a, np.float64) - b), initial=0.0)
        return bool(difference <= np.sqrt(np.finfo(dtype).eps) * np.max(np.abs(b), initial=0.0))

    dtypes = [leaf.dtype for leaf in expected]
    coarsest = max(dtypes, key=lambda dtype: np.finfo(dtype).eps, default=np.dtype(float))
    return is_close(value, wanted, coarsest) and all(map(is_close, gradients, expected, dtypes))
