"""The gradient under test: its source, and the round-off of its numbers.

A gradient of n-bit numbers is not exact, even if its formula is right. With the unit round-off ε of
its dtype, an entry a of a leaf A at the parameter x is taken to be off by at most::

    4 ε |a|                      the rounding of the last operations
    8 ε |f''| |x|                the rounding of the parameters
    8 ε min(|A|, |X A| / |x|)    the rounding of sums whose terms cancel; |A| is the largest |a|

The first two are backward error analysis (Higham, *Accuracy and Stability of Numerical
Algorithms*, 2nd ed., 2002, section 1.5); the last is a heuristic, scaled to the entry so that a
leaf of mixed sizes does not hide its small entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.arrays.read_only import read_only
from gradlab.errors import BackendError, LossError, ParameterError
from gradlab.gradients import find_backend, is_estimator
from gradlab.gradients.protocol import Loss, differentiates, note_origin
from gradlab.gradients.surface import Surface
from gradlab.params import Array, flatten, leaves_like

ACCUMULATION_MESSAGE = (
    "grows by the same amount at each call: the function adds to its last result (as += does); "
    "set that to zero first"
)
"""What a gradient does whose function adds to its last result, and the advice."""


@dataclass(frozen=True)
class Analytic:
    """The gradient under test as a vector."""

    # Shape (p,): the gradient in the order of `Surface.x`; NaN where an entry is missing.
    values: Array
    epsilon: Array  # shape (p,): the unit round-off of each entry's dtype
    floor: Array  # shape (p,): the part of the round-off that does not depend on the loss

    def roundoff(self, i: Any, curvature: Any, x: Any) -> Any:
        """Return a bound on the round-off of entry `i`, given the second derivative `curvature`."""
        with np.errstate(all="ignore"):
            bent = np.nan_to_num(np.abs(curvature * x), nan=0.0, posinf=0.0)
        return self.floor[i] + 8 * self.epsilon[i] * bent


def analytic_side(
    gradient: Any, loss: Loss, params: Any, args: tuple[Any, ...], surface: Surface
) -> Analytic:
    """Evaluate the gradient under test, if it is a function or a backend.

    Raises
    ------
    ParameterError
        If its structure or a shape differs from that of the parameters.
    LossError
        If it is not deterministic, or adds to its last result.
    BackendError
        If it is a backend that estimates, because single estimates differ from the gradient.
    """
    found = _compute(gradient, loss, params, args, surface)
    leaves = leaves_like(params, found, "the gradient", _numbers)
    if callable(gradient):
        _require_same_again(leaves, lambda: _compute(gradient, loss, params, args, surface), params)
    return analytic_of(leaves, surface)


def analytic_of(leaves: Sequence[Array], surface: Surface) -> Analytic:
    """Return a computed gradient, given by its leaves."""
    rows = [
        _row(found, np.asarray(leaf), surface.x[span])
        for found, leaf, span in zip(leaves, surface.leaves, surface.spans, strict=True)
    ]
    values, epsilon, floor = np.concatenate([np.empty((3, 0)), *rows], axis=1)
    return Analytic(values, epsilon, floor)


def _require_same_again(first: Sequence[Array], compute: Callable[[], Any], params: Any) -> None:
    """Raise a LossError if the gradient under test is not deterministic."""

    def again() -> list[Array]:
        return [np.asarray(leaf) for leaf in leaves_like(params, compute(), to_leaf=_numbers)]

    first = [np.array(leaf) for leaf in first]
    second = [leaf.copy() for leaf in again()]
    changed = [k for k, (a, b) in enumerate(zip(first, second, strict=True)) if not _same(a, b)]
    if not changed:
        return
    path = flatten(params)[1].paths[changed[0]]
    third = again()
    if all(is_accumulating(first[k], second[k], third[k]) for k in changed):
        raise LossError(f"the gradient of {path} {ACCUMULATION_MESSAGE}")
    raise LossError(f"the gradient of {path} is not deterministic: fix its seed")


def is_accumulating(first: Array, second: Array, third: Array) -> bool:
    """Tell whether three results of the same call differ by the same amount each time."""
    return not _same(first, second) and _same(third - second, second - first)


def _same(a: Array, b: Array) -> bool:
    """Tell whether two gradients of a leaf are equal within the round-off of their dtype."""
    close = 1e4 * epsilon_of(a)
    return bool(np.allclose(a, b, rtol=close, atol=close, equal_nan=True))


def _compute(
    gradient: Any, loss: Loss, params: Any, args: tuple[Any, ...], surface: Surface
) -> Any:
    if isinstance(gradient, str) or differentiates(gradient):
        backend = find_backend(gradient)
        if is_estimator(backend):
            raise BackendError(
                f"{backend.name} estimates gradients, which are right only on average: no single "
                "one can be checked; check a backend that does not estimate, such as autograd"
            )
        surface.restore()
        return backend.value_and_grad(loss)(params, *args)[1]
    if not callable(gradient):
        return gradient
    try:
        own = surface.structure.unflatten([own_copy(leaf) for leaf in surface.leaves])
        return gradient(own, *read_only(args))
    except Exception as error:
        note_origin(error, "the gradient at the parameters")
        raise


def own_copy(leaf: Array) -> Array:
    """Return a read-only copy, so that the parameters cannot change."""
    copy = leaf.copy()
    copy.flags.writeable = False
    return copy


def _numbers(value: Any, path: str) -> Array:
    """Return an array of real numbers; NaN is allowed, since the check reports it."""
    try:
        array = np.asarray(value)
    except Exception as error:
        raise ParameterError(f"the gradient of {path} is not an array: {error}") from error
    if array.dtype.kind not in "fiu":
        raise ParameterError(
            f"the gradient of {path} is {value!r:.60}; expected an array of real numbers"
        )
    return array


def epsilon_of(*arrays: Array) -> float:
    """Return the unit round-off of the coarsest of some arrays; integers count as float64."""
    kinds = [array.dtype for array in arrays if array.dtype.kind == "f"]
    return max((float(np.finfo(kind).eps) for kind in kinds), default=2.0**-52)


def _row(gradient: Array, leaf: Array, x: Array) -> Array:
    """Values, unit round-off and floor of one leaf, shape (3, its size)."""
    a = gradient.astype(np.float64).ravel()
    # A hand-written gradient may compute in the parameters' precision and store in a wider one.
    epsilon = epsilon_of(gradient, leaf)
    size, x = np.nan_to_num(np.abs(a), posinf=0.0), np.abs(x.astype(np.float64))
    with np.errstate(all="ignore"):
        shared = np.fmin(size.max(initial=0.0), (size * x).max(initial=0.0) / x)
    floor = 4 * epsilon * size + 8 * epsilon * shared
    return np.stack([a, np.full(a.shape, epsilon), floor])
