"""The power of derivative checkers on functions with many outputs.

All are put to the same VJPs, JVPs, Jacobians and Hessians (`corpus.vectors`): right and wrong ones
of layers, linear algebra, solvers, and complex functions. What counts as a false alarm or a miss is
as in `checker_power`, and so are the defaults that each checker has. gradlab takes a case as it is.
A peer sees a function of one real vector with one real vector of outputs (`corpus.real`), to which
the claimed VJP or JVP is attached as the library provides for. SciPy and numdifftools compare
matrices: a VJP that is not linear, and right along each output alone, does not show there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Annotated, TypeAlias

import checker_power as power
import common
import numpy as np
import typer
from checker_power import Answer, Score
from corpus import peers
from corpus.outputs import VectorCase
from corpus.real import RealCase
from corpus.vectors import CASES, KINDS

import gradlab

QUICK_SIDE = 3
"""How many right and how many wrong cases of a kind a quick run takes at most."""

Checker: TypeAlias = Callable[[RealCase], bool | None]


def gradlab_check(real: RealCase) -> bool | None:
    """gradlab: error bars instead of a tolerance."""
    report = real.case.check(gradlab.check_derivatives)
    return None if report.verdict == "inconclusive" else bool(report.ok)


@dataclass(frozen=True)
class Entrant:
    """A checker that takes part.

    Attributes
    ----------
    check : callable
        Judges a case.
    by_matrix : bool
        Whether it sees all of a claim as one matrix.
    """

    check: Checker
    by_matrix: bool = False


ENTRANTS: dict[str, Entrant] = {
    "gradlab": Entrant(gradlab_check),
    "PyTorch": Entrant(partial(peers.torch_gradcheck, undefined=False)),
    "PyTorch fast": Entrant(partial(peers.torch_gradcheck, fast=True, undefined=False)),
    "JAX": Entrant(peers.jax_check_grads),
    "autograd": Entrant(peers.autograd_check_grads),
    "SciPy": Entrant(peers.scipy_check_derivative, by_matrix=True),
    "numdifftools": Entrant(peers.numdifftools_jacobian, by_matrix=True),
}
"""The checkers of `checker_power`, which knows what each needs to be installed."""


def ask(entrant: Entrant, case: VectorCase) -> Answer:
    """Put one case to one checker."""
    counted = power.Counted(case.gradient or case.f)
    real = RealCase(replace(case, **{"gradient" if case.gradient else "f": counted}))
    hidden = entrant.by_matrix and not _shows_in_a_matrix(case)
    refused = "the fault does not show in a matrix" if hidden else ""
    return power.judged(case, counted, len(real.x), lambda: entrant.check(real), refused=refused)


def _shows_in_a_matrix(case: VectorCase) -> bool:
    """Tell whether a wrong claim is wrong along a single output or parameter."""
    if case.right:
        return True
    real, truth = RealCase(case), RealCase(replace(case, claim=None))
    claimed, wanted = real.matrix(real.x), truth.matrix(real.x)
    return bool(np.abs(claimed - wanted).max() > 1e-12 * np.abs(wanted).max())


def chosen(kinds: Sequence[str], quick: bool) -> list[VectorCase]:
    """Return the cases of these kinds; in a quick run a few of each.

    Examples
    --------
    >>> len(chosen(["layers"], quick=True)), len(chosen(KINDS, quick=False)) >= 150
    (6, True)
    """
    cases = [case for case in CASES if case.kind in kinds]
    if not quick:
        return cases
    sides = [
        [case for case in cases if case.kind == kind and case.right is right]
        for kind in kinds
        for right in (True, False)
    ]
    return [case for side in sides for case in side[:: -(-len(side) // QUICK_SIDE)]]


def footnotes(cases: Sequence[VectorCase], missing: Mapping[str, str]) -> str:
    """Say how the table is to be read."""
    right = sum(case.right for case in cases)
    lines = [
        f"{len(cases)} derivatives, {right} right and {len(cases) - right} wrong.",
        "wrong: false alarms and misses, of the cases run. not run: the checker raised an error, "
        "or takes a matrix, in which the fault does not show.",
        "evaluations: of the function, per parameter, the median. seconds: of the processor.",
    ]
    return "\n".join([*lines, *(f"{name}: {remedy}" for name, remedy in missing.items())])


@common.main("checker_outputs")
def main(
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"One kind, or more: {', '.join(KINDS)} [default: all]."),
    ] = None,
    checker: Annotated[
        list[str] | None,
        typer.Option("--checker", help=f"One, or more: {', '.join(ENTRANTS)} [default: all]."),
    ] = None,
    mistakes: Annotated[
        bool, typer.Option("--mistakes", help="Name each case that was judged wrongly.")
    ] = False,
    quick: common.Quick = False,
) -> common.Findings:
    """Put checkers to derivatives of functions with many outputs; count false alarms and misses."""
    common.require_known("--kind", kind, KINDS)
    common.require_known("--checker", checker, ENTRANTS)
    common.limit_threads(1)
    names = [name for name in ENTRANTS if not checker or name in checker]
    missing = {name: power.ENTRANTS[name].remedy for name in names if not power.is_ready(name)}
    cases = chosen(kind or KINDS, quick)
    answers: dict[str, list[Answer]] = {}
    for name in names:
        if name not in missing:
            common.say(f"asking {name} ...")
            answers[name] = [ask(ENTRANTS[name], case) for case in cases]
    scores = [Score.of(name, each) for name, each in answers.items()]
    return common.Findings(
        options={"kinds": list(kind or KINDS), "checkers": names, "quick": quick},
        table=lambda environment: power.table(
            scores,
            missing,
            f"{footnotes(cases, missing)}\n{environment}",
            "Checkers on functions with many outputs",
        ),
        results=[{**asdict(score), "share": score.share} for score in scores],
        headline=power.headline(scores).replace("gradients", "derivatives"),
        figure=lambda: power.figure(answers, "Wrong verdicts by kind of function"),
        more={
            "cases": len(cases),
            "right": sum(case.right for case in cases),
            "answers": {
                name: [asdict(answer) for answer in each] for name, each in answers.items()
            },
            "missing": missing,
        },
        below=[power.table_by_kind(answers), *(power.wrong_answers(answers) if mistakes else [])],
    )


if __name__ == "__main__":
    common.run(main)
