"""The tokens of a survey, the values that it fetches again at each call, and its errors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import Any

from gradlab.errors import UntraceableError
from gradlab.program.closure.names import ALL_ATTRIBUTES

MAX_TOKENS = 4000
"""Largest number of tokens in a survey: each costs about 20 ns per call."""

MAX_DEPTH = 60
"""Largest depth of attributes and items, far below Python's recursion limit."""

_LAYOUT = operator.attrgetter("shape", "strides", "dtype")
_END = object()

ABSENT = object()
"""The token of a variable that is not bound."""


NO_HIGHER_DERIVATIVES = (
    "the tape computes only first derivatives, and its gradient is being differentiated: "
    'use backend="autograd" for the inner gradient'
)


class HigherDerivativeError(UntraceableError):
    """The tape's gradient is being differentiated."""


class UnkeyableError(UntraceableError):
    """A function reads a value whose changes cannot be detected."""


class Same:
    """A token that compares by identity."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing  # keep it, so that no other object gets its id

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing


class Tokens:
    """The tokens of a survey, with their places; `names` are the attributes that matter to it.

    Values are kept with the readers that fetch them from their owners again. All readers and the
    loop over them are written in C: a value takes about 20 ns.

    Examples
    --------
    >>> options = [1.0, 2.0]
    >>> values = Tokens(frozenset())
    >>> values._read(list.__iter__, options)
    [1.0, 2.0]
    >>> values.finish([options])
    >>> values.is_current()
    True
    >>> options.append(3.0)
    >>> values.is_current()
    False
    """

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._every = ALL_ATTRIBUTES in names
        self._sorted = sorted(name for name in names if "." not in name and name != ALL_ATTRIBUTES)
        self.seen: set[str] = set()  # the attributes that the functions' code names
        self.tokens: list[Any] = []
        self.places: list[str] = []
        # Arrays of other types than numbers, whose contents are compared at each call.
        self.texts: list[Any] = []
        self.natives: list[Any] = []  # arrays of other libraries, compared by identity
        self.arrays: list[Any] = []  # arrays whose layout must stay the same
        self._index: dict[Any, int] = {}
        self._depth = 0
        self._held: list[Any] = []  # keeps objects alive, so that no other gets their ids
        self._spaces: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._without: dict[int, tuple[Any, set[str]]] = {}
        self._readers: list[Any] = []
        self._owners: list[Any] = []
        self._values: list[Any] = []
        self._is_quick = True

    def _token(self, token: Any, place: str) -> None:
        self.tokens.append(token)
        self.places.append(place)
        if len(self.tokens) > MAX_TOKENS:
            raise UnkeyableError(f"it reads more than {MAX_TOKENS} values, {place} among them")

    def _refuse(self, value: Any, place: str, why: str = "whose state cannot be seen") -> None:
        kind = type(value).__name__
        raise UnkeyableError(f"{place} is {_article(kind)} {kind}, {why}")

    def visit(self, value: Any, place: str, name: str = "") -> None:
        """Append the tokens of a value, given its place and name."""
        raise NotImplementedError

    def finish(self, roots: Sequence[Any]) -> None:
        """Prepare the comparison."""
        self._held.append(roots)
        for space, found in self._spaces.values():
            names = [*found, *found] if len(found) == 1 else [*found]
            self._readers.append(operator.itemgetter(*names))
            self._owners.append(space)
            self._values += map(found.__getitem__, names)
        self._values.append(_END)
        self._layouts = [*map(_LAYOUT, self.arrays)]
        without = [(keys.isdisjoint, names) for keys, names in self._without.values()]
        self._tests, self._names_without = [t for t, _ in without], [n for _, n in without]

    def is_current(self) -> bool:
        """Tell whether all values are the same objects as before."""
        values = chain.from_iterable(map(operator.call, self._readers, self._owners))
        try:
            return (
                self._is_quick
                and all(map(operator.is_, chain(values, (_END,)), self._values))
                and (not self._tests or all(map(operator.call, self._tests, self._names_without)))
                and (not self.arrays or [*map(_LAYOUT, self.arrays)] == self._layouts)
            )
        except Exception:  # a value no longer exists
            return False

    def _read(self, reader: Callable[[Any], Iterable[Any]], owner: Any) -> list[Any]:
        """Fetch values, now and at each comparison."""
        values = [*reader(owner)]
        self._readers.append(reader)
        self._owners.append(owner)
        self._values += values
        return values

    def _look_up(self, space: Any, names: Iterable[str], owner: Any = None) -> dict[str, Any]:
        """Fetch variables of a namespace, each once."""
        owner = space if owner is None else owner
        self._held.append(owner)
        _, known = self._spaces.setdefault(id(owner), (space, {}))
        found = {name: known[name] if name in known else space[name] for name in names}
        known.update(found)
        if not known:
            del self._spaces[id(owner)]
        return found

    def _expect_none_of(self, keys: Any, names: Iterable[str], owner: Any) -> None:
        """Detect at each comparison if a namespace gets one of these names."""
        if names := [*names]:
            self._without.setdefault(id(owner), (keys, set()))[1].update(names)
            self._held.append(owner)


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"
