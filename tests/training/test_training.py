"""The trainer against its formula, against the reference of its own seed, and against bad input."""

import math
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections import namedtuple
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optional import EXACT, INSTALLED, each_backend, unless_missing
from processes import PATIENCE, running

import gradlab
from gradlab import descend, fit, network
from gradlab.errors import (
    BackendError,
    DataError,
    DivergenceError,
    GradlabError,
    LossError,
    NonFiniteError,
    OptionError,
    ParameterError,
)

few = settings(max_examples=30, deadline=None)

X = np.linspace(-1, 1, 20)
Y = 3 * X + 1
LINE = {"slope": 0.0, "offset": 0.0}

# Losses that look at nothing but their batches.
pytestmark = pytest.mark.filterwarnings("ignore::gradlab.errors.ZeroGradientWarning")


def line_loss(params, x, y):
    return ((params["slope"] * x + params["offset"] - y) ** 2).mean()


def fit_line(loss=line_loss, params=LINE, data=(X, Y), **options):
    return fit(loss, params, data, **options)


def distance_loss(p, x):
    """Half the squared distance: its gradient is p - mean(x)."""
    return 0.5 * ((p - x) ** 2).mean()


class Exact:
    """A backend of the user's own, with the derivative of `distance_loss` by hand."""

    name = "by hand"

    def value_and_grad(self, loss):
        return lambda p, x: (float(loss(p, x)), p - x.mean())


class Constant:
    """A backend that returns what it is told to, whatever the loss."""

    name = "constant"

    def __init__(self, value, grads):
        self.value, self.grads = value, grads

    def value_and_grad(self, loss):
        return lambda params, *args: (self.value, self.grads)


class Recorder:
    """A callback that keeps every step, and may answer with something."""

    def __init__(self, answer=None):
        self.steps, self.answer = [], answer

    def __call__(self, step):
        self.steps.append(step)
        return self.answer(step) if self.answer else None


def bits(params):
    return [leaf.tobytes() for _, leaf in gradlab.params.named_leaves(params)]


# The step


@given(
    start=st.integers(-50, 50),
    data=st.lists(st.integers(-50, 50), min_size=1, max_size=6),
    learning_rate=st.sampled_from([0.125, 0.25, 0.5]),
    momentum=st.sampled_from([0.0, 0.25, 0.5]),
    backend=st.sampled_from(["autograd", Exact()]),
)
@few
def test_each_step_is_the_formula_to_the_last_bit(start, data, learning_rate, momentum, backend):
    seen = Recorder()
    result = fit(
        distance_loss,
        float(start),
        (np.array(data, float),),
        backend=backend,
        learning_rate=learning_rate,
        momentum=momentum,
        batch_size=1,
        iterations=4,
        callbacks=[seen],
    )
    # Small integers and powers of two: nothing is rounded, so that nothing may differ.
    p, v = Fraction(start), Fraction(0)
    for step in seen.steps:
        x = Fraction(float(step.batch[0][0]))
        assert Fraction(float(step.params)) == p
        assert Fraction(float(step.grads)) == p - x
        assert Fraction(step.loss) == (p - x) ** 2 / 2
        v = Fraction(momentum) * v + (p - x)
        p = p - Fraction(learning_rate) * v
    assert Fraction(float(result.params)) == p
    assert len(seen.steps) == 4


def test_two_steps_with_momentum_written_out():
    data = (np.array([1.0]),)
    one = fit(distance_loss, 3.0, data, learning_rate=0.5, momentum=0.5, iterations=1).params
    two = fit(distance_loss, 3.0, data, learning_rate=0.5, momentum=0.5, iterations=2).params
    assert one == 3.0 - 0.5 * 2.0  # v = 3 - 1
    assert two == 2.0 - 0.5 * (0.5 * 2.0 + 1.0)  # v = μ v + (2 - 1)


def test_a_full_batch_is_gradient_descent():
    result = fit(distance_loss, 9.0, (np.array([1.0, 3.0]),), learning_rate=0.25, epochs=3)
    assert result.params == 2 + 7 * 0.75**3
    assert result.history.losses == [0.5 * ((7 * 0.75**t) ** 2 + 1) for t in range(3)]


# Minibatches


@given(st.data())
@few
def test_an_epoch_visits_each_sample_once(data):
    n = data.draw(st.integers(1, 30))
    batch_size = data.draw(st.integers(1, n))
    epochs = data.draw(st.integers(1, 3))
    x = np.arange(n)
    seen = Recorder()
    fit(
        lambda p, x, y: p * 0.0,
        1.0,
        (x, 2 * x),
        batch_size=batch_size,
        epochs=epochs,
        callbacks=[seen],
    )
    assert [step.iteration for step in seen.steps] == list(range(len(seen.steps)))
    a_pass = math.ceil(n / batch_size)
    assert len(seen.steps) == epochs * a_pass
    for epoch in range(epochs):
        batches = [step.batch for step in seen.steps[epoch * a_pass : (epoch + 1) * a_pass]]
        assert sorted(np.concatenate([b[0] for b in batches])) == list(range(n))
        assert all(np.array_equal(b[1], 2 * b[0]) for b in batches)  # rows stay together
        assert [len(b[0]) for b in batches[:-1]] == [batch_size] * (a_pass - 1)
        assert len(batches[-1][0]) == n - batch_size * (a_pass - 1)


