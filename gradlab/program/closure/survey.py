"""The part of a survey that follows values: numbers, arrays, containers and objects."""

from __future__ import annotations

import functools
import operator
import sys
import types
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from autograd.tracer import isbox

from gradlab.arrays.dispatch import held, is_buffer, is_traced
from gradlab.program.closure.code import CodeSurvey
from gradlab.program.closure.names import ALL_ATTRIBUTES
from gradlab.program.closure.rules import (
    CONTAINERS,
    IMMUTABLE_TYPES,
    ITEMS,
    SCALAR_TYPES,
    has_hidden_state,
    is_builtin,
    is_trusted,
    reads_unnamed,
    slots_of,
)
from gradlab.program.closure.tokens import (
    ABSENT,
    MAX_DEPTH,
    NO_HIGHER_DERIVATIVES,
    HigherDerivativeError,
    Same,
    UnkeyableError,
)

_PARTIAL = operator.attrgetter("func", "args", "keywords")
_CLASS = operator.attrgetter("__class__", "__class__")
_OBJECT = operator.attrgetter("__class__", "__dict__")
_PLAIN_TYPES = {type(None), bool, int, str, bytes, type(...), type(NotImplemented), range}


def survey(roots: Sequence[tuple[str, Any]]) -> Survey:
    """Survey everything that some values read; each value has a name for messages.

    Examples
    --------
    >>> options = {"scale": 2.0}
    >>> loss = functools.partial(lambda options, w: options["scale"] * w, options)
    >>> before = survey([("loss", loss)])
    >>> options["scale"] = 3.0
    >>> before.is_current()
    False
    >>> survey([("loss", loss)]).tokens == before.tokens
    False
    """
    names: frozenset[str] = frozenset()
    while True:  # a function that is found later may name attributes of objects found earlier
        found = Survey(names)
        for place, value in roots:
            found.visit(value, place)
        if found.seen <= names:
            found.finish([value for _, value in roots])
            return found
        names |= found.seen


