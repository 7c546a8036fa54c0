"""Logarithmic axes with ticks for any range."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

MAX_TICKS = 6


def logarithmic(
    axis: Any,
    low: float,
    high: float,
    show: Callable[[float], str] | None = None,
    most: int = MAX_TICKS,
) -> None:
    """Make an axis logarithmic, from below `low` to above `high`, with at least two ticks.

    About `most` ticks fit. `show` formats one; by default `plain`, or `power` if one would be long.
    """
    margin = max((high / low) ** 0.06, 1.15)
    low = max(low / margin, sys.float_info.min)
    high = min(high, sys.float_info.max / margin) * margin
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    places = ticks(low, high, most)
    show = show or (plain if all(1e-3 <= value < 1e5 for value in places) else power)
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))


def ticks(low: float, high: float, most: int = MAX_TICKS) -> list[float]:
    """Return round values between two positive ones: of 1, 2 and 5, or powers of ten.

    Examples
    --------
    >>> ticks(0.08, 0.7), ticks(0.5, 300), ticks(2.1, 2.9)
    ([0.1, 0.2, 0.5], [1.0, 10.0, 100.0], [2.2, 2.4, 2.6, 2.8])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))

    def within(candidates: Sequence[float]) -> list[float]:
        return [value for value in candidates if low <= value <= high]

    fine = within([float(f"{m}e{k}") for k in range(first, last + 1) for m in (1, 2, 5)])
    decades = within([float(f"1e{k}") for k in range(first, last + 1)])
    if len(fine) < 3:
        return within([float(f"{v:.12g}") for v in MaxNLocator(5).tick_values(low, high)])
    if len(fine) <= most:
        return fine
    # From the top down, since readers compare the largest values.
    if len(decades) < 2:
        return fine[::-2][::-1]
    return decades[:: -max(-(-len(decades) // most), 1)][::-1]


def plain(value: float) -> str:
    """Format a tick without an exponent.

    Examples
    --------
    >>> plain(0.05), plain(1000.0)
    ('0.05', '1,000')
    """
    return f"{value:,.12g}"


def power(value: float) -> str:
    """Format a tick as a power of ten.

    Examples
    --------
    >>> power(1e-7), power(2e-7)
    ('10⁻⁷', '2·10⁻⁷')
    """
    digits, exponent = f"{value:e}".split("e")
    factor = f"{float(digits):g}"
    return f"{'' if factor == '1' else f'{factor}·'}10{superscript(int(exponent))}"


def superscript(exponent: int) -> str:
    """Format an exponent.

    Examples
    --------
    >>> superscript(-12)
    '⁻¹²'
    """
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
