"""Jacobians in the structures that functions return, joined to one matrix."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab import check_gradients
from gradlab.checking import entries as entries_module
from gradlab.checking.allowance import sizes
from gradlab.checking.columns import Clues, Columns
from gradlab.checking.entries import _beside_jumps
from gradlab.checking.functions import Function
from gradlab.checking.kinks import Finding
from gradlab.checking.matrices import joined, matrix_blocks
from gradlab.checking.patterns import _place
from gradlab.checking.result import Entry, Leaf
from gradlab.errors import ParameterError
from gradlab.gradients.slopes import Slope
from gradlab.layout import Layout
from gradlab.params import flatten

OUTPUTS = {"y": np.zeros((2, 1)), "s": np.array(0.0), "t": [np.zeros(3), np.zeros(1)]}
INPUTS = {"w": np.zeros((1, 2)), "b": np.array(0.0)}
MATRIX = np.arange(7 * 3.0).reshape(7, 3)


def layout(structure: Any) -> Layout:
    leaves, found = flatten(structure)
    return Layout.of(leaves, found)


def numbers(value: Any, path: str) -> Any:
    return np.asarray(value)


def block(rows: slice, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the derivatives of one output with respect to both parameters."""
    part = MATRIX[rows]
    return {"w": part[:, :2].reshape(*shape, 1, 2), "b": part[:, 2].reshape(shape)}


def whole() -> dict[str, Any]:
    return {
        "y": block(slice(0, 2), (2, 1)),
        "s": block(slice(2, 3), ()),
        "t": [block(slice(3, 6), (3,)), block(slice(6, 7), (1,))],
    }


def blocks(found: Any) -> Any:
    return matrix_blocks("jacobian", found, layout(OUTPUTS), layout(INPUTS), numbers)


@pytest.mark.parametrize("found", [whole(), MATRIX])
def test_blocks_are_parts_of_the_matrix(found: Any) -> None:
    made = blocks(found)
    assert [[part.shape for part in row] for row in made] == [
        [(2, 2), (2, 1)], [(1, 2), (1, 1)], [(3, 2), (3, 1)], [(1, 2), (1, 1)]
    ]  # fmt: skip
    assert np.array_equal(joined(made), MATRIX)


def changed(**parts: Any) -> dict[str, Any]:
    return {**whole(), **parts}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "the jacobian has 0 items; expected a dict with the outputs y, s, t"),
        ({"y": 1}, "the jacobian has a dict with y; expected a dict with the outputs y, s, t"),
        (changed(t={"a": 1}), "has a dict with a at 't'; expected one item for each of 2 outputs"),
        (changed(t=[whole()["t"][0]]), "has 1 items at 't'; expected one item for each of 2"),
        (changed(t=np.zeros((2, 3))), r"has an array of shape \(2, 3\) at 't'; expected one item"),
        (changed(s={"w": np.zeros((1, 2))}), "the jacobian of s lacks b"),
        (
            changed(s={"w": np.zeros((2, 1)), "b": 0.0}),
            r"s by w has shape \(2, 1\); expected \(1, 2",
        ),
        (MATRIX.T, r"the jacobian has an array of shape \(3, 7\); expected a dict"),
        (MATRIX[0], r"the jacobian has an array of shape \(3,\); expected a dict"),
    ],
)
def test_what_does_not_fit_is_described(found: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        blocks(found)


def test_a_function_is_constant_until_it_has_changed() -> None:
    function = Function(lambda x: np.maximum(x, 0.0), np.array([-1.0]))
    assert function.constant
    function.at(np.array([-2.0]))
    assert function.constant
    function.at(np.array([2.0]))
    assert not function.constant
    function.at(np.array([-3.0]))
    assert not function.constant


def test_no_place_of_a_vector_is_named() -> None:
    """No place is named either if all other entries are inconclusive."""
    entries = [
        Entry(
            "w", (k,), -1.0 if k == 3 else 1.0, 1.0, 1e-9, 1e-9, "mismatch" if k == 3 else "agree"
        )
        for k in range(6)
    ]
    found = Columns.of(Leaf("w", (6,), "mismatch", 6), entries, None, Clues())
    assert _place(found) == ""
    two = [*entries[:3], *(Entry("w", (k,), -1.0, 1.0, 1e-9, 1e-9, "mismatch") for k in (3, 3, 3))]
    assert _place(Columns.of(Leaf("w", (6,), "mismatch", 6), two, None, Clues())) == ""


def test_a_report_as_text_has_a_hundred_columns() -> None:
    report = check_gradients(lambda x: x @ x, np.ones(2), gradient=lambda x: 2 * x)
    lines = str(replace(report, notes=("word " * 60,))).splitlines()
    assert 90 < max(map(len, lines)) <= 100


def test_a_claim_that_is_not_finite_has_no_size() -> None:
    assert sizes(np.array([np.nan, np.inf, 0.0]), [slice(0, 3)]).tolist() == [0.0] * 3


def test_the_error_bar_between_jumps_is_one_by_the_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries_module, "between_jumps", lambda *given: Slope(16.0, 4.0, "smooth"))
    surface: Any = SimpleNamespace(rounding=1.0, scales=np.array([8.0]), bits=52)
    found = _beside_jumps(surface, Finding(0, Slope(3.0, 10.0, "smooth"), 2.0, 0.0)).slope
    assert (found.value, found.error) == (2.0, 0.5)
