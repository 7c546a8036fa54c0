"""The rule of each function on rays: its Taylor coefficients, its error, its roundings.

A rule gives the four parts of the result from those of the operands, by the table in the notes of
`gradlab.testing.error_bounds`. `RAY_NAMESPACE`, at the end, lists the functions that have one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from operator import add
from types import ModuleType
from typing import Any

import numpy as np

from gradlab.errors import LossError
from gradlab.params import Array
from gradlab.testing import taylor
from gradlab.testing.ray_context import RayContext
from gradlab.testing.rays import FAN_OUT_ADDITIONS, Mask, Ray, constant

ELEMENTARY_ROUNDINGS = 8
"""Round-offs u in an elementary function: 4 units in the last place."""

# Operands


def _ray(context: RayContext, value: Any) -> Ray:
    return value if isinstance(value, Ray) else constant(context, value)


def _pair(a: Any, b: Any) -> tuple[Ray, Ray]:
    """Return two operands, one of them a ray, as rays of equally many axes."""
    context = a.context if isinstance(a, Ray) else b.context
    a, b = _ray(context, a), _ray(context, b)
    ndim = max(a.ndim, b.ndim)
    return a.expanded(ndim), b.expanded(ndim)


def _shared(z: Array, *inputs: Ray) -> int:
    """Count the additions by which the sweep back undoes a broadcast."""
    entries = z[0].size
    return max((entries // x.size if x.size else 0) for x in inputs) + FAN_OUT_ADDITIONS


# Arithmetic


def _negative(x: Ray) -> Ray:
    return Ray(x.context, -x.taylor, x.error, x.paths, x.slack, x.roundings + FAN_OUT_ADDITIONS)


def _sum_of(x: Any, y: Any) -> Ray:
    x, y = _pair(x, y)
    coefficients = x.taylor + y.taylor
    inherited = x.error + y.error
    error = inherited + x.context.rounding(np.abs(coefficients[0]) + inherited, 1)
    m = max(x.roundings, y.roundings) + _shared(coefficients[0], x, y)
    return Ray(x.context, coefficients, error, x.paths + y.paths, x.slack + y.slack, m)


def _difference(x: Any, y: Any) -> Ray:
    return _sum_of(x, -y if isinstance(y, Ray) else -np.asarray(y))


def _product(x: Any, y: Any, product: Any = np.multiply, exact: bool = False) -> Ray:
    """Multiply, by entries or as matrices."""
    x, y = _pair(x, y)
    context = x.context
    coefficients = np.stack(
        [
            reduce(add, [product(x.taylor[i], y.taylor[k - i]) for i in range(k + 1)])
            for k in range(context.terms)
        ]
    )
    X, Y = np.abs(x.value), np.abs(y.value)
    error = product(X, y.error) + product(x.error, Y) + product(x.error, y.error)
    matrices = product is np.matmul
    if not exact:
        d = x.shape[-1] if matrices else 1
        error = error + context.rounding(product(x.bound(), y.bound()), d)
    if matrices:
        m = max(*x.shape, *y.shape) * (2 if context.forward else 1) + FAN_OUT_ADDITIONS
    else:
        m = 1 + _shared(coefficients[0], x, y)
    paths = product(X, y.paths) + product(x.paths, Y)
    slack = (
        product(X, y.slack)
        + product(x.error, y.paths + y.slack)
        + product(x.slack, Y)
        + product(x.paths + x.slack, y.error)
    )
    return Ray(context, coefficients, error, paths, slack, max(x.roundings, y.roundings) + m)


def _matrix_product(x: Any, y: Any) -> Ray:
    """Multiply as matrices; a vector on the left is a row, one on the right a column."""
    context = x.context if isinstance(x, Ray) else y.context
    x, y = _ray(context, x), _ray(context, y)
    row, column = x.ndim == 1, y.ndim == 1
    x = x.rearranged(lambda a: a[:, None, :], 0) if row else x
    y = y.rearranged(lambda a: a[:, :, None], 0) if column else y
    z = _product(x, y, np.matmul)
    z = z.rearranged(lambda a: a[..., 0], 0) if column else z
    return z.rearranged(lambda a: a[:, 0], 0) if row else z


def _quotient(x: Any, y: Any) -> Ray:
    x, y = _pair(x, y)
    inverse = _elementary(y, partial(taylor.power, p=-1), roundings=0)
    result = _product(x, inverse, exact=True)
    result.taylor[0] = x.value / y.value  # rounded once, not twice
    result.error = result.error + x.context.rounding(result.bound(), 4 if x.context.forward else 1)
    result.roundings += 4
    return result


# Elementary functions


def _elementary(
    x: Ray,
    series: Callable[[Array, int], list[Array]],
    roundings: int = ELEMENTARY_ROUNDINGS,
    further: int = 0,
) -> Ray:
    """Apply a function φ of which ``series(x, n)`` gives n Taylor coefficients at x.

    `roundings` are those of its value, `further` those that its slope has beyond the usual.
    """
    context = x.context
    functions = taylor.REAL_FUNCTIONS_PER_COMPLEX if context.forward else 1
    local = series(x.value, max(context.terms, 4))
    e, (c1, c2, c3) = x.error, map(np.abs, local[1:4])
    inherited = c1 * e + c2 * e**2 + c3 * e**3
    error = inherited
    if roundings:
        error = error + context.rounding(np.abs(local[0]) + inherited, functions * roundings)
    slack = c1 * x.slack + (2 * c2 * e + 3 * c3 * e**2) * (x.paths + x.slack)
    # Backwards: at most two elementary functions, a square, a quotient and a product.
    m = x.roundings + max(functions, 2) * ELEMENTARY_ROUNDINGS + further + 3 + FAN_OUT_ADDITIONS
    return Ray(context, np.stack(taylor.compose(local, x.taylor)), error, c1 * x.paths, slack, m)


def _power(x: Ray, exponent: Any) -> Ray:
    if not isinstance(exponent, (int, float)):
        raise LossError(f"the error of x ** {type(exponent).__name__} is not known: use exp")
    exact = exponent in (1, 2)
    extra = 0 if exact or not x.context.forward else taylor.complex_power(x.value, exponent)
    roundings = (1 if exact else ELEMENTARY_ROUNDINGS) + extra
    return _elementary(x, partial(taylor.power, p=exponent), roundings, extra)


def _log1p(x: Ray) -> Ray:
    """Return log(1 + x); NumPy's complex log1p adds the 1 and takes the logarithm."""
    return _elementary(1 + x, taylor.log) if x.context.forward else _elementary(x, taylor.log1p)


