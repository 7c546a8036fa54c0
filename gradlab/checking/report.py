"""What a check of a gradient found: verdicts, entry by entry and as a whole."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from gradlab.errors import GradientMismatchError
from gradlab.params import entry

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.terminal_theme import TerminalTheme

Verdict: TypeAlias = Literal["agree", "mismatch", "kink", "inconclusive"]

VERDICTS: tuple[Verdict, ...] = ("mismatch", "inconclusive", "kink", "agree")
"""The worst first."""

WIDTH = 100
"""Of a report that is turned into text, in columns."""

NOTEBOOK_COLOURS = ["#000000", "#d9363e", "#1a8a3c", "#9a6c00", "#000000", "#000000", "#0e8390"]
"""Of a terminal's black, red, green, yellow, blue, magenta and cyan: these are read on white and on
black (contrasts of 4 and more)."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of some verdicts.

    Examples
    --------
    >>> worst(["agree", "kink", "agree"]), worst([])
    ('kink', 'agree')
    """
    return min(verdicts, key=VERDICTS.index, default="agree")


@dataclass(frozen=True, repr=False)
class Entry:
    """One entry of the gradient, as it was claimed and as it was found.

    Attributes
    ----------
    path : str
        The leaf.
    index : tuple of int
        Where in the leaf.
    analytic : float
        The gradient under test.
    numerical, error : float
        The slope of the loss and its error bar; NaN and infinity where there is none.
    tolerance : float
        How far apart both may be: `error` and the round-off of the analytic side.
    verdict : {"agree", "mismatch", "kink", "inconclusive"}
        See `check_gradients`.
    note : str
        What is special about it, in a few words.
    """

    path: str
    index: tuple[int, ...]
    analytic: float
    numerical: float
    error: float
    tolerance: float
    verdict: Verdict
    note: str = ""

    @property
    def name(self) -> str:
        """The entry as errors and tables name it: ``W1[3, 4]``."""
        return entry(self.path, self.index)

    @property
    def ratio(self) -> float:
        """How many times too large the analytic value is."""
        return self.analytic / self.numerical if self.numerical else float("nan")

    @property
    def excess(self) -> float:
        """The difference in units of the tolerance: above 1 it is a mismatch."""
        gap = abs(self.analytic - self.numerical)
        return gap / self.tolerance if self.tolerance else (float("inf") if gap else 0.0)

    def __repr__(self) -> str:
        slope = f"{self.numerical:.8g} ± {self.error:.1g}"
        return f"<Entry {self.name}: {self.verdict}, gradient {self.analytic:.8g}, slope {slope}>"


@dataclass(frozen=True)
class Leaf:
    """What is known of one leaf.

    Attributes
    ----------
    path, shape
        Its name and shape.
    verdict : str
        The worst of its entries and of the directions through it.
    checked : int
        How many of its entries were looked at one by one.
    cause : str
        A guess at what went wrong, where the pattern shows it.
    rest : str or None
        The verdict of the directions on the entries that were not looked at one by one; None
        where nothing is known of them.
    """

    path: str
    shape: tuple[int, ...]
    verdict: Verdict
    checked: int
    cause: str = ""
    rest: Verdict | None = None


@dataclass(frozen=True, repr=False)
class GradientReport:
    """What `check_gradients` found.

    Attributes
    ----------
    verdict : {"agree", "mismatch", "kink", "inconclusive"}
        Of the whole gradient.
    entries : tuple of Entry
        What was looked at one by one, in the order of the parameters.
    leaves : tuple of Leaf
        Each leaf's verdict, and a guess at the cause.
    mode : {"entries", "directional"}
        Whether every entry was looked at, or directions and a sample.
    resolution : float
        The smallest relative error of the gradient that the check would have noticed: the
        tolerance beside the size of the entry, the median over entries (of the directions, where
        these were walked).
    size : int
        How many entries the gradient has.
    evaluations : int
        How often the loss was evaluated.
    seconds : float
        How long it took.
    notes : tuple of str
        What else there is to know.
    constant : bool
        Whether the loss had the same value at all points at which it was evaluated.
    """

    verdict: Verdict
    entries: tuple[Entry, ...]
    leaves: tuple[Leaf, ...]
    mode: Literal["entries", "directional"]
    resolution: float
    size: int
    evaluations: int
    seconds: float
    notes: tuple[str, ...] = ()
    constant: bool = False

    @property
    def ok(self) -> bool:
        """Whether the gradient may be trusted: ``agree``, or a valid choice at a ``kink``."""
        return self.verdict in ("agree", "kink")

    @property
    def counts(self) -> dict[Verdict, int]:
        """How many entries got which verdict."""
        found = Counter(entry.verdict for entry in self.entries)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def mismatches(self) -> tuple[Entry, ...]:
        """The wrong entries that were found, furthest out first."""
        wrong = (entry for entry in self.entries if entry.verdict == "mismatch")
        return tuple(sorted(wrong, key=lambda entry: -entry.excess))

    def most_telling(self, most: int = 5) -> list[Entry]:
        """Return the entries that one wants to see: the worst verdicts, furthest out first."""

        def order(entry: Entry) -> tuple[int, float]:
            return VERDICTS.index(entry.verdict), -entry.excess

        return sorted(self.entries, key=order)[:most]

    def raise_for_mismatch(self) -> None:
        """Raise if the gradient is wrong.

        Raises
        ------
        GradientMismatchError
            Also an AssertionError, with the report as its message.
        """
        if self.verdict == "mismatch":
            raise GradientMismatchError(str(self), report=self)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain numbers, strings, lists and dicts, for JSON.

        What is not a finite number, such as the error bar of a slope that grows without end, is
        None: JSON has no word for it.
        """
        return {
            "verdict": self.verdict,
            "ok": self.ok,
            "mode": self.mode,
            "resolution": _finite(self.resolution),
            "size": self.size,
            "evaluations": self.evaluations,
            "seconds": self.seconds,
            "notes": list(self.notes),
            "constant": self.constant,
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
        return f"<GradientReport {self.verdict}: {headline(self)}; {cost}>"

    def __str__(self) -> str:
        return self._printed().export_text().rstrip()

    def _repr_html_(self) -> str:
        """Return the report as notebooks show it."""
        code = '<pre style="line-height:normal">{code}</pre>'
        return self._printed().export_html(
            theme=_notebook_theme(), inline_styles=True, code_format=code
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        from gradlab.checking.tables import render

        yield from render(self, console, options.max_width)

    def _printed(self) -> Console:
        from rich.console import Console

        console = Console(
            file=StringIO(), width=WIDTH, record=True, force_jupyter=False, highlight=False
        )
        console.print(self)
        return console


def _notebook_theme() -> TerminalTheme:
    from rich.color import Color
    from rich.terminal_theme import TerminalTheme

    colours = [tuple(Color.parse(colour).get_truecolor()) for colour in NOTEBOOK_COLOURS]
    black, white = (0, 0, 0), (255, 255, 255)
    return TerminalTheme(white, black, cast(Any, [*colours, white]))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
