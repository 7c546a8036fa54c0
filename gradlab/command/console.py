"""Output of the command: results on standard output, errors on standard error.

Characters that a stream's encoding lacks are replaced by similar ones and never cause an error. A
table is fitted to the width of the terminal; output to a file or a pipe is not cut.
"""

from __future__ import annotations

import codecs
import os
import sys
import textwrap
import unicodedata
from collections.abc import Iterable
from copy import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any, NoReturn

from rich.console import ConsoleDimensions
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

from gradlab.command.neutral import NeutralConsole, visible

PLAIN_REPLACEMENTS = {
    "±": "+-", "²": "^2", "·": ".", "×": "x", "−": "-", "–": "-", "—": "-", "→": "->", "≤": "<=",
    "≥": ">=", "≈": "~", "∂": "d", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
"""Replacements for characters that the encoding lacks."""

NARROW_WIDTH = 80
"""Width in columns of the narrowest terminal, or printed page, that tables are designed for."""

UNBOUNDED_WIDTH = 1000
"""Width in columns of output to a file or pipe, which has no edge: wider than any table."""


class _Console(NeutralConsole):
    @property
    def size(self) -> ConsoleDimensions:
        # Read at each use: rich keeps what COLUMNS was when the console was made.
        columns = os.environ.get("COLUMNS", "")
        known = super().size
        width = known.width if self.is_terminal else UNBOUNDED_WIDTH
        if columns.isdigit() and int(columns):
            width = int(columns)
        return ConsoleDimensions(width, known.height)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        self._width, self._height = size


out = _Console()


def show_what_can_be_shown() -> None:
    """Make the standard streams replace characters that their encodings lack."""
    codecs.register_error("gradlab.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="gradlab.plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Return the replacement for characters that cannot be encoded, and where they end."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(map(plain, characters)), error.end


def plain(character: str) -> str:
    """Return an ASCII replacement for a character.

    Examples
    --------
    >>> [plain(character) for character in "²₀…é한"]
    ['^2', '0', '...', 'e', '?']
    """
    related = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return PLAIN_REPLACEMENTS.get(character, related or "?")


def table(
    header: Iterable[str], rows: Iterable[Iterable[str | Text]], *, named: bool = False
) -> Table:
    """Return a table of numbers, aligned to the right; if `named`, the first column has names."""
    made = Table()
    for i, name in enumerate(header):
        made.add_column(name, justify="left" if named and not i else "right")
    for row in rows:
        made.add_row(*row)
    return made


def show(title: str, *tables: Table) -> None:
    """Print tables under a title, which rich would otherwise wrap to the table's width."""
    out.print(title, style="italic")
    for table in tables:
        show_table(table)


def show_table(table: Table) -> None:
    """Print a table without cutting any cell, in parts if it is too wide."""
    for part in _parts(table):
        width = max(
            out.width, min(width_of(part), UNBOUNDED_WIDTH)
        )  # a single column may be too wide
        NeutralConsole(width=width, file=out.file).print(part)


def width_of(table: Table) -> int:
    """Return the width of a table in which no cell wraps."""
    unbounded = out.options.update(max_width=UNBOUNDED_WIDTH)
    return Measurement.get(out, unbounded, table).maximum


def _parts(table: Table) -> list[Table]:
    """Return a table that fits: unchanged, without lines, with wrapped headings, or in parts.

    Each part begins with the first column, which names the rows.
    """
    if width_of(table) <= out.width:
        return [table]
    table = _with(table, [_narrow(column) for column in table.columns])
    if width_of(table) <= out.width:
        return [table]
    table.box, table.pad_edge = None, False
    label, *others = table.columns
    parts = [_with(table, [label])]
    for column in others:
        wider = _with(table, [*parts[-1].columns, column])
        if width_of(wider) <= out.width or len(parts[-1].columns) == 1:
            parts[-1] = wider
        else:
            parts.append(_with(table, [label, column]))
    for earlier, later in pairwise(parts):
        earlier.caption = later.title = None
    return parts


def _with(table: Table, columns: list[Column]) -> Table:
    """Return a copy of a table with other columns."""
    other = copy(table)
    other.columns = columns
    return other


def _narrow(column: Column) -> Column:
    """Return a column whose heading wraps between words to the width of its cells."""
    if not isinstance(column.header, str):
        return column
    widths = [Measurement.get(out, out.options, cell).maximum for cell in column.cells]
    words = textwrap.wrap(column.header, max([1, *widths]), break_long_words=False)
    return replace(column, header="\n".join(words))


def fail(message: str, code: int) -> NoReturn:
    """Print an error and exit with a code."""
    print_to_stderr(message)
    raise SystemExit(code)


def print_to_stderr(message: object) -> None:
    """Print one line to standard error."""
    console = NeutralConsole(stderr=True)
    console.print(f"gradlab: {visible(str(message), one_line=True)}", soft_wrap=True)


def spinner() -> Any:
    """Return the name of a spinner that the terminal can display."""
    return "dots" if out.encoding.startswith("utf") else "line"