def orders(**options):
    seen = Recorder()
    fit(lambda p, x: p * 0.0, 1.0, (np.arange(30),), batch_size=7, callbacks=[seen], **options)
    return [step.batch[0].tolist() for step in seen.steps]


def test_each_epoch_has_an_order_of_its_own():
    batches = orders(epochs=3)
    passes = [sum(batches[start : start + 5], []) for start in (0, 5, 10)]  # noqa: RUF017
    assert all(sorted(order) == list(range(30)) for order in passes)
    assert passes[0] != passes[1] != passes[2] != passes[0]
    assert passes[0] != list(range(30))


@given(count=st.integers(1, 40), batch_size=st.integers(1, 9))
@few
def test_iterations_are_counted_exactly(count, batch_size):
    seen = Recorder()
    result = fit(
        lambda p, x: p * 0.0,
        1.0,
        (np.arange(9),),
        iterations=count,
        batch_size=batch_size,
        callbacks=[seen],
    )
    assert len(result.history.losses) == len(seen.steps) == count
    assert all(len(step.batch[0]) == batch_size for step in seen.steps)
    assert len(result.history.epochs) == math.ceil(count / math.ceil(9 / batch_size))
    assert seen.steps[-1].epoch is not None  # the last epoch is recorded, complete or not


def test_iterations_draw_uniformly_and_with_replacement():
    seen = Recorder()
    fit(
        lambda p, x: p * 0.0,
        1.0,
        (np.arange(10),),
        iterations=1000,
        batch_size=10,
        callbacks=[seen],
    )
    batches = np.array([step.batch[0] for step in seen.steps])
    counts = np.bincount(batches.ravel(), minlength=10)
    # Binomial(10000, 1/10) has a standard deviation of 30.
    assert (abs(counts - 1000) <= 6 * 30).all()
    # Ten draws of ten are all different in 10!/10^10 = 0.04 % of the cases.
    assert np.mean([len(set(batch)) == 10 for batch in batches]) < 0.01


def test_the_batch_has_the_dtypes_of_the_data():
    seen = Recorder()
    x, y = np.ones((4, 2), np.uint8), [1, 2, 3, 4]
    fit(lambda p, x, y: p * x.mean(), 1.0, (x, y), epochs=1, callbacks=[seen])
    assert seen.steps[0].batch[0].dtype == np.uint8
    assert seen.steps[0].batch[0].shape == (4, 2)
    assert seen.steps[0].batch[1].dtype == np.int64


def test_by_default_ten_epochs_of_at_most_a_hundred_samples():
    seen = Recorder()
    result = fit(lambda p, x: p * 0.0, 1.0, (np.zeros(250),), callbacks=[seen])
    assert len(result.history.epochs) == 10
    assert [len(step.batch[0]) for step in seen.steps[:3]] == [100, 100, 50]
    seen = Recorder()
    fit(lambda p, x: p * 0.0, 1.0, (np.zeros(30),), callbacks=[seen])
    assert [len(step.batch[0]) for step in seen.steps] == [30] * 10


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
    """By a clock that the loss alone moves on: a second a step, four steps an epoch."""
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


def closeness(params, x, y):
    return float(np.mean(abs(params["slope"] * x + params["offset"] - y) < 1))


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


# Determinism


def train_network(seed=0, **options):
    rng = np.random.default_rng(1)
    x, labels = rng.normal(size=(40, 3)), rng.integers(2, size=40)
    options = {"batch_size": 7, "epochs": 3, "momentum": 0.5} | options
    return fit(network.loss, network.init((3, 4, 2), 0), (x, labels), seed=seed, **options)


@pytest.mark.parametrize("counted", [{"epochs": 3}, {"epochs": None, "iterations": 10}])
def test_the_same_seed_gives_the_same_bits(counted):
    one, again = train_network(5, **counted), train_network(5, **counted)
    assert one.history.losses == again.history.losses
    assert bits(one.params) == bits(again.params)
    by_generator = train_network(np.random.default_rng(5), **counted)
    assert bits(one.params) == bits(by_generator.params)
    other = train_network(6, **counted)
    assert one.history.losses != other.history.losses
    assert bits(one.params) != bits(other.params)


