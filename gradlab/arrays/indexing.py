"""Indices that are themselves traced: ``z[np.arange(n), y]`` with labels y that are an argument.

autograd's own ``x[index]`` traces only x; it treats the index as a constant. But a recording must
use the labels of each replay. `gather` is ``x[index]`` as a function of x and of the integer arrays
in the index::

    z[np.arange(n), y]   =   gather(z, (np.arange(n), HERE), y)

Its derivative with respect to x adds each cotangent to the entry that it was taken from, as the
derivative of ``x[index]`` does; with respect to integers there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import SparseObject, VSpace, vspace
from autograd.extend import defjvp_argnum, defvjp_argnum, primitive
from autograd.tracer import isbox

from gradlab.arrays.refusals import refuse


class _NextIndex:
    """The mark in a template where the next index array belongs."""

    def __repr__(self) -> str:
        return "HERE"

    def __reduce__(self) -> str:
        return "HERE"


HERE = _NextIndex()


def gather_at(x: Any, index: Any) -> Any:
    """Return ``x[index]``, where the index may hold traced integer arrays.

    A traced mask or end of a slice is refused: the shape of the result would depend on its value.

    Examples
    --------
    >>> gather_at(np.array([[1.0, 2.0], [3.0, 4.0]]), (np.arange(2), np.array([1, 0])))
    array([2., 3.])
    """
    arrays: list[Any] = []
    parts = index if isinstance(index, tuple) else (index,)
    template = tuple([_part(part, arrays) for part in parts])
    return gather(x, template, *arrays)


def _part(part: Any, arrays: list[Any]) -> Any:
    """Return the template for a part of an index; traced parts go to `arrays`."""
    if not is_traced(part):
        return part
    if isinstance(part, slice):
        refuse(
            "an end of a slice is a traced value, and the shape of the result depends on it: "
            "make it an integer that is fixed, or select with where"
        )
    if isinstance(part, list):
        part = anp.array(part)
    if np.dtype(part.dtype) == bool:
        refuse(
            "it selects by a boolean mask that it computes, and the shape of the result "
            "depends on it: use where"
        )
    arrays.append(part)
    return HERE


def is_basic(index: Any) -> bool:
    """Tell whether an index consists of integers and slices only, so that it selects a view.

    Examples
    --------
    >>> is_basic((0, slice(None), None, ...)), is_basic([0, 1]), is_basic(True)
    (True, False, False)
    """
    parts = index if isinstance(index, tuple) else (index,)
    return all(
        part is None
        or part is Ellipsis
        or isinstance(part, (slice, np.integer))
        or (isinstance(part, int) and not isinstance(part, bool))
        for part in parts
    )


def is_traced(index: Any) -> bool:
    """Tell whether an index is traced, or a part of it.

    Examples
    --------
    >>> is_traced((np.arange(2), slice(None), [0, 1]))
    False
    """
    if isinstance(index, (tuple, list)):
        return any(map(is_traced, index))
    if isinstance(index, slice):
        return any(map(isbox, (index.start, index.stop, index.step)))
    return bool(isbox(index))


def filled(template: Sequence[Any], arrays: Sequence[Any]) -> tuple[Any, ...]:
    """Return a template as an index, with the arrays where they belong.

    Integers become arrays of no dimension, so that NumPy always returns a copy.

    Examples
    --------
    >>> filled((slice(None), HERE), [3])
    (slice(None, None, None), array(3))
    """
    left = iter(arrays)
    return tuple([np.asarray(next(left)) if part is HERE else part for part in template])


@primitive  # type: ignore[untyped-decorator]
def gather(x: Any, template: tuple[Any, ...], *arrays: Any) -> Any:
    """Return ``x[index]``, the index given as a template and the arrays that belong into it.

    The result is always a copy.

    Examples
    --------
    >>> gather(np.array([[1.0, 2.0], [3.0, 4.0]]), (slice(None), HERE), np.array([1, 1, 0]))
    array([[2., 2., 1.],
           [4., 4., 3.]])
    """
    return np.asarray(x)[filled(template, arrays)]


@primitive  # type: ignore[untyped-decorator]
def ungather(g: Any, template: tuple[Any, ...], space: VSpace, *arrays: Any) -> SparseObject:
    """Return the adjoint of `gather`: the cotangent of x, as autograd writes sparse ones."""
    index = filled(template, arrays)

    def mut_add(total: Any) -> Any:
        np.add.at(total, index, g)
        return total

    return SparseObject(space, mut_add)


def _with_zeros(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``rule(*args)``, the pull-back of the first argument, and 0 for the index arrays."""
    return lambda argnum, ans, args, kwargs: (
        rule(*args) if argnum == 0 else lambda g: vspace(args[argnum]).zeros()
    )


@_with_zeros
def _vjp_of_gather(x: Any, template: Any, *arrays: Any) -> Callable[[Any], Any]:
    return lambda g: ungather(g, template, vspace(x), *arrays)


@_with_zeros
def _vjp_of_ungather(x: Any, template: Any, space: Any, *arrays: Any) -> Callable[[Any], Any]:
    return lambda g: gather(g, template, *arrays)


defvjp_argnum(gather, _vjp_of_gather)
defvjp_argnum(ungather, _vjp_of_ungather)
defjvp_argnum(
    gather,
    lambda argnum, g, ans, args, kwargs: (
        gather(g, *args[1:]) if argnum == 0 else vspace(ans).zeros()
    ),
)
defjvp_argnum(
    ungather,
    lambda argnum, g, ans, args, kwargs: ungather(g, *args[1:]) if argnum == 0 else args[2].zeros(),
)
