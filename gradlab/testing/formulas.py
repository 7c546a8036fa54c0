"""The numerical methods whose error can be bounded: the points at which each evaluates the loss."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Formula:
    """The points and weights of a method, from which its error follows."""

    # Where it evaluates the loss, in steps from x; the centre comes first.
    points: tuple[int, ...] = (0,)
    # Their weights, and the places in `points` of their upper and lower ends.
    quotients: tuple[tuple[float, int, int], ...] = ()
    order: int = 0  # the order q of the truncation error, h^q; 0 if it has none
    guarded: bool = False  # whether it is extrapolation, held to this formula by its error estimate
    forward: bool = False  # whether the slopes are carried forward, as imaginary parts

    @property
    def terms(self) -> int:
        """The Taylor coefficients that are needed: up to the derivative of order q + 1."""
        return self.order + 2


_FOURTH = Formula((0, 1, -1, 2, -2), ((4 / 3, 1, 2), (-1 / 3, 3, 4)), order=4)

FORMULAS: dict[str, Formula] = {
    "forward": Formula((0, 1), ((1.0, 1, 0),), order=1),
    "central": Formula((0, 1, -1), ((1.0, 1, 2),), order=2),
    "central4": _FOURTH,
    "richardson": replace(_FOURTH, guarded=True),
    "complex-step": Formula(forward=True),
    "reverse": Formula(),
}
