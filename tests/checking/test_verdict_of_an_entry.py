"""The verdict on an entry, from its slope, the claim, and what the other entries show."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.checking.entries import (
    _are_both_zero,
    _between_jumps,
    _largest,
    _resolving_tolerance,
    _rounded_zero,
    _verdict,
    leaves_of,
    overall,
)
from gradlab.checking.kinks import Finding
from gradlab.checking.result import Entry, Verdict
from gradlab.gradients.slopes import Bar, Slope
from gradlab.gradients.slopes.result import NO_BAR


def surface(scales: Any = (1.0, 1.0, 1.0), value: float = 1.0, rounding: float = 0.0) -> Any:
    return SimpleNamespace(scales=np.array(scales), value=value, rounding=rounding)


def finding(claimed: float = 1.0, error: float = 1e-3, value: float = 1.0, **more: Any) -> Finding:
    settings: dict[str, Any] = {"kind": "smooth", "roundoff": 0.0, "number": 0} | more
    roundoff, number = settings.pop("roundoff"), settings.pop("number")
    return Finding(number, Slope(value, error, **settings), claimed, roundoff)


def verdict(f: Finding, remark: str = "", largest: float = 0.0, claimed: float = 1.0) -> str:
    return _verdict(surface(), f, remark, largest, claimed)[0]


def test_a_claim_is_compared_with_the_bar() -> None:
    assert verdict(finding()) == "agree"
    assert verdict(finding(1.0009)) == "agree"
    assert verdict(finding(1.0011)) == "mismatch"
    assert verdict(finding(1.0011, roundoff=2e-4)) == "agree"
    assert verdict(finding(1.1), remark="chosen nearby") == "kink"


@pytest.mark.parametrize("claimed", [np.nan, np.inf, -np.inf])
def test_a_claim_that_is_not_finite_is_a_mismatch(claimed: float) -> None:
    assert _verdict(surface(), finding(claimed), "", 0.0, 1.0) == (
        "mismatch", f"the gradient is {claimed}"
    )  # fmt: skip


def test_at_a_kink_a_remark_is_a_reason_against_the_choice() -> None:
    sides = {"left": Bar(0.0, 1e-9), "right": Bar(1.0, 1e-9)}
    kink = finding(0.5, value=0.5, error=0.5, kind="kink", **sides)
    assert _verdict(surface(), kink, "", 0.0, 1.0) == ("kink", "slopes 0 and 1")
    assert _verdict(surface(), kink, "why not", 0.0, 1.0) == (
        "mismatch", "slopes 0 and 1: why not"
    )  # fmt: skip
    assert verdict(finding(kind="singular")) == "inconclusive"
    assert verdict(finding(kind="unresolved")) == "inconclusive"
    assert _verdict(surface(), finding(kind="edge"), "", 0.0, 1.0)[1] == "values on one side only"


def test_an_entry_is_resolved_by_half_of_its_size() -> None:
    assert verdict(finding(error=0.49)) == "agree"
    assert verdict(finding(error=0.51)) == "inconclusive"
    assert verdict(finding(1.4, error=0.69)) == "agree"  # of the larger of both values
    assert verdict(finding(error=0.51), remark="between jumps") == "agree"


def test_an_entry_is_resolved_by_a_tenth_if_the_loss_jumps() -> None:
    jumping = {"piece": Bar(1.0, 1e-6)}
    assert verdict(finding(error=0.09, **jumping)) == "agree"
    assert verdict(finding(error=0.11, **jumping)) == "inconclusive"


def test_an_entry_is_resolved_by_a_thousandth_of_slopes_nearby_or_of_the_largest_entry() -> None:
    f = finding(error=9.0)
    assert _resolving_tolerance(surface(), f, 0.0) == 0.5
    assert _resolving_tolerance(surface(), finding(error=9.0, nearby=1e4), 0.0) == pytest.approx(
        10.0
    )
    assert _resolving_tolerance(surface(), f, 1e4) == pytest.approx(10.0)
    assert _resolving_tolerance(surface([4.0]), f, 1e4) == pytest.approx(
        2.5
    )  # per unit of this entry


def test_a_claim_of_zero_agrees_if_the_loss_shows_no_slope() -> None:
    """The limits are a billionth of the largest entry, and of the loss's round-off."""
    tiny = {"value": 0.0, "error": 1e-14, "noise": 1e-16}
    assert _are_both_zero(surface(), finding(0.9e-9, **tiny), 1.0)
    assert not _are_both_zero(surface(), finding(1.1e-9, **tiny), 1.0)
    assert _are_both_zero(surface([2.0]), finding(0.4e-9, **tiny), 1.0)
    assert not _are_both_zero(surface([2.0]), finding(0.6e-9, **tiny), 1.0)
    # A tolerance of a thousand round-offs is as fine as values allow.
    assert _are_both_zero(surface(), finding(0.0, error=0.9e-13, value=0.0, noise=1e-16), 1.0)
    assert not _are_both_zero(surface(), finding(0.0, error=1.1e-13, value=0.0, noise=1e-16), 1.0)
    # Noise above 1e-12 of the loss, or of 1, is not round-off.
    noisy = {"value": 0.0, "error": 1e-12}
    assert _are_both_zero(surface(), finding(0.0, noise=0.9e-12, **noisy), 1.0)
    assert not _are_both_zero(surface(), finding(0.0, noise=1.1e-12, **noisy), 1.0)
    assert _are_both_zero(surface(value=-10.0), finding(0.0, noise=9e-12, **noisy), 1.0)
    assert _are_both_zero(
        surface(), finding(0.0, error=1.0, value=0.0, noise=1.0, kind="flat"), 1.0
    )


