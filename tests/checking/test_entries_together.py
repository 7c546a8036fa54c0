"""Information about an entry of a gradient that comes from the other entries."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.checking import entries as module
from gradlab.checking.entries import check_entries
from gradlab.checking.kinks import Finding
from gradlab.gradients.slopes import Bar, Slope
from gradlab.gradients.surface import Surface

RNG = np.random.default_rng(0)
SURFACE: Any = Surface(lambda x: x @ x, np.ones(6))


def found(number: int, claimed: float, kind: Any = "smooth", **more: Any) -> Finding:
    sides = {"left": Bar(1.0, 1e-6), "right": Bar(3.0, 1e-6)} if kind == "kink" else {}
    return Finding(number, Slope(2.0, 0.1, kind, **sides, **more), claimed, 0.0)


def looked_at(monkeypatch: pytest.MonkeyPatch, findings: list[Finding]) -> list[int]:
    """Check entries with known slopes; return the indices of those that were measured."""
    seen: list[int] = []

    def look(surface: Any, analytic: Any, i: int) -> Finding:
        seen.append(i)
        return findings[i]

    monkeypatch.setattr(module, "measure_entry", look)
    return seen


def test_entries_that_knew_nothing_of_rounding_are_measured_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Values rounded to 1 make these entries look wrong or flat at first."""
    monkeypatch.setattr(module, "_kink_notes", lambda *arguments: {})
    monkeypatch.setattr(SURFACE, "rounding", 1.0)
    findings = [
        found(0, 9.0, noise=0.4),
        found(1, 9.0, noise=0.6),
        found(2, 2.0, "flat", noise=0.4),
        found(3, 2.0, noise=0.4),
        found(4, 2.0, "kink"),
        found(5, 9.0, "kink"),
    ]
    seen = looked_at(monkeypatch, findings)
    check_entries(SURFACE, None, range(6), RNG)  # type: ignore[arg-type]
    assert seen == [*range(6), 0, 2]


def test_a_claim_of_the_slope_between_jumps_is_a_valid_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_kink_notes", lambda *arguments: {})
    looked_at(monkeypatch, [found(0, 1.0, piece=Bar(1.0, 1e-6), noise=1e-3)])
    (judged,) = check_entries(SURFACE, None, [0], RNG)  # type: ignore[arg-type]
    assert judged.verdict == "kink"
    assert judged.note.startswith("1 between jumps of the loss, 2 ± 0.1 across them")


@pytest.mark.parametrize(
    ("claimed", "remarks", "asked"),
    [
        (2.0, {}, 0),  # within the slopes of both sides
        (2.0, {0: "not a joint subgradient"}, 1),
        (4.0, {0: "the gradient lies outside of them"}, 1),
    ],
)
def test_points_nearby_are_examined_if_a_choice_is_in_doubt(
    monkeypatch: pytest.MonkeyPatch, claimed: float, remarks: dict[int, str], asked: int
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(module, "is_gradient_nearby", lambda *given: seen.append(given))
    monkeypatch.setattr(module, "invalid_choices", lambda *given: dict(remarks))
    looked_at(monkeypatch, [found(0, claimed, "kink")])
    (judged,) = check_entries(SURFACE, SimpleNamespace(), [0], RNG)  # type: ignore[arg-type]
    assert len(seen) == asked
    assert judged.verdict == ("mismatch" if remarks else "kink")
    monkeypatch.setattr(module, "is_gradient_nearby", lambda *given: True)
    (judged,) = check_entries(SURFACE, SimpleNamespace(), [0], RNG)  # type: ignore[arg-type]
    assert judged.verdict == "kink"
