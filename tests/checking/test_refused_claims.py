"""Claims, layers and functions that the checker cannot use, each refused by name."""

from __future__ import annotations

import numpy as np
import pytest

import gradlab
from gradlab.errors import OptionError, ParameterError

X = np.array([0.5, 1.0, -2.0])
W = np.arange(6.0).reshape(3, 2)


def two_outputs(x):
    return {"s": np.sin(x), "c": np.cos(x)}


def test_a_gradient_that_is_not_an_array_is_named():
    with pytest.raises(ParameterError, match=r"gradient"):
        gradlab.check_gradients(lambda p: np.sum(p["a"]), {"a": X}, gradient=lambda p: {"a": "one"})


def test_complex_parameters_are_not_perturbed_in_place():
    class Net:
        params = {"z": np.array([1.0 + 2.0j])}  # noqa: RUF012 - one net

    with pytest.raises(OptionError, match="complex parameters cannot be perturbed in place"):
        gradlab.check_gradients(
            lambda: float(np.abs(Net.params["z"][0])),
            Net.params,
            gradient=lambda: {"z": np.ones(1) + 0j},
            in_place=True,
            convention="torch",
        )


def test_a_product_with_an_output_too_many_is_named():
    def jvp(x, v):
        return {"s": np.cos(x) * v, "c": -np.sin(x) * v, "t": v}

    with pytest.raises(ParameterError, match=r"has .*t.*, which is not an output"):
        gradlab.check_derivatives(two_outputs, X, jvp=jvp)


def test_a_matrix_that_lacks_a_parameter_is_named():
    with pytest.raises(ParameterError, match=r"lacks .*b"):
        gradlab.check_derivatives(
            lambda p: p["a"] * p["b"],
            {"a": X, "b": X},
            jacobian=lambda p: {"a": np.diag(p["b"])},
        )


def test_an_array_in_the_place_of_a_list_is_described():
    with pytest.raises(ParameterError, match=r"an array of shape \(3, 3\).*one item for each of 2"):
        gradlab.check_derivatives(
            lambda x: [np.sin(x), x**2], X, jacobian=lambda x: np.diag(np.cos(x))
        )


@pytest.mark.parametrize(
    "jump",
    [
        lambda x: x[:2] if x[0] == 0.5 else x,
        lambda x: [x, x[:2]] if x[0] == 0.5 else [x, x],
    ],
)
def test_a_function_whose_shapes_change_nearby_is_never_right(jump):
    """No value nearby can be compared with the value at the parameters."""
    for mode in ("entries", "directional"):
        report = gradlab.check_derivatives(jump, X, jvp=lambda x, v: jump(X), mode=mode)
        assert not report.ok
        assert any("return the same shapes everywhere" in note for note in report.notes)


def test_an_error_at_all_points_nearby_is_named_where_nothing_can_be_measured():
    def loss(x):
        if (x != X).any():
            raise ValueError("only at X")
        return x.sum()

    report = gradlab.check_gradients(loss, X, gradient=np.ones_like)
    assert (report.verdict, report.notes) == (
        "inconclusive",
        ("raised at a point nearby: ValueError: only at X",),
    )


def test_an_error_on_one_side_is_not_named_where_the_other_side_decides():
    def loss(x):
        if x[0] > X[0]:
            raise ValueError("too large")
        return x.sum()

    report = gradlab.check_gradients(loss, X, gradient=np.ones_like)
    assert (report.verdict, report.notes) == ("agree", ())


def test_an_error_of_a_backward_pass_says_how_it_was_called():
    def backward(dout, cache):
        raise ValueError("no luck")

    for forward, called in (
        (lambda x: (x, x, x), "backward(2 gradients of outputs, cache)"),
        (lambda x: (x, x), "backward(dout, cache)"),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            gradlab.check_layer(forward, backward, X)
        assert f"called as {called}" in caught.value.__notes__
    with pytest.raises(TypeError) as caught:
        gradlab.check_layer(lambda x, w: x @ w, backward, X, W)
    assert any("forward returns no cache" in note for note in caught.value.__notes__)


def test_the_class_of_a_layer_is_not_a_layer():
    class Layer:
        def forward(self, x):
            return x

        def backward(self, dout):
            return dout

    with pytest.raises(OptionError, match="forward is the class Layer: give an object"):
        gradlab.check_layer(Layer, X)


def test_a_backward_pass_of_any_arguments_gets_the_inputs():
    """Only one with a single argument is called with the upstream gradient alone."""

    def backward(*given):
        dout, x, w = given
        return dout @ w.T, x.T @ dout

    x = np.arange(12.0).reshape(4, 3)
    assert gradlab.check_layer(lambda x, w: x @ w, backward, x, W).ok
    alone = gradlab.check_layer(lambda x: x * 2.0, lambda dout, scale=2.0: dout * scale, x)
    assert alone.ok


def test_a_function_without_a_signature_is_a_forward_pass():
    report = gradlab.check_layer(np.tanh, lambda dout, x: dout * (1 - np.tanh(x) ** 2), X)
    assert report.ok


def test_a_number_that_is_read_as_a_float_is_read():
    """The loss is constant, but not because it ignores its parameter."""
    report = gradlab.check_gradients(lambda w: 0.0 * float(w), 2.0, gradient=lambda w: 0.0)
    assert (report.verdict, report.constant) == ("agree", True)
