"""Small parts of the checker, each by itself: constants, caches, sums over nothing."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.checking.analytic import Analytic
from gradlab.checking.claims import Claim
from gradlab.checking.columns import Clues, Columns
from gradlab.checking.complex_numbers import ComplexParts
from gradlab.checking.entries import _beside_jumps
from gradlab.checking.finding import Finding
from gradlab.checking.jacobian_causes import _of_block
from gradlab.checking.layer_objects import _adding
from gradlab.checking.matrices import joined
from gradlab.checking.patterns import CONSTANTS, _name, _place
from gradlab.checking.result import Entry, Leaf
from gradlab.gradients.slopes import Slope
from gradlab.gradients.surface import Surface

DIGITS = {
    "ln 10": "2.302585092994046", "1/ln 10": "0.4342944819032518", "ln 2": "0.6931471805599453",
    "1/ln 2": "1.442695040888963", "π": "3.141592653589793", "1/π": "0.3183098861837907",
    "2π": "6.283185307179586", "1/2π": "0.1591549430918953", "π/180": "0.01745329251994330",
    "180/π": "57.29577951308232", "√2": "1.414213562373095", "1/√2": "0.7071067811865475",
}  # fmt: skip


def test_factors_have_the_values_of_their_names() -> None:
    assert CONSTANTS.keys() == DIGITS.keys()
    for name, digits in DIGITS.items():
        assert CONSTANTS[name] == pytest.approx(float(Decimal(digits)), rel=1e-15)
        assert _name(CONSTANTS[name], 1e-9) == (f"{name} times what it should be", True)


def matrix(wrong: list[tuple[int, int]], seen: Any = None) -> Columns:
    """Return a leaf (4, 3) whose gradient is wrong at some places."""
    entries = [
        Entry("w", index, 9.0 if index in wrong else 1.0, 1.0, 1e-9, 1e-9,
              "mismatch" if index in wrong else "agree")
        for index in (np.ndindex(4, 3) if seen is None else seen)
    ]  # fmt: skip
    return Columns.of(Leaf("w", (4, 3), "mismatch", len(entries)), entries, None, Clues())


def test_a_row_is_blamed_for_two_of_its_entries_or_four_of_a_sample() -> None:
    assert _place(matrix([(1, 0)])) == ""
    assert _place(matrix([(1, k) for k in range(3)])) == "in row 1 alone"
    assert _place(matrix([(k, 1) for k in range(4)])) == "in column 1 alone"
    column, others = [(k, 1) for k in range(4)], [(0, 0), (1, 2)]
    assert _place(matrix(column, [*column, *others])) == "in column 1 alone"
    assert _place(matrix(column[:3], [*column[:3], *others])) == ""


def test_a_sum_over_no_outputs_is_an_empty_matrix() -> None:
    assert joined([]).shape == (0, 0)
    assert joined([[]]).shape == (0, 0)


@pytest.mark.parametrize("bent", [np.nan, np.inf])
def test_a_curvature_that_is_not_known_adds_no_round_off(bent: float) -> None:
    claimed = Analytic(np.ones(2), np.full(2, 2.0**-52), np.array([3.0, 4.0]))
    assert claimed.roundoff(1, bent, 2.0) == 4.0
    assert claimed.roundoff(1, 0.5, 2.0) == 4.0 + 8 * 2.0**-52


@pytest.mark.parametrize("size", [1e8, 1e-8])
def test_exact_numbers_of_any_size_may_be_off_by_a_few_units(size: float) -> None:
    signs = size * np.array([[1.0, 1.0, -1.0], [-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    for units, causes in ((12, ["transposed"]), (24, [])):
        claimed = signs.T * (1 + units * 2.0**-52)
        entries: Any = [
            Entry("b", i, float(claimed[i]), float(x), 0.0, 0.0, "mismatch")
            for i, x in np.ndenumerate(signs)
        ]
        assert list(_of_block(Leaf("b", (3, 3), "mismatch", 9), entries)) == causes


@pytest.mark.parametrize("scale", [0.25, 1.0, 8.0])
def test_a_slope_between_jumps_is_one_by_the_entry_whatever_its_scale(scale: float) -> None:
    """The directions along which it is measured are longer or shorter than 1."""
    surface: Any = Surface(lambda x: 1 + 2 * x[0] + (x[0] > 1.2 * scale), np.array([scale]))
    surface.rounding = 1.0
    wide = Finding(0, Slope(3.0, 10.0, "smooth"), 2.0, 0.0)
    found = _beside_jumps(surface, wide).slope
    assert abs(found.value - 2.0) <= found.error <= 1e-3
    narrow = Finding(0, Slope(3.0, 1.4, "smooth"), 2.0, 0.0)  # half of the larger of the two
    assert _beside_jumps(surface, narrow) is narrow
    surface.rounding = 0.0
    assert _beside_jumps(surface, wide) is wide


def test_a_claim_is_asked_once_for_a_direction_while_few_are_kept() -> None:
    asked: list[float] = []

    def rows(u: Any) -> Any:
        asked.append(float(u[0]))
        return u * np.ones(2)

    claim = Claim("vjp", SimpleNamespace(size=1), np.ones(2), rows=rows)  # type: ignore[arg-type]
    for k in (*range(65), *range(65)):
        assert claim.row(np.array([float(k)])).values.tolist() == [k, k]
    assert asked == list(range(65))
    claim.row(np.array([65.0]))  # one too many: all are forgotten
    claim.row(np.array([0.0]))
    assert asked[65:] == [65.0, 0.0]


def test_only_gradients_that_grow_are_said_to_grow() -> None:
    state = {"adds": 0.0, "stays": 1.0, "doubles": 1.0}

    def both() -> None:
        state["adds"] += 2.0
        state["doubles"] *= 2.0

    slots: Any = [
        SimpleNamespace(name=name, gradient=lambda _, name=name: np.array([state[name]]))
        for name in state
    ]
    assert [slot.name for slot in _adding(None, slots, both)] == ["adds"]


def test_a_bare_complex_array_has_a_name_and_a_structure_has_its_own() -> None:
    assert ComplexParts(np.array([1j]), "z")._bare == "z"
    assert ComplexParts(np.array([1.0]), "z")._bare == ""
    both = ComplexParts({"z": np.array([1j]), "x": np.array([1.0])}, "z")
    assert both._bare == ""
    assert both.any
    assert not ComplexParts({"x": np.array([1.0])}).any
