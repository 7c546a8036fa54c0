"""The network against high precision, against symmetry, and against everything that is not one.

Tolerances are forward error bounds (Higham, *Accuracy and Stability of Numerical Algorithms*,
2nd ed., 2002, chapter 3): `u` is the machine epsilon of the dtype at hand, NumPy's exp and log are
taken to be good to 4 u, and a sum or product of m terms to m u.
"""

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from precise import (
    FLOATS,
    KINKED,
    SMOOTH,
    exact,
    few,
    mp,
    mp_cross_entropy,
    sizes_of_networks,
    to_float,
    u,
)

import gradlab
from gradlab import network
from gradlab.errors import DataError, OptionError, ParameterError

# The network


@st.composite
def networks(draw, dtype=np.float64):
    """Draw parameters, inputs and labels of a small network."""
    sizes = draw(sizes_of_networks)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    scale = draw(st.sampled_from([0.1, 1.0, 3.0]))
    params = network.init(sizes, rng, scale="normal", dtype=dtype)
    params = {name: (scale * leaf).astype(dtype) for name, leaf in params.items()}
    n = draw(st.integers(1, 5))
    x = rng.normal(size=(n, sizes[0])).astype(dtype)
    return params, x, rng.integers(sizes[-1], size=n)


def forward_error(params, x):
    """Bound the round-off of the logits, for activations of slope at most 1.1 (silu)."""
    eps = u(x.dtype)
    size, error = abs(x).astype(float), np.zeros(x.shape)
    for W, b in network.layers({name: abs(leaf).astype(float) for name, leaf in params.items()}):
        sums = size @ W + b
        error = (len(W) + 1) * eps * sums + 1.1 * error @ W
        size = np.maximum(1, sums)  # no activation is larger than its argument, or than 1
        error = error + 8 * eps * size
    return error


def mp_logits(params, x, activation):
    rows = exact(x)
    depth = len(params) // 2
    for layer in range(1, depth + 1):
        W, b = exact(params[f"W{layer}"]), exact(params[f"b{layer}"])
        rows = [
            [
                sum((row[i] * W[i][j] for i in range(len(W))), mp.mpf(0)) + b[j]
                for j in range(len(b))
            ]
            for row in rows
        ]
        if layer < depth:
            rows = [[activation(v) for v in row] for row in rows]
    return to_float(rows)


@pytest.mark.parametrize("name", [*SMOOTH, *KINKED])
@pytest.mark.parametrize("dtype", FLOATS)
@given(data=st.data())
@settings(max_examples=10, deadline=None)
def test_logits_against_high_precision(name, dtype, data):
    params, x, labels = data.draw(networks(dtype))
    z = network.logits(params, x, activation=name)
    wanted = mp_logits(params, x, (SMOOTH | KINKED)[name][0])
    assert z.dtype == dtype
    assert (abs(z - wanted) <= forward_error(params, x)).all()
    k = z.shape[1]
    loss = network.loss(params, x, labels, activation=name)
    wanted_loss = mp_cross_entropy(wanted, np.eye(k)[labels])
    # The loss moves by at most twice as much as the largest logit.
    bound = 2 * forward_error(params, x).max() + u(dtype) * (2 + len(x)) * (wanted_loss + k + 12)
    assert abs(loss - wanted_loss) <= bound


@given(networks())
@few
def test_the_functions_of_a_network_agree(case):
    params, x, labels = case
    k = len(params[f"b{len(params) // 2}"])
    z = network.logits(params, x)
    assert np.array_equal(network.probabilities(params, x), network.softmax(z))
    assert np.array_equal(network.predict(params, x), z.argmax(axis=1))
    assert network.accuracy(params, x, labels) == np.mean(z.argmax(axis=1) == labels)
    assert network.accuracy(params, x, np.eye(k)[labels]) == network.accuracy(params, x, labels)
    assert network.accuracy(params, x, network.predict(params, x)) == 1.0
    assert network.loss(params, x, labels) == network.cross_entropy(z, labels)
    assert network.loss(params, x, labels, kind="squared_error") == network.squared_error(
        network.softmax(z), labels
    )


