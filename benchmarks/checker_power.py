"""The power of a gradient checker: how often it cries wolf, and how often it sleeps.

All are put to the same gradients (`corpus`): right and wrong ones, of losses that are hard for one
reason each. A *false alarm* is a right gradient called wrong, a *miss* a wrong one passed. Each
checker has its own natural defaults, because nobody who has a gradient to check knows which
tolerance would be right. What makes a checker give up (an exception of the loss beyond an edge,
more entries than it can take) is counted apart; so is *inconclusive*, which gradlab may say.
A fault that the loss's values do not show (`Case.resolvable`) cannot be missed.

gradlab takes a case as it is. A peer sees its parameters as one vector in double precision, and
its loss as a black box to which the claimed gradient is attached as the library provides for.
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
from gradlab.plotting.style import PHONE, note, styled, title

MOST_ENTRIES = 1_000
"""For peers that go entry by entry; larger cases would take them hours."""
QUICK_SIDE = 2
"""How many right and how many wrong cases of a kind a quick run takes."""


@dataclass(frozen=True)
class Question:
    """A case as a function of one vector, as any library can be asked about it; a `peers.Claim`.

    Attributes
    ----------
    x : ndarray, shape (p,)
        The parameters laid end to end, float64.
    f : callable
        The loss: ``f(x) -> float``.
    claimed : ndarray, shape (p,)
        The gradient to be judged, float64.
    """

    x: Array
    f: Callable[[Any], float]
    claimed: Array
    by_rows: ClassVar[bool] = True

    @classmethod
    def of(cls, case: Case) -> Question:
        """Lay out a case.

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
        """Return the claimed gradient, times u."""
        return u * self.claimed

    def jvp(self, x: Any, v: Any) -> Any:
        """Return the claimed slope along v."""
        return self.claimed @ v

    def matrix(self, x: Any) -> Any:
        """Return the claimed gradient."""
        return self.claimed


# The checkers: whether they pass the gradient, or None where they will not say

Checker: TypeAlias = Callable[[Case], bool | None]


def gradlab_check(case: Case) -> bool | None:
    """gradlab: error bars instead of a tolerance."""
    report = gradlab.check_gradients(  # type: ignore[attr-defined, unused-ignore]
        case.loss, case.params, *case.args, gradient=case.gradient
    )
    return None if report.verdict == "inconclusive" else bool(report.ok)


def asked(peer: Callable[[peers.Claim], bool]) -> Checker:
    """Return a peer's checker as one that takes a case."""
    return lambda case: peer(Question.of(case))


