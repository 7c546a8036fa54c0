"""The checker as users call it: layers, networks that keep their parameters, approximations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradlab
from gradlab.checking.allowance import accepted, difference, root_mean_square
from gradlab.checking.result import Entry
from gradlab.errors import OptionError, ParameterError

RNG = np.random.default_rng(0)
X, W, B = RNG.normal(size=(4, 3)), RNG.normal(size=(3, 2)), RNG.normal(size=2)


# Layers


def affine_forward(x: Any, w: Any, b: Any) -> Any:
    return x @ w + b, (x, w)


def affine_backward(dout: Any, cache: Any) -> Any:
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def test_a_layer_in_one_line() -> None:
    report = gradlab.check_layer(affine_forward, affine_backward, X, W, B)
    assert report.verdict == "agree", str(report)
    assert [leaf.path for leaf in report.leaves] == ["output by x", "output by w", "output by b"]
    assert "the backward pass is that of the function" in str(report)


@pytest.mark.parametrize(
    ("spoil", "name", "cause"),
    [
        (lambda dx, dw, db: (2 * dx, dw, db), "x", "2 times too large"),
        (lambda dx, dw, db: (dx, dw, db / 4), "b", "4 times too small: a mean for a sum?"),
        (lambda dx, dw, db: (dx, -dw, db), "w", "the wrong sign"),
    ],
)
def test_a_wrong_gradient_has_the_name_of_its_argument(spoil: Any, name: str, cause: str) -> None:
    report = gradlab.check_layer(
        affine_forward, lambda dout, cache: spoil(*affine_backward(dout, cache)), X, W, B
    )
    wrong = [leaf for leaf in report.leaves if leaf.verdict == "mismatch"]
    assert [leaf.path for leaf in wrong] == [f"output by {name}"]
    assert cause in wrong[0].cause


def test_layers_with_settings_state_and_several_outputs() -> None:
    def batchnorm_forward(x: Any, gamma: Any, beta: Any, settings: Any) -> Any:
        mean, var = x.mean(axis=0), x.var(axis=0)
        settings["running_mean"] = 0.9 * settings.get("running_mean", 0) + 0.1 * mean
        normal = (x - mean) / np.sqrt(var + settings["eps"])
        return gamma * normal + beta, (normal, gamma, var + settings["eps"])

    def batchnorm_backward(dout: Any, cache: Any) -> Any:
        normal, gamma, var = cache
        d = dout * gamma
        dx = (d - d.mean(axis=0) - normal * (d * normal).mean(axis=0)) / np.sqrt(var)
        return dx, (dout * normal).sum(axis=0), dout.sum(axis=0)

    settings = {"eps": 1e-5}
    gamma, beta = np.array([1.0, 2, 0.5]), np.zeros(3)
    report = gradlab.check_layer(
        batchnorm_forward, batchnorm_backward, X[:2], gamma, beta, settings
    )
    assert report.ok, str(report)
    assert settings == {"eps": 1e-5}

    def step_forward(x: Any, h: Any, w: Any) -> Any:
        new = np.tanh(x @ w + h)
        return new, new**2, (x, w, new)

    def step_backward(dh: Any, dsquare: Any, cache: Any) -> Any:
        x, w, new = cache
        d = (dh + 2 * new * dsquare) * (1 - new**2)
        return {"dx": d @ w.T, "dh": d, "dw": x.T @ d}

    report = gradlab.check_layer(step_forward, step_backward, X[:1], np.zeros((1, 2)), W)
    assert report.ok, str(report)
    assert report.leaves[0].path == "output[0] by x"


class Relu:
    def forward(self, x: Any) -> Any:
        self.mask = x <= 0
        out = x.copy()
        out[self.mask] = 0
        return out

    def backward(self, dout: Any) -> Any:
        dout[self.mask] = 0
        return dout


def test_a_layer_that_is_an_object() -> None:
    layer = Relu()
    assert gradlab.check_layer(layer.forward, layer.backward, X).ok
    layer.backward = lambda dout: dout  # type: ignore[method-assign]
    assert not gradlab.check_layer(layer.forward, layer.backward, X).ok


class Affine:
    """A layer in the style of textbooks, optionally with a mistake in one gradient."""

    def __init__(self, wrong: str = "") -> None:
        self.W, self.b, self.wrong = W.copy(), B.copy(), wrong

    def forward(self, x: Any) -> Any:
        self.x, self.out = x, x @ self.W + self.b
        return self.out

    def backward(self, dout: Any) -> Any:
        self.dout = dout  # next to self.out, which is not a parameter
        self.dW = self.x.T @ dout * (2 if self.wrong == "W" else 1)
        self.db = dout.sum(axis=0) * (2 if self.wrong == "b" else 1)
        return dout @ self.W.T * (2 if self.wrong == "x" else 1)


@pytest.mark.parametrize("wrong", ["", "x", "W", "b"])
def test_a_layer_with_its_own_parameters(wrong: str) -> None:
    layer = Affine(wrong)
    layer.backward(np.ones_like(layer.forward(X)))  # as after a step of a training
    kept = layer.W, layer.x, layer.dW
    report = gradlab.check_layer(layer, X)
    assert {leaf.path for leaf in report.leaves} == {f"output by {n}" for n in ("x", "W", "b")}
    assert {e.path for e in report.mismatches} == ({f"output by {wrong}"} if wrong else set())
    assert all(a is b for a, b in zip((layer.W, layer.x, layer.dW), kept, strict=True))


def test_arguments_without_a_gradient_are_named() -> None:
    def backward(dout: Any, cache: Any) -> Any:
        return affine_backward(dout, cache)[:2]

    report = gradlab.check_layer(affine_forward, backward, X, W, B)
    assert report.ok
    assert report.notes == ("backward returns no gradient of b, which was not checked",)


def test_layers_that_are_refused() -> None:
    def too_many(dout: Any, cache: Any) -> Any:
        return (*affine_backward(dout, cache), 0)

    with pytest.raises(ParameterError, match="4 gradients for 3 arrays of floats, x, w, b"):
        gradlab.check_layer(affine_forward, too_many, X, W, B)
    with pytest.raises(ParameterError, match="expected the names of x, w, b"):
        gradlab.check_layer(affine_forward, lambda dout, cache: {"a": 1}, X, W, B)
    with pytest.raises(OptionError, match="no argument of the layer is an array of floats"):
        gradlab.check_layer(affine_forward, affine_backward, 1, 2, 3)

    def misshapen(dout: Any, cache: Any) -> Any:
        dx, dw, db = affine_backward(dout, cache)
        return dx, dw, db[None]

    with pytest.raises(ParameterError, match=r"b has shape \(1, 2\)"):
        gradlab.check_layer(affine_forward, misshapen, X, W, B)


# Networks that keep their parameters


class Net:
    """A network in the style of textbooks: its parameters are attributes."""

    def __init__(self, dtype: Any = np.float64) -> None:
        self.params = {"W": W.astype(dtype), "b": B.astype(dtype)}
        self.factor = 1.0

    def predict(self, x: Any) -> Any:
        return np.tanh(x @ self.params["W"] + self.params["b"])

    def loss(self, x: Any, t: Any) -> Any:
        return np.mean((self.predict(x) - t) ** 2)

    def gradient(self, x: Any, t: Any) -> Any:
        y = self.predict(x)
        d = 2 * (y - t) * (1 - y**2) / y.size * self.factor
        return {"W": x.T @ d, "b": d.sum(axis=0)}

    def loss_and_gradient(self, x: Any, t: Any) -> Any:
        return self.loss(x, t), self.gradient(x, t)


T = RNG.normal(size=(4, 2))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mode", ["entries", "directional"])
def test_a_network_in_place(dtype: Any, mode: Any) -> None:
    net = Net(dtype)
    before = {path: leaf.copy() for path, leaf in net.params.items()}
    report = gradlab.check_gradients(
        net.loss, net.params, X, T, gradient=net.gradient, in_place=True, mode=mode
    )
    assert report.verdict == "agree", str(report)
    assert all(np.array_equal(net.params[path], leaf) for path, leaf in before.items())
    net.factor = 0.5
    report = gradlab.check_gradients(
        net.loss, net.params, X, T, gradient=net.gradient, in_place=True, mode=mode
    )
    assert report.verdict == "mismatch"
    assert {leaf.verdict for leaf in report.leaves} == {"mismatch"}
    assert all(np.array_equal(net.params[path], leaf) for path, leaf in before.items())


def test_a_network_in_place_that_returns_loss_and_gradient() -> None:
    net = Net()
    report = gradlab.check_gradients(net.loss_and_gradient, net.params, X, T, in_place=True)
    assert report.ok
    net.factor = 1.5
    report = gradlab.check_gradients(net.loss_and_gradient, net.params, X, T, in_place=True)
    assert not report.ok


def test_parameters_are_put_back_after_an_error() -> None:
    net = Net()

    def gradient(x: Any, t: Any) -> Any:
        raise RuntimeError("not written yet")

    with pytest.raises(RuntimeError, match="not written yet"):
        gradlab.check_gradients(net.loss, net.params, X, T, gradient=gradient, in_place=True)
    assert np.array_equal(net.params["W"], W)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"w": np.array([1, 2])}, "dtype int64, which small steps do not change"),
        ({"w": np.broadcast_to(1.0, 2)}, "read-only"),
        (3.0, "cannot be written into"),
        ((1.0, 2.0), "a number in a tuple"),
    ],
)
def test_parameters_that_cannot_be_written_into(params: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        gradlab.check_gradients(lambda: 0.0, params, gradient=lambda: params, in_place=True)


def test_a_backend_cannot_differentiate_in_place() -> None:
    net = Net()
    for gradient in ("autograd", "central", gradlab.Autograd()):
        with pytest.raises(OptionError, match="give the gradient that the object computes"):
            gradlab.check_gradients(net.loss, net.params, X, T, gradient=gradient, in_place=True)


def test_numbers_in_a_dict_are_moved_in_place() -> None:
    params = {"a": 2.0, "b": [3.0]}
    report = gradlab.check_gradients(
        lambda: params["a"] ** 2 * params["b"][0],  # type: ignore[index,operator]
        params,
        gradient=lambda: {"a": 2 * params["a"] * params["b"][0], "b": [params["a"] ** 2]},  # type: ignore[index,operator]
        in_place=True,
    )
    assert report.ok, str(report)
    assert params == {"a": 2.0, "b": [3.0]}


def test_parameters_are_put_back_after_an_interruption() -> None:
    params = {"a": 2.0, "w": np.ones(3)}

    def loss() -> Any:
        if params["a"] != 2.0:
            raise KeyboardInterrupt
        return params["a"] * np.sum(params["w"])

    with pytest.raises(KeyboardInterrupt):
        gradlab.check_gradients(loss, params, gradient=lambda: params, in_place=True)
    assert params["a"] == 2.0
    np.testing.assert_array_equal(params["w"], np.ones(3))


# A loss that returns its gradient


def test_a_loss_that_returns_its_gradient() -> None:
    def loss(w: Any, factor: float) -> Any:
        return np.sum(w**3), 3 * w**2 * factor

    assert gradlab.check_gradients(loss, B, 1.0).ok
    report = gradlab.check_gradients(loss, B, 1.5)
    assert "1.5 times" in report.leaves[0].cause
    assert gradlab.check_gradients(loss, B, 1.5, gradient=3 * B**2).ok
    assert gradlab.check_gradients(loss, B, 1.5, gradient="complex-step").ok


# An error that is accepted


@pytest.mark.parametrize("mode", ["entries", "directional"])
def test_an_allowed_error_is_accepted_and_a_larger_one_is_not(mode: Any) -> None:
    x = np.linspace(0.5, 2, 40)

    def check(error: float, allow: float, only: int | None = None) -> Any:
        gradient = np.cos(x)
        gradient[slice(None) if only is None else only] *= 1 + error
        return gradlab.check_gradients(
            lambda x: np.sum(np.sin(x)), x, gradient=gradient, mode=mode, allow=allow
        )

    assert check(1e-6, 0).verdict == "mismatch"
    found = check(1e-6, 2e-6)
    assert found.verdict == "agree", str(found)
    assert found.difference.relative == pytest.approx(1e-6, rel=1e-3)
    assert check(1e-4, 2e-6).verdict == "mismatch"
    assert [e.index for e in check(1e-3, 2e-6, only=7).mismatches] == [(7,)]


@pytest.mark.parametrize("mode", [pytest.param("entries", marks=pytest.mark.slow), "directional"])
@pytest.mark.parametrize("kind", [pytest.param("jacobian", marks=pytest.mark.slow), "jvp"])
def test_an_allowed_error_of_a_jacobian(kind: str, mode: Any) -> None:
    m, x = RNG.normal(size=(2, 3)), RNG.normal(size=3)

    def check(error: float, allow: float) -> Any:
        wrong = m * (1 + error)
        claim = wrong if kind == "jacobian" else lambda x, v: wrong @ v
        return gradlab.check_derivatives(
            lambda x: m @ x, x, **{kind: claim}, allow=allow, mode=mode
        )

    assert check(1e-6, 0).verdict == "mismatch"
    assert check(1e-6, 2e-6).verdict == "agree"
    assert check(1e-4, 2e-6).verdict == "mismatch"


def test_a_finite_difference_may_be_checked_with_an_allowance() -> None:
    def loss(w: Any) -> Any:
        return np.sum(np.exp(w) * np.sin(3 * w))

    w = np.linspace(-1, 2, 9)
    report = gradlab.check_gradients(loss, w, gradient="forward")
    assert report.verdict == "mismatch"
    assert 1e-9 < report.difference.relative < 1e-6
    assert gradlab.check_gradients(loss, w, gradient="forward", allow=1e-6).ok


@pytest.mark.parametrize("allow", [-1e-3, 0.5, "1e-5", np.nan, True])
def test_an_allowance_out_of_range(allow: Any) -> None:
    with pytest.raises(OptionError, match="give a relative error from 0 to"):
        gradlab.check_gradients(lambda w: w @ w, B, allow=allow)


def test_the_parts_of_an_allowance() -> None:
    entry = Entry("w", (0,), 1.02, 1.0, 1e-9, 0.05, "agree")
    doubtful = Entry("w", (1,), 1.0, 1.0, 1e-9, 0.6, "inconclusive", "errors would not be seen")
    assert accepted([doubtful], 0.01)[0].verdict == "agree"
    assert accepted([doubtful], 0.0)[0].verdict == "inconclusive"
    assert root_mean_square(np.array([3e200, 4e200])) == pytest.approx(np.sqrt(12.5) * 1e200)
    found = difference([entry, Entry("w", (1,), 0.0, 1e-9, 0, 0, "mismatch")])
    assert found is not None
    assert found.entry == "w[0]"
    assert found.relative == pytest.approx(0.02)
    assert difference([]) is None


# The same gradient in a training


def squared(w: Any, x: Any, y: Any) -> Any:
    return np.mean((x @ w - y) ** 2)


def squared_by_hand(w: Any, x: Any, y: Any) -> Any:
    return 2 * x.T @ (x @ w - y) / len(y)


def test_a_gradient_by_hand_trains_as_it_is_checked() -> None:
    x = RNG.normal(size=(20, 3))
    y = x @ np.array([1.0, -2.0, 0.5])
    assert gradlab.check_gradients(squared, np.zeros(3), x, y, gradient=squared_by_hand).ok
    steps = {"learning_rate": 0.1, "iterations": 30, "batch_size": 5}
    both = [
        gradlab.fit(squared, np.zeros(3), (x, y), **how, **steps)  # type: ignore[arg-type]
        for how in ({"gradient": squared_by_hand}, {"backend": "autograd"})
    ]
    np.testing.assert_allclose(both[0].params, both[1].params, rtol=1e-12)

    def returning(w: Any, x: Any, y: Any) -> Any:
        return squared(w, x, y), squared_by_hand(w, x, y)

    again = gradlab.fit(returning, np.zeros(3), (x, y), backend=gradlab.ByHand(), **steps)  # type: ignore[arg-type]
    np.testing.assert_array_equal(again.params, both[0].params)


def test_a_training_takes_a_backend_or_a_gradient() -> None:
    data = X, T[:, 0]
    with pytest.raises(OptionError, match="a backend or a gradient, not both"):
        gradlab.fit(squared, np.zeros(3), data, backend="tape", gradient=squared_by_hand)
    with pytest.raises(OptionError, match="gradient"):
        gradlab.fit(squared, np.zeros(3), data, gradient=3)  # type: ignore[arg-type]


def test_what_a_gradient_by_hand_may_be() -> None:
    x, y = X, T[:, 0]
    w = np.ones(3, np.float32)
    value, grads = gradlab.value_and_grad(squared, gradlab.ByHand(squared_by_hand))(w, x=x, y=y)
    assert value == squared(w, x, y)
    assert grads.dtype == np.float32
    for gradient, message in [
        (lambda w, x, y: np.ones(2), "shape"),
        (lambda w, x, y: w * np.nan, "nan"),
        (lambda w, x, y: {"w": w}, "lacks params"),
    ]:
        with pytest.raises(gradlab.GradlabError, match=message):
            gradlab.grad(squared, gradlab.ByHand(gradient))(w, x, y)
    with pytest.raises(gradlab.GradlabError, match=r"does not return \(loss, gradient\)"):
        gradlab.grad(squared, gradlab.ByHand())(w, x, y)
    with pytest.raises(ZeroDivisionError) as caught:
        gradlab.grad(squared, gradlab.ByHand(lambda w, x, y: 1 / 0))(w, x, y)
    assert "raised by the gradient" in caught.value.__notes__[0]


def test_an_assertion_takes_what_the_checker_takes() -> None:
    net = Net()
    gradlab.testing.assert_gradients_agree(
        net.loss, net.params, X, T, gradient=net.gradient, in_place=True
    )
    gradlab.testing.assert_gradients_agree(
        lambda w: np.sum(np.sin(w)), B, gradient=lambda w: np.cos(w) * (1 + 1e-6), allow=2e-6
    )
