"""Python numbers that a loss makes of traced values.

``float(x)`` has to return a Python float, which cannot carry a derivative. Many losses end in
``return float(value)``, though, where nothing is lost: the very object that ``__float__`` made is
what the loss returns. Each conversion is therefore recorded with its object, and checked when the
loss has returned: if the loss returned that object, the traced value replaces it. Any other
conversion is refused, even if the loss caught an exception in between.
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
    """A number that a loss made of a traced value, and the line in which it did."""

    number: float
    traced: Traced
    place: str


_noted = Collector[Conversion]()


def number_of(traced: Traced, value: Any) -> float:
    """Return a traced value as a Python number, and record the conversion.

    Parameters
    ----------
    traced : Traced
        The traced value.
    value : Any
        Its number; NaN where it is not known.
    """
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
    """Return the traced value of what a loss returned.

    Raises
    ------
    UntraceableError
        If the loss made a number of a traced value for another purpose.
    """
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
