"""Bounds on the error of a backend's gradient, derived from the loss itself."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import factorial
from operator import add
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike

from gradlab.errors import LossError, OptionError
from gradlab.gradients.differences.complex_step import DEFAULT_STEP
from gradlab.gradients.differences.richardson import ERROR_MARGIN, ladder
from gradlab.gradients.differences.steps import steps
from gradlab.gradients.protocol import Loss
from gradlab.params import Array, flatten, floating
from gradlab.testing.ray_context import FORMULAS, RayContext
from gradlab.testing.ray_rules import RAY_NAMESPACE
from gradlab.testing.rays import Ray, along, constant

Method: TypeAlias = Literal[
    "central", "central4", "complex-step", "forward", "reverse", "richardson"
]

COORDINATES_PER_CHUNK = 256
"""Number of coordinates that pass through the loss together; more would be faster and take more
memory."""


@dataclass(frozen=True)
class ErrorBounds:
    """How far a computed gradient may lie from the true one, entry by entry.

    Attributes
    ----------
    truncation, roundoff : Any
        The two parts of the error, float64 in the structure and shapes of the parameters. An
        entry is infinite if no bound is known.
    """

    truncation: Any
    roundoff: Any

    @property
    def total(self) -> Any:
        """Their sum."""
        truncation, structure = flatten(self.truncation, unchecked)
        roundoff, _ = flatten(self.roundoff, unchecked)
        return structure.unflatten([a + b for a, b in zip(truncation, roundoff, strict=True)])


def error_bounds(
    loss: Loss,
    params: Any,
    *args: Any,
    method: Method = "central",
    step: float | None = None,
    dtype: DTypeLike | None = None,
) -> ErrorBounds:
    r"""Bound the error of a gradient, entry by entry, from the loss's source.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args) -> scalar``, of arithmetic, ``@``, indexing, sums and means,
        maxima, and the elementary functions that `gradlab.network` is written with.
    params, *args
        Where it is differentiated.
    method : {"central", "central4", "complex-step", "forward", "reverse", "richardson"}
        The formula: that of the backend of this name, reverse mode being `Autograd`.
    step : float, optional
        The finite difference's, as for the backend.
    dtype : dtype, optional
        In which the loss is evaluated; by default as the backends do, the parameters' own for
        reverse mode and float64 for all others. Parameters are rounded to it, and the bound is
        for the gradient there.

    Returns
    -------
    ErrorBounds
        Including the rounding of the result to the parameters' dtype. The loss itself is taken
        to be what its source says in exact arithmetic, with `params` and `args` exact.

    Raises
    ------
    LossError
        If the loss calls a function whose error is not known.

    Notes
    -----
    *Truncation.* A formula is a weighted sum Σ c f(x + o) over its points as evaluated. By
    Taylor's theorem its error is Σ_k f⁽ᵏ⁾(x) m_k / k! with the moments m_k = Σ c oᵏ, for k from 2
    to q + 1 where q is the order of the formula. The derivatives are exact, by Taylor arithmetic
    along the coordinate (Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, chapter 13),
    at the centre and at all points. For what the last of them may differ elsewhere, twice its
    spread over the points is weighed with Σ |c| |o|^(q+1) / (q + 1)!. Where a comparison or a
    maximum inside the loss comes out differently at the points, the loss may have a kink there. A
    quotient is the mean of f' over its interval, so the error is then at most the largest
    |f'(ξ) − f'(x)| times the sum of the quotients' weights, |4/3| + |1/3| for the fourth order:
    the difference of f' at the points and the centre, and max|f''| times their distance for what
    lies between.

    *Extrapolation* returns a number within five error bars of the result of its two finest steps:
    four are theirs, and one is that of the number itself, which is smaller. The bound is these
    five, plus the error of the two steps. It is certain, but does not show how much more accurate
    the method is.

    *Round-off of one evaluation*, δ, is bounded by running error analysis: Higham, *Accuracy and
    Stability of Numerical Algorithms*, 2nd ed., 2002, section 3.3. Every array carries a bound e
    on its absolute error. With the unit round-off u and γ_n = n u / (1 − n u) (section 3.1)::

        x + y      e_x + e_y                          + u |z|
        x y        |x| e_y + |y| e_x + e_x e_y        + u |z|
        X Y        |X| E_Y + E_X |Y| + E_X E_Y        + γ_n (|X| + E_X) (|Y| + E_Y)   section 3.5
        Σ x        Σ e_x                              + γ_(n-1) Σ (|x| + e_x)         section 4.2
        φ(x)       |φ'| e_x + |φ''| e_x²/2 + ...      + 8 u |z|

    for any order of summation; |z| stands for |z| and what it inherits. 8 u is 4 units in the
    last place, which NumPy's elementary functions stay below (its release notes 1.22). Through
    the shifted log-sum-exp these rules give the form of bound of Blanchard, Higham & Higham,
    *Accurately computing the log-sum-exp and softmax functions*, 2021, section 3.

    *Round-off of reverse mode.* The gradient is the sum over all paths through the computation
    of the product of the local derivatives d on them. Each is known to Δ, from the errors e
    above, and each product and sum rounds. If m is the most roundings on a path, the error is at
    most Σ_paths (Π(|d| + Δ) (1 + γ_m) − Π|d|). Σ Π|d| and what Δ adds to it go forward beside e;
    m counts, for each operation, what its rule backwards evaluates and sums, for values that are
    used up to three times each.

    *Round-off of the complex step.* The same, with the roundings of the slopes on their way
    forward, as imaginary parts: a complex product rounds each of its two terms twice, a sum of n
    terms n − 1 times, and a complex elementary function is made of up to four real ones.

    Underflow counts as the smallest normal number, beside a slope that the complex step carries
    scaled down as one of 4e-208; terms beyond the third power of an error are
    left out.

    Examples
    --------
    >>> import gradlab
    >>> x = np.array([0.5, 1.0])
    >>> bounds = error_bounds(lambda x: np.sum(np.exp(x)), x, method="central", step=1e-3)
    >>> found = gradlab.grad(lambda x: np.sum(np.exp(x)), gradlab.CentralDifference(step=1e-3))(x)
    >>> (np.abs(found - np.exp(x)) / bounds.total).round(2)
    array([1., 1.])
    """
    if method not in FORMULAS:
        raise OptionError(f"method={method!r}: choose {', '.join(sorted(FORMULAS))}")
    formula = FORMULAS[method]
    leaves, structure = flatten(params)
    widest = np.float16 if method == "reverse" else np.float64
    points = [
        leaf.astype(dtype or np.result_type(floating(leaf), widest), copy=False) for leaf in leaves
    ]
    # Where leaves of several dtypes meet, some operations may be done in the narrowest.
    inner = min((x.dtype for x in points), key=lambda dtype: -np.finfo(dtype).eps, default=None)
    wide = [x.astype(np.float64) for x in points]
    truncation, roundoff = [], []
    for number, (x, leaf) in enumerate(zip(points, leaves, strict=True)):
        h = ladder(x, step)[1] if formula.guarded else steps(x, step, order=formula.order)
        where = [(x + k * h).astype(np.float64) for k in formula.points]
        parts = [np.zeros((2, 0))]
        for start in range(0, x.size, COORDINATES_PER_CHUNK):
            these = np.arange(start, min(start + COORDINATES_PER_CHUNK, x.size))
            context = RayContext(RAY_NAMESPACE, formula, inner, floating(leaf).dtype, len(these))
            ends = np.array([array.reshape(-1)[these] for array in where])
            rays = [constant(context, other) for other in wide]
            rays[number] = along(context, wide[number], these, ends)
            with np.errstate(all="ignore"):
                outcome = loss(structure.unflatten(rays), *args)
                parts.append(_judge(context, outcome, ends))
        both = np.concatenate(parts, axis=1)
        both = np.where(np.isnan(both), np.inf, both).reshape(2, *x.shape)
        if method == "complex-step":  # a slope is there a DEFAULT_STEP's part of itself
            both[1] += np.finfo(np.float64).tiny / DEFAULT_STEP
        truncation.append(np.asarray(both[0]))
        roundoff.append(np.asarray(both[1]))
    return ErrorBounds(structure.unflatten(truncation), structure.unflatten(roundoff))


def _judge(context: RayContext, outcome: Any, ends: Array) -> Array:
    """Return truncation and round-off, shape (2, p), from the loss at the points, (points, p)."""
    if not isinstance(outcome, Ray):  # it does not depend on its parameters
        return np.zeros((2, context.p))
    if outcome.shape:
        raise LossError(f"the loss returned an array of shape {outcome.shape}; return one number")
    if context.formula.quotients:
        truncation, roundoff = _error_of_quotients(context, outcome, ends)
    else:
        truncation = np.zeros(context.p)
        paths, slack = context.at_points(outcome.paths)[0], context.at_points(outcome.slack)[0]
        roundoff = slack + context.rounding(paths + slack, outcome.roundings)
    result = np.abs(context.at_points(outcome.taylor)[1, 0]) + truncation + roundoff
    return np.stack([truncation, roundoff + context.cast(result)])


def _error_of_quotients(context: RayContext, outcome: Ray, ends: Array) -> tuple[Array, Array]:
    formula, q = context.formula, context.formula.order
    factorials = np.array([factorial(k) for k in range(formula.terms)])[:, None, None]
    f = context.at_points(outcome.taylor) * factorials  # derivatives, shape (terms, points, p)
    δ = context.at_points(outcome.error)
    o = ends - ends[0]
    # How far f' moves from its value at the centre, and with it each quotient.
    moved = np.abs(f[1] - f[1, 0]).max(axis=0) + np.abs(o).max(axis=0) * _largest(f[2])

    def errors(c: Array, first: int, quotients: float) -> tuple[Array, Array]:
        """Bound truncation and round-off of Σ c f(x + o), where its moments begin to count."""
        known = np.zeros(context.p)
        for k in range(first, q + 2):
            known = known + f[k, 0] * (c * o**k).sum(axis=0) / factorial(k)
        spread = (np.abs(c) * np.abs(o) ** (q + 1)).sum(axis=0) / factorial(q + 1)
        smooth = np.abs(known) + 2 * np.ptp(f[q + 1], axis=0) * spread
        return np.where(context.kinked, quotients * moved, smooth), (np.abs(c) * δ).sum(axis=0)

    rows = [_row(ends, i, j) for _, i, j in formula.quotients]
    weights = [w for w, _, _ in formula.quotients]
    total = sum(map(abs, weights))
    c = reduce(add, [w * row for w, row in zip(weights, rows, strict=True)])
    truncation, roundoff = errors(c, 2, total)
    # The difference, the distance of the points and the division round once each.
    size = total * (np.abs(f[1, 0]) + moved + roundoff)
    roundoff = roundoff + context.rounding(size, 3 * len(rows))
    if formula.guarded:
        bends = [np.abs(row) for row in rows]
        for bend in bends:
            bend[0] = -bend.sum(axis=0)
        apart = [errors(rows[0] - rows[1], 1, 2), errors(2 * bends[0] - bends[1], 1, 3)]
        values = (np.abs(f[0]) + δ).max(axis=0)
        noise = context.epsilon * 2 * values * np.abs(rows[0]).max(axis=0)
        noise = noise + sum(errors[1] for errors in apart)
        bar = sum(errors[0] for errors in apart)
        truncation = truncation + (ERROR_MARGIN + 1) * bar
        roundoff = roundoff + (ERROR_MARGIN + 1) * (
            noise + context.rounding(size + bar + noise, 12)
        )
    return truncation, roundoff


def _row(ends: Array, i: int, j: int) -> Array:
    """Return the weight of each point's value in the quotient between two of them."""
    row = np.zeros_like(ends)
    row[i], row[j] = 1 / (ends[i] - ends[j]), -1 / (ends[i] - ends[j])
    return row


def _largest(values: Array) -> Array:
    """Bound |values| between the points at which they are known, shape (points, p)."""
    return cast("Array", np.abs(values).max(axis=0) + np.ptp(values, axis=0))


def unchecked(leaf: Any, path: str) -> Array:
    """Return a leaf as an array, without asking that it is finite: bounds may be infinite."""
    return np.asarray(leaf)
