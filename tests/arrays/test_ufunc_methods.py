"""The methods of ufuncs, and `out` of functions, on traced arrays.

The value must be NumPy's. The gradient must be that of the same computation written as a loop of
calls of the ufunc, whose derivatives `test_rules.py` tests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import each_backend

import gradlab

EPS = np.finfo(float).eps
X = np.array([[1.3, 0.7, 2.1], [0.4, 1.9, 0.9]])
MASK = X > 0.8


def combined(ufunc: Any, items: Any) -> Any:
    """Apply a ufunc to one item after the other."""
    first, *rest = items
    for item in rest:
        first = ufunc(first, item)
    return first


def running(ufunc: Any, items: Any) -> Any:
    return np.stack([combined(ufunc, items[: i + 1]) for i in range(len(items))])


def at_by_loop(ufunc: Any, start: Any, places: list[int], values: Any) -> Any:
    entries = list(start)
    for place, value in zip(places, values, strict=True):
        entries[place] = ufunc(entries[place], value)
    return np.stack(entries)


def at(ufunc: Any, start: Any, places: list[int], *values: Any) -> Any:
    target = np.array(start)
    ufunc.at(target, places, *values)
    return target


def into(function: Callable[..., Any], shape: tuple[int, ...], *args: Any, **kwargs: Any) -> Any:
    """Return what a function writes into ``out``."""
    out = np.zeros(shape)
    function(*args, out=out, **kwargs)
    return out


def by_position(function: Callable[..., Any], shape: tuple[int, ...], *args: Any) -> Any:
    out = np.zeros(shape)
    function(*args, out)
    return out


METHODS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "subtract.reduce": (np.subtract.reduce, lambda x: combined(np.subtract, x)),
    "divide.reduce, axis": (
        lambda x: np.divide.reduce(x, axis=1),
        lambda x: combined(np.divide, x.T),
    ),
    "subtract.reduce, initial": (
        lambda x: np.subtract.reduce(x[0], initial=2.0),
        lambda x: combined(np.subtract, [2.0, *x[0]]),
    ),
    "power.accumulate": (
        lambda x: np.power.accumulate(x, axis=1),
        lambda x: running(np.power, x.T).T,
    ),
    "logaddexp.reduce, where": (
        lambda x: np.logaddexp.reduce(x, axis=1, where=MASK),
        lambda x: np.stack(
            [combined(np.logaddexp, x[0, [0, 2]]), combined(np.logaddexp, x[1, 1:])]
        ),
    ),
    "logaddexp.reduce, initial": (
        lambda x: np.logaddexp.reduce(x[0], initial=0.5),
        lambda x: combined(np.logaddexp, [0.5, *x[0]]),
    ),
    "logaddexp.reduce, all axes": (
        lambda x: np.logaddexp.reduce(x, axis=None),
        lambda x: combined(np.logaddexp, x.ravel()),
    ),
    "hypot.reduce, keepdims": (
        lambda x: np.hypot.reduce(x, axis=(0, 1), keepdims=True),
        lambda x: combined(np.hypot, x.ravel()).reshape(1, 1),
    ),
    "logaddexp.reduce, empty": (
        lambda x: x[0] + np.logaddexp.reduce(x[:0], initial=0.5),
        lambda x: x[0] + 0.5,
    ),
    "add.reduceat, out": (
        lambda x: into(np.add.reduceat, (2,), x.ravel(), [0, 4]),
        lambda x: np.stack([x.ravel()[:4].sum(), x.ravel()[4:].sum()]),
    ),
    "subtract.reduceat": (
        lambda x: np.subtract.reduceat(x, [0, 2], axis=1),
        lambda x: np.stack([x[:, 0] - x[:, 1], x[:, 2]], axis=1),
    ),
    "add.accumulate, out": (
        lambda x: into(np.add.accumulate, (2, 3), x),
        lambda x: running(np.add, x),
    ),
    "multiply.outer, out": (
        lambda x: into(np.multiply.outer, (3, 3), x[0], x[1]),
        lambda x: x[0][:, None] * x[1],
    ),
    "add.reduce, out": (lambda x: into(np.add.reduce, (3,), x), lambda x: x[0] + x[1]),
    "multiply.at": (
        lambda x: at(np.multiply, x[0], [0, 2, 0], x[1]),
        lambda x: at_by_loop(np.multiply, x[0], [0, 2, 0], x[1]),
    ),
    "divide.at": (
        lambda x: at(np.divide, x[0], [1, 1, 1], x[1]),
        lambda x: at_by_loop(np.divide, x[0], [1, 1, 1], x[1]),
    ),
    "maximum.at": (
        lambda x: at(np.maximum, np.zeros(3), [0, 0, 2], x[1]),
        lambda x: at_by_loop(np.maximum, np.zeros(3), [0, 0, 2], x[1]),
    ),
    "subtract.at": (
        lambda x: at(np.subtract, x[0], [2, 2, 1], x[1]),
        lambda x: at_by_loop(np.subtract, x[0], [2, 2, 1], x[1]),
    ),
    "negative.at": (
        lambda x: at(np.negative, x[0], [0, 0, 1]),
        lambda x: np.stack([x[0, 0], -x[0, 1], x[0, 2]]),
    ),
    "sum, out": (lambda x: into(np.sum, (3,), x, axis=0), lambda x: x[0] + x[1]),
    "sum, out of no dimensions": (lambda x: into(np.sum, (), x), lambda x: x.sum()),
    "sum, out by position": (
        lambda x: by_position(np.sum, (3,), x, 0, None),
        lambda x: x[0] + x[1],
    ),
    "mean, out by position": (
        lambda x: by_position(np.mean, (2,), x, 1, None),
        lambda x: x.sum(axis=1) / 3,
    ),
    "dot, out by position": (
        lambda x: by_position(np.dot, (2,), x, x[0]),
        lambda x: (x * x[0]).sum(axis=1),
    ),
    "max, out of a method": (lambda x: by_position(x.max, (3,), 0), lambda x: np.max(x, axis=0)),
    "einsum, out": (
        lambda x: into(np.einsum, (2,), "ij,ij->i", x, x),
        lambda x: (x * x).sum(axis=1),
    ),
    "round, out": (lambda x: into(np.round, (2, 3), x) * x, lambda x: np.round(x) * x),
}


def weighed(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def loss(x: Any) -> Any:
        y = f(x)
        return np.sum(np.cos(1.0 + np.arange(np.size(y))).reshape(np.shape(y)) * y)

    return loss


@each_backend(["autograd", "torch"])
@pytest.mark.parametrize("name", METHODS)
def test_methods_of_ufuncs(name: str, backend: str) -> None:
    check(name, backend)


@pytest.mark.slow
@each_backend(["tape", "jax"])
@pytest.mark.parametrize("name", METHODS)
def test_methods_of_ufuncs_compiled(name: str, backend: str) -> None:
    check(name, backend)


def check(name: str, backend: str) -> None:
    f, by_loop = METHODS[name]
    f, by_loop = weighed(f), weighed(by_loop)
    value, gradient = gradlab.value_and_grad(f, backend=backend)(X)
    expected = gradlab.grad(by_loop, backend="autograd")(X)
    # Six entries take part in at most six operations each.
    bound = 100 * EPS * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(value, f(X), rtol=100 * EPS)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=bound)


def test_reduce_without_identity_refuses_where() -> None:
    with pytest.raises(gradlab.GradlabError, match=r"where to np\.divide\.reduce"):
        gradlab.grad(lambda x: np.divide.reduce(x[0], where=MASK[0], initial=1.0))(X)


def test_a_refused_method_is_named() -> None:
    with pytest.raises(gradlab.GradlabError, match=r"np\.multiply\.at"):
        gradlab.grad(lambda x: np.multiply.at(TABLE, [0], x[0]))(X)


TABLE = np.ones(3)
