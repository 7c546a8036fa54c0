"""Losses with a state and with randomness, on every backend and in checkpoints."""

import numpy as np
import optional  # noqa: F401  (JAX is imported before a test begins)
import pytest
from crashing import CrashError, crash_at
from optional import EXACT, unless_missing

import gradlab
from gradlab import fit, optim
from gradlab.errors import LossError, NonFiniteError, OptionError, ParameterError
from gradlab.training.stateful import RecordingGenerator, value_of

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(30, 4)), RNG.normal(size=30)
START = {"w": np.full((4, 3), 0.1), "v": np.array([0.3, -0.2, 0.1])}
STATE = {"mean": np.zeros(3), "count": 0}
KEEP = 0.75


def loss(params, x, y, *, state, rng):
    """Apply dropout after a layer whose outputs are centred by a running mean."""
    hidden = np.dot(x, params["w"])
    if rng is None:
        hidden = hidden - state["mean"]
        after = state
    else:
        centre = np.mean(hidden, axis=0)
        hidden = (hidden - centre) * (rng.random(hidden.shape) < KEEP) / KEEP
        after = {"mean": 0.9 * state["mean"] + 0.1 * centre, "count": state["count"] + 1}
    noise = 0.0 if rng is None else 0.01 * rng.normal(size=len(y))
    return np.mean((np.dot(np.tanh(hidden), params["v"]) + noise - y) ** 2), after


def accuracy(params, x, y, *, state):
    return float(np.clip(np.mean(np.dot(x, params["w"]) > state["mean"]), 0, 1))


def train(**options):
    options = {
        "backend": "autograd",
        "batch_size": 8,
        "epochs": 3,
        "state": STATE,
        "has_aux": True,
        "validation": (X[:10], Y[:10]),
        "accuracy": accuracy,
    } | options
    return fit(options.pop("loss", loss), START, (X, Y), **options)


def outcome(result):
    epochs = [(e.loss, e.validation_loss, e.accuracy) for e in result.history.epochs]
    leaves = {name: leaf.tobytes() for name, leaf in result.params.items()}
    return leaves, result.history.losses, epochs, {k: v.tobytes() for k, v in result.state.items()}


def test_the_state_is_that_of_the_formula():
    steps = []
    result = train(callbacks=[steps.append])
    mean = np.zeros(3)
    for step in steps:
        mean = 0.9 * mean + 0.1 * np.mean(np.dot(step.batch[0], step.params["w"]), axis=0)
        np.testing.assert_allclose(step.state["mean"], mean, rtol=1e-13)
    assert result.state["count"] == len(steps) == 12
    np.testing.assert_array_equal(result.state["mean"], steps[-1].state["mean"])
    assert result.history.epochs[-1].accuracy == accuracy(
        result.params, X[:10], Y[:10], state=result.state
    )
    wanted, _ = loss(result.params, X[:10], Y[:10], state=result.state, rng=None)
    assert result.history.epochs[-1].validation_loss == wanted


@pytest.mark.parametrize("name", [unless_missing(name) for name in EXACT])
def test_every_backend_sees_the_same_draws_and_states(name):
    """The bound is the error of a forward difference, the least exact backend."""
    wanted, result = train(), train(backend=name)
    np.testing.assert_allclose(result.history.losses, wanted.history.losses, rtol=1e-5)
    np.testing.assert_allclose(result.state["mean"], wanted.state["mean"], rtol=1e-4, atol=1e-6)


def test_the_tape_replays_with_masks_and_states():
    """A recording serves all draws and states; otherwise, there would be a warning."""
    wanted = train(epochs=20)
    result = train(loss=loss, backend="tape", epochs=20)
    np.testing.assert_allclose(result.history.losses, wanted.history.losses, rtol=1e-9)
    function = gradlab.value_and_grad(value_of(loss), "tape")
    for seed in range(5):
        rng = RecordingGenerator(np.random.default_rng(seed))
        loss(START, X, Y, state=STATE, rng=rng)
        state = {"mean": rng.random(3), "count": seed}
        value, _ = function(START, X, Y, state, rng.draws)
        assert value == pytest.approx(value_of(loss)(START, X, Y, state, rng.draws), rel=1e-14)
    assert function.program is not None


def test_draws_are_fresh_in_each_step_and_equal_for_equal_seeds():
    drawn = []

    def watched(params, x, *, state, rng):
        if rng is not None:
            value = rng.random()
            drawn.append(value)
        return np.sum(params**2), state

    for seed in (0, 0, 1):
        fit(watched, np.ones(2), (X,), has_aux=True, epochs=2, seed=seed, backend="central")
    drawn = [float(value) for value in drawn]
    assert len(set(drawn)) == 4  # two seeds of two steps each; every evaluation sees the same