def test_a_generator_goes_on_where_it_was():
    rng = np.random.default_rng(5)
    first, second = train_network(rng), train_network(rng)
    assert bits(first.params) != bits(second.params)
    assert orders(epochs=1, seed=3) == orders(epochs=2, seed=3)[:5]


def test_all_backends_see_the_same_minibatches():
    batches = [orders(epochs=2, backend=backend) for backend in (*INSTALLED, Constant(1.0, 0.0))]
    assert all(other == batches[0] for other in batches)


@given(seed=st.integers(0, 2**32), n=st.integers(4, 12), learning=st.floats(0.1, 1.0))
@settings(max_examples=10, deadline=None)
def test_central_and_autograd_stay_together_as_far_as_their_errors_allow(seed, n, learning):
    """The loss of a network without hidden layer is convex, so that errors add up, no more.

    Its Hessian H is that of log Σ exp, at most 1/2 (in norm), times |(x, 1)|². For a learning rate
    η <= 2 / |H| a step of gradient descent brings no two points further apart; so the distance
    after T steps is at most T η times the error of one gradient.
    """
    rng = np.random.default_rng(seed)
    d, k, epochs = 3, 4, 10
    x, labels = rng.normal(size=(n, d)), rng.integers(k, size=n)
    start = network.init((d, k), rng, scale="normal")
    rows = np.hstack([x, np.ones((n, 1))])
    learning_rate = learning * 2 / (0.5 * np.max(np.sum(rows**2, axis=1)))
    seen = Recorder()
    runs = {
        backend: fit(
            network.loss,
            start,
            (x, labels),
            backend=backend,
            learning_rate=learning_rate,
            batch_size=3,
            epochs=epochs,
            seed=seed,
            callbacks=[seen],
        )
        for backend in ("autograd", "central")
    }
    eps = np.finfo(float).eps
    largest = max(abs(leaf).max() for step in seen.steps for leaf in step.params.values())
    # The default step: ε^(1/3) max(1, |p|), rounded to a power of two.
    h_least, h_most = eps ** (1 / 3) / 2**0.5, eps ** (1 / 3) * 2**0.5 * max(1, largest)
    # One entry of W moves one logit, by x times as much; |f'''| of log Σ exp is p(1-p)|1-2p|.
    truncation = h_most**2 / 6 * np.max(abs(rows)) ** 3 / (6 * 3**0.5)
    # Logits are sums of d + 1 terms; log Σ exp over them; a mean over n samples.
    logit = largest * np.max(np.sum(abs(rows), axis=1))
    loss_error = eps * ((d + 1) * 2 * logit + (n + k + 14) * (1 + 2 * logit))
    entries = (d + 1) * k
    gradient_error = entries**0.5 * (truncation + loss_error / h_least)
    gradient_error += entries**0.5 * eps * 20 * (1 + logit)  # autograd's own round-off
    step_error = learning_rate * gradient_error + entries**0.5 * eps * largest
    steps = len(runs["central"].history.losses)
    moved = [runs["central"].params[name] - runs["autograd"].params[name] for name in ("W1", "b1")]
    assert np.linalg.norm(np.concatenate([leaf.ravel() for leaf in moved])) <= steps * step_error
    assert steps == epochs * math.ceil(n / 3)
    # That is not much: the training itself went at least a thousand times as far.
    gone = np.linalg.norm(runs["autograd"].params["W1"] - start["W1"])
    assert steps * step_error < 1e-3 * gone


# Backends and callbacks


def test_a_backend_of_ones_own_plugs_in():
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
    """Saving the best saves those whose validation loss was the least."""
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
def test_other_answers_do_not(answer):
    result = fit_line(batch_size=5, epochs=2, callbacks=[Recorder(lambda step: answer)])
    assert len(result.history.losses) == 8


def test_an_error_in_a_callback_is_not_swallowed():
    def fail(step):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        fit_line(callbacks=[fail])


# Ctrl-C


def test_ctrl_c_in_a_callback_returns_what_was_reached():
    def press(step):
        if step.iteration == 5:
            raise KeyboardInterrupt

    result = fit_line(batch_size=5, epochs=10, callbacks=[press])
    stopped = fit_line(batch_size=5, epochs=10, callbacks=[lambda step: step.iteration == 5])
    assert result.interrupted
    assert bits(result.params) == bits(stopped.params)
    assert result.history.losses == stopped.history.losses


