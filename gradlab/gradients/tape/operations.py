"""Pure stand-ins for what autograd does in place, and what the tape knows about primitives.

autograd accumulates a gradient in place where it may (`mut_add`, `sparse_add`). In a program each
value is made once and never changed, so that these become functions with a result of their own.
"""

from __future__ import annotations

import operator
import sys
from typing import Any

import numpy as np
from autograd.core import SparseObject, VSpace, sparse_add
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1
from autograd.numpy.numpy_wrapper import concatenate_args

from gradlab.arrays.indexing import filled, gather, is_basic
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
    """Return x, a derivative of which is known that it is zero but for round-off."""
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


def holders(box: list[Any]) -> int:
    """Take an array out of a box, and count who else holds it.

    Counted by CPython's references; how many of them are this function's own depends on its
    version, and is measured.

    Examples
    --------
    >>> array = np.zeros(2)
    >>> holders([array]), holders([np.zeros(2)]), holders([array[:1]])
    (1, 0, 0)
    """
    array = box.pop()
    return sys.getrefcount(array) - _OWN


_OWN = 0
_OWN = holders([np.zeros(1)])


# What is known about primitives

_OURS = (__name__, gather.fun.__module__)
_IN_PLACE = (VSpace.mut_add.fun, sparse_add.fun)

VIEWS = frozenset(
    {np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.rollaxis, np.expand_dims}
    | {np.squeeze, np.flipud, np.fliplr, np.real, operator.getitem}
)
"""They rearrange the entries of their first operand, where they can without copying them."""

FRESH = frozenset(
    {np.where, np.einsum, np.tensordot, np.inner, np.outer, np.kron, np.cumsum, np.sort}
    | {np.argsort, np.argmax, np.argmin, np.tile, np.repeat, np.roll, np.triu, np.tril, np.pad}
    | {np.diff, np.var, np.std, np.cross, np.count_nonzero, np.clip, np.nan_to_num, np.full}
    | {np.linalg.solve, np.linalg.inv, np.linalg.det, np.linalg.cholesky, np.linalg.slogdet}
    | {np.linalg.eigh, np.linalg.svd, np.linalg.qr, np.linalg.pinv, np.linalg.norm}
    | {
        accumulate,
        scatter,
        add_sparse,
        gather.fun,
        dot_adjoint_0.fun,
        dot_adjoint_1.fun,
        concatenate_args.fun,
    }
)
"""Their results share no memory with their operands, and have a shape that these decide."""

REDUCTIONS: dict[Any, np.ufunc] = {
    np.sum: np.add,
    np.prod: np.multiply,
    np.max: np.maximum,
    np.amax: np.maximum,
    np.min: np.minimum,
    np.amin: np.minimum,
    np.all: np.logical_and,
    np.any: np.logical_or,
}
"""Functions that are the ``reduce`` of a ufunc."""

_PARTIAL = frozenset(
    {np.take, np.take_along_axis, np.choose, np.bincount, np.repeat, np.digitize, np.quantile}
    | {np.unravel_index, np.ravel_multi_index, np.insert, np.delete, np.percentile, np.split}
    | {np.array_split, np.histogram, np.put_along_axis, np.linspace, np.array, gather.fun}
)
"""Functions of NumPy, outside of `numpy.linalg`, that raise an error for some values."""

_OF_ALL_MATRICES = frozenset({np.linalg.norm, np.linalg.det, np.linalg.slogdet})
"""Functions of `numpy.linalg` that raise no error, whatever the matrix."""


def is_elementwise(node: Any) -> bool:
    """Tell whether each entry of a node is computed from the operands' entries in its place."""
    primitive = node.primitive
    if isinstance(primitive, np.ufunc):
        return primitive.signature is None and primitive.nout == 1 and not node.keywords
    return primitive is np.where and len(node.operands) == 3 and not node.keywords


def may_raise(node: Any) -> bool:
    """Tell whether a node may raise an error that depends on the values of its operands.

    Such a node is evaluated even where its result is not needed: the loss raises, too. The
    adjoint of an index raises no error that the index has not raised.

    Examples
    --------
    >>> from gradlab.gradients.tape.program import Node
    >>> may_raise(Node(np.exp, (1.0,))), may_raise(Node(np.linalg.inv, (np.eye(2),)))
    (False, True)
    """
    primitive = node.primitive
    if primitive is operator.getitem:
        return not is_basic(node.operands[1])
    if isinstance(primitive, np.ufunc):
        if all("O" in types for types in primitive.types):  # made by np.frompyfunc
            return True
        is_integer = node.dtype is not None and node.dtype.kind in "iu"
        return primitive is np.power and is_integer  # 2 ** -1
    module = getattr(primitive, "__module__", None) or ""
    if primitive in _PARTIAL or module.split(".")[0] not in ("numpy", "autograd", "gradlab"):
        return True
    return module == "numpy.linalg" and primitive not in _OF_ALL_MATRICES


def is_pure(primitive: Any) -> bool:
    """Tell whether a primitive is known to do nothing but compute its result, always the same.

    A primitive of the user's own is not known to, nor is one that draws random numbers.
    """
    if isinstance(primitive, np.ufunc):
        return True
    if primitive in _IN_PLACE:
        return False
    module = getattr(primitive, "__module__", None) or ""
    known = module.split(".")[0] in ("numpy", "_operator", "autograd") or module in _OURS
    return known and "random" not in module
