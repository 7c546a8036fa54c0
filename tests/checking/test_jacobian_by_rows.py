"""Faults that a random combination of the rows of a Jacobian shows and single rows do not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.checking.jacobian import DerivativeEntry
from gradlab.checking.jacobian_causes import _of_rows, causes_of
from gradlab.checking.result import Leaf, Verdict

RNG = np.random.default_rng(0)
W1, B1, W2 = (RNG.normal(size=(3, *shape)) for shape in ((2, 2), (2,), (2, 3)))
"""The derivatives of three outputs by three leaves."""


def problem(**leaves: tuple[Any, Any]) -> tuple[Any, list[DerivativeEntry], list[Leaf]]:
    """Return a function ``y`` of these leaves, each given by its claimed and true derivative."""
    entries: list[DerivativeEntry] = []
    blocks: list[Leaf] = []
    for name, (claimed, true) in leaves.items():
        path = f"y by {name}"
        for index, x in np.ndenumerate(true):
            verdict: Verdict = "agree" if claimed[index] == x else "mismatch"
            entries.append(
                DerivativeEntry(path, index, float(claimed[index]), x, 1e-9, 1e-9, verdict,
                                output="y", parameter=name)
            )  # fmt: skip
        wrong = bool((claimed != true).any())
        blocks.append(Leaf(path, true.shape, "mismatch" if wrong else "agree", true.size))
    subject = SimpleNamespace(
        params={name: np.zeros(true.shape[1:]) for name, (_, true) in leaves.items()},
        function=SimpleNamespace(leaves=[np.zeros(3)], paths=("y",)),
        block=lambda output, parameter: f"{output} by {parameter}",
    )
    return subject, entries, blocks


def test_a_parameter_that_is_transposed_in_each_row() -> None:
    subject, entries, blocks = problem(w=(W1.transpose(0, 2, 1), W1))
    assert causes_of(subject, entries, blocks) == {"y by w": "transposed"}


def test_rows_that_were_not_all_checked_are_not_combined() -> None:
    subject, entries, blocks = problem(w=(W1.transpose(0, 2, 1), W1))
    assert _of_rows(subject, entries[1:], blocks) == {}


def test_a_layer_after_which_all_is_right() -> None:
    subject, entries, blocks = problem(w=(W1 * W1, W1), b=(B1 * B1, B1), v=(W2, W2))
    cause = "wrong before v, right from there on: the derivative of an activation?"
    assert _of_rows(subject, entries, blocks) == {"y by w": cause, "y by b": cause}
    assert causes_of(subject, entries, blocks) == {"y by w": cause, "y by b": cause}


@pytest.mark.parametrize("wrong", [1, 3])
def test_a_factor_of_all_rows_or_of_one(wrong: int) -> None:
    """The place of one wrong output is named instead of the vague cause of its combination."""
    claimed = W1.copy()
    claimed[:wrong] *= 2
    subject, entries, blocks = problem(w=(claimed, W1))
    place = "" if wrong == 3 else " in slice along axis 0, 0 alone"
    assert causes_of(subject, entries, blocks) == {"y by w": f"2 times too large{place}"}
