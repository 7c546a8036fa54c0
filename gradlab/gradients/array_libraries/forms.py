"""The form of a call, the ways to run a loss, and what is stored for each form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gradlab.params import Structure
from gradlab.program.cache_key import Bindings, key_of_argument

MAX_COMPILED_FORMS = 32
"""Largest number of forms with a stored compiled function; the oldest is dropped first."""

Run: TypeAlias = Callable[[list[Any], list[Any]], tuple[Any, list[Any]]]
"""Function from leaves and arrays of the library to the loss and the leaves of its gradient."""


@dataclass(frozen=True)
class Way:
    """A way to run a loss."""

    plain: bool  # duck arrays, on which plain NumPy runs; otherwise native arrays
    compiled: bool  # traced once, without numbers; otherwise operation by operation
    data: bool = True  # arrays among the arguments become the library's; otherwise NumPy's


@dataclass
class Prepared:
    """What is stored for calls of a form."""

    way: Way
    run: Run
    seen: set[Any] = field(default_factory=set)  # shapes whose value was compared with NumPy's
    bindings: Bindings | None = None  # of all that the loss read in the latest call


@dataclass(frozen=True)
class Form:
    """Everything about a call except the numbers in its arrays."""

    params: Structure
    args: Structure
    values: tuple[Any, ...]  # the leaves of the arguments, with None in the place of each array
    arrays: tuple[int, ...]  # the positions of the arrays among them

    def key(self, others: list[Any]) -> Any:
        """Return a key of the form, or raise `UnkeyableError`; see `cache_key`."""
        parts = (self.params.template, self.args.template, self.values, self.arrays)
        return key_of_argument(parts, [], others)

    def arguments(self, leaves: Sequence[Any], arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments for the loss."""
        values = list(self.values)
        for place, array in zip(self.arrays, arrays, strict=True):
            values[place] = array
        return self.params.unflatten(leaves), *self.args.unflatten(values)
