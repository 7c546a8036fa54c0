"""What the command says: results on the standard output, errors on the other."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console
from rich.table import Table

out = Console(highlight=False, emoji=False)  # losses:boom:x is no explosion


def show(title: str, table: Table) -> None:
    """Print a table under its title, which rich would break to the width of the table."""
    out.print(title, style="italic", markup=False)
    out.print(table)


def fail(message: str, code: int) -> NoReturn:
    """Say what went wrong, and end with an exit code."""
    tell(message)
    raise SystemExit(code)


def tell(message: object) -> None:
    """Say something in one line, on the standard error."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(f"gradlab: {message}", soft_wrap=True)
