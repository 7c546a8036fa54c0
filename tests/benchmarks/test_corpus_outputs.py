"""The corpus of derivatives of functions with many outputs: truths, faults, verdicts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from corpus.case import unique
from corpus.outputs import VectorCase
from corpus.real import RealCase, leaves_of, like, parts
from corpus.vectors import CASES, KINDS

import gradlab

RIGHT = [case for case in CASES if case.right]

WEIGHTS_4 = np.array([1, -8, 8, -1]) / 12.0


def titled(cases: list[VectorCase]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.title for case in cases])


# An independent Jacobian: of real and imaginary parts, by complex steps or differences


def differentiated(case: VectorCase) -> Any:
    """Return the function whose Jacobian is claimed; for a second derivative, the gradient."""
    return case.gradient or case.f


def complex_steps(f: Any, params: Any) -> Any:
    x = parts(params)
    columns = []
    for j in range(len(x)):
        moved = x.astype(complex)
        moved[j] += 1e-30j
        out = np.concatenate([np.ravel(leaf) for leaf in leaves_of(f(like(params, moved)))])
        columns.append(out.imag / 1e-30)
    return np.array(columns).T


def differences(f: Any, params: Any) -> Any:
    x = parts(params)
    columns = []
    for j in range(len(x)):
        h = 2.0**-10 * max(abs(x[j]), 0.5)
        values = []
        for k in (-2, -1, 1, 2):
            moved = x.copy()
            moved[j] += k * h
            values.append(parts(f(like(params, moved))))
        columns.append(WEIGHTS_4 @ np.array(values) / h)
    return np.array(columns).T


def reference(case: VectorCase) -> tuple[Any, float]:
    """Return the Jacobian of the real and imaginary parts, and its accuracy."""
    f = differentiated(case)

    def of(params: Any) -> Any:
        return f(params, *case.args)

    if case.kind != "complex" and case.reference == "complex step":
        return complex_steps(of, case.params), 1e-11
    return differences(of, case.params), 2e-8  # h⁴ f⁽⁵⁾ / 30, and round-off / h


def gap(case: VectorCase, jacobian: Any) -> float:
    """Return the error of a claim along some directions, relative to the derivative."""
    rng, real = np.random.default_rng(0), RealCase(case)
    claimed, truth = (real.vjp, jacobian.T) if real.by_rows else (real.jvp, jacobian)
    side = truth.shape[1]
    directions = [*rng.normal(size=(3, side)), *np.eye(side)]
    worst = max(np.abs(claimed(real.x, v) - truth @ v).max() for v in directions)
    return float(worst) / float(np.abs(jacobian).max())


@titled(RIGHT)
def test_a_truth_is_the_derivative(case: VectorCase) -> None:
    jacobian, exact = reference(case)
    assert gap(case, jacobian) <= 50 * exact


@titled([case for case in RIGHT if case.gradient is not None])
def test_the_gradient_of_a_second_derivative_is_that_of_its_loss(case: VectorCase) -> None:
    first = replace(case, gradient=None)
    jacobian, exact = reference(first)
    assert case.gradient is not None
    found = parts(case.gradient(case.params, *case.args))
    assert np.abs(found - jacobian[0]).max() <= 50 * exact * np.abs(found).max()


@titled([case for case in CASES if not case.right])
def test_a_fault_changes_the_derivative(case: VectorCase) -> None:
    assert gap(case, reference(case)[0]) > 1e-7


# Verdicts


def judged_wrongly(cases: list[VectorCase], **options: Any) -> list[str]:
    told = []
    for case in cases:
        report = case.check(gradlab.check_derivatives, **options)
        if report.verdict not in case.accepted:
            told.append(f"{case.title}: {report.verdict}")
    return told


def test_no_false_alarm() -> None:
    assert judged_wrongly(RIGHT[::12]) == []


def test_no_miss() -> None:
    assert judged_wrongly([case for case in CASES if not case.right][::80]) == []


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["entries", "directional"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_false_alarm_and_no_miss(kind: str, mode: str) -> None:
    assert judged_wrongly([case for case in CASES if case.kind == kind], mode=mode) == []


# What it covers


def test_there_are_enough_of_every_kind() -> None:
    kinds = {"layers", "linear algebra", "solvers", "models", "hessians", "complex"}
    assert set(KINDS) == kinds
    assert len(CASES) >= 150
    right, wrong = (Counter(c.kind for c in CASES if c.right is side) for side in (True, False))
    assert all(right[kind] >= 7 and wrong[kind] >= 7 for kind in KINDS)
    assert {case.form for case in CASES} == {
        "vjp", "jvp", "jacobian", "hessian", "hvp", "gradient",
    }  # fmt: skip


def test_two_cases_of_one_title_are_refused() -> None:
    with pytest.raises(ValueError, match="two cases are called layers: vjp of a dense layer"):
        unique([CASES[0], CASES[0]])
