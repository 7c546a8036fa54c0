"""Second derivatives: every pair of backends against a closed form."""

from __future__ import annotations

import numpy as np
import pytest
from optional import LIBRARIES, unless_missing
from test_derivatives import EPS, assert_close, vector

import gradlab
from gradlab import errors
from gradlab.params import flatten

PAIRS = {
    ("autograd", None): 64 * EPS,
    ("tape", None): 64 * EPS,
    ("tape", "tape"): 64 * EPS,
    ("autograd-forward", None): 64 * EPS,
    ("jax", None): 64 * EPS,
    ("torch", None): 64 * EPS,
    ("forward", "autograd"): 100 * EPS ** (1 / 2),
    ("central", "autograd"): 100 * EPS ** (2 / 3),
    ("central4", "tape"): 1000 * EPS ** (4 / 5),
    ("richardson", "autograd"): 2000 * EPS,
    ("central", "complex-step"): 100 * EPS ** (2 / 3),
    ("central", "jax"): 100 * EPS ** (2 / 3),
    ("central", "torch"): 100 * EPS ** (2 / 3),
    # The error of the inner gradient is 4 ε^(q/(q+1)); the outer error is this to the same power.
    ("forward", None): 100 * (4 * EPS ** (1 / 2)) ** (1 / 2),
    ("central", None): 100 * (4 * EPS ** (2 / 3)) ** (2 / 3),
    ("central4", None): 1000 * (4 * EPS ** (4 / 5)) ** (4 / 5),
}


def rows(pairs):
    return [
        unless_missing(
            over if over in LIBRARIES else backend, (backend, over, error), f"{backend}-{over}"
        )
        for (backend, over), error in pairs.items()
    ]


PARAMS = {"w": np.array([0.5, -0.25]), "c": 0.75}
TANGENT = {"w": np.array([1.0, 2.0]), "c": -0.5}
X = np.array([[1.0, 2.0], [0.5, -1.0], [0.0, 1.0]])


def loss(params, x):
    return np.sum(np.exp(np.dot(x, params["w"]))) * params["c"] ** 2


def hessian_of_loss(params, x):
    e, c = np.exp(x @ params["w"]), params["c"]
    by_w, mixed = c**2 * (x.T * e) @ x, 2 * c * (x.T @ e)
    return {"w": {"w": by_w, "c": mixed}, "c": {"w": mixed, "c": 2 * e.sum()}}


@pytest.mark.parametrize("row", rows(PAIRS))
def test_a_hessian_is_that_of_the_closed_form(row):
    backend, over, error = row
    found = gradlab.hessian(loss, backend, over=over)(PARAMS, X)
    wanted = hessian_of_loss(PARAMS, X)
    assert flatten(found)[1].paths == ("w.w", "w.c", "c.w", "c.c")
    assert [leaf.shape for leaf in flatten(found)[0]] == [(2, 2), (2,), (2,), ()]
    assert_close(found, wanted, error)
    np.testing.assert_allclose(found["w"]["w"], found["w"]["w"].T, rtol=64 * EPS)
    np.testing.assert_allclose(found["w"]["c"], found["c"]["w"], rtol=64 * EPS)


@pytest.mark.parametrize("row", rows(PAIRS))
def test_a_product_with_the_hessian_is_that_of_the_closed_form(row):
    backend, over, error = row
    found = gradlab.hvp(loss, backend, over=over)(PARAMS, X, TANGENT)
    h, v = hessian_of_loss(PARAMS, X), TANGENT
    wanted = [
        h["w"]["w"] @ v["w"] + h["w"]["c"] * v["c"],
        h["c"]["w"] @ v["w"] + h["c"]["c"] * v["c"],
    ]
    assert_close([found["w"], found["c"]], wanted, 4 * error)


def test_arguments_and_auxiliary_results_are_those_of_a_jacobian():
    def f(x, y, *, power):
        return np.sum(x * y**power), "aux"

    found, aux = gradlab.hessian(f, argnums=(0, 1), has_aux=True)(2.0, 3.0, power=2)
    assert aux == "aux"
    np.testing.assert_allclose(vector(found), [0.0, 6.0, 6.0, 4.0], rtol=64 * EPS)
    found, aux = gradlab.hvp(f, argnums=(0, 1), has_aux=True)(2.0, 3.0, (1.0, 0.0), power=2)
    np.testing.assert_allclose(vector(found), [0.0, 6.0], rtol=64 * EPS)


def test_a_tape_detects_changes_of_values_that_the_loss_reads():
    scale = {"s": 1.0}

    def f(x):
        return scale["s"] * np.sum(x**3)

    hessian = gradlab.hessian(f, "tape")
    assert hessian(2.0) == pytest.approx(12.0)
    scale["s"] = 2.0
    assert hessian(2.0) == pytest.approx(24.0)


IMPOSSIBLE = {
    ("complex-step", None): "complex-step does not differentiate gradients",
    ("spsa", None): "spsa does not differentiate gradients",
    ("autograd", "central"): "autograd cannot differentiate the gradient of central",
    ("jax", "autograd"): "jax differentiates only its own gradient",
    ("torch", "central"): "torch differentiates only its own gradient",
    ("central", "spsa"): "over='spsa': its gradient is an estimate",
}


@pytest.mark.parametrize("row", rows(IMPOSSIBLE))
def test_impossible_pairs_are_refused(row):
    backend, over, message = row
    with pytest.raises(errors.OptionError, match=message):
        gradlab.hessian(loss, backend, over=over)
