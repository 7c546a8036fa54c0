"""Operators such as ``z += w`` with a plain and a traced operand: right or refused."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optional import unless_missing
from plain_numpy.judge import TRACED

import gradlab

W, DATA = np.array([0.5, 1.3, 0.7]), np.array([1.0, 2.0, 3.0])


def of_a_copy(w: Any) -> Any:
    z = DATA.copy()
    z += w
    return z @ z


def of_a_result(w: Any) -> Any:
    z = DATA * 2
    z -= w * 2
    z *= w
    z /= w.sum()
    return z @ z


def of_an_attribute(w: Any) -> Any:
    s = SimpleNamespace(z=DATA * 2)
    s.z += w
    return s.z @ s.z


def of_an_item(w: Any) -> Any:
    rows = [DATA * 2, DATA * 3]
    rows[0] += w
    return rows[0] @ rows[1] ** 2


def in_a_loop(w: Any) -> Any:
    z = DATA * 0
    for value in w:
        z += value * DATA
    return z @ z


def of_a_grid(w: Any) -> Any:
    z = np.linspace(0, 1, 3)
    z += w
    z[0] = w[1]
    return z @ z


def seen_by_a_closure(w: Any) -> Any:
    z = DATA * 2

    def product() -> Any:
        return z @ DATA

    z += w
    return product() ** 2


RIGHT = [of_a_copy, of_a_result, of_an_attribute, of_an_item, in_a_loop, of_a_grid]
RIGHT += [seen_by_a_closure]


def with_another_name(w: Any) -> Any:
    z = DATA * 2
    y = z
    z += w
    return y @ z


def by_a_call(w: Any) -> Any:
    z = DATA * 2
    np.add(z, w, out=z)
    return z @ z


def with_a_view(w: Any) -> Any:
    z = DATA * 2
    y = z[:2]
    z += w
    return y.sum() * z.sum()


def of_a_view(w: Any) -> Any:
    z = DATA * 2
    y = z[:]
    y += w
    return z @ z


def of_an_argument(w: Any) -> Any:
    def add(a: Any) -> None:
        a += w

    z = DATA * 2
    add(z)
    return z @ z


def of_an_item_by_name(w: Any) -> Any:
    rows = [DATA * 2]
    z = rows[0]
    z += w
    return rows[0] @ z


SHARED = [with_another_name, by_a_call, with_a_view, of_a_view, of_an_argument, of_an_item_by_name]

BACKENDS = [unless_missing(name) for name in TRACED]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", RIGHT)
def test_an_array_without_other_references_is_replaced(
    loss: Callable[..., Any], backend: str
) -> None:
    found = gradlab.grad(loss, backend=backend)(W)
    wanted = gradlab.grad(loss, backend="richardson")(W)
    assert np.abs(found - wanted).max() <= 1e-9 * np.abs(wanted).max()
    assert np.array_equal(DATA, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", SHARED)
def test_an_array_with_other_references_is_refused(loss: Callable[..., Any], backend: str) -> None:
    with pytest.raises(gradlab.GradlabError, match=r"test_augmented\.py, line"):
        gradlab.grad(loss, backend=backend)(W)
