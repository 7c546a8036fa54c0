"""The power of gradient checkers: how many false alarms they raise, and how many faults they miss.

All checkers judge the same right and wrong gradients (`corpus`), of losses that are each hard for
one reason. A *false alarm* is a right gradient that is rejected; a *miss* is a wrong gradient that
is accepted. Each checker runs with its own defaults, because a user with a gradient to check does
not know which tolerance would be right. Two results are counted separately: *not run*, when the
loss raises an exception beyond an edge or has too many entries for the checker, and
*inconclusive*, a verdict of gradlab. A fault that the values of the loss do not show
(`Case.resolvable`) never counts as a miss.

gradlab checks a case as it is. A peer gets the parameters as one vector in double precision and
the loss as a black box; the claimed gradient is attached in the way that the library intends.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, TypeAlias

import common
import numpy as np
import typer
from corpus import CASES, KINDS, Case, outcome, peers
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

import gradlab
from gradlab.errors import GradlabError
from gradlab.params import Array, flatten, size
from gradlab.plotting.style import PHONE_WIDTH, note, styled, title

MOST_ENTRIES = 1_000
"""Largest number of entries for peers that go entry by entry; more would take hours."""
QUICK_SIDE = 2
"""Largest number of right cases of each kind in a quick run, and of wrong ones."""


@dataclass(frozen=True)
class Question:
    """A case as a function of one vector, which every library can check; a `peers.Claim`.

    Attributes
    ----------
    x : ndarray, shape (p,)
        The parameters in one vector, float64.
    f : callable
        The loss: ``f(x) -> float``.
    claimed : ndarray, shape (p,)
        The claimed gradient, float64.
    """

    x: Array
    f: Callable[[Any], float]
    claimed: Array
    by_rows: ClassVar[bool] = True

    @classmethod
    def of(cls, case: Case) -> Question:
        """Turn a case into a function of one vector.

        Examples
        --------
        >>> question = Question.of(CASES[0])
        >>> question.x.shape, question.claimed.shape, question.f(0 * question.x)
        ((5,), (5,), 0.0)
        """
        leaves, structure = flatten(case.params)
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]

        def loss(x: Any) -> float:
            parts = np.split(np.array(x, dtype=np.float64), ends)
            shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
            return float(case.loss(structure.unflatten(shaped), *case.args))

        claimed = common.flat(flatten(case.gradient(*case.point))[0])
        return cls(common.flat(leaves).astype(np.float64), loss, claimed.astype(np.float64))

    def vjp(self, x: Any, u: Any) -> Any:
        """Return the claimed gradient times u."""
        return u * self.claimed

    def jvp(self, x: Any, v: Any) -> Any:
        """Return the claimed slope along v."""
        return self.claimed @ v

    def matrix(self, x: Any) -> Any:
        """Return the claimed gradient."""
        return self.claimed


# The checkers: each returns whether it accepts the gradient, or None if it gives no verdict
Checker: TypeAlias = Callable[[Case], bool | None]


def gradlab_check(case: Case) -> bool | None:
    """Check by gradlab, with error bars instead of a tolerance."""
    report = gradlab.check_gradients(  # type: ignore[attr-defined, unused-ignore]
        case.loss, case.params, *case.args, gradient=case.gradient
    )
    return None if report.verdict == "inconclusive" else bool(report.ok)


def asked(peer: Callable[[peers.Claim], bool]) -> Checker:
    """Turn a peer's checker into one that takes a case."""
    return lambda case: peer(Question.of(case))


@dataclass(frozen=True)
class Entrant:
    """A checker.

    Attributes
    ----------
    check : callable
        Returns whether it accepts the gradient of a case, or None if it gives no verdict.
    module : str
        The module that must be installed.
    remedy : str
        How to install it.
    entrywise : bool
        Whether it checks each entry separately, which rules out large cases.
    """

    check: Checker
    module: str
    remedy: str
    entrywise: bool = False


ENTRANTS: dict[str, Entrant] = {
    "gradlab": Entrant(gradlab_check, "gradlab", "this version has no check_gradients"),
    "PyTorch": Entrant(asked(peers.torch_gradcheck), "torch", "pip install 'gradlab[torch]'", True),
    "PyTorch fast": Entrant(
        asked(partial(peers.torch_gradcheck, fast=True)), "torch", "pip install 'gradlab[torch]'"
    ),
    "JAX": Entrant(asked(peers.jax_check_grads), "jax", "pip install 'gradlab[jax]'"),
    "autograd": Entrant(asked(peers.autograd_check_grads), "autograd", "pip install gradlab"),
    "SciPy": Entrant(
        asked(peers.scipy_check_derivative), "scipy", "pip install 'gradlab[bench]'", True
    ),
    "numdifftools": Entrant(
        asked(peers.numdifftools_jacobian), "numdifftools", "pip install 'gradlab[bench]'", True
    ),
}


