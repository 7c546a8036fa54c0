"""Rounding inside a function: steps of one size everywhere, or steps that grow with the numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from gradlab.gradients.slopes.grids import GRID_PLACES, steps_vary

X, SCALE = 0.6, 0.5
WIDTH = 2.0**-11
"""The distance of neighbouring numbers of float16 between 0.5 and 1."""


def half(t: float) -> float:
    return float(np.float16(X + t))


def shows_growth(
    function: Callable[[float], float], height: float = WIDTH, width: float = WIDTH
) -> bool:
    return steps_vary(lambda t: (t, function(t)), height, width, SCALE)


def test_steps_of_float16_grow() -> None:
    assert shows_growth(half)
    assert shows_growth(lambda t: np.sin(half(t)), WIDTH * np.cos(X))
    assert shows_growth(lambda t: 1e4 * half(t), 1e4 * WIDTH)


@pytest.mark.parametrize("place", GRID_PLACES)
def test_one_place_with_other_steps_suffices(place: float) -> None:
    """The loss may have no values at the others, which lie outside its domain."""
    around = 0.1 * SCALE
    assert shows_growth(lambda t: half(t) if abs(t - place * SCALE) < around else np.nan)


@pytest.mark.parametrize("decimals", [2, 3, 4])
@pytest.mark.parametrize("factor", [1.0, 1e4, 1e-4])
def test_steps_of_a_fixed_grid_do_not_grow(decimals: int, factor: float) -> None:
    """This also holds if the function around the rounding changes the height of the steps."""
    width = 10.0**-decimals
    assert not shows_growth(lambda t: factor * round(X + t, decimals), factor * width, width)
    height = factor * width * np.exp(X)
    assert not shows_growth(lambda t: factor * np.exp(round(X + t, decimals)), height, width)


def test_where_nothing_can_be_measured_nothing_grows() -> None:
    for level in (0.0, np.nan):
        assert not shows_growth(lambda t, level=level: half(t) if abs(t) < 0.01 else level)  # type: ignore[misc]
    # Every eighth value of a place is missing.
    assert not shows_growth(lambda t: half(t) if t % (4 * WIDTH) >= WIDTH / 2 else np.nan)


def test_steps_of_the_same_height_do_not_grow() -> None:
    """After a change of slope, rounding makes steps of other widths, in multiples of the height."""
    for slope in (3.0, 8.0):
        steep = lambda t, slope=slope: WIDTH * round(X / WIDTH + slope * t / WIDTH)  # noqa: E731
        assert not shows_growth(lambda t, steep=steep: steep(t))  # type: ignore[misc]
    assert not shows_growth(lambda t: WIDTH * np.floor((X + t / 5) / WIDTH))
    assert not shows_growth(lambda t: WIDTH * round((X + 3 * t) / WIDTH), 0.98 * WIDTH)


def test_heights_that_differ_are_those_of_no_grid() -> None:
    """They differ by more than half, or are no multiple of the height at the point."""
    assert shows_growth(lambda t: np.exp(300 * round(X + t, 3)), 300e-3 * np.exp(300 * X), 1e-3)

    def uneven(t: float) -> float:
        n = round(2 * t / WIDTH)
        return WIDTH * (1.25 * n + 0.25 * (n % 2))  # by 1.5 and 1 in turn

    assert shows_growth(uneven)
