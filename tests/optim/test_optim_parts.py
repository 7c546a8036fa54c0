"""Parts of the optimisers: defaults, memory, clipping, and single precision."""

from contextlib import nullcontext

import numpy as np
import pytest

from gradlab import optim
from gradlab.errors import OptionError
from gradlab.optim.optimiser import MIN_SAFE_SQUARES, norm
from gradlab.optim.quasi_newton import _to_newton
from gradlab.optim.rules import SGD, Adagrad, Adam, RMSProp


@pytest.mark.parametrize(
    ("create", "own", "defaults"),
    [
        (optim.sgd, SGD, {"momentum": 0.0, "nesterov": False}),
        (optim.adagrad, Adagrad, {"eps": 1e-10, "initial": 0.0}),
        (optim.rmsprop, RMSProp, {"decay": 0.9, "eps": 1e-8}),
        (optim.adam, Adam, {"b1": 0.9, "b2": 0.999, "eps": 1e-8}),
    ],
)
def test_a_class_has_the_defaults_of_its_function(create, own, defaults):
    assert create(0.1) == own(learning_rate=0.1) == own(learning_rate=0.1, **defaults)
    assert create(0.1).rate(0) == 0.1


@pytest.mark.parametrize(
    ("optimiser", "needs"),
    [
        (optim.sgd(0.1), False),
        (optim.sgd(0.1, clip=1.0), True),
        (optim.adam(0.1, weight_decay=0.1), True),
        (optim.adam(0.1), False),
    ],
)
def test_memory_for_intermediate_results(optimiser, needs):
    assert optimiser.needs_spare == needs


def test_a_gradient_at_the_bound_is_not_clipped():
    optimiser = optim.sgd(1.0, clip=5.0)
    for factor, expected in ((1.0, [-3.0, -4.0]), (2.0, [-3.0, -4.0]), (0.5, [-1.5, -2.0])):
        grads = factor * np.array([3.0, 4.0])
        updates, _ = optimiser.update(grads, optimiser.init(grads), grads)
        np.testing.assert_allclose(updates, expected, rtol=1e-15)


def test_the_norm_of_nothing_or_of_infinities():
    assert norm([]) == norm([np.zeros(3)]) == norm([np.zeros(0)]) == 0.0
    assert norm([np.array([1.0, np.inf])]) == np.inf
    assert norm([np.array([3e-30], np.float32), np.array([4e-30], np.float32)]) == pytest.approx(
        5e-30, rel=1e-6
    )
    assert MIN_SAFE_SQUARES == 1e-30


def test_the_state_counts_its_steps():
    optimiser = optim.adagrad(1.0, initial=0.25)
    state = optimiser.init({"w": np.zeros(2)})
    assert state["count"] == 0
    assert state["sum"]["w"].tolist() == [0.25, 0.25]
    for count in (1, 2):
        updates, state = optimiser.update({"w": np.ones(2)}, state, {"w": np.zeros(2)})
        assert state["count"] == count
        assert state["sum"]["w"].tolist() == [0.25 + count] * 2
        np.testing.assert_allclose(updates["w"], -1 / np.sqrt(0.25 + count), rtol=1e-9)


@pytest.mark.parametrize(("rate", "valid"), [(0.0, True), (-1e-300, False), (np.nan, False)])
def test_a_schedule_may_end_at_zero(rate, valid):
    optimiser = optim.sgd(lambda count: rate)
    if valid:
        assert optimiser.rate(3) == 0.0
    else:
        with pytest.raises(OptionError, match="at step 3"):
            optimiser.rate(3)


def test_half_a_cosine_ends_at_zero():
    schedule = optim.cosine(0.1, 10)
    assert [schedule(t) for t in (0, 10, 99)] == [0.1, 0.0, 0.0]
    assert schedule(5) == pytest.approx(0.05)


@pytest.mark.parametrize(("gradient", "step"), [([3.0, -1.0], 0.25), ([0.25, 0.25], 1.0)])
def test_the_first_step_of_l_bfgs_has_a_length_of_at_most_one(gradient, step):
    """The length is the sum of the absolute changes, times the rate."""
    optimiser, params = optim.lbfgs(0.5), np.zeros(2)
    updates, _ = optimiser.update(np.array(gradient), optimiser.init(params), params)
    assert updates.tolist() == [-0.5 * step * g for g in gradient]
    updates, _ = optimiser.update(np.zeros(2), optimiser.init(params), params)
    assert updates.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("curvature", "used"), [(2.0**-51, True), (2.0**-53, False), (-1.0, False)]
)
def test_a_pair_without_curvature_is_left_out(curvature, used):
    """The limit is relative to the norms of the step s and of the change y of the gradient."""
    for size in (1.0, 64.0):
        s, y = [np.array([1.0, 0.0])], [size * np.array([curvature, 1.0])]
        direction = [np.array([1.0, 2.0])]
        _to_newton(direction, [(s, y)], [None])
        assert (direction[0].tolist() != [1.0, 2.0]) == used


@pytest.mark.parametrize("kind", [SGD, Adagrad, RMSProp, Adam])
def test_each_class_checks_its_rate(kind):
    with pytest.raises(OptionError, match="learning_rate"):
        kind(learning_rate=-1.0)


@pytest.mark.parametrize(("factor", "valid"), [(1.0, True), (1.5, False), (0.0, False)])
def test_a_factor_is_above_zero_and_at_most_one(factor, valid):
    with nullcontext() if valid else pytest.raises(OptionError, match="factor"):
        assert optim.step(0.4, every=1, factor=factor)(5) == 0.4
