"""Backends by name, gradients of gradients, and one loss on arrays of several libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance import AUTOGRAD, Row, every_difference, smooth
from hypothesis import given
from optional import unless_missing

import gradlab
from gradlab import BACKENDS
from gradlab.errors import BackendError
from gradlab.gradients import Backend
from gradlab.params import map_leaves
from gradlab.testing import Problem, assert_within, networks

# The lookup


@pytest.mark.parametrize("name", [unless_missing(name) for name in BACKENDS])
def test_lookup_by_name(name: str) -> None:
    backend = gradlab.find_backend(name)
    assert backend.name == name
    assert isinstance(backend, Backend)
    if name != "forward-gradient":  # 6 χ²
        assert gradlab.grad(lambda x: x * x, name)(3.0) == pytest.approx(6.0)
    assert gradlab.find_backend(backend) is backend
    assert hash(backend) == hash(gradlab.find_backend(name))  # frozen


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(BackendError, match="unknown backend 'centrall': did you mean 'central'"):
        gradlab.grad(smooth, "centrall")
    with pytest.raises(BackendError, match="unknown backend 'magic': choose from autograd, "):
        gradlab.grad(smooth, "magic")


@pytest.mark.parametrize("backend", [None, 3, object(), gradlab.Autograd, np.gradient])
def test_objects_that_are_not_backends_are_refused(backend: Any) -> None:
    with pytest.raises(BackendError, match="is not a backend"):
        gradlab.value_and_grad(smooth, backend)


def test_backend_of_the_users_own() -> None:
    class Mine:
        name = "mine"

        def value_and_grad(self, loss: Any) -> Any:
            return lambda params, *args: (float(loss(params, *args)), "a gradient")

    assert gradlab.value_and_grad(lambda x, y: x + y, Mine())(1, 2) == (3.0, "a gradient")
    assert gradlab.grad(lambda x: x, Mine())(1) == "a gradient"


# Differentiating again


def test_hessian_by_reverse_mode_twice() -> None:
    """The reference is the closed form for Rosenbrock's function."""

    def rosenbrock(x: Any) -> Any:
        return 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2

    gradient = gradlab.grad(rosenbrock)
    x = np.array([-1.5, 2.0])
    hessian = [gradlab.grad(lambda x, i=i: gradient(x)[i])(x) for i in range(2)]
    wanted = [[1200 * x[0] ** 2 - 400 * x[1] + 2, -400 * x[0]], [-400 * x[0], 200]]
    assert hessian[0].tolist() == wanted[0]  # small integers and halves: exact
    assert hessian[1].tolist() == wanted[1]


def test_third_derivative_by_reverse_mode() -> None:
    third = gradlab.grad(gradlab.grad(gradlab.grad(np.sin)))
    assert third(0.5) == pytest.approx(-np.cos(0.5), rel=8 * np.finfo(float).eps)


@every_difference
def test_difference_of_a_gradient(row: Row) -> None:
    """The difference quotient of reverse mode's slope is the second derivative."""
    slope = gradlab.grad(np.exp)
    found = row.grad(lambda x: slope(x), 0.5)
    # Here f' = f, with an error below four times that of exp.
    assert abs(found - np.exp(0.5)) <= 4 * row.bound(np.exp, 0.5)


def test_second_derivative_through_a_structure() -> None:
    """The derivative of the gradient norm has inner and outer parameters in one loss."""

    def loss(p: Any, s: Any) -> Any:
        return (s * p["w"] ** 2).sum() + p["b"] * s

    def outer(s: Any) -> Any:
        grads = gradlab.grad(loss)({"w": np.array([1.0, 2.0]), "b": 3.0}, s)
        return (grads["w"] ** 2).sum() + grads["b"] ** 2

    # Σ (2 s w)² + s² = 21 s²
    assert gradlab.grad(outer)(0.5) == 21.0


# One source


@given(problem=networks(activations=["sigmoid", "tanh", "softplus", "silu", "softmax", "identity"]))
def test_network_runs_on_complex_arrays(problem: Problem) -> None:
    """A step of 1e-200 along the imaginary axis gives the slope without subtraction."""
    x, labels = problem.args
    exact = AUTOGRAD.grad(problem.loss, problem.params, x, labels)
    bound = AUTOGRAD.bound(problem.loss, problem.params, x, labels)
    h = 1e-200
    W = problem.params["W1"].astype(complex)
    W[0, 0] += 1j * h
    slope = problem.loss({**problem.params, "W1": W}, x, labels).imag / h
    # Complex products round as two real ones and a sum do: Higham, lemma 3.5.
    assert abs(slope - exact["W1"][0, 0]) <= (1 + 2 * np.sqrt(2)) * bound["W1"][0, 0]


@given(problem=networks(max_layers=2))
def test_network_runs_on_autograds_own_functions(problem: Problem) -> None:
    """gradlab's reverse mode and autograd's public one give the same gradient."""
    import autograd

    x, labels = problem.args
    found = AUTOGRAD.grad(problem.loss, problem.params, x, labels)

    def loss(*leaves: Any) -> Any:
        return problem.loss(dict(zip(problem.params, leaves, strict=True)), x, labels)

    leaves = tuple(problem.params.values())
    peers = autograd.grad(loss, argnum=tuple(range(len(leaves))))(*leaves)
    peer = dict(zip(problem.params, peers, strict=True))
    twice = map_leaves(lambda a: 2 * a, AUTOGRAD.bound(problem.loss, problem.params, x, labels))
    assert_within(found, peer, twice)
