"""The slope of a function of one number: its error bar covers the error, and is not too wide."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from gradlab.gradients.slopes import Slope, slope
from gradlab.gradients.slopes.result import NO_BAR

Function = Callable[[Any], Any]


class Counted:
    """A function of x as a line through a point that counts its evaluations."""

    def __init__(self, function: Function, x: float) -> None:
        self.function, self.x, self.calls = function, np.float64(x), 0

    def __call__(self, t: float) -> tuple[float, float]:
        self.calls += 1
        there = self.x + t
        try:
            return float(there - self.x), float(self.function(there))
        except ArithmeticError:
            return float(there - self.x), math.nan


def at(function: Function, x: float, **options: Any) -> Slope:
    scale = 2.0 ** math.floor(math.log2(abs(x))) if x else 1.0
    return slope(Counted(function, x), scale=scale, finest=8 * math.ulp(abs(x)), **options)


# Families of functions with a parameter a, and their derivatives in high precision

FAMILIES: dict[str, tuple[Callable[[float], Function], Callable[[Any, Any], Any]]] = {
    "sin": (lambda a: lambda x: np.sin(a * x), lambda a, x: a * mpmath.cos(a * x)),
    "exp": (lambda a: lambda x: np.exp(a * x), lambda a, x: a * mpmath.exp(a * x)),
    "tanh": (lambda a: lambda x: np.tanh(a * x) + 1.3, lambda a, x: a / mpmath.cosh(a * x) ** 2),
    "cubic": (lambda a: lambda x: a * x**3 - x**2 + 2, lambda a, x: 3 * a * x**2 - 2 * x),
    "log": (lambda a: lambda x: np.log(x * x + a * a), lambda a, x: 2 * x / (x**2 + a**2)),
    "quotient": (lambda a: lambda x: x / (a + x * x), lambda a, x: (a - x**2) / (a + x**2) ** 2),
}

PRECISIONS: dict[str, Callable[[Function], Function]] = {
    "float64": lambda f: f,
    "float32 inside": lambda f: lambda x: f(np.float32(x)),
    "float32 result": lambda f: lambda x: np.float64(np.float32(f(x))),
    "offset": lambda f: lambda x: f(x) + 1e8,
    "offset and back": lambda f: lambda x: (f(x) + 1e8) - 1e8,
    "summed in float32": lambda f: (
        lambda x: np.float64(
            np.mean(f(np.float32(x)) * np.linspace(0, 1, 999, dtype=np.float32)) / 0.5
        )
    ),
}


def shares(family: str, precision: str, cases: int, seed: int = 0) -> np.ndarray:
    """Return the true error divided by the error bar, for random points and parameters."""
    rng = np.random.default_rng(seed)
    make, derivative = FAMILIES[family]
    result = []
    for _ in range(cases):
        a, x = float(rng.uniform(0.3, 3.0)), float(rng.standard_normal())
        found = at(PRECISIONS[precision](make(a)), x)
        with mpmath.workdps(40):
            apart = float(abs(mpmath.mpf(found.value) - derivative(mpmath.mpf(a), mpmath.mpf(x))))
        result.append(apart / found.error)
    return np.array(result)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bars_hold_and_are_not_too_wide(family: str, precision: str) -> None:
    """99 of 100 errors lie within their bars, and bars are at most 30 times too wide."""
    found = shares(family, precision, cases=150)
    assert np.mean(found > 1) <= 0.01
    assert np.median(found) >= 1 / 30


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_bars_hold_in_thousands_of_cases(family: str, precision: str) -> None:
    """The exception is flat ground: in float32, x² is lost in a² for the smallest x."""
    found = shares(family, precision, cases=600, seed=1)
    assert np.mean(found > 1) <= 1 / 300
    assert np.median(found) >= 1 / 30


def test_smooth_functions_take_14_points() -> None:
    rng = np.random.default_rng(0)
    calls = []
    for make, _ in FAMILIES.values():
        for _ in range(50):
            line = Counted(make(float(rng.uniform(0.3, 3.0))), float(rng.standard_normal()))
            slope(line, scale=2.0 ** math.floor(math.log2(abs(line.x))))
            calls.append(line.calls)
    assert np.median(calls) <= 15


# Points at which other differences go wrong

HARD: dict[str, tuple[Function, float, float]] = {
    "1e-9 right of a kink": (lambda x: max(x - 0.5 + 1e-9, 0.0), 0.5, 1.0),
    "1e-9 left of a kink": (lambda x: max(x - 0.5 - 1e-9, 0.0), 0.5, 0.0),
    "|x| at 1e-9": (lambda x: abs(x - 0.3 + 1e-9), 0.3, 1.0),
    "ripple": (lambda x: x * x + 1e-4 * np.sin(1e4 * x), 0.0, 1.0),
    "fast ripple": (lambda x: x * x + 1e-8 * np.sin(1e8 * x), 0.0, 1.0),
    "a thousand periods": (lambda x: np.sin(1e4 * x), 0.7, 1e4 * float(mpmath.cos(7000))),
    "steep": (lambda x: np.exp(50 * x), 1.0, 50 * float(mpmath.exp(50))),
    "high power": (lambda x: x**20, 1.0, 20.0),
    "pole": (lambda x: 1 / x, 2.0**-27, -(2.0**54)),
    "sqrt near 0": (np.sqrt, 2.0**-40, 2.0**19),
    "log near 0": (np.log, 2.0**-30, 2.0**30),
    "arcsin near 1": (
        np.arcsin,
        1 - 2.0**-33,
        float(1 / mpmath.sqrt(1 - (1 - mpmath.mpf(2) ** -33) ** 2)),
    ),
    "flat minimum": (lambda x: x * x + 1.0, 0.0, 0.0),
    "cubic at 0": (lambda x: x**3, 0.0, 0.0),
    "x |x|": (lambda x: x * abs(x), 0.0, 0.0),
    "once smooth": (lambda x: abs(x) ** 1.5, 0.0, 0.0),
    "edge with slope 0": (lambda x: x**1.5 if x >= 0 else math.nan, 0.0, 0.0),
    "constant": (lambda x: 3.0, 0.7, 0.0),
    "rounded to 3 decimals": (lambda x: np.sin(round(float(x), 3)), 0.7, float(np.cos(0.7))),
    "rounded to 6 decimals": (lambda x: np.sin(round(float(x), 6)), 0.7, float(np.cos(0.7))),
    "half precision": (lambda x: np.sin(np.float16(x)), 0.7, float(np.cos(0.7))),
    "tiny parameter, tiny scale": (lambda x: np.sin(1e8 * x), 1e-8, 1e8 * math.cos(1.0)),
    "tiny parameter, large scale": (lambda x: np.sin(x) + 2, 1e-8, 1.0),
    "huge parameter": (lambda x: np.sin(1e-8 * x), 1e8, 1e-8 * math.cos(1.0)),
    "beside overflow": (np.exp, 709.0, float(mpmath.exp(709))),
    "offset of 1e12": (lambda x: 1e12 + np.sin(x), 1.0, math.cos(1.0)),
    "pseudo-random noise": (
        lambda x: np.sin(x) * (1 + 1e-6 * ((float(x) * 1e13) % 1 - 0.5)),
        0.7,
        math.cos(0.7),
    ),
}


@pytest.mark.parametrize("name", HARD)
def test_hard_points(name: str) -> None:
    function, x, wanted = HARD[name]
    found = at(function, x, reach=1.0)
    assert found.kind in ("smooth", "flat", "edge")
    # The derivative that is stated is rounded as well.
    assert abs(found.value - wanted) <= found.error + 4 * np.finfo(float).eps * abs(wanted)


def test_resolvable_slopes_are_resolved() -> None:
    """The cases are those in which differences with one step have no right digit, or too few."""
    shares = {
        name: at(HARD[name][0], HARD[name][1]).error / abs(HARD[name][2])
        for name in ("ripple", "|x| at 1e-9", "offset of 1e12", "rounded to 6 decimals", "pole")
    }
    limits = (1e-8, 1e-8, 1e-1, 1e-2, 1e-8)
    assert all(share < limit for share, limit in zip(shares.values(), limits, strict=True)), shares


@pytest.mark.parametrize(
    ("function", "left", "right"),
    [
        (abs, -1.0, 1.0),
        (lambda x: max(x, 0.0), 0.0, 1.0),
        (lambda x: np.sin(x) + 3 * max(x, 0.0), 1.0, 4.0),
        (lambda x: np.exp(x) - abs(x), 2.0, 0.0),
        (lambda x: 0.5 * x + 1e-3 * abs(x), 0.499, 0.501),
    ],
)
def test_kinks_have_two_slopes(function: Function, left: float, right: float) -> None:
    found = at(function, 0.0)
    assert found.kind == "kink"
    assert abs(found.left.value - left) <= found.left.error + 1e-15
    assert abs(found.right.value - right) <= found.right.error + 1e-15
    assert max(found.left.error, found.right.error) < 1e-6
    low, high = found.range
    assert low <= min(left, right) <= max(left, right) <= high
    assert found.value - found.error <= min(left, right)
    assert found.value + found.error >= max(left, right)


@pytest.mark.parametrize("function", [np.sqrt, np.cbrt, lambda x: x * np.log(np.abs(x) + 1e-300)])
def test_infinite_slopes(function: Function) -> None:
    found = at(function, 0.0)
    assert found.kind == "singular"
    assert math.isnan(found.value)
    assert found.error == math.inf


def test_no_value_on_either_side() -> None:
    found = at(lambda x: 1.0 if x == 0.5 else math.nan, 0.5)
    assert found.kind == "unresolved"
    assert found.error == math.inf


def test_functions_with_values_on_one_side() -> None:
    """log(x − 1/2 + 1e-3) ends a little to the left; the function raises beyond 1/2."""

    def one_sided(x: float) -> float:
        if x > 0.5:
            raise ZeroDivisionError
        return math.exp(x)

    found = at(one_sided, 0.5)
    assert found.kind == "edge"
    assert abs(found.value - math.exp(0.5)) <= found.error < 1e-5


def test_steps_stay_small_if_that_suffices() -> None:
    """A far step may leave the domain of a function, and cause, say, an endless loop."""
    farthest = 0.0

    def function(x: float) -> float:
        nonlocal farthest
        farthest = max(farthest, abs(x - 2.0))
        return math.exp(x) * (1 + 1e-9 * math.sin(1e5 * x))

    slope(Counted(function, 2.0), scale=2.0, effort="thorough")
    assert farthest <= 2.0 * 2.0**-7


def test_staircases_of_any_width() -> None:
    """The point is the middle of a tread, where rounding is symmetric, or lies beside it."""
    rng = np.random.default_rng(0)
    for on_grid in (True, False):
        for width in 10.0 ** rng.uniform(-9, -2, 100):
            x = float(rng.uniform(0.5, 2.0))
            x = round(x / width) * width if on_grid else x
            found = at(lambda x, width=width: np.sin(np.round(x / width) * width), x)
            # The tread's middle may be half a width away from x, where the slope differs.
            assert abs(found.value - math.cos(x)) <= found.error + width / 2
            assert found.error < 1e3 * width


def test_known_noise_widens_the_bar() -> None:
    quiet, noisy = at(np.sin, 0.7), at(np.sin, 0.7, noise=1e-8)
    assert noisy.error > 1e-8 > quiet.error
    assert abs(noisy.value - math.cos(0.7)) <= noisy.error


def test_precision_of_the_values_counts() -> None:
    """Values of float32 that happen to show no noise are no better than float32."""
    line = Counted(lambda x: np.float32(2.0) * np.float32(x), 0.5)
    found = slope(line, scale=0.5, bits=23)
    assert abs(found.value - 2) <= found.error
    assert found.error > 1e-7


def test_one_side_bears_the_errors_of_both_its_evaluations() -> None:
    """Of the two coarsest steps, h and h/4, it makes (16 f(h/4) − f(h) − 15 f(0)) / 3h.

    Errors of 3 σ, of the worst signs, make 32 σ/h of that. The error bar adds up those of the two
    quotients instead, 6 σ over each step: (4 · 4 + 1)/3 · 6 σ/h = 34 σ/h.
    """
    noise, farthest = 1e-8, 0.0

    def line(t: float) -> tuple[float, float]:
        nonlocal farthest
        farthest = max(farthest, abs(t))
        return t, t if t <= 0 else math.nan

    found = slope(line, noise=noise)
    assert found.kind == "edge"
    assert found.error == pytest.approx(34 * noise / farthest)


@pytest.mark.parametrize("digits", [2, 3, 4])
def test_the_noise_of_a_rounded_value_is_that_of_rounding(digits: int) -> None:
    """The noise is between 1/√12 of the last digit, its standard deviation, and the maximum 1/2."""
    found = at(lambda x: round(math.sin(x), digits), 0.7)
    assert 1 / math.sqrt(12) <= found.rounding * 10**digits <= 1 / 2


@pytest.mark.parametrize(("x", "digits"), [(0.7, 7), (0.8, 7), (0.9, 7), (0.8, 10)])
def test_the_noise_of_a_rounded_part_is_that_of_rounding(x: float, digits: int) -> None:
    """The noise is between one and four standard deviations of the rounding."""
    found = at(lambda x: x * x + round(math.sin(x), digits), x)
    assert 1 / math.sqrt(12) <= found.rounding * 10**digits <= 4 / math.sqrt(12)


# Jumps between the fine and the coarse scale


@pytest.mark.parametrize("digits", [7, 8, 10])
def test_a_rounded_part_is_not_ignored(digits: int) -> None:
    """Close by, only x² has a slope; the rounded part rises by its jumps."""
    for x in np.linspace(0.3, 1.3, 21):
        found = at(lambda x: x * x + round(math.sin(x), digits), float(x))
        assert abs(found.value - (2 * x + math.cos(x))) <= found.error < 1e-2


def bisected(e: float) -> float:
    """Return cos E, where E − e sin E = 1, by halving an interval down to 1e-8."""
    low, high = 0.0, 2 * math.pi
    while high - low > 1e-8:
        middle = (low + high) / 2
        low, high = (middle, high) if middle - e * math.sin(middle) < 1 else (low, middle)
    return math.cos((low + high) / 2)


@pytest.mark.parametrize("e", [0.1, 0.3, 0.5, 0.7])
def test_a_bisection_inside(e: float) -> None:
    angle = 1.0
    for _ in range(60):
        angle -= (angle - e * math.sin(angle) - 1) / (1 - e * math.cos(angle))
    found = at(bisected, e)
    wanted = -(math.sin(angle) ** 2) / (1 - e * math.cos(angle))
    assert abs(found.value - wanted) <= found.error < 1e-4


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-10])
def test_an_iteration_that_stops_at_a_tolerance(tolerance: float) -> None:
    """The result jumps where the number of iterations changes, which only far points show."""

    def fixed_point(a: float) -> float:
        x = 0.5
        while abs(math.cos(a * x) - x) >= tolerance:
            x = math.cos(a * x)
        return math.cos(a * x)

    x = 0.5
    for _ in range(1000):
        x = math.cos(0.9 * x)
    wanted = -x * math.sin(0.9 * x) / (1 + 0.9 * math.sin(0.9 * x))
    close, wide = at(fixed_point, 0.9), at(fixed_point, 0.9, effort="wide")
    assert abs(close.value - wanted) > 10 * close.error
    assert abs(wide.value - wanted) <= wide.error < 1e3 * tolerance
    if tolerance == 1e-6:  # its jumps are as high as those of numbers in float32
        assert wide.piece == NO_BAR
    else:
        assert abs(wide.piece.value - close.value) <= wide.piece.error + close.error


def test_a_wide_search_of_a_smooth_function_takes_ten_more_points() -> None:
    rng = np.random.default_rng(0)
    calls = []
    for make, _ in FAMILIES.values():
        for _ in range(20):
            line = Counted(make(float(rng.uniform(0.3, 3.0))), float(rng.standard_normal()))
            slope(line, scale=2.0 ** math.floor(math.log2(abs(line.x))), effort="wide")
            calls.append(line.calls)
    assert np.median(calls) <= 24


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda x: np.sin(x) + (x > 0.5 + 1e-6), math.cos(0.5)),
        (lambda x: np.sin(x) + 1e-3 * (x > 0.5 + 1e-6), math.cos(0.5)),
        (lambda x: 2 * x + 0.1 if x > 0.5 + 1e-3 else np.sin(x), math.cos(0.5)),
        (lambda x: 3.7 * (x > 0.6), 0.0),
    ],
)
def test_a_step_near_the_point_does_not_change_its_slope(function: Function, wanted: float) -> None:
    found = at(function, 0.5)
    assert abs(found.value - wanted) <= found.error < 1e-6


@pytest.mark.parametrize("function", [np.floor, np.ceil, np.round])
@pytest.mark.parametrize("x", [0.3, 3.3, 10.4, 300.4, 3000.3, 1e6 + 0.3])
def test_whole_numbers_are_constant_in_between(function: Function, x: float) -> None:
    found = at(function, x)
    assert (found.value, found.kind) == (0.0, "flat")
    assert found.error < 1e-14


@pytest.mark.parametrize("frequency", [1e4, 1e6, 1e8])
def test_a_continuous_ripple_is_not_a_jump(frequency: float) -> None:
    found = at(lambda x: x * x + np.sin(frequency * x) / frequency, 1.0, effort="wide")
    wanted = 2 + float(mpmath.cos(frequency))
    assert abs(found.value - wanted) <= found.error < 1e-4
