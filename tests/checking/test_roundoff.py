"""What the round-off of a gradient's dtype excuses, and what it does not: the law in `analytic`.

A gradient of float32 with the unit round-off ε is given to losses whose slopes are exact in
float64, so that its round-off alone decides. Each claim lies just within the law or just beyond it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradlab
from gradlab.checking import GradientReport

EPS = 2.0**-23


def check(loss: Any, x: Any, claimed: Any, **options: Any) -> GradientReport:
    gradient = np.asarray(claimed, np.float32)
    assert (gradient == np.asarray(claimed)).all()
    return gradlab.check_gradients(loss, np.asarray(x, float), gradient=gradient, **options)


@pytest.mark.parametrize(("units", "verdict"), [(11, "agree"), (14, "mismatch")])
@pytest.mark.parametrize("sign", [1, -1])
def test_twelve_units_of_an_entry(sign: int, units: int, verdict: str) -> None:
    """4 units for the last operations, and 8 for sums in the leaf, whose largest entry it is."""
    report = check(lambda x: sign * x[0], [1.0], [sign * (1 + units * EPS)])
    assert report.verdict == verdict


@pytest.mark.parametrize(("units", "verdict"), [(7, "agree"), (9, "mismatch")])
def test_eight_units_of_the_largest_entry(units: int, verdict: str) -> None:
    small = 2.0**-10
    report = check(lambda x: x[0] + small * x[1], [1.0, 1.0], [1.0, small + units * EPS])
    assert report.verdict == verdict


def test_less_of_an_entry_of_a_large_parameter() -> None:
    """The gradient of a large parameter is small, and so are the terms of its sum."""
    small = 2.0**-10
    report = check(lambda x: x[0] + small * x[1], [1.0, 1 / small], [1.0, small + EPS])
    assert [entry.index for entry in report.mismatches] == [(1,)]


@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize(("units", "verdict"), [(7, "agree"), (9, "mismatch")])
def test_eight_units_of_the_curvature(scale: float, units: int, verdict: str) -> None:
    """If the slope is 0, rounded parameters make it as large as ε |f''| |x|."""
    report = check(lambda x: np.sum((x - scale) ** 2) / 2, [scale], [units * EPS * scale])
    assert report.verdict == verdict


# Along directions


def line(x: Any) -> Any:
    return np.sum(x)


@pytest.mark.parametrize("seed", range(3))
def test_independent_roundings_along_directions_are_accepted(seed: int) -> None:
    signs = np.random.default_rng(seed).choice([-11, 11], 2000)
    report = check(line, np.ones(2000), 1 + EPS * signs, seed=seed)
    assert (report.mode, report.verdict) == ("directional", "agree")


@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_entry_beside_the_roundings_of_thousands(seed: int) -> None:
    """2,000 entries round by 24 √2000 ε = 1,100 ε in all; the wrong entry is off by 4,000 ε."""
    claimed = np.ones(2000)
    claimed[777] += 4000 * EPS
    report = check(line, np.ones(2000), claimed, seed=seed)
    assert [entry.index for entry in report.mismatches] == [(777,)]


@pytest.mark.parametrize("seed", range(3))
def test_one_wrong_entry_beside_the_curvature_of_thousands(seed: int) -> None:
    """Curvature explains at most 8 · 2000 · 1000 ε = 1.9; the wrong entry is off by 4."""
    claimed = np.ones(2000)
    claimed[777] = 5.0
    report = check(lambda x: np.sum(x + 500 * (x - 1) ** 2), np.ones(2000), claimed, seed=seed)
    assert [entry.index for entry in report.mismatches] == [(777,)]


def test_a_fault_that_neither_half_shows_is_still_a_fault() -> None:
    """In float32, all entries together are wrong, but neither half is wrong beyond its error."""
    x = np.random.default_rng(0).uniform(0.5, 1.0, 2000)
    report = gradlab.check_gradients(
        lambda x: np.float32(np.sum(np.sin(x))), x, gradient=np.cos(x) * 1.0006
    )
    assert report.verdict == "mismatch"
    assert report.notes == ("params is wrong, by too little in each entry to name one",)


# At kinks


@pytest.mark.parametrize(("units", "verdict"), [(200, "kink"), (300, "mismatch")])
def test_slightly_beyond_the_slope_of_a_side(units: int, verdict: str) -> None:
    """The limits are 8 · 2^-18 and 256 units, because slopes of points this close count, too."""
    assert check(lambda x: max(x[0], 0.0), [0.0], [1 + units * EPS]).verdict == verdict


@pytest.mark.parametrize(("units", "verdict"), [(8, "kink"), (75, "mismatch")])
def test_the_roundings_of_a_tie_add_up(units: int, verdict: str) -> None:
    """Parts of 1/4 and 3/4 of a tie add up to 16 ε."""
    report = check(lambda x: max(x[0], x[1]), [1.0, 1.0], [0.25, 0.75 + units * EPS])
    assert report.verdict == verdict


@pytest.mark.parametrize(("claimed", "verdict"), [(0.0, "kink"), (2 + 2.0**-10, "mismatch")])
def test_beyond_all_slopes_nearby(claimed: float, verdict: str) -> None:
    """The slope along b is 2 at 0, and between 0 and 2 nearby."""

    def loss(x: Any) -> Any:
        return max(x[0] + x[1], 0.0) - max(x[0] - x[1], 0.0) + x[1] / 2 - x[1] / 2

    assert check(loss, [0.0, 0.0], [0.0, claimed]).verdict == verdict
