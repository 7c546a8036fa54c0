"""The claimed and the measured slope of one entry, before the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from gradlab.gradients.slopes import Slope


@dataclass(frozen=True)
class Finding:
    """An entry with its claimed and measured slopes."""

    number: int  # the position of the entry in `Surface.x`
    slope: Slope
    analytic: float
    roundoff: float  # the round-off of the claimed value, from its dtype

    @property
    def tolerance(self) -> float:
        """Largest difference between the two values that is not a mismatch."""
        return self.slope.error + self.roundoff

    @property
    def noise(self) -> float:
        """The noise of the loss along the entry; 0 at a kink, which looks like noise."""
        return 0.0 if self.slope.kind == "kink" else self.slope.noise

    @property
    def apart(self) -> bool:
        """Whether the values differ by more than the tolerance, and the loss has one slope here."""
        one_slope = self.slope.kind in ("smooth", "flat", "edge")
        return one_slope and not abs(self.analytic - self.slope.value) <= self.tolerance

    @property
    def between_jumps(self) -> bool:
        """Whether the claim equals the slope between the jumps nearest to the point."""
        value, error = self.slope.piece
        return bool(abs(self.analytic - value) <= error + self.roundoff)
