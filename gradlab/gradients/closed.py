"""Losses that read nothing but their arguments: what is recorded of them stays right.

A recording of a loss holds what the loss closes over. `Reads` follows a loss through the functions
that it calls, and lists the variables that they read. A loss is closed if all of these are bound to
functions, modules and numbers, which cannot be changed in place; then the recording is good as long
as no variable is bound to something else. Arrays, lists and objects may be changed unseen.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

_CONSTANT = (int, float, complex, str, bytes, type(None), type(...), range, np.generic, np.dtype)
_CALLABLE = (types.BuiltinFunctionType, types.MethodDescriptorType, np.ufunc)
_TRUSTED = ("numpy", "scipy", "torch", "jax", "autograd", "gradlab", "array_api_compat")
_PURE = (*_TRUSTED, "math", "cmath", "operator", "itertools", "functools", "builtins", "typing")
_IMPURE = {"random", "default_rng", "time", "detach", "globals", "getattr", "open", "eval", "exec"}
"""Names by which a loss may read what its arguments and variables do not tell."""


class Reads:
    """The variables that a loss and the functions called by it read.

    Attributes
    ----------
    are_constant : bool
        Whether none of their values can be changed in place.

    Examples
    --------
    >>> import numpy as np
    >>> Reads(lambda w: np.sum(w) * 2.0).are_constant
    True
    >>> from functools import partial
    >>> Reads(partial(np.dot, np.ones(3))).are_constant
    False
    """

    def __init__(self, loss: Any) -> None:
        self._names: list[tuple[dict[str, Any], str, Any]] = []
        self._cells: list[tuple[types.CellType, Any]] = []
        self._seen: set[int] = set()
        self.are_constant = self._is_constant(loss)

    def are_the_same(self) -> bool:
        """Tell whether all variables are bound to what they were bound to."""
        return all(names.get(name) is value for names, name, value in self._names) and all(
            cell.cell_contents is value for cell, value in self._cells
        )

    def _is_constant(self, value: Any) -> bool:
        if id(value) in self._seen or issubclass(type(value), _CONSTANT):
            return True
        self._seen.add(id(value))
        if isinstance(value, partial):
            parts = (value.func, *value.args, *value.keywords.values())
            return all(map(self._is_constant, parts))
        if isinstance(value, (tuple, frozenset)):
            return all(map(self._is_constant, value))
        if isinstance(value, types.ModuleType):
            return value.__name__.partition(".")[0] in _PURE
        root = str(getattr(value, "__module__", None) or "builtins").partition(".")[0]
        if isinstance(value, type):
            return root in _PURE
        if isinstance(value, types.FunctionType) and root not in _TRUSTED:
            return self._follow(value)
        is_function = isinstance(value, (types.FunctionType, *_CALLABLE))
        # Functions that NumPy dispatches are objects of a class of its own.
        return is_function or type(value).__name__ == "_ArrayFunctionDispatcher"

    def _follow(self, function: types.FunctionType) -> bool:
        names = set(_names_of(function.__code__))
        if names & _IMPURE:
            return False
        found: list[Any] = [
            *(function.__defaults__ or ()),
            *(function.__kwdefaults__ or {}).values(),
        ]
        for cell in function.__closure__ or ():
            try:
                self._cells.append((cell, cell.cell_contents))
            except ValueError:  # not bound yet
                return False
            found.append(cell.cell_contents)
        for name in names & function.__globals__.keys():
            self._names.append((function.__globals__, name, function.__globals__[name]))
            found.append(function.__globals__[name])
        return all(map(self._is_constant, found))


def _names_of(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names_of(constant)
