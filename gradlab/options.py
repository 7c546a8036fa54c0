"""Checks of option values: one function per kind of value, with one wording for errors.

Each returns the value as a Python type, since NumPy scalars would widen float32 arrays later.
``True`` is not accepted as a number: ``epochs=True`` is a mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from gradlab.errors import OptionError

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def integer(
    name: str, value: Any, advice: str = "", *, least: int = 1, most: float = math.inf
) -> int:
    """Return an integer from `least` to `most`, or raise an error that gives advice.

    Examples
    --------
    >>> integer("epochs", np.uint8(3))
    3
    >>> integer("epochs", 2.5)
    Traceback (most recent call last):
    gradlab.errors.OptionError: epochs=2.5: give an integer from 1
    """
    if (
        isinstance(value, int | np.integer)
        and not isinstance(value, bool)
        and least <= value <= most
    ):
        return int(value)
    raise refusal(name, value, advice or f"give an integer from {least}")


def each(
    name: str, values: Any, one: Callable[[str, Any], T], advice: str, *, fewest: int = 0
) -> list[T]:
    """Return a list of at least `fewest` values, each of them as ``one(name, value)`` returns it.

    Examples
    --------
    >>> each("sizes", (64, np.int64(10)), integer, "give the widths", fewest=2)
    [64, 10]
    >>> each("sizes", 64, integer, "give the widths", fewest=2)
    Traceback (most recent call last):
    gradlab.errors.OptionError: sizes=64: give the widths
    """
    if isinstance(values, str):  # a string is one value, not a sequence of letters
        raise refusal(name, values, advice)
    try:
        given = [one(name, value) for value in list(values)]
    except (TypeError, OptionError):
        raise refusal(name, values, advice) from None
    if len(given) < fewest:
        raise refusal(name, values, advice)
    return given


def number(
    name: str,
    value: Any,
    advice: str = "give a positive number",
    *,
    fits: Callable[[float], bool] = lambda value: value > 0,
) -> float:
    """Return a finite real number that `fits`; by default, a positive one.

    Examples
    --------
    >>> number("learning_rate", np.float32(0.5))
    0.5
    >>> number("learning_rate", "fast")
    Traceback (most recent call last):
    gradlab.errors.OptionError: learning_rate='fast': give a positive number
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            real = float(value)
        except OverflowError:  # an integer too large for a float
            real = math.inf
        if math.isfinite(real) and fits(real):
            return real
    raise refusal(name, value, advice)


def floating(name: str, value: DTypeLike, advice: str) -> np.dtype[Any]:
    """Return a floating-point dtype.

    Examples
    --------
    >>> floating("dtype", "float32", "give a floating-point type")
    dtype('float32')
    """
    try:
        dtype = np.dtype(value)
    except Exception:  # NumPy parses strings itself and may raise errors of any type
        raise refusal(name, value, advice) from None
    if value is None or dtype.kind != "f":
        raise refusal(name, value, advice)
    return dtype


def function(name: str, value: F, advice: str = "give a function") -> F:
    """Return a callable value.

    Examples
    --------
    >>> function("accuracy", 0.9)
    Traceback (most recent call last):
    gradlab.errors.OptionError: accuracy=0.9: give a function
    """
    if not callable(value):
        raise refusal(name, value, advice)
    return value


def refusal(name: str, value: Any, advice: str) -> OptionError:
    """Return the error that names an option, shows its value and says what to do."""
    return OptionError(f"{name}={value!r}: {advice}")