@given(networks())
@few
def test_samples_give_the_same_alone_and_together(case):
    params, x, labels = case
    bound = 2 * forward_error(params, x).max()
    for row, label, together in zip(x, labels, network.logits(params, x), strict=True):
        alone = network.logits(params, row)
        assert alone.shape == together.shape
        assert (abs(alone - together) <= bound).all()  # BLAS may add up in another order
        assert network.predict(params, row).shape == ()
        assert network.accuracy(params, row, label) in (0.0, 1.0)
        assert network.loss(params, row, label) == network.loss(params, row[None], [label])


@given(networks(), st.randoms(use_true_random=False))
@few
def test_hidden_units_may_change_places(case, random):
    params, x, labels = case
    depth = len(params) // 2
    assume(depth > 1)
    layer = random.randint(1, depth - 1)
    order = list(range(len(params[f"b{layer}"])))
    random.shuffle(order)
    renamed = params | {
        f"W{layer}": params[f"W{layer}"][:, order],
        f"b{layer}": params[f"b{layer}"][order],
        f"W{layer + 1}": params[f"W{layer + 1}"][order],
    }
    bound = 4 * forward_error(params, x).max() + 64 * u(float)
    assert abs(network.loss(renamed, x, labels) - network.loss(params, x, labels)) <= bound


@given(networks(), st.randoms(use_true_random=False))
@few
def test_the_order_of_the_batch_does_not_matter(case, random):
    params, x, labels = case
    order = list(range(len(x)))
    random.shuffle(order)
    z = network.logits(params, x)
    for kind in ("cross_entropy", "squared_error"):
        loss = partial(network.loss, params, kind=kind)
        bound = 4 * forward_error(params, x).max() + 16 * u(float) * (1 + abs(z).max())
        assert abs(loss(x[order], labels[order]) - loss(x, labels)) <= bound
    gap = np.sort(z, axis=1)[:, -2:]
    assume(z.shape[1] == 1 or (gap[:, 1] - gap[:, 0]).min() > 4 * bound)
    assert network.accuracy(params, x[order], labels[order]) == network.accuracy(params, x, labels)


@given(networks())
@few
def test_the_order_of_the_dict_does_not_matter(case):
    params, x, labels = case
    backwards = dict(reversed(params.items()))
    assert network.loss(backwards, x, labels) == network.loss(params, x, labels)


@given(networks())
@few
def test_a_batch_twice_has_the_loss_of_the_batch(case):
    params, x, labels = case
    loss = network.loss(params, x, labels)
    twice = network.loss(params, np.vstack([x, x]), np.concatenate([labels, labels]))
    assert abs(twice - loss) <= 4 * forward_error(params, x).max() + 32 * u(float) * (1 + loss)


def test_a_callable_activation_is_used():
    params = network.init((3, 4, 2), seed=1)
    x = np.random.default_rng(0).normal(size=(5, 3))
    assert np.array_equal(
        network.logits(params, x, activation=np.sin),
        np.sin(x @ params["W1"]) @ params["W2"],
    )
    assert np.array_equal(
        network.logits(params, x, activation=network.relu),
        network.logits(params, x, activation="relu"),
    )
    softened = partial(network.leaky_relu, slope=0.5)
    assert np.array_equal(softened(np.array([-2.0, 2.0])), [-1.0, 2.0])
    assert network.loss(params, x, np.zeros(5, int), activation=softened) > 0
    gradient = gradlab.grad(partial(network.loss, activation=softened))(params, x, np.zeros(5, int))
    assert gradient["W1"].any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, bool])