@each_backend(name for name in gradlab.BACKENDS if name != "jax")  # it calls the loss once
def test_ctrl_c_in_the_loss_returns_the_steps_before(backend):
    calls = []
    # The tape calls it twice for the first step; torch once on NumPy's arrays, to compare.
    last = 3 if backend == "tape" else 38

    def pressing(params, x, y):
        calls.append(None)
        if len(calls) == last:
            raise KeyboardInterrupt
        return line_loss(params, x, y)

    result = fit_line(pressing, batch_size=5, epochs=10, backend=backend)
    assert result.interrupted
    done = len(result.history.losses)
    assert done == {"autograd": 37, "torch": 36, "tape": 1, "central": 7, "forward": 9}.get(
        backend, done
    )
    again = fit_line(batch_size=5, epochs=None, iterations=None, backend=backend, callbacks=[
        lambda step: step.iteration == done - 1
    ])  # fmt: skip
    assert bits(result.params) == bits(again.params)


def test_ctrl_c_before_the_first_step_returns_the_start():
    def press(params, x, y):
        raise KeyboardInterrupt

    result = fit_line(press)
    assert result.interrupted
    assert result.history.losses == []
    assert bits(result.params) == bits(LINE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_a_real_sigint():
    script = """
        import signal
        import numpy as np
        from gradlab import fit
        signal.signal(signal.SIGINT, signal.default_int_handler)
        x = np.linspace(-1, 1, 50)
        result = fit(
            lambda p, x: ((p * x - x) ** 2).mean(), 0.0, (x,),
            epochs=10**6, learning_rate=1e-3,
            callbacks=[lambda step: print("ready", flush=True) if step.iteration == 3 else None],
        )
        n = len(result.history.losses)
        print(result.interrupted, 4 <= n, np.isfinite(result.params), 0 < result.params < 2)
    """
    with running(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(gradlab.__file__).parents[1])},
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE)
    assert errors == ""
    assert output.split() == ["True"] * 4
    assert process.returncode == 0


# Divergence


def nan_at(call):
    calls = []

    def loss(params, x, y):
        calls.append(None)
        return line_loss(params, x, y) * (np.nan if len(calls) == call else 1.0)

    return loss


@pytest.mark.parametrize("iteration", [0, 1, 6])
def test_a_nan_names_its_iteration_and_keeps_the_last_good_parameters(iteration):
    seen = Recorder()
    advice = r"lower the learning rate, 0\.1, to 0\.01" if iteration else "before the first step"
    with pytest.raises(
        DivergenceError, match=rf"iteration {iteration}: the loss is nan.*{advice}"
    ) as caught:
        fit_line(nan_at(iteration + 1), batch_size=5, epochs=4, callbacks=[seen])
    assert caught.value.iteration == iteration
    assert len(caught.value.history.losses) == iteration
    assert len(caught.value.history.epochs) == iteration // 4
    good = seen.steps[-1].params if seen.steps else LINE
    assert bits(caught.value.params) == bits(good)


