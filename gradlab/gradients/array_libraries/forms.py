"""The form of a call, the ways to run a loss, and what is stored for each form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gradlab.params import Structure
from gradlab.program.cache_key import Bindings, key_of_argument

KEPT = 32
"""Largest number of forms with a stored compiled function; the oldest is dropped first."""

Run: TypeAlias = Callable[[list[Any], list[Any]], tuple[Any, list[Any]]]
"""Function from leaves and arrays of the library to the loss and the leaves of its gradient."""


@dataclass(frozen=True)
class Way:
    """A way to run a loss.

    Attributes
    ----------
    plain : bool
        True for duck arrays, on which plain NumPy runs; False for native arrays.
    compiled : bool
        True if the loss is traced once, without numbers; False if it runs operation by operation.
    data : bool
        Whether arrays among the arguments become the library's; otherwise they stay NumPy's.
    """

    plain: bool
    compiled: bool
    data: bool = True


@dataclass
class Prepared:
    """What is stored for calls of a form.

    Attributes
    ----------
    way : Way
        The way that runs the loss.
    run : callable
        Computes loss and gradient.
    seen : set
        Shapes for which the value was compared with NumPy's.
    bindings : Bindings or None
        The key of everything that the loss read in the latest call.
    """

    way: Way
    run: Run
    seen: set[Any] = field(default_factory=set)
    bindings: Bindings | None = None


@dataclass(frozen=True)
class Form:
    """Everything about a call except the numbers in its arrays.

    Attributes
    ----------
    params, args : Structure
        The structures of the parameters and of the arguments.
    values : tuple
        The leaves of the arguments, with None in the place of each array.
    arrays : tuple of int
        The positions of the arrays among them.
    """

    params: Structure
    args: Structure
    values: tuple[Any, ...]
    arrays: tuple[int, ...]

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
