"""Layers that keep their parameters and gradients in lists or dicts, as textbooks write them."""

from __future__ import annotations

import numpy as np
import pytest

import gradlab
from gradlab.errors import LossError, ParameterError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 3))
W, B = RNG.normal(size=(3, 2)), RNG.normal(size=2)


class Strided:
    """Keeps a number and a name beside its parameters."""

    def __init__(self, w):
        self.params = {"w": w, "stride": 1, "name": "strided", "shape": np.array([3, 2])}
        self.grads = {"w": None}

    def forward(self, x):
        self.x = x
        return x @ self.params["w"]

    def backward(self, dout):
        self.grads = {"w": self.x.T @ dout}
        return dout @ self.params["w"].T


def test_only_arrays_of_floats_are_parameters():
    assert gradlab.check_layer(Strided(W), X).ok


class Affine:
    """Writes into arrays that were made like the parameters."""

    def __init__(self, w, b):
        self.params = [w, b]
        self.grads = [np.zeros_like(w), np.zeros_like(b)]
        self.x = None

    def forward(self, x):
        w, b = self.params
        self.x = x
        return x @ w + b

    def backward(self, dout):
        w, _ = self.params
        self.grads[0][...] = self.x.T @ dout
        self.grads[1][...] = np.sum(dout, axis=0)
        return dout @ w.T


class Averaging(Affine):
    """A layer with a mean instead of a sum."""

    def backward(self, dout):
        dx = super().backward(dout)
        self.grads[1][...] = np.mean(dout, axis=0)
        return dx


class Embedding:
    """A layer without a gradient of its integer input; the gradient array is replaced."""

    def __init__(self, w):
        self.params, self.grads = [w], [np.zeros_like(w)]

    def forward(self, index):
        self.index = index
        return self.params[0][index]

    def backward(self, dout):
        dw = np.zeros_like(self.params[0])
        np.add.at(dw, self.index, dout)
        self.grads[0] = dw


class Net:
    """Layers that share their arrays with the lists of the whole."""

    def __init__(self):
        self.layers = [Affine(W.copy(), B.copy()), Affine(W.T.copy(), np.zeros(3))]
        self.params, self.grads = [], []
        for layer in self.layers:
            self.params += layer.params
            self.grads += layer.grads

    def forward(self, x):
        for layer in self.layers:
            x = np.tanh(layer.forward(x))
            layer.out = x
        return x

    def backward(self, dout):
        for layer in reversed(self.layers):
            dout = layer.backward(dout * (1 - layer.out**2))
        return dout


def test_parameters_in_lists_are_checked_with_the_input():
    layer = Affine(W, B)
    report = gradlab.check_layer(layer, X)
    assert report.verdict == "agree"
    assert {leaf.path for leaf in report.leaves} == {
        f"output by {name}" for name in ("x", "params[0]", "params[1]")
    }
    assert layer.x is None
    assert layer.params[0] is W


def test_a_wrong_gradient_in_a_list_is_named():
    report = gradlab.check_layer(Averaging(W, B), X)
    assert report.verdict == "mismatch"
    assert {entry.parameter.split("[")[0] for entry in report.mismatches} == {"params"}
    assert {entry.path for entry in report.mismatches} == {"output by params[1]"}


def test_a_layer_of_integers_returns_nothing():
    assert gradlab.check_layer(Embedding(W), np.array([0, 2, 0])).ok


@pytest.mark.slow
def test_parts_that_share_their_arrays_move_together():
    report = gradlab.check_layer(Net(), X)
    assert report.verdict == "agree"
    assert len(report.leaves) == 5


@pytest.mark.slow
def test_single_precision_is_checked_in_double():
    layer = Affine(W.astype(np.float32), B.astype(np.float32))
    report = gradlab.check_layer(layer, X.astype(np.float32))
    assert report.verdict == "agree"
    assert report.resolution < 1e-8
    assert layer.params[0].dtype == np.float32


class ByName:
    def __init__(self, w, b):
        self.params, self.grads = {"W": w, "b": b}, {}

    def forward(self, x):
        self.x = x
        return x @ self.params["W"] + self.params["b"]

    def backward(self, dout):
        self.grads = {"W": self.x.T @ dout, "b": dout.sum(axis=0)}
        return dout @ self.params["W"].T


def test_parameters_in_dicts_have_their_names():
    report = gradlab.check_layer(ByName(W, B), X)
    assert report.verdict == "agree"
    assert "output by params['W']" in {leaf.path for leaf in report.leaves}


def test_a_parameter_without_a_gradient_is_named():
    layer = ByName(W, B)
    layer.params["c"] = np.ones(2)
    with pytest.raises(ParameterError, match=r"params\['c'\], but backward leaves no array"):
        gradlab.check_layer(layer, X)


class Adding(Affine):
    """A layer that adds to its gradients until they are set to zero."""

    def backward(self, dout):
        w, _ = self.params
        self.grads[0] += self.x.T @ dout
        self.grads[1] += np.sum(dout, axis=0)
        return dout @ w.T


class Scale:
    """A layer that adds to a number, which becomes a new object each time."""

    def __init__(self):
        self.a, self.da = 2.0, 0.0

    def forward(self, x):
        self.x = x
        return self.a * x

    def backward(self, dout):
        self.da += self.factor() * np.sum(dout * self.x)
        return dout * self.a

    def factor(self):
        return 1.0


class ScaleTwice(Scale):
    def factor(self):
        return 2.0


@pytest.mark.parametrize(
    ("layer", "names"), [(Adding(W, B), "params[0], params[1]"), (Scale(), "a")]
)
def test_gradients_that_grow_are_set_to_zero_and_a_note_says_so(layer, names):
    report = gradlab.check_layer(layer, X)
    assert report.verdict == "agree", str(report)
    assert report.notes[0].startswith(f"backward adds to the gradient of {names}, as += does")


def test_gradients_that_grow_are_judged():
    report = gradlab.check_layer(ScaleTwice(), X)
    assert {entry.path for entry in report.mismatches} == {"output by a"}


def test_a_backward_pass_that_adds_to_its_last_result_is_reported():
    total = np.zeros_like(W)

    def backward(dout, x):
        nonlocal total
        total = total + x.T @ dout
        return total

    with pytest.raises(LossError, match=r"the vjp grows by the same amount at each call"):
        gradlab.check_layer(lambda w: (X @ w, X), backward, W)