@pytest.mark.parametrize("learning_rate", [1e3, 1e30, 1e160, 1e308])
@each_backend()
def test_a_learning_rate_that_is_far_too_large(learning_rate, backend):
    with pytest.raises(DivergenceError, match="diverged at iteration") as caught:
        fit_line(learning_rate=learning_rate, epochs=1000, backend=backend)
    error = caught.value
    assert error.iteration == len(error.history.losses)
    assert np.isfinite(error.history.losses).all()
    assert np.isfinite(list(error.params.values())).all()
    # What was kept is what the last loss that was recorded belongs to.
    assert math.isclose(line_loss(error.params, X, Y), error.history.losses[-1], rel_tol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_backend_that_returns_a_gradient_that_is_not_finite(value):
    backend = Constant(1.0, {"slope": 1.0, "offset": value})
    with pytest.raises(DivergenceError, match=r"iteration 0: .*offset is (nan|-?inf)") as caught:
        fit_line(backend=backend)
    assert bits(caught.value.params) == bits(LINE)
    assert isinstance(caught.value.__cause__, NonFiniteError)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_backend_that_returns_a_loss_that_is_not_finite(value):
    with pytest.raises(DivergenceError, match=r"iteration 0: the loss is"):
        fit_line(backend=Constant(value, LINE))


@pytest.mark.parametrize("epochs", [1, 3])
def test_a_last_step_that_ends_infinite(epochs):
    # 1.7e308 is nearly the largest number: the last step goes one tenth beyond it.
    backend = Constant(1.0, 1e308)
    options = {"backend": backend, "learning_rate": 1.9 / epochs, "epochs": epochs}
    with pytest.raises(DivergenceError, match=rf"iteration {epochs}: params is -inf") as caught:
        fit(lambda p, x: p * 0.0, 0.0, (X,), **options)
    assert np.isfinite(caught.value.params)
    assert len(caught.value.history.losses) == epochs


def test_float32_overflows_on_its_own_terms():
    start = {"slope": np.float32(0), "offset": np.float32(0)}
    with pytest.raises(DivergenceError) as caught:
        fit_line(params=start, learning_rate=1e4, epochs=1000)
    assert all(leaf.dtype == np.float32 for leaf in caught.value.params.values())
    assert all(np.isfinite(leaf) for leaf in caught.value.params.values())


@pytest.mark.parametrize("option", ["validation", "accuracy"])
def test_no_warning_leaks_from_an_epoch_that_ended_too_far_away(option):
    watch = {"validation": (X, Y)} if option == "validation" else {"accuracy": line_loss}
    with pytest.raises(DivergenceError):
        fit_line(learning_rate=1e200, epochs=3, **watch)


def test_ctrl_c_does_not_return_parameters_that_are_not_finite():
    def press(step):
        raise KeyboardInterrupt

    backend = Constant(1.0, 1e308)
    with pytest.raises(DivergenceError):
        fit(distance_loss, 0.0, (X,), backend=backend, learning_rate=2.0, callbacks=[press])


# Parameters


def nested_loss(params, x):
    first, (second, third) = params["layers"]
    return (
        0.5 * ((first["a"] - x.mean()) ** 2).sum()
        + 0.5 * (second - 1.0) ** 2
        + 0.5 * ((third - 2.0) ** 2).sum()
        + 0.5 * (params["scale"] - 3.0) ** 2
    )


def test_parameters_of_any_structure():
    pair = namedtuple("pair", "second third")
    params = {
        "layers": [{"a": np.zeros((2, 3), np.float32)}, pair(np.array(0.0), np.zeros(2))],
        "scale": 0.0,
    }
    trained = fit(nested_loss, params, (np.full(5, 4.0),), learning_rate=0.5, epochs=1).params
    assert type(trained["layers"]) is list
    assert type(trained["layers"][1]) is pair
    assert np.array_equal(trained["layers"][0]["a"], np.full((2, 3), 2.0))
    assert trained["layers"][0]["a"].dtype == np.float32
    assert trained["layers"][1].second == 0.5
    assert trained["layers"][1].second.shape == ()
    assert np.array_equal(trained["layers"][1].third, [1.0, 1.0])
    assert trained["scale"] == 1.5
    assert isinstance(trained["scale"], float)


@pytest.mark.parametrize("start", [3, 3.0, np.int8(3), np.float64(3), np.array(3.0), np.array(3)])
def test_a_bare_number_is_trained_too(start):
    trained = fit(distance_loss, start, (np.array([1.0]),), learning_rate=0.25, epochs=1).params
    assert trained == 2.5
    assert trained.dtype == np.float64
    assert trained.shape == ()
    assert isinstance(trained, np.ndarray) == isinstance(start, np.ndarray)


def test_a_bare_array_is_trained_too():
    start = np.array([[3, 5]])
    trained = fit(distance_loss, start, (np.array([[1, 1]]),), learning_rate=0.5, epochs=1).params
    assert np.array_equal(trained, [[2.5, 4.0]])
    assert start.dtype == np.int64


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("backend", ["autograd", "central"])
@pytest.mark.parametrize("learning_rate", [0.1, np.float64(0.1), np.float32(0.1)])
def test_the_dtype_is_kept(dtype, backend, learning_rate):
    params = network.init((2, 3, 2), 0, dtype=dtype)
    x, labels = np.ones((4, 2)), np.array([0, 1, 0, 0])
    seen = Recorder()
    trained = fit(
        network.loss,
        params,
        (x, labels),
        backend=backend,
        learning_rate=learning_rate,
        momentum=learning_rate,
        epochs=2,
        callbacks=[seen],
    ).params
    for tree in (trained, seen.steps[-1].grads, seen.steps[-1].params):
        assert {leaf.dtype for leaf in tree.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8])
def test_integers_are_trained_as_float64(dtype):
    params = {"slope": np.zeros((), dtype), "offset": np.ones((), dtype)}
    trained = fit_line(params=params, epochs=1).params
    as_floats = fit_line(params={"slope": np.zeros(()), "offset": np.ones(())}, epochs=1).params
    assert bits(trained) == bits(as_floats)


@each_backend()
def test_nothing_is_mutated(backend):
    params = network.init((3, 4, 2), 0)
    x, labels = np.random.default_rng(0).normal(size=(6, 3)), np.array([0, 1, 1, 0, 1, 0])
    before = bits([params, x, labels])
    for array in (*params.values(), x, labels):
        array.flags.writeable = False  # writing into it would raise
    seen = Recorder()
    trained = fit(
        network.loss, params, (x, labels), backend=backend, epochs=3, momentum=0.5, callbacks=[seen]
    ).params
    assert bits([params, x, labels]) == before
    assert not any(np.shares_memory(trained[name], params[name]) for name in params)
    # Nor is what the callbacks were shown.
    kept = [bits(step.params) for step in seen.steps]
    assert len({b"".join(leaves) for leaves in kept}) == 3
    assert kept[0] == bits(params)


