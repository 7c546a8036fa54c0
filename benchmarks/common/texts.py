"""Numbers as text, tables of them, and the values of options."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gradlab.errors import OptionError, unknown


def duration(seconds: float, significant: int = 3) -> str:
    """Write a time with this many significant digits, in s, ms or µs.

    Examples
    --------
    >>> duration(42.51), duration(0.0123), duration(4.2e-5), duration(1e-3, 1)
    ('42.5 s', '12.3 ms', '42.0 µs', '1 ms')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 0.9995:  # anything larger rounds to 1000 of the next unit
            return f"{digits(seconds * factor, significant)} {unit}"
    return f"{digits(seconds * 1e6, significant)} µs"


def digits(number: float, significant: int = 3) -> str:
    """Write a positive number with this many significant digits, without an exponent.

    Examples
    --------
    >>> digits(18432.7), digits(4.0), digits(0.4321, 2), digits(0.9996)
    ('18,400', '4.00', '0.43', '1.00')
    """
    if number <= 0:
        return f"{number:g}"
    rounded = float(f"{number:.{significant - 1}e}")
    decimals = significant - 1 - math.floor(math.log10(rounded))
    return f"{rounded:,.{max(decimals, 0)}f}"


def parse_dtype(dtype: str) -> np.dtype[Any]:
    """Return the dtype of this name; raise an OptionError that lists the names for others."""
    if dtype not in ("float64", "float32"):
        raise OptionError(f"--dtype {dtype}: choose float64 or float32")
    return np.dtype(dtype)


def parse_widths(text: str) -> tuple[int, ...]:
    """Return the widths of a network that an option names.

    Examples
    --------
    >>> parse_widths("784-50-10")
    (784, 50, 10)
    """
    widths = text.split("-")
    if len(widths) < 2 or not all(width.isdecimal() and int(width) for width in widths):
        raise OptionError(f"--network {text}: give the widths, such as 784-50-10")
    return tuple(map(int, widths))


def require_known(option: str, given: Sequence[str] | None, known: Collection[str]) -> None:
    """Raise an OptionError for a value of an option that is not known.

    Examples
    --------
    >>> require_known("--loss", ["waits", "sleeps"], ["waits", "computes"])
    Traceback (most recent call last):
    gradlab.errors.OptionError: --loss sleeps: unknown loss 'sleeps': choose from waits, computes
    """
    for value in given or ():
        if value not in known:
            kind = option.removeprefix("--")
            raise OptionError(f"{option} {value}: {unknown(kind, value, known)}")


def new_table(
    title: str, caption: str, columns: Sequence[str], first: str = "", **style: Any
) -> Table:
    """Return a table without rows: a column of names, and columns of numbers.

    Parameters
    ----------
    title, caption : str
        The text above and below the table; brackets in the caption are not markup.
    columns : sequence of str
        Headings of the columns of numbers.
    first : str
        Heading of the column of names.
    **style : Any
        Further options of `rich.table.Table`.
    """
    style = {"box": SIMPLE_HEAD, "title_justify": "left", "caption_justify": "left"} | style
    table = Table(title=title, caption=Text(caption), pad_edge=False, **style)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