@pytest.mark.parametrize("keep_best", [False, True])
@pytest.mark.parametrize("backend", ["autograd", "tape"])
def test_a_training_that_crashed_resumes_to_the_same_bits(backend, keep_best, tmp_path):
    options = {"backend": backend, "keep_best": keep_best, "optimizer": optim.adam(0.05)}
    wanted = outcome(train(checkpoint=tmp_path / "undisturbed", **options))
    path = tmp_path / "checkpoint"
    for count in (0, 5, 9):
        with pytest.raises(CrashError):
            train(checkpoint=path, resume=True, callbacks=[crash_at(count)], **options)
    assert outcome(train(checkpoint=path, resume=True, **options)) == wanted


def test_another_start_of_the_state_is_refused(tmp_path):
    path = tmp_path / "checkpoint"
    train(checkpoint=path)
    with pytest.raises(OptionError, match=r"state was .* and is"):
        train(checkpoint=path, resume=True, state={"mean": np.ones(3), "count": 0})


@pytest.mark.filterwarnings("ignore:the learning rate:gradlab.errors.TrainingWarning")
def test_the_best_epoch_has_its_own_state():
    seen = []
    result = train(
        keep_best=True,
        learning_rate=1.5,
        epochs=8,
        callbacks=[lambda step: seen.append(step) if step.epoch else None],
    )
    best = min(seen, key=lambda step: step.epoch.validation_loss)
    assert best is not seen[-1]
    np.testing.assert_array_equal(result.params["w"], best.updated["w"])
    np.testing.assert_array_equal(result.state["mean"], best.state["mean"])


def test_the_callers_objects_do_not_change():
    state = {"mean": np.zeros(3), "count": np.array(0)}
    train(state=state)
    assert (state["mean"] == 0).all()
    assert state["count"] == 0


def no_pair(params, x, y, *, state, rng):
    return np.sum(params["w"] ** 2)


def lost(params, x, y, *, state, rng):
    return np.sum(params["w"] ** 2), {"mean": state["mean"]}


def reshaped(params, x, y, *, state, rng):
    return np.sum(params["w"] ** 2), state | {"mean": np.zeros(2)}


def retyped(params, x, y, *, state, rng):
    return np.sum(params["w"] ** 2), state | {"count": state["count"] + 0.5}


def infinite(params, x, y, *, state, rng):
    return np.sum(params["w"] ** 2), state | {"mean": state["mean"] + np.inf}


def writing(params, x, y, *, state, rng):
    if type(params["w"]) is np.ndarray:  # not where a backend traces it
        state["mean"][0] = 1.0
    return np.sum(params["w"] ** 2), state


def drawing_by_parameters(params, x, y, *, state, rng):
    return np.sum(rng.normal(params["w"])), state


def shuffling(params, x, y, *, state, rng):
    rng.shuffle(x)
    return np.sum(params["w"] ** 2), state


def fickle(params, x, y, *, state, rng):
    size = 3 if type(params["w"]) is np.ndarray else 4
    return np.sum(params["w"] ** 2) + np.sum(rng.normal(size=size)), state


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (no_pair, LossError, "has_aux=True returns a pair"),
        (lost, ParameterError, "state in which count appeared or vanished"),
        (reshaped, ParameterError, r"state's mean with shape \(2,\); expected \(3,\)"),
        (retyped, ParameterError, "state's count as float64; it began as int64"),
        (infinite, gradlab.errors.DivergenceError, r"the state's mean\[0\] is inf"),
        (writing, ValueError, "read-only"),
        (drawing_by_parameters, LossError, "a draw with ndarray as an argument"),
        (shuffling, AttributeError, "rng.shuffle: a loss draws by methods that return numbers"),
        (fickle, LossError, r"drew '0 normal\(size=4\)' where it had drawn '0 normal\(size=3\)'"),
    ],
)
def test_losses_that_break_the_contract(function, error, message):
    with pytest.raises(error, match=message):
        train(loss=function)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"has_aux": False}, "a state needs has_aux=True"),
        ({"has_aux": 1}, "has_aux=1: give True or False"),
        ({"backend": "autograd", "gradient": abs}, "a gradient function takes no state"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(OptionError, match=message):
        train(**options)


@pytest.mark.parametrize(
    ("state", "error"), [({"a": "text"}, ParameterError), ({"a": np.inf}, NonFiniteError)]
)
def test_invalid_states_are_refused(state, error):
    with pytest.raises(error, match="the state's a"):
        train(state=state)
