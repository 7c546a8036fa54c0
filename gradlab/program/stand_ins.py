"""Pure replacements for operations that NumPy or autograd does in place or with branches.

autograd adds derivatives in place where it can (`mut_add`, `sparse_add`). In a program, each value
is computed once and never changes, so that functions with a new result replace these operations.
The functions of bits select entries without a branch for each.
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
    if is_basic(index):  # each entry occurs at most once: plain assignment is enough
        result[index] += term
    else:
        np.add.at(result, index, term)
    return result


def add_sparse(
    total: Array | None, sparse: SparseObject, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> Array:
    """Return `total` (by default zeros) plus a term that autograd represents as sparse."""
    result: Array = sparse.mut_add(np.zeros(shape, dtype) if total is None else np.array(total))
    return result


def cancelled(x: Any) -> Any:
    """Return x, which is known to be zero apart from round-off."""
    return x


def bitmask(condition: Array, width: int) -> Array:
    """Return integers of `width` bytes with all bits set where the condition holds, else 0.

    Examples
    --------
    >>> bitmask(np.array([True, False]), 4)
    array([-1,  0], dtype=int32)
    """
    return np.negative(condition, dtype=f"i{width}", casting="unsafe")


def keep(x: Array, mask: Array) -> Array:
    """Return x where the mask's bits are set, else 0: ``where(condition, x, 0)``.

    A bitwise and, for any floating-point type as wide as the mask: exact, and several times as
    fast as `numpy.where`, which branches at each entry.

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