def test_no_step_leaves_the_parameters_equal_but_not_the_same():
    params = {"a": np.ones(2), "b": np.zeros(0)}
    trained = fit(lambda p, x: p["a"].sum() * 0.0, params, (X,), epochs=1).params
    assert bits(trained) == bits(params)
    assert trained["b"].shape == (0,)
    trained["a"][:] = 5
    assert (params["a"] == 1).all()


# Bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: give an integer from 1"),
        ({"batch_size": -3}, "batch_size=-3: give an integer from 1"),
        ({"batch_size": 2.0}, r"batch_size=2\.0: give an integer from 1"),
        ({"batch_size": "3"}, "batch_size='3': give an integer from 1"),
        ({"batch_size": 21}, "batch_size=21: there are only 20 samples"),
        ({"epochs": 0}, "epochs=0: give an integer from 1"),
        ({"epochs": -1}, "epochs=-1: give an integer from 1"),
        ({"epochs": 1.5}, r"epochs=1\.5: give an integer from 1"),
        ({"iterations": 0}, "iterations=0: give an integer from 1"),
        ({"iterations": 2.5}, r"iterations=2\.5: give an integer from 1"),
        ({"epochs": 2, "iterations": 5}, "epochs and iterations exclude each other"),
        ({"learning_rate": 0}, "learning_rate=0.*: give a positive number"),
        ({"learning_rate": -0.1}, r"learning_rate=-0\.1: give a positive number"),
        ({"learning_rate": np.nan}, "learning_rate=nan: give a positive number"),
        ({"learning_rate": np.inf}, "learning_rate=inf: give a positive number"),
        ({"momentum": 1}, "momentum=1.*: give a number from 0 to below 1"),
        ({"momentum": -0.1}, r"momentum=-0\.1: give a number from 0 to below 1"),
        ({"momentum": np.nan}, "momentum=nan: give a number from 0 to below 1"),
        ({"seed": "abc"}, "seed='abc': give an integer from 0"),
        ({"seed": -1}, "seed=-1: give an integer from 0"),
        ({"seed": None}, "seed=None: give an integer from 0"),
        ({"seed": 1.5}, r"seed=1\.5: give an integer from 0"),
        ({"seed": True}, "seed=True: give an integer from 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(OptionError, match=message):
        fit_line(**options)


@pytest.mark.parametrize("name", ["batch_size", "epochs", "iterations"])
def test_counts_may_be_integers_of_numpy(name):
    plain = fit_line(**{name: 7})
    for count in (np.int64(7), np.uint8(7)):
        assert bits(fit_line(**{name: count}).params) == bits(plain.params)


@pytest.mark.parametrize("name", ["batch_size", "epochs", "iterations", "learning_rate"])
def test_a_bool_is_no_number(name):
    with pytest.raises(OptionError, match=f"{name}=True"):
        fit_line(**{name: True})


@pytest.mark.parametrize("name", ["learning_rate", "momentum"])
@pytest.mark.parametrize("value", ["0.1", None, 1j, [0.1]])
def test_a_rate_that_is_no_number(name, value):
    with pytest.raises(OptionError, match=f"{name}="):
        fit_line(**{name: value})


Named = namedtuple("Named", "pixels labels")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((), r"data: give the arrays of which the loss takes rows, such as \(x, y\)"),
        ([], "data: give the arrays"),
        (X, "data: give the arrays"),
        ("xy", "data: give the arrays"),
        (None, "data: give the arrays"),
        ({"x": X}, "data: give the arrays"),
        (iter((X, Y)), "data: give the arrays"),
        ((X[:0], Y[:0]), r"data: x holds no samples \(shape \(0,\)\)"),
        ((3.0, 4.0), r"data: x holds no samples \(shape \(\)\)"),
        ((X, Y[:3]), "data: 20 samples of x, but 3 of y"),
        ((X, Y, Y[:3]), "data: 20 samples of array 0, but 3 of array 2"),
        (Named(X, Y[:3]), "data: 20 samples of pixels, but 3 of labels"),
        ((np.where(X == 1, np.nan, X), Y), r"data: x\[19\] is not finite"),
        ((X, np.where(X == 1, np.inf, Y)), r"data: y\[19\] is not finite"),
        ((np.full((2, 3), np.nan), [1, 2]), r"data: x\[0, 0\] is not finite"),
        ((["a"] * 20, Y), "data: x has dtype <U1; expected numbers"),
        ((X, [None] * 20), "data: y has dtype object; expected numbers"),
    ],
)
def test_data_that_cannot_be_trained_on(data, message):
    with pytest.raises(DataError, match=message):
        fit_line(data=data)
    if data is not None:
        with pytest.raises(DataError, match="validation data: "):
            fit_line(validation=data)


