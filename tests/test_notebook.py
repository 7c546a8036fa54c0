"""The notebook from which gradlab grew: each of its numbers, and each of its defects.

Its data, its outputs, and the code that a test needs are quoted; everything else is gradlab's.
"""

import os
import warnings
from copy import copy
from functools import cache, partial
from pathlib import Path

import neuralnet
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from optional import EXACT, each_backend, is_installed

import gradlab
from gradlab import BACKENDS, CentralDifference, network
from gradlab.errors import StatefulLossWarning, UntraceableWarning

EPS = np.finfo(float).eps
STEP = 1e-4  # the notebook's h

LABEL = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
RIGHT = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
WRONG = np.array([0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0])


def bowl(x):
    """Compute the notebook's f2."""
    return (x**2).sum(axis=0)


def numerical_gradient(f, x, step=STEP):
    return gradlab.grad(f, backend=CentralDifference(step=step))(np.asarray(x))


def quotient_error(value, step=STEP):
    """Return the round-off of a difference quotient of values of this size, right to 4 ε."""
    return 4 * EPS * abs(value) / step


# Its numbers, cell by cell


def test_points_of_the_curve():
    x = np.linspace(-5.0, 5.0, 100)
    shown = [-5.0, -4.8989899, -4.7979798, -4.6969697, -4.5959596]
    assert np.array_equal(x[:5].round(7), shown)


def test_the_most_probable_class():
    assert LABEL.argmax() == 2
    # Logits whose softmax the predictions are; a class of probability zero is one of logit -1e4.
    as_network = {"W1": np.eye(10), "b1": np.zeros(10)}
    logits = np.log(np.maximum(np.stack([RIGHT, WRONG]), 1e-300))
    assert network.predict(as_network, logits).tolist() == [2, 7]
    assert np.allclose(network.softmax(logits), [RIGHT, WRONG], rtol=0, atol=8 * EPS)
    assert network.accuracy(as_network, logits, np.stack([LABEL, LABEL])) == 0.5


@pytest.mark.parametrize(
    ("prediction", "shown"), [(RIGHT, 0.097500000000000031), (WRONG, 0.59750000000000003)]
)
@pytest.mark.parametrize("label", [LABEL, 2])
def test_squared_error(prediction, shown, label):
    # Ten squares of at most 1, added up in another order than in the NumPy of that time.
    assert abs(network.squared_error(prediction, label) - shown) <= 10 * EPS


@pytest.mark.parametrize(
    ("prediction", "shown"), [(RIGHT, 0.51082545709933802), (WRONG, 2.3025840929945458)]
)
@pytest.mark.parametrize("label", [LABEL, 2, LABEL == 1])
def test_cross_entropy_with_its_guard(prediction, shown, label):
    loss = network.cross_entropy_from_probabilities(prediction, label)
    assert abs(loss - shown) <= 2 * EPS * shown


def test_random_choice_of_a_minibatch():
    drawn = []
    gradlab.fit(
        lambda p, x: p,
        1.0,
        (np.arange(10),),
        batch_size=3,
        iterations=50,
        callbacks=[lambda step: drawn.append(step.batch[0].tolist())],
    )
    assert {len(batch) for batch in drawn} == {3}
    assert any(len(set(batch)) < 3 for batch in drawn)  # as its array([0, 1, 1])


def test_the_derivative_of_the_parabola_by_hand_and_numerically():
    x = np.linspace(-5.0, 5.0, 100)
    by_hand = 2 * x
    numerical = np.array([numerical_gradient(lambda x: x**2, value) for value in x])
    # A parabola has no third derivative: all of the error is round-off.
    assert (abs(numerical - by_hand) <= quotient_error(x**2) + 4 * EPS * abs(x)).all()
    at_once = numerical_gradient(lambda x: (x**2).sum(), x)
    assert (abs(at_once - by_hand) <= 100 * quotient_error((x**2).sum())).all()


@pytest.mark.parametrize(
    ("point", "shown"),
    [((3.0, 4.0), [6.0, 8.0]), ((0.0, 2.0), [0.0, 4.0]), ((3.0, 0.0), [6.0, 0.0])],
)
def test_the_gradient_of_the_bowl(point, shown):
    found = numerical_gradient(bowl, np.array(point))
    assert (abs(found - shown) <= quotient_error(bowl(np.array(point)))).all()
    assert np.array_equal(found.round(8), shown)
    assert np.array_equal(gradlab.grad(bowl)(np.array(point)), shown)  # without an error at all


