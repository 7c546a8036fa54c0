"""Directions through many entries of a loss that jumps: the slope between the jumps decides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradlab

check = gradlab.check_gradients


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))]
)
def test_one_wrong_entry_of_a_loss_with_jumps_is_found(seed: int) -> None:
    """The jumps of 400 entries make the bar larger than the slope, which could hide errors."""
    rng = np.random.default_rng(seed)
    w, x = rng.normal(size=400), 3 * rng.normal(size=400)

    def loss(x: Any) -> Any:
        return np.sum(w * (x - np.floor(x)))

    assert check(loss, x, gradient=w, mode="directional", seed=seed).verdict == "agree"
    wrong = w.copy()
    wrong[137] += 1e-3
    report = check(loss, x, gradient=wrong, mode="directional", seed=seed)
    assert report.verdict == "mismatch"
    assert report.resolution < 1e-3


def test_a_gradient_of_zeros_of_many_rounded_numbers() -> None:
    x = np.random.default_rng(0).normal(size=48)

    def loss(x: Any) -> Any:
        return np.sum(np.round(x, 3))

    for claimed, right in ((np.zeros(48), True), (np.ones(48), True), (np.full(48, 0.5), False)):
        report = check(loss, x, gradient=claimed, mode="directional")
        assert report.verdict == "mismatch" if not right else report.ok


def test_a_zero_jvp_of_many_rounded_numbers() -> None:
    x = np.random.default_rng(0).normal(size=400)
    for factor, right in ((0.0, True), (0.5, False)):
        report = gradlab.check_derivatives(
            lambda x: np.round(x, 3), x, jvp=lambda x, tangent, f=factor: f * tangent
        )
        assert report.ok is right, report