def test_rows_of_different_lengths_are_no_data():
    with pytest.raises(DataError, match="x"):
        fit_line(data=([[1.0], [1.0, 2.0]], [1.0, 2.0]))


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("centrall", "unknown backend 'centrall': did you mean 'central'"),
        ("zzz", "unknown backend 'zzz': choose from autograd"),
        (None, "None is not a backend"),
        (3, "3 is not a backend"),
        (gradlab.Autograd, "is not a backend"),
        (object(), "is not a backend"),
    ],
)
def test_backends_that_are_none(backend, message):
    with pytest.raises(BackendError, match=message):
        fit_line(backend=backend)


@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({"slope": 1.0}, "the gradient lacks offset"),
        (LINE | {"curve": 1.0}, "the gradient has curve, which the parameters have not"),
        ({"slope": np.ones(2), "offset": 1.0}, r"slope has shape \(2,\) in the gradient"),
        ([1.0, 1.0], "the gradient lacks slope, offset"),
        (np.ones(2), "the gradient lacks slope, offset"),
        ({"slope": 1j, "offset": 1.0}, "slope is complex"),
        ({"slope": "up", "offset": 1.0}, "slope is 'up'"),
        (None, "None"),
    ],
)
def test_a_backend_whose_gradient_does_not_fit(grads, message):
    with pytest.raises(ParameterError, match=message):
        fit_line(backend=Constant(1.0, grads))


@pytest.mark.parametrize("value", [None, "low", 1j, np.ones(2)])
def test_a_backend_whose_loss_is_no_number(value):
    with pytest.raises(LossError, match="the loss returned"):
        fit_line(backend=Constant(value, LINE))


@pytest.mark.parametrize("outcome", [3.0, None, (1.0,), (1.0, LINE, LINE)])
def test_a_backend_that_returns_no_pair(outcome):
    class Alone:
        name = "alone"

        def value_and_grad(self, loss):
            return lambda params, *args: outcome

    with pytest.raises(GradlabError, match="alone"):
        fit_line(backend=Alone())


@pytest.mark.parametrize("options", [{"accuracy": 3}, {"callbacks": 3}, {"callbacks": [3]}])
def test_what_is_not_called_back(options):
    with pytest.raises(OptionError, match=next(iter(options))):
        fit_line(**options)


@pytest.mark.parametrize("answer", [None, "good", np.ones(2), 1j])
def test_an_accuracy_that_is_no_number(answer):
    with pytest.raises(LossError, match="the accuracy returned"):
        fit_line(accuracy=lambda params, x, y: answer)


@pytest.mark.parametrize("loss", [None, 3, "line_loss"])
def test_a_loss_that_is_no_function(loss):
    for use in (fit_line, gradlab.grad, gradlab.value_and_grad, lambda loss: descend(loss, 1.0)):
        with pytest.raises(LossError, match=f"{loss!r} is not a loss: give a function"):
            use(loss)


@each_backend()
def test_a_loss_that_is_no_number(backend):
    with pytest.raises(LossError, match=r"array of shape \(20,\).*return one number"):
        fit_line(lambda params, x, y: (params["slope"] * x - y) ** 2, backend=backend)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"slope": np.nan, "offset": 0.0}, "slope is nan"),
        ({"slope": np.array([0.0, np.inf]), "offset": 0.0}, r"slope\[1\] is inf"),
        ({"slope": "x", "offset": 0.0}, "slope is 'x'"),
        ({"slope": 1j, "offset": 0.0}, "slope is complex"),
        ({"slope": True, "offset": 0.0}, "slope is True"),
        ({"slope": None, "offset": 0.0}, "slope is None"),
        (None, "params is None"),
        ("line", "params is 'line'"),
    ],
)
def test_parameters_that_cannot_be_trained(params, message):
    with pytest.raises(GradlabError, match=message):
        fit_line(params=params)


def test_labels_of_a_network_are_checked_while_training():
    params = network.init((3, 2), 0)
    with pytest.raises(DataError, match="label 7 is out of range"):
        fit(network.loss, params, (np.zeros((4, 3)), np.array([0, 1, 7, 1])))


# The progress bar


class Terminal:
    """A standard error that says it is a terminal."""

    encoding = "utf-8"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


def open_terminal(monkeypatch):
    """Put a terminal in the place of the standard error; pytest does so itself before a test."""
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


def test_there_is_no_bar_where_nobody_looks(capsys):
    fit_line(epochs=3)
    fit_line(epochs=3, progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("progress", [None, True])
def test_a_terminal_is_shown_epoch_loss_accuracy_and_the_time_left(progress, monkeypatch, capsys):
    terminal = open_terminal(monkeypatch)
    fit_line(epochs=3, accuracy=closeness, progress=progress)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.text)
    assert "epoch 3/3" in text
    assert re.search(r"loss \d+\.\d{4}  accuracy \d+\.\d\d%", text)
    assert re.search(r"\d\d:\d\d|--:--", text)  # the time left
    assert capsys.readouterr().out == ""


