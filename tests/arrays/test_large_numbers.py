"""Derivatives at very large and very small numbers, against closed forms at many digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from optional import each_backend

import gradlab

EPS = np.finfo(float).eps
DIGITS = 450  # the closed form of sinc at 1e-200 loses 400 of them
NUMBERS = [1e-200, 1e-160, 1e-8, 0.3, 30.0, 1e160, 1e200]
NEAR_1 = [1e-200, 0.3, 1 - 1e-10]
FROM_1 = [1 + 1e-10, 30.0, 1e160, 1e200]

OF_ONE: dict[str, tuple[Any, Callable[[Any], Any], list[float]]] = {
    "reciprocal": (np.reciprocal, lambda x: -1 / x**2, NUMBERS[2:]),
    "arcsinh": (np.arcsinh, lambda x: 1 / mp.sqrt(x**2 + 1), NUMBERS),
    "arccosh": (np.arccosh, lambda x: 1 / mp.sqrt(x**2 - 1), FROM_1),
    "arcsin": (np.arcsin, lambda x: 1 / mp.sqrt(1 - x**2), NEAR_1),
    "arccos": (np.arccos, lambda x: -1 / mp.sqrt(1 - x**2), NEAR_1),
    "arctanh": (np.arctanh, lambda x: 1 / (1 - x**2), NEAR_1),
    "sinc": (
        np.sinc,
        lambda x: (mp.cos(mp.pi * x) - mp.sin(mp.pi * x) / (mp.pi * x)) / x,
        [1e-200, 1e-8, 1e-3, 0.3, 0.318, 0.319, 0.7],
    ),
}

OF_TWO: dict[str, tuple[Any, Callable[[Any, Any], tuple[Any, Any]]]] = {
    "divide": (np.divide, lambda x, y: (1 / y, -x / y**2)),
    "arctan2": (np.arctan2, lambda x, y: (y / (x**2 + y**2), -x / (x**2 + y**2))),
    "hypot": (np.hypot, lambda x, y: (x / mp.hypot(x, y), y / mp.hypot(x, y))),
    "angle": (
        lambda x, y: np.angle(x + 1j * y),
        lambda x, y: (-y / (x**2 + y**2), x / (x**2 + y**2)),
    ),
}


def require_close(found: Any, true: Any) -> None:
    """Compare a result with an mpmath number, which may be too large or too small for a float."""
    true = float(true) if abs(true) <= np.finfo(float).max else np.inf
    if np.isfinite(true):
        # Each derivative takes fewer than ten operations.
        np.testing.assert_allclose(found, true, rtol=20 * EPS, atol=np.finfo(float).tiny)


@each_backend(["autograd", "autograd-forward"])
@pytest.mark.parametrize("name", OF_ONE)
def test_functions_of_one_number(name: str, backend: str) -> None:
    f, slope, points = OF_ONE[name]
    with mp.workdps(DIGITS):
        for x in points:
            require_close(gradlab.grad(f, backend=backend)(x), slope(mp.mpf(x)))


@each_backend(["autograd", "autograd-forward"])
@pytest.mark.parametrize("name", OF_TWO)
def test_functions_of_two_numbers(name: str, backend: str) -> None:
    f, slopes = OF_TWO[name]
    with mp.workdps(DIGITS):
        for x in NUMBERS:
            for y in NUMBERS:
                true = slopes(mp.mpf(x), mp.mpf(y))
                if max(map(abs, true)) > np.finfo(float).max:
                    continue
                found = gradlab.grad(lambda p: f(p[0], p[1]), backend=backend)(np.array([x, y]))
                for one, slope in zip(found, true, strict=True):
                    require_close(one, slope)


@each_backend(["jax", "torch"])
def test_sinc_near_0(backend: str) -> None:
    _, slope, points = OF_ONE["sinc"]
    with mp.workdps(DIGITS):
        for x in points[:3]:
            require_close(gradlab.grad(np.sinc, backend=backend)(x), slope(mp.mpf(x)))


def test_a_sum_of_probabilities_that_are_0() -> None:
    def loss(x: Any) -> Any:
        never = x * 0.5 - np.inf
        return np.logaddexp(np.logaddexp(never[0], never[1]), x[1]) + np.logaddexp2(never[0], x[0])

    np.testing.assert_array_equal(gradlab.grad(loss)(np.array([0.5, 0.25])), [1.0, 1.0])
