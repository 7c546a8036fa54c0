"""The sweep of learning rates, and the loss along a step."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab import optim
from gradlab.diagnosis.section import section
from gradlab.diagnosis.sweep import RATE_RATIO, best, sweep

STEPS = 50


def quadratic(curvature):
    """Return the result of gradient descent on h w²/2 from w = 1, in closed form."""

    def train(rate):
        with np.errstate(over="ignore"):
            return float(curvature / 2 * np.float64(1 - rate * curvature) ** (2 * STEPS))

    return train


@given(st.floats(-4, 4), st.floats(-4, 4))
@settings(max_examples=50, deadline=None)
def test_the_best_rate_is_found_from_any_first_one(first, power):
    curvature = 10.0**power
    found = sweep(quadratic(curvature), 10.0**first / curvature, curvature / 2)
    rates = [trained.rate for trained in found]
    assert rates == sorted(rates)
    # The best rate is 1/h; the nearest one of the sweep is at most half a spacing away.
    nearest = min(abs(math.log(rate * curvature)) for rate in rates)
    assert nearest <= math.log(RATE_RATIO) / 2 + 1e-9
    if quadratic(curvature)(best(found).rate) < curvature / 2:
        assert max(rates) * curvature > 2  # beyond which it diverges


def test_no_sweep_is_endless():
    assert len(sweep(lambda rate: 1.0, 0.1, 1.0)) <= 41
    assert len(sweep(lambda rate: math.inf, 0.1, 1.0)) <= 41


@pytest.mark.parametrize("optimiser", [optim.sgd(0.1, 0.9), optim.adam(0.1)])
def test_a_section_is_the_loss_along_the_first_step(optimiser):
    scales = np.array([1.0, 9.0])

    def loss(p):
        return float(0.5 * (scales * p["w"] ** 2).sum())

    point = {"w": np.array([1.0, 2.0])}
    gradient = {"w": scales * point["w"]}
    found = section(loss, point, gradient, optimiser, 0.1)
    update, _ = optimiser.update(gradient, optimiser.init(point), point)
    assert (found.loss, found.after) == (loss(point), loss({"w": point["w"] + update["w"]}))
    assert found.promise == pytest.approx(-float(gradient["w"] @ update["w"]), rel=1e-12)
    for rate, value in zip(found.rates, found.losses, strict=True):
        wanted = loss({"w": point["w"] + rate / 0.1 * update["w"]})
        assert value == pytest.approx(wanted, rel=1e-12)
    # The lowest point of a parabola, which the spacing of the points resolves.
    slope, bend = gradient["w"] @ update["w"], scales @ update["w"] ** 2
    spacing = found.rates[1] / found.rates[0]
    assert 1 / spacing < found.lowest[0] / (0.1 * -slope / bend) < spacing


def test_a_section_shows_where_a_loss_is_not_finite():
    def loss(p):
        return float(p**2) if abs(p) < 2 else math.inf

    found = section(loss, 1.0, 2.0, optim.sgd(0.1), 0.1)
    assert math.isfinite(found.losses[0])
    assert found.losses[-1] == math.inf
