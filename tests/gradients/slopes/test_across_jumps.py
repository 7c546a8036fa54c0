"""Which jumps belong to a function, which are noise, and when the slope between jumps counts."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from gradlab.gradients.slopes import Slope, slope
from gradlab.gradients.slopes.across_jumps import across_far_jump
from gradlab.gradients.slopes.jumps import Jump
from gradlab.gradients.slopes.ladder import LADDER, SampledLine, steps_of
from gradlab.gradients.slopes.result import NO_BAR, Bar

X = 0.7


def with_jumps(*jumps: tuple[float, float]) -> Slope:
    """Return the slope of t with jumps at places, of heights in units of the change before them."""

    def line(t: float) -> tuple[float, float]:
        beyond = [(p, r) for p, r in jumps if (t > p if p > 0 else t < p)]
        return t, t + sum(ratio * place for place, ratio in beyond)

    return slope(line, effort="thorough")


@pytest.mark.parametrize(
    ("ratios", "is_part"),
    [
        ((0.6,), True),
        ((0.4,), False),
        ((2.1, 2.1), True),
        ((1.9, 1.9), False),
        ((1.9, 3.0), False),
        ((2.1, 2.1, 2.1), True),
        ((2.1, 2.1, 2.1, 2.1), False),
    ],
)
def test_up_to_three_high_jumps_are_part_of_the_function(
    ratios: tuple[float, ...], is_part: bool
) -> None:
    """A single one counts from half of the change before it; several, from twice the change."""
    places = (1e-3, -1e-3, 1.1e-3, -1.1e-3)
    found = with_jumps(*zip(places, ratios, strict=False))
    assert (found.rounding == 0) is is_part
    if is_part:
        assert abs(found.value - 1) <= found.error < 1e-6


def few_bits(bits: int, x: float) -> float:
    """Round to a number of bits after the leading one."""
    mantissa, exponent = math.frexp(x)
    return math.ldexp(round(math.ldexp(mantissa, bits + 1)), exponent - bits - 1)


def piece(function: Callable[[float], float], claimed: float | None, **options: float) -> Bar:
    """Return the slope that is measured between jumps at X."""
    settings = {"scale": 0.5, "finest": 8 * math.ulp(X), **options}
    return slope(
        lambda t: (t, function(X + t)), effort="wide", claimed=claimed, **settings
    ).piece  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "has_piece"), [(5, True), (7, False), (10, False), (14, False), (17, True)]
)
def test_constant_pieces_of_half_precision_support_no_claim(bits: int, has_piece: bool) -> None:
    """Steps of float16 are 2^-10 of a number; those up to 2^-7 and down to 2^-16 count as such."""
    found = piece(lambda x: math.sin(few_bits(bits, x)), 0.0)
    assert (found.error < 1e-3) is has_piece


@pytest.mark.parametrize("factor", [1e4, 1.0, 1e-4])
@pytest.mark.parametrize(
    ("claimed", "has_piece"), [(None, True), (0.0, False), (0.1, False), (0.9, True)]
)
def test_half_precision_matters_to_claims_near_the_slope_between_steps(
    claimed: float | None, has_piece: bool, factor: float
) -> None:
    """This slope is 0; a claim is near up to half of the slope across steps, 0.76 here."""
    claim = None if claimed is None else factor * claimed
    found = piece(lambda x: factor * math.sin(few_bits(10, x)), claim)
    assert (found != NO_BAR) is has_piece


def test_half_precision_shows_at_few_and_small_steps() -> None:
    """The parameters are in float32, or of the order of a thousandth."""
    assert piece(lambda x: math.sin(few_bits(10, x)), 0.0, finest=2.0**-20) == NO_BAR
    scale = 2.0**-10

    def line(t: float) -> tuple[float, float]:
        return t, few_bits(10, scale * X + t)

    assert slope(line, scale=scale / 2, effort="wide", claimed=0.0).piece == NO_BAR


def test_other_pieces_support_claims() -> None:
    """Examples are rounding to a grid, and a slope between the jumps that is not 0."""
    fixed = piece(lambda x: math.sin(round(x, 3)), 0.0)
    assert fixed.value == 0
    assert fixed.error < 1e-6
    sloped = piece(lambda x: math.sin(x) + 5e-4 * math.floor(x / 5e-4 + 0.3), 0.5)
    assert abs(sloped.value - math.cos(X)) <= sloped.error


def test_the_height_of_a_far_jump_is_noise() -> None:
    """Half of the height is noise; the slope near the point becomes the slope of the piece."""
    found = Slope(1.0, 1e-9, "smooth")
    for function, is_smooth in ((math.sin, True), (abs, False)):
        probe = SampledLine(lambda t, function=function: (t, function(t)))  # type: ignore[misc]
        rungs = probe.rungs(steps_of(LADDER, 1.0, 0.0, 52))
        across = across_far_jump(Jump(0.2, -2e-7), rungs, found, probe)
        if is_smooth:
            assert across.rounding == 1e-7
            assert across.piece == Bar(1.0, 1e-9)
            assert abs(across.value - 1) <= across.error < 1e-4
        else:
            assert across is found  # jumps explain no kink


def test_a_claim_starts_no_search_among_noise() -> None:
    """Errors of 1e-9 on all values are no jumps, although they exceed the round-off."""
    rng = np.random.default_rng(0)
    found = slope(lambda t: (t, math.sin(X + t) + 1e-9 * rng.standard_normal()), effort="wide")
    assert found.kind == "smooth"
    assert found.rounding == 0
