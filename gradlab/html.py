"""HTML representations of results for notebooks; colours come from the reader's theme."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

MAX_SHOWN_ROWS = 12
"""Largest number of rows that a table shows; longer ones are cut in the middle."""

_LEFT_ALIGNED = ' style="text-align:left"'


def table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table; the first cell of each row is its name.

    Examples
    --------
    >>> print(table("a < b", ["", "x"], [["loss", "0.5"]]))
    <table>
    <caption style="text-align:left">a &lt; b</caption>
    <thead><tr><th></th><th>x</th></tr></thead>
    <tbody>
    <tr><th style="text-align:left">loss</th><td>0.5</td></tr>
    </tbody>
    </table>
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    return "\n".join(
        [
            "<table>",
            f"<caption{_LEFT_ALIGNED}>{escape(caption)}</caption>",
            f"<thead><tr>{head}</tr></thead>",
            "<tbody>",
            *(f"<tr>{_cells(row)}</tr>" for row in _cut(rows)),
            "</tbody>",
            "</table>",
        ]
    )


def _cells(row: Sequence[str]) -> str:
    name, *rest = map(escape, row)
    return f"<th{_LEFT_ALIGNED}>{name}</th>" + "".join(f"<td>{cell}</td>" for cell in rest)


def _cut(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """Replace the middle of a long table by one row that marks the gap.

    Examples
    --------
    >>> [row[0] for row in _cut([[str(i)] for i in range(100)])]
    ['0', '1', '2', '3', '4', '5', '…', '94', '95', '96', '97', '98', '99']
    """
    if len(rows) <= MAX_SHOWN_ROWS:
        return list(rows)
    half = MAX_SHOWN_ROWS // 2
    return [*rows[:half], ["…"] * len(rows[0]), *rows[-half:]]
