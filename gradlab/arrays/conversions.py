"""Python numbers that a loss makes from traced values.

``float(x)`` must return a Python float, which cannot carry a derivative. But many losses end in
``return float(value)``, where no derivative is lost: the loss returns the very object that
``__float__`` made. Each conversion is therefore recorded with its object and checked after the loss
has returned. If the loss returned that object, the traced value replaces it. Any other conversion
is refused, even if the loss caught an exception in between.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from gradlab.arrays.collecting import Collector
from gradlab.arrays.dispatch import Traced, refuse_plain
from gradlab.arrays.places import place_of


@dataclass(frozen=True)
class Conversion:
    """A number that a loss made from a traced value, and the line of the conversion."""

    number: float
    traced: Traced
    place: str


_noted = Collector[Conversion]()


def number_of(traced: Traced, value: Any) -> float:
    """Return the number of a traced value, or NaN if it is not known; record the conversion."""
    if not is_tracing():
        _refuse(place_of())
    number = float(value)
    _noted.note(Conversion(number, traced, place_of()))
    return number


def is_tracing() -> bool:
    """Tell whether gradlab traces a loss in this thread."""
    return _noted.found is not None


def conversions() -> AbstractContextManager[list[Conversion]]:
    """Collect the conversions of a loss in this thread."""
    return _noted.collecting()


def returned(value: Any, noted: list[Conversion]) -> Any:
    """Return the traced value of what a loss returned; refuse any other conversion."""
    for conversion in noted:
        if conversion.number is value:
            value = conversion.traced
        else:
            _refuse(conversion.place)
    return value


def _refuse(place: str) -> None:
    refuse_plain(
        "makes a Python number of a traced value", "use np. functions, not math.", place=place
    )
