"""The part of a survey that follows code: functions, modules and classes."""

from __future__ import annotations

import functools
import operator
import sys
import types
from collections.abc import Iterable, Sequence
from typing import Any

from gradlab.program.closure.names import ALL_ATTRIBUTES, names_of
from gradlab.program.closure.rules import (
    CREATION_METHODS,
    OUTSIDE_IDS,
    REFLECTIVE_IDS,
    is_builtin,
    is_trusted,
)
from gradlab.program.closure.tokens import ABSENT, Same, Tokens, UnkeyableError

_FUNCTION = operator.attrgetter("__code__", "__defaults__", "__kwdefaults__", "__closure__")
_CELL = operator.attrgetter("cell_contents", "cell_contents")
_BASES = operator.attrgetter("__mro__", "__mro__")


class CodeSurvey(Tokens):
    """Follows the names in code; `Survey` follows their values."""

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
            for name in names:  # constant, hence not fetched again
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
        """Follow an attribute of a library's module; compare constants by identity."""
        if isinstance(value, (types.ModuleType, types.MethodType)) or is_builtin(value):
            self.visit(value, place, name)
        else:
            self._note_use(value, place)
            self._token(Same(value), place)

    def _note_use(self, function: Any, place: str) -> None:
        """Refuse functions that read external state; note those that read unnamed attributes."""
        if id(function) in OUTSIDE_IDS:
            raise UnkeyableError(f"{place} may return something different at each call")
        if id(function) in REFLECTIVE_IDS:
            self.seen.add(ALL_ATTRIBUTES)

    def _visit_builtin(self, function: Any, place: str) -> None:
        """Trust a C function of a library, and follow the object of a bound method."""
        self._note_use(function, place)
        owner = getattr(function, "__self__", None)
        if owner is None or isinstance(owner, types.ModuleType):
            if not is_trusted(getattr(function, "__module__", None) or "builtins"):
                raise UnkeyableError(f"{place} may return something different at each call")
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

    def _visit_attributes(
        self, space: dict[str, Any], defined: Iterable[str], place: str, is_open: bool = False
    ) -> None:
        """Follow the named attributes, or all; detect new ones that hide the class's."""
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
        """Follow the definitions of the relevant names in a class and its bases."""
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
            for lower in below:  # a definition there would take precedence
                self._expect_none_of(vars(lower).keys(), {*names} - vars(lower).keys(), lower)
            below.append(base)
            for name, value in self._look_up(space, names, base).items():
                self._token(name, place)
                self.visit(value, f"{place}.{name}", name)
        if not is_trusted(type(kind).__module__):
            self._visit_class(type(kind), place, is_made=False)

    def _matters(self, name: str, value: Any, is_made: bool) -> bool:
        if name in CREATION_METHODS:
            return is_made
        if name.startswith("__"):
            return name in self._names or callable(value)  # such as __call__ and __add__
        return name in self._names or (self._every and name != "_abc_impl")
