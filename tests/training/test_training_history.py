"""What the trainer records, and what its callbacks see."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines import (
    LINE,
    Exact,
    Recorder,
    X,
    Y,
    bits,
    closeness,
    distance_loss,
    few,
    fit_line,
    line_loss,
)

import gradlab
from gradlab import fit

# Losses of the batches alone.
pytestmark = pytest.mark.filterwarnings("ignore::gradlab.errors.ZeroGradientWarning")


# The history


@given(batch_size=st.integers(1, 20), epochs=st.integers(1, 4))
@few
def test_an_epoch_records_the_mean_over_its_samples(batch_size, epochs):
    seen = Recorder()
    history = fit_line(batch_size=batch_size, epochs=epochs, callbacks=[seen]).history
    assert [record.epoch for record in history.epochs] == list(range(1, epochs + 1))
    assert [step.epoch for step in seen.steps if step.epoch] == history.epochs
    assert [step.loss for step in seen.steps] == history.losses
    a_pass = math.ceil(20 / batch_size)
    for number, record in enumerate(history.epochs):
        steps = seen.steps[number * a_pass : (number + 1) * a_pass]
        total = math.fsum(step.loss * len(step.batch[0]) for step in steps)
        assert math.isclose(record.loss, total / 20, rel_tol=20 * np.finfo(float).eps)
        assert steps[-1].epoch is record
        assert all(step.epoch is None for step in steps[:-1])
        assert record.validation_loss is record.accuracy is None
        assert record.seconds >= 0
    assert history.seconds == sum(record.seconds for record in history.epochs)


def test_an_epoch_takes_the_seconds_of_its_own_steps(monkeypatch):
    """Only the loss advances the clock: one second per step, four steps per epoch."""
    now = 0.0

    class Ticking:
        name = "ticking"

        def value_and_grad(self, loss):
            evaluate = gradlab.value_and_grad(loss)

            def ticking(*args):
                nonlocal now
                now += 1.0
                return evaluate(*args)

            return ticking

    monkeypatch.setattr("gradlab.training.loop.time", SimpleNamespace(perf_counter=lambda: now))
    history = fit_line(backend=Ticking(), batch_size=5, epochs=3).history
    assert [record.seconds for record in history.epochs] == [4.0, 4.0, 4.0]
    assert history.seconds == 12.0


def test_the_loss_is_that_before_the_step():
    history = fit_line(epochs=1).history
    assert history.losses == [np.mean(Y**2)] or math.isclose(history.losses[0], np.mean(Y**2))


@pytest.mark.parametrize("validated", [True, False])
def test_validation_and_accuracy_are_those_of_the_epochs_end(validated):
    held_out = (np.array([5.0, 6.0]), np.array([1.0, 2.0]))
    ends = []

    def keep(step):
        if ends and step.iteration % 4 == 0:
            ends[-1] = step.params  # the parameters that the last epoch ended with
        if step.epoch:
            ends.append(None)

    result = fit_line(
        batch_size=5,
        epochs=3,
        validation=held_out if validated else None,
        accuracy=closeness,
        callbacks=[keep],
    )
    ends[-1] = result.params
    assert len(ends) == 3
    for record, params in zip(result.history.epochs, ends, strict=True):
        looked_at = held_out if validated else (X, Y)
        assert record.accuracy == closeness(params, *looked_at)
        assert record.validation_loss == (line_loss(params, *held_out) if validated else None)
        assert isinstance(record.accuracy, float)


def test_validation_does_not_change_what_is_learned():
    plain = fit_line(batch_size=5, epochs=3)
    watched = fit_line(
        batch_size=5,
        epochs=3,
        validation=(X[:2], Y[:2]),
        accuracy=closeness,
        callbacks=[Recorder()],
    )
    assert bits(plain.params) == bits(watched.params)
    assert plain.history.losses == watched.history.losses


# Backends and callbacks


def test_a_users_backend_trains():
    x = np.array([1.0, 5.0, 7.0])
    options = {"batch_size": 2, "epochs": 4, "learning_rate": 0.3, "seed": 3}
    by_hand = fit(distance_loss, np.float64(2.0), (x,), backend=Exact(), **options)
    by_autograd = fit(distance_loss, np.float64(2.0), (x,), backend="autograd", **options)
    assert np.isclose(by_hand.params, by_autograd.params, rtol=1e-14, atol=0)
    assert by_hand.history.losses[0] == by_autograd.history.losses[0]


def test_a_backend_prepares_the_loss_once():
    prepared = []

    class Counting(Exact):
        def value_and_grad(self, loss):
            prepared.append(loss)
            return super().value_and_grad(loss)

    fit(distance_loss, 2.0, (np.ones(4),), backend=Counting(), batch_size=1, epochs=5)
    assert prepared == [distance_loss]


def test_a_callback_sees_the_parameters_before_each_step():
    seen = Recorder()
    result = fit_line(batch_size=5, epochs=2, learning_rate=0.25, callbacks=[seen])
    after = [step.params for step in seen.steps[1:]] + [result.params]
    for step, then in zip(seen.steps, after, strict=True):
        assert step.loss == line_loss(step.params, *step.batch)
        for name in LINE:
            assert then[name] == step.params[name] - 0.25 * step.grads[name]


def test_a_callback_sees_the_parameters_that_were_validated():
    """A callback that saves the best saves those with the lowest validation loss."""
    seen, x = Recorder(), np.linspace(-1, 1, 10)
    validation = (x, 3 * x + 1)
    result = fit_line(
        batch_size=5, epochs=4, learning_rate=0.9, callbacks=[seen], validation=validation
    )
    epochs = [step for step in seen.steps if step.epoch is not None]
    assert len(epochs) == 4
    for step in epochs:
        assert step.epoch.validation_loss == line_loss(step.updated, *validation)
        assert step.epoch.validation_loss != line_loss(step.params, *validation)
    assert all(seen.steps[-1].updated[name] == result.params[name] for name in LINE)


@pytest.mark.parametrize("answer", [True, 1, "stop"])
def test_a_callback_ends_the_training(answer):
    stopper = Recorder(lambda step: answer if step.iteration == 5 else None)
    after = Recorder()
    result = fit_line(batch_size=5, epochs=10, callbacks=[stopper, after])
    assert len(result.history.losses) == len(stopper.steps) == len(after.steps) == 6
    assert len(result.history.epochs) == 1
    assert not result.interrupted
    last = stopper.steps[-1]
    assert result.params["slope"] == last.params["slope"] - 0.1 * last.grads["slope"]


@pytest.mark.parametrize("answer", [None, False, 0, ""])
def test_other_return_values_of_a_callback_do_not_end_the_training(answer):
    result = fit_line(batch_size=5, epochs=2, callbacks=[Recorder(lambda step: answer)])
    assert len(result.history.losses) == 8


def test_an_error_in_a_callback_is_not_swallowed():
    def fail(step):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit_line(callbacks=[fail])