def test_images_of_integers_work(dtype):
    params = network.init((6, 4, 3), seed=1)
    x = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, size=(5, 6)).astype(dtype)
    labels = np.array([0, 1, 2, 1, 0], np.uint8)
    loss, gradient = gradlab.value_and_grad(network.loss)(params, x, labels)
    wanted, wanted_gradient = gradlab.value_and_grad(network.loss)(
        params, x.astype(float), labels.astype(int)
    )
    assert loss == wanted
    for name in params:
        assert np.array_equal(gradient[name], wanted_gradient[name])
    assert network.accuracy(params, x, labels) == network.accuracy(params, x.astype(float), labels)


def test_float32_parameters_with_bytes_keep_their_dtype():
    params = network.init((6, 4, 3), seed=1, dtype=np.float32)
    x = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert network.logits(params, x).dtype == np.float32
    assert network.loss(params, x, [0, 2]).dtype == np.float32


def test_inputs_may_be_lists():
    params = network.init((2, 3), seed=1)
    x = [[1.0, 2.0], [0.5, -1.0]]
    assert np.array_equal(network.logits(params, x), network.logits(params, np.array(x)))
    assert network.loss(params, x, [0, 2]) == network.loss(params, np.array(x), np.array([0, 2]))
    assert network.predict(params, [1.0, 2.0]).shape == ()


@given(networks())
@few
def test_nothing_is_mutated(case):
    params, x, labels = case
    for array in (*params.values(), x, labels):
        array.flags.writeable = False  # writing into it would raise
    before = {name: leaf.tobytes() for name, leaf in params.items()}
    for kind in ("cross_entropy", "squared_error"):
        network.loss(params, x, labels, kind=kind)
        gradlab.grad(partial(network.loss, kind=kind))(params, x, labels)
    network.accuracy(params, x, labels)
    network.probabilities(params, x)
    network.one_hot(labels, 5)
    assert {name: leaf.tobytes() for name, leaf in params.items()} == before


# Other libraries' arrays


# Imported before a test begins: JAX draws from NumPy's global generator when it is.
@pytest.fixture(scope="module", params=["jax", "torch"])
def library(request):
    name = {"jax": "JAX", "torch": "PyTorch"}[request.param]
    pytest.importorskip(request.param, reason=f"{name} is not installed")
    return request.param


@pytest.mark.parametrize("name", network.ACTIVATIONS)
@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("hot", [False, True])
def test_the_same_network_runs_on_other_libraries_arrays(library, name, kind, hot):
    params = network.init((4, 5, 3), seed=0, activation=name)
    x, labels = np.random.default_rng(0).normal(size=(6, 4)), np.array([0, 1, 2, 0, 1, 2])
    labels = network.one_hot(labels, 3) if hot else labels
    loss = partial(network.loss, x=x, labels=labels, activation=name, kind=kind)
    value, grads = gradlab.value_and_grad(loss, library)(params)
    wanted, wanted_grads = gradlab.value_and_grad(loss)(params)
    # Two evaluations, each off by the round-off of the logits, which the loss at most doubles.
    bound = 4 * forward_error(params, x).max() + 32 * u(float) * (1 + wanted)
    assert abs(value - wanted) <= bound
    assert all(grad.dtype == np.float64 for grad in grads.values())
    # A gradient is a sum of 6 such terms, none of which weighs more than an input.
    for path, grad in grads.items():
        assert (abs(grad - wanted_grads[path]) <= 6 * bound * abs(x).max()).all()


