"""Numerical derivatives with an error bar for each.

Each entry of the parameters is perturbed by a ladder of steps (`gradlab.gradients.slopes`). The
truncation error is estimated from the extrapolation, and the round-off error from the noise of the
function, so that no step and no tolerance has to be chosen. All outputs share the evaluations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.derivatives.functions import Function, Point, evaluated, outputs_of
from gradlab.derivatives.lines import Field, Line
from gradlab.derivatives.maps import hung_blocks
from gradlab.derivatives.measuring import ladder
from gradlab.derivatives.reverse import joined
from gradlab.errors import LossError
from gradlab.gradients.error_bars import Estimate, slope_of_entry
from gradlab.gradients.surface import Surface
from gradlab.params import Array, flatten, leaves_like


def derivative_with_error(
    function: Function, params: Any, *args: Any, dtype: DTypeLike | None = None
) -> Estimate:
    """Differentiate a function numerically, with an error bar for each entry.

    Parameters
    ----------
    function : callable
        ``f(params, *args) -> outputs``: a loss, or a function with many outputs.
    params, *args
        The point; see `gradlab.jacobian`.
    dtype : dtype, optional
        Dtype of the parameters that the function gets; by default float64.

    Returns
    -------
    Estimate
        Value and error of each entry: in the structure of the parameters for a loss, and in that of
        a Jacobian for other functions.

    Raises
    ------
    ParameterError, LossError, NonFiniteError
        For parameters and outputs that are not arrays of finite real numbers.

    Notes
    -----
    An entry of the parameters takes about 14 evaluations if the function is smooth on the scale of
    the entry, and up to about 200 if an output is noisy, kinked or steep. See
    `gradlab.gradients.slopes` for the method.

    Examples
    --------
    >>> value, error = derivative_with_error(np.exp, 1.0)
    >>> bool(abs(value - np.e) <= error), bool(error < 1e-10)
    (True, True)

    A loss in single precision has wider bars:

    >>> value, error = derivative_with_error(lambda x: np.exp(np.float32(x)), 1.0)
    >>> bool(abs(value - np.e) <= error), bool(1e-6 < error < 1e-2)
    (True, True)

    A function with many outputs:

    >>> value, error = derivative_with_error(lambda x: np.stack([x**2, x**3]), 2.0)
    >>> value.round(8), bool((error < 1e-8).all())
    (array([ 4., 12.]), True)
    """
    try:
        return _of_loss(Surface(function, params, args, dtype))
    except LossError:
        at = _many_outputs(function, params, args)
        if at is None:
            raise
    where = Field(function, at, dtype)
    value, error = np.empty((2, len(where.centre), at.size))
    with where.restoring():
        noise = repeat_difference(where)
        for j in range(at.size):
            line = where.along_entries(np.array([j]), where.scales)
            value[:, j], error[:, j] = _bars(line, noise) / where.scales[j]
    return Estimate(hung_blocks(value, at, np.float64), hung_blocks(error, at, np.float64))


def _of_loss(surface: Surface) -> Estimate:
    slopes = [slope_of_entry(surface, i, "wide") for i in range(surface.size)]
    for i, found in enumerate(slopes):  # the rounding seen at later entries holds for all
        if found.noise < surface.rounding / 2 and found.kind != "kink":
            slopes[i] = slope_of_entry(surface, i, "wide")
    surface.restore()
    value, error = ([getattr(s, part) for s in slopes] for part in ("value", "error"))
    return Estimate(
        surface.unravel(np.array(value, float)), surface.unravel(np.array(error, float))
    )


def _many_outputs(function: Function, params: Any, args: tuple[Any, ...]) -> Point | None:
    """Return the point and the outputs, or None if the function returns one number or no arrays."""
    leaves, structure = flatten(params)
    try:
        outputs = outputs_of(evaluated(function, params, args))
    except Exception:
        return None
    is_loss = len(outputs.vector) == 1 and outputs.structure.template == 0
    return None if is_loss else Point(function, params, args, leaves, structure, outputs)


def jvp_with_error(
    function: Function,
    params: Any,
    args: Sequence[Any],
    tangent: Any,
    dtype: DTypeLike | None = None,
) -> Estimate:
    """Return the slope of each output along a direction, with its error bar.

    The tangent has the structure and shapes of the parameters, the result those of the outputs. The
    function gets parameters of the given dtype, by default float64.

    Examples
    --------
    >>> x = np.array([2.0, 3.0])
    >>> value, error = jvp_with_error(lambda x: x**2, x, (), np.array([1.0, 10.0]))
    >>> value.round(8), bool((error < 1e-8).all())
    (array([ 4., 60.]), True)
    """
    leaves, structure = flatten(params)
    outputs = outputs_of(evaluated(function, params, args))
    at = Point(function, params, tuple(args), leaves, structure, outputs)
    where = Field(function, at, dtype)
    line, unit = where.along(joined(leaves_like(params, tangent, "the tangent")))
    with where.restoring():
        value, error = _bars(line, repeat_difference(where)) / unit
    return Estimate(outputs.unravel(value), outputs.unravel(error))


def repeat_difference(where: Field) -> Array:
    """Return the difference of each output between two evaluations at the same parameters."""
    apart: Array = np.abs(where.evaluate().vector - where.centre)
    return apart


def _bars(line: Line, noise: Array) -> Array:
    """Return slopes and error bars of all outputs along a line, shape (2, m), by t."""
    if not np.any(line.step):
        return np.zeros((2, len(noise)))
    found = [ladder(line, k, noise=float(noise[k])) for k in range(len(noise))]
    return np.array([[s.value for s in found], [s.error for s in found]], float).reshape(2, -1)
