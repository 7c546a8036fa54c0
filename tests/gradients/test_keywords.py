"""Keyword arguments reach the loss through every function that differentiates it."""

import inspect
import subprocess
import sys

import numpy as np
import pytest
from optional import each_backend

import gradlab
from gradlab import SumOfTerms, Tape, grad, value_and_grad

PARAMS = {"w": np.array([0.3, -0.7]), "b": 0.2}
X = np.array([[1.0, 2.0], [0.5, -1.0], [3.0, 0.25]])
Y = np.array([0.5, -0.5, 1.0])


def loss(params, x, y, l2=0.0, *, power=2, weights=None):
    error = (np.dot(x, params["w"]) + params["b"] - y) ** power
    return np.mean(error if weights is None else weights * error) + l2 * np.sum(params["w"] ** 2)


WEIGHTS = np.array([1.0, 0.0, 3.0])
KEYWORDS = [{"l2": 1.0}, {"weights": WEIGHTS, "l2": np.float64(0.5)}, {"power": 4}]
ESTIMATES = ("spsa", "forward-gradient")


@each_backend()
@pytest.mark.parametrize("keywords", KEYWORDS)
def test_keywords_are_what_a_closure_over_them_would_be(backend, keywords):
    def closed(params, x, y):
        return loss(params, x, y, **keywords)

    f, wanted = value_and_grad(loss, backend), value_and_grad(closed, backend)(PARAMS, X, Y)
    before = f(PARAMS, X, Y)
    for _ in range(3):  # recorded, compared, replayed
        value, grads = f(PARAMS, X, Y, **keywords)
        assert value == pytest.approx(wanted[0], rel=1e-12)
        if backend in ESTIMATES:
            continue
        for name in PARAMS:
            assert grads[name] == pytest.approx(wanted[1][name], rel=1e-6, abs=1e-9)
    again = f(PARAMS, X, Y)
    assert again[0] == pytest.approx(before[0], rel=1e-12)
    assert value != pytest.approx(before[0])


@each_backend()
def test_other_keywords_give_another_gradient(backend):
    f = value_and_grad(loss, backend)
    values = [f(PARAMS, X, Y, l2=l2)[0] for l2 in (0.0, 1.0, 2.0, 1.0)]
    assert values == pytest.approx([loss(PARAMS, X, Y, l2=l2) for l2 in (0.0, 1.0, 2.0, 1.0)])


@each_backend()
def test_data_may_be_named(backend):
    value, _ = value_and_grad(loss, backend)(PARAMS, y=Y, x=X)
    assert value == pytest.approx(loss(PARAMS, X, Y))


def test_grad_takes_them_and_so_does_the_tape_with_out():
    wanted = grad(loss)(PARAMS, X, Y, l2=1.0)
    out = {"w": np.empty(2), "b": np.empty(())}
    f = Tape().value_and_grad(loss)
    f(PARAMS, X, Y, l2=1.0, out=out)
    assert np.allclose(out["w"], wanted["w"], rtol=1e-12)
    assert f.explain()


def test_terms_take_them():
    def terms(x, scale=1.0):
        return scale * x**2

    of_terms = SumOfTerms(terms, np.eye(3, dtype=bool))
    x = np.array([1.0, 2.0, 3.0])
    assert of_terms(x, scale=2.0) == 28.0
    assert grad(of_terms, "central")(x, scale=2.0) == pytest.approx(4 * x, rel=1e-8)


@each_backend()
def test_a_name_that_the_loss_does_not_have_is_its_error(backend):
    with pytest.raises((TypeError, gradlab.GradlabError), match="typo"):
        value_and_grad(loss, backend)(PARAMS, X, Y, typo=1.0)


# Names


def test_public_modules_are_imported_on_first_use():
    code = (
        "import sys, gradlab; print({'matplotlib', 'hypothesis'} & set(sys.modules)); "
        "gradlab.plotting.loss_curves; gradlab.testing.assert_gradients_agree; gradlab.errors"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_tab_completion_offers_what_is_public():
    names = [name for name in dir(gradlab) if not name.startswith("__")]
    modules = {name for name in names if inspect.ismodule(getattr(gradlab, name))}
    assert modules == {
        "datasets", "errors", "extend", "interop", "network", "optim",
        "plotting", "testing", "weights",
    }  # fmt: skip
    assert {"grad", "fit", "check_gradients", "BACKENDS"} <= set(names)
    assert not [name for name in names if name.startswith("_")]


def test_a_missing_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gradlab' has no attribute 'ploting'"):
        gradlab.ploting  # noqa: B018
