"""The n-th derivative of a function of one number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradlab import options as checks
from gradlab.derivatives.differences import Differences, Extrapolated
from gradlab.derivatives.functions import Function, Point, weighted
from gradlab.derivatives.libraries import LibraryDerivative
from gradlab.derivatives.lines import Field
from gradlab.derivatives.maps import Differentiated
from gradlab.derivatives.measuring import doubtful
from gradlab.derivatives.reverse import Rows
from gradlab.derivatives.table import Estimated, difference, extrapolated, offsets_of
from gradlab.errors import LossError, NonFiniteError, OptionError, ParameterError
from gradlab.gradients import Autograd, AutogradForward, Backend, Tape
from gradlab.gradients.protocol import Loss
from gradlab.params import Array, first


def derivative(
    function: Function,
    order: int = 1,
    backend: str | Backend = "autograd",
    *,
    argnums: int = 0,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """Return the function that evaluates the n-th derivative of a function of one number.

    Parameters
    ----------
    function : callable
        ``f(x, *args, **keywords) -> outputs``, pure. x is a number; the outputs are arrays of any
        shapes in dicts, lists and tuples, or a bare array or number.
    order : int
        The order of the derivative: 1, 2, ...
    backend : str or Backend
        The backend. The finite differences take symmetric formulas of their accuracy
        (`forward`: one-sided ones), `richardson` extrapolates these. Reverse and forward mode are
        nested, which takes about 3ⁿ times the operations of an evaluation.
    argnums : int
        The position of the argument x.
    has_aux : bool
        Whether the function returns a pair ``(outputs, aux)``.

    Returns
    -------
    callable
        ``g(x, *args, **keywords) -> dⁿf/dxⁿ``, in the structure and shapes of the outputs.

    Raises
    ------
    OptionError
        If the backend has no derivatives of that order: `complex-step` and the estimators have only
        the first.
    ParameterError, LossError, NonFiniteError
        By the returned function: if x is not one number; if the values of the function do not
        resolve the derivative; see `jacobian` for others.

    Notes
    -----
    A formula with an error of hᵠ has round-off ε|f|/hⁿ, and so at best an error near
    ε^(q/(q+n)): 1e-8 for the second derivative by `central`, 1e-11 by `central4`; some digits more
    by `richardson`.

    Examples
    --------
    >>> derivative(np.sin, 3)(0.0)
    np.float64(-1.0)
    >>> bool(abs(derivative(np.exp, 4, "richardson")(0.0) - 1) < 1e-7)
    True
    """
    checks.integer("order", order)
    checks.integer("argnums", argnums, "give the position of an argument, from 0", least=0)
    differentiated = Differentiated(function, backend, argnums, has_aux)
    if order > 1 and _ways(differentiated.backend, differentiated.way(named=False)) is None:
        raise OptionError(
            f"{differentiated.backend.name} has only first derivatives: use autograd, jax, "
            "torch, or a finite difference"
        )

    def evaluate(*args: Any, **keywords: Any) -> Any:
        way, at, aux = differentiated.at(args, keywords)
        if [leaf.size for leaf in at.leaves] != [1]:
            raise ParameterError(
                f"derivative: x has {at.size} entries; give one number, or use gradlab.jacobian"
            )
        nth = _ways(differentiated.backend, way) if order > 1 else _first
        assert nth is not None
        found = np.asarray(nth(way, at, order), float)
        if not np.isfinite(found).all():
            k = first(~np.isfinite(found))[0]
            raise NonFiniteError(f"derivative {order} of {at.outputs.name(k)} is {found[k]}")
        result = at.outputs.unravel(found)
        return (result, aux) if has_aux else result

    return evaluate


MAX_RESOLVED_ERROR = 2.0**-3
"""Relative error above which an extrapolated derivative counts as unresolved. At a kink, the second
difference doubles when the step is halved, and its error is half of it."""

MAX_ERROR_OF_ZERO = 2.0**-7
"""Error, relative to the function's size per max(1, |x|)ⁿ, up to which a derivative may be 0."""

Nth = Callable[[Any, Point, int], Array]


def _ways(backend: Backend, way: Rows) -> Nth | None:
    """Return the function that computes higher derivatives with a backend."""
    if isinstance(way, Differences):
        return _by_table if isinstance(way, Extrapolated) else _by_formula
    if isinstance(way, LibraryDerivative):
        return LibraryDerivative.nth
    return _nested if isinstance(backend, Autograd | AutogradForward | Tape) else None


def _first(way: Rows, at: Point, order: int) -> Array:
    return way.jvp(at, [np.ones(leaf.shape) for leaf in at.leaves])


# Reverse and forward mode


def _nested(way: Rows, at: Point, order: int) -> Array:
    """Differentiate the weighted sum of the outputs n times."""
    loss: Loss = partial(weighted, way.function)
    for _ in range(order - 1):
        loss = partial(_slope, loss)
    gradient = way.backend.value_and_grad(loss)
    found = np.empty(len(at.outputs.vector))
    for k in range(len(found)):
        weights = np.zeros(len(found))
        weights[k] = 1.0
        found[k] = np.sum(gradient(at.params, *at.args, weights)[1])
    return found


def _slope(loss: Loss, x: Any, *args: Any) -> Any:
    return Autograd().value_and_grad(loss)(x, *args)[1]


# Finite differences


def _by_table(way: Differences, at: Point, order: int) -> Array:
    where = way.field(at)
    with where.restoring():
        line = where.along_entries(np.array([0]), where.scales)
        where.require_steady()
        found: Array = _if_resolved(extrapolated(line, order), where) / where.scales**order
        return found


def _by_formula(way: Differences, at: Point, order: int) -> Array:
    """Apply one formula; extrapolate outputs for which a step twice as large contradicts it."""
    where = way.field(at)
    accuracy = way.order
    offsets = offsets_of(order, accuracy, one_sided=accuracy == 1)
    step = way.given_step(where, at)
    line = where.along_entries(np.array([0]), where.scales if step is None else step)
    with where.restoring():
        if step is not None:
            given: Array = difference(line, order, offsets, 1.0).value / step**order
            return given
        h = float(np.exp2(np.round(np.log2(where.precision) / (order + accuracy))))
        near, far = (difference(line, order, offsets, k * h) for k in (1, 2))
        rows = np.arange(len(where.centre))
        bends = np.maximum(np.abs(near.value - far.value) - near.error - far.error, 0.0)
        doubt = doubtful(where, rows, near.value, bends, h, 1)
        found = near.value
        if doubt.any():
            where.require_steady()
            finer = _if_resolved(extrapolated(line, order), where)
            found = np.where(doubt, finer, found)
        result: Array = found / where.scales**order
        return result


def _if_resolved(found: Estimated, where: Field) -> Array:
    """Return the derivative if its error is small relative to it or to the function."""
    allowed = np.maximum(
        MAX_RESOLVED_ERROR * np.abs(found.value), MAX_ERROR_OF_ZERO * np.abs(where.centre)
    )
    lost = ~(found.error <= allowed)
    if lost.any():
        raise LossError(
            f"the values of {where.outputs.name(int(np.argmax(lost)))} do not resolve a derivative "
            "of that order: they are too noisy, or not smooth enough"
        )
    return found.value