def is_ready(name: str) -> bool:
    """Return whether the library of a checker is installed."""
    if name == "gradlab":
        return hasattr(gradlab, "check_gradients")
    return common.is_installed(ENTRANTS[name].module)


# Their answers


@dataclass(frozen=True)
class Answer:
    """The answer of one checker to one case; in the JSON file, one record.

    Attributes
    ----------
    case, kind : str
        The title and the kind of the case.
    place : int
        0 for the parameters in the corpus, otherwise the seed of the move (`Case.moved`).
    outcome : str
        ``right``, ``false alarm``, ``miss``, ``inconclusive`` or ``not run``.
    reason : str
        Why the case was not run.
    evaluations_per_entry : float
        Evaluations of the loss, divided by the number of entries.
    seconds : float
        CPU time.
    """

    case: str
    kind: str
    place: int
    outcome: str
    reason: str
    evaluations_per_entry: float
    seconds: float


class Counted:
    """A function that counts its calls."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function, self.calls = function, 0

    def __call__(self, *args: Any) -> Any:
        """Count the call, and make it."""
        self.calls += 1
        return self._function(*args)


def judged(
    case: Any,
    counted: Counted,
    p: int,
    check: Callable[[], bool | None],
    *,
    place: int = 0,
    refused: str = "",
) -> Answer:
    """Return the answer of a checker to a case; `refused` is the reason not to run it, if any."""
    started, found, reason = time.process_time(), "not run", refused
    if not refused:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # peers warn about NaN
                found = outcome(case, check())
        except (GradlabError, ArithmeticError, ValueError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    seconds = time.process_time() - started
    return Answer(case.title, case.kind, place, found, reason, counted.calls / p, seconds)


def ask(entrant: Entrant, case: Case, place: int = 0) -> Answer:
    """Return the answer of one checker to one case."""
    p, loss = size(case.params), Counted(case.loss)
    too_large = entrant.entrywise and p > MOST_ENTRIES
    refused = f"more than {MOST_ENTRIES:,} entries" if too_large else ""
    taken = replace(case, loss=loss)
    return judged(case, loss, p, lambda: entrant.check(taken), place=place, refused=refused)


@dataclass(frozen=True)
class Score:
    """The answers of one checker to all cases, counted.

    Attributes
    ----------
    checker : str
        The checker's name.
    false_alarms, misses, inconclusive, not_run, run : int
        Numbers of cases; `run` counts all but those not run.
    evaluations_per_entry : float
        Evaluations of the loss per entry, the median over the cases that were run.
    seconds : float
        CPU time for these cases.
    """

    checker: str
    false_alarms: int
    misses: int
    inconclusive: int
    not_run: int
    run: int
    evaluations_per_entry: float
    seconds: float

    @classmethod
    def of(cls, checker: str, answers: Sequence[Answer]) -> Score:
        """Count the answers of a checker.

        Examples
        --------
        >>> answer = Answer("smooth: x²", "smooth", 0, "miss", "", 4.0, 0.1)
        >>> Score.of("PyTorch", [answer, replace(answer, outcome="right")]).wrong
        1
        """
        counts = Counter(answer.outcome for answer in answers)
        taken = [answer for answer in answers if answer.outcome != "not run"]
        evaluations = [answer.evaluations_per_entry for answer in taken]
        return cls(
            checker,
            counts["false alarm"],
            counts["miss"],
            counts["inconclusive"],
            counts["not run"],
            len(taken),
            float(np.median(evaluations)) if taken else 0.0,
            sum(answer.seconds for answer in taken),
        )

    @property
    def wrong(self) -> int:
        """The number of false alarms and misses."""
        return self.false_alarms + self.misses

    @property
    def share(self) -> float:
        """The share of wrong verdicts among the cases that were run."""
        return self.wrong / max(self.run, 1)

    @property
    def record(self) -> dict[str, Any]:
        """The score with its share, for the JSON file."""
        return {**asdict(self), "share": self.share}


def chosen(kinds: Sequence[str], quick: bool) -> list[Case]:
    """Return the cases of these kinds; in a quick run, a few of each, and no large ones.

    Examples
    --------
    >>> len(chosen(["steep"], quick=True)), len(chosen(["steep", "edge"], quick=False)) > 40
    (4, True)
    """
    cases = [case for case in CASES if case.kind in kinds]
    if not quick:
        return cases
    few = []
    for kind in kinds:
        for right in (True, False):
            side = [case for case in cases if case.kind == kind and case.right is right]
            few += [case for case in side if size(case.params) <= MOST_ENTRIES][:QUICK_SIDE]
    return few


# From answers to a table, a headline, a figure


def _table(title: str, caption: str, *columns: str) -> Table:
    return common.new_table(title, caption, columns, collapse_padding=True)


def table(
    scores: Sequence[Score],
    missing: Mapping[str, str],
    caption: str,
    title: str = "The power of gradient checkers",
) -> Table:
    """Return the scores as a table: a row per checker, with those that are not installed."""
    shown = _table(
        title, caption,
        "false alarms", "misses", "wrong", "incon-\nclusive", "not\nrun", "evaluations\nper entry",
        "seconds",
    )  # fmt: skip
    of = {score.checker: score for score in scores}
    for name in ENTRANTS:
        if name in missing:
            words = "no checker yet" if name == "gradlab" else "not installed"
            shown.add_row(name, words, style="dim")
        elif name in of:
            score = of[name]
            shown.add_row(
                name, str(score.false_alarms), str(score.misses), f"{score.share:.0%}",
                str(score.inconclusive), str(score.not_run),
                common.digits(score.evaluations_per_entry, 2), common.digits(score.seconds, 2),
            )  # fmt: skip
    return shown


def table_by_kind(answers: Mapping[str, Sequence[Answer]]) -> Table:
    """Return false alarms + misses as a table: a row per kind, a column per checker."""
    shown = _table(
        "By kind: false alarms + misses", "·: none; –: no case was run.",
        *(name.replace(" ", "\n") for name in answers),
    )  # fmt: skip
    for kind in dict.fromkeys(answer.kind for each in answers.values() for answer in each):
        shown.add_row(kind, *(_mistakes(each, kind) for each in answers.values()))
    return shown


def _mistakes(answers: Sequence[Answer], kind: str) -> str:
    counts = Counter(answer.outcome for answer in answers if answer.kind == kind)
    if not counts.total() - counts["not run"]:
        return "–"
    alarms, misses = counts["false alarm"], counts["miss"]
    return f"{alarms}+{misses}" if alarms or misses else "·"


def footnotes(cases: Sequence[Case], places: int, missing: Mapping[str, str]) -> str:
    """Return the notes below the table."""
    right = sum(case.right for case in cases)
    hidden = sum(not case.resolvable and not case.right for case in cases)
    where = f", each also at {places} other points, up to 3 % away" if places else ""
    lines = [
        f"{len(cases)} gradients, {right} right and {len(cases) - right} wrong{where}; "
        f"{hidden} faults are too small to show in the values of the loss, and count as no miss.",
        "wrong: false alarms and misses, as a share of the cases run. not run: the checker raised "
        f"an error, or it goes entry by entry and there were more than {MOST_ENTRIES:,} entries.",
        "evaluations: of the loss, the median. seconds: CPU time for the cases run.",
    ]
    lines += [f"{name}: {remedy}" for name, remedy in missing.items()]
    return "\n".join(lines)


def headline(scores: Sequence[Score]) -> str:
    """Return the result in one line."""
    of = {score.checker: score for score in scores}
    peers = [score for name, score in of.items() if name != "gradlab" and score.run]
    parts = []
    if ours := of.get("gradlab"):
        parts.append(
            f"gradlab is wrong on {ours.wrong} of {ours.run} gradients "
            f"({ours.inconclusive} inconclusive)"
        )
    if peers:
        best, worst = min(peers, key=_share), max(peers, key=_share)
        parts.append(
            f"peers are wrong on {best.share:.0%} ({best.checker}) "
            f"to {worst.share:.0%} ({worst.checker})"
            if len(peers) > 1
            else f"{best.checker} is wrong on {best.share:.0%}"
        )
    line = "; ".join(parts)
    return f"{line[0].upper() if not ours else line[0]}{line[1:]}." if line else "No checker ran."


def _share(score: Score) -> float:
    return score.share


MEANT = {
    "smooth": "smooth losses",
    "scale": "very small or large parameters",
    "offset": "a large constant added",
    "zero": "gradients of zero",
    "saddle": "saddle points",
    "oscillatory": "fast ripples",
    "steep": "steep losses",
    "edge": "at the edge of a domain",
    "network": "networks",
    "planted": "planted faults",
    "kink": "at a kink",
    "near kink": "close to a kink",
    "off kink": "away from kinks",
    "float32": "losses in float32",
    "noise": "noisy losses",
    "quantised": "losses in coarse steps",
    "float16": "losses in float16",
    "solver": "losses that solve equations",
    "resolution": "tiny faults",
    "large": "many parameters",
}
"""The labels of the kinds in the figure."""


@styled
def figure(answers: Mapping[str, Sequence[Answer]], heading: str) -> Figure:
    """Draw the numbers of wrong verdicts: a column per checker, a row per kind, hardest first."""
    kinds = list(dict.fromkeys(answer.kind for each in answers.values() for answer in each))
    counts = {kind: [_wrong(each, kind) for each in answers.values()] for kind in kinds}
    kinds.sort(key=lambda kind: -np.mean([share for _, share in counts[kind] if share is not None]))
    shares = [[np.nan if share is None else share for _, share in counts[kind]] for kind in kinds]
    drawn = Figure(figsize=(PHONE_WIDTH, 2.2 + 0.24 * len(kinds)))
    axes = drawn.subplots()
    axes.imshow(shares, cmap="Oranges", vmin=0, vmax=1, aspect="auto")
    for row, kind in enumerate(kinds):
        for column, (text, share) in enumerate(counts[kind]):
            colour = "white" if (share or 0) > 0.6 else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=10)
    axes.set_xticks(
        range(len(answers)), list(answers), rotation=40, ha="left", rotation_mode="anchor"
    )
    axes.set_yticks(range(len(kinds)), [MEANT.get(kind, kind) for kind in kinds])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    title(drawn, heading)
    note(
        drawn,
        "right gradients that were rejected, and wrong ones that were accepted; blank: none, "
        "–: not run; darker: a larger share of the kind",
    )
    return drawn


def _wrong(answers: Sequence[Answer], kind: str) -> tuple[str, float | None]:
    """Return the number of wrong verdicts on a kind as text, and their share."""
    score = Score.of("", [answer for answer in answers if answer.kind == kind])
    return (str(score.wrong or ""), score.share) if score.run else ("–", None)


def wrong_answers(answers: Mapping[str, Sequence[Answer]]) -> list[Text]:
    """Return a line for each wrong verdict."""
    return [
        Text(
            f"{name}: {answer.outcome}: {answer.case}"
            + f" at place {answer.place}" * bool(answer.place)
        )
        for name, each in answers.items()
        for answer in each
        if answer.outcome in ("false alarm", "miss")
    ]


def records(
    cases: Sequence[Any], answers: Mapping[str, Sequence[Answer]], missing: Mapping[str, str]
) -> dict[str, Any]:
    """Return the answers, and what they depend on, for the JSON file."""
    return {
        "cases": len(cases),
        "right": sum(case.right for case in cases),
        "answers": {name: [asdict(answer) for answer in each] for name, each in answers.items()},
        "missing": missing,
    }


Checkers = Annotated[
    list[str] | None,
    typer.Option("--checker", help=f"Repeatable: {', '.join(ENTRANTS)} [default: all]."),
]
Mistakes = Annotated[bool, typer.Option("--mistakes", help="Name each case with a wrong verdict.")]


@common.main("checker_power")
def main(
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"A kind; repeatable: {', '.join(KINDS)} [default: all]."),
    ] = None,
    checker: Checkers = None,
    by_kind: Annotated[
        bool, typer.Option("--by-kind", help="Also show the wrong verdicts of each kind.")
    ] = False,
    mistakes: Mistakes = False,
    places: Annotated[
        int, typer.Option(min=0, help="Check at N other points, too, up to 3 % away at random.")
    ] = 0,
    quick: common.Quick = False,
) -> common.Findings:
    """Count false alarms and misses of gradient checkers on right and wrong gradients."""
    common.require_known("--kind", kind, KINDS)
    common.require_known("--checker", checker, ENTRANTS)
    common.limit_threads(1)
    names = [name for name in ENTRANTS if not checker or name in checker]
    missing = {name: ENTRANTS[name].remedy for name in names if not is_ready(name)}
    cases = chosen(kind or KINDS, quick)
    answers: dict[str, list[Answer]] = {}
    for name in names:
        if name in missing:
            continue
        common.say(f"asking {name} ...")
        answers[name] = [
            ask(ENTRANTS[name], case.moved(place) if place else case, place)
            for place in range(places + 1)
            for case in cases
        ]
    scores = [Score.of(name, each) for name, each in answers.items()]
    return common.Findings(
        options={
            "kinds": list(kind or KINDS), "checkers": names, "places": places, "quick": quick,
        },
        table=lambda environment: table(
            scores, missing, f"{footnotes(cases, places, missing)}\n{environment}"
        ),
        results=[score.record for score in scores],
        headline=headline(scores),
        figure=lambda: figure(answers, "Wrong verdicts by kind"),
        more=records(cases, answers, missing),
        below=[
            *([table_by_kind(answers)] if by_kind else []),
            *(wrong_answers(answers) if mistakes else []),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    common.run(main)
