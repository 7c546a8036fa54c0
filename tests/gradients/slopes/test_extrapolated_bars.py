"""Extrapolation to step 0: the value, the parts of its error bar, and rungs that may disagree."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.gradients.slopes.extrapolation import (
    NOISE_BOUND,
    extrapolate,
    extrapolate_widening,
    neville,
)
from gradlab.gradients.slopes.result import NO_BAR, Bar, Slope


def test_a_polynomial_is_evaluated_from_its_points() -> None:
    z = np.array([1.0, 2.0, 4.0])
    assert neville(z, z**2 - 3 * z + 1, 0.0) == pytest.approx(1.0)
    assert neville(z, z**2, 3.0) == pytest.approx(9.0)
    assert neville(z[:1], z[:1], 7.0) == 1.0


def test_two_rungs_remove_the_first_error() -> None:
    """From 1 + h² at steps 1 and 1/2: (4 · 1.25 − 2) / 3, with weights 4/3 and 1/3 of the noise."""
    h, noise = np.array([1.0, 0.5]), 1e-6
    bar = extrapolate(h, 1 + h**2, 2, np.full(2, noise), most=3, dissent=0)
    assert bar is not None
    assert bar.value == pytest.approx(1.0)
    carried = NOISE_BOUND * noise * (4 / 3 / 0.5 + 1 / 3 / 1.0)
    assert bar.error == pytest.approx(2 * 0.25 + carried)


def test_one_side_divides_two_errors_by_one_step() -> None:
    h, noise = np.array([1.0, 0.5]), 1e-6
    bar = extrapolate(h, 1 + h, 1, np.full(2, noise), most=3, dissent=0)
    assert bar is not None
    assert bar.value == pytest.approx(1.0)
    carried = 2 * NOISE_BOUND * noise * (2 / 0.5 + 1 / 1.0)
    assert bar.error == pytest.approx(2 * 0.5 + carried)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_as_many_errors_are_removed_as_allowed(most: int) -> None:
    """For 1 + h² + h⁴ + h⁶ + h⁸ at five steps, each order leaves the next power of h."""
    h = 2.0 ** -np.arange(5.0)
    q = 1 + h**2 + h**4 + h**6 + h**8
    bar = extrapolate(h, q, 2, np.zeros(5), most=most, dissent=0)
    assert bar is not None
    assert abs(bar.value - 1) <= bar.error
    assert abs(bar.value - 1) == pytest.approx(np.prod(h[-most - 1 :] ** 2), rel=0.2)


def test_rungs_far_apart_are_not_combined() -> None:
    for ratio, alone in ((20.0, False), (21.0, True)):
        h = np.array([ratio, 1.0])
        assert (extrapolate(h, 1 + h, 1, np.zeros(2), most=1, dissent=0) is None) is alone


def test_one_finer_rung_may_disagree() -> None:
    h, q = 2.0 ** -np.arange(6.0), np.ones(6)
    q[4] = 1.5
    bar = extrapolate_widening(h, q, 2, np.full(6, 1e-9))
    assert bar is not None
    assert bar.value == pytest.approx(1.0)
    assert bar.error < 1e-6


@pytest.mark.parametrize(("excess", "factor"), [(0.5, 1), (3.0, 4), (10.0, 16), (50.0, 64)])
def test_noise_is_assumed_larger_until_it_explains_the_finer_rungs(
    excess: float, factor: int
) -> None:
    """Two rungs far inside differ from two coarse ones by a multiple of their round-off."""
    h, noise = 2.0 ** -np.array([8.0, 10.0, 22.0, 34.0]), np.full(4, 1e-12)
    q = 1 + np.append([0.0, 0.0], excess * NOISE_BOUND * noise[2:] / h[2:])
    assert extrapolate_widening(h, q, 2, noise) == extrapolate(
        h, q, 2, factor * noise, most=3, dissent=1
    )
    assert extrapolate_widening(h, 1 + 100 * (q - 1) / excess, 2, noise) is None


def ripple(coarse: float, fine: float, noise: float, dissent: int) -> Bar | None:
    """Return the bar of three coarse quotients and two fine ones."""
    h, q = 2.0 ** -np.arange(5.0), np.array([coarse] * 3 + [fine] * 2)
    return extrapolate(h, q, 2, np.full(5, noise), most=2, dissent=dissent)


def test_coarse_rungs_that_two_finer_ones_contradict_do_not_count() -> None:
    """They agree on the mean slope of a ripple; the noise of the fine ones is 10 times theirs."""
    for dissent in (0, 1):
        found = ripple(2.0, 1.0, 1e-3, dissent)
        assert found is not None
        assert found.value == pytest.approx(1.0)
    allowed = ripple(2.0, 1.0, 1e-3, 2)
    assert allowed is not None
    assert allowed.value == pytest.approx(2.0)


def test_a_difference_within_the_fine_rungs_noise_is_not_a_contradiction() -> None:
    """3 σ over the finest step, 1/16, is 0.48: it explains 0.4 and not 0.6."""
    for apart, contradicted in ((0.3, False), (0.6, True)):
        h = 2.0 ** -np.arange(5.0)
        q = np.array([2.0, 2.0, 2.0, 2.0, 2.0 - apart])
        bar = extrapolate(h, q, 2, np.array([1e-4] * 4 + [1e-2]), most=1, dissent=0)
        assert (bar is None or bar.error > 0.1) is contradicted


def test_a_slope_has_only_the_evaluated_sides() -> None:
    bare = Slope(1.0, 0.5, "flat")
    assert (bare.noise, bare.curvature, bare.nearby, bare.rounding) == (0.0, 0.0, 0.0, 0.0)
    assert bare.left == bare.right == bare.piece == NO_BAR
    assert bare.doubt == 0.5
    assert bare.range == (0.5, 1.5)
    kink = Slope(1.5, 0.6, "kink", Bar(1.0, 0.1), Bar(2.0, 0.01))
    assert kink.doubt == 0.1
    assert kink.range == (0.9, 2.01)
