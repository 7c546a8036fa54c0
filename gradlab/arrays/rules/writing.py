"""Constants beside a traced array; indexing and writing."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import defjvp, defvjp, vspace
from autograd.extend import primitive
from autograd.numpy.numpy_boxes import ArrayBox

from gradlab.arrays.indexing import gather_at, is_basic, is_traced
from gradlab.arrays.rules.shared import unbroadcast_to


@primitive  # type: ignore[untyped-decorator]
def constant(like: Any, value: Any) -> Any:
    """Return a copy of an array in the trace of another, on which it does not depend."""
    return np.array(value)


defvjp(constant, lambda ans, like, value: lambda g: vspace(like).zeros(), argnums=(0,))
defjvp(constant, lambda g, ans, like, value: np.zeros(np.shape(ans), ans.dtype), argnums=(0,))


@primitive  # type: ignore[untyped-decorator]
def put_primitive(x: Any, value: Any, index: Any) -> Any:
    """Return an array with other values at an index."""
    result = np.array(x, np.result_type(x, value) if np.iscomplexobj(value) else None)
    result[index] = value
    return result


def _without(g: Any, index: Any) -> Any:
    return put_primitive(g, np.zeros((), g.dtype), index)


def _winners(shape: tuple[int, ...], index: Any) -> Any:
    """Return 1 where an entry of an index is the last that writes its place, else 0."""
    places = np.arange(int(np.prod(shape))).reshape(shape)[index]
    order = np.arange(np.size(places)).reshape(np.shape(places))
    last = np.zeros(int(np.prod(shape)), int)
    last[places] = order
    return (last[places] == order).astype(float)


def _put_vjp_of_value(ans: Any, x: Any, value: Any, index: Any) -> Any:
    sum_up, shape = unbroadcast_to(value), anp.shape(x)
    has_arrays = any(np.ndim(i) for i in (index if isinstance(index, tuple) else (index,)))

    def vjp(g: Any) -> Any:
        share = getitem(g, index)
        if has_arrays:
            share = share * _winners(shape, index)
        # NumPy drops leading axes of length 1 of a value that has more than the entries.
        extra = anp.ndim(value) - anp.ndim(share)
        return sum_up(share[(None,) * extra] if extra > 0 else share)

    return vjp


defvjp(put_primitive, lambda ans, x, value, index: lambda g: _without(g, index), _put_vjp_of_value)
defjvp(
    put_primitive,
    lambda g, ans, x, value, index: _without(g, index),
    lambda g, ans, x, value, index: put_primitive(anp.zeros(anp.shape(ans)), g, index),
)


def getitem(x: Any, index: Any) -> Any:
    """Return the entries of an array at an index, which may be traced itself."""
    if is_traced(index):
        return gather_at(x, index)
    first = (*index, ...)[0] if type(index) is tuple else index
    if (first is None or first is ...) and not x.shape and is_basic(index):
        # autograd's rule writes into the cotangent, which is no array if it is a sum of numbers.
        return anp.reshape(x, np.empty(())[index].shape)
    return ArrayBox.__getitem__(x, index)


def put(x: Any, index: Any, value: Any) -> Any:
    """Return an array with other values at an index.

    Examples
    --------
    >>> put(np.zeros(3), [0, 2], 5.0)
    array([5., 0., 5.])
    """
    return put_primitive(x, value, index)
