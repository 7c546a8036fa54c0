"""A benchmark's numbers as text: Markdown for people, CSV for programs.

Markdown has the table that the script shows. CSV has one row per result, unrounded. A dictionary in
a result becomes columns; lists are only in the JSON file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from csv import DictWriter
from io import StringIO
from typing import Any

INDENT = "\u2003"
"""An em space, which Markdown keeps, unlike ordinary leading spaces."""


def markdown(numbers: Mapping[str, Any]) -> str:
    r"""Return a benchmark's table, headline and notes as Markdown.

    Examples
    --------
    >>> table = {"title": "Cost", "columns": ["", "s"], "right": [False, True],
    ...          "rows": [["net", ""], ["  a|b", "1"]], "notes": "of all"}
    >>> print(markdown({"headline": "It costs.", "table": table}))
    # Cost
    <BLANKLINE>
    It costs.
    <BLANKLINE>
    |  | s |
    | :-- | --: |
    | net |  |
    |  a\|b | 1 |
    <BLANKLINE>
    of all
    <BLANKLINE>
    """
    table = numbers["table"]
    lines = [
        _row(table["columns"]),
        _row("--:" if right else ":--" for right in table["right"]),
        *(_row(map(_cell, row)) for row in table["rows"]),
    ]
    title, notes = table["title"] or numbers["benchmark"], table["notes"].splitlines()
    parts = [f"# {title}", numbers["headline"], "\n".join(lines), "  \n".join(notes)]
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    depth = (len(text) - len(text.lstrip(" "))) // 2
    return INDENT * depth + text.strip().replace("|", "\\|").replace("\n", "<br>")


def _row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def csv(numbers: Mapping[str, Any]) -> str:
    """Return a benchmark's unrounded results as CSV.

    Examples
    --------
    >>> results = [{"name": "a, b", "ratio": {"low": 0.5}, "laps": [1, 2]}, {"name": "c"}]
    >>> print(csv({"results": results}))
    name,ratio.low
    "a, b",0.5
    c,
    <BLANKLINE>
    """
    rows = [dict(_flat(result)) for result in numbers["results"]]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file = StringIO()
    writer = DictWriter(file, columns, restval="", lineterminator="\n")
    writer.writerow({name: _no_formula(name) for name in columns})
    writer.writerows({name: _no_formula(cell) for name, cell in row.items()} for row in rows)
    return file.getvalue()


def _no_formula(cell: Any) -> Any:
    """Return a cell that a spreadsheet displays but does not evaluate.

    Examples
    --------
    >>> _no_formula("=SUM(A1)"), _no_formula("-1.5e3"), _no_formula(-2), _no_formula("net")
    ("'=SUM(A1)", '-1.5e3', -2, 'net')
    """
    if not isinstance(cell, str) or not cell.lstrip().startswith(("=", "+", "-", "@")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def _flat(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None and not isinstance(value, list):
            yield prefix + name, value
