"""Steps and precision of the backends, and the numbers of the notebook's formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conformance import AUTOGRAD, NOTEBOOK, Row, every_difference, every_row, smooth
from hypothesis import given
from hypothesis import strategies as st

import gradlab
from gradlab.errors import OptionError
from gradlab.gradients.differences.steps import steps
from gradlab.params import map_leaves
from gradlab.testing import Problem, assert_within, error_bounds, networks

# The notebook


def test_step_reproduces_the_notebook() -> None:
    """The values are those of numerical_gradient(f2, ...), with the bits of its formula."""

    def f2(x: Any) -> Any:
        return np.sum(x**2, axis=0)

    def numerical_gradient(f: Any, x: Any) -> Any:
        h = 1e-4
        slopes = np.zeros_like(x)
        for i in range(x.size):
            held = x[i]
            x[i] = held + h
            above = f(x)
            x[i] = held - h
            below = f(x)
            slopes[i] = (above - below) / (2 * h)
            x[i] = held
        return slopes

    for point, printed in [([3, 4], [6, 8]), ([0, 2], [0, 4]), ([3, 0], [6, 0])]:
        x = np.array(point, dtype=float)
        found = NOTEBOOK.grad(f2, x)
        assert np.array_equal(found.round(8), printed)
        notebook = numerical_gradient(f2, x)
        # It divides by 2h, where the points lie (x + h) - (x - h) apart: a rounding of x each.
        apart = np.abs(notebook) * 2 * np.spacing(np.abs(x) + 1e-4) / 2e-4
        bound = error_bounds(f2, x, method="central", step=1e-4).total
        assert_within(found, notebook, apart + bound)
        assert_within(found, 2 * x, bound)


@every_row
def test_matrices_are_differentiated(row: Row) -> None:
    """The notebook's numerical gradient could not index a matrix."""
    W = np.arange(6.0).reshape(2, 3)
    assert_within(row.grad(lambda W: (W**2).sum(), W), 2 * W, row.bound(lambda W: (W**2).sum(), W))


@every_row
def test_integers_are_not_truncated(row: Row) -> None:
    """The notebook's step vanished in an array of integers."""
    grads = row.grad(lambda x: (x**2).sum(), np.array([3, 4]))
    assert grads.dtype == np.float64
    assert_within(grads, np.array([6.0, 8.0]), row.bound(lambda x: (x**2).sum(), np.array([3, 4])))


def test_textbook_formulas() -> None:
    """The quotients are those of the module's docstring, for an exact step."""
    f, x, h = np.exp, 0.5, 2.0**-10
    central = gradlab.grad(f, gradlab.CentralDifference(step=h))(x)
    fourth = gradlab.grad(f, gradlab.CentralDifference4(step=h))(x)
    forward = gradlab.grad(f, gradlab.ForwardDifference(step=h))(x)
    assert central == (f(x + h) - f(x - h)) / (2 * h)
    assert forward == (f(x + h) - f(x)) / h
    rise = 8 * f(x + h) - 8 * f(x - h) - f(x + 2 * h) + f(x - 2 * h)
    # Each of the five terms of the sum rounds three times at most.
    assert abs(fourth - rise / (12 * h)) <= 18 * 3 * np.finfo(float).eps * f(x + 2 * h) / (12 * h)


# Steps


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(seed=st.integers(0, 2**16), exponent=st.integers(-8, 8))
def test_default_steps(order: int, dtype: Any, seed: int, exponent: int) -> None:
    x = np.random.default_rng(seed).standard_normal(200).astype(dtype) * dtype(10.0) ** exponent
    h = steps(x, None, order)
    assert h.dtype == dtype
    mantissa, _ = np.frexp(h)
    assert np.all(mantissa == 0.5)  # a power of two
    # Nearest, on the scale of exponents, to ε^(1/(order+1)) max(1, |x|).
    ideal = np.finfo(dtype).eps ** (1 / (order + 1)) * np.maximum(1, np.abs(x.astype(float)))
    assert np.all(np.abs(np.log2(h / ideal)) <= 0.5 + 1e-5)


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e8])
def test_default_steps_are_exact_beside_ordinary_numbers(scale: float) -> None:
    """x ± h is exact unless its exponent exceeds that of x, or x is small compared with h."""
    x = np.random.default_rng(0).standard_normal(2000) * scale
    h = steps(x, None, 2)
    exact = ((x + h) - x == h) & (x - (x - h) == h)
    assert exact.mean() > 0.99


