"""Arrays that carry derivatives and error bounds along one coordinate of the parameters.

A loss that runs on a `Ray` gives, beside its value, its Taylor coefficients along the coordinate
and a bound on its rounding error. `gradlab.testing.error_bounds` says what the bounds mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from operator import add
from types import ModuleType
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from gradlab.errors import LossError
from gradlab.params import Array
from gradlab.testing.formulas import Formula
from gradlab.testing.taylor import (
    COMPLEX,
    complex_power,
    compose,
    cos,
    exp,
    expm1,
    log,
    log1p,
    power,
    sin,
    sqrt,
    tanh,
)

ELEMENTARY = 8
"""Round-offs u in an elementary function: 4 units in the last place."""

FAN_OUT = 2
"""Additions where the shares of a value that is used three times come together."""


class RayContext:
    """What all rays of one evaluation have in common."""

    def __init__(
        self, formula: Formula, inner: np.dtype[Any] | None, result: np.dtype[Any], p: int
    ) -> None:
        self.formula, self.terms, self.forward = formula, formula.terms, formula.forward
        self._inner, self._result = np.finfo(inner or result), np.finfo(result)
        self.epsilon = float(self._inner.eps)
        self.p = p
        self.kinked = np.zeros(p, dtype=bool)

    def at_points(self, values: Array) -> Array:
        """Split the hidden axis of a scalar ray's (..., q) into (..., points, p)."""
        points = len(self.formula.points)
        whole = np.broadcast_to(values, (*values.shape[:-1], points * self.p))
        return whole.reshape(*values.shape[:-1], points, self.p)

    def gamma(self, n: int) -> float:
        """γ_n, infinite where it means nothing."""
        nu = n * self.epsilon / 2
        return nu / (1 - nu) if nu < 1 else np.inf

    def rounding(self, size: Array, n: int) -> Array:
        """Bound the error of n roundings of something of that size."""
        return self.gamma(n) * size + float(self._inner.smallest_normal)

    def cast(self, size: Array) -> Array:
        """Bound the error of rounding the result to the parameters' dtype."""
        if self._result.eps <= self._inner.eps:
            return np.zeros_like(size)
        return size * float(self._result.eps) / 2 + float(self._result.smallest_normal)

    def observe(self, outcome: Array, uncertain: Array) -> None:
        """Note the coordinates along which a decision changes, or could by rounding."""
        doubt = uncertain.reshape(len(uncertain), -1).any(axis=1)
        if len(outcome) > 1:
            points = len(self.formula.points)
            each = outcome.reshape(points, self.p, -1)
            doubts = doubt.reshape(points, -1).any(axis=0)
            self.kinked |= (each != each[0]).any(axis=(0, 2)) | doubts
        else:
            self.kinked |= doubt


