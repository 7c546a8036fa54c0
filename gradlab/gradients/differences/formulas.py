"""Finite differences: the gradient from values of the loss only, one entry at a time.

With a step h, for each of the p entries of the parameters (e is its unit vector)::

    forward    D₁ = (f(x + h e) - f(x))       / h      p + 2 evaluations    error ~ h/2 f''
    central    D₂ = (f(x + h e) - f(x - h e)) / (2 h)  2 p + 1 evaluations  error ~ h²/6 f'''
    central4   (4 D₂(h) - D₂(2 h)) / 3                 4 p + 1 evaluations  error ~ h⁴/30 f⁽⁵⁾

Round-off adds about ε|f|/h (forward: twice that) to each error, so that smaller steps are not
always better. If f, its derivatives and x are of order 1, the sum is smallest near h = ε^(1/(q+1)),
where the error is of order h^q: Dennis & Schnabel, *Numerical Methods for Unconstrained
Optimization*, 1983, section 5.4; Press et al., *Numerical Recipes*, 3rd ed., section 5.7. The
fourth order is the quotient of five points (Abramowitz & Stegun, *Handbook of Mathematical
Functions*, 1964, 25.3.6), written as one step of Richardson's extrapolation.

There are three deviations from the textbook formula. The default step is scaled to each entry,
h max(1, |x|), and rounded to a power of two, so that x ± h is exact for nearly all x. The divisor
is the distance of the two points after rounding, which is right for the remaining x. The loss is
evaluated in float64 even if the parameters are float32 or integers.

The forward difference has no bend that could show whether its step suits the loss. Instead, its
gradient is compared with the loss at one more point, along a random direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from gradlab.gradients.differences.closer import roundoff, value_beside
from gradlab.gradients.differences.difference import FiniteDifference
from gradlab.gradients.probing import COMPARISON_DISTANCE, CoarseLoss, Probe
from gradlab.params import Array

MAX_PREDICTION_ERROR = 2.0**-6
"""Relative error of a predicted change above which the gradient is in doubt."""


@dataclass(frozen=True)
class ForwardDifference(FiniteDifference):
    """The one-sided difference quotient: error ~ h, one evaluation per entry.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry, or a structure like the parameters with a number
        for each leaf or for each entry. By default √ε scaled to each entry:
        1.5e-8 max(1, |x|) or the power of two nearest to it.
    dtype, evaluation, workers, timeout, resume, incremental, threads : optional
        The floating-point type in which the loss is evaluated, float64 by default, and how: see
        `Numerical`.

    Examples
    --------
    >>> import numpy as np
    >>> f = ForwardDifference().value_and_grad(lambda x: np.sum(x**2))
    >>> value, grads = f(np.array([3.0, 4.0]))
    >>> value, grads.round(6)
    (25.0, array([6., 8.]))
    """

    name = "forward"
    points: ClassVar[int] = 1
    extra_evaluations: ClassVar[int] = 2
    order: ClassVar[int] = 1

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return (f(x + h) - f(x)) / h; there is no bend."""
        return (f(x + h) - centre) / ((x + h) - x), 0.0

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes from a recording; there are no bends."""
        assert probe.recorded is not None
        found = probe.recorded.changes(leaf, [h])
        if found is None:
            return None
        slopes = found[0][0] / found[1][0]
        return slopes, np.zeros_like(slopes)

    def confirm(self, probe: Probe, gradients: Sequence[Array]) -> None:
        """Compare the change of the loss along a random direction with the gradient's prediction.

        A recording needs no comparison: it has already been compared with the loss.
        """
        if not probe.looped:
            return None
        predicted = size = 0.0
        for g, d in zip(gradients, probe.direction, strict=True):
            g = g * d
            predicted += float(g.sum())
            size = float(np.hypot(size, np.linalg.norm(g)))
            del g
        allowed = MAX_PREDICTION_ERROR * size + float(
            roundoff(probe, COMPARISON_DISTANCE, predicted)
        )
        above = value_beside(probe, probe.direction, COMPARISON_DISTANCE)
        if above is None:
            return probe.require_steady()
        rise = float(above - probe.value) / COMPARISON_DISTANCE
        if abs(rise - predicted) <= allowed or not np.isfinite(size):
            return None
        below = value_beside(probe, probe.direction, -COMPARISON_DISTANCE)
        fall = rise if below is None else float(probe.value - below) / COMPARISON_DISTANCE
        if abs((rise + fall) / 2 - predicted) <= allowed:
            return None
        probe.look_into()
        if probe.given_steps is None and not probe.closely:
            raise CoarseLoss(probe.precision, closely=True)
        return None


@dataclass(frozen=True)
class CentralDifference(FiniteDifference):
    """The symmetric difference quotient: error ~ h², two evaluations per entry.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry (the notebook's was 1e-4), or a structure like the
        parameters with a number for each leaf or for each entry. By default ∛ε scaled to each
        entry: 7.6e-6 max(1, |x|) or the power of two nearest to it, and less where the loss
        varies faster.
    dtype, evaluation, workers, timeout, resume, incremental, threads : optional
        The floating-point type in which the loss is evaluated, float64 by default, and how: see
        `Numerical`.

    Examples
    --------
    >>> import numpy as np
    >>> f = CentralDifference(step=1e-4).value_and_grad(lambda x: np.sum(x**2))
    >>> value, grads = f(np.array([3.0, 4.0]))
    >>> value, grads.round(9)
    (25.0, array([6., 8.]))
    """

    name = "central"
    points: ClassVar[int] = 2

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return (f(x + h) - f(x - h)) / 2h, and the bend."""
        return symmetric_quotient(f, x, h, centre)

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes and bends from a recording."""
        return symmetric_by_recording(probe, leaf, h)


@dataclass(frozen=True)
class CentralDifference4(FiniteDifference):
    """The symmetric difference of fourth order: error ~ h⁴, four evaluations per entry.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry, or a structure like the parameters with a number
        for each leaf or for each entry; the loss is evaluated up to twice as far away. By default
        ε^(1/5) scaled to each entry: 9.8e-4 max(1, |x|), rounded to a power of two, and less where
        the loss varies faster.
    dtype, evaluation, workers, timeout, resume, incremental, threads : optional
        The floating-point type in which the loss is evaluated, float64 by default, and how: see
        `Numerical`.

    Examples
    --------
    >>> import numpy as np
    >>> f = CentralDifference4(step=0.25).value_and_grad(lambda x: np.sum(x**4))
    >>> f(np.array([3.0, 4.0]))  # exact up to the fourth power
    (337.0, array([108., 256.]))
    """

    name = "central4"
    points: ClassVar[int] = 4
    order: ClassVar[int] = 4
    max_bend: ClassVar[float] = 2.0**-15

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return (8 f(x + h) - 8 f(x - h) - f(x + 2h) + f(x - 2h)) / 12h, and the bend.

        The bend is a fourth difference, computed from the bends of both steps: these are
        proportional to their steps if the loss is smooth.
        """
        near, bend = symmetric_quotient(f, x, h, centre)
        far, wide = symmetric_quotient(f, x, 2 * h, centre)
        return near + (near - far) / 3, wide - 2 * bend

    def _limit(self, probe: Probe) -> float:
        return max(self.max_bend, min(float(8 * probe.precision ** (1 / 5)) ** 3, 0.25))

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes and bends from a recording."""
        near = symmetric_by_recording(probe, leaf, h)
        far = None if near is None else symmetric_by_recording(probe, leaf, 2 * h)
        if near is None or far is None:
            return None
        return near[0] + (near[0] - far[0]) / 3, far[1] - 2 * near[1]


def symmetric_quotient(f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
    """Return the slope over x ± h, and half the difference of the one-sided slopes.

    Examples
    --------
    >>> symmetric_quotient(lambda x: x**2, 3.0, 0.5, 9.0)
    (6.0, 0.5)
    """
    above, below = f(x + h), f(x - h)
    width = (x + h) - (x - h)
    return (above - below) / width, ((above - centre) - (centre - below)) / width


def symmetric_by_recording(probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
    """Return the same for each entry of a leaf, from a recording of the loss."""
    assert probe.recorded is not None
    found = probe.recorded.changes(leaf, [h, -h])
    if found is None:
        return None
    (rise, fall), (ahead, back) = found
    width = ahead - back
    return (rise - fall) / width, (rise + fall) / width
