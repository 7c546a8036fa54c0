"""What a function reads, followed through everything that its code names.

A `Survey` starts at a function and follows by content what the function can reach: the variables,
attributes and defaults that its code names, the functions that it calls, the entries of containers.
The code of nested functions, lambdas and comprehensions counts as its own. What comes of it are

* *tokens*: two surveys have equal ones only if the function reads the same. Numbers and text are
  compared by value, code by its instructions, containers and objects by what is in them, and the
  rest by identity.
* *readers*: how to fetch all values again, so that a survey of unchanged things is known to hold
  after one comparison of identities.

A survey does not guess. A value with state that no attribute shows, such as a random generator, an
iterator or a file, raises an `UnkeyableError`; so does a function that asks the outside world, such
as `open` or `time.time`, and more than `LIMIT` values. Only libraries are taken for what they are:
of the modules in `TRUSTED`, functions are compared by identity, and their code is not followed.
"""

from __future__ import annotations

import functools
import operator
import sys
import types
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from autograd.tracer import isbox

from gradlab.arrays.dispatch import held, is_buffer, is_traced
from gradlab.errors import UntraceableError
from gradlab.program.closure_rules import (
    CONTAINERS,
    FIXED,
    ITEMS,
    MAKING,
    NUMBERS,
    OUTSIDE_IDS,
    REFLECTIVE_IDS,
    has_hidden_state,
    is_builtin,
    is_trusted,
    reads_unnamed,
    slots_of,
)
from gradlab.program.closure_values import Values
from gradlab.program.code_names import EVERY, names_of

LIMIT = 4000
"""Tokens of a survey, some 20 ns each at every call."""

DEEP = 60
"""Levels of attributes and items, far from Python's own limit of recursion."""

ABSENT = object()
"""The token of a variable that is not bound."""


HIGHER = (
    "the tape holds first derivatives alone, and its gradient is being differentiated: "
    'use backend="autograd" for the inner gradient'
)


class HigherDerivativeError(UntraceableError):
    """The tape's gradient is being differentiated."""


class UnkeyableError(UntraceableError):
    """Something of which it cannot be told whether it is the same again."""


class Same:
    """A token that is equal to that of the same thing alone."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing  # held, so that nothing else gets its id

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing


# Readers: what fetches all values of an owner in one call

_FUNCTION = operator.attrgetter("__code__", "__defaults__", "__kwdefaults__", "__closure__")
_PARTIAL = operator.attrgetter("func", "args", "keywords")
_CELL = operator.attrgetter("cell_contents", "cell_contents")
_BASES = operator.attrgetter("__mro__", "__mro__")
_CLASS = operator.attrgetter("__class__", "__class__")
_OBJECT = operator.attrgetter("__class__", "__dict__")
_PLAIN = {type(None), bool, int, str, bytes, type(...), type(NotImplemented), range}


def survey(roots: Sequence[tuple[str, Any]]) -> Survey:
    """Return what some values read, each of which has a name for messages.

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
    while True:  # functions that are found name attributes of objects that were found before
        found = Survey(names)
        for place, value in roots:
            found.visit(value, place)
        if found.seen <= names:
            found.finish([value for _, value in roots])
            return found
        names |= found.seen


