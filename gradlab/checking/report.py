"""The report of a check for terminals, notebooks, logs and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

from gradlab.checking.result import Result
from gradlab.errors import GradientMismatchError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.terminal_theme import TerminalTheme

TEXT_WIDTH = 100
"""Width of a report as text, in columns."""

NOTEBOOK_COLOURS = ["#000000", "#d9363e", "#1a8a3c", "#9a6c00", "#000000", "#000000", "#0e8390"]
"""Colours in notebooks for a terminal's black, red, green, yellow, blue, magenta and cyan. They are
readable on white and on black (contrasts of at least 4)."""


@dataclass(frozen=True, repr=False)
class GradientReport(Result):
    """The result of `check_gradients`.

    Attributes
    ----------
    verdict : {"agree", "mismatch", "kink", "inconclusive"}
        The verdict on the whole gradient.
    entries : tuple of Entry
        The entries that were checked one by one, in the order of the parameters.
    leaves : tuple of Leaf
        The verdict on each leaf, and its likely cause.
    mode : {"entries", "directional"}
        Whether every entry was checked, or directions and a sample.
    resolution : float
        The smallest relative error that the check would have detected: the median of tolerance
        over size, over the entries (or over the directions, in mode "directional").
    size : int
        Number of entries of the gradient.
    evaluations : int
        Number of evaluations of the loss.
    seconds : float
        Duration of the check.
    notes : tuple of str
        Further findings.
    constant : bool
        Whether the loss had the same value at all points at which it was evaluated.
    what : str
        The kind of derivative that was checked: ``"gradient"``, ``"vjp"``, ...
    difference : Difference or None
        The largest relative error, ``relative``, among the checked entries that have one slope, and
        the name of the entry, ``entry``. It is relative to the entry's size or to its leaf's root
        mean square, whichever is larger.
    """

    def raise_for_mismatch(self) -> None:
        """Raise if the gradient is wrong.

        Raises
        ------
        GradientMismatchError
            Also an AssertionError, with the report as its message.
        """
        __tracebackhide__ = True  # pytest shows the test's own line
        if self.verdict == "mismatch":
            raise GradientMismatchError(str(self), report=self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain numbers, strings, lists and dicts, for JSON.

        Numbers that are not finite, such as the error bar of a slope that diverges, are None,
        because JSON cannot represent them.
        """
        return vars(self) | {
            "ok": self.ok,
            "resolution": _finite(self.resolution),
            "notes": list(self.notes),
            "difference": self.difference
            and {"relative": _finite(self.difference.relative), "entry": self.difference.entry},
            "counts": self.counts,
            "leaves": [vars(leaf) | {"shape": list(leaf.shape)} for leaf in self.leaves],
            "entries": [
                {key: _finite(value) for key, value in vars(entry).items()}
                | {"index": list(entry.index), "name": entry.name}
                for entry in self.entries
            ],
        }

    def __repr__(self) -> str:
        from gradlab.checking.tables import headline

        cost = f"{self.evaluations:,} evaluations"
        return f"<{type(self).__name__} {self.verdict}: {headline(self)}; {cost}>"

    def __str__(self) -> str:
        return self._printed().export_text().rstrip()

    def _repr_html_(self) -> str:
        """Return the report as HTML for notebooks."""
        code = '<pre style="line-height:normal;font-family:monospace">{code}</pre>'
        return self._printed().export_html(
            theme=_notebook_theme(), inline_styles=True, code_format=code
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from gradlab.checking.tables import render

        yield from render(self, console, options.max_width)

    def _printed(self) -> Console:
        from rich.console import Console

        console = Console(
            file=StringIO(), width=TEXT_WIDTH, record=True, force_jupyter=False, highlight=False
        )
        console.print(self)
        return console


@dataclass(frozen=True, repr=False)
class DerivativeReport(GradientReport):
    """The result of `check_derivatives`; the attributes are those of `GradientReport`.

    Attributes
    ----------
    entries : tuple of DerivativeEntry
        Each has the name of an output and of a parameter, such as ``y[2] by w[0, 1]``.
    leaves : tuple of Leaf
        A block for each pair of an output leaf and a parameter leaf, ``y by w``.
    size : int
        Number of entries of the Jacobian, for each claim.
    """


def _notebook_theme() -> TerminalTheme:
    from rich.color import Color
    from rich.terminal_theme import TerminalTheme

    colours = [tuple(Color.parse(colour).get_truecolor()) for colour in NOTEBOOK_COLOURS]
    black, white = (0, 0, 0), (255, 255, 255)
    return TerminalTheme(white, black, cast(Any, [*colours, white]))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
