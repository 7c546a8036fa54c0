"""Numerical derivatives with error bars, on any structure of parameters."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import gradlab
from gradlab import Estimate, derivative_with_error, network
from gradlab.errors import LossError, NonFiniteError, ParameterError
from gradlab.params import flatten, map_leaves
from gradlab.testing import ClosedForm, Problem, losses, networks, parameters


def unchecked(leaf: Any, path: str) -> Any:
    return np.asarray(leaf)  # error bars may be infinite, values NaN


@given(case=losses(parameters(dtypes=[np.float64, np.float32, np.int64])))
def test_closed_forms_lie_within_the_bars(case: ClosedForm) -> None:
    value, error = derivative_with_error(case.loss, case.params)
    wanted, structure = flatten(case.gradient(case.params))
    values, found = flatten(value, unchecked)
    errors, _ = flatten(error, unchecked)
    assert found.paths == structure.paths
    for a, b, bar in zip(values, wanted, errors, strict=True):
        assert a.dtype == bar.dtype == np.float64
        assert a.shape == b.shape
        # The closed form rounds, too: a few times, of terms of order one.
        assert np.all(np.abs(a - b) <= bar + 1e-14)


@given(problem=networks(activations=["sigmoid", "tanh", "softplus", "silu"], max_layers=2))
def test_networks_lie_within_the_bars(problem: Problem) -> None:
    value, error = derivative_with_error(problem.loss, problem.params, *problem.args)
    exact = gradlab.grad(problem.loss)(problem.params, *problem.args)
    for name, gradient in exact.items():
        assert np.all(np.abs(value[name] - gradient) <= error[name] + 1e-14)


def test_each_entry_has_a_precise_estimate() -> None:
    """Each entry has its own scale and bar, with parameters from 1e-8 to 1e8 in one leaf."""
    x = np.array([1e-8, 1.0, 1e8])
    value, error = derivative_with_error(lambda x: np.sum(np.log(x)), x)
    assert np.all(np.abs(value - 1 / x) <= error)
    assert np.all(error * x < 1e-8)


def test_rounding_that_a_later_entry_shows_counts_for_earlier_ones() -> None:
    """Earlier entries are measured again, except for a kink, which rounding does not explain."""
    for function, start, is_repeated in ((np.exp, 0.5, True), (abs, 0.0, False)):
        asked: Counter[float] = Counter()

        def loss(x: Any, function: Any = function, asked: Counter[float] = asked) -> Any:
            asked[float(x[0])] += 1
            return function(x[0]) + np.round(x[1], 3)

        derivative_with_error(loss, np.array([start, 0.7]))
        del asked[start]
        assert (max(asked.values()) > 1) is is_repeated


def test_kinks_reach_from_side_to_side() -> None:
    value, error = derivative_with_error(lambda x: np.sum(np.abs(x)), np.array([0.0, 1.0]))
    assert abs(value[0]) <= 1e-12
    assert error[0] == pytest.approx(1.0)
    assert abs(value[1] - 1.0) <= error[1] < 1e-10


def test_losses_without_a_slope() -> None:
    value, error = derivative_with_error(lambda x: np.sum(np.sqrt(x)), np.array([0.0, 1.0]))
    assert math.isnan(value[0])
    assert error[0] == math.inf
    assert abs(value[1] - 0.5) <= error[1] < 1e-10


@pytest.mark.parametrize("params", [1.5, np.array(1.5), {"a": 1.5}, [np.float32(1.5)], (2,)])
def test_structures(params: Any) -> None:
    def loss(p: Any) -> Any:
        leaves, _ = flatten(p, lambda leaf, path: leaf)
        return 3.0 * leaves[0]

    estimate = derivative_with_error(loss, params)
    assert isinstance(estimate, Estimate)
    assert type(estimate.value) is type(estimate.error)
    for values, errors in zip(flatten(estimate.value)[0], flatten(estimate.error)[0], strict=True):
        assert abs(values - 3.0) <= errors
    assert flatten(params)[1].paths == flatten(estimate.value)[1].paths


def test_a_loss_in_single_precision_has_wider_bars() -> None:
    params = network.init((4, 3, 2), 0, dtype=np.float32)
    x, labels = np.random.default_rng(0).standard_normal((5, 4)), np.array([0, 1, 1, 0, 1])
    exact = gradlab.grad(network.loss)(
        map_leaves(lambda leaf: leaf.astype(float), params), x, labels
    )
    wide = derivative_with_error(network.loss, params, x, labels)
    narrow = derivative_with_error(
        network.loss, params, x.astype(np.float32), labels, dtype=np.float32
    )
    for name, gradient in exact.items():
        assert np.all(np.abs(wide.value[name] - gradient) <= wide.error[name] + 1e-14)
        assert np.all(np.abs(narrow.value[name] - gradient) <= narrow.error[name])
        assert np.median(narrow.error[name]) > 100 * np.median(wide.error[name])


def test_nothing_is_mutated() -> None:
    params = {"w": np.array([1.0, 2.0])}
    data = np.array([3.0, 4.0])
    derivative_with_error(lambda p, x: (p["w"] * x).sum(), params, data)
    assert params["w"].tolist() == [1.0, 2.0]
    assert data.tolist() == [3.0, 4.0]


def test_bad_usage() -> None:
    with pytest.raises(ParameterError, match="w is 'text'"):
        derivative_with_error(lambda p: 1.0, {"w": "text"})
    with pytest.raises(LossError, match="the loss returned 'text'"):
        derivative_with_error(lambda x: "text", np.ones(2))
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        derivative_with_error(lambda x: np.nan, np.ones(2))


def test_a_loss_that_raises_has_no_value_there() -> None:
    """An error at the parameters is raised; an error nearby is an edge."""

    def loss(x: Any) -> Any:
        if x[0] > 1.0:
            raise ValueError("out of range")
        return x[0] ** 2 + x[1]

    value, error = derivative_with_error(loss, np.array([1.0, 1.0]))
    assert abs(value[0] - 2.0) <= error[0] < 1e-5
    with pytest.raises(ValueError, match="out of range") as caught:
        derivative_with_error(loss, np.array([2.0, 1.0]))
    assert caught.value.__notes__


def test_a_loss_that_differed_by_a_rounding_has_wider_bars() -> None:
    """A float32 loss may sum in another order next time, which is noise even if seen once."""

    def error(by_a_rounding: bool) -> float:
        calls = 0

        def loss(x: Any) -> Any:
            nonlocal calls
            calls += 1
            value = np.float32(2 + x[0])
            return np.nextafter(value, np.float32(9)) if calls == 1 and by_a_rounding else value

        return float(derivative_with_error(loss, np.array([0.5])).error[0])

    assert error(True) > 1.25 * error(False)