class Survey(CodeSurvey):
    """Everything that some values read; see the package, and `Tokens` for the results."""

    def visit(self, value: Any, place: str, name: str = "") -> None:
        """Append the tokens of a value, given its place and name."""
        kind = type(value)
        if kind in _PLAIN_TYPES:
            return self._token((kind, value), place)
        if kind in (float, complex):
            return self._token((kind, repr(value)), place)  # 0.0 is not -0.0; nan is nan
        key = (id(value), name) if isinstance(value, types.ModuleType) else id(value)
        if key in self._index:
            return self._token((kind, "seen", self._index[key]), place)
        if self._depth > MAX_DEPTH:
            raise UnkeyableError(f"{place} is nested deeper than {MAX_DEPTH} levels")
        self._index[key] = len(self._index)
        self._held.append(value)
        self._depth += 1
        self._visit_new(value, kind, place, name)
        self._depth -= 1
        return None

    def _visit_new(self, value: Any, kind: type, place: str, name: str) -> None:
        self._token(kind, place)
        if isinstance(value, types.FunctionType):
            self._visit_function(value, place)
        elif isinstance(value, types.ModuleType):
            self._visit_module(value, place, name)
        elif isinstance(value, type):
            self._visit_class(value, place, is_made=True)
        elif isinstance(value, functools.partial):
            for part in self._read(_PARTIAL, value):
                self.visit(part, place)
        elif kind is types.MethodType:
            self.visit(value.__func__, place)
            self.visit(value.__self__, place.rpartition(".")[0] or "self")
        elif isinstance(value, (property, staticmethod, classmethod, functools.cached_property)):
            self._visit_descriptor(value, place)
        elif is_builtin(value):
            self._visit_builtin(value, place)
        elif isbox(value):
            raise HigherDerivativeError(NO_HIGHER_DERIVATIVES)
        elif is_buffer(value):
            self.visit(held(value), place)
        elif isinstance(value, np.generic):
            self._token((value.dtype, value.tobytes()), place)
        elif isinstance(value, IMMUTABLE_TYPES) or is_traced(value):
            if isinstance(value, (operator.attrgetter, operator.methodcaller)):
                self.seen.add(ALL_ATTRIBUTES)
            self._token(Same(value), place)
        elif hasattr(kind, "__dlpack__"):
            self._visit_array(value, kind, place)
        elif kind is types.MappingProxyType:
            self._visit_items(value, place)
        elif kind is slice:
            self.visit((value.start, value.stop, value.step), place)
        else:
            self._visit_object(value, kind, place, name)

    def _visit_array(self, value: Any, kind: type, place: str) -> None:
        if not isinstance(value, np.ndarray):
            self.natives.append(value)
            self._token(Same(value), place)
            return
        if isinstance(value, np.ma.MaskedArray):
            self._refuse(value, place)
        self._token((value.shape, value.dtype), place)
        if value.dtype.hasobject:
            for i, entry in enumerate(self._read(np.ravel, value)):
                self.visit(entry, f"{place}[{i}]")
        elif value.dtype.kind in "biufc":
            self.arrays.append(value)
            self._token(Same(value), place)
        else:
            self.texts.append(value)
        if not is_trusted(kind.__module__):
            self._visit_parts(value, kind, place)

    def _visit_items(self, value: Any, place: str) -> None:
        """Follow the entries of a container."""
        if isinstance(value, (dict, types.MappingProxyType)):
            kind: Any = dict if isinstance(value, dict) else types.MappingProxyType
            keys, entries = self._read(kind.__iter__, value), self._read(kind.values, value)
            self._token(len(keys), place)
            for key, entry in zip(keys, entries, strict=True):
                self.visit(key, place)
                self.visit(entry, f"{place}[{key!r}]" if type(key) in (str, int) else place)
            return
        kind = next(kind for kind in ITEMS if isinstance(value, kind))
        is_fixed = kind in (tuple, frozenset)
        entries = [*ITEMS[kind](value)] if is_fixed else self._read(ITEMS[kind], value)
        self._token(len(entries), place)
        for i, entry in enumerate(entries):
            self.visit(entry, f"{place}[{i}]")

    def _visit_object(self, value: Any, kind: type, place: str, name: str) -> None:
        """Follow the attributes of an object, and its entries if it is a container."""
        module = sys.modules.get(kind.__module__)
        if is_trusted(kind.__module__) and vars(module).get(name, self) is value:
            self._token(Same(value), place)  # a library's constant
            return
        if has_hidden_state(kind):
            self._visit_opaque(value, kind, place)
        elif isinstance(value, CONTAINERS):
            self._visit_items(value, place)
        elif isinstance(value, SCALAR_TYPES):
            base = next(base for base in SCALAR_TYPES if isinstance(value, base))
            self._token(base.__repr__(value), place)
        if kind not in CONTAINERS:
            self._visit_parts(value, kind, place)

    def _visit_opaque(self, value: Any, kind: type, place: str) -> None:
        """Compare a value without visible state by its own `==`, if that compares values."""
        if hasattr(value, "__wrapped__"):  # such as a function with a cache
            self._token(Same(value), place)
            self.visit(value.__wrapped__, place)
            return
        is_reference = isinstance(value, weakref.ref)
        if is_reference or {kind.__hash__, kind.__eq__} & {None, object.__hash__, object.__eq__}:
            self._refuse(value, place)
        try:
            hash(value)
        except Exception:
            self._refuse(value, place)
        self._token((value, repr(value)), place)

    def _visit_parts(self, value: Any, kind: type, place: str) -> None:
        """Follow an object's class and attributes."""
        space = getattr(value, "__dict__", None)
        self._read(_CLASS if space is None else _OBJECT, value)
        self._visit_class(kind, place, is_made=False)
        is_open = any(map(reads_unnamed, kind.__mro__))
        if kind.__module__.startswith("gradlab.") and hasattr(kind, "surveyed"):
            for name in kind.surveyed:  # the class names the attributes to follow
                self._visit_slot(value, name, place)
        elif space is not None:
            defined = {name for base in kind.__mro__ for name in vars(base)}
            self._visit_attributes(space, defined, place, is_open)
        for base in kind.__mro__:
            for name in slots_of(base):
                if self._every or name in self._names or is_open or is_trusted(base.__module__):
                    self._visit_slot(value, name, place)

    def _visit_slot(self, value: Any, name: str, place: str) -> None:
        self._token(name, place)
        try:
            entry = self._read(operator.attrgetter(name, name), value)[0]
        except AttributeError:  # not set yet
            self._is_quick = False
            self._token(ABSENT, place)
        else:
            self.visit(entry, f"{place}.{name}", name)
