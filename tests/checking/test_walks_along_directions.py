"""The claim and the measurement along one direction: effort, precision, and which values count."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.checking import walks
from gradlab.checking.jacobian_directions import Search
from gradlab.checking.walks import ClaimedSlope, Walk, walk_along
from gradlab.gradients.slopes import Slope
from gradlab.gradients.surface import Surface


def walked(loss: Any, direction: list[float], claimed: float, x: Any = None) -> Walk:
    start = np.zeros(len(direction)) if x is None else x
    entries = np.arange(len(direction))
    claim = ClaimedSlope(claimed, size=1.0, floor=0.0, bend=0.0)
    rng = np.random.default_rng(0)
    surface = Surface(loss, start)
    return walk_along(surface, entries, np.array(direction), claim, rng, 52)


@pytest.mark.parametrize(
    ("claimed", "verdict"), [(0.0, "kink"), (-2.9, "kink"), (3.1, "mismatch"), (-9.0, "mismatch")]
)
def test_a_claim_beyond_all_slopes_at_a_kink_fails(claimed: float, verdict: str) -> None:
    """The slopes of |x| + |y| + |z| along (1, 1, 1) lie between -3 and 3, at 0 and nearby."""
    found = walked(lambda x: np.abs(x).sum(), [1.0, 1.0, 1.0], claimed)
    assert (found.verdict, found.valid) == (verdict, False)


@pytest.mark.parametrize(("claimed", "verdict"), [(-0.9, "kink"), (-1.1, "mismatch")])
def test_a_claim_that_is_a_slope_nearby_is_valid(claimed: float, verdict: str) -> None:
    """The slopes along (0, 1, 1) are 0 and 2 at 0; where x < 0, they are those of |z|."""

    def loss(x: Any) -> Any:
        return np.maximum(x[0] + x[1], 0) - np.maximum(x[0] - x[1], 0) + np.abs(x[2])

    found = walked(loss, [0.0, 1.0, 1.0], claimed)
    assert (found.verdict, found.valid) == (verdict, verdict == "kink")


class Measured:
    """A surface whose slope is known, which counts the measurements."""

    rounding = 0.0

    def __init__(self, *found: Slope) -> None:
        self.found, self.efforts = list(found), list[str]()

    def along(self, entries: Any, direction: Any) -> Any:
        return None

    def slope(self, line: Any, effort: str = "usual") -> Slope:
        self.efforts.append(effort)
        return self.found.pop(0)


def measured(surface: Any, claimed: float, size: float = 1.0, roundoff: float = 0.0) -> Walk:
    claim = ClaimedSlope(claimed, size, roundoff, 0.0)
    rng = np.random.default_rng(0)
    return walk_along(surface, np.arange(2), np.ones(2), claim, rng, 52)


@pytest.mark.parametrize(
    ("claimed", "efforts"),
    [
        (2.0, ["usual"]),
        (2.01, ["usual", "thorough"]),
        (2.99, ["usual", "thorough"]),  # just below a thousand error bars
        (3.01, ["usual"]),
    ],
)
def test_a_failure_that_is_not_blatant_is_measured_again(
    claimed: float, efforts: list[str]
) -> None:
    surface = Measured(Slope(2.0, 1e-3, "smooth"), Slope(2.0, 1e-4, "smooth"))
    found = measured(surface, claimed)
    assert surface.efforts == efforts
    assert found.fails == (claimed != 2.0)
    assert found.measured.error == (1e-4 if len(efforts) > 1 else 1e-3)


@pytest.mark.parametrize(
    ("error", "roundoff", "enough"), [(5.0, 0.0, 2e-3), (0.01, 5.0, 1e-4), (20.0, 0.0, 2e-3)]
)
def test_a_slope_between_jumps_is_used_if_it_is_narrow_enough(
    monkeypatch: pytest.MonkeyPatch, error: float, roundoff: float, enough: float
) -> None:
    """The limits are a thousandth of the slope, and a hundredth of the bar across the jumps."""
    asked: list[float] = []

    def between(*arguments: Any) -> Slope | None:
        asked.append(arguments[-1])
        return Slope(2.5, 1e-5, "smooth") if len(asked) == 1 else None

    monkeypatch.setattr(walks, "between_jumps", between)
    surface = Measured(Slope(2.0, error, "smooth"), Slope(2.0, error, "smooth"))
    found = measured(surface, 2.0, 1.0, roundoff)
    assert asked == [pytest.approx(enough)]
    assert found.measured.value == 2.5
    assert measured(surface, 2.0, 1.0, roundoff).measured.value == 2.0  # nothing between jumps


def test_a_resolved_agreement_does_not_look_between_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "between_jumps", None)
    assert not measured(Measured(Slope(2.0, 0.9, "smooth")), 2.0).fails


def test_weights_make_all_outputs_change_equally() -> None:
    """The changes are equal to a factor of 4; no weight exceeds 1e12 times the usual one."""
    moved = np.array([4e6, 1e6, 1e6, 1e-9, 0.0])
    search: Any = SimpleNamespace(
        changes=lambda entries, direction: moved, rng=np.random.default_rng(0)
    )
    some = np.arange(5)
    weights = np.abs(Search.weights(search, some, np.arange(2), np.ones(2)))
    shares = weights * [4e6, 1e6, 1e6, 1e-6, 1e6]
    assert ((shares >= 0.5) & (shares < 2)).all()
    moved[:] = 0.0
    weights = np.abs(Search.weights(search, some, np.arange(2), np.ones(2)))
    assert ((weights >= 0.5) & (weights <= 1)).all()
