"""The power of derivative checkers on functions with many outputs.

All are put to the same VJPs, JVPs, Jacobians and Hessians (`corpus.vectors`): right and wrong ones
of layers, linear algebra, solvers, and complex functions. What counts as a false alarm or a miss is
as in `checker_power`, and so are the defaults that each checker has. gradlab takes a case as it is.
A peer sees a function of one real vector with one real vector of outputs (`corpus.real`), to which
the claimed VJP or JVP is attached as the library provides for. SciPy and numdifftools compare
matrices: a VJP that is not linear, and right along each output alone, does not show there.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, TypeAlias

import checker_power as power
import common
import numpy as np
import typer
from checker_power import Answer, Score
from corpus.outputs import VectorCase
from corpus.real import RealCase
from corpus.vectors import CASES, KINDS

import gradlab
from gradlab.errors import GradlabError, OptionError, unknown

QUICK_SIDE = 3
"""How many right and how many wrong cases of a kind a quick run takes at most."""

Checker: TypeAlias = Callable[[RealCase], bool | None]


def gradlab_check(real: RealCase) -> bool | None:
    """gradlab: error bars instead of a tolerance."""
    report = real.case.check(gradlab.check_derivatives)
    return None if report.verdict == "inconclusive" else bool(report.ok)


def torch_gradcheck(real: RealCase, fast: bool = False) -> bool:
    """PyTorch: central differences of step 1e-6, rtol 1e-3, atol 1e-5; fast: random projections."""
    import torch

    class Asked(torch.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return torch.tensor(real.f(x.detach().numpy()))

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.x = inputs[0].detach().numpy().copy()

        @staticmethod
        def backward(ctx: Any, above: Any) -> Any:
            return torch.tensor(real.vjp(ctx.x, above.detach().numpy()))

        @staticmethod
        def jvp(ctx: Any, tangent: Any) -> Any:
            return torch.tensor(real.jvp(ctx.x, tangent.detach().numpy()))

    torch.manual_seed(0)
    return bool(
        torch.autograd.gradcheck(
            Asked.apply,
            (torch.tensor(real.x, requires_grad=True),),
            raise_exception=False,
            fast_mode=fast,
            check_backward_ad=real.by_rows,
            check_forward_ad=not real.by_rows,
            check_undefined_grad=False,
        )
    )


def torch_fast(real: RealCase) -> bool:
    """PyTorch's fast mode."""
    return torch_gradcheck(real, fast=True)


def jax_check_grads(real: RealCase) -> bool:
    """JAX: its ``check_grads`` in the mode of the claim, first order, in double precision."""
    import jax
    from jax.test_util import check_grads

    def value(x: Any) -> Any:
        return jax.numpy.asarray(real.f(np.asarray(x)))

    if real.by_rows:
        by_rows = jax.custom_vjp(value)
        by_rows.defvjp(
            lambda x: (value(x), np.asarray(x)),
            lambda x, above: (jax.numpy.asarray(real.vjp(x, np.asarray(above))),),
        )
        asked, mode = by_rows, "rev"
    else:
        by_columns = jax.custom_jvp(value)

        @by_columns.defjvp
        def _(primals: Any, tangents: Any) -> Any:
            (x,), (v,) = primals, tangents
            return value(x), jax.numpy.asarray(real.jvp(np.asarray(x), np.asarray(v)))

        asked, mode = by_columns, "fwd"
    with common.jax_in_float64():
        return _asserts(check_grads, asked, (jax.numpy.asarray(real.x),), 1, modes=[mode])


def autograd_check_grads(real: RealCase) -> bool:
    """autograd: its ``check_grads`` in the mode of the claim, first order."""
    from autograd.extend import defjvp, defvjp, primitive
    from autograd.test_util import check_grads

    asked = primitive(real.f)
    if real.by_rows:
        defvjp(asked, lambda value, x: lambda above: real.vjp(x, above))
    else:
        defjvp(asked, lambda tangent, value, x: real.jvp(x, tangent))
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002  # where autograd draws its directions from
    try:
        return _asserts(
            check_grads(asked, modes=["rev" if real.by_rows else "fwd"], order=1), real.x
        )
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _asserts(check: Callable[..., Any], *args: Any, **options: Any) -> bool:
    try:
        check(*args, **options)
    except AssertionError:
        return False
    return True


def scipy_check_derivative(real: RealCase) -> bool:
    """SciPy: right if, in its documentation's words, the accuracy is "1e-6 or lower"."""
    from scipy.optimize._numdiff import check_derivative

    return bool(check_derivative(real.f, real.matrix, real.x) <= 1e-6)


def numdifftools_jacobian(real: RealCase) -> bool:
    """numdifftools: within ten times the error that it estimates of its own extrapolation."""
    import numdifftools

    claimed = real.matrix(real.x)
    found, info = numdifftools.Jacobian(real.f, full_output=True)(real.x)[:2]
    estimate = getattr(info, "error_estimate", info)  # a record until 0.10
    distance = np.abs(np.reshape(found, claimed.shape) - claimed)
    return bool(np.all(distance <= 10 * np.reshape(estimate, claimed.shape)))


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
    "PyTorch": Entrant(torch_gradcheck),
    "PyTorch fast": Entrant(torch_fast),
    "JAX": Entrant(jax_check_grads),
    "autograd": Entrant(autograd_check_grads),
    "SciPy": Entrant(scipy_check_derivative, by_matrix=True),
    "numdifftools": Entrant(numdifftools_jacobian, by_matrix=True),
}
"""The checkers of `checker_power`, which knows what each needs to be installed."""


def ask(entrant: Entrant, case: VectorCase) -> Answer:
    """Put one case to one checker."""
    calls = 0
    differentiated = case.gradient or case.f

    def counted(*point: Any) -> Any:
        nonlocal calls
        calls += 1
        return differentiated(*point)

    option = {"gradient": counted} if case.gradient else {"f": counted}
    real = RealCase(replace(case, **option))
    started, reason = time.process_time(), ""
    if entrant.by_matrix and not _shows_in_a_matrix(case):
        found, reason = "not run", "the fault does not show in a matrix"
    else:
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # the peers' own, about NaN and the like
                found = outcome(case, entrant.check(real))
        except (GradlabError, ArithmeticError, ValueError, RuntimeError) as error:
            found, reason = "not run", f"{type(error).__name__}: {str(error).splitlines()[0]}"
    seconds = time.process_time() - started
    return Answer(case.title, case.kind, 0, found, reason, calls / len(real.x), seconds)


def outcome(case: VectorCase, ok: bool | None) -> str:
    """Judge a judge: what it said of a case, None where it would not say.

    Examples
    --------
    >>> outcome(CASES[0], False), outcome(CASES[0], True), outcome(CASES[0], None)
    ('false alarm', 'right', 'inconclusive')
    """
    if ok is None:
        return "inconclusive"
    if ok is case.right:
        return "right"
    return "false alarm" if case.right else "miss"


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
    for option, names, known in (("kind", kind, KINDS), ("checker", checker, ENTRANTS)):
        for name in names or ():
            if name not in known:
                raise OptionError(f"--{option} {name}: {unknown(option, name, known)}")
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