@pytest.mark.parametrize("backend", [CentralDifference(step=STEP), "central", "autograd"])
def test_a_hundred_steps_of_gradient_descent(backend):
    start = np.array([-3.0, 4.0])
    x = start.copy()
    history = [x]
    gradient = gradlab.grad(bowl, backend=backend)
    for _ in range(100):
        x = x - 0.1 * gradient(x)
        history.append(x)
    assert np.allclose(x, 0)
    # A step multiplies x by 1 - 2 · 0.1, so that errors shrink as they add up: 1 + 0.8 + ... = 5
    # of those of one step. Its round-off: see quotient_error, with h the smaller one, 2^-18.
    closed_form = 0.8 ** np.arange(101)[:, None] * start
    bound = 5 * (0.1 * quotient_error(bowl(start), step=2.0**-18) + 4 * EPS * 4)
    assert (abs(np.array(history) - closed_form) <= bound).all()


def test_the_same_descent_by_descend_and_by_the_trainer():
    start = np.array([-3.0, 4.0])
    path = gradlab.descend(bowl, start, learning_rate=0.1, iterations=100)
    assert np.allclose(path, 0.8 ** np.arange(101)[:, None] * start, rtol=300 * EPS, atol=0)
    result = gradlab.fit(lambda x, _: bowl(x), start, (np.zeros(1),), learning_rate=0.1, epochs=100)
    assert np.allclose(result.params, 0)
    assert np.allclose(result.params, 0.8**100 * start, rtol=300 * EPS, atol=0)
    assert np.allclose(result.history.losses, 0.64 ** np.arange(100) * 25, rtol=1000 * EPS, atol=0)


def test_the_table_of_dummies():
    labels = np.array([5, 0, 4, 1, 9, 2, 1, 3, 1, 4, 8])
    table = network.one_hot(labels, 10)
    assert table.shape == (11, 10)
    assert np.array_equal(table[1], [1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert np.array_equal(table[-1], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0])
    assert np.array_equal(table.sum(axis=1), np.ones(11))
    assert np.array_equal(table.argmax(axis=1), labels)


@pytest.fixture(scope="module")
def given_data():
    """Return the trained weights, and the test images as the notebook scaled them."""
    folder = os.environ.get("GRADLAB_DATA")
    if not folder:
        pytest.skip("GRADLAB_DATA is not set")
    params = gradlab.weights.load(Path(folder) / "mnist_weight.pkl")
    return params, gradlab.datasets.load("mnist", dtype=np.float32).test


def test_the_accuracy_of_the_trained_weights(given_data):
    params, test = given_data
    assert test.x.dtype == np.float32
    assert (test.x.min(), test.x.max()) == (0.0, 1.0)
    assert network.accuracy(params, test.x, test.y) == 0.9352


def test_the_accuracy_of_the_trained_weights_sample_by_sample(given_data):
    params, test = given_data
    right = network.predict(params, test.x) == test.y
    assert np.count_nonzero(right) == 9352
    p = network.probabilities(params, test.x[:100])
    assert np.allclose(p.sum(axis=1), 1, rtol=0, atol=20 * np.finfo(np.float32).eps)
    assert [int(network.predict(params, x)) for x in test.x[:20]] == list(
        network.predict(params, test.x[:20])
    )


# Its defects, one by one


def numerical_gradient_of_the_notebook(f, x):
    gradient = np.zeros_like(x)
    for idx in range(x.size):
        held = x[idx]
        x[idx] = held + STEP
        above = f(x)
        x[idx] = held - STEP
        below = f(x)
        gradient[idx] = (above - below) / (2 * STEP)
        x[idx] = held
    return gradient


def softmax_of_the_notebook(a):
    exp_a = np.exp(a - np.max(a))
    return exp_a / np.sum(exp_a)


@given(shape=hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=4))
@settings(max_examples=20, deadline=None)
def test_defect_matrix_indexing(shape):
    """The notebook used the number of entries of a matrix as the index of a row."""
    W = np.arange(np.prod(shape), dtype=float).reshape(shape)
    if W.size > len(W):
        with pytest.raises((IndexError, ValueError, TypeError)):
            numerical_gradient_of_the_notebook(lambda W: (W**2).sum(), W.copy())
    found = numerical_gradient(lambda W: (W**2).sum(), W)
    assert found.shape == shape
    assert (abs(found - 2 * W) <= W.size * quotient_error((W**2).sum()) + 4 * EPS * W).all()


