"""What a survey writes down, and what it refuses."""

from __future__ import annotations

from typing import Any

from gradlab.errors import UntraceableError
from gradlab.program.closure.names import EVERY
from gradlab.program.closure.values import ReadValues

LIMIT = 4000
"""Largest number of tokens in a survey: each costs some 20 ns at every call."""

DEEP = 60
"""Largest depth of attributes and items, far below Python's recursion limit."""

ABSENT = object()
"""The token of a variable that is not bound."""


HIGHER = (
    "the tape holds first derivatives alone, and its gradient is being differentiated: "
    'use backend="autograd" for the inner gradient'
)


class HigherDerivativeError(UntraceableError):
    """The tape's gradient is being differentiated."""


class UnkeyableError(UntraceableError):
    """A value is read whose changes cannot be noticed."""


class Same:
    """A token that compares by identity."""

    __slots__ = ("thing",)

    def __init__(self, thing: Any) -> None:
        self.thing = thing  # held, so that nothing else gets its id

    def __hash__(self) -> int:
        return id(self.thing)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.thing is other.thing


class Tokens(ReadValues):
    """The tokens of a survey: what was found, and where.

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

    def _token(self, token: Any, place: str) -> None:
        self.tokens.append(token)
        self.places.append(place)
        if len(self.tokens) > LIMIT:
            raise UnkeyableError(f"it reads more than {LIMIT} values, {place} among them")

    def _refuse(self, value: Any, place: str, why: str = "whose state cannot be seen") -> None:
        kind = type(value).__name__
        raise UnkeyableError(f"{place} is {_article(kind)} {kind}, {why}")

    def visit(self, value: Any, place: str, name: str = "") -> None:
        """Append the tokens of a value that is found in a place, under a name."""
        raise NotImplementedError


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"
