"""One direction through many entries: the claimed and the measured slope along it.

A claim fails if it differs from the measured slope by more than the error bars; `bisect` then finds
the wrong entries. This search serves gradients of losses (`directions`) and large Jacobians
(`jacobian_directions`).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from gradlab.checking.entries import (
    CERTAIN_MISMATCH_RATIO,
    NEGLIGIBLE_TOLERANCE,
    RESOLVED_TOLERANCE,
)
from gradlab.checking.kinks import DISTINCT_BARS, allows, between_jumps, is_limit
from gradlab.checking.result import Verdict
from gradlab.gradients.slopes import Slope
from gradlab.gradients.surface import Surface
from gradlab.params import Array

EVALUATIONS_PER_LEVEL = 100
"""Largest number of evaluations of a search, divided by 10 + log₂(entries)."""


class ClaimedSlope(NamedTuple):
    """A claimed slope along a direction."""

    claimed: float
    size: float  # its expected size, given the sizes of the claimed entries
    # Its round-off: a constant, and a part in proportion to the second derivative.
    floor: float
    bend: float


@dataclass(frozen=True)
class Walk:
    """A direction along which a function was measured."""

    # The perturbed entries, and their perturbations at t = 1.
    entries: Array
    direction: Array
    claimed: float  # the slope along the direction by the derivative under test
    measured: Slope
    roundoff: float  # the round-off of the claimed value, from its dtype
    # The expected slope along a random direction, given the sizes of the claimed entries.
    size: float
    # Whether the claimed slope is a limit of slopes at nearby points, although it lies outside of
    # the slopes of both sides.
    valid: bool = False

    @property
    def tolerance(self) -> float:
        """Largest difference between the two values that is not a mismatch."""
        return self.measured.error + self.roundoff

    @property
    def verdict(self) -> Verdict:
        """The verdict on the entries under the direction."""
        if not np.isfinite(self.claimed):
            return "mismatch"
        if self.measured.kind in ("singular", "unresolved"):
            return "inconclusive"
        if not (self.valid or allows(self.measured, self.claimed, self.roundoff)):
            return "mismatch"
        return "kink" if self.measured.kind == "kink" else "agree"

    @property
    def fails(self) -> bool:
        """Whether the derivative under test is wrong along the direction."""
        return self.verdict == "mismatch"

    @property
    def resolves(self) -> bool:
        """Whether an error as large as the slope itself would be detected."""
        return self.tolerance <= RESOLVED_TOLERANCE * max(self.size, abs(self.measured.value))

    @property
    def excess(self) -> float:
        """The difference between the two values in units of the tolerance."""
        gap = abs(self.claimed - self.measured.value)
        return float(gap / self.tolerance) if self.tolerance else float("inf")


def walk_along(
    surface: Surface,
    entries: Array,
    direction: Array,
    claim: ClaimedSlope,
    rng: np.random.Generator,
    bits: int,
) -> Walk:
    """Compare a claim with the slope of a surface along one direction.

    The values of the function have `bits` of precision. `rng` draws points near a kink.
    """
    line = surface.along(entries, direction)

    def compared(measured: Slope) -> Walk:
        roundoff = claim.floor + claim.bend * measured.curvature
        found = Walk(entries, direction, claim.claimed, measured, roundoff, claim.size)
        if found.fails and measured.kind == "kink":
            pull = np.ones(len(entries))
            if is_limit(surface, entries, pull, entries, direction, found.claimed, roundoff, rng):
                return replace(found, valid=True)
        return found

    def beside(enough: float) -> Walk | None:
        piece = between_jumps(surface, entries, direction, bits, enough)
        return compared(piece) if piece else None

    if surface.rounding:
        found = beside(NEGLIGIBLE_TOLERANCE * claim.size)
        if found and not found.fails:
            return found
    found = compared(surface.slope(line))
    if found.fails and found.excess < CERTAIN_MISMATCH_RATIO:
        found = compared(surface.slope(line, effort="thorough"))
    if found.resolves and not (found.fails and surface.rounding):
        return found
    size = max(found.size, abs(found.measured.value))
    between = beside(min(NEGLIGIBLE_TOLERANCE * size, found.measured.error / DISTINCT_BARS))
    # If the error bar across jumps resolves nothing, the slope between the jumps decides.
    return found if between is None or (between.fails and found.resolves) else between


W = TypeVar("W", bound=Walk)


def bisect(
    failed: W,
    halves: Callable[[W], tuple[W, ...]],
    evaluations: Callable[[], int],
    size: int,
    most: int,
) -> tuple[list[W], bool]:
    """Bisect a failed walk down to indivisible walks that fail, at most `most` of them.

    ``halves(walk)`` measures both halves of a walk, and returns () if it is indivisible.
    ``evaluations()`` is the number of evaluations so far, which `size`, the number of entries,
    limits. Also tell whether every failed walk was divided down to indivisible ones.
    """
    found: list[W] = []
    queue: list[tuple[float, int, W]] = [(-failed.excess, 0, failed)]
    limit = evaluations() + EVALUATIONS_PER_LEVEL * (10 + int(np.log2(size)))
    lost, order = False, 1
    while queue and len(found) < most and evaluations() < limit:
        node = heapq.heappop(queue)[2]
        parts = halves(node)
        if not parts:
            found.append(node)
            continue
        failing = [part for part in parts if part.fails]
        for part in failing:
            heapq.heappush(queue, (-part.excess, order, part))
            order += 1
        lost = lost or not failing  # the error in either half is within the error bars
    return found, not queue and not lost
