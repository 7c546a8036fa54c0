"""Losses of PyTorch and JAX as functions of NumPy arrays, which the checker can measure.

`check_gradients` measures slopes on NumPy arrays. This module turns a native loss into a function
of such arrays. Each evaluation converts the parameters to native arrays, calls the loss on them,
and returns its value. The gradient under test comes from the library's own reverse mode for the
same loss, or from a native function of the caller.

Slopes are most accurate in float64. The loss is therefore evaluated in float64 first, with all
native arrays of floats among its arguments in float64 as well. If it raises, it is evaluated in its
own precision, and the report says so.

Complex parameters are checked in the convention of their library (`complex_numbers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from gradlab.checking.complex_numbers import Real, has_complex
from gradlab.checking.native_jax import JaxLoss, converts_to_numpy, is_jax
from gradlab.checking.native_torch import TorchLoss, is_torch
from gradlab.checking.native_way import (
    OWN_DTYPE,
    Gradient,
    Name,
    NativeWay,
    first_that_works,
    in_dtype,
    named,
    precision,
)
from gradlab.checking.pairs import FirstOfPair
from gradlab.errors import GradlabError, LossError, reason_of
from gradlab.gradients import find_backend
from gradlab.gradients.probing import size_of
from gradlab.gradients.protocol import differentiates, real_scalar
from gradlab.params import Array, flatten

NativeLoss: TypeAlias = TorchLoss | JaxLoss

MAX_LISTED = 5
"""Largest number of parameters that a note names."""


@dataclass(frozen=True)
class NativeProblem:
    """A native loss and its gradient as functions of NumPy arrays."""

    loss: Callable[[Any], Any]
    params: Any  # the point at which to check: arrays of floats, by name
    gradient: Any
    dtype: Any  # dtype of the perturbed parameters; None for float64
    notes: tuple[str, ...]  # notes on the evaluation for the report


def is_native(params: Any) -> bool:
    """Tell whether parameters belong to PyTorch or JAX: tensors, an ``nn.Module``, a pytree."""
    return is_torch(params) or is_jax(params)


def as_numpy(
    loss: Callable[..., Any],
    params: Any,
    args: tuple[Any, ...],
    gradient: Any,
    dtype: DTypeLike | None,
) -> NativeProblem | None:
    """Return a native loss as a function of NumPy arrays; None if the loss is plain NumPy.

    Raise a LossError if the loss does not depend on the parameters that it is given. Raise a
    ParameterError if a parameter is not an array of floats.
    """
    first = FirstOfPair(loss)
    native = (TorchLoss if is_torch(params) else JaxLoss)(first, params, args)
    ways = native.ways if dtype is None else (NativeWay(np.dtype(dtype)),)
    try:
        way, (value, found), refusals = first_that_works(
            ways, lambda way: _differentiated(native, way, first)
        )
    except GradlabError:
        raise
    except Exception as error:
        plain = converts_to_numpy(error) or not _evaluates(native, ways[-1])
        if plain and _is_plain(first, params, args):
            return None
        error.add_note(f"raised by the loss, differentiated by {native.library}")
        raise
    if first.pair and gradient == "autograd":
        gradient = first.second
    notes = _precision_notes(native, way, value, refusals)
    if is_own := isinstance(gradient, str) and gradient in ("autograd", native.backend):
        notes += _missing_notes(native, way, value, found)
    claim = _claim(native, way, "own" if is_own else gradient, np.asarray(value).dtype)
    point = named(native.names, [in_dtype(leaf, way.dtype) for leaf in native.leaves])

    def at(given: dict[Name, Array]) -> Any:
        return native.value(way, [*given.values()])

    dtype = precision(way, native.leaves)
    problem = NativeProblem(at, point, claim, dtype, tuple(notes))
    if not has_complex(point):
        return problem
    real = Real(at, point, 0.0, native.convention)
    claim = claim if differentiates(claim) else real.claim("gradient", claim)
    return replace(problem, loss=real.loss, params=real.params, gradient=claim)


def _differentiated(native: NativeLoss, way: NativeWay, first: FirstOfPair) -> tuple[Any, Gradient]:
    """Evaluate the loss and its gradient.

    If the loss returns its gradient, the library does not differentiate it, because the loss may
    have freed its graph.
    """
    value = native.value(way, native.leaves)
    found: Gradient = [None for _ in native.leaves]
    if not first.pair:
        value, found = native.reverse_mode(way, native.leaves)
    return real_scalar(value), found


def _evaluates(native: NativeLoss, way: NativeWay) -> bool:
    """Tell whether a loss has a value at native arrays, so that only reverse mode fails."""
    try:
        native.value(way, native.leaves)
    except Exception:
        return False
    return True


def _is_plain(loss: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> bool:
    """Tell whether a loss is plain NumPy: it maps NumPy arrays to a NumPy number."""
    try:
        leaves, structure = flatten(params)
        value = loss(structure.unflatten(leaves), *args)
    except Exception:
        return False
    return isinstance(value, (np.generic, np.ndarray, float, int))


# The gradient under test


def _claim(native: NativeLoss, way: NativeWay, gradient: Any, value: np.dtype[Any]) -> Any:
    """Return the gradient under test in a form that `check_gradients` takes.

    `gradient` is the caller's option, or "own" for the library's reverse mode; `value` is the dtype
    of the loss. If that is narrower than the dtype of the parameters, so is the gradient.
    """

    def as_dict(found: Gradient) -> dict[Name, Array]:
        arrays = [
            np.zeros(leaf.shape) if array is None else np.asarray(array)
            for array, leaf in zip(found, native.leaves, strict=True)
        ]
        return named(native.names, [_narrowed(array, value) for array in arrays])

    def applied(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda given: as_dict(native.apply(way, function, [*given.values()]))

    if isinstance(gradient, str) and gradient == "own":
        return lambda given: as_dict(native.reverse_mode(way, [*given.values()])[1])
    if isinstance(gradient, str) or differentiates(gradient):
        backend = find_backend(gradient)
        if backend.name != native.backend:
            return backend  # a numerical backend differentiates the function of NumPy arrays
        f = backend.value_and_grad(native.loss)
        return applied(lambda *args: f(*args)[1])
    return applied(gradient) if callable(gradient) else as_dict(native.read(gradient))


def _narrowed(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array in the precision of `dtype` if that is narrower than its own."""
    own = array.real.dtype
    is_narrower = dtype.kind == own.kind == "f" and dtype.itemsize < own.itemsize
    return in_dtype(array, dtype) if is_narrower else array


