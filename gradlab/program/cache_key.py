"""The keys of recordings and compiled code: everything that they depend on.

**A replay gives the current result of the loss, or the loss is not replayed.** A recording of a
loss, and code compiled from one, depends on

* the *form* of the call: the structure of the parameters and arguments, with the types of all
  containers and keys; the shapes and dtypes of the arrays in them; the values of everything else.
* the loss's *surroundings*: the contents of everything that its code names, through variables,
  attributes, defaults and containers, and through the functions that it calls (`survey`). The same
  applies to functions, classes and objects among the arguments.

Both are part of the key, so that a change of either leads to a new recording. A value that a survey
cannot follow raises an `UnkeyableError`, and the loss runs without recordings, with one warning.
So does a loss that changes its own surroundings, such as a counter: a replay would not change them.

The numbers in parameters and arguments are not in the key: they are the inputs of a recording. The
numbers in arrays that the loss closes over are in the key, because a recording depends on them in
ways that cannot be traced: through values that the loss computed from them alone, branches that it
took, and derivative rules. They are compared with copies at each call (`captured`).

Finite differences record a loss anew for each gradient, and keep no recordings.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, UserDict, UserList, defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType, MethodType
from typing import Any

import numpy as np
from autograd.tracer import isbox

from gradlab.arrays.dispatch import held, is_buffer
from gradlab.containers import opened
from gradlab.params import checksum
from gradlab.program.captured import Captured
from gradlab.program.closure import (
    NO_HIGHER_DERIVATIVES,
    HigherDerivativeError,
    Survey,
    UnkeyableError,
    survey,
)

MAX_STORED_SURVEYS = 64
"""Largest number of stored surveys, one for each set of objects among the arguments."""

MAX_SURVEY_ATTEMPTS = 3
"""Attempts at a survey before it fails: another thread may be changing the data that it reads."""

_VALUE_TYPES = (type(None), bool, int, str, bytes, range, type(...))
_PLAIN_CONTAINERS = (dict, list, tuple, OrderedDict, defaultdict, Counter, UserDict, UserList)
"""Containers that hold nothing but their entries."""


def key_of(params: Any, leaves: list[Any]) -> Any:
    """Return the key of parameters, and append their leaves to a list as arrays.

    Examples
    --------
    >>> leaves = []
    >>> key_of({"w": np.ones(2)}, leaves) == key_of({"w": np.zeros(2)}, leaves)
    True
    >>> key_of({1: np.ones(2)}, leaves) == key_of({True: np.ones(2)}, leaves)
    False
    """
    kind = type(params)
    if kind is np.ndarray:
        leaves.append(params)
        return params.shape, params.dtype
    if is_buffer(params):
        return key_of(held(params), leaves)
    if isinstance(params, dict):
        return kind, *names_of(params), *[key_of(child, leaves) for child in params.values()]
    if isinstance(params, (list, tuple)):
        return kind, *[key_of(child, leaves) for child in params]
    if isbox(params):
        raise HigherDerivativeError(NO_HIGHER_DERIVATIVES)
    if isinstance(params, Mapping):
        return kind, *names_of(params), *[key_of(params[name], leaves) for name in params]
    if (inside := opened(params)) is not None:
        fixed = survey([("the fixed contents of the parameters", inside[1])]).tokens
        return kind, tuple(fixed), key_of(inside.children, leaves)
    try:
        leaf = np.asarray(params)
    except Exception as error:
        raise UnkeyableError(f"{kind.__name__} is not a parameter") from error
    leaves.append(leaf)
    return kind, leaf.shape, leaf.dtype


def names_of(mapping: Mapping[Any, Any]) -> Sequence[Any]:
    """Return the keys of a dict in a form that distinguishes equal keys, such as 1 and True."""
    names = [*mapping]
    for name in names:
        if type(name) is not str:
            break
    else:
        return names
    return survey([("a key", names)]).tokens


def key_of_argument(value: Any, arrays: list[Any], others: list[Any]) -> Any:
    """Return the key of an argument; append its arrays to one list.

    `others` receives all that is not a number, text or container, for a survey.
    """
    kind = type(value)
    if kind is np.ndarray and value.dtype.kind in "biufc":
        arrays.append(value)
        return kind, value.shape, value.dtype
    if is_buffer(value):
        return key_of_argument(held(value), arrays, others)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        if isinstance(value, np.ma.MaskedArray):
            raise UnkeyableError("an argument is a masked array")
        arrays.append(value)
        return kind, value.shape, value.dtype
    if kind in _VALUE_TYPES or (kind is type and value.__module__ == "builtins"):
        return kind, value
    if kind in (float, complex):
        return kind, repr(value)  # 0.0 is not -0.0, and nan is nan
    if isinstance(value, (list, tuple, Mapping)):
        if kind not in _PLAIN_CONTAINERS and kind is not MappingProxyType:
            others.append(kind)
            if attributes := getattr(value, "__dict__", None):
                others.append(attributes)
        names: Sequence[Any] = ()
        if isinstance(value, Mapping):
            names, value = names_of(value), value.values()
        return kind, *names, *[key_of_argument(child, arrays, others) for child in value]
    if kind is slice:
        parts = (value.start, value.stop, value.step)
        return kind, *[key_of_argument(part, arrays, others) for part in parts]
    if isbox(value):
        raise HigherDerivativeError(NO_HIGHER_DERIVATIVES)
    if isinstance(value, MethodType):  # a new object each time
        others += value.__func__, value.__self__
    else:
        others.append(value)
    return kind


class Surroundings:
    """Everything that a loss reads, apart from the arrays among its arguments.

    The contents of arrays that it closes over are part of the key if `contents` is set.

    Examples
    --------
    >>> from functools import partial
    >>> options = {"scale": 2.0}
    >>> surroundings = Surroundings(partial(lambda options, w: options["scale"] * w, options))
    >>> before = surroundings.key()
    >>> before == surroundings.key()
    True
    >>> options["scale"] = 3.0
    >>> before == surroundings.key()
    False
    >>> before.difference(surroundings.key())
    "the loss[0]['scale']"
    """

    def __init__(self, loss: Any, *, contents: bool = False) -> None:
        self._loss, self._contents = loss, contents
        self._known: dict[tuple[int, ...], tuple[Survey, Bindings, Captured]] = {}

    def key(self, others: Sequence[Any] = ()) -> Bindings:
        """Return a key that stays equal as long as a call reads the same values.

        `others` are functions and objects among the arguments. An UnkeyableError is raised if the
        loss reads a value whose changes cannot be detected, a HigherDerivativeError if it reads one
        that is being differentiated.
        """
        ids = tuple(map(id, others)) if others else ()
        known = self._known.get(ids)
        if known is None or not known[0].is_current():
            found = self._survey(others)
            known = self._with_contents(found)
            if len(self._known) >= MAX_STORED_SURVEYS:
                self._known = {}
            self._known[ids] = known
            return known[1]
        found, bindings, captured = known
        may_differ = found.texts or (self._contents and found.natives)
        # A comparison takes a tenth of the time of checksums; compute those only after a change.
        if may_differ or not captured.are_unchanged():
            known = self._with_contents(found)
            if known[1].sums != bindings.sums:
                bindings = known[1]
                self._known[ids] = known
        return bindings

    def _with_contents(self, found: Survey) -> tuple[Survey, Bindings, Captured]:
        """Return a survey, its key, and the current contents of its arrays."""
        captured = Captured(found.arrays if self._contents else ())
        return found, Bindings(found, self._sums(found)), captured

    def _survey(self, others: Sequence[Any]) -> Survey:
        roots = [("the loss", self._loss), *[("an argument", other) for other in others]]
        for _ in range(MAX_SURVEY_ATTEMPTS):
            try:
                return survey(roots)
            except (UnkeyableError, HigherDerivativeError):
                raise
            except Exception as error:  # another thread is changing data, or a class refuses
                failure = error
        raise UnkeyableError(f"what it reads cannot be followed: {failure}") from failure

    def _sums(self, found: Survey) -> list[int]:
        sums = [*map(checksum, found.texts)]
        if self._contents:
            sums += map(checksum, found.arrays)
            sums += [getattr(array, "_version", 0) for array in found.natives]  # tensors
        return sums


class Bindings:
    """The key of a survey, and checksums of its arrays; its hash is computed once."""

    __slots__ = ("_hash", "_places", "_tokens", "has_arrays", "sums")

    def __init__(self, found: Survey, sums: list[int]) -> None:
        self._tokens, self._places, self.sums = tuple(found.tokens), found.places, sums
        self._hash = hash((self._tokens, *sums))
        self.has_arrays = bool(found.arrays or found.texts or found.natives)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bindings):
            return NotImplemented
        return self is other or (
            self._hash == other._hash and self.sums == other.sums and self._tokens == other._tokens
        )

    def difference(self, other: Bindings) -> str:
        """Name the first difference between two keys; empty if they are equal."""
        if self == other:
            return ""
        for mine, its, place in zip(self._tokens, other._tokens, self._places, strict=False):
            if mine != its:
                return place
        return self._places[-1] if self.sums == other.sums else "an array"
