"""Extrapolation is exact where theory says so, and its estimates cover the error."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradlab
from gradlab.errors import NonFiniteError
from gradlab.gradients.differences.richardson import extrapolate, ladder, next_row
from gradlab.testing import assert_within, error_bounds

EPS = np.finfo(float).eps
RICHARDSON = gradlab.Richardson()

# A function, the same in high precision, and where to differentiate it.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], tuple[float, float]]] = {
    "exp": (np.exp, mpmath.exp, (-2, 2)),
    "sin": (np.sin, mpmath.sin, (-2, 2)),
    "tanh": (np.tanh, mpmath.tanh, (-2, 2)),
    "log": (np.log, mpmath.log, (0.2, 3)),
    "sqrt": (np.sqrt, mpmath.sqrt, (0.2, 3)),
    "reciprocal": (lambda x: 1 / x, lambda x: 1 / x, (0.3, 3)),
    "bell": (lambda x: np.exp(-x * x), lambda x: mpmath.exp(-x * x), (-2, 2)),
    "Runge": (lambda x: 1 / (1 + 25 * x * x), lambda x: 1 / (1 + 25 * x * x), (-1, 1)),
    "oscillation": (lambda x: np.sin(10 * x), lambda x: mpmath.sin(10 * x), (-1, 1)),
    "steep": (lambda x: np.tanh(30 * x), lambda x: mpmath.tanh(30 * x), (-0.1, 0.1)),
    "quintic": (lambda x: x**5 - x, lambda x: x**5 - x, (-2, 2)),
    "offset": (lambda x: 1e6 + np.sin(x), lambda x: 10**6 + mpmath.sin(x), (-2, 2)),
}
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


def slope(high: Any, x: float) -> float:
    with mpmath.workdps(50):
        return float(mpmath.diff(high, mpmath.mpf(x)))


def differentiate(f: Any, x: float) -> tuple[float, float, int]:
    """Return value, error estimate, and evaluations other than the centre."""
    calls = []

    def counted(t: Any) -> Any:
        calls.append(t)
        return f(t)

    largest, fine = ladder(np.array(x), None)
    centre = f(np.float64(x))
    value, error = extrapolate(counted, np.float64(x), largest[()], fine[()], centre=centre)
    return value, error, len(calls)


# The table


@given(degree=st.integers(0, 9), seed=st.integers(0, 99))
def test_a_member_of_column_j_is_exact_for_polynomials_of_degree_2j_and_2(
    degree: int, seed: int
) -> None:
    """In exact arithmetic, each column cancels one more of h², h⁴, ..."""
    rng = np.random.default_rng(seed)
    coefficients = [int(c) for c in rng.integers(1, 9, degree + 1)]
    x = Fraction(int(rng.integers(1, 5)), 4)

    def polynomial(t: Fraction) -> Fraction:
        return sum(c * t**power for power, c in enumerate(coefficients))

    wanted = sum(power * c * x ** (power - 1) for power, c in enumerate(coefficients) if power)
    row: list[Any] = []
    for k in range(5):
        h = Fraction(1, 2**k)
        row = next_row(row, (polynomial(x + h) - polynomial(x - h)) / (2 * h))
        for j, member in enumerate(row):
            assert member == wanted or degree > 2 * j + 2
        assert row[0] != wanted or degree <= 2


def test_fourth_order_is_the_second_column() -> None:
    h, x = 2.0**-4, 0.75
    quotients = [(np.exp(x + s) - np.exp(x - s)) / (2 * s) for s in (2 * h, h)]
    _, second = next_row(next_row([], quotients[0]), quotients[1])
    fourth = gradlab.grad(np.exp, gradlab.CentralDifference4(step=h))(x)
    assert fourth == second


# Honest and sharp


@every_function
def test_estimates_are_honest_and_most_digits_are_kept(function: Any) -> None:
    """At 150 points, the error in fifty digits is within its estimate, and near round-off."""
    f, high, (low, top) = function
    errors, estimates, evaluations, plain = [], [], [], []
    for x in np.random.default_rng(0).uniform(low, top, 150).tolist():
        value, estimate, calls = differentiate(f, x)
        wanted = slope(high, x)
        errors.append(abs(value - wanted))
        estimates.append(estimate)
        evaluations.append(calls)
        plain.append(abs(gradlab.grad(f, "central")(x) - wanted))
    within = np.array(errors) <= np.array(estimates)
    assert within.mean() >= 0.99
    assert np.median(estimates) <= 30 * np.median(errors)
    assert np.median(errors) <= np.median(plain) / 100
    assert np.median(evaluations) <= 26


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_estimates_know_the_precision_of_the_loss(dtype: Any) -> None:
    """The values show that the loss is in float32, with parameters in float64."""
    rng = np.random.default_rng(1)
    within, errors = [], []
    for x in rng.uniform(-2, 2, 200).tolist():
        value, estimate, _ = differentiate(lambda t: np.sin(t.astype(dtype)), x)
        errors.append(abs(value - math.cos(x)))
        within.append(errors[-1] <= estimate)
    assert np.mean(within) >= 0.99
    # Round-off ε|f| over a step of about one eighth, and an argument that is rounded, too.
    assert np.median(errors) <= 30 * np.finfo(dtype).eps


def test_no_step_is_wasted() -> None:
    """A line needs two steps; noise that the values do not show ends the table."""
    assert differentiate(lambda x: 3.0 * x, 0.5)[2] == 8
    value, _, evaluations = differentiate(lambda x: np.float64(np.float32(np.sin(x))), 0.5)
    assert abs(value - math.cos(0.5)) <= 30 * np.finfo(np.float32).eps
    assert evaluations <= 20


def test_every_entry_has_its_own_best_step() -> None:
    """Frequencies from 1 to 1000 in one leaf are each right to about their own round-off."""
    frequency = 10.0 ** np.arange(4)
    x = np.array([0.3, -0.4, 0.05, 0.001])
    found = gradlab.grad(lambda w: np.sum(np.sin(frequency * w)), RICHARDSON)(x)
    error = np.abs(found - frequency * np.cos(frequency * x))
    assert np.all(error <= 100 * EPS * 4 * frequency)


# Large steps that mislead


@pytest.mark.parametrize("waves", [8, 64, 1024])
def test_a_function_with_the_steps_as_period_is_not_constant(waves: int) -> None:
    """All large steps of sin(2π k x) agree that the slope at 0 is exactly 0."""
    found = gradlab.grad(lambda x: np.sin(2 * np.pi * waves * x), RICHARDSON)(0.0)
    assert found == pytest.approx(2 * np.pi * waves, rel=1e-9)


@given(x=st.floats(-2, 2))
def test_a_fast_ripple_is_followed(x: float) -> None:
    """For x² + 1e-4 sin 1e4 x, large steps show only the square."""

    def loss(x: Any) -> Any:
        return x * x + 1e-4 * np.sin(1e4 * x)

    found = gradlab.grad(loss, RICHARDSON)(x)
    # Round-off over the ripple's own steps, of some 1e-5, and of the argument 1e4 x.
    assert abs(found - 2 * x - np.cos(1e4 * x)) <= 10 * EPS * (1 + x * x) * 1e5
    assert_within(found, 2 * x + np.cos(1e4 * x), error_bounds(loss, x, method="richardson").total)


def test_a_domain_may_end_between_the_steps() -> None:
    x = np.array([0.01, 1e-4])
    for log in (np.log, lambda w: np.array([math.log(v) for v in w])):  # NaN, and a ValueError
        found = gradlab.grad(lambda w, log=log: np.sum(log(w)), RICHARDSON)(x)
        assert np.all(np.abs(found * x - 1) <= 1e-11)


def test_parameters_as_small_as_the_edge_is_near() -> None:
    x = np.array([1e-7, 3e-8])
    found = gradlab.grad(lambda w: np.sum(np.log(w)), RICHARDSON)(x)
    assert np.all(np.abs(found * x - 1) <= 1e-11)


def test_no_value_on_one_side_is_an_error() -> None:
    with pytest.raises(NonFiniteError, match=r"the loss is nan at w\[1\] = 0.0 moved to -"):
        gradlab.grad(lambda p: (p["w"] ** 1.5).sum(), RICHARDSON)({"w": np.array([1.0, 0.0])})
    with pytest.raises(NonFiniteError, match=r"no slope over 0\.0 ±"):
        extrapolate(lambda x: np.float64(x) ** 1.5, 0.0, 0.125, 2.0**-17)


def test_a_kink_has_the_mean_of_its_slopes() -> None:
    found = gradlab.grad(lambda w: np.sum(np.where(w > 0, 3 * w, w)), RICHARDSON)(np.zeros(2))
    assert found.tolist() == [2.0, 2.0]


def test_step_is_the_first_of_the_ladder() -> None:
    seen = []

    def loss(x: Any) -> Any:
        seen.append(abs(float(x) - 0.5))
        return np.exp(x)

    gradlab.grad(loss, gradlab.Richardson(step=2.0**-6))(0.5)
    assert max(seen) == 2.0**-6
    seen.clear()
    gradlab.grad(loss, gradlab.Richardson(step=2.0**-18))(0.5)
    assert max(seen) == 2.0**-18