# Reductions


def _reduction(name: str, rule: Callable[..., Ray]) -> Callable[..., Any]:
    """Return a rule that leaves arrays that are no rays to NumPy."""

    def reduction(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        if isinstance(x, Ray):
            return rule(x, axis, keepdims)
        return getattr(x, name)(axis=axis, keepdims=keepdims)

    return reduction


def _sum(x: Ray, axis: Any, keepdims: bool) -> Ray:
    """Add up; the order is free."""
    axes = x.axes(axis)
    terms = int(np.prod([x.shape[i - 1] for i in axes]))
    result = x.rearranged(lambda a: a.sum(axis=axes, keepdims=keepdims))
    size = x.bound().sum(axis=axes, keepdims=keepdims)
    result.error = result.error + x.context.rounding(size, max(terms - 1, 0))
    result.roundings += terms if x.context.forward else 0
    return result


def _mean(x: Ray, axis: Any, keepdims: bool) -> Ray:
    total = _sum(x, axis, keepdims)
    return _quotient(total, x.size / max(total.size, 1))


def _max(x: Ray, axis: Any, keepdims: bool) -> Ray:
    """Take the largest along one axis, and note where another entry may be the largest."""
    (axis,) = x.axes(axis)
    where = np.expand_dims(x.value.argmax(axis=axis), axis)
    top = np.take_along_axis(x.value, where, axis)
    close = (x.value + x.error >= top - np.take_along_axis(x.error, where, axis)) & (
        np.arange(x.value.shape[axis]).reshape([-1] + [1] * (x.value.ndim - axis - 1)) != where
    )
    x.context.observe(where, close & (x.error > 0))
    # The sweep back may share a tie among its winners.
    win = (x.value == top) | close
    result = x.rearranged(lambda a: np.take_along_axis(a, where, axis), FAN_OUT_ADDITIONS + 3)
    result.error = x.error.max(axis=axis, keepdims=True)
    result.paths = np.where(win, x.paths, 0).max(axis=axis, keepdims=True)
    result.slack = np.where(win, x.slack, 0).max(axis=axis, keepdims=True)
    return result if keepdims else result.rearranged(lambda a: a.squeeze(axis), 0)


# Decisions


def _compare(x: Any, y: Any, relation: Any) -> Mask:
    x, y = _pair(x, y)
    outcome = relation(x.value, y.value)
    x.context.observe(outcome, np.abs(x.value - y.value) < x.error + y.error)
    return Mask(x.context, outcome)


def _where(condition: Any, x: Any, y: Any) -> Any:
    rays = [value for value in (x, y) if isinstance(value, Ray)]
    data = condition.data if isinstance(condition, Mask) else np.asarray(condition)[None]
    if not rays:
        raise LossError("where() between two constants: the loss has a step, not a gradient")
    context = rays[0].context
    x, y = _ray(context, x), _ray(context, y)
    ndim = max(x.ndim, y.ndim, data.ndim - 1)
    x, y = x.expanded(ndim), y.expanded(ndim)
    data = data.reshape(len(data), *(1,) * (ndim + 1 - data.ndim), *data.shape[1:])
    coefficients = np.where(data, x.taylor, y.taylor)
    error, paths = np.where(data, x.error, y.error), np.where(data, x.paths, y.paths)
    slack = np.where(data, x.slack, y.slack)
    m = max(x.roundings, y.roundings) + _shared(coefficients[0], x, y)
    return Ray(context, coefficients, error, paths, slack, m)


def _extreme(x: Any, y: Any, relation: Any) -> Ray:
    """Take the larger or the smaller of two; where both may be, the bounds of both hold."""
    x, y = _pair(x, y)
    result: Ray = _where(_compare(x, y, relation), x, y)
    close = np.abs(x.value - y.value) <= x.error + y.error
    result.error = np.maximum(x.error, y.error)
    result.paths = np.where(close, np.maximum(x.paths, y.paths), result.paths)
    result.slack = np.where(close, np.maximum(x.slack, y.slack), result.slack)
    result.roundings += 3  # the sweep back may share a tie
    return result


RAY_NAMESPACE: Any = ModuleType("rays")
"""The functions of rays, by their names in NumPy and in the Array API."""

vars(RAY_NAMESPACE).update(
    # Types and conversions
    float64=np.float64,
    bool=np.bool_,
    isdtype=np.isdtype,
    arange=np.arange,
    asarray=lambda x, **_: x if isinstance(x, Ray) else np.asarray(x),
    astype=lambda x, dtype, **_: x,
    real=lambda x: x,
    iscomplexobj=lambda x: False,
    # Arithmetic
    add=_sum_of,
    subtract=_difference,
    multiply=_product,
    matmul=_matrix_product,
    divide=_quotient,
    negative=_negative,
    square=partial(_power, exponent=2),
    power=_power,
    # Elementary functions
    **{
        name: partial(_elementary, series=getattr(taylor, name))
        for name in ("exp", "expm1", "log", "tanh", "sin", "cos", "sqrt")
    },
    log1p=_log1p,
    # Reductions
    sum=_reduction("sum", _sum),
    mean=_reduction("mean", _mean),
    max=_reduction("max", _max),
    # Decisions
    where=_where,
    maximum=partial(_extreme, relation=np.greater_equal),
    minimum=partial(_extreme, relation=np.less_equal),
    greater=partial(_compare, relation=np.greater),
    greater_equal=partial(_compare, relation=np.greater_equal),
    less=partial(_compare, relation=np.less),
    less_equal=partial(_compare, relation=np.less_equal),
)