def test_defect_integer_truncation():
    """The notebook wrote x ± h into an array of integers, so that every quotient was zero."""
    x = np.array([3, 4])
    assert not np.array_equal(numerical_gradient_of_the_notebook(bowl, x.copy()), [6, 8])
    for backend in filter(is_installed, EXACT):
        found = gradlab.grad(bowl, backend=backend)(x)
        assert found.dtype == np.float64
        assert np.allclose(found, [6, 8], rtol=0, atol=1e-6)
    assert np.array_equal(x, [3, 4])
    assert x.dtype == np.int64


def test_defect_parameters_are_written_into():
    """The notebook changed the caller's entries, and left them changed if f raised an error."""
    x = np.array([3.0, 4.0])
    calls = []

    def fails(x):
        calls.append(None)
        if len(calls) == 3:
            raise RuntimeError("no")
        return bowl(x)

    with pytest.raises(RuntimeError):
        numerical_gradient(fails, x)
    assert np.array_equal(x, [3.0, 4.0])
    x.flags.writeable = False
    assert np.array_equal(numerical_gradient(bowl, x).round(8), [6.0, 8.0])


@given(hnp.arrays(np.float64, (3, 4), elements=st.floats(-20, 20)))
@settings(max_examples=20, deadline=None)
def test_defect_softmax_over_the_whole_batch(z):
    """The notebook's probabilities added up to one over the whole batch, not over each sample."""
    assert np.isclose(softmax_of_the_notebook(z).sum(), 1)
    p = network.softmax(z)
    assert np.allclose(p.sum(axis=1), 1, rtol=0, atol=8 * EPS)
    for row, of_row in zip(z, p, strict=True):
        assert np.allclose(of_row, softmax_of_the_notebook(row), rtol=16 * EPS, atol=0)


def test_defect_softmax_of_a_batch_loses_whole_samples():
    z = np.array([[0.0, 1.0], [1000.0, 1001.0]])
    assert not softmax_of_the_notebook(z)[0].any()  # and argmax is 0, which is wrong
    assert network.softmax(z)[0].argmax() == network.softmax(z)[1].argmax() == 1
    assert np.array_equal(network.softmax(z)[0], network.softmax(z)[1])


def test_defect_logarithm_of_zero():
    """The notebook's second cross_entropy gave inf or nan for a probability of 0."""
    z, labels = np.array([[0.0, 1000.0]]), np.array([0])
    with np.errstate(divide="ignore", invalid="ignore"):
        p = network.softmax(z)
        assert np.isnan(-np.sum(np.array([[0.0, 1.0]]) * np.log(p)))
    assert network.cross_entropy(z, labels) == 1000.0
    assert network.cross_entropy(z, network.one_hot(labels, 2)) == 1000.0
    assert np.array_equal(gradlab.grad(network.cross_entropy)(z, labels), [[-1.0, 1.0]])
    assert network.cross_entropy_from_probabilities(p, labels) == -np.log(1e-7)


def test_defect_overflow_of_the_sigmoid():
    with np.errstate(over="raise"):
        np.testing.assert_allclose(
            network.sigmoid(np.array([-1000.0, 1000.0])), [0.0, 1.0], rtol=0, atol=1e-150
        )


