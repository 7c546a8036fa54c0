"""Which values a survey trusts, refuses, or follows."""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import operator
import threading
import types
from collections import OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

TRUSTED_PACKAGES = frozenset(
    "numpy scipy torch jax jaxlib autograd gradlab array_api_compat math cmath operator itertools "
    "functools builtins typing typing_extensions collections abc _abc _collections_abc numbers "
    "dataclasses enum copy types contextlib warnings logging fractions decimal statistics string "
    "re bisect heapq inspect _operator _functools _collections _bisect _heapq _thread "
    "threading".split()
)
"""Packages whose functions are deterministic, or do not affect the value of a loss."""

REFUSED_FUNCTIONS: list[Any] = [open, input, eval, exec, compile, globals, locals, __import__]
REFUSED_FUNCTIONS += [np.load, np.loadtxt, np.genfromtxt, np.fromfile, np.memmap]
"""Functions whose result depends on more than their arguments, or that run other code."""

REFLECTIVE: list[Any] = [getattr, setattr, delattr, hasattr, vars, dir, operator.attrgetter]
REFLECTIVE += [operator.methodcaller, copy.copy, copy.deepcopy, copy, inspect, dataclasses.replace]
REFLECTIVE += [dataclasses.asdict, dataclasses.astuple, dataclasses.fields]
"""Functions and modules that read attributes that the calling code does not name."""

OUTSIDE_IDS, REFLECTIVE_IDS = (
    {*map(id, functions)} for functions in (REFUSED_FUNCTIONS, REFLECTIVE)
)

IMMUTABLE_TYPES = (
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    operator.itemgetter,
    operator.attrgetter,
    operator.methodcaller,
    type(vars(namedtuple("Pair", "a"))["a"]),
    enum.Enum,
    np.dtype,
    np.ufunc,
    type(np.dot),  # functions that NumPy dispatches
    type(threading.Lock()),
    type(threading.RLock()),
)
"""Types of immutable values, which are compared by identity."""

ITEMS: dict[type, Callable[[Any], Iterable[Any]]] = {
    kind: kind.__iter__ for kind in (list, tuple, deque, set, frozenset)
}
CONTAINERS = (*ITEMS, dict)
SCALAR_TYPES = (int, float, complex, str, bytes)
CREATION_METHODS = {"__init__", "__new__", "__post_init__"}
"""Methods that run when an object is created."""

NEUTRAL_MODULES = {"abc", "typing", "builtins", "enum", "typing_extensions"}
"""Modules whose base classes read no attributes of derived classes."""


def is_trusted(module: Any) -> bool:
    """Tell whether a module belongs to a trusted library."""
    return str(module).partition(".")[0] in TRUSTED_PACKAGES


def is_builtin(value: Any) -> bool:
    """Tell whether a value is a function written in C or Cython."""
    return (
        isinstance(value, (types.BuiltinFunctionType, types.MethodWrapperType))
        or type(value).__name__ == "cython_function_or_method"
    )


def reads_unnamed(base: type) -> bool:
    """Tell whether methods of a class may read attributes in code that is not followed."""
    return is_trusted(base.__module__) and base.__module__.partition(".")[0] not in NEUTRAL_MODULES


def slots_of(base: type) -> Iterator[str]:
    """Yield the names of the slots that a class itself defines."""
    for name, value in vars(base).items():
        if isinstance(value, types.MemberDescriptorType) and name != "__dict__":
            yield name


_FOLLOWED_TYPES = (*CONTAINERS, *SCALAR_TYPES, OrderedDict, defaultdict, np.ndarray, type, object)
"""Types whose contents are followed."""


def has_hidden_state(kind: type) -> bool:
    """Tell whether objects of a type have memory beyond their attributes.

    Each slot, the dict of attributes and the list of weak references take 8 bytes.

    Examples
    --------
    >>> class Shown:
    ...     __slots__ = ("a", "b")
    >>> has_hidden_state(Shown), has_hidden_state(np.random.Generator)
    (False, True)
    """
    for base in kind.__mro__:
        if base in _FOLLOWED_TYPES or base.__base__ is None:
            continue
        slots = {*slots_of(base)} | {"__dict__", "__weakref__"} & vars(base).keys()
        if base.__basicsize__ > base.__base__.__basicsize__ + 8 * len(slots):
            return True
    return False