def test_a_claim_of_round_off_counts_as_zero_if_the_loss_is_flat() -> None:
    flat = {"value": 0.0, "error": 1e-15, "kind": "flat"}
    assert _rounded_zero(surface(), finding(0.9e-12, **flat))
    assert not _rounded_zero(surface(), finding(1.1e-12, **flat))
    assert _rounded_zero(surface(value=100.0), finding(0.9e-10, **flat))
    assert not _rounded_zero(surface([2.0]), finding(0.6e-12, **flat))
    assert not _rounded_zero(surface(), finding(0.5e-12, value=0.0, error=1e-15))
    assert verdict(finding(0.9e-12, **flat)) == "agree"


def test_the_largest_entry_counts_by_what_it_changes() -> None:
    found = surface([1.0, 10.0, 100.0])
    assert _largest(found, [(0, 5.0), (1, -3.0), (2, 0.1)]) == 30.0
    assert _largest(found, [(0, np.inf), (1, np.nan), (2, 0.1)]) == pytest.approx(10.0)
    assert _largest(found, []) == 0.0


def jumping(number: int, claimed: float) -> Finding:
    return finding(claimed, error=0.1, value=2.0, piece=Bar(1.0, 1e-6), noise=1e-3, number=number)


def test_a_claim_between_jumps_counts_if_all_are_there() -> None:
    between, across = jumping(0, 1.0), jumping(1, 2.0)
    assert set(_between_jumps(surface(rounding=1e-3), [between])) == {0}
    assert _between_jumps(surface(rounding=1e-3), [between, across]) == {}
    smooth = finding(3.0, value=3.0, noise=1e-3, number=1)
    assert _between_jumps(surface(rounding=1e-3), [between, smooth]) == {}
    quiet = finding(3.0, value=3.0, noise=1e-5, number=1)  # the jumps are not in this entry
    assert set(_between_jumps(surface(rounding=1e-3), [between, quiet])) == {0}
    zero = finding(0.0, value=0.0, error=0.1, noise=1e-3, number=1)
    assert set(_between_jumps(surface(rounding=1e-3), [between, zero])) == {0}
    assert finding().slope.piece == NO_BAR


def entry(verdict: Verdict, tolerance: float = 1e-6, numerical: float = 1.0) -> Entry:
    return Entry("w", (0,), numerical, numerical, tolerance, tolerance, verdict)


def test_a_tenth_of_a_gradient_may_be_hidden() -> None:
    """The share is that of the entries' effects; unresolved entries decide otherwise."""
    seen = [entry("agree"), entry("agree")]
    assert overall(surface(), [*seen, entry("inconclusive", 0.9 * 0.1 * np.sqrt(2))]) == "agree"
    assert overall(surface(), [*seen, entry("inconclusive", 1.1 * 0.1 * np.sqrt(2))]) == (
        "inconclusive"
    )
    heavy = surface([1.0, 1.0, 10.0])
    assert overall(heavy, [*seen, entry("inconclusive", 0.02)]) == "inconclusive"
    assert overall(surface(), [*seen, entry("mismatch")]) == "mismatch"
    kink = [entry("kink"), entry("agree"), entry("inconclusive", 1e-3)]
    assert overall(surface(), kink) == "kink"


def test_a_leaf_has_the_worst_verdict_of_its_entries() -> None:
    made: Any = SimpleNamespace(
        structure=SimpleNamespace(paths=["w", "b"]), leaves=[np.ones((2, 1)), np.ones(3)]
    )
    first, second = leaves_of(made, [entry("agree"), entry("kink")])
    assert (first.path, first.shape, first.verdict, first.checked) == ("w", (2, 1), "kink", 2)
    assert (second.path, second.verdict, second.checked) == ("b", "agree", 0)
