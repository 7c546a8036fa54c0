"""What is fixed about a call, how a loss is run, and what is kept for calls of a form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gradlab.params import Structure
from gradlab.program.cache_key import Bindings, key_of_argument

KEPT = 32
"""Call signatures for which the compiled function is kept; the oldest is dropped first."""

Run: TypeAlias = Callable[[list[Any], list[Any]], tuple[Any, list[Any]]]
"""From leaves and arrays of the library to the loss and the leaves of its gradient."""


@dataclass(frozen=True)
class Way:
    """How a loss is run.

    Attributes
    ----------
    plain : bool
        Whether it gets duck arrays, and may be plain NumPy; else native arrays.
    compiled : bool
        Whether it is traced once, without numbers; else it runs operation by operation.
    data : bool
        Whether arrays among the arguments are the library's, too; else they stay NumPy's.
    """

    plain: bool
    compiled: bool
    data: bool = True


@dataclass
class Prepared:
    """What is kept for calls of a form.

    Attributes
    ----------
    way : Way
        How the loss is run.
    run : callable
        What computes loss and gradient.
    seen : set
        Shapes for which the value was held to NumPy's.
    bindings : Bindings or None
        What the loss read in the latest call.
    """

    way: Way
    run: Run
    seen: set[Any] = field(default_factory=set)
    bindings: Bindings | None = None


@dataclass(frozen=True)
class Form:
    """What is fixed about a call: everything but the numbers in its arrays.

    Attributes
    ----------
    params, args : Structure
        How the leaves hang together.
    values : tuple
        The leaves of the arguments, None in the place of each array.
    arrays : tuple of int
        Where the arrays are among them.
    """

    params: Structure
    args: Structure
    values: tuple[Any, ...]
    arrays: tuple[int, ...]

    def key(self, others: list[Any]) -> Any:
        """Return what is equal for equal forms, or raise `UnkeyableError`; see `keys`."""
        parts = (self.params.template, self.args.template, self.values, self.arrays)
        return key_of_argument(parts, [], others)

    def arguments(self, leaves: Sequence[Any], arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return what the loss is called with."""
        values = list(self.values)
        for place, array in zip(self.arrays, arrays, strict=True):
            values[place] = array
        return self.params.unflatten(leaves), *self.args.unflatten(values)