@dataclass(frozen=True)
class Entrant:
    """A checker that takes part.

    Attributes
    ----------
    check : callable
        Judges a case.
    module : str
        What has to be installed.
    remedy : str
        How to install it.
    entrywise : bool
        Whether it takes each entry by itself, and so cannot take large cases.
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
    """Tell whether a checker can take part."""
    if name == "gradlab":
        return hasattr(gradlab, "check_gradients")
    return common.is_installed(ENTRANTS[name].module)


# Put to the cases


@dataclass(frozen=True)
class Answer:
    """What one checker made of one case; in the JSON file, one record.

    Attributes
    ----------
    case, kind : str
        Which.
    place : int
        0 where the corpus has it, else the seed by which it was moved.
    outcome : str
        ``right``, ``false alarm``, ``miss``, ``inconclusive`` or ``not run``.
    reason : str
        Why it was not run.
    evaluations_per_entry : float
        Of the loss.
    seconds : float
        Of the processor.
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
        """Call it."""
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
    """Return what a checker makes of a case, unless it is not asked because of `refused`."""
    started, found, reason = time.process_time(), "not run", refused
    if not refused:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # the peers' own, about NaN and the like
                found = outcome(case, check())
        except (GradlabError, ArithmeticError, ValueError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    seconds = time.process_time() - started
    return Answer(case.title, case.kind, place, found, reason, counted.calls / p, seconds)


def ask(entrant: Entrant, case: Case, place: int = 0) -> Answer:
    """Put one case to one checker."""
    p, loss = size(case.params), Counted(case.loss)
    too_large = entrant.entrywise and p > MOST_ENTRIES
    refused = f"more than {MOST_ENTRIES:,} entries" if too_large else ""
    taken = replace(case, loss=loss)
    return judged(case, loss, p, lambda: entrant.check(taken), place=place, refused=refused)


@dataclass(frozen=True)
class Score:
    """What came of all cases for one checker.

    Attributes
    ----------
    checker : str
        Who.
    false_alarms, misses, inconclusive, not_run, run : int
        Counts of cases; `run` are all but those not run.
    evaluations_per_entry : float
        Of the loss: the median over the cases that were run.
    seconds : float
        Of the processor, for those cases.
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
        """Count.

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
        """False alarms and misses."""
        return self.false_alarms + self.misses

    @property
    def share(self) -> float:
        """Of the cases that were run, how many were judged wrongly."""
        return self.wrong / max(self.run, 1)


def chosen(kinds: Sequence[str], quick: bool) -> list[Case]:
    """Return the cases of these kinds; in a quick run a few of each, and no large ones.

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
    """Lay the scores out, a row a checker, those missing among them."""
    shown = _table(
        title, caption,
        "false alarms", "misses", "wrong", "incon-\nclusive", "not\nrun", "evaluations\nan entry",
        "seconds",
    )  # fmt: skip
    of = {score.checker: score for score in scores}
    for name in ENTRANTS:
        if name in missing:
            words = "not there yet" if name == "gradlab" else "not installed"
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
    """Lay out false alarms + misses of each kind, a row a kind, a column a checker."""
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
    """Say how the table is to be read."""
    right = sum(case.right for case in cases)
    hidden = sum(not case.resolvable and not case.right for case in cases)
    where = f", each also at {places} places moved by 3 %" if places else ""
    lines = [
        f"{len(cases)} gradients, {right} right and {len(cases) - right} wrong{where}; "
        f"{hidden} of the faults are smaller than the loss's values show, and nobody misses them.",
        "wrong: false alarms and misses, of the cases run. not run: the checker raised an error, "
        f"or goes entry by entry and there were more than {MOST_ENTRIES:,}.",
        "evaluations: of the loss, the median. seconds: of the processor, for the cases run.",
    ]
    lines += [f"{name}: {remedy}" for name, remedy in missing.items()]
    return "\n".join(lines)


def headline(scores: Sequence[Score]) -> str:
    """Say in one line what came out."""
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
    return f"{line[0].upper() if not ours else line[0]}{line[1:]}." if line else "Nobody took part."


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
    "planted": "planted mistakes",
    "kink": "at a kink",
    "near kink": "close to a kink",
    "off kink": "away from kinks",
    "float32": "losses in float32",
    "noise": "noisy losses",
    "quantised": "losses in coarse steps",
    "float16": "losses in float16",
    "solver": "losses that solve equations",
    "resolution": "tiny mistakes",
    "large": "many parameters",
}
"""What the kinds of cases are called in the figure."""


@styled
def figure(answers: Mapping[str, Sequence[Answer]], heading: str) -> Figure:
    """Draw how many cases each checker judged wrongly, a row a kind, the hardest first."""
    kinds = list(dict.fromkeys(answer.kind for each in answers.values() for answer in each))
    counts = {kind: [_wrong(each, kind) for each in answers.values()] for kind in kinds}
    kinds.sort(key=lambda kind: -np.mean([share for _, share in counts[kind] if share is not None]))
    shares = [[np.nan if share is None else share for _, share in counts[kind]] for kind in kinds]
    drawn = Figure(figsize=(PHONE, 2.2 + 0.24 * len(kinds)))
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
        "right gradients that were refused and wrong ones that were passed; blank: none, "
        "–: not run; darker: a larger share of the kind",
    )
    return drawn


def _wrong(answers: Sequence[Answer], kind: str) -> tuple[str, float | None]:
    """Return how many cases of a kind were judged wrongly, in words, and their share."""
    score = Score.of("", [answer for answer in answers if answer.kind == kind])
    return (str(score.wrong or ""), score.share) if score.run else ("–", None)


def wrong_answers(answers: Mapping[str, Sequence[Answer]]) -> list[Text]:
    """Write a line for each case that was judged wrongly."""
    return [
        Text(
            f"{name}: {answer.outcome}: {answer.case}"
            + f" at place {answer.place}" * bool(answer.place)
        )
        for name, each in answers.items()
        for answer in each
        if answer.outcome in ("false alarm", "miss")
    ]


@common.main("checker_power")
def main(
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"One kind, or more: {', '.join(KINDS)} [default: all]."),
    ] = None,
    checker: Annotated[
        list[str] | None,
        typer.Option("--checker", help=f"One, or more: {', '.join(ENTRANTS)} [default: all]."),
    ] = None,
    by_kind: Annotated[
        bool, typer.Option("--by-kind", help="Show the mistakes of each kind as well.")
    ] = False,
    mistakes: Annotated[
        bool, typer.Option("--mistakes", help="Name each case that was judged wrongly.")
    ] = False,
    places: Annotated[
        int, typer.Option(min=0, help="Also ask at so many places, moved at random by 3 %.")
    ] = 0,
    quick: common.Quick = False,
) -> common.Findings:
    """Put gradient checkers to gradients whose truth is known; count false alarms and misses."""
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
        results=[{**asdict(score), "share": score.share} for score in scores],
        headline=headline(scores),
        figure=lambda: figure(answers, "Wrong verdicts by kind"),
        more={
            "cases": len(cases),
            "right": sum(case.right for case in cases),
            "answers": {
                name: [asdict(answer) for answer in each] for name, each in answers.items()
            },
            "missing": missing,
        },
        below=[
            *([table_by_kind(answers)] if by_kind else []),
            *(wrong_answers(answers) if mistakes else []),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    common.run(main)
