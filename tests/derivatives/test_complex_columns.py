"""The complex step takes a column of a Jacobian from one complex evaluation."""

from __future__ import annotations

import numpy as np
import pytest

import gradlab
from gradlab import errors

EPS = float(np.finfo(float).eps)


def counted(f):
    calls = []

    def counting(*args):
        calls.append(1)
        return f(*args)

    return counting, calls


def test_a_column_is_one_evaluation_for_any_number_of_outputs():
    """There are p evaluations for the columns, one for the outputs, and 4 that confirm them."""
    x = np.linspace(0.5, 1.5, 5)
    for m in (1, 40):
        f, calls = counted(lambda x, m=m: np.outer(np.arange(1.0, m + 1), np.exp(x)))
        found = gradlab.jacobian(f, "complex-step")(x)
        wanted = np.arange(1.0, m + 1)[:, None, None] * np.diag(np.exp(x))
        np.testing.assert_allclose(found, wanted, rtol=4 * EPS)
        assert len(calls) == 1 + len(x) + 4


def test_a_product_is_one_complex_evaluation():
    f, calls = counted(lambda x: np.stack([x[0] * x[1], np.abs(x[0])]))
    found = gradlab.jvp(f, "complex-step")(np.array([-2.0, 3.0]), np.array([10.0, 1e-3]))
    np.testing.assert_allclose(found, [30 - 2e-3, -10.0], rtol=4 * EPS)
    assert len(calls) == 1 + 1 + 4


def test_outputs_without_a_slope_need_no_ladder():
    f, calls = counted(lambda x: {"one": 1.0 + 0 * x, "saturated": np.tanh(x + 50), "x": x})
    found = gradlab.jacobian(f, "complex-step")(np.array([0.5]))
    assert (found["one"], found["x"]) == (0.0, 1.0)
    assert 0 < found["saturated"] < 1e-40
    assert len(calls) == 1 + 1 + 4


def test_outputs_of_single_precision_get_a_larger_step():
    def f(x):
        return {"single": np.asarray(x, np.float32) ** 2, "double": x**2}

    found = gradlab.jacobian(f, "complex-step")(np.array([1.5]))
    assert found["single"] == pytest.approx(3.0, rel=5e-7)
    assert found["double"] == pytest.approx(3.0, rel=5e-7)


def test_an_output_that_is_not_analytic_is_named():
    def f(x):
        # Text has no imaginary part, so the slope of the second output is lost.
        return {"a": x**2, "b": x * float(str(x.tolist()[0]).strip("()").split("+")[0])}

    with pytest.raises(errors.LossError, match=r"complex-step: the slope of b\[0\] is 2 along"):
        gradlab.jvp(f, "complex-step")(np.array([2.0]), np.array([1.0]))
    with pytest.raises(errors.LossError, match=r"complex-step: the slope of b\[0\]"):
        gradlab.jacobian(f, "complex-step")(np.array([2.0]))


def test_no_entries_and_no_outputs_have_an_empty_jacobian():
    assert gradlab.jacobian(lambda x: np.zeros(0), "complex-step")(np.ones(2)).shape == (0, 2)
    assert gradlab.jacobian(lambda x: np.zeros(3), "complex-step")(np.ones(0)).shape == (3, 0)


def test_a_function_at_the_edge_of_its_domain_is_refused():
    with pytest.raises(errors.NonFiniteError, match="cannot confirm its derivatives"):
        gradlab.jacobian(lambda x: x * np.sqrt(x - 1), "complex-step")(np.ones(1) + 1e-9)