def small(seed=0, **options):
    """Return a small network in the notebook's form, and data for it."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(40, 12))
    labels = (x[:, :4].sum(axis=1) > 2).astype(int) + (x[:, 4] > 0.5)
    return network.init((12, 5, 6, 3), seed, **options), x, labels


@each_backend()
def test_defect_a_target_that_ignores_its_parameters(backend):
    """Its closure looked up the network by name, so that a change of `params` had no effect.

    The gradient of such a function is zero, and nothing is learned. A loss of gradlab gets its
    parameters only as arguments, and every layer has a gradient.
    """
    params, x, labels = small()
    held = dict(params)
    ignoring = gradlab.grad(lambda params: network.loss(held, x, labels), backend=backend)(params)
    assert not any(leaf.any() for leaf in ignoring.values())
    gradient = gradlab.grad(network.loss, backend=backend)(params, x, labels)
    assert all(leaf.all() for leaf in gradient.values())


def test_defect_updates_went_into_a_copy():
    """The notebook updated np.vstack([W, b]), a copy, so that the layers did not change."""
    params, x, labels = small()
    stacked = np.vstack([params["W1"], params["b1"]])
    assert not np.shares_memory(stacked, params["W1"])
    trained = gradlab.fit(network.loss, params, (x, labels), batch_size=10, epochs=1).params
    assert all((trained[name] != params[name]).any() for name in params)
    assert {name: leaf.shape for name, leaf in trained.items()} == {
        name: leaf.shape for name, leaf in params.items()
    }
    assert network.loss(trained, x, labels) != network.loss(params, x, labels)


@pytest.mark.parametrize("scale", ["normal", None])
@pytest.mark.parametrize("one_hot", [True, False])
def test_the_network_learns_with_a_numerical_gradient(scale, one_hot):
    """The notebook set out to do this, and ended with an IndexError."""
    params, x, labels = small(scale=scale)
    y = network.one_hot(labels, 3) if one_hot else labels
    result = gradlab.fit(
        network.loss,
        params,
        (x, y),
        backend=CentralDifference(step=STEP),
        learning_rate=0.1,
        batch_size=20,
        iterations=20,
        validation=(x, y),
        accuracy=network.accuracy,
    )
    before, after = network.loss(params, x, y), network.loss(result.params, x, y)
    assert after < before
    assert result.history.epochs[-1].validation_loss == after
    # With the same seed, the exact gradient takes the same path: the truncation error, h²/6 = 2e-9
    # times a third derivative of the order of 10, has 20 steps of 0.1 to add up.
    exact = gradlab.fit(
        network.loss,
        params,
        (x, y),
        backend="autograd",
        learning_rate=0.1,
        batch_size=20,
        iterations=20,
    )
    assert np.allclose(exact.history.losses, result.history.losses, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_a_step_along_the_numerical_gradient_lowers_the_loss_by_its_squared_length(kind):
    params, x, labels = small()
    loss = partial(network.loss, kind=kind)
    gradient = gradlab.grad(loss, backend=CentralDifference(step=STEP))(params, x, labels)
    squared_length = sum((leaf**2).sum() for leaf in gradient.values())
    learning_rate = 1e-4
    moved = {name: params[name] - learning_rate * gradient[name] for name in params}
    lowered = loss(params, x, labels) - loss(moved, x, labels)
    # To first order in the learning rate; the second is a curvature of order 1 times its square.
    assert np.isclose(lowered / (learning_rate * squared_length), 1, rtol=0, atol=1e-2)


# The notebook's network, unchanged


def the_notebooks_model(softmax=neuralnet.softmax):
    """Return the notebook's network and data in a small form."""
    state = np.random.get_state()  # noqa: NPY002
    model = neuralnet.FeedForwardNet(학습률=0.1, 학습횟수=10, 손실함수=neuralnet.cross_entropy)
    model.add(neuralnet.Layer(6, 5, neuralnet.sigmoid))
    model.add(neuralnet.Layer(5, 4, neuralnet.sigmoid))
    model.add(neuralnet.Layer(4, 3, softmax))
    np.random.set_state(state)  # noqa: NPY002
    rng = np.random.default_rng(0)
    for layer in model.layers:  # drawn as in the notebook, but with a seed
        layer.W, layer.b = rng.normal(size=layer.W.shape), rng.normal(size=layer.b.shape)
    X = rng.uniform(size=(30, 6))
    Y = np.eye(3)[(X[:, 0] > 0.5).astype(int) + (X[:, 1] > 0.5)]
    params = {f"{name}{i}": getattr(layer, name)
              for i, layer in enumerate(model.layers, 1) for name in "Wb"}  # fmt: skip
    return model, params, X, Y


