"""Measure an entry again, with smaller steps, if its first slope is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.errors import LossError, NonFiniteError
from gradlab.gradients.differences.steps import MAX_STEP_REDUCTIONS, STEP_REDUCTION, finer_steps
from gradlab.gradients.probing import EntryLine, Probe, Quotient
from gradlab.params import Array

EVALUATION_ROUNDINGS = 8.0
"""Assumed error of an evaluation, in units of the loss's precision."""


def roundoff(probe: Probe, h: Any, slope: Any) -> Any:
    """Bound the round-off of a difference quotient over the step h."""
    size = abs(float(probe.value))
    return EVALUATION_ROUNDINGS * probe.precision * (size / h + np.abs(slope))


def value_beside(probe: Probe, direction: Sequence[Array], t: float) -> Any:
    """Return the loss at a point near the parameters; None if it has no value there."""
    with np.errstate(all="ignore"):
        try:
            return probe.along(direction, t)
        except Exception:
            return None


def slope_inside_domain(method: Quotient, probe: Probe, f: EntryLine, x: Any, h: Any) -> Any:
    """Return the slope along an entry for which the loss has no value at the distance h.

    Raise a NonFiniteError if it has no value on both sides at smaller distances, either.
    """
    finer = h
    for _ in range(MAX_STEP_REDUCTIONS):
        finer = finer / STEP_REDUCTION
        if not x - finer < x < x + finer:
            break
        try:
            slope, bend = method.quotient(f, x, finer, probe.value)
        except NonFiniteError:
            continue
        return look_closer(method, probe, f, x, finer, slope, abs(bend))
    return method.quotient(f, x, h, probe.value)[0]  # raises the error


def is_level(f: EntryLine, x: Any, h: Any, centre: Any, error: Any) -> bool:
    """Tell whether a slope with this error is zero within its change over the step h.

    This is the case at the minimum of a sum of squares: the residuals cancel, their round-off is
    larger than the loss, and the slopes differ by more than `roundoff` allows. But the loss rises
    less steeply over smaller steps. A jump, a cusp or noise gets steeper over smaller steps.
    `centre` is f(x).
    """
    first, *finer = (abs(f(x + step) - centre) / step for step in (h, *finer_steps(x, h)))
    return bool(error <= first and max(finer) < first)


def look_closer(
    method: Quotient, probe: Probe, f: EntryLine, x: Any, h: Any, slope: Any, bend: Any
) -> Any:
    """Return the slope along an entry from steps that get smaller until two of them agree.

    Two slopes agree if they differ by no more than the round-off of both. The slope with the
    smallest error is returned. The error is the sum of its difference from the next finer slope,
    its round-off, and the excess of differences between finer slopes over their round-off. A first
    step that was good thus keeps its digits. If no two slopes agree, the differences between finer
    slopes count as noise in the values, as if residuals cancel. The error that this noise causes in
    a slope is inversely proportional to the step.

    `Probe.look_into` is called if the first smaller step does not agree. If no steps agree, a
    LossError is raised, unless the slope is zero within its error: see `is_level`.
    """
    slopes, errors, bends = [slope], [roundoff(probe, h, slope)], [bend]
    steps, gaps = [h], list[Any]()
    agreed = False
    for finer in finer_steps(x, h):
        slope, bend = method.quotient(f, x, finer, probe.value)
        slopes.append(slope)
        steps.append(finer)
        errors.append(roundoff(probe, finer, slope))
        bends.append(abs(bend))
        gaps.append(abs(slopes[-1] - slopes[-2]))
        # A growing bend means a spike or a jump at the entry: the slope is not close yet.
        grows = bends[-1] > max(4 * bends[-2], errors[-1])
        agreed = gaps[-1] <= errors[-2] + errors[-1] and not grows
        if agreed:
            break
        if len(gaps) == 1:
            probe.look_into()  # rounded values also agree if they do not resolve the steps
    best, least, beyond = slopes[0], np.inf, 0.0
    for k in reversed(range(len(gaps))):
        error = gaps[k] + errors[k] + (beyond if agreed else beyond / steps[k])
        if error < least:
            best, least = slopes[k], error
        excess = gaps[k] - errors[k] - errors[k + 1]
        beyond = max(beyond, excess if agreed else excess * steps[k + 1])
    is_lost = bool(gaps) and not agreed and least > abs(best)
    if is_lost and not is_level(f, x, h, probe.value, least):
        raise LossError(
            f"{method.name}: cannot resolve the slope of the loss at {f.name}: with steps from "
            f"{h:.0e} down, all slopes differ, such as {slopes[0]:.3g} and {slopes[-1]:.3g}; the "
            "loss jumps there, or is too noisy or too steep: give step=, or see "
            "gradlab.derivative_with_error"
        )
    return best
