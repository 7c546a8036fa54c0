"""The files that a benchmark writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from gradlab import plotting
from gradlab.bench.scripts import require_protocol
from gradlab.errors import OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_outputs(json_file: Path | None, plot_files: Sequence[Path] | None) -> None:
    """Raise an OptionError, before the work, if a file cannot be written."""
    plots = [("--plot", path) for path in plot_files or ()]
    for option, path in ([("--json", json_file)] if json_file else []) + plots:
        if not path.parent.is_dir():
            raise OptionError(f"{option} {path}: there is no folder {path.parent}")
        if path.is_dir():
            raise OptionError(f"{option} {path}: is a folder; name a file")
    for _, path in plots:
        if path.suffix not in (".png", ".pdf", ".svg"):
            raise OptionError(f"--plot {path}: name a file that ends in .png, .pdf or .svg")


def write_outputs(
    numbers: Mapping[str, Any],
    draw: Callable[[], Figure],
    json_file: Path | None,
    plot_files: Sequence[Path] | None,
) -> None:
    """Write the numbers and the figure to the files that were asked for."""
    require_protocol(numbers)
    if json_file:
        text = json.dumps(numbers, indent=2, allow_nan=False)
        json_file.write_text(f"{text}\n", encoding="utf-8")
    if plot_files:
        drawn = draw()
        for path in plot_files:
            plotting.save(drawn, path)


def record(table: Table) -> dict[str, Any]:
    """Return the text of a table for the JSON file, from which `gradlab bench` makes its report.

    Returns
    -------
    dict
        ``title`` and ``notes`` (str), ``columns`` (the headings), ``right`` (whether each column is
        aligned to the right), and ``rows`` (lists of str).

    Examples
    --------
    >>> table = Table("", title="Seconds", caption="of one call")
    >>> table.add_column(Text("tape", style="bold"), justify="right")
    >>> table.add_row("median", "1")
    >>> shown = record(table)
    >>> shown["title"], shown["columns"], shown["right"], shown["rows"], shown["notes"]
    ('Seconds', ['', 'tape'], [False, True], [['median', '1']], 'of one call')
    """
    cells = [[_plain(cell) for cell in column.cells] for column in table.columns]
    return {
        "title": _plain(table.title),
        "columns": [_unbroken(_plain(column.header)) for column in table.columns],
        "right": [column.justify == "right" for column in table.columns],
        "rows": [list(row) for row in zip(*cells, strict=True)],
        "notes": _plain(table.caption),
    }


def _unbroken(heading: str) -> str:
    """Join the lines of a heading; a word that is broken at a hyphen becomes one word."""
    return heading.replace("-\n", "").replace("\n", " ")


def _plain(text: Any) -> str:
    return text.plain if isinstance(text, Text) else str(text or "")
