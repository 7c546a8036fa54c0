"""The result of a check as data: the verdicts on entries, leaves and the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from gradlab.params import entry

Verdict: TypeAlias = Literal["agree", "mismatch", "kink", "inconclusive"]

VERDICTS: tuple[Verdict, ...] = ("mismatch", "inconclusive", "kink", "agree")
"""The worst first."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts; "agree" if there are none."""
    return min(verdicts, key=VERDICTS.index, default="agree")


@dataclass(frozen=True, repr=False)
class Entry:
    """One entry of the gradient, with its claimed and measured values.

    Attributes
    ----------
    path : str
        The name of the leaf.
    index : tuple of int
        The index in the leaf.
    analytic : float
        The gradient under test.
    numerical, error : float
        The slope of the loss and its error bar; NaN and infinity if there is no slope.
    tolerance : float
        The accepted difference of the values: `error` plus the round-off of `analytic`.
    verdict : {"agree", "mismatch", "kink", "inconclusive"}
        See `check_gradients`.
    note : str
        A short remark on the entry, or "".
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
        """The name in errors and tables: ``W1[3, 4]``."""
        return entry(self.path, self.index)

    @property
    def ratio(self) -> float:
        """The ratio of the analytic to the numerical value."""
        return self.analytic / self.numerical if self.numerical else float("nan")

    @property
    def excess(self) -> float:
        """The difference in units of the tolerance; above 1, it is a mismatch."""
        gap = self.gap
        return gap / self.tolerance if self.tolerance else (float("inf") if gap else 0.0)

    @property
    def gap(self) -> float:
        """The absolute difference of the two values."""
        return abs(self.analytic - self.numerical)

    def __repr__(self) -> str:
        slope = f"{self.numerical:.8g} ± {self.error:.1g}"
        return f"<Entry {self.name}: {self.verdict}, gradient {self.analytic:.8g}, slope {slope}>"


def notes_on_errors(refusal: str, verdict: Verdict, entries: Iterable[Entry]) -> list[str]:
    """Return a note on an error at a point nearby, if something was inconclusive."""
    unresolved = "inconclusive" in (verdict, *(entry.verdict for entry in entries))
    return [f"raised at a point nearby: {refusal}"] if refusal and unresolved else []


class Difference(NamedTuple):
    """The largest relative error of a derivative, and the entry that has it."""

    relative: float
    entry: str


@dataclass(frozen=True)
class Leaf:
    """The result for one leaf.

    Attributes
    ----------
    path, shape
        The name and shape.
    verdict : str
        The worst verdict on its entries and the directions through it.
    checked : int
        Number of its entries that were checked one by one.
    cause : str
        The likely cause of errors, or "".
    rest : str or None
        The verdict of the directions on the entries that were not checked one by one; None if
        there is none.
    """

    path: str
    shape: tuple[int, ...]
    verdict: Verdict
    checked: int
    cause: str = ""
    rest: Verdict | None = None


@dataclass(frozen=True)
class Outcome:
    """The verdicts on one claimed derivative."""

    verdict: Verdict
    entries: Sequence[Entry]  # those that were checked one by one
    leaves: Sequence[Leaf]
    resolution: float
    notes: Sequence[str] = ()


@dataclass(frozen=True, repr=False)
class Result:
    """The result of a check; `gradlab.checking.GradientReport` describes the attributes."""

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
        """The kind of function that was differentiated, for messages."""
        return "loss" if self.what in ("gradient", "hessian", "hvp") else "function"

    @property
    def ok(self) -> bool:
        """Whether the gradient is right: ``agree``, or a valid choice at a ``kink``."""
        return self.verdict in ("agree", "kink")

    @property
    def counts(self) -> dict[Verdict, int]:
        """Number of entries by verdict."""
        found = Counter(entry.verdict for entry in self.entries)
        return {verdict: found[verdict] for verdict in VERDICTS if found[verdict]}

    @property
    def mismatches(self) -> tuple[Entry, ...]:
        """The wrong entries that were found, the largest difference in tolerances first."""
        wrong = (entry for entry in self.entries if entry.verdict == "mismatch")
        return tuple(sorted(wrong, key=lambda entry: -entry.excess))

    def most_telling(self, most: int = 5) -> list[Entry]:
        """Return entries in order of interest: worst verdict first, then largest difference."""

        def order(entry: Entry) -> tuple[int, float]:
            return VERDICTS.index(entry.verdict), -entry.excess

        return sorted(self.entries, key=order)[:most]