GOOD = network.init((3, 4, 2), seed=0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "the network lacks W1, b1"),
        ({"W1": GOOD["W1"]}, "the network lacks b1"),
        ({"b1": GOOD["b1"]}, "the network lacks W1"),
        ({name: GOOD[name] for name in ("W1", "b1", "W2")}, "the network lacks b2"),
        ({name: GOOD[name] for name in ("W1", "b1", "b2")}, "the network lacks W2"),
        (GOOD | {"scale": 1.0}, "lacks|scale"),
        (GOOD | {"scale": 1.0, "shift": 1.0}, "scale, shift|lacks"),
        ({"W1": GOOD["W1"], "b1": GOOD["b1"], "w2": 1, "b2": 1}, "w2: not a parameter"),
        ({"W0": GOOD["W1"], "b0": GOOD["b1"]}, "W0, b0: not a parameter"),
        ({0: GOOD["W1"], "b1": GOOD["b1"]}, "0: not a parameter"),
        (GOOD | {"W2": GOOD["W2"][:3]}, r"W2 has shape \(3, 2\), but the layer before it has 4"),
        (GOOD | {"b1": np.zeros(3)}, r"b1 has shape \(3,\); expected \(4,\), the outputs of W1"),
        (GOOD | {"b2": np.zeros((1, 2))}, r"b2 has shape \(1, 2\); expected \(2,\)"),
        (GOOD | {"W1": np.zeros(3)}, r"W1 has shape \(3,\); expected \(inputs, outputs\)"),
        (GOOD | {"W1": np.zeros((0, 4))}, r"W1 has shape \(0, 4\)"),
        (GOOD | {"W1": 3.0}, r"W1 has shape \(\)"),
        ([GOOD["W1"], GOOD["b1"]], "a network is a dict W1, b1, W2, b2, ...; not list"),
        (GOOD["W1"], "not ndarray"),
        (None, "not NoneType"),
    ],
)
def test_parameters_that_are_not_a_network_are_refused(params, message):
    with pytest.raises(ParameterError, match=message):
        network.layers(params)
    with pytest.raises(ParameterError, match=message):
        network.loss(params, np.zeros((1, 3)), np.array([0]))


def test_layers_are_pairs_in_order_and_not_copied():
    layers = network.layers(GOOD)
    assert [(W.shape, b.shape) for W, b in layers] == [((3, 4), (4,)), ((4, 2), (2,))]
    assert layers[0][0] is GOOD["W1"]
    deep = network.init([2] * 12, seed=0)  # W10 comes after W9, not after W1
    assert network.layers(deep)[9][0] is deep["W10"]
    assert len(network.layers(deep)) == 11


@pytest.mark.parametrize("shape", [(2, 4), (2, 2), (4,), (), (1, 2, 3), (3, 1), (2, 0)])
def test_inputs_of_another_shape(shape):
    with pytest.raises(DataError, match=r"x has shape .*; the network expects \(samples, 3\)"):
        network.logits(GOOD, np.zeros(shape))


@pytest.mark.parametrize("x", [["a", "b", "c"], [None, None, None], [[1.0, 2.0, 3.0], [1.0]]])
def test_inputs_must_be_numbers(x):
    with pytest.raises(DataError, match=r"^x[ :]"):
        network.logits(GOOD, x)


def test_parameters_that_are_lists():
    as_lists = {name: leaf.tolist() for name, leaf in GOOD.items()}
    with pytest.raises(ParameterError, match="W1"):
        network.logits(as_lists, np.ones((1, 3)))


def test_an_empty_batch_has_no_loss_and_no_accuracy():
    x, labels = np.zeros((0, 3)), np.zeros(0, int)
    with pytest.raises(DataError, match="empty"):
        network.loss(GOOD, x, labels)
    with pytest.raises(DataError, match="empty"):
        network.accuracy(GOOD, x, labels)
    assert network.logits(GOOD, x).shape == (0, 2)


def test_unknown_options_are_named():
    x, labels = np.zeros((1, 3)), np.array([0])
    with pytest.raises(OptionError, match=r"unknown activation 'sigmod': did you mean 'sigmoid'"):
        network.loss(GOOD, x, labels, activation="sigmod")
    with pytest.raises(OptionError, match=r"kind='mse': choose cross_entropy or squared_error"):
        network.loss(GOOD, x, labels, kind="mse")
