"""The trainer agrees with its formula: steps, minibatches, determinism, and results."""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lines import Constant, Exact, Recorder, bits, distance_loss, few
from optional import EXACT, INSTALLED, each_backend, unless_missing

from gradlab import descend, fit, network
from gradlab.errors import GradlabError, NonFiniteError

# Losses of the batches alone.
pytestmark = pytest.mark.filterwarnings("ignore::gradlab.errors.ZeroGradientWarning")


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


def test_a_generator_continues_from_its_state():
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


def test_descend_returns_the_path():
    path = descend(lambda x: (x**2).sum(), np.array([-3.0, 4.0]), learning_rate=0.25, iterations=3)
    assert np.array_equal(path, [[-3, 4], [-1.5, 2], [-0.75, 1], [-0.375, 0.5]])


@pytest.mark.parametrize("backend", [*map(unless_missing, EXACT), Exact()])
def test_descend_is_fit_on_all_of_the_data(backend):
    start, x = np.float64(2.0), np.array([1.0, 5.0, 7.0])
    path = descend(distance_loss, start, x, backend=backend, iterations=5)
    # Exact() adds the data in another order: 5 steps, 3 terms of at most 7.
    trained = fit(distance_loss, start, (x,), backend=backend, epochs=5).params
    bound = 5 * 0.1 * (1e-6 if backend == "forward" else 1e-9)
    assert abs(path[-1] - trained) <= bound
    assert len(path) == 6


def test_descend_names_the_parameter_that_a_last_step_makes_infinite():
    start = {"a": np.ones(2), "b": np.array([1.0, 2.0])}
    with pytest.raises(NonFiniteError, match=r"b\[1\] is -inf"):
        descend(
            lambda p: np.sum(p["a"]) + 1e300 * p["b"][1], start, learning_rate=1e300, iterations=1
        )


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
def test_descend_names_the_problem(options, message):
    with pytest.raises(GradlabError, match=message):
        descend(lambda x: x**4, **({"start": 1.0} | options))
