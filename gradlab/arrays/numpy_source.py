"""NumPy's own Python, run on traced arrays.

Many functions of NumPy are written in Python on top of others. They begin with ``asarray``, which
would turn a traced array into an array of objects. `traced_source` makes a copy of such a function
that uses a `Namespace` in place of NumPy's modules. There, ``asarray`` returns traced arrays
unchanged, and traced values can be written into the results of ``empty`` and its like
(`gradlab.arrays.creation`).
"""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from gradlab.arrays.creation import ORIGINAL, WRITABLE
from gradlab.arrays.dispatch import COMPOSITES, SOURCES
from gradlab.arrays.places import all_code


def traced_source(function: Any) -> Callable[..., Any] | None:
    """Return NumPy's implementation of a function, adapted to traced arrays; None if it is in C.

    Examples
    --------
    >>> traced_source(np.apply_along_axis)(np.sum, 0, np.ones((2, 3)))
    array([2., 2., 2.])
    >>> traced_source(np.dot) is None
    True
    """
    source = getattr(function, "__wrapped__", None)
    if not isinstance(source, types.FunctionType) or function in _IN_C:
        return None
    return _rebuilt(source)


SOURCES.append(traced_source)

_IN_C = {np.dot, np.concatenate, np.where, np.copyto, np.put, np.place, np.putmask, np.bincount}
"""Functions whose Python is only a signature, or that write into their argument."""


@cache
def _rebuilt(source: types.FunctionType) -> types.FunctionType:
    """Return a copy of a function of NumPy whose globals are those of a `Namespace`."""
    names = {name for part in all_code(source.__code__) for name in part.co_names}
    found = {name: source.__globals__[name] for name in names & source.__globals__.keys()}
    seen: dict[str, Any] = {"__builtins__": __builtins__, "__name__": source.__module__}
    copy = types.FunctionType(
        source.__code__, seen, source.__name__, source.__defaults__, source.__closure__
    )
    copy.__kwdefaults__ = source.__kwdefaults__
    seen.update({name: _seen(name, value) for name, value in found.items()})
    return copy


def _seen(name: str, value: Any) -> Any:
    """Return the object that the copy of a function uses for a name of its module."""
    if isinstance(value, types.ModuleType) and value.__name__.startswith("numpy"):
        return Namespace(value)
    if name in WRITABLE and ORIGINAL[name] is value:
        return WRITABLE[name]
    is_numpys = getattr(value, "__module__", "").startswith("numpy")
    if isinstance(value, types.FunctionType) and is_numpys and not hasattr(value, "__wrapped__"):
        return lambda *args, **kwargs: _rebuilt(value)(*args, **kwargs)
    return value


class Namespace:
    """A module of NumPy, in which functions that make arrays make ones for traced entries."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return _seen(name, getattr(self._module, name))


_function: Any
for _function in (
    *(np.atleast_1d, np.atleast_2d, np.atleast_3d, np.vstack, np.angle),
    *(np.split, np.hsplit, np.vsplit, np.dsplit, np.unstack, np.fft.rfft2, np.fft.irfft2),
):  # autograd has its own, which take fewer arguments or have wrong rules
    COMPOSITES[_function] = _rebuilt(_function.__wrapped__)
