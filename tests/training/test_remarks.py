"""Remarks on a training that goes wrong, and silence on one that goes well."""

import contextlib
import re
import warnings

import numpy as np
import pytest

import gradlab
from gradlab import fit, network, optim
from gradlab.errors import DivergenceError, TrainingWarning

N = 200


def blobs(seed, columns=4, classes=3):
    """Return points around a centre per class, and their classes."""
    rng = np.random.default_rng(seed)
    centres, labels = rng.normal(size=(classes, columns)) * 3, rng.integers(classes, size=N)
    return centres[labels] + rng.normal(size=(N, columns)), labels


X, LABELS = blobs(1)
START = network.init([4, 20, 3], 0)
DEEP = [4, *[20] * 9, 3]
RAW = np.random.default_rng(0).normal(size=(N, 3)) * [1, 20, 400]


def sigmoid_loss(params, x, y):
    return network.loss(params, x, y, activation="sigmoid")


def relu_loss(params, x, y):
    return network.loss(params, x, y, activation="relu")


def line_loss(params, x, y):
    return np.mean((np.dot(x, params["w"]) + params["b"] - y) ** 2)


def remarks(loss, start, data, **options):
    """Return the remarks on a training, each as one line that points at this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with contextlib.suppress(DivergenceError):
            fit(loss, start, data, **{"batch_size": 20, "backend": "tape"} | options)
    assert [w.message for w in caught if w.category is not TrainingWarning] == []
    assert all(warning.filename == __file__ for warning in caught)
    said = [str(warning.message) for warning in caught]
    assert len(set(said)) == len(said)
    assert all("\n" not in text for text in said)
    return said


ZEROS = {name: 0 * leaf for name, leaf in START.items()}
LINE = {"w": np.zeros(3), "b": 0.0}
FAULTS = {
    "dead layer": (
        relu_loss, START | {"b1": np.full(20, -1e3)}, (X, LABELS), {"epochs": 2},
        r"of W1, b1, W2 was exactly 0 in each of 10 steps, up to epoch 1: .* take out parameters",
    ),
    "all weights zero": (
        relu_loss, ZEROS, (X, LABELS), {"epochs": 20}, r"W1, b1, W2 was exactly 0",
    ),
    "killed by a step": (
        relu_loss, network.init([4, *[50] * 4, 3], 0, scale=1.0), (X, LABELS), {"epochs": 10},
        r"exactly 0 .* and was not at first \(the gradient explodes: a step changed W5 by",
    ),
    "unused parameters": (
        lambda params, x, y: relu_loss({name: params[name] for name in START}, x, y),
        START | {"extra": np.ones(2)}, (X, LABELS), {"epochs": 2}, r"of extra was exactly 0",
    ),
    "vanishing, sigmoid": (
        sigmoid_loss, network.init(DEEP, 0), (X, LABELS), {"epochs": 20},
        r"gradient of W1, .* vanishes: a step changes W1 .* times as much as b10; start with",
    ),
    "vanishing, small weights": (
        relu_loss, network.init([4, 20, 20, 20, 20, 3], 0, scale=0.01), (X, LABELS),
        {"epochs": 20}, r"gradient of W1, W2, W3, W4 vanishes",
    ),
    "learning rate too large": (
        relu_loss, START, (X, LABELS), {"learning_rate": 10.0},
        r"learning rate \(10\) is too large: .* rose from .*explodes.* lower the learning rate",
    ),
    "learning rate of Adam too large": (
        relu_loss, START, (X, LABELS), {"optimizer": optim.adam(10.0)}, r"\(10\) is too large",
    ),
    "learning rate too small": (
        relu_loss, START, (X, LABELS), {"learning_rate": 1e-8, "epochs": 20},
        r"all 200 steps together lower the loss, .*: raise the learning rate \(1e-08\)",
    ),
    "growth": (
        lambda p: np.sum(np.array([1.0, 10.0]) * p["a"] ** 2) - 100, {"a": np.ones(2)}, None,
        {"learning_rate": 0.12, "epochs": 20, "batch_size": None},
        r"the loss grows, from -89\.0000 to .*: lower the learning rate \(0\.12\)",
    ),
    "inputs not scaled": (
        line_loss, LINE, (RAW, RAW @ [1, 0.1, 0.01]), {"learning_rate": 1e-7, "epochs": 3},
        r"column 2 of x is 384 times as large as column 0: .* give each column mean 0",
    ),
    "inputs in grey levels": (
        relu_loss, START, (np.abs(X) * 50, LABELS), {"epochs": 10}, r"scale the inputs",
    ),
    "chance": (
        relu_loss, network.init([4, 5, 10], 0, scale=0.1),
        (np.random.default_rng(0).normal(size=(N * 5, 4)), np.arange(N * 5) % 10),
        {"epochs": 20, "batch_size": 100},
        r"guessing among 10 classes \(ln 10 = 2\.3026\) after 200 steps",
    ),
    "constant labels": (relu_loss, START, (X, np.full(N, 1)), {}, r"all 200 labels are 1: "),
    "constant targets": (
        line_loss, LINE, (X[:, :3], np.full(N, 1.5)), {"learning_rate": 0.01},
        r"all 200 labels are 1\.5: .* check how they were read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_remedy(name):
    loss, start, data, options, expected = FAULTS[name]
    said = remarks(loss, start, data, **options)
    assert any(re.search(expected, text) for text in said), said
    assert len(said) <= 2


OPTIMISERS = [
    optim.sgd(0.1), optim.sgd(0.1, 0.9), optim.adam(0.01), optim.rmsprop(0.01), optim.adagrad(0.1),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_a_training_without_problems_gives_no_warning(seed):
    rng = np.random.default_rng(seed)
    data = blobs(seed, int(rng.integers(2, 8)), int(rng.integers(2, 5)))
    hidden = rng.integers(4, 30, size=rng.integers(0, 4))
    activation = ["sigmoid", "tanh", "relu", "silu"][seed % 4]
    said = remarks(
        lambda params, x, y: network.loss(params, x, y, activation=activation),
        network.init([data[0].shape[1], *map(int, hidden), int(data[1].max()) + 1], seed),
        data,
        optimizer=OPTIMISERS[seed % 5],
        epochs=int(rng.integers(1, 15)),
        batch_size=int(rng.choice([10, 50, 200])),
    )
    assert said == []


def test_an_infinite_loss_before_the_first_step_does_not_blame_the_learning_rate():
    start = START | {"W1": START["W1"] * 1e200, "W2": START["W2"] * 1e200}
    with pytest.raises(DivergenceError, match="before the first step: scale the data") as caught:
        fit(relu_loss, start, (X, LABELS))
    assert "learning rate" not in str(caught.value)


def test_no_optimiser_on_digits_gives_a_warning():
    digits = gradlab.datasets.load("digits")
    for optimizer in (optim.sgd(0.1), optim.sgd(0.2, 0.9), optim.adam(0.01)):
        start = network.init([64, 32, 10], seed=0)
        options = {"optimizer": optimizer, "epochs": 10, "batch_size": 100}
        assert remarks(sigmoid_loss, start, digits.train, **options) == []


def test_the_history_has_the_norms_of_the_last_step_of_each_epoch(tmp_path):
    """This also holds after a checkpoint; a callback gives the reference."""
    seen = []
    options = {"batch_size": 20, "learning_rate": 0.1, "checkpoint": tmp_path / "state"}
    fit(relu_loss, START, (X, LABELS), epochs=2, **options)
    callbacks = [lambda step: seen.append(step) if step.epoch else None]
    resumed = fit(
        relu_loss, START, (X, LABELS), epochs=3, resume=True, callbacks=callbacks, **options
    )
    whole = fit(relu_loss, START, (X, LABELS), epochs=3, batch_size=20, learning_rate=0.1)
    assert resumed.history.leaves == ["W1", "b1", "W2", "b2"]
    for a, b in zip(resumed.history.epochs, whole.history.epochs, strict=True):
        assert (a.gradient_norms, a.update_norms) == (b.gradient_norms, b.update_norms)
    (last,) = seen
    for i, name in enumerate(resumed.history.leaves):
        gradient = np.linalg.norm(last.grads[name])
        # A sum of n squares, whose rounding is at most n times eps.
        close = pytest.approx(gradient, rel=100 * np.finfo(float).eps)
        assert last.epoch.gradient_norms[i] == close
        change = np.linalg.norm(last.updated[name] - last.params[name])
        close = pytest.approx(change, rel=100 * np.finfo(float).eps)
        assert last.epoch.update_norms[i] == close
