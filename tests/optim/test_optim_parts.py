"""Parts of the optimisers: defaults, memory, clipping, and numbers of single precision."""

import numpy as np
import pytest

from gradlab import optim
from gradlab.optim.optimiser import TINY, norm
from gradlab.optim.rules import SGD, Adagrad, Adam, RMSProp


@pytest.mark.parametrize(
    ("made", "own"),
    [
        (optim.sgd(0.1), SGD(learning_rate=0.1)),
        (optim.adagrad(0.1), Adagrad(learning_rate=0.1)),
        (optim.rmsprop(0.1), RMSProp(learning_rate=0.1)),
        (optim.adam(0.1), Adam(learning_rate=0.1)),
    ],
)
def test_a_class_has_the_defaults_of_its_function(made, own):
    assert made == own


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
    assert TINY == 1e-30


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
