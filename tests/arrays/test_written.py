"""``z[i] = w`` and ``z[i] += w``, where z is a plain array that the loss has computed.

A plain array cannot hold a traced value. A traced array may take its place where no other name
refers to it; elsewhere the write is refused. The rewritten statement has to do what it did before
for plain values, and must not assign anything then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import unless_missing
from plain_numpy.judge import TRACED

import gradlab

DATA = np.array([1.0, 2.0, 3.0, -0.5])
SQUARE = np.array([[3.0, 0.5, 0.2], [0.5, 4.0, -0.3], [0.2, -0.3, 5.0]])
W = np.array([0.4, -1.2, 0.9])
GLOBAL = np.zeros(2)


def into_a_copy(w: Any) -> Any:
    z = DATA.copy()
    z[0] = w[0]
    z[1:3] = w[1:]
    return np.sum(z**3)


def into_a_result(w: Any) -> Any:
    z = np.ones((3, 3)) * 7.0
    for i in range(3):
        z[i, i] = w[i] ** 2
    return np.sum(z @ z)


def by_an_operator(w: Any) -> Any:
    z = SQUARE @ SQUARE
    z[np.diag_indices(3)] += np.exp(w[0])
    z[0, 1] *= w[1]
    z[2] -= w
    z[:, 1] /= w[2]
    z[1] **= 2
    return np.linalg.det(z)


def by_a_mask(w: Any) -> Any:
    z = DATA * 1.0
    z[z > 1.5] = w[0]
    return np.prod(z)


def into_an_item(w: Any) -> Any:
    rows = {"a": [DATA * 2, DATA * 3]}
    rows["a"][1][0] = w[0]
    rows["a"][-1][1] += w[1]
    return np.sum(rows["a"][1] ** 2)


class Table:
    """An object with an array."""

    values: Any


def into_an_attribute(w: Any) -> Any:
    table = Table()
    table.values = DATA / 2
    table.values[2] = w[2] * w[0]
    return np.sum(table.values**2)


def of_a_closure(w: Any) -> Any:
    z = DATA + 1

    def read() -> Any:
        return z[0] * z[3]

    z[0] = w[0]
    return read()


def a_running_sum(w: Any) -> Any:
    z = DATA - 1
    for i in range(1, 4):
        z[i] += z[i - 1] * w[i - 1]
    return z[-1]


RIGHT = [into_a_copy, into_a_result, by_an_operator, by_a_mask, into_an_item, into_an_attribute]
RIGHT += [of_a_closure, a_running_sum]


def with_another_name(w: Any) -> Any:
    z = DATA * 2
    y = z
    z[0] = w[0]
    return y @ z


def with_a_view(w: Any) -> Any:
    z = DATA * 2
    y = z[:2]
    z[0] = w[0]
    return y.sum() * z.sum()


def into_a_view(w: Any) -> Any:
    z = DATA * 2
    y = z[:2]
    y[0] = w[0]
    return z @ z


def into_an_argument(w: Any) -> Any:
    def fill(a: Any) -> None:
        a[0] += w[0]

    z = DATA * 2
    fill(z)
    return z @ z


def into_integers(w: Any) -> Any:
    z = np.arange(3) * 2
    z[0] = 3 * w[0]
    return z @ z


def into_a_global(w: Any) -> Any:
    GLOBAL[0] = w[0]
    return GLOBAL @ GLOBAL


def by_a_method(w: Any) -> Any:
    total = 0.0
    for z in (np.zeros(2), DATA * 2):  # the first one may hold a traced value
        z.fill(w[0])
        total = total + z @ z
    return total


REFUSED = [with_another_name, with_a_view, into_a_view, into_an_argument, into_integers]
REFUSED += [into_a_global, by_a_method]


def all_of_them(w: Any) -> Any:
    return sum(loss(w) for loss in RIGHT)


BACKENDS = [unless_missing(name) for name in (*TRACED, "central", "complex-step")]


@pytest.mark.parametrize("loss", RIGHT)
def test_an_array_without_other_references_is_replaced(loss: Callable[..., Any]) -> None:
    wanted = gradlab.grad(loss, backend="richardson")(W)
    assert np.abs(gradlab.grad(loss)(W) - wanted).max() <= 1e-9 * np.abs(wanted).max()
    assert np.array_equal(DATA, [1.0, 2.0, 3.0, -0.5])
    assert type(loss(W)) is np.float64


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_plain_array_is_replaced_on_every_backend(backend: str) -> None:
    wanted = gradlab.grad(all_of_them, backend="richardson")(W)
    found = gradlab.grad(all_of_them, backend=backend)(W)
    bound = 1e-8 if backend == "central" else 1e-9
    assert np.abs(found - wanted).max() <= bound * np.abs(wanted).max()


@pytest.mark.parametrize("backend", ["autograd", "tape", unless_missing("torch")])
@pytest.mark.parametrize("loss", REFUSED)
def test_an_array_with_other_references_is_refused(loss: Callable[..., Any], backend: str) -> None:
    with pytest.raises(gradlab.GradlabError, match=r"test_written\.py, line"):
        gradlab.grad(loss, backend=backend)(W)
    assert np.array_equal(DATA, [1.0, 2.0, 3.0, -0.5])


class Guarded:
    """An array behind a property that cannot be assigned."""

    def __init__(self) -> None:
        self._values = np.zeros(3)

    @property
    def values(self) -> Any:
        return self._values

    def loss(self, w: Any) -> Any:
        self.values[0] = w[0]
        self.values[1] += w[0]
        return np.sum(self.values**2)


def test_a_rewritten_write_assigns_nothing_for_plain_values() -> None:
    kept = Guarded()
    with pytest.raises(gradlab.GradlabError, match=r"test_written\.py, line"):
        gradlab.grad(kept.loss)(W)
    kept = Guarded()
    assert kept.loss(W) == 2 * W[0] ** 2


def test_each_part_is_evaluated_once_and_in_order() -> None:
    seen = []

    def noted(name: str, value: Any) -> Any:
        seen.append(name)
        return value

    def loss(w: Any) -> Any:
        z = DATA * 1.0
        z[noted("index", 0)] = noted("value", w[0])
        z[noted("second index", 1)] += noted("second value", w[1])
        return z @ z

    for _ in range(2):  # before the rewriting the loss stops in the middle
        seen.clear()
        gradlab.grad(loss)(W)
    assert seen == ["value", "index", "second index", "second value"]