class Ray(NDArrayOperatorsMixin):
    """An array as a function of one coordinate of the parameters, for q coordinates and points.

    ``taylor`` (terms, q, ...) holds its Taylor coefficients, ``error`` (q, ...) bounds the error
    of its evaluation, ``paths`` and ``slack`` are Σ Π|d| and what Δ adds to it, and
    ``roundings`` is m, all as in `error_bounds`. The axis q is hidden: the shape and the indices
    are those of the array. Where nothing depends on the coordinate, q is 1.
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self,
        run: RayContext,
        taylor: Array,
        error: Array,
        paths: Array,
        slack: Array,
        roundings: int,
    ) -> None:
        self.run, self.taylor, self.error = run, taylor, error
        self.paths, self.slack, self.roundings = paths, slack, roundings

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.taylor.shape[2:]

    @property
    def ndim(self) -> int:
        """The number of its axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of its entries."""
        return int(np.prod(self.shape))

    @property
    def value(self) -> Array:
        """The values, shape (q, ...)."""
        return self.taylor[0]  # type: ignore[no-any-return, unused-ignore]

    def reach(self) -> Array:
        """|value| and its error."""
        return np.abs(self.value) + self.error  # type: ignore[no-any-return, unused-ignore]

    def each(self, change: Callable[[Array], Array], roundings: int = FAN_OUT) -> Ray:
        """Rearrange the array; `change` is given (q, ...) and must leave q alone."""
        return Ray(
            self.run,
            np.stack([change(term) for term in self.taylor]),
            change(self.error),
            change(self.paths),
            change(self.slack),
            self.roundings + roundings,
        )

    def expanded(self, ndim: int) -> Ray:
        """Prepend axes of length 1, behind the hidden one."""
        ones = (1,) * (ndim - self.ndim)
        return self.each(lambda a: a.reshape(len(a), *ones, *a.shape[1:]), 0) if ones else self

    # The Array API, as far as losses use it

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NAMESPACE

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = getattr(NAMESPACE, ufunc.__name__, None)
        out = options.pop("out", inputs[:1])  # x += y makes a new array, and calls it x
        if method != "__call__" or options or out[0] is not inputs[0] or function is None:
            raise LossError(f"the error of {ufunc.__name__} is not known: bound it by hand")
        return function(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = getattr(NAMESPACE, function.__name__, None)
        if own is None:
            raise LossError(f"the error of {function.__name__} is not known: bound it by hand")
        return own(*args, **kwargs)

    def astype(self, dtype: Any) -> Ray:
        """Return itself: a ray is computed in double precision, whatever it stands for."""
        return self

    def __getitem__(self, key: Any) -> Ray:
        key = key if isinstance(key, tuple) else (key,)
        return self.each(lambda a: a[(slice(None), *key)])

    def sum(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Ray:
        """Add up; the order is free."""
        axes = self._axes(axis)
        terms = int(np.prod([self.shape[i - 1] for i in axes]))
        result = self.each(lambda a: a.sum(axis=axes, keepdims=keepdims))
        size = self.reach().sum(axis=axes, keepdims=keepdims)
        result.error = result.error + self.run.rounding(size, max(terms - 1, 0))
        result.roundings += terms if self.run.forward else 0
        return result

    def mean(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Ray:
        """Add up and divide."""
        total = self.sum(axis, keepdims)
        return _quotient(total, self.size / max(total.size, 1))

    def max(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Ray:
        """Take the largest along one axis."""
        (axis,) = self._axes(axis)
        where = np.expand_dims(self.value.argmax(axis=axis), axis)
        top = np.take_along_axis(self.value, where, axis)
        close = (self.value + self.error >= top - np.take_along_axis(self.error, where, axis)) & (
            np.arange(self.value.shape[axis]).reshape([-1] + [1] * (self.value.ndim - axis - 1))
            != where
        )
        self.run.observe(where, close & (self.error > 0))
        # The sweep back may share a tie among its winners.
        win = (self.value == top) | close
        result = self.each(lambda a: np.take_along_axis(a, where, axis), FAN_OUT + 3)
        result.error = self.error.max(axis=axis, keepdims=True)
        result.paths = np.where(win, self.paths, 0).max(axis=axis, keepdims=True)
        result.slack = np.where(win, self.slack, 0).max(axis=axis, keepdims=True)
        return result if keepdims else result.each(lambda a: a.squeeze(axis), 0)

    def _axes(self, axis: Any) -> tuple[int, ...]:
        if axis is None:
            return tuple(range(1, self.ndim + 1))
        return tuple(i % self.ndim + 1 for i in (axis if isinstance(axis, tuple) else (axis,)))


@dataclass(frozen=True)
class Mask:
    """The outcome of a comparison, with the rays' hidden axis."""

    data: Array
    dtype = np.dtype(bool)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.data.shape[1:]

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return NAMESPACE

    __array_function__ = Ray.__array_function__


def constant(run: RayContext, value: Any) -> Ray:
    """Return an array that does not depend on the coordinate."""
    value = np.asarray(value, dtype=np.float64)[None]
    taylor = np.concatenate([value[None], np.zeros((run.terms - 1, *value.shape))])
    nothing = np.zeros_like(value)
    return Ray(run, taylor, nothing, nothing, nothing, 0)


def along(run: RayContext, x: Array, these: Array, ends: Array) -> Ray:
    """Return a leaf as a function of `these` of its entries, at each of the ends."""
    taylor = np.zeros((run.terms, len(ends), run.p, x.size))
    taylor[0] = x.reshape(-1)
    rays = np.arange(run.p)
    for point, end in enumerate(ends):
        taylor[0, point, rays, these] = end
        taylor[1, point, rays, these] = 1.0
    taylor = taylor.reshape(run.terms, len(ends) * run.p, *x.shape)
    nothing = np.zeros_like(taylor[0])
    return Ray(run, taylor, nothing, taylor[1].copy(), nothing, 0)


