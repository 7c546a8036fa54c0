"""`numpy.vectorize`, `numpy.frompyfunc`, and arguments that ask how an array lies in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import each_backend

import gradlab

X = np.array([0.5, 1.5, -0.75, 2.0])
WEIGHTS = np.array([1.0, -2.0, 0.5, 3.0])


def times(a: Any, b: Any = 2.0) -> Any:
    return a * b if a > 0 else a - b


def unit(row: Any) -> Any:
    return row / np.sqrt((row * row).sum())


def both(a: Any) -> tuple[Any, Any]:
    return a * a, 3 * a


def dot(a: Any, b: Any) -> Any:
    return (a * b).sum()


def scaled(a: Any, table: Any) -> Any:
    return a * sum(table)


FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "two arguments": (
        lambda x: np.vectorize(times)(x, x[:1]),
        lambda x: np.where(x > 0, x * x[0], x - x[0]),
    ),
    "a keyword": (
        lambda x: np.vectorize(times)(x, b=WEIGHTS),
        lambda x: np.where(x > 0, x * WEIGHTS, x - WEIGHTS),
    ),
    "excluded": (
        lambda x: np.vectorize(scaled, excluded=[1])(x, [1.0, 2.0]),
        lambda x: x * 3.0,
    ),
    "excluded by name": (
        lambda x: np.vectorize(scaled, excluded=["table"])(x, table=[1.0, 2.0, x[0]]),
        lambda x: x * (3.0 + x[0]),
    ),
    "two results": (lambda x: sum(np.vectorize(both)(x)), lambda x: x * x + 3 * x),
    "signature": (
        lambda x: np.vectorize(unit, signature="(n)->(n)")(x.reshape(2, 2)),
        lambda x: np.stack([unit(x[:2]), unit(x[2:])]),
    ),
    "signature of two": (
        lambda x: np.vectorize(dot, signature="(n),(n)->()")(x.reshape(2, 2), WEIGHTS[:2]),
        lambda x: x.reshape(2, 2) @ WEIGHTS[:2],
    ),
    "frompyfunc": (
        lambda x: np.frompyfunc(times, 2, 1)(x, WEIGHTS).astype(float),
        lambda x: np.where(x > 0, x * WEIGHTS, x - WEIGHTS),
    ),
    "frompyfunc of a number": (
        lambda x: np.frompyfunc(times, 2, 1)(x[0], x[1]),
        lambda x: x[0] * x[1],
    ),
    "frompyfunc of two results": (
        lambda x: sum(np.frompyfunc(both, 1, 2)(x)),
        lambda x: x * x + 3 * x,
    ),
    "frompyfunc, reduce": (
        lambda x: np.frompyfunc(lambda a, b: a * b, 2, 1).reduce(x),
        np.prod,
    ),
    "frompyfunc, accumulate": (
        lambda x: np.frompyfunc(lambda a, b: a * b, 2, 1).accumulate(x, dtype=object).astype(float),
        np.cumprod,
    ),
    "a list to a ufunc's method": (
        lambda x: np.maximum.reduce([x, x[::-1], np.zeros(4)]),
        lambda x: np.maximum(np.maximum(x, x[::-1]), 0),
    ),
    "ravel, order K": (lambda x: x.copy().reshape(-1).ravel(order="K"), lambda x: x),
    "flatten, order A": (lambda x: x.flatten("A"), lambda x: x),
    "nan_to_num in place": (lambda x: _without_missing(x), lambda x: x * 1.0),
}


def _without_missing(x: Any) -> Any:
    y = x.copy()
    np.nan_to_num(y, copy=False)
    return y


@each_backend(["autograd", "torch"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_function_is_called_for_traced_entries(name: str, backend: str) -> None:
    f, twin = FUNCTIONS[name]

    def loss(x: Any, function: Any = f) -> Any:
        y = function(x)
        return np.sum(np.cos(1.0 + np.arange(np.size(y))).reshape(np.shape(y)) * y)

    value, gradient = gradlab.value_and_grad(loss, backend=backend)(X)
    expected = gradlab.grad(lambda x: loss(x, twin))(X)
    np.testing.assert_allclose(value, float(loss(X)), rtol=1e-14)
    np.testing.assert_allclose(gradient, expected, rtol=1e-14, atol=1e-14)


def test_a_first_result_that_is_an_integer_is_refused() -> None:
    def loss(x: Any) -> Any:
        return np.vectorize(lambda a: 0 if a > 0 else a * a)(x).sum()

    assert loss(X) == 0  # NumPy casts the results to integers
    with pytest.raises(gradlab.GradlabError, match=r"give otypes=\[float\]"):
        gradlab.grad(loss)(X)


@pytest.mark.parametrize("order", ["K", "A"])
def test_the_order_in_memory_is_refused(order: Any) -> None:
    with pytest.raises(gradlab.GradlabError, match="lies in memory"):
        gradlab.grad(lambda x: x.reshape(2, 2).T.ravel(order=order) @ WEIGHTS)(X)
    with pytest.raises(gradlab.GradlabError, match="lies in memory"):
        gradlab.grad(lambda x: x.reshape(2, 2).T.flatten(order) @ WEIGHTS)(X)


@each_backend(["autograd", "torch"])
def test_traced_arrays_have_no_method_that_numpy_has_removed(backend: str) -> None:
    asked = []
    gradlab.grad(lambda x: asked.append(hasattr(x, "ptp")) or (x * x).sum(), backend=backend)(X)
    assert not any(asked)
