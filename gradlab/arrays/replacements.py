"""What replaces expressions of the user's code that give a traced value to a plain array.

`gradlab.arrays.rewriting` puts calls of these functions in the place of the expressions. With plain
values alone, each does what the expression did.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np

from gradlab.arrays.buffers import Buffer
from gradlab.arrays.conversions import is_tracing
from gradlab.arrays.dispatch import (
    as_traced,
    first_traced,
    has_traced,
    held,
    is_buffer,
    refuse_plain,
    refuse_write,
)
from gradlab.arrays.expressions import REPLACEMENTS
from gradlab.arrays.of_scipy import counterpart, given_before
from gradlab.arrays.operators import METHODS


def subscript(container: Any, index: Any) -> Any:
    """Return ``container[index]``; a plain array may be indexed by a traced one.

    Examples
    --------
    >>> subscript(np.arange(3), 1)
    np.int64(1)
    """
    traced = first_traced(index) if isinstance(container, np.ndarray) else None
    if traced is None or not _is_plain(container):
        return container[index]
    return traced.library.entries(traced, held(container), index)


def method(owner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Return ``owner.name(*args, **kwargs)``; a plain array may be given a traced one.

    A copy of a plain array becomes a buffer while a loss is traced.

    Examples
    --------
    >>> method(np.ones(2), "dot", np.ones(2))
    np.float64(2.0)
    """
    if isinstance(owner, ModuleType) or type(owner).__module__.startswith("scipy."):
        return function(getattr(owner, name), *args, **kwargs)
    traced = first_traced((args, kwargs)) if isinstance(owner, np.ndarray) else None
    if isinstance(owner, np.ufunc):
        return getattr(owner, name)(*map(as_traced, args), **kwargs)
    if type(owner) is np.ndarray and name in ("copy", "astype"):
        made = getattr(owner, name)(*args, **kwargs)
        return made.view(Buffer) if is_tracing() and made.dtype.kind in "fc" else made
    # Any other method, such as fill, may write into the array itself.
    if traced is None or not _is_plain(owner) or name not in METHODS:
        return getattr(owner, name)(*args, **kwargs)
    return getattr(traced.library.constant(traced, held(owner)), name)(*args, **kwargs)


def function(called: Any, *args: Any, **kwargs: Any) -> Any:
    """Return ``called(*args, **kwargs)``, also for traced numbers and lists of them.

    NumPy's functions take a list where they take an array. For a function of `math`, NumPy's is
    called; for one of SciPy's, that of `gradlab.arrays.of_scipy`. A type of NumPy's numbers is a
    cast.

    Examples
    --------
    >>> function(math.hypot, 3.0, 4.0)
    5.0
    """
    if not has_traced((args, kwargs, given_before(called))):
        return called(*args, **kwargs)
    if isinstance(called, type) and issubclass(called, (np.inexact, float)):
        number = as_traced(args[0]).astype(called)
        return np.reshape(number, ()) if called is float else number
    of_scipy = counterpart(called)
    if of_scipy is not None:
        return of_scipy(*map(held, args), **{key: held(value) for key, value in kwargs.items()})
    instead = _of_math(called)
    package = (getattr(called, "__module__", None) or "numpy").partition(".")[0]
    if instead is called and package not in _ARRAY_PACKAGES:
        return called(*args, **kwargs)
    named = {key: as_traced(value) for key, value in kwargs.items()}
    return instead(*map(as_traced, args), **named)


def _of_math(called: Any) -> Any:
    """Return NumPy's or SciPy's function of arrays for one of single numbers."""
    if (name := _SPECIAL_OF_MATH.get(called)) is not None and find_spec("scipy") is not None:
        return getattr(import_module("scipy.special"), name)
    return _NUMPY_OF_MATH.get(called, called)


_NUMPY_OF_MATH: dict[Any, Callable[..., Any]] = {
    **{
        getattr(math, name): getattr(np, name)
        for name in """
            exp expm1 exp2 log2 log10 log1p sqrt cbrt sin cos tan sinh cosh tanh degrees radians
            copysign fmod hypot fabs isnan isinf isfinite
        """.split()
        if hasattr(math, name)
    },
    **{getattr(math, f"a{name}"): getattr(np, f"arc{name}") for name in ("sin", "cos", "tan")},
    **{getattr(math, f"a{name}h"): getattr(np, f"arc{name}h") for name in ("sin", "cos", "tan")},
    math.atan2: np.arctan2,
    math.pow: np.power,
    math.log: lambda x, base=None: np.log(x) if base is None else np.log(x) / np.log(base),
    math.fsum: lambda items: np.sum(as_traced(list(items))),
    math.prod: lambda items, start=1: np.prod(as_traced(list(items))) * start,
    math.dist: lambda a, b: np.linalg.norm(as_traced(a) - as_traced(b)),
}
_SPECIAL_OF_MATH = {
    math.erf: "erf",
    math.erfc: "erfc",
    math.gamma: "gamma",
    math.lgamma: "gammaln",
}
"""Functions of Python's `math`, and their counterparts in NumPy or scipy.special."""


_ARRAY_PACKAGES = ("numpy", "scipy")
"""Packages whose functions take an array where they take a list of numbers."""


def _is_plain(array: Any) -> bool:
    return type(array) is np.ndarray or is_buffer(array)


# Writes


def written(value: Any, array: Any, index: Any) -> Any:
    """Do ``array[index] = value``; return a buffer where it has to replace the array.

    A plain array cannot hold a traced value. A buffer takes its place if nothing else refers to
    the array, so that no other name of it misses the write.

    Examples
    --------
    >>> x = np.zeros(2)
    >>> written(3.0, x, 0)
    >>> x
    array([3., 0.])
    """
    if type(array) is not np.ndarray or not (has_traced(value) or has_traced(index)):
        array[index] = value
        return None
    references = sys.getrefcount(array)
    buffer = _buffer_of(array, references)
    buffer[index] = value
    return buffer


def augmented(array: Any, index: Any, current: Any, name: str, value: Any) -> Any:
    """Do ``array[index] += value``, or another such statement, as `written` does.

    `current` is ``array[index]``. The name is that of the operation in the module `operator`, such
    as ``"iadd"``.
    """
    operation = getattr(operator, name)
    if type(array) is not np.ndarray or not (has_traced(value) or has_traced(index)):
        array[index] = operation(current, value)
        return None
    if isinstance(current, np.ndarray):
        current = np.array(current).view(Buffer)  # not the view, which refers to the array
    references = sys.getrefcount(array)
    buffer = _buffer_of(array, references)
    buffer[index] = operation(current, value)
    return buffer


def _buffer_of(array: Any, references: int) -> Buffer:
    """Return a buffer that takes the place of a plain array, if nothing else refers to that."""
    is_own = array.base is None and array.flags.writeable
    if not is_own or references > _references_to_a_local():
        refuse_write(
            "writes a traced value into a plain array that other names may refer to",
            "write into a copy (z = z.copy())",
        )
    if array.dtype.kind not in "fc":
        refuse_plain(
            f"writes a traced value into an array of {array.dtype}",
            "make the array of floating-point numbers",
        )
    buffer: Buffer = array.copy().view(Buffer)
    return buffer


@cache
def _references_to_a_local() -> int:
    """Return the reference count, in `written`, of an array that one local variable refers to."""

    def references(value: Any, array: Any, index: Any) -> int:
        return sys.getrefcount(array)

    array = np.zeros(1)
    return references(None, array, None)


REPLACEMENTS.update(
    {function.__name__: function for function in (subscript, method, function, written, augmented)}
)
