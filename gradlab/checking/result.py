"""The result of a check as data: verdicts, entry by entry and as a whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from gradlab.params import entry

Verdict: TypeAlias = Literal["agree", "mismatch", "kink", "inconclusive"]

VERDICTS: tuple[Verdict, ...] = ("mismatch", "inconclusive", "kink", "agree")
"""The worst first."""


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
        gap = self.gap
        return gap / self.tolerance if self.tolerance else (float("inf") if gap else 0.0)

    @property
    def gap(self) -> float:
        """The difference of both values."""
        return abs(self.analytic - self.numerical)

    def __repr__(self) -> str:
        slope = f"{self.numerical:.8g} ± {self.error:.1g}"
        return f"<Entry {self.name}: {self.verdict}, gradient {self.analytic:.8g}, slope {slope}>"


class Difference(NamedTuple):
    """How far a derivative is off: the largest relative error, and the entry that has it."""

    relative: float
    entry: str


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
class Result:
    """What a check found; `gradlab.checking.GradientReport` describes the attributes."""

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
    what: str = "gradient"
    difference: Difference | None = None

    @property
    def of(self) -> str:
        """What the derivative is of."""
        return "loss" if self.what in ("gradient", "hessian", "hvp") else "function"

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
