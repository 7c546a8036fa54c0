"""Which pattern says what of the numbers of one leaf, each asked by itself.

The report gives the first cause alone, so that a pattern that says too much, or nothing, may hide
behind another.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from gradlab.checking.causes import _nearly_right
from gradlab.checking.columns import Clues, Columns
from gradlab.checking.patterns import PATTERNS, in_part
from gradlab.checking.result import Entry, Leaf

G = np.random.default_rng(0).normal(size=(4, 3))
S = np.random.default_rng(1).normal(size=(3, 3))
K = np.random.default_rng(2).normal(size=(2, 3, 3))
V = np.random.default_rng(3).normal(size=5)
CENTRED = G - G.mean(axis=0)
BY_COLUMN = "each column is off by a factor of its own: the derivative at its unit?"
BY_ROW = "each row is off by a factor of its own: the derivative at its unit?"
BOTH = [BY_COLUMN, BY_ROW]
MOVED = "the right numbers in the wrong places"
NORM = (
    "the columns do not add up to 0, as the slopes of the loss do: "
    "is the path through the mean of a batch norm missing?"
)


def columns(
    claimed: Any,
    true: Any,
    tolerance: float = 1e-9,
    value: Any = None,
    lengths: Iterable[int] = (),
    repeated: Iterable[int] = (),
    seen: Iterable[int] | None = None,
) -> Columns:
    """Return the entries of a leaf, or only the entries `seen`."""
    claimed = np.broadcast_to(claimed, true.shape)
    entries = [
        Entry("w", index, float(claimed[index]), float(x), tolerance, tolerance,
              "mismatch" if abs(claimed[index] - x) > tolerance else "agree")
        for index, x in np.ndenumerate(true)
    ]  # fmt: skip
    if seen is not None:
        entries = [entries[k] for k in seen]
    clues = Clues(tuple(lengths), tuple(repeated))
    return Columns.of(Leaf("w", true.shape, "mismatch", len(entries)), entries, value, clues)


def but(where: Any, factor: float = -1.0, g: Any = G) -> Any:
    """Return the gradient times a factor at some places."""
    claimed = g.copy()
    claimed[where] *= factor
    return claimed


WHOLE: dict[str, tuple[Columns, list[str]]] = {
    "never computed": (
        columns(0 * V, V),
        ["zero throughout: never computed, or never stored",
         "the same number throughout: summed over too many axes?"],
    ),
    "twice": (columns(2 * G, G), ["2 times too large", *BOTH]),
    "half": (columns(G / 2, G), ["2 times too small: the 2 of a square?", *BOTH]),
    "negative": (columns(-V, V), ["the wrong sign"]),
    "a sum": (columns(4 * V, V, lengths=[4]), ["4 times too large: a sum for a mean?"]),
    "a mean": (columns(V / 4, V, lengths=[4]), ["4 times too small: a mean for a sum?"]),
    "any factor": (columns(1.23 * V, V), ["1.23 times what it should be"]),
    "nearly right": (columns(1.0005 * V, V), ["1 + 0.0005 times what it should be"]),
    "nearly right, below": (columns(0.9995 * V, V), ["1 - 0.0005 times what it should be"]),
    "off by more": (columns(1.0015 * V, V), ["1.0015 times what it should be"]),
    "π": (columns(np.pi * V, V), ["π times what it should be"]),
    "π, of slopes known to a thousandth": (
        columns(np.pi * V, V, 1e-3 * np.abs(V).min()),
        ["3.14159 times what it should be"],
    ),
    "three, within the tolerance": (
        columns(3.001 * V, V, 1e-2 * np.abs(V).min()),
        ["3 times too large"],
    ),
    "one entry": (columns(1.23 * V[:1], V[:1]), []),
    "one entry, twice": (columns(2 * V[:1], V[:1]), ["2 times too large"]),
    "one entry, reversed": (columns(-V[:1], V[:1]), ["the wrong sign"]),
    "cut off": (columns(np.clip(G, -0.5, 0.5), G), ["clipped to [-0.5, 0.5]"]),
    "half of slopes of one size": (
        columns(np.full(3, 0.35), np.full(3, 0.7)),
        ["2 times too small: the 2 of a square?", "too small by 0.35",
         "the same number throughout: summed over too many axes?"],
    ),
    "cut off at the largest": (columns(np.minimum(V, np.sort(V)[-2]), V), []),
    "scaled to length 1": (
        columns(V / np.linalg.norm(V) / 4, V / np.linalg.norm(V) / 3),
        ["scaled to a length of 0.25: clipped by its norm?", "0.75 times what it should be"],
    ),
    "scaled to no round length": (
        columns(0.7 * V / np.linalg.norm(V), V / np.linalg.norm(V)),
        ["0.7 times what it should be"],
    ),
    "a penalty": (
        columns(V + 0.1 * V**2, V, value=V**2),
        ["too large by 0.1 times the parameter: an L2 penalty?"],
    ),
    "a penalty too little": (
        columns(V - 0.1 * V**2, V, value=V**2),
        ["too small by 0.1 times the parameter: an L2 penalty?"],
    ),
    "a penalty of size": (
        columns(V + 0.1 * np.sign(V - 0.5), V, value=V - 0.5),
        ["too large by 0.1 times the parameter's sign: an L1 penalty?"],
    ),
    "a constant": (columns(G + 0.1, G), ["too large by 0.1"]),
    "a constant in two entries": (columns(V[:2] + 0.1, V[:2]), []),
    "transposed": (
        columns(S.T, S),
        ["transposed", "laid out in the other order: transposed, then reshaped?", MOVED],
    ),
    "symmetrised": (
        columns((S + S.T) / 2, S),
        ["symmetrised: the mean of the right one and its transpose"],
    ),
    "in Fortran's order": (
        columns(G.ravel(order="F").reshape(4, 3), G),
        ["laid out in the other order: transposed, then reshaped?", MOVED],
    ),
    "turned": (
        columns(G[::-1, ::-1], G),
        ["in reverse order along all axes: a flipped kernel?", MOVED],
    ),
    "rows reversed": (columns(G[::-1], G), ["in reverse order along axis 0", MOVED]),
    "columns reversed": (columns(G[:, ::-1], G), ["in reverse order along axis 1", MOVED]),
    "a vector reversed": (columns(V[::-1], V), ["in reverse order", MOVED]),
    "shifted": (columns(np.roll(V, 1), V), ["off by one", MOVED]),
    "shifted back": (columns(np.roll(G, -1, 1), G), ["off by one along axis 1", MOVED]),
    "shifted by two": (columns(np.roll(V, 2), V), [MOVED]),
    "two entries swapped": (columns(V[1::-1], V[:2]), []),
    "kernels turned": (
        columns(K[:, ::-1, ::-1], K),
        ["in reverse order along the two axes of each kernel: a flipped kernel?", MOVED],
    ),
    "kernels turned, first axes": (
        columns(K.T[::-1, ::-1], K.T),
        ["in reverse order along the two axes of each kernel: a flipped kernel?", MOVED],
    ),
    "one number": (
        columns(G.sum(), G),
        ["the same number throughout: summed over too many axes?"],
    ),
    "summed over rows": (columns(G.sum(axis=0), G), ["the same along axis 0: summed over it?"]),
    "the mean of each row": (
        columns(G.mean(axis=1, keepdims=True), G),
        ["the same along axis 1: summed over it?"],
    ),
    "a batch norm": (columns(G, CENTRED, lengths=[4]), [NORM]),
    "no batch": (columns(G, CENTRED), []),
    "slopes that do not add up to 0": (columns(G + 1 / V[0] * G**2, G, lengths=[4]), []),
    "units": (columns(G * [1.5, 2.5, 3.5], G), [BY_COLUMN]),
    "rows of units": (columns(G * np.array([[1.5], [2.5], [3.5], [0.5]]), G), [BY_ROW]),
    "units, one of them right": (columns(G * [1.0, 2.5, 3.5], G), []),
    "another gradient": (columns(np.random.default_rng(9).normal(size=G.shape), G), []),
    "not all entries seen": (columns(G[::-1], G, seen=range(9)), []),
}  # fmt: skip


@pytest.mark.parametrize("name", WHOLE)
def test_patterns_that_explain_all_entries(name: str) -> None:
    found, expected = WHOLE[name]
    said = [cause for pattern in PATTERNS for cause in pattern(found)]
    assert said == expected


SIGN = "the wrong sign"
REPEATED = "wrong in row 1 alone: a repeated index, of which the last one is stored instead of all"

PARTS: dict[str, tuple[Columns, list[str]]] = {
    "a row": (columns(but(1), G), [f"{SIGN} in row 1 alone", "wrong in row 1 alone"]),
    "two rows": (
        columns(but([1, 3]), G),
        [f"{SIGN} in rows 1 and 3 alone", "wrong in rows 1 and 3 alone"],
    ),
    "three rows": (
        columns(but([0, 1, 3]), G),
        [f"{SIGN} in rows 0 and 1 and 3 alone", "wrong in rows 0 and 1 and 3 alone"],
    ),
    "a column": (
        columns(but((slice(None), 1)), G),
        [f"{SIGN} in column 1 alone", "wrong in column 1 alone"],
    ),
    "a row of zeros": (
        columns(but(1, 0.0), G),
        ["zero in row 1 alone: never stored, or masked?", "wrong in row 1 alone"],
    ),
    "a repeated index": (
        columns(but(1, 1.7), G, repeated=[1]),
        ["1.7 times what it should be in row 1 alone", f"{REPEATED} added?"],
    ),
    "entries": (columns(but(([0, 1], [0, 1])), G), [f"{SIGN} in 2 of 12 entries"]),
    "one entry": (columns(but((0, 0)), G), [f"{SIGN} in 1 of 12 entries"]),
    "entries of a vector": (columns(but([0, 1], -1.0, V), V), [f"{SIGN} in 2 of 5 entries"]),
    "entries that were seen": (
        columns(but(([0, 1], [0, 1])), G, seen=range(8)),
        [f"{SIGN} in 2 of 8 entries that were checked"],
    ),
    "a row of few that were seen": (
        columns(but(1), G, seen=[0, 3, 4, 6]),
        [f"{SIGN} in 2 of 4 entries that were checked"],
    ),
    "a slice": (
        columns(but(1, -1.0, K), K),
        [f"{SIGN} in slice along axis 0, 1 alone", "wrong in slice along axis 0, 1 alone"],
    ),
    "no two of one kind": (columns(but(([0, 1], [0, 1]), 1.5) + but((1, 1), 0.1) - G, G), []),
}


@pytest.mark.parametrize("name", PARTS)
def test_patterns_that_explain_only_the_wrong_entries(name: str) -> None:
    found, expected = PARTS[name]
    assert list(in_part(found)) == expected


def test_uninformative_entries_are_left_out() -> None:
    """These are entries without a slope, and entries that are barely wrong, as at a kink."""
    entries = [
        Entry("w", (0,), 1.0, 1.0, 0.1, 0.1, "agree"),
        Entry("w", (1,), 1.9, 1.0, 0.1, 0.1, "mismatch"),
        Entry("w", (2,), 2.1, 1.0, 0.1, 0.1, "mismatch"),
        Entry("w", (3,), 1.0, np.nan, 0.1, 0.1, "inconclusive"),
        Entry("w", (4,), 1.0, 1.0, np.inf, np.inf, "inconclusive"),
        Entry("b", (5,), 1.0, 1.0, 0.1, 0.1, "agree"),
    ]
    found = Columns.of(Leaf("w", (6,), "mismatch", 5), entries, np.arange(6.0), Clues())
    assert found.index.ravel().tolist() == [0, 2]
    assert found.value.tolist() == [0.0, 2.0]
    assert found.wrong.tolist() == [False, True]
    assert not found.complete
    assert np.isnan(Columns.of(Leaf("w", (6,), "mismatch", 5), entries, None, Clues()).value).all()


def test_an_exact_value_is_known_to_half_a_unit_in_the_last_place() -> None:
    found = columns(V, V, tolerance=0.0)
    np.testing.assert_allclose(found.tolerance, 2.0**-53 * np.abs(V), rtol=1e-9)
    assert columns(np.zeros(2), np.zeros(2), tolerance=0.0).tolerance.tolist() == [2.0**-1022] * 2


def test_a_slope_is_clear_from_ten_tolerances() -> None:
    found = columns(np.array([0.9, 1.1, -1.1]), np.array([0.9, 1.1, -1.1]), tolerance=0.1)
    assert found.clear.tolist() == [False, True, True]


def test_a_fit_counts_in_tolerances() -> None:
    """A slope with a tenth of the error bar has a hundred times the weight."""
    entries = [
        Entry("w", (0,), 1.0, 1.0, 0.1, 0.1, "agree"),
        Entry("w", (1,), 1.0, 1.0, 1.0, 1.0, "agree"),
    ]
    found = Columns.of(Leaf("w", (2,), "agree", 2), entries, None, Clues())
    assert found.fit(np.array([2.0, 3.0]), np.ones(2)) == pytest.approx((100 * 2 + 3) / 101)
    assert found.explained(np.array([1.19, 2.9]))
    assert not found.explained(np.array([1.21, 2.9]))
    wider = found.within(0.5)
    assert wider.tolerance.tolist() == [0.5, 1.0]
    assert columns(np.array([1.4, 2.0]), np.ones(2), 1e-3).within(0.5).wrong.tolist() == [
        False,
        True,
    ]


def test_single_precision_is_recognised_next_to_an_unclear_entry() -> None:
    true = np.append(V, 0.0)
    claimed = np.append(np.float32(V), 0.0)
    [cause] = _nearly_right(columns(claimed, true, 1e-12))
    assert cause.endswith("of its largest entry: computed in single precision?")
    assert list(_nearly_right(columns(V[:2] * (1 + 1e-7), V[:2], 1e-12))) == []
    assert list(_nearly_right(columns(0 * V, 0 * V, 1e-12))) == []
