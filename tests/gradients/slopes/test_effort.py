"""The number of points for a slope, when few points suffice, and which jumps show a piece."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gradlab.gradients.slopes import Slope, slope
from gradlab.gradients.slopes.result import NO_BAR


class Counted:
    """A function around a point that counts its evaluations."""

    def __init__(self, function: Callable[[Any], Any], x: float) -> None:
        self.function, self.x, self.calls = function, x, 0

    def __call__(self, t: float) -> tuple[float, float]:
        self.calls += 1
        return t, float(self.function(self.x + t))


def looked(function: Callable[[Any], Any], x: float, **options: Any) -> tuple[int, Slope]:
    line = Counted(function, x)
    settings: dict[str, Any] = {"scale": 2.0 ** math.floor(math.log2(abs(x)))}
    settings |= {"finest": 8 * math.ulp(x)} | options
    found = slope(line, **settings)
    return line.calls, found


@pytest.mark.parametrize(("effort", "calls"), [("usual", 14), ("thorough", 56)])
def test_a_smooth_function_takes_few_points(effort: str, calls: int) -> None:
    """The short ladder has five rungs: two points each, three next to them, and the centre."""
    assert looked(np.exp, 0.75, effort=effort)[0] == calls


@pytest.mark.parametrize(("noise", "glance"), [(1e-12, True), (1e-10, True), (1e-9, False)])
def test_a_short_ladder_suffices_for_a_millionth_of_the_slope(noise: float, glance: bool) -> None:
    """Over steps of 1/1024, noise of 1e-10 causes an error of 5e-7, and 1e-9 one of 4e-6."""
    calls, found = looked(np.exp, 0.75, noise=noise, scale=0.5)
    assert (calls == 14) is glance
    assert found.error < 1e-6 * found.value


@pytest.mark.parametrize(("exponent", "coarse"), [(0, True), (12, True), (13, False)])
def test_a_coarse_short_ladder_suffices_for_a_hundredth_of_the_slope(
    exponent: int, coarse: bool
) -> None:
    """An entry of 2^-k beside 1 in float32: noise of 2^-25 over steps of a quarter of its size.

    Where that is more than a hundredth of the slope, steps of the leaf's size are taken.
    """
    x = 2.0**-exponent
    calls, found = looked(lambda x: np.float32(1 + np.float32(x)), x, reach=1.0, bits=23)
    assert (calls == 17) is coarse
    assert abs(found.value - 1) <= found.error
    assert found.error < (1e-2 if coarse else 1e-4)


@pytest.mark.parametrize(
    ("width", "piece"),
    [(5e-4, True), (5e-6, True), (1.2e-6, False), (5e-9, False), (2e-9, False), (5e-10, True)],
)
def test_jumps_as_high_as_those_of_float32_show_no_piece(width: float, piece: bool) -> None:
    """Half of such a jump is between 2^-31 and 2^-21 of the largest value, which is 1.3 here.

    Others show the slope between jumps, cos x, beside that across them, which is 1 more.
    """
    _, found = looked(
        lambda x: np.sin(x) + width * np.floor(x / width + 0.3), 0.7, effort="thorough", scale=0.5
    )
    assert abs(found.value - (math.cos(0.7) + 1)) <= found.error + width
    assert found.rounding == pytest.approx(width / 2, rel=1e-3)
    if piece:
        assert abs(found.piece.value - math.cos(0.7)) <= found.piece.error
    else:
        assert found.piece == NO_BAR


@pytest.mark.parametrize("effort", ["usual", "wide", "thorough"])
def test_a_constant_function_is_evaluated_far_away(effort: str) -> None:
    """An entry may matter only on the scale of its leaf; it counts as flat only after that."""
    farthest = 0.0

    def function(x: float) -> float:
        nonlocal farthest
        farthest = max(farthest, abs(x - 0.75))
        return 3.0

    calls, found = looked(function, 0.75, effort=effort, reach=64.0, scale=0.5)
    assert found.kind == "flat"
    assert found.error < 1e-14
    assert farthest == 16.0  # a quarter of the reach
    assert calls < 100