def loss_that_fills(model):
    """Compute the loss as a function of its parameters, which are written into existing layers."""

    def loss(params, X, Y):
        for i, layer in enumerate(model.layers, 1):
            layer.W = params[f"W{i}"]
            layer.b = params[f"b{i}"]
        return model.compute_loss(X, Y)

    return loss


def loss_that_copies(model):
    """Compute the loss with new layers, so that it keeps nothing."""

    def loss(params, X, Y):
        own = copy(model)
        own.layers = [copy(layer) for layer in model.layers]
        return loss_that_fills(own)(params, X, Y)

    return loss


def trained(loss, params, data, backend):
    """Return parameters, losses and warnings of twenty steps, the same for all backends."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = gradlab.fit(
            loss, params, data, backend=backend, learning_rate=0.1, batch_size=10, iterations=20
        )
    return result.params, result.history.losses, caught


@cache
def trained_exactly():
    """Return parameters and losses by reverse mode."""
    model, params, *data = the_notebooks_model()
    return trained(loss_that_copies(model), params, data, "autograd")[:2]


TRAJECTORY = {
    "forward": 1e-5,
    "central": 1e-7,
    "central4": 1e-8,
}
"""Relative bound on the error of a loss during a training.

Of a gradient of order 1, forward differences are off by h f''/2 = 1e-8 f'', central ones by
h² f'''/6 = 1e-11 f''' and a round-off of ε f/h = 1e-10; twenty steps of 0.1 add up two of them, and
what is curved enlarges them on the way. All others are off by roundings.
"""


@each_backend(list(BACKENDS))
@pytest.mark.parametrize("form", [loss_that_fills, loss_that_copies])
def test_the_unmodified_network_of_the_notebook_is_trained(backend, form):
    model, params, *data = the_notebooks_model()
    loss = form(model)
    before = float(loss(params, *data))
    found, losses, _ = trained(loss, params, data, backend)
    after = float(loss(found, *data))
    assert after < before
    assert all(type(layer.W) is type(layer.b) is np.ndarray for layer in model.layers)
    if backend not in EXACT:
        return
    exact, path = trained_exactly()
    close = TRAJECTORY.get(backend, 1e-10)
    assert np.allclose(losses, path, rtol=close, atol=0)
    for name, leaf in found.items():
        assert np.allclose(leaf, exact[name], rtol=0, atol=close * abs(exact[name]).max())


def test_the_notebooks_gradient_is_that_of_a_numerical_derivative_by_hand():
    """This proves the reference of the trainings: difference quotients by NumPy alone."""
    model, params, X, Y = the_notebooks_model()
    loss = loss_that_fills(model)
    gradient = gradlab.grad(loss_that_copies(model), backend="autograd")(params, X, Y)
    for name, leaf in params.items():
        by_hand = np.zeros_like(leaf)
        for i in np.ndindex(leaf.shape):
            moved = [dict(params, **{name: leaf.copy()}) for _ in range(2)]
            moved[0][name][i] += STEP
            moved[1][name][i] -= STEP
            by_hand[i] = (loss(moved[0], X, Y) - loss(moved[1], X, Y)) / (2 * STEP)
        # h²/6 = 2e-9 times a third derivative of the order of 10, and round-off.
        assert np.allclose(gradient[name], by_hand, rtol=0, atol=1e-7), name


def test_the_unmodified_network_gets_a_warning_about_its_state():
    model, params, *data = the_notebooks_model()
    told = trained(loss_that_fills(model), params, data, "autograd")[2]
    assert {w.category for w in told} == {StatefulLossWarning}
    assert "model.layers[0].W" in str(told[0].message)


@pytest.mark.parametrize("backend", ["autograd", "tape", "central", "central4", "forward"])
def test_layers_that_the_loss_creates_are_recorded(backend):
    model, params, *data = the_notebooks_model()
    assert trained(loss_that_copies(model), params, data, backend)[2] == []


@pytest.mark.parametrize("backend", ["tape", "central", "central4", "forward"])
def test_a_loss_that_cannot_be_recorded_warns_once(backend):
    model, params, *data = the_notebooks_model()
    told = trained(loss_that_fills(model), params, data, backend)[2]
    slower = [str(w.message) for w in told if w.category is UntraceableWarning]
    assert len(slower) == 1
    assert "model.layers[0].W" in slower[0]
    assert "right but slower" in slower[0]
