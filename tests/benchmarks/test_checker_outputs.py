"""The benchmark of checkers on functions with many outputs: what it asks, and what it counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import checker_outputs as outputs
import checker_power as power
import numpy as np
import pytest
from corpus.outputs import VectorCase
from corpus.real import RealCase, like, parts
from corpus.vectors import CASES
from optional import is_installed

A = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]])


def f(x: Any) -> Any:
    return np.tanh(A @ x)


def jacobian(x: Any) -> Any:
    return (1 - f(x) ** 2)[:, None] * A


CLAIMS = {
    "vjp": lambda x, u: jacobian(x).T @ u,
    "jvp": lambda x, v: jacobian(x) @ v,
    "jacobian": jacobian,
}


def case_of(form: Any, by: float = 1.0) -> VectorCase:
    def claim(*args: Any) -> Any:
        return by * CLAIMS[form](*args)

    right = VectorCase("layers", form, f, np.array([0.3, -0.2]), (), form, CLAIMS[form])
    return right if by == 1 else replace(right, claim=claim, fault="scaled")


def unless_missing(name: str) -> Any:
    module = power.ENTRANTS[name].module
    words = {"torch": "PyTorch", "jax": "JAX", "scipy": "SciPy", "numdifftools": "numdifftools"}
    is_there = is_installed(module) and power.is_ready(name)
    reason = f"{words.get(module, module)} is not installed"
    slow = [pytest.mark.slow] if name == "JAX" else []
    return pytest.param(name, marks=[pytest.mark.skipif(not is_there, reason=reason), *slow])


@pytest.mark.parametrize("name", [unless_missing(name) for name in outputs.ENTRANTS])
@pytest.mark.parametrize("form", CLAIMS)
def test_a_checker_is_asked_about_the_claim(name: str, form: str) -> None:
    right, wrong = (outputs.ask(outputs.ENTRANTS[name], case_of(form, by)) for by in (1, 1.5))
    assert (right.outcome, wrong.outcome) == ("right", "right")
    assert right.evaluations_per_entry > 0


def test_claims_that_a_matrix_does_not_contain_are_omitted() -> None:
    case = replace(
        case_of("vjp"), claim=lambda x, u: jacobian(x).T @ np.maximum(u, 0), fault="clipped"
    )
    answer = outputs.ask(outputs.Entrant(lambda real: True, by_matrix=True), case)
    assert (answer.outcome, answer.reason) == ("not run", "the fault does not show in a matrix")
    assert outputs.ask(outputs.Entrant(lambda real: True), case).outcome == "miss"


def test_an_error_of_a_checker_is_counted_separately() -> None:
    def raises(real: RealCase) -> bool:
        raise ValueError("too many entries")

    answer = outputs.ask(outputs.Entrant(raises), case_of("vjp"))
    assert (answer.outcome, answer.reason) == ("not run", "ValueError: too many entries")


@pytest.mark.parametrize("case", [c for c in CASES if c.right], ids=lambda case: case.title)
def test_all_forms_of_a_case_have_the_same_numbers(case: VectorCase) -> None:
    real, rng = RealCase(case), np.random.default_rng(0)
    matrix = real.matrix(real.x)
    assert matrix.shape == (len(real.f(real.x)), len(real.x))
    if real.by_rows:
        u = rng.normal(size=len(matrix))
        np.testing.assert_allclose(real.vjp(real.x, u), u @ matrix, rtol=1e-9, atol=1e-9)
    else:
        v = rng.normal(size=matrix.shape[1])
        np.testing.assert_allclose(real.jvp(real.x, v), matrix @ v, rtol=1e-9, atol=1e-9)
    back = like(case.params, parts(case.params))
    np.testing.assert_array_equal(parts(back), parts(case.params))


def test_a_quick_run_has_right_and_wrong_cases_of_every_kind() -> None:
    cases = outputs.chosen(outputs.KINDS, quick=True)
    assert {(c.kind, c.right) for c in cases} == {(k, r) for k in outputs.KINDS for r in (0, 1)}
