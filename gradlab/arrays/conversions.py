"""Python numbers that a loss makes of traced values.

``float(x)`` has to return a Python float, which cannot carry a derivative. Many losses end in
``return float(value)``, though, where nothing is lost: the very object that ``__float__`` made is
what the loss returns. Each conversion is therefore recorded with its object, and checked when the
loss has returned: if the loss returned that object, the traced value replaces it. Any other
conversion is refused, even if the loss caught an exception in between.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gradlab.arrays.dispatch import Traced, refuse_plain
from gradlab.arrays.places import place_of

_here = threading.local()


@dataclass(frozen=True)
class Conversion:
    """A number that a loss made of a traced value, and the line in which it did."""

    number: float
    traced: Traced
    place: str


def number_of(traced: Traced, value: Any) -> float:
    """Return a traced value as a Python number, and record the conversion.

    Parameters
    ----------
    traced : Traced
        The traced value.
    value : Any
        Its number; NaN where it is not known.
    """
    noted: Any = getattr(_here, "noted", None)
    if noted is None:
        _refuse(place_of())
    number = float(value)
    noted.append(Conversion(number, traced, place_of()))
    return number


def is_tracing() -> bool:
    """Tell whether gradlab traces a loss in this thread."""
    return getattr(_here, "noted", None) is not None


@contextmanager
def conversions() -> Iterator[list[Conversion]]:
    """Collect the conversions of a loss in this thread."""
    before = getattr(_here, "noted", None)
    _here.noted = []
    try:
        yield _here.noted
    finally:
        _here.noted = before


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
