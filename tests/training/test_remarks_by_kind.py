"""Faults of trainings by kind, and trainings that go well, each as a user may write it."""

import re
from functools import partial

import numpy as np
import pytest
from test_remarks import remarks

import gradlab
from gradlab import fit, network, optim
from gradlab.errors import DivergenceError

RNG = np.random.default_rng(0)
DIGITS = gradlab.datasets.load("digits", subset=400).train
X, Y = np.asarray(DIGITS.x), np.asarray(DIGITS.y)
N = len(X)
RELU = network.init([64, 20, 10], 0, activation="relu")
DEAD = RELU | {"b1": np.full(20, -1e3)}
NORMAL = RNG.normal(size=(N, 3))
TARGETS = NORMAL @ [1.0, 2.0, 3.0] + 0.1 * RNG.normal(size=N)
LINE = {"w": np.zeros(3), "b": 0.0}


def relu_loss(params, x, y):
    return network.loss(params, x, y, activation="relu")


def line(params, x, y):
    return np.mean((np.dot(x, params["w"]) + params["b"] - y) ** 2)


def regression(params, x, y):
    return np.mean((network.logits(params, x, activation="relu")[:, 0] - y) ** 2)


def wrong_sign(loss):
    """Return a backend with the wrong sign."""
    right = gradlab.grad(loss, backend="tape")
    return gradlab.ByHand(lambda *args: {k: -v for k, v in right(*args).items()})