@every_difference
def test_steps_are_scaled_to_large_entries(row: Row) -> None:
    if row.step is None:
        x = np.array([1e8, -1e8, 1.0])
        bound = row.bound(lambda x: np.sum(x * x), x)
        found = row.grad(lambda x: np.sum(x * x), x)
        assert_within(found, 2 * x, bound)
        # Central: ε|f|/h relative to f' = 2x; forward: its own h/2 f''.
        assert np.abs(found / (2 * x) - 1)[:2].max() < 1e-7


@every_difference
def test_step_that_vanishes_is_an_error(row: Row) -> None:
    backend = replace(row.backend, step=1e-9)  # type: ignore[type-var]
    params = {"w": [np.ones(2), np.array([[1.0, 1e8]])]}
    with pytest.raises(OptionError, match=r"w\[1\]\[0, 1\] = 100000000.0: give a larger step"):
        gradlab.grad(smooth, backend)(params)


@every_difference
@pytest.mark.parametrize("step", [0.0, -1e-4, np.nan, np.inf, True, "small", 1e-4j])
def test_useless_steps_are_refused(row: Row, step: Any) -> None:
    with pytest.raises(OptionError, match="step="):
        replace(row.backend, step=step)  # type: ignore[type-var]


@every_difference
@pytest.mark.parametrize("dtype", [np.int64, np.complex128, bool, "precise"])
def test_useless_dtypes_are_refused(row: Row, dtype: Any) -> None:
    with pytest.raises(OptionError, match="dtype="):
        replace(row.backend, dtype=dtype)  # type: ignore[type-var]


# The precision of the evaluation


@every_row
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_precision_of_the_evaluation(row: Row, dtype: Any) -> None:
    seen = set()

    def loss(w: Any) -> Any:
        seen.add(np.dtype(str(w.dtype).removeprefix("torch.")))
        return (w * w).sum()

    row.grad(loss, np.ones(2, dtype))
    own = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(np.float64)
    complex_, wide = np.dtype(np.complex128), np.dtype(np.float64)
    assert seen == {own if row.own_precision else wide} | ({complex_} if row.analytic else set())


@every_difference
@given(problem=networks(dtypes=[np.float32], max_layers=2))
def test_evaluates_in_float32_when_told(row: Row, problem: Problem) -> None:
    if row.step is not None:
        row = replace(row, backend=replace(row.backend, step=2.0**-7))  # type: ignore[type-var]
    seen = set()

    def loss(params: Any, *args: Any) -> Any:
        value = problem.loss(params, *args)
        if isinstance(value, np.generic):
            seen.add(value.dtype)
        return value

    backend = replace(row.backend, dtype=np.float32)  # type: ignore[type-var]
    found = gradlab.grad(loss, backend)(problem.params, *problem.args)
    assert seen == {np.dtype(np.float32)}
    wide = map_leaves(lambda leaf: leaf.astype(np.float64), problem.params)
    exact = AUTOGRAD.grad(problem.loss, wide, *problem.args)
    bound = error_bounds(
        problem.loss,
        problem.params,
        *problem.args,
        method=row.method,
        step=row.step,
        dtype=np.float32,
    ).total
    reverse = AUTOGRAD.bound(problem.loss, wide, *problem.args)
    assert_within(found, exact, map_leaves(np.add, bound, reverse))
