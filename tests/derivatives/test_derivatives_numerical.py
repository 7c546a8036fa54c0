"""Numerical Jacobians: steps, bounds, sparsity, and functions that a formula does not suit."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from counting import calls_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_derivatives import COLUMNS, EPS, ERRORS, assert_close

import gradlab
from gradlab import errors
from gradlab.derivatives import jvp_with_error, stencils
from gradlab.derivatives.sparsity import groups_of

NUMERICAL = (*COLUMNS, "richardson")


# Formulas


@settings(max_examples=50, deadline=None)
@given(
    st.sampled_from([1, 2, 4]),
    st.floats(-2, 0),
    st.floats(0, 2),
    st.integers(-10, 0).map(lambda e: 2.0**e),
)
def test_formulas_stay_within_bounds_and_are_exact_for_their_degree(order, low, high, h):
    offsets = stencils.fitting(order, h, low, high)
    if not offsets:
        assert max(-low, high) < 8 * np.finfo(float).smallest_normal
        return
    assert low <= min(offsets)
    assert max(offsets) <= high
    t = np.array(offsets)
    for degree in range(1, order + 1):
        found = stencils.slopes(t, (t**degree)[:, None])[0]
        # The error is 10 / h roundings of the values, for weights of this order.
        allowed = 1000 * EPS * float(np.abs(t).max()) ** (degree - 1)
        assert abs(float(found[0]) - (degree == 1)) <= max(allowed, 1000 * EPS * (degree == 1))


# Bounds


@pytest.mark.parametrize("backend", NUMERICAL)
def test_no_step_leaves_the_bounds(backend):
    seen = []

    def watched(x):
        seen.append(x.copy())
        return np.stack([np.exp(x), x**2])

    x = np.array([0.0, 2.0, 1.0, 1e-9, 2 - 1e-9, 2 - 2.0**-17])
    found = gradlab.jacobian(watched, backend, bounds=(0.0, 2.0))(x)
    wanted = np.stack([np.diag(np.exp(x)), np.diag(2 * x)])
    # One-sided formulas have larger constants; a forward one next to a bound steps back.
    assert_close(
        found, wanted, 4 * ERRORS[backend] if backend != "richardson" else 4 * ERRORS["central4"]
    )
    slope = gradlab.jvp(watched, backend, bounds=(0.0, 2.0))(x, np.eye(6)[0])
    assert_close(
        slope,
        wanted[:, :, 0],
        4 * ERRORS[backend] if backend != "richardson" else 4 * ERRORS["central4"],
    )
    gradlab.vjp(watched, backend, bounds=(0.0, 2.0))(x, np.ones((2, 6)))
    assert np.min(seen) >= 0
    assert np.max(seen) <= 2


def test_bounds_are_numbers_or_structures():
    params = {"a": np.array([0.0, 1.0]), "b": 3.0}
    bounds = ({"a": 0.0, "b": -np.inf}, {"a": np.array([1.0, 1.0]), "b": 3.0})

    def f(p):
        assert np.all((p["a"] >= 0) & (p["a"] <= 1) & (p["b"] <= 3))
        return np.append(p["a"] ** 2, p["b"] ** 2)

    found = gradlab.jacobian(f, "central", bounds=bounds)(params)
    assert_close(found["a"], np.array([[0.0, 0.0], [0.0, 2.0], [0.0, 0.0]]), ERRORS["central"])
    assert_close(found["b"], np.array([0.0, 0.0, 6.0]), ERRORS["central"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bounds": (0.0, 1.0)}, r"params\[1\] = 2.0 lies outside its bounds \[0.0, 1.0\]"),
        ({"bounds": 1.0}, "bounds: give a pair"),
        ({"bounds": ({"w": 0.0}, 3.0)}, "bounds has w; the parameters have params"),
        ({"bounds": (np.array([1.0, 2.0]), np.array([1.0, 3.0]))}, "has no room for a step"),
        ({"bounds": (np.nan, 3.0)}, "bounds: nan is not a number"),
        ({"relative_step": 0.0}, "relative_step=0.0: give positive numbers"),
        ({"relative_step": 1e-20}, "relative_step: 1e-20 is lost beside params"),
        ({"relative_step": np.ones(3)}, "relative_step of params has shape"),
        ({"sparsity": np.ones((2, 3))}, r"sparsity has the shape \(2, 3\); expected \(2, 2\)"),
    ],
)
def test_an_option_that_does_not_fit_is_named(options, message):
    with pytest.raises(errors.OptionError, match=message):
        gradlab.jacobian(np.sin, "central", **options)(np.array([1.0, 2.0]))


# Steps


def test_given_steps_are_used_unchanged():
    x = np.array([1.0, 4.0])
    found = gradlab.jacobian(lambda x: x**3, gradlab.CentralDifference(step=0.5))(x)
    assert_close(found, np.diag(3 * x**2 + 0.25), 64 * EPS)  # truncation: h² f'''/6
    steps = gradlab.CentralDifference(step=np.array([0.5, 0.25]))
    found = gradlab.jacobian(lambda x: x**3, steps)(x)
    assert_close(found, np.diag(3 * x**2 + np.array([0.25, 0.0625])), 64 * EPS)
    found = gradlab.jacobian(lambda x: x**3, "central", relative_step=0.125)(x)
    assert_close(found, np.diag(3 * x**2 + (x / 8) ** 2), 64 * EPS)
    found = gradlab.jvp(lambda x: x**3, "central", relative_step=0.125)(x, np.array([0.0, 2.0]))
    assert_close(found, np.array([0.0, 2 * (3 * 16 + 0.25)]), 64 * EPS)


def test_an_absolute_and_a_relative_step_exclude_each_other():
    with pytest.raises(errors.OptionError, match="exclude each other"):
        gradlab.jacobian(np.sin, gradlab.CentralDifference(step=0.5), relative_step=0.1)(1.0)


# Sparsity


def band(x):
    return (x[1:] - x[:-1] ** 2) ** 2


def pattern(n):
    return np.eye(n - 1, n, dtype=bool) | np.eye(n - 1, n, 1, dtype=bool)


@pytest.mark.parametrize(("backend", "points"), [("forward", 1), ("central", 2), ("central4", 4)])
def test_columns_that_share_no_row_are_perturbed_together(backend, points):
    pytest.importorskip("scipy", reason="SciPy is not installed")
    x = np.linspace(-1.0, 1.5, 40)
    wanted = gradlab.jacobian(band)(x)
    groups = len(list(groups_of(pattern(40), 40)))
    assert groups <= 3
    with calls_of(band) as calls:
        found = gradlab.jacobian(band, backend, sparsity=pattern(40))(x)
    assert len(calls) <= groups * points + 3  # at the parameters, and to confirm
    assert_close(found, wanted, ERRORS[backend])
    bounds = (-1.0, 1.5)
    found = gradlab.jacobian(band, backend, sparsity=pattern(40), bounds=bounds)(x)
    assert_close(found, wanted, 4 * ERRORS[backend])


def test_a_sparse_matrix_of_scipy_is_accepted():
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    x = np.linspace(-1.0, 1.5, 12)
    found = gradlab.jacobian(band, "central", sparsity=sparse.csr_matrix(pattern(12)))(x)
    assert_close(found, gradlab.jacobian(band)(x), ERRORS["central"])


def test_a_dependence_outside_the_sparsity_is_detected():
    pytest.importorskip("scipy", reason="SciPy is not installed")
    stray = r"output\[1\] changes with params\[0\](, params\[1\])?; "
    first = np.array([[1, 0], [0, 0]], bool)
    with pytest.raises(errors.LossError, match=stray):
        gradlab.jacobian(lambda x: x * x[0], "central", sparsity=first)(np.array([1.0, 2.0]))
    # Both entries change together, so only the sum of their slopes is measured.
    with pytest.raises(errors.LossError, match=stray):
        gradlab.jacobian(lambda x: x * x[0], "central", sparsity=np.eye(2))(np.array([1.0, 2.0]))


def test_a_sparsity_without_scipy_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize._numdiff", None)
    with pytest.raises(errors.MissingDependencyError, match="sparsity= needs SciPy"):
        gradlab.jacobian(np.sin, "central", sparsity=np.eye(2, dtype=bool))(np.ones(2))


# Functions that a formula does not suit


@pytest.mark.parametrize("backend", NUMERICAL)
def test_outputs_of_very_different_steepness_are_all_right(backend):
    def f(x):
        return np.stack([np.log(x), 1e6 * x, np.sin(1e5 * x), x * 0.0 + 3.0, np.abs(x - 1e-5)])

    x = np.array([1e-5, 0.5])
    found = gradlab.jacobian(f, backend)(x)
    wanted = np.zeros((5, 2, 2))
    for i in range(2):
        wanted[:, i, i] = 1 / x[i], 1e6, 1e5 * np.cos(1e5 * x[i]), 0.0, 0.0 if i == 0 else 1.0
    for k in range(4):
        # Truncation of a forward difference, relative to the slope: h f''/2 = 1.5e-8 / 2e-5.
        assert_close(found[k], wanted[k], 1e-3 if backend == "forward" else 1e-5)
    assert found[4, 1, 1] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("backend", NUMERICAL)
def test_float32_inside_a_function_is_detected(backend):
    def f(x):
        inner = np.float32(1.3) * np.sin(x.astype(np.float32))
        return {"rough": inner.astype(np.float64), "fine": np.exp(x)}

    x = np.array([0.5, 1.5, -0.75])
    found = gradlab.jacobian(f, backend)(x)
    wanted = np.diag(1.3 * np.cos(x))
    order = {"forward": 1, "central": 2, "central4": 4, "richardson": 4}[backend]
    single = float(np.finfo(np.float32).eps)
    assert_close(found["rough"], wanted, 100 * single ** (order / (order + 1)))
    assert_close(found["fine"], np.diag(np.exp(x)), 100 * single ** (order / (order + 1)))


def test_outputs_in_float32_get_their_steps():
    x = np.array([0.5, 1.5])
    found = gradlab.jacobian(lambda x: np.sin(x).astype(np.float32), "central")(x)
    assert_close(found, np.diag(np.cos(x)), 100 * float(np.finfo(np.float32).eps) ** (2 / 3))


@pytest.mark.parametrize("backend", NUMERICAL)
def test_residuals_near_zero_keep_their_digits(backend):
    x = np.array([0.5, 1.5])
    y = np.exp(x) * (1 + 1e-14)
    found = gradlab.jacobian(lambda x: np.exp(x) - y, backend)(x)
    assert_close(found, np.diag(np.exp(x)), ERRORS[backend])


@pytest.mark.parametrize("backend", NUMERICAL)
def test_a_random_function_is_refused(backend):
    rng = np.random.default_rng(0)
    with pytest.raises(errors.LossError, match="not deterministic"):
        gradlab.jacobian(lambda x: x + 1e-3 * rng.normal(size=x.shape), backend)(np.ones(3))


def test_an_output_that_jumps_has_no_slope():
    unresolved = r"the slope of output\[0\] along params.* cannot be resolved"
    with pytest.raises(errors.LossError, match=unresolved):
        gradlab.jacobian(lambda x: np.stack([np.where(x > 1, 1.0, 0.0), x]), "central")(1.0)


def test_the_parameters_are_put_back():
    kept = np.array([1.0, 2.0])

    def f(x):
        kept[:] = x  # a network that keeps its parameters
        return kept**2

    found = gradlab.jacobian(f, "central")(kept)
    np.testing.assert_array_equal(kept, [1.0, 2.0])
    assert_close(found, np.diag([2.0, 4.0]), ERRORS["central"])


def test_a_function_that_changes_its_shape_is_refused():
    with pytest.raises(errors.LossError, match="the outputs have the shapes"):
        gradlab.jacobian(lambda x: np.ones(2 if x[0] > 1 else 3), "central")(np.ones(1))


# Error bars


def test_error_bars_of_many_outputs_hold():
    def f(params):
        return {
            "smooth": np.exp(params["x"]),
            "steep": np.log(params["c"]),
            "single": np.sin(params["x"].astype(np.float32)),
            "kink": np.abs(params["x"] - 0.5),
        }

    params = {"x": np.array([0.5, -1.0]), "c": 1e-6}
    value, error = gradlab.derivative_with_error(f, params)
    diagonals = {
        "smooth": np.exp(params["x"]), "single": np.cos(params["x"]), "kink": np.array([0.0, -1.0])
    }  # fmt: skip
    for name, diagonal in diagonals.items():
        off = np.abs(value[name]["x"] - np.diag(diagonal))
        assert np.all(off <= error[name]["x"])
    assert abs(value["steep"]["c"] - 1e6) <= error["steep"]["c"] <= 1e-3
    assert error["smooth"]["x"].max() < 1e-9
    assert 1e-9 < error["single"]["x"][0, 0] < 1e-2
    assert error["kink"]["x"][0, 0] >= 1.0  # from one side's slope to the other's


def test_error_bars_of_a_loss_are_those_of_one_entry_by_entry():
    x = np.array([0.5, 1.5])
    whole = gradlab.derivative_with_error(lambda x: np.sum(np.exp(x)), x)
    assert whole.value.shape == (2,)
    assert np.all(np.abs(whole.value - np.exp(x)) <= whole.error)


def test_a_slope_along_a_direction_has_error_bars():
    x, v = {"a": np.array([0.5, 1.5]), "b": 2.0}, {"a": np.array([1.0, -1.0]), "b": 0.5}
    value, error = jvp_with_error(lambda p, s: {"y": s * p["a"] * p["b"]}, x, (3.0,), v)
    off = np.abs(value["y"] - 3 * (v["a"] * 2.0 + x["a"] * 0.5))
    assert np.all(off <= error["y"])
    assert np.all(error["y"] < 1e-8)
    value, error = jvp_with_error(np.sin, np.ones(2), (), np.zeros(2))
    np.testing.assert_array_equal([value, error], 0.0)
