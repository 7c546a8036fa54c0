"""The memory of the update step, and the conditions for steps by machine code."""

from types import SimpleNamespace

import numpy as np
import pytest

from gradlab import fit, optim
from gradlab.errors import OptionError, TrainingWarning
from gradlab.gradients.tape import TapedGradient
from gradlab.gradients.tape.compiled import UnsupportedError
from gradlab.training import many as module
from gradlab.training.fitting import _is_due
from gradlab.training.foreign import ForeignUpdate
from gradlab.training.gradients import WrittenGradient
from gradlab.training.loop import own_copies
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
    _, structure = own_copies({"w": np.zeros(2)})
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
    _, structure = own_copies({"w": np.zeros(2)})
    assert ManySteps.of(written, ForeignUpdate(Counting(), structure), two, [], [PAIR]) is None


@pytest.mark.parametrize(
    ("rule", "same"),
    [(optim.sgd(0.5), True), (optim.sgd(lambda count: 0.5 / (count + 1)), False)],
)
def test_the_rule_of_machine_code_adds_the_step_of_its_count(rule, same):
    made = many(rule=rule)
    assert (made._constant is not None) == same
    p, out = np.array([1.0, 2.0]), np.empty(2)
    for count, rate in ((0, 0.5), (4, 0.5 if same else 0.1)):
        made._rule(count)(p, np.array([2.0, 4.0]), [], [], out, np.empty(2))
        assert out.tolist() == [1.0 - 2 * rate, 2.0 - 4 * rate]
    assert many(rule=optim.adam(0.1))._constant is None


def test_the_state_before_the_first_step_is_what_the_optimiser_says():
    update = BlockUpdate(optim.adagrad(1.0, initial=0.25))
    (slot,) = update.init(Vector.of([np.zeros(2), np.zeros((1, 3))]))
    assert [leaf.tolist() for leaf in slot.leaves] == [[0.25] * 2, [[0.25] * 3]]
    assert update.rate(3) == 1.0
    assert not update.whole_data
    assert BlockUpdate(optim.lbfgs()).whole_data


@pytest.mark.parametrize(
    ("optimiser", "message"),
    [
        (Counting, "give an optimizer of gradlab.optim"),
        (SimpleNamespace(init=len), "give an optimizer of gradlab.optim"),
        (SimpleNamespace(init=len, update=3), "give an optimizer of gradlab.optim"),
    ],
)
def test_an_object_needs_both_methods(optimiser, message):
    with pytest.raises(OptionError, match=message):
        ForeignUpdate(optimiser, own_copies({"w": np.zeros(2)})[1])


def fails(init, update, message):
    step = ForeignUpdate(
        SimpleNamespace(init=init, update=update), own_copies({"w": np.zeros(2)})[1]
    )
    assert step.rate(0) is None
    with pytest.raises(OptionError, match=message):
        stepped(step, [[5.0, 5.0]], [[1.0, -1.0]])


def test_what_an_object_may_not_return():
    zeros = {"w": np.zeros(2)}
    fails(lambda p: {}, lambda g, s, p: zeros, "did not return .updates, state.")
    fails(lambda p: {}, lambda g, s, p: (zeros, {}, {}), "did not return .updates, state.")
    fails(lambda p: {}, lambda g, s, p: [zeros, {}], "did not return .updates, state.")
    fails(lambda p: {"a": 1.0}, lambda g, s, p: (zeros, {}), "a in its state appeared, vanished")
    fails(lambda p: {}, lambda g, s, p: (zeros, {"b": 1.0}), "b in its state appeared, vanished")
    fails(lambda p: {"a": 1.0}, lambda g, s, p: (zeros, {"a": [1.0]}), "appeared, vanished")
    fails(lambda p: {"a": "text"}, lambda g, s, p: (zeros, s), "cannot be stored")


def test_the_state_of_an_object_may_hold_none_and_booleans():
    seen = []

    def update(grads, state, params):
        seen.append(state)
        return {"w": np.zeros(2)}, state

    start = {"none": None, "flags": np.zeros(0), "one": np.array(True), "two": np.zeros(2, bool)}
    step = ForeignUpdate(
        SimpleNamespace(init=lambda p: start, update=update), own_copies({"w": np.zeros(2)})[1]
    )
    stepped(step, [[5.0, 5.0]], [[1.0, -1.0]])
    assert seen[0]["none"] is None
    assert seen[0]["flags"].shape == (0,)
    assert seen[0]["one"] == np.array(True)
    assert seen[0]["two"].tolist() == [False, False]


def test_how_many_steps_machine_code_can_take(monkeypatch):
    """It takes none while nothing is recorded, and never if the update cannot be compiled."""
    compiled, asked, answers = [], [], [None, ("tape", 5), ("tape", 4), ("tape", 3)]

    def compile_steps(rule, pairs, leaves):
        compiled.append(leaves)
        return SimpleNamespace()

    monkeypatch.setattr(module, "compile_steps", compile_steps)
    made = many()
    monkeypatch.setattr(
        made._gradient_at.run,
        "ahead",
        lambda *given: asked.append(given) or answers[len(asked) - 1],
    )
    assert [made.ahead("params") for _ in range(3)] == [0, 5, 4]
    assert len(compiled) == 1
    assert made._tape == "tape"
    assert [len(leaves) for leaves in compiled[0]] == [3, 3]  # two points and the gradient
    assert [len(arrays) for arrays in made._arrays] == [2 + 2 + 2] * 2
    assert all(batch is PAIR[1] for _, given in asked for batch in given)

    def refuse(*given):
        raise UnsupportedError("no")

    monkeypatch.setattr(module, "compile_steps", refuse)
    made._steps = None
    assert made.ahead("params") == 0
    assert made.ahead("params") == 0
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("steps", "record", "every", "due"),
    [(4, None, 2, True), (5, None, 2, False), (5, "epoch", 2, False), (6, None, 3, True),
     (4, None, None, False), (5, "epoch", None, True)],
)  # fmt: skip
def test_a_checkpoint_is_due_after_some_steps_or_after_each_epoch(steps, record, every, due):
    assert _is_due(SimpleNamespace(steps=steps), record, every) is due


def test_remarks_begin_with_the_first_step():
    data = (np.arange(24.0).reshape(12, 2), np.full(12, 3.0))
    with pytest.warns(TrainingWarning, match="all 12 labels are 3"):
        fit(lambda w, x, y: (w - 1.0) ** 2, 0.0, data, iterations=1)