def _ray(run: RayContext, value: Any) -> Ray:
    return value if isinstance(value, Ray) else constant(run, value)


def _pair(a: Any, b: Any) -> tuple[Ray, Ray]:
    run = a.run if isinstance(a, Ray) else b.run
    a, b = _ray(run, a), _ray(run, b)
    ndim = max(a.ndim, b.ndim)
    return a.expanded(ndim), b.expanded(ndim)


def _shared(z: Array, *inputs: Ray) -> int:
    """Count the additions by which the sweep back undoes a broadcast."""
    entries = z[0].size
    return max((entries // x.size if x.size else 0) for x in inputs) + FAN_OUT


def _negative(x: Ray) -> Ray:
    return Ray(x.run, -x.taylor, x.error, x.paths, x.slack, x.roundings + FAN_OUT)


def _power(x: Ray, exponent: Any) -> Ray:
    if not isinstance(exponent, (int, float)):
        raise LossError(f"the error of x ** {type(exponent).__name__} is not known: use exp")
    exact = exponent in (1, 2)
    extra = 0 if exact or not x.run.forward else complex_power(x.value, exponent)
    roundings = (1 if exact else ELEMENTARY) + extra
    return _elementary(x, partial(power, p=exponent), roundings, extra)


def _sum_of(x: Any, y: Any) -> Ray:
    x, y = _pair(x, y)
    taylor = x.taylor + y.taylor
    inherited = x.error + y.error
    error = inherited + x.run.rounding(np.abs(taylor[0]) + inherited, 1)
    m = max(x.roundings, y.roundings) + _shared(taylor[0], x, y)
    return Ray(x.run, taylor, error, x.paths + y.paths, x.slack + y.slack, m)


def _product(x: Any, y: Any, product: Any, exact: bool = False) -> Ray:
    """Multiply, by entries or as matrices."""
    x, y = _pair(x, y)
    run = x.run
    taylor = np.stack(
        [
            reduce(add, [product(x.taylor[i], y.taylor[k - i]) for i in range(k + 1)])
            for k in range(run.terms)
        ]
    )
    X, Y = np.abs(x.value), np.abs(y.value)
    error = product(X, y.error) + product(x.error, Y) + product(x.error, y.error)
    matrices = product is np.matmul
    if not exact:
        d = x.shape[-1] if matrices else 1
        error = error + run.rounding(product(x.reach(), y.reach()), d)
    if matrices:
        m = max(*x.shape, *y.shape) * (2 if run.forward else 1) + FAN_OUT
    else:
        m = 1 + _shared(taylor[0], x, y)
    paths = product(X, y.paths) + product(x.paths, Y)
    slack = (
        product(X, y.slack)
        + product(x.error, y.paths + y.slack)
        + product(x.slack, Y)
        + product(x.paths + x.slack, y.error)
    )
    return Ray(run, taylor, error, paths, slack, max(x.roundings, y.roundings) + m)


def _matrix_product(x: Any, y: Any) -> Ray:
    """Multiply as matrices; a vector on the left is a row, one on the right a column."""
    run = x.run if isinstance(x, Ray) else y.run
    x, y = _ray(run, x), _ray(run, y)
    row, column = x.ndim == 1, y.ndim == 1
    x = x.each(lambda a: a[:, None, :], 0) if row else x
    y = y.each(lambda a: a[:, :, None], 0) if column else y
    z = _product(x, y, np.matmul)
    z = z.each(lambda a: a[..., 0], 0) if column else z
    return z.each(lambda a: a[:, 0], 0) if row else z


def _quotient(x: Any, y: Any) -> Ray:
    x, y = _pair(x, y)
    inverse = _elementary(y, partial(power, p=-1), roundings=0)
    result = _product(x, inverse, np.multiply, exact=True)
    result.taylor[0] = x.value / y.value  # rounded once, not twice
    result.error = result.error + x.run.rounding(result.reach(), 4 if x.run.forward else 1)
    result.roundings += 4
    return result


def _elementary(
    x: Ray,
    series: Callable[[Array, int], list[Array]],
    roundings: int = ELEMENTARY,
    further: int = 0,
) -> Ray:
    """Apply a function φ of which ``series(x, n)`` gives n Taylor coefficients at x.

    `roundings` are those of its value, `further` those that its slope has beyond the usual.
    """
    run = x.run
    functions = COMPLEX if run.forward else 1
    local = series(x.value, max(run.terms, 4))
    e, (c1, c2, c3) = x.error, map(np.abs, local[1:4])
    inherited = c1 * e + c2 * e**2 + c3 * e**3
    error = inherited
    if roundings:
        error = error + run.rounding(np.abs(local[0]) + inherited, functions * roundings)
    slack = c1 * x.slack + (2 * c2 * e + 3 * c3 * e**2) * (x.paths + x.slack)
    # Backwards: at most two elementary functions, a square, a quotient and a product.
    m = x.roundings + max(functions, 2) * ELEMENTARY + further + 3 + FAN_OUT
    return Ray(run, np.stack(compose(local, x.taylor)), error, c1 * x.paths, slack, m)


def _compare(x: Any, y: Any, relation: Any) -> Mask:
    x, y = _pair(x, y)
    outcome = relation(x.value, y.value)
    x.run.observe(outcome, np.abs(x.value - y.value) < x.error + y.error)
    return Mask(outcome)


def _where(condition: Any, x: Any, y: Any) -> Any:
    rays = [value for value in (x, y) if isinstance(value, Ray)]
    data = condition.data if isinstance(condition, Mask) else np.asarray(condition)[None]
    if not rays:
        raise LossError("where() between two constants: the loss has a step, not a gradient")
    x, y = _ray(rays[0].run, x), _ray(rays[0].run, y)
    ndim = max(x.ndim, y.ndim, data.ndim - 1)
    x, y = x.expanded(ndim), y.expanded(ndim)
    data = data.reshape(len(data), *(1,) * (ndim + 1 - data.ndim), *data.shape[1:])
    taylor = np.where(data, x.taylor, y.taylor)
    error, paths = np.where(data, x.error, y.error), np.where(data, x.paths, y.paths)
    slack = np.where(data, x.slack, y.slack)
    m = max(x.roundings, y.roundings) + _shared(taylor[0], x, y)
    return Ray(x.run, taylor, error, paths, slack, m)


def _function(series: Callable[[Array, int], list[Array]]) -> Callable[[Ray], Ray]:
    return lambda x: _elementary(x, series)


def _reduction(name: str) -> Callable[..., Any]:
    def reduction(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
        return getattr(x, name)(axis=axis, keepdims=keepdims)

    return reduction


NAMESPACE: Any = ModuleType("rays")
vars(NAMESPACE).update(
    float64=np.float64,
    bool=np.bool_,
    isdtype=np.isdtype,
    arange=np.arange,
    asarray=lambda x, **_: x if isinstance(x, Ray) else np.asarray(x),
    astype=lambda x, dtype, **_: x,
    real=lambda x: x,
    iscomplexobj=lambda x: False,
    where=_where,
    sum=_reduction("sum"),
    mean=_reduction("mean"),
    max=_reduction("max"),
    add=_sum_of,
    subtract=lambda x, y: _sum_of(x, -y if isinstance(y, Ray) else -np.asarray(y)),
    multiply=partial(_product, product=np.multiply),
    matmul=_matrix_product,
    divide=_quotient,
    negative=_negative,
    square=partial(_power, exponent=2),
    power=_power,
    greater=partial(_compare, relation=np.greater),
    greater_equal=partial(_compare, relation=np.greater_equal),
    less=partial(_compare, relation=np.less),
    less_equal=partial(_compare, relation=np.less_equal),
    exp=_function(exp),
    expm1=_function(expm1),
    log=_function(log),
    # NumPy's complex log1p adds the 1 and takes the logarithm.
    log1p=lambda x: _elementary(1 + x, log) if x.run.forward else _elementary(x, log1p),
    tanh=_function(tanh),
    sin=_function(sin),
    cos=_function(cos),
    sqrt=_function(sqrt),
)
