"""Arrays that carry derivatives and error bounds along one coordinate of the parameters.

A loss that runs on a `Ray` gives, beside its value, its Taylor coefficients along the coordinate
and a bound on its rounding error. This file has the array itself: what it carries, and how NumPy
and the Array API see it. `ray_rules` has the rule of each function, `ray_context` what the rays of
one evaluation share; `gradlab.testing.error_bounds` derives the bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from gradlab.errors import LossError
from gradlab.params import Array
from gradlab.testing.ray_context import RayContext

FAN_OUT_ADDITIONS = 2
"""Additions in the sweep back where the shares of a value that is used three times come together.
"""


class Ray(NDArrayOperatorsMixin):
    """An array as a function of one coordinate of the parameters, for q coordinates and points.

    The axis q is hidden: the array's shape and indices do not show it. Where nothing depends on the
    coordinate, q is 1. The paths are all those from the coordinate to the array in the computation,
    with local derivatives d, whose errors are Δ.
    """

    dtype = np.dtype(np.float64)

    def __init__(
        self,
        context: RayContext,
        taylor: Array,  # shape (terms, q, ...): the Taylor coefficients along the coordinate
        error: Array,  # shape (q, ...): bound on the error of the value
        paths: Array,  # shape (q, ...): Σ Π|d| over the paths
        slack: Array,  # shape (q, ...): what Δ adds to it, Σ (Π(|d| + Δ) − Π|d|)
        roundings: int,  # the largest number of roundings m on a path
    ) -> None:
        self.context, self.taylor, self.error = context, taylor, error
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

    def bound(self) -> Array:
        """Return a bound on the absolute value as computed, shape (q, ...)."""
        return np.abs(self.value) + self.error  # type: ignore[no-any-return, unused-ignore]

    def rearranged(
        self, change: Callable[[Array], Array], roundings: int = FAN_OUT_ADDITIONS
    ) -> Ray:
        """Apply `change` to all parts; it is given shape (q, ...) and must leave q alone."""
        return Ray(
            self.context,
            np.stack([change(term) for term in self.taylor]),
            change(self.error),
            change(self.paths),
            change(self.slack),
            self.roundings + roundings,
        )

    def expanded(self, ndim: int) -> Ray:
        """Prepend axes of length 1: shape (q, a, b) -> (q, 1, a, b)."""
        ones = (1,) * (ndim - self.ndim)
        return (
            self.rearranged(lambda a: a.reshape(len(a), *ones, *a.shape[1:]), 0) if ones else self
        )

    # What NumPy and the Array API see, as far as losses use it

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return self.context.namespace

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        function = getattr(self.context.namespace, ufunc.__name__, None)
        out = options.pop("out", inputs[:1])  # x += y makes a new array, and calls it x
        if method != "__call__" or options or out[0] is not inputs[0] or function is None:
            raise LossError(f"the error of {ufunc.__name__} is not known: bound it by hand")
        return function(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        own = getattr(self.context.namespace, function.__name__, None)
        if own is None:
            raise LossError(f"the error of {function.__name__} is not known: bound it by hand")
        return own(*args, **kwargs)

    def astype(self, dtype: Any) -> Ray:
        """Return itself: a ray is computed in double precision, whatever it stands for."""
        return self

    def __getitem__(self, key: Any) -> Ray:
        key = key if isinstance(key, tuple) else (key,)
        return self.rearranged(lambda a: a[(slice(None), *key)])

    def sum(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Ray:
        """Return the sum over axes."""
        return self.context.namespace.sum(self, axis, keepdims)  # type: ignore[no-any-return]

    def mean(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Ray:
        """Return the mean over axes."""
        return self.context.namespace.mean(self, axis, keepdims)  # type: ignore[no-any-return]

    def max(self, axis: Any = None, keepdims: bool = False, **_: Any) -> Ray:
        """Return the maximum over one axis."""
        return self.context.namespace.max(self, axis, keepdims)  # type: ignore[no-any-return]

    def axes(self, axis: Any) -> tuple[int, ...]:
        """Return the axes of the parts that `axis` names; the hidden axis is axis 0 of a part."""
        if axis is None:
            return tuple(range(1, self.ndim + 1))
        return tuple(i % self.ndim + 1 for i in (axis if isinstance(axis, tuple) else (axis,)))


@dataclass(frozen=True)
class Mask:
    """The outcome of a comparison, with the rays' hidden axis: shape (q, ...)."""

    context: RayContext
    data: Array
    dtype = np.dtype(bool)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.data.shape[1:]

    __array_namespace__ = Ray.__array_namespace__
    __array_function__ = Ray.__array_function__


def constant(context: RayContext, value: Any) -> Ray:
    """Return an array that does not depend on the coordinate."""
    value = np.asarray(value, dtype=np.float64)[None]
    taylor = np.concatenate([value[None], np.zeros((context.terms - 1, *value.shape))])
    nothing = np.zeros_like(value)
    return Ray(context, taylor, nothing, nothing, nothing, 0)


def along(context: RayContext, x: Array, entries: Array, ends: Array) -> Ray:
    """Return a leaf x as a function of some of its entries, given by p flat indices.

    `ends`, of shape (points, p), has the value of each of these entries at each point.
    """
    taylor = np.zeros((context.terms, len(ends), context.p, x.size))
    taylor[0] = x.reshape(-1)
    rays = np.arange(context.p)
    for point, end in enumerate(ends):
        taylor[0, point, rays, entries] = end
        taylor[1, point, rays, entries] = 1.0
    # (terms, points, p, size) -> (terms, q, ...) with q = points * p
    taylor = taylor.reshape(context.terms, len(ends) * context.p, *x.shape)
    nothing = np.zeros_like(taylor[0])
    return Ray(context, taylor, nothing, taylor[1].copy(), nothing, 0)
