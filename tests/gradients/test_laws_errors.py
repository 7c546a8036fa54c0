"""Every backend names the fault in parameters, losses and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance import (
    ALONG_ENTRIES,
    Row,
    elementary,
    every_difference,
    every_row,
    every_structure,
    leaves_of,
    smooth,
    snapshot,
)

from gradlab.errors import GradlabError, LossError, NonFiniteError, ParameterError
from gradlab.params import size


@every_row
@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        ("text", ParameterError, "net.w is 'text'; parameters are arrays of real numbers"),
        (None, ParameterError, "net.w is None"),
        (True, ParameterError, "net.w is True"),
        (np.array([True]), ParameterError, "net.w is an array of dtype bool"),
        (np.array([object()]), ParameterError, "net.w is an array of dtype object"),
        (np.array(["a"]), ParameterError, "net.w is an array of dtype <U1"),
        (np.array([1 + 1j]), ParameterError, "net.w is complex"),
        (1j, ParameterError, "net.w is complex"),
        (np.array([[0.0, np.nan]]), NonFiniteError, r"net\.w\[0, 1\] is nan"),
        (np.array([np.inf]), NonFiniteError, r"net\.w\[0\] is inf"),
        (float("-inf"), NonFiniteError, "net.w is -inf"),
    ],
)
def test_unusable_parameters_are_named(row: Row, leaf: Any, error: Any, message: str) -> None:
    if "complex" in message and row.backend.name in ("autograd", "tape"):
        return  # autograd differentiates by complex numbers
    with pytest.raises(error, match=message) as caught:
        row.grad(lambda p: 0.0, {"first": np.ones(2), "net": {"w": leaf}})
    assert isinstance(caught.value, GradlabError)


@every_row
@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (np.ones(3), LossError, r"an array of shape \(3,\)"),
        (np.ones((2, 1)), LossError, r"an array of shape \(2, 1\)"),
        ("text", LossError, "returned 'text'"),
        (None, LossError, "returned None"),
        (True, LossError, "returned True"),
        (object(), LossError, "returned <object object"),
        (2j, LossError, "complex number"),
        (np.complex128(1), LossError, "complex number"),
        (float("nan"), NonFiniteError, "the loss is nan"),
        (np.float64("inf"), NonFiniteError, "the loss is inf"),
    ],
)
def test_unusable_losses_are_errors(row: Row, result: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        row.grad(lambda w: result, np.ones(2))


@every_row
def test_vector_that_depends_on_the_parameters_is_an_error(row: Row) -> None:
    with pytest.raises(LossError, match=r"an array of shape \(2,\)"):
        row.grad(lambda w: 2 * w, np.ones(2))


@every_row
def test_complex_loss_that_depends_on_the_parameters_is_an_error(row: Row) -> None:
    with pytest.raises(LossError, match="complex"):
        row.grad(lambda w: (w * (1 + 1j)).sum(), np.ones(2))


@every_row
def test_infinite_gradient_is_an_error(row: Row) -> None:
    """√x at 0 has no gradient; a float32 gradient that overflows has none either."""
    if row.exact:
        message = r"gradient is inf at w\[1\]"
        if row.analytic:  # the slope is 1e50 there, and the loss has no values nearby
            message = "cannot confirm"
        if row is ALONG_ENTRIES:  # 0 · ∞, along the first one already
            message = r"gradient is nan at w\[0\]"
        with np.errstate(divide="ignore"), pytest.raises(NonFiniteError, match=message):
            row.grad(lambda p: elementary("sqrt")(p["w"]).sum(), {"w": np.array([1.0, 0.0])})
    steep = {"w": np.array([0.0, 1.0], np.float32)}
    with (
        pytest.raises(NonFiniteError, match=r"gradient is inf at w\[0\]"),
        np.errstate(all="ignore"),
    ):
        row.grad(lambda p, x: (p["w"] * x).sum(), steep, np.array([1e42, 1.0]))


@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@every_difference
def test_nan_beside_the_point_names_the_entry(row: Row) -> None:
    def loss(p: Any) -> Any:
        return np.float64(np.nan) if p["w"][1] > 2.0 else p["w"].sum()

    with pytest.raises(NonFiniteError, match=r"the loss is nan at w\[1\] = 2.0 moved to 2\.0"):
        row.grad(loss, {"w": np.array([1.0, 2.0])})


@every_row
def test_exception_of_the_loss_carries_a_note(row: Row) -> None:
    def loss(w: Any) -> Any:
        raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own") as caught:
        row.grad(loss, np.ones(2))
    notes = [note for note in caught.value.__notes__ if note.startswith("raised by the loss")]
    assert len(notes) == 1  # JAX adds a note of its own


@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@every_difference
def test_exception_beside_the_point_names_the_entry(row: Row) -> None:
    def loss(p: Any) -> Any:
        if p[0][0, 1] != 2.0:
            raise ZeroDivisionError("the user's own")
        return p[0].sum()

    with pytest.raises(ZeroDivisionError) as caught:
        row.grad(loss, [np.array([[1.0, 2.0]])])
    assert caught.value.__notes__[0].startswith("raised by the loss at [0][0, 1] = 2.0 moved to 2")


@every_row
@every_structure
def test_loss_that_writes_into_its_parameters_fails(row: Row, params: Any) -> None:
    """An error is raised, or the write hits a private copy; the caller's arrays do not change."""

    def loss(params: Any) -> Any:
        for leaf in leaves_of(params):
            leaf[...] = 0.0
        return smooth(params)

    before = snapshot(params)
    if size(params):
        with pytest.raises((ValueError, TypeError)) as caught:
            row.grad(loss, params)
        assert isinstance(caught.value, GradlabError) or caught.value.__notes__
    assert snapshot(params) == before


@every_difference
def test_loss_that_adds_in_place_fails(row: Row) -> None:
    def loss(p: Any) -> Any:
        p["w"] += 1.0
        return p["w"].sum()

    with pytest.raises(ValueError, match="read-only"):
        row.grad(loss, {"w": np.ones(2)})
