"""Derivatives of any order of a function of one number, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from optional import unless_missing
from test_derivatives import EPS

import gradlab
from gradlab import errors

EXACT = ("autograd", "tape", "autograd-forward", "jax", "torch")
ACCURACY = {"forward": 1, "central": 2, "central4": 4}
BACKENDS = [unless_missing(name) for name in (*EXACT, *ACCURACY, "richardson")]
X = 0.75


def f(x, scale):
    return {"both": np.stack([np.exp(x), np.sin(x)]), "cube": scale * x**3}


def wanted(order):
    cube = [3 * X**2, 6 * X, 6.0, 0.0, 0.0][order - 1]
    return np.array([np.exp(X), np.sin(X + order * np.pi / 2), 2 * cube])


def error_of(backend, order):
    """Balance truncation, hᵠ, and round-off, ε/hⁿ, with constants that grow with n."""
    if backend in EXACT:
        return 64 * EPS
    if backend == "richardson":  # it cancels some terms of the truncation more
        return 100 * EPS ** (8 / (8 + order))
    accuracy = ACCURACY[backend]
    return 10 ** (2 + order / 2) * EPS ** (accuracy / (accuracy + order))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_derivative_of_any_order_is_that_of_the_closed_form(backend, order):
    found = gradlab.derivative(f, order, backend)(X, 2.0)
    assert found["both"].shape == (2,)
    off = np.abs(np.append(found["both"], found["cube"]) - wanted(order)).max()
    assert off <= error_of(backend, order) * 10


@pytest.mark.parametrize("backend", ["central", "central4", "richardson"])
def test_a_steep_function_gets_smaller_steps(backend):
    found = gradlab.derivative(lambda x: np.sin(1000 * x), 2, backend)(0.3)
    assert found == pytest.approx(-1e6 * np.sin(300), rel=1e-6)


@pytest.mark.parametrize("backend", ["central", "richardson"])
def test_next_to_the_edge_of_a_domain_steps_are_smaller(backend):
    found = gradlab.derivative(np.log, 2, backend)(1e-3)
    assert found == pytest.approx(-1e6, rel=1e-6)


def test_a_given_step_is_used():
    found = gradlab.derivative(lambda x: x**4, 2, gradlab.CentralDifference(step=0.5))(1.0)
    assert found == pytest.approx(12 + 2 * 0.25, rel=64 * EPS)  # h²/12 f'''' = 2 h²


def test_arguments_are_those_of_a_jacobian():
    found, aux = gradlab.derivative(lambda y, x, *, n: (x**n * y, n), 2, argnums=1, has_aux=True)(
        3.0, 2.0, n=3
    )
    assert (float(found), aux) == (pytest.approx(36.0), 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gradlab.derivative(np.sin, 0), errors.OptionError, "order=0"),
        (
            lambda: gradlab.derivative(np.sin, 2, "complex-step"),
            errors.OptionError,
            "complex-step has only first derivatives",
        ),
        (lambda: gradlab.derivative(np.sin, 2, "spsa"), errors.OptionError, "spsa has only first"),
        (lambda: gradlab.derivative(np.sin, 2)(np.ones(2)), errors.ParameterError, "2 entries"),
        (
            lambda: gradlab.derivative(lambda x: np.abs(x - 1), 2, "central")(1.0),
            errors.LossError,
            "do not resolve a derivative of that order",
        ),
    ],
)
def test_mistakes_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
