"""Verdicts on losses that jump, have ties, or hardly change."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import gradlab

check = gradlab.check_gradients
W = np.array([0.37, 1.3, 2.2])


# Ties


def windows(x: Any) -> Any:
    """Return all windows of 2 x 2, flattened."""
    return np.stack([x[i : i + 3, j : j + 3] for i in (0, 1) for j in (0, 1)], -1)


def pooled(x: Any, above: Any) -> Any:
    return np.sum(windows(x).max(-1) * above)


def gradient_of_pooled(x: Any, above: Any, last: bool = False) -> Any:
    """Assign the whole gradient to the first (or last) of the largest entries."""
    at = windows(x).argmax(-1)
    if last:
        at = 3 - windows(x)[..., ::-1].argmax(-1)
    found = np.zeros_like(x)
    for i, j in np.ndindex(at.shape):
        found[i + at[i, j] // 2, j + at[i, j] % 2] += above[i, j]
    return found


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2))])
def test_max_pooling_of_the_zeros_of_a_relu(seed: int) -> None:
    """The gradient of the first of equal entries is valid; half of it is not."""
    rng = np.random.default_rng(seed)
    x, above = np.maximum(rng.normal(size=(4, 4)) - 0.5, 0), rng.normal(size=(3, 3))
    for last in (False, True):
        right = gradient_of_pooled(x, above, last)
        assert check(pooled, x, above, gradient=right).verdict == "kink"
    assert check(pooled, x, above, gradient=right / 2).verdict == "mismatch"
    right[np.unravel_index(np.argmax(x), x.shape)] += 0.5
    assert check(pooled, x, above, gradient=right).verdict == "mismatch"


# Jumps


@pytest.mark.parametrize(
    ("function", "x"), [(np.floor, [0.3, 10.4, 3000.3]), (np.round, [300.4, -12.7, 1e4 + 0.3])]
)
def test_constant_pieces(function: Any, x: list[float]) -> None:
    """Zero is their gradient, for any weights; an error in another entry is not excused."""
    y = np.array([0.3, 0.8])
    params = {"x": np.array(x), "y": y}

    def loss(p: Any) -> Any:
        return np.sum(W * function(p["x"])) + np.sum(np.sin(p["y"]))

    zero = np.zeros(3)
    assert check(loss, params, gradient={"x": zero, "y": np.cos(y)}).ok
    wrong = check(loss, params, gradient={"x": zero, "y": 1.1 * np.cos(y)})
    assert {entry.name for entry in wrong.mismatches} == {"y[0]", "y[1]"}
    assert check(loss, params, gradient={"x": 3 * W, "y": np.cos(y)}).verdict == "mismatch"


def test_rounded_numbers_have_the_slope_between_jumps_or_across() -> None:
    x = np.array([0.7123, 7.1234, 71.2343])

    def loss(x: Any) -> Any:
        return np.sum(np.round(x, 3))

    between, across = check(loss, x, gradient=np.zeros(3)), check(loss, x, gradient=np.ones(3))
    assert between.verdict == "kink"
    assert "0 between jumps of the loss" in between.entries[0].note
    assert across.verdict == "agree"
    for claimed in (2 * np.ones(3), np.array([0.0, 1.0, 1.0])):
        assert check(loss, x, gradient=claimed).verdict == "mismatch"


@pytest.mark.parametrize("seed", range(6))
def test_the_steps_of_single_precision_are_not_pieces(seed: int) -> None:
    """A gradient of zeros is the slope of each step, but wrong."""
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((2, 3))
    for rounded in (
        lambda x: np.sin(x.astype(np.float32)).astype(np.float64),
        lambda x: np.tanh(x).astype(np.float32).astype(np.float64),
        lambda x: x.astype(np.float32).astype(np.float64),
    ):
        report = check(lambda x, f=rounded: np.sum(f(x) * w), x, gradient=np.zeros(3))
        assert report.verdict == "mismatch"


@pytest.mark.parametrize("seed", range(2))
def test_the_steps_of_half_precision_are_not_pieces(seed: int) -> None:
    """The steps of float16 grow with the numbers, unlike those of values rounded to decimals."""
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((2, 3))
    for rounded in (lambda x: x.astype(np.float16), lambda x: np.tanh(x).astype(np.float16)):
        report = check(
            lambda x, f=rounded: np.sum(f(x).astype(np.float64) * w), x, gradient=np.zeros(3)
        )
        assert report.verdict == "mismatch"
    assert check(lambda x: np.sum(np.round(np.sin(x), 3) * w), x, gradient=np.zeros(3)).ok


def test_flat_with_a_jump_farther_off() -> None:
    x = np.array([0.3, 0.7, 0.89])

    def loss(x: Any) -> Any:
        return 3.7 * np.sum(x > 0.9)

    assert check(loss, x, gradient=np.zeros(3)).verdict == "agree"
    assert check(loss, x, gradient=np.ones(3)).verdict == "mismatch"


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_the_slope_across_the_jumps_of_a_solver(tolerance: float) -> None:
    def loss(a: Any) -> Any:
        x = 0.5
        while abs(math.cos(a * x) - x) >= tolerance:
            x = math.cos(a * x)
        return math.cos(a * x)

    x = 0.5
    for _ in range(1000):
        x = math.cos(0.9 * x)
    slope = -x * math.sin(0.9 * x) / (1 + 0.9 * math.sin(0.9 * x))
    assert check(loss, 0.9, gradient=np.array(slope)).verdict == "agree"
    assert check(loss, 0.9, gradient=np.array(1.5 * slope)).verdict == "mismatch"
    value, error = gradlab.derivative_with_error(loss, 0.9)
    assert abs(value - slope) <= error < 0.2 * abs(slope)


# Hardly any change


def test_rounding_of_a_gradient_that_is_zero() -> None:
    """The loss is 0 at all points, and its slope 0 ± 1e-307; rounding errors are not a mistake."""

    def loss(x: Any) -> Any:
        return np.maximum(0, np.sum(x) - 50)

    x = np.array([0.3, 0.7])
    assert check(loss, x, gradient=np.array([-1e-13, 1e-14])).verdict == "agree"
    assert check(loss, x, gradient=np.array([-1e-3, 1e-14])).verdict == "mismatch"


@pytest.mark.parametrize("tiny", [1e-8, 1e-12, 1e-16])
def test_a_tiny_leaf_beside_a_loss_of_order_one(tiny: float) -> None:
    def loss(p: Any) -> Any:
        return 1 + np.sin(p["a"]) + np.cos(p["b"])

    params = {"a": tiny, "b": 0.7}
    right = check(loss, params, gradient={"a": np.cos(tiny), "b": -np.sin(0.7)})
    assert right.verdict == "agree"
    assert right.entries[0].tolerance < 1e-9
    assert check(loss, params, gradient={"a": 1 + 1e-6, "b": -np.sin(0.7)}).verdict == "mismatch"


# Single precision


@pytest.mark.parametrize("returned", [np.float32, np.float64])
def test_losses_in_float32_take_about_30_evaluations(returned: Any) -> None:
    rng = np.random.default_rng(0)
    params = {"W": rng.normal(size=(5, 6)), "b": rng.normal(size=6)}
    x = rng.normal(size=(20, 5))

    def loss(p: Any, x: Any, dtype: Any = np.float32) -> Any:
        hidden = np.tanh(x.astype(dtype) @ p["W"].astype(dtype) + p["b"].astype(dtype))
        return returned(np.mean(hidden**2))

    exact = gradlab.grad(lambda p, x: np.mean(np.tanh(x @ p["W"] + p["b"]) ** 2))(params, x)
    report = check(loss, params, x, gradient=exact)
    assert report.verdict == "agree"
    assert report.evaluations <= 35 * report.size
    assert report.resolution < 5e-3
    wrong = exact | {"b": 1.05 * exact["b"]}
    assert {leaf.path for leaf in check(loss, params, x, gradient=wrong).leaves
            if leaf.verdict == "mismatch"} == {"b"}  # fmt: skip


@pytest.mark.parametrize("x", [1.92126795, 1.08478516, -3.79626441, 0.12397794])
def test_a_gradient_without_a_fine_ripple_is_wrong(x: float) -> None:
    """The ripple changes within an interval in which a jump of a solver is searched."""

    def rippled(x: Any) -> float:
        return float(np.sum(x**2 + 1e-8 * np.sin(1e5 * x)))

    at = np.array([x])
    assert not gradlab.check_gradients(rippled, at, gradient=lambda x: 2 * x).ok
    whole = gradlab.check_gradients(rippled, at, gradient=lambda x: 2 * x + 1e-3 * np.cos(1e5 * x))
    assert whole.ok
