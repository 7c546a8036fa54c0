"""Pure stand-ins for what NumPy or autograd does in place or by branches.

autograd adds up derivatives in place where it may (`mut_add`, `sparse_add`). In a program each
value is made once and never changed, so that these become functions with a result of their own.
The functions of bits select without a branch an entry.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from autograd.core import SparseObject

from gradlab.arrays.indexing import filled, is_basic
from gradlab.params import Array


def accumulate(total: Array, term: Any) -> Array:
    """Return total + term in the shape and dtype of `total`.

    Examples
    --------
    >>> accumulate(np.zeros(2, np.float32), np.ones(2)).dtype
    dtype('float32')
    """
    result = np.array(total)
    result += term
    return result


def scatter(
    term: Any,
    index: Any,
    total: Array | None,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *arrays: Any,
) -> Array:
    """Return `total` (by default zeros) with `term` added at an index: the adjoint of ``[index]``.

    With index arrays, `index` is the template into which they belong, as for `gather`.

    Examples
    --------
    >>> scatter(np.array([1.0, 2.0]), [0, 0], None, (3,), np.dtype(float))
    array([3., 0., 0.])
    """
    if arrays:
        index = filled(index, arrays)
    result = np.zeros(shape, dtype) if total is None else np.array(total)
    if isinstance(index, list) and not (index and isinstance(index[0], slice)):
        index = np.array(index, dtype=np.int64)
    if is_basic(index):  # each entry at most once: no need to go one by one
        result[index] += term
    else:
        np.add.at(result, index, term)
    return result


def add_sparse(
    total: Array | None, sparse: SparseObject, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Return `total` (by default zeros) with what autograd has written as a sparse array."""
    result: Array = sparse.mut_add(np.zeros(shape, dtype) if total is None else np.array(total))
    return result


def cancelled(x: Any) -> Any:
    """Return x, which is known to be zero but for round-off."""
    return x


def bitmask(condition: Array, width: int) -> Array:
    """Return integers of `width` bytes, all of whose bits are set where the condition holds.

    Examples
    --------
    >>> bitmask(np.array([True, False]), 4)
    array([-1,  0], dtype=int32)
    """
    return np.negative(condition, dtype=f"i{width}", casting="unsafe")


def keep(x: Array, mask: Array) -> Array:
    """Return x where the mask's bits are set, else 0: ``where(condition, x, 0)``.

    A logical and of the bits, in any floating-point type as wide as the mask: exact, and several
    times as fast as `numpy.where`, which takes a branch an entry.

    Examples
    --------
    >>> keep(np.array([1.5, np.nan]), bitmask(np.array([True, False]), 8))
    array([1.5, 0. ])
    """
    return np.bitwise_and(x.view(mask.dtype), mask).view(x.dtype)


def select(mask: Array, x: Array, y: Array) -> Array:
    """Return x where the mask's bits are set, else y: ``where(condition, x, y)``.

    Examples
    --------
    >>> select(bitmask(np.array([True, False]), 8), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    array([1., 4.])
    """
    a, b = (np.asarray(z, np.result_type(x, y)).view(mask.dtype) for z in (x, y))
    return (b ^ ((a ^ b) & mask)).view(np.result_type(x, y))


def toggle(x: Array, bits: Array) -> Array:
    """Return x with these bits of its entries changed: with its sign's, −x.

    Examples
    --------
    >>> sign = np.int64(-(2**63))
    >>> toggle(np.array([1.5, 2.0]), sign & bitmask(np.array([True, False]), 8))
    array([-1.5,  2. ])
    """
    return np.bitwise_xor(x.view(bits.dtype), bits).view(x.dtype)
