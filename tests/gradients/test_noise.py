"""The noise of equally spaced values: estimates from differences, and spacings that agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.gradients.noise import POINTS_PER_SPACING, SPACINGS, _agreed, noise_of, relative_noise


def test_the_noise_of_independent_errors_is_at_most_their_standard_deviation() -> None:
    """The least of five unbiased estimates is about two thirds of it."""
    rng = np.random.default_rng(0)
    found = [noise_of(rng.standard_normal(POINTS_PER_SPACING)) for _ in range(1000)]
    assert 0.5 < np.mean(found) < 0.8
    assert (
        1.5
        < np.mean([noise_of(3 * rng.standard_normal(POINTS_PER_SPACING)) for _ in range(1000)])
        < 2.4
    )


@pytest.mark.parametrize("power", [1, 2, 3, 4, 5])
def test_a_polynomial_has_no_noise(power: int) -> None:
    assert (
        noise_of(np.arange(float(POINTS_PER_SPACING)) ** power) <= 1e-12 * POINTS_PER_SPACING**power
    )


def test_a_kink_shows_in_two_third_differences_and_not_in_their_median() -> None:
    assert noise_of(np.maximum(np.arange(float(POINTS_PER_SPACING)) - 4, 0.0)) == 0.0


def test_estimates_that_three_of_four_spacings_share_are_noise() -> None:
    """The estimates agree within a factor of four; the largest one counts."""
    assert _agreed([(1.0, 0.0)] * 2) == 0.0
    assert _agreed([(1.0, 0.0), (2.0, 0.0), (3.9, 0.0)]) == 3.9
    assert _agreed([(1.0, 0.0), (2.0, 0.0), (4.1, 0.0)]) == 0.0
    assert _agreed([(1.0, 0.0), (2.0, 0.0), (3.0, 0.0), (100.0, 0.0)]) == 3.0
    assert _agreed([(0.01, 0.0), (2.0, 0.0), (3.0, 0.0), (4.0, 0.0)]) == 4.0
    # A fifth spacing is too far away to count.
    assert _agreed([(1.0, 0.0), (2.0, 0.0), (50.0, 0.0), (900.0, 0.0), (1.5, 0.0)]) == 0.0


def test_ripples_are_smooth_and_curved_over_a_small_spacing() -> None:
    """Over it, the noise is a 64th, and second differences are a 1024th of it."""
    wide = [(1.0, 1.0)] * 3
    assert _agreed([(1 / 65, 1 / 1000), *wide]) == 0.0
    assert _agreed([(1 / 63, 1 / 1000), *wide]) == 1.0
    assert _agreed([(1 / 65, 1 / 1050), *wide]) == 1.0


def in_float32(t: float) -> float:
    return float(np.float32(np.exp(0.7 * t)))


@pytest.mark.parametrize(
    ("line", "low", "high"),
    [
        (np.exp, 0.0, 2e-16), (in_float32, 1e-8, 2e-7),
        (lambda t: float(np.float16(np.exp(0.7 * t))), 1e-4, 1e-3),
        (lambda t: 100 * in_float32(t), 1e-8, 2e-7),
        (lambda t: abs(t - 1e-3), 0.0, 2e-16),
        (lambda t: 1 + 1e-3 * np.sin(3000 * t), 0.0, 1e-12),
        (lambda t: 0.0, 0.0, 0.0),
    ],
)  # fmt: skip
def test_the_relative_noise_of_a_function(line: Any, low: float, high: float) -> None:
    assert low <= relative_noise(line, float(line(0.0))) <= high


def test_a_confirmed_noise_ends_the_search() -> None:
    """Three spacings that agree suffice; all values are new, except for the centre's."""
    asked: list[float] = []

    def noisy(t: float) -> float:
        asked.append(t)
        return in_float32(t)

    relative_noise(noisy, 1.0, enough=1e-9)
    some = len(asked)
    asked.clear()
    relative_noise(noisy, 1.0)
    assert some < len(asked) == len(SPACINGS) * (POINTS_PER_SPACING - 1)
    assert some >= 3 * (POINTS_PER_SPACING - 1)
    assert min(asked) == SPACINGS[0]
    assert max(asked) == SPACINGS[-1] * (POINTS_PER_SPACING - 1)
