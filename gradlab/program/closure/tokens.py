"""The tokens of a survey, and its errors."""

from __future__ import annotations

from typing import Any

from gradlab.errors import UntraceableError
from gradlab.program.closure.names import EVERY
from gradlab.program.closure.values import ReadValues

LIMIT = 4000
"""Largest number of tokens in a survey: each costs about 20 ns per call."""

DEEP = 60
"""Largest depth of attributes and items, far below Python's recursion limit."""

ABSENT = object()
"""The token of a variable that is not bound."""


HIGHER = (
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


class Tokens(ReadValues):
    """The tokens of a survey, with their places; `names` are the attributes that matter to it."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names
        self._every = EVERY in names
        self._sorted = sorted(name for name in names if "." not in name and name != EVERY)
        self.seen: set[str] = set()  # the attributes that the functions' code names
        self.tokens: list[Any] = []
        self.places: list[str] = []
        # Arrays of other types than numbers, whose contents are compared at each call.
        self.texts: list[Any] = []
        self.natives: list[Any] = []  # arrays of other libraries, compared by identity
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
        """Append the tokens of a value, given its place and name."""
        raise NotImplementedError


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeiou" else "a"
