"""The power of derivative checkers on functions with many outputs.

All checkers judge the same VJPs, JVPs, Jacobians and Hessians (`corpus.vectors`): right and wrong
ones of layers, linear algebra, solvers, and complex functions. False alarms, misses and the
settings of each checker are those of `checker_power`. gradlab checks a case as it is. A peer gets a
function from a real vector to a real vector (`corpus.real`); the claimed VJP or JVP is attached in
the way that the library intends. SciPy and numdifftools compare matrices. They cannot detect a VJP
that is not linear but is right along each single output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
"""Largest number of right cases of each kind in a quick run, and of wrong ones."""

Checker: TypeAlias = Callable[[RealCase], bool | None]


def gradlab_check(real: RealCase) -> bool | None:
    """Check by gradlab, with error bars instead of a tolerance."""
    report = real.case.check(gradlab.check_derivatives)
    return None if report.verdict == "inconclusive" else bool(report.ok)


@dataclass(frozen=True)
class Entrant:
    """A checker.

    Attributes
    ----------
    check : callable
        Returns whether it accepts the claim of a case, or None if it gives no verdict.
    by_matrix : bool
        Whether it gets the whole claim as one matrix.
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
"""The checkers, with the names in `checker_power`, which says what each needs installed."""


def ask(entrant: Entrant, case: VectorCase) -> Answer:
    """Return the answer of one checker to one case."""
    counted = power.Counted(case.gradient or case.f)
    real = RealCase(replace(case, **{"gradient" if case.gradient else "f": counted}))
    hidden = entrant.by_matrix and not _shows_in_a_matrix(case)
    refused = "the fault does not show in a matrix" if hidden else ""
    return power.judged(case, counted, len(real.x), lambda: entrant.check(real), refused=refused)


def _shows_in_a_matrix(case: VectorCase) -> bool:
    """Return whether the fault of a claim shows along a single output or parameter."""
    if case.right:
        return True
    real, truth = RealCase(case), RealCase(replace(case, claim=None))
    claimed, wanted = real.matrix(real.x), truth.matrix(real.x)
    return bool(np.abs(claimed - wanted).max() > 1e-12 * np.abs(wanted).max())


def chosen(kinds: Sequence[str], quick: bool) -> list[VectorCase]:
    """Return the cases of these kinds; in a quick run, a sample of each.

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
    """Return the notes below the table."""
    right = sum(case.right for case in cases)
    lines = [
        f"{len(cases)} derivatives, {right} right and {len(cases) - right} wrong.",
        "wrong: false alarms and misses, as a share of the cases run. not run: the checker raised "
        "an error, or it compares matrices, and the fault does not show in a matrix.",
        "evaluations: of the function, per parameter, the median. seconds: CPU time.",
    ]
    return "\n".join([*lines, *(f"{name}: {remedy}" for name, remedy in missing.items())])


@common.main("checker_outputs")
def main(
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"A kind; repeatable: {', '.join(KINDS)} [default: all]."),
    ] = None,
    checker: power.Checkers = None,
    mistakes: power.Mistakes = False,
    quick: common.Quick = False,
) -> common.Findings:
    """Count false alarms and misses of derivative checkers on functions with many outputs."""
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
        results=[score.record for score in scores],
        headline=power.headline(scores).replace("gradients", "derivatives"),
        figure=lambda: power.figure(answers, "Wrong verdicts by kind of function"),
        more=power.records(cases, answers, missing),
        below=[power.table_by_kind(answers), *(power.wrong_answers(answers) if mistakes else [])],
    )


if __name__ == "__main__":
    common.run(main)
