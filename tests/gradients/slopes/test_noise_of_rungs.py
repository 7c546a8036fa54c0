"""The noise that rungs show, the ladder of the rungs, and the jumps between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gradlab.gradients.slopes.jumps import Jump, Model, _search, first_jump, misses, stairs
from gradlab.gradients.slopes.ladder import (
    FLOAT64_BITS,
    THIRD_POINT,
    Rungs,
    SampledLine,
    steps_of,
    unchanged,
)
from gradlab.gradients.slopes.roughness import assumed_noise, floor_of, noise_of, side_noise

STEPS = [2.0**-e for e in (2, 4, 6, 8, 10, 12)]


def rungs(function: Callable[[float], float], steps: list[float] = STEPS) -> Rungs:
    return SampledLine(lambda t: (t, function(t))).rungs(steps)


def root_mean_square(values: Any) -> float:
    return float(np.sqrt(np.nanmean(np.square(values))))


# The ladder


def test_exponents_are_scaled_to_the_bits_of_the_values() -> None:
    assert steps_of((-2, -4, 2), 1.0, 0.0, FLOAT64_BITS) == [4.0, 0.25, 0.0625]
    assert steps_of((-2, -4, 2), 1.0, 0.0, FLOAT64_BITS // 2) == [4.0, 0.5, 0.25]
    assert steps_of((-2, -4, -5), 8.0, 0.5, FLOAT64_BITS) == [2.0, 0.5]
    assert steps_of((-1, -2), 1.0, 0.0, FLOAT64_BITS // 4) == [1.0]  # both are the same step then


def test_a_rung_has_two_points_and_one_beside_them() -> None:
    """The third is on alternating sides; the two coarsest rungs have none, as nothing needs it."""
    asked: list[float] = []

    def line(t: float) -> tuple[float, float]:
        asked.append(t)
        return t, 3 * t + t * t

    found = SampledLine(line).rungs([1.0, 0.5, 0.25, 0.125])
    assert np.isnan(found.third[:2]).all()
    assert found.third[2:].tolist() == [-THIRD_POINT * 0.25, THIRD_POINT * 0.125]
    assert len(asked) == 1 + 8 + 2
    np.testing.assert_allclose(found.central, 3.0)
    np.testing.assert_allclose(found.right, 3 + found.h)
    np.testing.assert_allclose(found.left, 3 - found.h)
    np.testing.assert_allclose(found.even, 2 * found.h**2)
    np.testing.assert_allclose(found.rise, 3 * found.h + found.h**2)
    assert found.largest == 4.0
    assert found[np.array([False, True, False, False])].h.tolist() == [0.5]


def test_a_point_is_evaluated_once() -> None:
    asked: list[float] = []
    probe = SampledLine(lambda t: (asked.append(t), (t, t))[1])
    probe.rungs([1.0, 0.5])
    probe.rungs([0.5, 0.25])
    assert sorted(asked) == sorted(set(asked))


def test_a_rung_is_unchanged_if_both_its_values_are() -> None:
    found = rungs(lambda t: max(t - 0.1, 0.0) + min(t + 0.3, 0.0), [1.0, 0.25, 0.0625])
    assert unchanged(found).tolist() == [False, False, True]
    assert unchanged(rungs(lambda t: min(t + 0.3, 0.0), [1.0, 0.25])).tolist() == [False, True]


# The noise


def draws(count: int, missing: str = "") -> list[Any]:
    """Return the noise that rungs of independent unit normal errors show, one number per run."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        noisy = rungs(lambda t: float(rng.standard_normal()))
        if missing:
            noisy = replace(noisy, **{missing: np.full(len(STEPS), np.nan)})
        found.append(noise_of(noisy))
    return found


def test_the_noise_of_independent_errors_is_their_standard_deviation() -> None:
    """The even part alone gives it within a tenth, because coarser rungs have little weight.

    The larger of two estimates, each of which has this root mean square, lies between one and √2
    times it. The means of 400 draws, of four rungs each, scatter by two percent.
    """
    assert 0.95 < root_mean_square(draws(400, missing="third_value")) < 1.1
    assert 1.1 < root_mean_square(draws(400)) < 1.45