FAULTS = {
    "tiny rate, one epoch": (
        relu_loss, RELU, (X, Y), {"learning_rate": 1e-9, "epochs": 1},
        "all 20 steps together lower the loss, .*: raise the learning rate",
    ),
    "tiny clip": (
        relu_loss, RELU, (X, Y), {"optimizer": optim.sgd(0.1, clip=1e-7), "epochs": 6},
        "steps together lower the loss, .*: raise the learning rate",
    ),
    "dead layer, all data in a step": (
        relu_loss, DEAD, (X, Y), {"batch_size": N, "epochs": 20},
        "W1, b1, W2 was exactly 0 in each of 10 steps, up to epoch 10: .* start with other weights",
    ),
    "dead layer, few steps": (
        relu_loss, DEAD, (X, Y), {"batch_size": N, "epochs": 4},
        "in each of 4 steps, up to epoch 4",
    ),
    "wrong sign, network": (
        relu_loss, RELU, (X, Y),
        {"backend": wrong_sign(relu_loss), "learning_rate": 0.02, "epochs": 10},
        "loss grows, .* not the gradient of this loss, or has the wrong sign; check it with",
    ),
    "wrong sign, line": (
        line, LINE, (NORMAL, TARGETS),
        {"backend": wrong_sign(line), "learning_rate": 0.01, "batch_size": N, "epochs": 150},
        "loss grows, .* the wrong sign",
    ),
    "constant inputs": (
        relu_loss, RELU, (np.ones_like(X), Y), {"epochs": 6}, f"all {N} samples of x are the same",
    ),
    "inputs of zero": (
        relu_loss, RELU, (0 * X, Y), {"epochs": 6}, f"all {N} samples of x are the same",
    ),
    "constant one-hot labels": (
        relu_loss, RELU, (X, np.eye(10)[np.full(N, 2)]), {}, f"all {N} labels are 2",
    ),
    "far too large a rate, few steps": (
        line, LINE, (NORMAL, TARGETS), {"learning_rate": 1e4, "iterations": 4},
        r"loss grows, .*: lower the learning rate \(10000\)",
    ),
    "too large a rate, few steps, all data": (
        line, LINE, (NORMAL, TARGETS), {"learning_rate": 1.5, "batch_size": N, "epochs": 8},
        r"loss grows, .*: lower the learning rate \(1\.5\)",
    ),
    "large targets of a network": (
        regression, network.init([64, 32, 1], 0, activation="relu"),
        (X, 1e4 * RNG.normal(size=N)), {"epochs": 5, "learning_rate": 0.1},
        "lower the learning rate .* scale the targets, which reach",
    ),
    "large targets": (
        line, LINE, (NORMAL, 1e4 * TARGETS), {"epochs": 2, "learning_rate": 1.3},
        "lower the learning rate .* scale the targets, which reach",
    ),
    "all weights zero, sigmoid": (
        network.loss, {k: 0 * v for k, v in RELU.items()}, (X, Y), {"epochs": 10},
        "of W1, b1 .*|guessing among 10 classes",
    ),
    "labels in another order": (
        relu_loss, network.init([64, 4, 10], 0, scale=0.1),
        (X, RNG.permutation(Y)), {"epochs": 6, "learning_rate": 0.01},
        "check that labels and inputs belong together",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_by_its_kind(name):
    loss, start, data, options, expected = FAULTS[name]
    said = remarks(loss, start, data, **options)
    assert any(re.search(expected, text) for text in said), said
    assert len(said) <= 2
    if name.startswith(("dead", "constant", "inputs")):
        assert len(said) == 1
    if "wrong sign" not in name:
        assert not any("wrong sign" in text for text in said)


def attention(params, x, y):
    """Compute one attention head over the rows of the pictures."""
    rows = x.reshape(-1, 8, 8)
    q, k, v = (np.matmul(rows, params[name]) for name in "qkv")
    scores = np.matmul(q, np.swapaxes(k, 1, 2)) / 8**0.5
    weights = np.exp(scores - np.max(scores, axis=2, keepdims=True))
    mixed = np.matmul(weights / np.sum(weights, axis=2, keepdims=True), v)
    logits = np.dot(np.mean(mixed, axis=1), params["out"])
    return network.cross_entropy(logits, y)


def autoencoder(params, x, y):
    coded = np.tanh(np.dot(x, params["in"]))
    return np.mean((np.dot(coded, params["out"]) - x) ** 2)


def embedding(params, x, y):
    return network.cross_entropy(np.dot(params["table"][x[:, 0]], params["out"]), y)


def logistic(params, x, y):
    z = np.dot(x, params["w"]) + params["b"]
    return np.mean(np.log1p(np.exp(-z * y)))


def small(*shape):
    return RNG.normal(size=shape) / shape[0] ** 0.5


SIGNS = np.sign(TARGETS)
WORDS = RNG.integers(0, 30, size=(N, 1))
FINE = {
    "line": (line, LINE, (NORMAL, TARGETS), {"epochs": 10}),
    "line, all data in a step": (line, LINE, (NORMAL, TARGETS), {"batch_size": N, "epochs": 100}),
    "line, one step": (line, LINE, (NORMAL, TARGETS), {"iterations": 1}),
    "logistic": (logistic, LINE, (NORMAL, SIGNS), {"epochs": 10, "learning_rate": 0.5}),
    "logistic, adagrad": (logistic, LINE, (NORMAL, SIGNS), {"optimizer": optim.adagrad(0.1)}),
    "attention": (
        attention, {"q": small(8, 8), "k": small(8, 8), "v": small(8, 8), "out": small(8, 10)},
        (X, Y), {"optimizer": optim.adam(0.01), "epochs": 5},
    ),
    "autoencoder": (
        autoencoder, {"in": small(64, 10), "out": small(10, 64)}, (X, Y),
        {"optimizer": optim.adam(0.01), "epochs": 5},
    ),
    "embedding": (
        embedding, {"table": small(30, 5), "out": small(5, 3)}, (WORDS, WORDS[:, 0] % 3),
        {"learning_rate": 0.5, "epochs": 10},
    ),
    "a few small steps": (relu_loss, RELU, (X, Y), {"learning_rate": 4e-5, "epochs": 1}),
    "l-bfgs": (
        relu_loss, RELU, (X, Y), {"optimizer": optim.lbfgs(), "batch_size": N, "epochs": 15},
    ),
    "nesterov with decay": (
        relu_loss, RELU, (X, Y),
        {"optimizer": optim.sgd(0.1, 0.9, nesterov=True, weight_decay=1e-3), "epochs": 5},
    ),
    "warmup and cosine": (
        relu_loss, RELU, (X, Y),
        {"optimizer": optim.adamw(optim.warmup(optim.cosine(0.01, 80), 20)), "epochs": 5},
    ),
    "trained further": (
        line, {"w": np.array([1.0, 2.0, 3.0]), "b": 0.0}, (NORMAL, TARGETS), {"epochs": 10},
    ),
    "scaled regression": (
        regression, network.init([3, 20, 1], 0, activation="relu"), (NORMAL, TARGETS / 3.7),
        {"epochs": 10, "learning_rate": 0.05},
    ),
    "a function alone": (
        lambda p: p[0] ** 2 / 20 + p[1] ** 2, np.array([-7.0, 2.0]), None,
        {"batch_size": None, "iterations": 60, "learning_rate": 0.9},
    ),
    "float32": (
        relu_loss, network.init([64, 20, 10], 0, activation="relu", dtype=np.float32),
        (X.astype(np.float32), Y), {"epochs": 5},
    ),
    "single samples": (
        partial(network.loss, activation="tanh"), network.init([64, 10, 10], 0), (X[:100], Y[:100]),
        {"batch_size": 1, "learning_rate": 0.05, "epochs": 3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FINE)
def test_what_goes_well_is_not_remarked_on(name):
    loss, start, data, options = FINE[name]
    assert remarks(loss, start, data, **options) == []


def test_a_training_that_diverges_is_told_to_scale_its_targets():
    start = network.init([3, 20, 1], 0, activation="relu")
    with pytest.raises(DivergenceError, match=r"rate, 0\.1, to .*, and scale the targets"):
        fit(regression, start, (NORMAL, 1e4 * TARGETS), learning_rate=0.1)