class Survey(Values):
    """What some values read; see the module.

    Parameters
    ----------
    names : set of str
        The attributes that matter, as far as they are known.

    Attributes
    ----------
    seen : set of str
        The attributes that the code of the functions names.
    tokens, places : list
        What was found, and where.
    arrays : list of ndarray
        Arrays that are compared by identity.
    texts : list of ndarray
        Arrays without numbers, whose contents have to be compared at each call.
    natives : list
        Arrays of other libraries, compared by identity.
    """

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names
        self._every = EVERY in names
        self._sorted = sorted(name for name in names if "." not in name and name != EVERY)
        self.seen: set[str] = set()
        self.tokens: list[Any] = []
        self.places: list[str] = []
        self.texts: list[Any] = []
        self.natives: list[Any] = []
        self._index: dict[Any, int] = {}
        self._depth = 0

    # How values are read

    def _token(self, token: Any, place: str) -> None:
        self.tokens.append(token)
        self.places.append(place)
        if len(self.tokens) > LIMIT:
            raise UnkeyableError(f"it reads more than {LIMIT} values, of {place} among others")

    def _refuse(self, value: Any, place: str, why: str = "whose state cannot be seen") -> None:
        kind = type(value).__name__
        raise UnkeyableError(f"{place} is {_article(kind)} {kind}, {why}")

    # What values consist of

    def visit(self, value: Any, place: str, name: str = "") -> None:
        """Append the tokens of a value that is found in a place, under a name."""
        kind = type(value)
        if kind in _PLAIN:
            return self._token((kind, value), place)
        if kind in (float, complex):
            return self._token((kind, repr(value)), place)  # 0.0 is not -0.0, and nan is nan
        key = (id(value), name) if isinstance(value, types.ModuleType) else id(value)
        if key in self._index:
            return self._token((kind, "seen", self._index[key]), place)
        if self._depth > DEEP:
            raise UnkeyableError(f"{place} is nested deeper than {DEEP} levels")
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
            raise HigherDerivativeError(HIGHER)
        elif is_buffer(value):
            self.visit(held(value), place)
        elif isinstance(value, np.generic):
            self._token((value.dtype, value.tobytes()), place)
        elif isinstance(value, FIXED) or is_traced(value):
            if isinstance(value, (operator.attrgetter, operator.methodcaller)):
                self.seen.add(EVERY)
            self._token(Same(value), place)
        elif hasattr(kind, "__dlpack__"):
            self._visit_array(value, kind, place)
        elif kind is types.MappingProxyType:
            self._visit_items(value, place)
        elif kind is slice:
            self.visit((value.start, value.stop, value.step), place)
        else:
            self._visit_object(value, kind, place, name)

    def _visit_function(self, function: types.FunctionType, place: str) -> None:
        self._note_use(function, place)
        is_own = not is_trusted(function.__globals__.get("__name__"))
        if not is_own and not function.__closure__:
            self._token(Same(function), place)
            return
        code, defaults, kwdefaults, closure = self._read(_FUNCTION, function)
        self._token(code if is_own else Same(code), place)
        self.visit(defaults, f"{place}.__defaults__")
        self.visit(kwdefaults, f"{place}.__kwdefaults__")
        for name, cell in zip(code.co_freevars, closure or (), strict=True):
            try:
                value = self._read(_CELL, cell)[0]
            except ValueError:  # not bound yet
                self._is_quick = False
                self._token(ABSENT, name)
            else:
                self.visit(value, name)
        if is_own:
            names = names_of(code)
            self.seen |= names.attributes
            self._visit_globals(function, names.variables)
            self._visit_imports(function, names.imports)
        self._visit_attributes(function.__dict__, (), place)

    def _visit_globals(self, function: types.FunctionType, names: Sequence[str]) -> None:
        space: dict[str, Any] = function.__globals__
        builtins: dict[str, Any] = getattr(function, "__builtins__")  # noqa: B009  unknown to types
        missing = [name for name in names if name not in space]
        found = self._look_up(space, [name for name in names if name in space])
        self._expect_none_of(space.keys(), missing, space)
        found |= self._look_up(builtins, [name for name in missing if name in builtins])
        for name in names:
            self._token(name, name)
            if name in found:
                self.visit(found[name], name, name)
            else:
                self._token(ABSENT, name)

    def _visit_imports(self, function: types.FunctionType, names: Sequence[str]) -> None:
        """Follow modules that are imported within a function."""
        package = str(function.__globals__.get("__package__") or "")
        for name in names:
            for full in {name, f"{package}.{name}".strip("."), name.partition(".")[0]}:
                if full in sys.modules:
                    (module,) = self._look_up(sys.modules, [full]).values()
                    self.visit(module, full, full.rpartition(".")[2])
                else:
                    self._token((ABSENT, full), full)
                    self._expect_none_of(sys.modules.keys(), [full], sys.modules)

    def _visit_module(self, module: types.ModuleType, place: str, name: str) -> None:
        self._note_use(module, place)
        self._token(Same(module), place)
        space = module.__dict__
        if is_trusted(module.__name__):
            after = f"{name}."
            names = [n[len(after) :] for n in sorted(self._names) if n.startswith(after)]
            for name in names:  # which stay as they are, and are not fetched again
                if name in space:
                    self._token(name, place)
                    self._visit_trusted(space[name], f"{place}.{name}", name)
            return
        if self._every:
            names = [n for n in space if not n.startswith("__")]
        else:
            names = [n for n in (*self._sorted, "__getattr__") if n in space]
        for name, value in self._look_up(space, names).items():
            self._token(name, place)
            self.visit(value, f"{place}.{name}", name)

    def _visit_trusted(self, value: Any, place: str, name: str) -> None:
        """Take what a library's module holds for a constant, if it is one."""
        if isinstance(value, (types.ModuleType, types.MethodType)) or is_builtin(value):
            self.visit(value, place, name)
        else:
            self._note_use(value, place)
            self._token(Same(value), place)

    def _note_use(self, function: Any, place: str) -> None:
        """Refuse functions that ask the outside world; see which read attributes unnamed."""
        if id(function) in OUTSIDE_IDS:
            raise UnkeyableError(f"{place} may give something else at each call")
        if id(function) in REFLECTIVE_IDS:
            self.seen.add(EVERY)

    def _visit_builtin(self, function: Any, place: str) -> None:
        """Take a function written in C for pure if it is a library's, and look at its object."""
        self._note_use(function, place)
        owner = getattr(function, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            if not is_trusted(getattr(function, "__module__", None) or "builtins"):
                raise UnkeyableError(f"{place} may give something else at each call")
            self._token(Same(function), place)
        elif isinstance(owner, type):
            self._token(Same(function), place)
        else:
            self._token(function.__name__, place)
            self.visit(owner, place.rpartition(".")[0] or place)

    def _visit_descriptor(self, value: Any, place: str) -> None:
        if isinstance(value, property):
            parts = (value.fget,)
        elif isinstance(value, functools.cached_property):
            parts = (value.func,)
        else:
            parts = (value.__func__,)
        self.visit(parts, place)

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
            self._token(Same(value), place)  # a constant of a library
            return
        if has_hidden_state(kind):
            self._visit_opaque(value, kind, place)
        elif isinstance(value, CONTAINERS):
            self._visit_items(value, place)
        elif isinstance(value, NUMBERS):
            base = next(base for base in NUMBERS if isinstance(value, base))
            self._token(base.__repr__(value), place)
        if kind not in CONTAINERS:
            self._visit_parts(value, kind, place)

    def _visit_opaque(self, value: Any, kind: type, place: str) -> None:
        """Compare a value that shows nothing by its own equality, if that is one of values."""
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
            for name in kind.surveyed:  # the rest is a matter of ours
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

    def _visit_attributes(
        self, space: dict[str, Any], defined: Iterable[str], place: str, is_open: bool = False
    ) -> None:
        """Follow the attributes that are named, or all, and see when others hide the class's."""
        if is_open or self._every:
            names, values = self._read(dict.__iter__, space), self._read(dict.values, space)
            found = dict(zip(names, values, strict=True))
        else:
            found = self._look_up(space, [name for name in self._sorted if name in space])
            hidden = [name for name in self._sorted if name in defined and name not in space]
            self._expect_none_of(space.keys(), hidden, space)
        for name, value in found.items():
            self._token(name, place)
            self.visit(value, f"{place}.{name}", name)

    def _visit_class(self, kind: type, place: str, *, is_made: bool) -> None:
        """Follow what a class and its bases define under the names that matter."""
        if (kind, is_made) in self._index:
            return
        self._index[kind, is_made] = 0
        self._token(Same(kind), place)
        bases = [base for base in kind.__mro__ if not is_trusted(base.__module__)]
        if not bases:
            self._note_use(kind, place)
            return
        self._read(_BASES, kind)
        below: list[type] = []
        for base in bases:
            space = vars(base)
            names = [n for n in space if self._matters(n, space[n], is_made)]
            for lower in below:  # where the name would come first
                self._expect_none_of(vars(lower).keys(), {*names} - vars(lower).keys(), lower)
            below.append(base)
            for name, value in self._look_up(space, names, base).items():
                self._token(name, place)
                self.visit(value, f"{place}.{name}", name)
        if not is_trusted(type(kind).__module__):
            self._visit_class(type(kind), place, is_made=False)

    def _matters(self, name: str, value: Any, is_made: bool) -> bool:
        if name in MAKING:
            return is_made
        if name.startswith("__"):
            return name in self._names or callable(value)  # such as __call__ and __add__
        return name in self._names or (self._every and name != "_abc_impl")


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"