# Notes for the report


def _precision_notes(
    native: NativeLoss, way: NativeWay, value: Any, refusals: list[Exception]
) -> list[str]:
    """Return notes if the loss is not evaluated in float64."""
    dtype = np.asarray(value).dtype
    if refusals and way is OWN_DTYPE:
        return [
            f"evaluated in its own precision, as it raises in float64: {reason_of(refusals[0])}"
        ]
    if way.dtype == np.float64 and dtype.kind == "f" and dtype != np.float64:
        return [f"the loss returns {dtype} even at float64 parameters"]
    return []


def _missing_notes(native: NativeLoss, way: NativeWay, value: Any, found: Gradient) -> list[str]:
    """Return notes on parameters without a gradient; raise if the loss depends on none."""
    missing = [name for name, array in zip(native.names, found, strict=True) if array is None]
    if not missing:
        return []
    if len(missing) == len(found) and native.value(way, _nearby_leaves(native.leaves)) == value:
        raise LossError(
            "the loss does not depend on the parameters that it is given: compute it from its "
            "first argument (of a module, that is a copy), not from what the loss closes over"
        )
    rest = f" and {len(missing) - MAX_LISTED} more" if len(missing) > MAX_LISTED else ""
    return [
        f"{native.library} has no gradient for {', '.join(missing[:MAX_LISTED])}{rest}: taken as 0"
    ]


def _nearby_leaves(leaves: Sequence[Array]) -> list[Array]:
    """Return leaves at a nearby point."""
    rng = np.random.default_rng(0)
    return [
        np.asarray(leaf + size_of(leaf) * rng.uniform(-0.1, 0.1, leaf.shape), leaf.dtype)
        for leaf in leaves
    ]