def test_the_noise_of_one_side_is_that_of_an_evaluation() -> None:
    rng = np.random.default_rng(0)
    h = np.array(STEPS)
    found = [
        side_noise(h, (rng.standard_normal(6) - rng.standard_normal(6)) / h) for _ in range(2000)
    ]
    assert 0.95 < root_mean_square(found) < 1.1
    assert np.isnan(np.array(found)[:, :3]).all()


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_polynomial_has_no_noise(power: int) -> None:
    """The bound is the round-off of values of order one."""
    found = noise_of(rungs(lambda t: 1 + t + t**power))
    assert np.isnan(found[:2]).all()
    assert (found[2:] <= 8 * 2.0**-53).all()


def test_a_quartic_is_predicted_from_three_coarser_rungs() -> None:
    """Its even part is h² (a + b h²), which two rungs determine."""
    even = replace(rungs(lambda t: t**2 + t**4), third_value=np.full(len(STEPS), np.nan))
    found = noise_of(even)
    assert found[2] <= 2.0**-52
    odd = replace(rungs(lambda t: t**2 + t**8), third_value=np.full(len(STEPS), np.nan))
    assert noise_of(odd)[2] > 1e-9


def test_a_rung_is_credited_with_the_noise_of_finer_ones() -> None:
    """The four finest also get the noise of their two coarser neighbours."""
    noise = np.array([8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert assumed_noise(noise, 0.0).tolist() == [7.0, 6.0, 5.0, 4.0, 6.0, 5.0, 4.0, 3.0]
    assert assumed_noise(noise, 4.5).tolist() == [7.0, 6.0, 5.0, 4.5, 6.0, 5.0, 4.5, 4.5]
    assert assumed_noise(np.array([np.nan, np.nan, 2.0]), 1.0).tolist() == [2.0, 2.0, 2.0]


def test_the_least_noise_is_half_a_unit_of_the_largest_value_close_by() -> None:
    found = rungs(lambda t: 3.0 + 1000 * t)  # 253 at the coarsest rung, 18.6 at the fourth
    largest = 3.0 + 1000 * STEPS[3]
    assert floor_of(found, 52, 0.0) == largest * 2.0**-53
    assert floor_of(found, 23, 0.0) == largest * 2.0**-24
    assert floor_of(found, 52, 0.5) == 0.5
    assert floor_of(rungs(lambda t: 0.0), 52, 0.0) == np.finfo(float).tiny
    assert floor_of(rungs(lambda t: -3.0 + t), 52, 0.0) == (3.0 + STEPS[3]) * 2.0**-53


# Jumps


def test_a_model_takes_the_terms_that_stand_out_from_the_noise() -> None:
    """The even part of a rung is 2 b h², its odd part c h³: each eight times the noise or more."""
    found = rungs(lambda t: 1 + 2 * t + 3 * t**2 + 5 * t**3)
    h = STEPS[3]
    exact = Model.of(found, 3, 2.0, 0.0)
    assert (exact.centre, exact.slope) == (1.0, 2.0)
    assert exact.bend == pytest.approx(3.0)
    assert exact.cubic == pytest.approx(5.0)
    assert exact.deviation(0.5, 10.0) == pytest.approx(10 - (1 + 1 + 0.75 + 0.625))
    bend, cubic = 6 * h**2, 5 * h**3
    for share, seen in ((7.0, False), (9.0, True)):
        assert bool(Model.of(found, 3, 2.0, bend / share).bend) is seen
        assert bool(Model.of(found, 3, 2.0, cubic / share).cubic) is seen
    assert set(misses(found, 0, exact)) == {1, -1}
    assert max(misses(found, 0, exact).values()) < 1e-12


@pytest.mark.parametrize(("place", "height"), [(0.1, 1.0), (0.1, -2.0), (-0.2, 0.5)])
def test_a_jump_can_be_subtracted(place: float, height: float) -> None:
    def function(t: float) -> float:
        return t + height * (t >= place if place > 0 else t <= place)

    jump, found = Jump(place, height), rungs(function)
    np.testing.assert_allclose(jump.taken_out(found).central, 1.0, atol=1e-12)
    np.testing.assert_allclose(jump.taken_out(found).third_value, found.third, atol=1e-12)
    line = jump.taken_off(lambda t: (t, function(t)))
    for t in (-0.3, -0.2, 0.0, 0.1, 0.3):
        assert line(t) == (t, pytest.approx(t))
    searched = first_jump(found, lambda t: (t, function(t)), 1.0, 0.0, 1e-15)
    assert searched is not None
    assert searched.height == pytest.approx(height, rel=1e-6)
    # Between two rungs, halved 25 times.
    assert abs(searched.place - place) <= 0.25 * 2.0**-25


def test_a_search_ends_early_where_the_function_is_continuous() -> None:
    """After nine halvings, its change is below 1/64; a jump takes all twenty-five."""
    for height, evaluations in ((0.0, 2 + 9), (1.0, 2 + 25)):
        asked: list[float] = []

        def line(
            t: float, height: float = height, asked: list[float] = asked
        ) -> tuple[float, float]:
            asked.append(t)
            return t, t - 0.375 + height * (t > 0.3)

        found = _search(line, Model(0.0, 0.0, 0.0, 0.0), 0.25, 0.5)
        assert len(asked) == evaluations
        assert abs(found.height) == pytest.approx(height, abs=0.25 / 2**9)


@pytest.mark.parametrize(("height", "seen"), [(600, False), (1800, True)])
def test_a_jump_exceeds_the_growth_of_a_smooth_error(height: float, seen: bool) -> None:
    """From one rung to the next, the error of a cubic grows by 4⁴; four times that is a jump.

    The error of the finer rung is at least the noise; added to it is eight times the noise of the
    model, over four times the step: 4 · 4⁴ + 8 · 4 = 1056.
    """
    noise = 1e-9

    def function(t: float) -> float:
        return t + height * noise * (t > 0.1)

    found = first_jump(rungs(function), lambda t: (t, function(t)), 1.0, 0.0, noise)
    assert (found is not None) is seen


@pytest.mark.parametrize("function", [np.exp, np.sin, lambda t: 1 / (1 + 30 * t * t)])
def test_a_smooth_function_has_no_jump(function: Callable[[float], float]) -> None:
    """The error of a cubic grows as h⁴, however large it is."""
    found = rungs(function)
    slope = float(found.central[-1])
    assert first_jump(found, lambda t: (t, float(function(t))), slope, 1e-6, 1e-15) is None


def test_a_staircase_has_the_noise_of_its_rounding() -> None:
    """Treads of 0.1 have errors up to half a step, with a standard deviation of 0.3 steps."""
    probe = SampledLine(lambda t: (t, float(np.round(10 * (t + 0.02)) / 10)))
    found = probe.rungs(STEPS)
    noise, tread = stairs(found, 1e-16, probe)
    assert noise == pytest.approx(0.3 * 0.1)
    assert tread.tolist() == [False, False, True, True, True, True]
    to_the_left = SampledLine(lambda t: (t, min(probe(t)[1], 0.0) if t > -0.3 else np.nan))
    assert stairs(to_the_left.rungs(STEPS), 1e-16, to_the_left)[0] == pytest.approx(0.3 * 0.2)
    for function in (lambda t: 0.0, lambda t: t, lambda t: max(t - 0.1, 0.0)):
        smooth = SampledLine(lambda t, function=function: (t, function(t)))  # type: ignore[misc]
        noise, tread = stairs(smooth.rungs(STEPS), 1e-16, smooth)
        assert noise == 0.0
        assert not tread.any()
