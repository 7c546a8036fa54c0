"""The verdict from the values on some rungs, with each bound tested from both sides."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from gradlab.gradients.slopes import Slope, slope
from gradlab.gradients.slopes.jumps import NOISE_RATIO
from gradlab.gradients.slopes.ladder import (
    COARSE_RUNGS,
    FAR_RUNGS,
    QUICK_RUNGS,
    Line,
    Rungs,
    SampledLine,
)
from gradlab.gradients.slopes.verdict import GOOD_ERROR, is_doubtful, predicts_far_rungs

STEPS = [2.0**e for e in (*FAR_RUNGS, *QUICK_RUNGS)]


class Counted:
    """A function of t that counts its evaluations and knows where it was evaluated."""

    def __init__(self, function: Callable[[float], float]) -> None:
        self.function, self.places = function, list[float]()

    def __call__(self, t: float) -> tuple[float, float]:
        self.places.append(abs(t))
        return t, float(self.function(t))


def calls(function: Callable[[float], float], **options: float) -> int:
    line = Counted(function)
    slope(line, **options)  # type: ignore[arg-type]
    return len(line.places)


def beside(far: float, nearer: float) -> Rungs:
    """Return rungs of t whose two coarsest values above 0 are wrong."""
    line: Line = lambda t: (t, t + far * (t == STEPS[0]) + nearer * (t == STEPS[1]))  # noqa: E731
    return SampledLine(line).rungs(STEPS)


def test_a_small_slope_is_exact_if_its_error_is_small_compared_with_slopes_nearby() -> None:
    """The error may also be small compared with the slope, but at a minimum the slope is 0."""
    for nearby, error, is_poor in ((1.0, 1e-7, False), (1.0, 1e-5, True), (1e-9, 1e-7, True)):
        assert is_doubtful(Slope(1e-9, error, "smooth", nearby=nearby)) is is_poor
    assert not is_doubtful(Slope(1.0, GOOD_ERROR / 2, "smooth"))


def test_a_jumping_far_rung_is_not_predicted() -> None:
    """The limit is eight times the noise of a finer rung, whose cubic grows as the step cubed."""
    noise, error = 1e-9, 1e-7
    grown = NOISE_RATIO * noise * (STEPS[1] / STEPS[2]) ** 3
    moved = 2 * error * STEPS[1]
    for share, is_predicted in ((0.9, True), (1.1, False)):
        noisy, vague = Slope(1.0, 0.0, "smooth", noise=noise), Slope(1.0, error, "smooth")
        assert predicts_far_rungs(beside(0.0, share * grown), noisy, None) is is_predicted
        assert predicts_far_rungs(beside(0.0, share * moved), vague, None) is is_predicted


def test_a_far_rung_that_supports_no_claim_is_left_out() -> None:
    """Neither rung may have an error of a quarter of the gap, divided by its step."""
    found = Slope(1.0, 0.0, "smooth")
    for far, nearer, is_off in ((0.9, 0.9, False), (1.1, 0.9, True), (0.9, 1.1, True)):
        rungs = beside(far * 0.25 * STEPS[0], nearer * 0.25 * STEPS[1])
        assert predicts_far_rungs(rungs, found, 2.0) is (not is_off)
        assert not predicts_far_rungs(rungs, found, None)


def test_a_few_rungs_suffice_however_much_the_function_rises() -> None:
    """The function rises by 1 on the coarsest rungs, too; without a rise, more rungs are taken."""
    assert calls(lambda t: 2.0**8 * t) == 14
    assert calls(lambda t: 2.0**10 * t) == 14
    assert calls(lambda t: 1e-9 * t * t) == 14
    assert calls(lambda t: t**3 - 2.0**-16 * t) > 14  # 0 on the coarsest rung


def test_an_error_counts_beside_slopes_nearby_at_a_minimum() -> None:
    """Noise of 1e-9 causes a slope of 0 ± 3e-6, and no slope nearby exceeds 2^-8."""
    assert calls(lambda t: t * t, noise=1e-9) > 30
    assert calls(lambda t: t * t + t, noise=1e-11) == 14


def test_the_middle_of_a_tread_may_lie_beside_the_point() -> None:
    """For x² of rounded x, the bar includes the slope at x, up to w/2 from the middle."""
    width = 1e-3
    for x in np.linspace(0.7, 0.7 + width, 12):
        function = lambda t, x=x: (width * round((x + t) / width)) ** 2  # noqa: E731
        found = slope(lambda t, function=function: (t, function(t)), scale=0.5)  # type: ignore[misc]
        assert abs(found.value - 2 * x) <= found.error < 0.1
        assert found.error > width


# Which rungs are evaluated


def test_noise_of_another_line_counts_where_it_shows() -> None:
    """Then it counts as noise of this line, and coarser rungs are used; else few rungs suffice."""
    rng = np.random.default_rng(0)
    noisy = slope(lambda t: (t, math.exp(t) + 1e-8 * rng.standard_normal()), rounding=2e-8)
    assert noisy.noise >= 2e-8
    assert slope(lambda t: (t, math.exp(t)), rounding=2e-8).noise < 1e-15


def test_few_coarse_rungs_suffice_in_single_precision_but_for_a_claim() -> None:
    """Six rungs: the centre, two points each, four beside them."""

    def single(t: float) -> float:
        return float(np.float32(np.exp(np.float32(t))))

    for claimed, is_quick in ((None, True), (0.5, False)):
        line = Counted(single)
        slope(line, bits=23, effort="wide", claimed=claimed)
        assert (len(line.places) == 3 * len(COARSE_RUNGS) - 1) is is_quick


def test_a_poor_slope_gets_twice_as_many_rungs() -> None:
    rng = np.random.default_rng(0)
    for size, has_more in ((1e-9, False), (1e-2, True)):
        line = Counted(lambda t, size=size: math.exp(t) + size * rng.standard_normal())  # type: ignore[misc]
        slope(line)
        assert (2.0**-11 in line.places) is has_more


@pytest.mark.parametrize("size", [1e-12, 1e-9, 1e-6])
def test_noise_is_not_taken_for_jumps(size: float) -> None:
    rng = np.random.default_rng(0)
    found = slope(lambda t: (t, math.exp(t) + size * rng.standard_normal()), effort="wide")
    assert found.kind == "smooth"
    assert found.rounding == 0
