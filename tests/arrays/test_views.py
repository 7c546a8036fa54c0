"""Writes through views that functions make: transposes, reshapes, parts. NumPy itself is the judge.

A traced view does not share memory with its base, so a write through it is repeated there. Where
NumPy may have copied, the loss is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import unless_missing

import gradlab
from gradlab import derivative_with_error

W = np.array([[0.4, -1.2, 0.9], [1.1, 0.3, -0.7]])


def transpose(a: Any, w: Any) -> None:
    a.T[0] = 2 * w[0, 1]
    a.transpose(1, 0)[2, 1] = w[1, 1] ** 2
    np.swapaxes(a, 0, 1)[1] *= 3


def flips(a: Any, w: Any) -> None:
    np.flip(a)[0, 0] = w[0, 0] * w[1, 2]
    np.fliplr(a)[1, :2] = w[0, :2]
    np.rot90(a)[0] += w[:, 1]


def more_axes(a: Any, w: Any) -> None:
    a[None].T[0, 1] = 3 * w[0, 0]
    np.expand_dims(a, 1)[1, 0, 2] -= w[0, 0]
    np.squeeze(a[None])[0, 2] = w[1, 0] ** 3
    np.moveaxis(a[..., None], 0, 2)[1, 0] = w[:, 0]


def parts(a: Any, w: Any) -> None:
    np.split(a, [1], axis=1)[1][0] = w[1, :2]
    for row in np.vsplit(a, 2):
        row[0, 0] = w[0, 2] ** 2


def of_one_axis(a: Any, w: Any) -> None:
    a[1].reshape(3, 1)[2, 0] = w[0, 0] ** 2
    np.atleast_2d(a[0])[0, 1] = w[1, 1]


def rows_in_memory(a: Any, w: Any) -> None:
    a.ravel()[1] = 3 * w[0, 0]
    a.reshape(-1)[3] *= 2
    a.reshape(3, 2).T[0, 1] = w[1, 2]


def of_a_view(a: Any, w: Any) -> None:
    view = a.T[1:]
    last = view[::-1]
    last[0, 1] = w[0, 0]
    last.T[0] += w[1, :2]


WRITES = [transpose, flips, more_axes, parts, of_one_axis, rows_in_memory, of_a_view]


def started(kind: str, w: Any) -> Any:
    """Return an array that the loss creates: from zeros, or as a copy of its parameters."""
    if kind == "copy":
        return w.copy()
    a = np.zeros((2, 3))
    a[...] = w + 1
    return a


BACKENDS = ["autograd", "autograd-forward", "tape", unless_missing("torch"), "complex-step"]


@pytest.mark.parametrize("kind", ["copy", "zeros"])
@pytest.mark.parametrize("write", WRITES)
def test_writes_reach_the_base(write: Callable[..., None], kind: str) -> None:
    def loss(w: Any) -> Any:
        a = started(kind, w)
        write(a, w)
        return np.sum(a**3 * np.arange(1.0, 7.0).reshape(2, 3))

    slopes, errors = derivative_with_error(loss, W)
    value, found = gradlab.value_and_grad(loss)(W)
    assert abs(value - loss(W)) <= 1e-14 * abs(value)
    assert np.all(np.abs(found - slopes) <= errors + 1e-13 * np.abs(slopes).max())


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend(backend: str) -> None:
    def loss(w: Any) -> Any:
        total = 0.0
        for write in WRITES:
            a = started("copy", w)
            write(a, w)
            total = total + np.sum(a**3 * np.arange(1.0, 7.0).reshape(2, 3))
        return total

    wanted = gradlab.grad(loss)(W)
    found = gradlab.grad(loss, backend=backend)(W)
    assert np.abs(found - wanted).max() <= 1e-13 * np.abs(wanted).max()


def copied_by_ravel(w: Any) -> Any:
    a = (w * 2).T
    a.ravel()[0] = w[0, 1]  # NumPy copies, because the transpose is not stored row by row
    return np.sum(a**2)


def of_unknown_layout(w: Any) -> Any:
    a = np.array(w.T)
    a.reshape(-1)[0] = w[0, 1]
    return np.sum(a**2)


def read_only(w: Any) -> Any:
    a = w.copy()
    np.diagonal(a)[0] = w[0, 1]
    return np.sum(a)


def seen_by_another_view(w: Any) -> Any:
    a = w.copy()
    b = a.T
    a[0] = w[1]
    return np.sum(a) + np.sum(b)


def view_of_a_view(w: Any) -> Any:
    a = w.copy()
    b = a.T[:1]
    a[0] = w[1]
    return np.sum(b)


def swapped_rows(w: Any) -> Any:
    a = w.copy()
    a[0], a[1] = a[1], a[0]  # two views, which in NumPy are the same row
    return np.sum(a**3)


def returned_from_a_list(w: Any) -> Any:
    a = w.copy()
    rows = list(a)
    a[1] = 2 * w[0]
    return rows[0].sum() * (rows[1] + 1).sum()


@pytest.mark.parametrize("backend", ["autograd", unless_missing("torch")])
@pytest.mark.parametrize(
    "loss",
    [
        *[copied_by_ravel, of_unknown_layout, read_only, seen_by_another_view],
        *[view_of_a_view, swapped_rows, returned_from_a_list],
    ],
)
def test_writes_into_possible_copies_are_refused(loss: Callable[..., Any], backend: str) -> None:
    with pytest.raises((gradlab.GradlabError, ValueError), match=r"test_views\.py, line|read-only"):
        gradlab.grad(loss, backend=backend)(W)


USES: dict[str, Callable[[Any], Any]] = {
    "shape": lambda b: b.shape,
    "operator": lambda b: b + 1,
    "reflected": lambda b: np.ones(3) * b,
    "function": np.sum,
    "concatenate": lambda b: np.concatenate([b, b]),
    "method": lambda b: b.sum(),
    "index": lambda b: b[0],
    "iteration": list,
    "length": len,
    "conversion": lambda b: np.asarray(b, object),
    "text": str,
    "truth": bool,
    "equality": lambda b: b == 1.0,
    "attribute": lambda b: setattr(b, "flag", 1),
}


@pytest.mark.parametrize("backend", ["autograd", unless_missing("torch")])
@pytest.mark.parametrize("use", USES)
def test_no_use_of_a_view_that_has_missed_a_write(use: str, backend: str) -> None:
    def loss(w: Any) -> Any:
        a = w.copy()
        b = a[0]
        a[0, 1] = w[1, 1]
        USES[use](b)
        return np.sum(a)

    with pytest.raises(gradlab.GradlabError, match=r"uses a view .*line \d+.*written since"):
        gradlab.grad(loss, backend=backend)(W)


@pytest.mark.parametrize("backend", BACKENDS)
def test_text_of_traced_values_is_only_for_display(backend: str) -> None:
    shown = []

    def loss(w: Any) -> Any:
        value = np.sum(w**2)
        shown.append(f"{value:.2f}")
        return value

    gradlab.grad(loss, backend=backend)(W)
    assert any(text == f"{np.sum(W**2):.2f}~" for text in shown)
    with pytest.raises(gradlab.GradlabError):
        gradlab.grad(lambda w: np.sum(w) * float(f"{w[0, 0]:.17g}"), backend=backend)(W)


@pytest.mark.parametrize("p", [[1.0, -3.0, 2.5, 1.0], [0.0, 2.0, 1.0, 3.0, 0.0], [0.0, 0.0], [3.0]])
def test_roots_of_polynomials(p: list[float]) -> None:
    def loss(p: Any) -> Any:
        return np.sum(np.abs(np.roots(p)) ** 2)

    given = np.array(p)
    slopes, errors = derivative_with_error(loss, given)
    value, found = gradlab.value_and_grad(loss)(given)
    assert abs(value - loss(given)) <= 1e-13 * abs(value)
    inner = slice(*np.flatnonzero(given)[[0, -1]] + [0, 1]) if given.any() else slice(0)
    assert np.all(np.abs(found - slopes)[inner] <= (errors + 1e-10 * np.abs(slopes))[inner])


@pytest.mark.parametrize("backend", ["autograd", "tape"])
def test_a_number_gets_an_axis_and_is_used_again(backend: str) -> None:
    def loss(b: Any) -> Any:
        c = 2.0 * b
        row = c[None] + c[..., np.newaxis]
        return np.sum(row) + c**2 + 3.0 * c + np.sin(c)

    assert gradlab.grad(loss, backend)(1.5) == 2 * (2 + 6 + 3 + np.cos(3.0))
