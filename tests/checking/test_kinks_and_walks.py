"""Which choices at a kink are limits of slopes nearby, and how directions are chosen and judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.checking.directions import Walk, strata
from gradlab.checking.entries import resolution_of
from gradlab.checking.kinks import (
    FACTORS,
    _lies_between,
    _offsets,
    _telling_directions,
    allows,
    between_jumps,
)
from gradlab.checking.result import Entry, Verdict
from gradlab.gradients.slopes import Bar, Slope
from gradlab.gradients.surface import Surface

SMOOTH = Slope(2.0, 0.5, "smooth")
KINK = Slope(0.5, 0.5, "kink", Bar(0.0, 0.01), Bar(1.0, 0.02))


@pytest.mark.parametrize(
    ("found", "claimed", "allowed"),
    [
        (SMOOTH, 2.55, True), (SMOOTH, 2.65, False), (SMOOTH, 1.45, True), (SMOOTH, 1.35, False),
        (KINK, -0.1, True), (KINK, -0.12, False), (KINK, 1.11, True), (KINK, 1.13, False),
        (KINK, 0.5, True), (KINK, np.nan, False),
    ],
)  # fmt: skip
def test_a_slope_allows_claims_within_its_range(
    found: Slope, claimed: float, allowed: bool
) -> None:
    assert allows(found, claimed, roundoff=0.1) is allowed


@pytest.mark.parametrize(
    ("bars", "claimed", "between"),
    [
        ([Bar(0.0, 1e-6), Bar(1.0, 1e-6)], 0.5, True),
        ([Bar(0.0, 1e-6), Bar(1.0, 1e-6)], 1.0, True),
        ([Bar(0.0, 1e-6), Bar(1.0, 1e-6)], 1.1, False),
        ([Bar(0.0, 1e-6), Bar(1.0, 1e-6)], -0.1, False),
        ([Bar(0.5, 1e-6)], 0.5, False),  # there is only one slope
        ([Bar(0.5, 1e-6), Bar(np.nan, np.inf)], 0.5, False),
        ([Bar(0.5, 1e-3), Bar(0.55, 1e-3)], 0.52, False),  # 50 error bars apart
        ([Bar(0.5, 1e-3), Bar(0.7, 1e-3)], 0.52, True),  # 200 of them
        ([Bar(0.5, 1e-3), Bar(0.9, 1e-6), Bar(0.7, 1e-3)], 0.89, True),
    ],
)
def test_a_claim_lies_between_two_slopes_that_are_certainly_different(
    bars: list[Bar], claimed: float, between: bool
) -> None:
    assert _lies_between(bars, claimed, roundoff=0.0, drift=0.0) is between


def test_round_off_and_drift_widen_the_range_between_slopes() -> None:
    bars = [Bar(0.0, 0.0), Bar(1.0, 0.0)]
    assert not _lies_between(bars, 1.004, 0.0, 0.0)
    assert _lies_between(bars, 1.004, 0.005, 0.0)
    assert _lies_between(bars, 1.004, 0.0, 0.005)
    assert not _lies_between(bars, 0.5, 0.02, 0.0)  # then the two may be one slope


def test_offsets_try_extremes_then_single_entries_then_random_ones() -> None:
    scales, pull = np.array([1.0, 2.0]), np.array([3.0, -4.0])
    rng = np.random.default_rng(0)
    found = [offset.tolist() for offset in _offsets(scales, pull, rng)]
    assert found[:6] == [[3, -4], [-3, 4], [1, -2], [-1, 2], [1, 2], [-1, -2]]
    assert found[6:10] == [[1, 0], [-1, 0], [0, 2], [0, -2]]
    assert len(found) == 10 + 8
    random = np.abs(np.array(found[10:]) / scales)
    assert ((random >= 0.5) & (random <= 1)).all()
    assert len(list(_offsets(np.ones(1), np.ones(1), rng))) == 6
    assert len(list(_offsets(np.ones(9), np.ones(9), rng))) == 6 + 8  # too many single ones


def test_directions_begin_with_the_one_towards_the_claim() -> None:
    scales, off = np.array([1.0, 2.0]), np.array([0.5, 1.0])
    rng = np.random.default_rng(0)
    first, second, *others = _telling_directions(scales, off, rng)
    # The distance in units of the scales is off · scale²; the longest is 2 · 2.
    assert first.tolist() == [0.25, 2.0]
    assert second.tolist() == scales.tolist()
    assert len(others) == 8
    assert len(list(_telling_directions(scales, 0 * off, rng))) == 9
    assert np.all(np.isin(np.array(others) / scales, FACTORS))


def test_random_numbers_of_few_bits() -> None:
    assert sorted(FACTORS.tolist()) == [
        *(-k / 16 for k in range(16, 7, -1)), *(k / 16 for k in range(8, 17))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("at", "enough", "found"),
    [(0.1, 1e-3, True), (0.1, 1e-15, False), (1e-4, 1e-3, True)],
)
def test_the_slope_between_jumps(at: float, enough: float, found: bool) -> None:
    """A small neighbourhood has no jump; its slope counts if its bar is narrow enough."""
    surface = Surface(lambda x: 1 + 2 * (x[0] + x[1]) + (x[0] > 0.5 + at), np.array([0.5, 0.25]))
    near = between_jumps(surface, np.arange(2), np.array([1.0, 0.5]), 52, enough)
    assert (near is not None) is found
    if near is not None:
        assert abs(near.value - 3.0) <= near.error <= enough


# Directions


def walk(claimed: float = 2.0, kind: Any = "smooth", valid: bool = False) -> Walk:
    found = Slope(2.0, 0.25, kind, Bar(1.0, 0.1), Bar(3.0, 0.1))
    return Walk(np.arange(3), np.ones(3), claimed, found, roundoff=0.25, size=4.0, valid=valid)


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (walk(), "agree"), (walk(2.4), "agree"), (walk(2.6), "mismatch"),
        (walk(np.nan), "mismatch"), (walk(kind="singular"), "inconclusive"),
        (walk(9.0, "unresolved"), "inconclusive"), (walk(3.3, "kink"), "kink"),
        (walk(3.4, "kink"), "mismatch"), (walk(9.0, "kink", valid=True), "kink"),
        (walk(9.0, valid=True), "agree"),
    ],
)  # fmt: skip
def test_the_verdict_along_a_direction(made: Walk, verdict: Verdict) -> None:
    assert made.verdict == verdict
    assert made.fails == (verdict == "mismatch")


def test_a_direction_tolerates_both_errors() -> None:
    assert walk().tolerance == 0.5
    assert walk(3.0).excess == 2.0


def test_strata_are_entries_of_similar_size() -> None:
    """The limits are 1e-2, 1e-4 and 1e-6 of the largest entry; smaller entries and zeros follow."""
    values = [1.0, -0.02, 0.005, 2e-4, 5e-5, 2e-6, 5e-7, 0.0, np.inf]
    made: Any = type("Claimed", (), {"values": np.array([9.0, *values])})()
    found = [group.tolist() for group in strata(made, slice(1, 10))]
    assert found == [[1, 2], [3, 4], [5, 6], [7], [8, 9]]


def test_entries_of_zero_do_not_affect_the_resolution() -> None:
    def entry(size: float, tolerance: float, verdict: Verdict = "agree") -> Entry:
        return Entry("w", (), size, 0.0, tolerance, tolerance, verdict)

    some = [entry(1.0, 0.1), entry(2.0, 0.6), entry(10.0, 2.0), entry(0.0, 9.0)]
    assert resolution_of(some) == pytest.approx(0.2)
    assert resolution_of([*some, entry(1.0, 50.0, "kink")] * 3) == pytest.approx(0.2)
    assert resolution_of([entry(0.0, 1.0), entry(np.inf, 1.0)]) == 0.0
