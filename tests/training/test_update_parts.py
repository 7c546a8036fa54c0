"""The update step's memory, and when steps can be taken by machine code."""

from types import SimpleNamespace

import numpy as np
import pytest

from gradlab import optim
from gradlab.gradients.tape import TapedGradient
from gradlab.training.foreign import ForeignUpdate
from gradlab.training.gradients import WrittenGradient
from gradlab.training.loop import own
from gradlab.training.many import ManySteps
from gradlab.training.optimisers import BlockUpdate, lower
from gradlab.training.vectors import Vector


def stepped(update, params, grads, count=0, state=None):
    """Return the parameters and the state after a step, from leaves of any layout."""
    point = Vector.of([np.array(leaf) for leaf in params])
    state = update.init(point) if state is None else state
    after, new_state = point.another(), [vector.another() for vector in state]
    leaves = [np.array(leaf) for leaf in grads]
    update.update(count, point, state, Vector(leaves, leaves), after, new_state)
    return [leaf.tolist() for leaf in after.leaves], new_state


def test_an_update_step_serves_one_training_after_another():
    update = BlockUpdate(optim.sgd(0.5))
    assert stepped(update, [[1.0, 2.0]], [[2.0, 4.0]])[0] == [[0.0, 0.0]]
    assert stepped(update, [[[1.0]], 3.0], [[[2.0]], 4.0])[0] == [[[0.0]], 1.0]


class Counting:
    """Steps by 1, 2, 3, ... along the gradient's sign, as its state says."""

    def init(self, params):
        return {"count": np.zeros(1), "none": None}

    def update(self, grads, state, params):
        count = state["count"] + 1
        return {k: -count * np.sign(g) for k, g in grads.items()}, {"count": count, "none": None}


def test_the_state_of_an_object_is_carried_from_step_to_step():
    _, structure = own({"w": np.zeros(2)})
    update = ForeignUpdate(Counting(), structure)
    found, state = stepped(update, [[5.0, 5.0]], [[1.0, -1.0]])
    assert found == [[4.0, 6.0]]
    found, state = stepped(update, found, [[1.0, -1.0]], 1, state)
    found, state = stepped(update, found, [[1.0, -1.0]], 2, state)
    assert found == [[-1.0, 11.0]]
    assert [leaf.tolist() for leaf in state[0].leaves] == [[3.0], []]


@pytest.mark.parametrize(
    ("rate", "text"), [(0.5, "0.05"), (1.0, "0.1"), (2.0, "0.1"), (1e9, "0.1")]
)
def test_a_lower_rate_is_a_tenth_and_at_most_a_tenth(rate, text):
    assert lower(rate) == text


ROWS = np.arange(12.0).reshape(6, 2)
PAIR = (ROWS, ROWS[:3].copy())
LEAVES = (np.zeros(2), np.zeros(3))


def many(run=None, rule=None, leaves=LEAVES, pairs=(PAIR, PAIR)):
    point = Vector.of(leaves)
    written = WrittenGradient(run or object.__new__(TapedGradient), None, point)
    update = BlockUpdate(optim.sgd(0.1) if rule is None else rule)
    return ManySteps.of(written, update, (point, point.another()), [], pairs)


@pytest.mark.parametrize(
    "other",
    [
        {"run": SimpleNamespace()},
        {"rule": optim.lbfgs()},
        {"rule": optim.sgd(0.1, clip=1.0)},
        {"leaves": (np.zeros(2), np.zeros(3, np.float32))},
        {"pairs": ()},
        {"pairs": (PAIR, (ROWS[:, ::-1], PAIR[1]))},
        {"pairs": (PAIR, (PAIR[0], PAIR[1][:, ::-1]))},
        {"pairs": ((ROWS.T, ROWS.T), PAIR)},
    ],
)
def test_when_steps_are_single(other):
    assert many() is not None
    assert many(**other) is None


def test_only_the_tapes_gradient_and_an_own_optimiser_take_many_steps():
    point = Vector.of([np.zeros(2)])
    two, update = (point, point.another()), BlockUpdate(optim.sgd(0.1))
    written = WrittenGradient(object.__new__(TapedGradient), None, point)
    assert ManySteps.of(written, update, two, [], [PAIR]) is not None
    assert ManySteps.of(lambda: None, update, two, [], [PAIR]) is None
    _, structure = own({"w": np.zeros(2)})
    assert ManySteps.of(written, ForeignUpdate(Counting(), structure), two, [], [PAIR]) is None
