"""NaN in data that a loss leaves out; reverse mode alone would compute 0 · NaN."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import unless_missing

import gradlab
from gradlab.errors import NonFiniteError, StatefulLossWarning, UntraceableWarning

DATA = np.array([0.3, np.nan, -1.2, np.nan])
KNOWN = ~np.isnan(DATA)
W = np.array([0.4, -1.2, 0.9, 0.1])

SLOWER = "reverse mode has NaN in"


def after(w: Any, y: Any) -> Any:
    return np.where(np.isnan(y), 0.0, (w - y) ** 2).sum()


def times(w: Any, y: Any) -> Any:
    return np.nansum(w * y)


def by_an_index(w: Any, y: Any) -> Any:
    return np.sum((w * y)[~np.isnan(y)] ** 2)


def of_all_rows(w: Any, y: Any) -> Any:
    """Compute a loss in which each parameter meets missing data: reverse mode gives only NaN."""
    scores = y[:, None] * w
    return np.sum(np.where(np.isnan(scores), 0.0, np.tanh(scores)))


WANTED = {
    after: np.where(KNOWN, 2 * (W - np.nan_to_num(DATA)), 0.0),
    times: np.nan_to_num(DATA),
    by_an_index: 2 * W * np.nan_to_num(DATA) ** 2,
    of_all_rows: sum(x / np.cosh(x * W) ** 2 for x in DATA[KNOWN]),
}

BACKENDS = [unless_missing(name) for name in ("autograd", "tape", "jax", "torch")]


@pytest.mark.filterwarnings("ignore:the tape cannot replay", "ignore:jax cannot compile")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("loss", WANTED)
def test_data_that_the_loss_leaves_out(loss: Callable[..., Any], backend: str) -> None:
    with pytest.warns(UntraceableWarning, match=SLOWER):
        value, found = gradlab.value_and_grad(loss, backend=backend)(W, DATA)
    assert abs(value - loss(W, DATA)) <= 1e-14 * abs(value)
    np.testing.assert_allclose(found, WANTED[loss], rtol=1e-13, atol=1e-15)


def test_replays_of_the_tape_that_are_not_finite_are_done_again() -> None:
    f = gradlab.grad(after, backend="tape")
    for data in (np.nan_to_num(DATA), DATA, DATA[::-1].copy()):
        wanted = np.where(np.isnan(data), 0.0, 2 * (W - np.nan_to_num(data)))
        if np.isnan(data).any():
            with pytest.warns(UntraceableWarning, match=SLOWER):
                found = f(W, data)
        else:
            found = f(W, data)
        np.testing.assert_allclose(found, wanted, rtol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_slope_that_does_not_exist_is_refused(backend: str) -> None:
    def loss(w: Any) -> Any:
        return np.sum(np.sqrt(w**2))

    message = r"the gradient is nan at params\[1\]: the loss computes 0 · NaN.*np\.where"
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=message):
        gradlab.grad(loss, backend=backend)(np.array([1.0, 0.0]))


def test_an_infinite_slope_is_refused_as_such() -> None:
    with np.errstate(divide="ignore"), pytest.raises(NonFiniteError, match=r"is inf at params$"):
        gradlab.grad(np.sqrt)(0.0)


def test_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradlab.gradients.left_out.MAX_FORWARD_ENTRIES", 1)
    with pytest.raises(NonFiniteError, match="put numbers in place of missing data"):
        gradlab.grad(after)(W, DATA)


def test_a_loss_that_keeps_values_warns_once() -> None:
    class Model:
        kept: Any = None

        def loss(self, w: Any, y: Any) -> Any:
            self.kept = w * 2
            return after(w, y)

    model = Model()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = gradlab.grad(model.loss)(W, DATA)
    np.testing.assert_allclose(found, WANTED[after], rtol=1e-13)
    np.testing.assert_array_equal(model.kept, 2 * W)
    assert [w.category for w in caught] == [StatefulLossWarning, UntraceableWarning]


@pytest.mark.parametrize("backend", [*BACKENDS, "autograd-forward"])
def test_hypot_at_zero_has_the_slope_zero(backend: str) -> None:
    def loss(w: Any) -> Any:
        return np.sum(np.hypot(w, 2 * w)) + np.sum(np.hypot(w[:1], w))

    w = np.array([0.0, 0.5])
    found = gradlab.grad(loss, backend=backend)(w)
    np.testing.assert_allclose(found, [0.0, np.sqrt(5) + 1], rtol=1e-14)
