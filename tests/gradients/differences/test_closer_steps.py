"""Smaller steps for a doubtful entry: which steps are tried, and which slope is returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.errors import LossError, NonFiniteError, OptionError
from gradlab.gradients.differences.closer import (
    is_level,
    look_closer,
    roundoff,
    slope_inside_domain,
    value_beside,
)
from gradlab.gradients.differences.steps import (
    MAX_STEP_REDUCTIONS,
    STEP_REDUCTION,
    check_step,
    finer_steps,
    given_steps,
    steps,
)

H = 2.0**-17
PRECISION = 2.0**-52

# Steps


@pytest.mark.parametrize(
    ("x", "order", "precision", "exponent"),
    [
        (0.0, 1, 0.0, -26), (0.0, 2, 0.0, -17), (1.0, 4, 0.0, -10), (-300.0, 2, 0.0, -9),
        (1.0, 2, 2.0**-23, -8), (1.0, 2, 2.0**-60, -17),
    ],
)  # fmt: skip
def test_a_default_step_balances_truncation_and_round_off(
    x: float, order: int, precision: float, exponent: int
) -> None:
    assert steps(np.array([x]), None, order, precision).tolist() == [2.0**exponent]


@pytest.mark.parametrize(
    ("x", "exponents"),
    [
        (1.0, range(21, 50, 4)),  # 1 + 2^-53 is 1
        (-1.0, range(21, 50, 4)),
        (0.0, range(21, 82, 4)),
        (2.0**-60, range(21, 82, 4)),
        (1.5 * 2.0**-100, [*range(21, 82, 4), 117, 121]),
    ],
)
def test_steps_shrink_as_long_as_they_change_the_entry(x: float, exponents: Sequence[int]) -> None:
    """They shrink by at most 16 times 16; two more are in proportion to a smaller entry."""
    assert list(finer_steps(x, H)) == [2.0**-e for e in exponents]


@pytest.mark.parametrize(
    "step", [0.0, -1.0, "1", {"w": [1.0, 0.0]}, np.array([1e-3, -1e-3]), [np.ones(2, object)]]
)
def test_a_step_is_positive_everywhere(step: Any) -> None:
    with pytest.raises(OptionError, match="give a positive number, a structure of them"):
        check_step(step)


def test_steps_are_given_as_a_number_or_like_the_parameters() -> None:
    params = {"w": np.ones((2, 2)), "b": 0.5}
    leaves = [np.ones((2, 2), np.float32), np.ones(())]
    for step in (1e-3, {"b": 1e-3, "w": 1e-3}, {"w": np.full((2, 2), 1e-3), "b": 1e-3}):
        check_step(step)
        given = given_steps(step, params, leaves)
        assert [(s.shape, s.dtype) for s in given] == [(x.shape, x.dtype) for x in leaves]
        assert all((s == s.dtype.type(1e-3)).all() for s in given)
    with pytest.raises(OptionError, match="step has w; the parameters have w, b"):
        given_steps({"w": 1.0}, params, leaves)
    with pytest.raises(OptionError, match=r"step of w has shape \(2,\); expected \(2, 2\)"):
        given_steps({"w": np.ones(2), "b": 1.0}, params, leaves)


# Measuring again


class Told:
    """Quotients that are given, one for each step, and the loss that they belong to."""

    name = "told"

    def __init__(self, *found: tuple[float, float], value: float = 1.0) -> None:
        self.found, self.value, self.precision = list(found), value, PRECISION
        self.looked, self.steps = 0, list[float]()

    def quotient(self, f: Any, x: Any, h: Any, centre: Any) -> tuple[float, float]:
        self.steps.append(h)
        return self.found[min(len(self.steps), len(self.found) - 1)]

    def look_into(self) -> None:
        self.looked += 1

    def closer(self, f: Callable[[float], float] = abs) -> float:
        told: Any = self
        slope, bend = self.found[0]
        line: Any = type("Line", (), {"name": "w[0]", "__call__": lambda _, x: f(x)})()
        return float(look_closer(told, told, line, 0.0, H, slope, bend))


def test_the_round_off_of_a_quotient() -> None:
    probe: Any = Told(value=-3.0)
    assert roundoff(probe, 0.5, -7.0) == 8 * PRECISION * (6 + 7)


def test_a_first_slope_that_the_second_confirms_is_returned() -> None:
    told = Told((1.0, 0.0), (1.0 + 1e-11, 0.0))
    assert told.closer() == 1.0
    assert (told.looked, told.steps) == (0, [H / STEP_REDUCTION])


@pytest.mark.parametrize(
    ("bends", "taken"), [((1.0, 3.9, 3.9), 1), ((1.0, 4.1, 4.1), 2), ((1.0, 4.1, 17.0, 17.0), 3)]
)
def test_a_bend_that_grows_fourfold_is_a_reason_to_go_on(
    bends: tuple[float, ...], taken: int
) -> None:
    told = Told(*[(1.0, bend) for bend in bends])
    assert told.closer() == 1.0
    assert len(told.steps) == taken
    assert told.looked == (taken > 1)


def test_a_bend_within_the_round_off_does_not_grow() -> None:
    small = (
        8 * PRECISION * STEP_REDUCTION / H
    )  # a little less than the round-off over the finer step
    told = Told((1.0, 0.0), (1.0, small))
    assert told.closer() == 1.0
    assert len(told.steps) == 1


@pytest.mark.parametrize("seed", range(60))
def test_the_slope_with_the_smallest_error_is_returned(seed: int) -> None:
    """The error has three parts: see below.

    They are the difference from the next finer slope, the round-off, and the excess of the finer
    slopes. If no two slopes agree, this excess is noise in the values, divided by a step.
    """
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, MAX_STEP_REDUCTIONS))
    spread = 10.0 ** rng.uniform(-9, 1, count)
    found = [1e3 + s * u for s, u in zip(spread, rng.uniform(-1, 1, count), strict=True)]
    agrees = bool(seed % 2)
    if agrees:
        found.append(found[-1])
    else:
        found += [1e3 + (-1) ** k for k in range(MAX_STEP_REDUCTIONS + 1 - count)]
    told = Told(*[(slope, 0.0) for slope in found])
    taken = told.closer()
    h = [H, *told.steps]
    slopes = found[: len(h)]
    probe: Any = told
    e = [roundoff(probe, step, slope) for step, slope in zip(h, slopes, strict=True)]
    gaps = np.abs(np.diff(slopes))
    is_agreed = gaps[-1] <= e[len(gaps) - 1] + e[len(gaps)]
    assert is_agreed == agrees or is_agreed
    errors = []
    for k in range(len(gaps)):
        beyond = [
            (gaps[j] - e[j] - e[j + 1]) * (1 if is_agreed else h[j + 1] / h[k])
            for j in range(k + 1, len(gaps))
        ]
        errors.append(gaps[k] + e[k] + max([0.0, *beyond]))
    assert taken == slopes[int(np.argmin(errors))]


def test_slopes_that_all_differ_are_refused_unless_the_loss_is_level() -> None:
    """Over smaller steps, a jump gets steeper, and a minimum less steep."""
    slopes = [(float(s), 0.0) for s in [1.0, -1.0] * (MAX_STEP_REDUCTIONS // 2 + 1)]
    with pytest.raises(LossError, match=r"told: cannot resolve the slope of the loss at w\[0\]"):
        Told(*slopes, value=0.0).closer(lambda x: float(x > 0))
    small = [(1e-9 * s, 0.0) for s, _ in slopes]
    assert abs(Told(*small, value=0.0).closer(lambda x: x * x)) == 1e-9


def test_a_loss_is_level_if_it_rises_less_steeply_over_smaller_steps() -> None:
    def level(function: Any, error: float) -> bool:
        return is_level(function, 0.0, H, function(0.0), error)

    assert level(lambda x: x * x, 0.9 * H)
    assert not level(lambda x: x * x, 1.1 * H)
    assert not level(abs, 0.5)
    assert not level(lambda x: abs(x) ** 0.5, 0.5)


def test_an_entry_beside_the_edge_gets_smaller_steps_until_there_are_values() -> None:
    tried: list[float] = []

    def quotient(f: Any, x: Any, h: float, centre: Any, edge: float) -> tuple[float, float]:
        tried.append(h)
        if h > edge:
            raise NonFiniteError("no value")
        return 2.0, 0.0

    probe: Any = Told()
    for edge, levels in ((H / 20, 2), (0.0, 9)):
        tried.clear()
        method: Any = SimpleNamespace(
            name="told", quotient=lambda *args, edge=edge: quotient(*args, edge)
        )
        f: Any = abs
        if edge:
            assert slope_inside_domain(method, probe, f, 1.0, H) == 2.0
            assert tried == [H / STEP_REDUCTION**k for k in range(1, levels + 2)]
        else:
            with pytest.raises(NonFiniteError):
                slope_inside_domain(method, probe, f, 1.0, H)
            assert tried == [*(H / STEP_REDUCTION**k for k in range(1, levels)), H]


def test_a_point_without_a_value_has_none() -> None:
    def along(direction: Any, t: float) -> float:
        return 1 / t

    probe: Any = SimpleNamespace(along=along)
    assert value_beside(probe, [], 0.5) == 2.0
    assert value_beside(probe, [], 0.0) is None