def test_a_terminal_may_be_left_alone(monkeypatch):
    terminal = open_terminal(monkeypatch)
    fit_line(epochs=3, progress=False)
    assert terminal.text == ""


def test_a_bar_that_was_asked_for_is_shown_anywhere(capsys):
    fit_line(epochs=3, accuracy=closeness, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "epoch 3/3" in err
    assert "loss " in err
    assert "accuracy " in err


def test_the_bar_does_not_change_what_is_learned(monkeypatch):
    hidden = fit_line(progress=False)
    open_terminal(monkeypatch)
    assert bits(fit_line(progress=True).params) == bits(hidden.params)


def test_the_bar_gives_the_cursor_back_after_a_divergence(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with pytest.raises(DivergenceError):
        fit_line(learning_rate=1e10, epochs=100)
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")


# Learning


@pytest.mark.slow
@each_backend(name for name in EXACT if name != "richardson")  # ten times the evaluations
@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_a_separable_problem_is_learned(backend, kind):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=(60, 2))
    x = x[abs(x @ [1.0, -2.0]) > 0.2]
    labels = (x @ [1.0, -2.0] > 0).astype(int)
    result = fit(
        partial(network.loss, kind=kind),
        network.init((2, 4, 2), 0),
        (x, labels),
        backend=backend,
        learning_rate=0.5,
        momentum=0.9,
        batch_size=20,
        epochs=60,
        accuracy=network.accuracy,
    )
    assert result.history.epochs[-1].accuracy == 1.0
    assert network.accuracy(result.params, x, labels) == 1.0
    assert result.history.epochs[-1].loss < 0.2 * result.history.epochs[0].loss


@pytest.mark.parametrize("seed", range(3))
def test_xor_is_learned(seed):
    x = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
    labels = np.array([0, 1, 1, 0])
    loss = partial(network.loss, activation="tanh")
    start = network.init((2, 8, 2), seed, activation="tanh")
    result = fit(loss, start, (x, labels), learning_rate=0.5, momentum=0.9, epochs=200)
    assert network.accuracy(result.params, x, labels, activation="tanh") == 1.0
    assert result.history.losses[-1] < 0.05
    # A network without hidden layer cannot: XOR is not separable.
    flat = fit(network.loss, network.init((2, 2), seed), (x, labels), epochs=200).params
    assert network.accuracy(flat, x, labels) < 1.0


# Gradient descent without data


def test_descend_returns_the_way():
    path = descend(lambda x: (x**2).sum(), np.array([-3.0, 4.0]), learning_rate=0.25, iterations=3)
    assert np.array_equal(path, [[-3, 4], [-1.5, 2], [-0.75, 1], [-0.375, 0.5]])


@pytest.mark.parametrize("backend", [*map(unless_missing, EXACT), Exact()])
def test_descend_is_fit_on_all_of_the_data(backend):
    start, x = np.float64(2.0), np.array([1.0, 5.0, 7.0])
    path = descend(distance_loss, start, x, backend=backend, iterations=5)
    # Exact() adds the data up in an order of its own: 5 steps, 3 terms of at most 7.
    trained = fit(distance_loss, start, (x,), backend=backend, epochs=5).params
    bound = 5 * 0.1 * (1e-6 if backend == "forward" else 1e-9)
    assert abs(path[-1] - trained) <= bound
    assert len(path) == 6


def test_descend_keeps_structure_and_dtypes_and_mutates_nothing():
    start = {"a": np.ones(2, np.float32), "b": [3, np.array(2.0)]}
    start["a"].flags.writeable = False
    path = descend(lambda p: (p["a"] ** 2).sum() + p["b"][0] * p["b"][1], start, iterations=2)
    assert path[-1]["a"].dtype == np.float32
    assert path[-1]["b"][0].dtype == np.float64  # integers become floats
    assert path[-1]["b"][1].shape == ()
    assert bits(path[0]) == bits({"a": np.ones(2, np.float32), "b": [3.0, 2.0]})
    assert start["b"][0] == 3
    assert not np.shares_memory(path[0]["a"], start["a"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": 0}, "iterations=0"),
        ({"iterations": 1.5}, r"iterations=1\.5"),
        ({"iterations": None}, "iterations=None"),
        ({"learning_rate": 0}, "learning_rate=0"),
        ({"learning_rate": "fast"}, "learning_rate='fast'"),
        ({"backend": "centrall"}, "did you mean 'central'"),
        ({"start": np.nan}, "params is nan"),
        ({"start": "here"}, "params is 'here'"),
        ({"learning_rate": 1e200}, "is (-?inf|nan)"),
    ],
)
def test_descend_says_what_is_wrong(options, message):
    with pytest.raises(GradlabError, match=message):
        descend(lambda x: x**4, **({"start": 1.0} | options))
