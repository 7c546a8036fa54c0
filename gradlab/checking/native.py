"""Losses of PyTorch and JAX as functions of NumPy arrays, which the checker can measure.

`check_gradients` measures slopes on NumPy arrays. This module turns a native loss into a function
of such arrays. Each evaluation converts the parameters to native arrays, calls the loss on them,
and returns its value. The gradient under test comes from the library's own reverse mode for the
same loss, or from a native function of the caller.

Slopes are most accurate in float64. The loss is therefore evaluated in float64 first, with all
native arrays of floats among its arguments in float64 as well. If it raises, it is evaluated in its
own precision, and the report says so.

A complex leaf ``z`` becomes two real ones, ``z.real`` and ``z.imag``. Its derivative is
∂L/∂re + i ∂L/∂im in PyTorch, and the conjugate of that in JAX. The check of each library uses its
own convention.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike

from gradlab.checking.native_jax import JaxLoss, is_jax
from gradlab.checking.native_torch import TorchLoss, is_torch
from gradlab.checking.native_way import OWN, Gradient, NativeWay
from gradlab.checking.pairs import FirstOfPair
from gradlab.errors import GradlabError, LossError, reason_of
from gradlab.gradients import find_backend
from gradlab.gradients.probing import size_of
from gradlab.gradients.protocol import Loss, real_scalar
from gradlab.params import Array, flatten

LISTED = 5
"""Largest number of parameters that a note names."""


class NativeLoss(Protocol):
    """A loss with its parameters and arguments, in one library."""

    library: str
    backend: str
    loss: Loss
    names: list[str]
    leaves: list[Array]
    conjugates: bool
    """Whether the derivative by a complex leaf is ∂L/∂re − i ∂L/∂im instead of the conjugate."""

    def ways(self, dtype: np.dtype[Any] | None) -> list[NativeWay]:
        """Return the ways to evaluate the loss, in the order of preference."""

    def value(self, way: NativeWay, leaves: Sequence[Array]) -> Any:
        """Return the loss at the given NumPy leaves."""

    def reverse_mode(self, way: NativeWay, leaves: Sequence[Array]) -> tuple[Any, Gradient]:
        """Return the loss and the library's own gradient, with None for a leaf without one."""

    def apply(
        self, way: NativeWay, gradient: Callable[..., Any], leaves: Sequence[Array]
    ) -> Gradient:
        """Return the gradient that a native function returns."""

    def wants_numpy(self, error: Exception) -> bool:
        """Tell whether reverse mode failed because the loss converts arrays to NumPy's."""

    def read(self, gradient: Any) -> Gradient:
        """Return a gradient in the structure of the parameters as NumPy arrays."""


class Name(str):
    """The name of a parameter, such as ``0.weight``, which reports show unchanged."""

    __slots__ = ()

    def isidentifier(self) -> bool:
        """Return True, since `gradlab.params` puts other names in brackets and quotes."""
        return True


@dataclass(frozen=True)
class NativeProblem:
    """A native loss and its gradient as functions of NumPy arrays."""

    # Functions of a dict of arrays of floats, one per name.
    loss: Callable[[dict[Name, Array]], Any]
    params: dict[Name, Array]  # the point at which to check
    gradient: Any
    dtype: Any  # dtype of the perturbed parameters; None for float64
    notes: tuple[str, ...]  # notes on the evaluation for the report


def is_native(params: Any) -> bool:
    """Tell whether parameters belong to PyTorch or JAX: tensors, an ``nn.Module``, a pytree.

    Examples
    --------
    >>> is_native({"w": np.ones(3)})
    False
    """
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
    make: Callable[..., NativeLoss] = TorchLoss if is_torch(params) else JaxLoss
    first = FirstOfPair(loss)
    native = make(first, params, args)
    asked = None if dtype is None else np.dtype(dtype)
    try:
        way, value, found, refusals = _first_that_runs(native, asked, first)
    except GradlabError:
        raise
    except Exception as error:
        plain = native.wants_numpy(error) or not _evaluates(native, asked)
        if plain and _is_plain(first, params, args):
            return None
        raise
    if first.pair and gradient == "autograd":
        gradient = first.second
    notes = _precision_notes(native, way, value, refusals)
    if is_own := isinstance(gradient, str) and gradient in ("autograd", native.backend):
        notes += _missing_notes(native, way, value, found)
    leaves = real_parts(native.names, native.leaves)
    given = {name: leaf.astype(way.dtype or leaf.dtype) for name, leaf in leaves.items()}
    return NativeProblem(
        loss=lambda given: native.value(way, from_real_parts(given, native.leaves)),
        params=given,
        gradient=_claim(native, way, "own" if is_own else gradient, np.asarray(value).dtype),
        dtype=np.result_type(np.float32, *given.values()),
        notes=tuple(notes),
    )


def _first_that_runs(
    native: NativeLoss, dtype: np.dtype[Any] | None, first: FirstOfPair
) -> tuple[NativeWay, Any, Gradient, list[Exception]]:
    """Return the first way that evaluates the loss and its gradient, with both.

    If the loss returns its gradient, the library does not differentiate it, because the loss may
    have freed its graph.
    """
    refusals: list[Exception] = []
    ways = native.ways(dtype)
    for way in ways:
        try:
            value = native.value(way, native.leaves)
            found: Gradient = [None for _ in native.leaves]
            if not first.pair:
                value, found = native.reverse_mode(way, native.leaves)
            return way, real_scalar(value), found, refusals
        except GradlabError:
            raise
        except Exception as error:
            if way is ways[-1]:
                error.add_note(f"raised by the loss, differentiated by {native.library}")
                raise
            refusals.append(error)
    raise AssertionError("a native loss has at least one way of evaluation")


def _evaluates(native: NativeLoss, dtype: np.dtype[Any] | None) -> bool:
    """Tell whether a loss has a value at native arrays, so that only reverse mode fails."""
    try:
        native.value(native.ways(dtype)[-1], native.leaves)
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
        arrays = [a.conj() for a in arrays] if native.conjugates else arrays
        named = real_parts(native.names, arrays, native.leaves)
        return {name: _narrowed(array, value) for name, array in named.items()}

    if isinstance(gradient, str) and gradient == "own":
        return lambda given: as_dict(
            native.reverse_mode(way, from_real_parts(given, native.leaves))[1]
        )
    if isinstance(gradient, str) or callable(getattr(gradient, "value_and_grad", None)):
        backend = find_backend(gradient)
        if backend.name != native.backend:
            return backend  # a numerical backend differentiates the function of NumPy arrays
        f = backend.value_and_grad(native.loss)
        return lambda given: as_dict(
            native.apply(way, lambda *args: f(*args)[1], from_real_parts(given, native.leaves))
        )
    if callable(gradient):
        return lambda given: as_dict(
            native.apply(way, gradient, from_real_parts(given, native.leaves))
        )
    return as_dict(native.read(gradient))


def _narrowed(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array of floats in `dtype` if that is narrower than its own."""
    is_narrower = dtype.kind == array.dtype.kind == "f" and dtype.itemsize < array.dtype.itemsize
    return array.astype(dtype) if is_narrower else array


# Native leaves to real ones, and back


def real_parts(
    names: Sequence[str], arrays: Sequence[Array], like: Sequence[Array] | None = None
) -> dict[Name, Array]:
    """Return arrays by name; one that is complex in `like`, as its real and imaginary parts.

    Examples
    --------
    >>> real_parts(["z", "x"], [np.array([1 + 2j]), np.array([3.0])])
    {'z.real': array([1.]), 'z.imag': array([2.]), 'x': array([3.])}
    """
    found: dict[Name, Array] = {}
    for name, array, one in zip(names, arrays, like or arrays, strict=True):
        if one.dtype.kind == "c":
            found[Name(f"{name}.real")] = np.array(array.real)
            found[Name(f"{name}.imag")] = np.array(array.imag)
        else:
            found[Name(name)] = np.array(array)
    return found


def from_real_parts(given: dict[Any, Array], like: Sequence[Array]) -> list[Array]:
    """Return the arrays of such a dict, complex where those of `like` are.

    Examples
    --------
    >>> from_real_parts({"z.real": np.ones(1), "z.imag": np.ones(1)}, [np.array([0j])])
    [array([1.+1.j])]
    """
    parts = iter(given.values())
    return [
        next(parts) + 1j * next(parts) if array.dtype.kind == "c" else next(parts) for array in like
    ]


# Notes for the report


def _precision_notes(
    native: NativeLoss, way: NativeWay, value: Any, refusals: list[Exception]
) -> list[str]:
    """Return notes if the loss is not evaluated in float64."""
    dtype = np.asarray(value).dtype
    if refusals and way is OWN:
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
    if len(missing) == len(found) and native.value(way, _beside(native.leaves)) == value:
        raise LossError(
            "the loss does not depend on the parameters that it is given: compute it from its "
            "first argument (of a module, that is a copy), not from what the loss closes over"
        )
    rest = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
    return [f"{native.library} has no gradient for {', '.join(missing[:LISTED])}{rest}: taken as 0"]


def _beside(leaves: Sequence[Array]) -> list[Array]:
    """Return leaves at a nearby point."""
    rng = np.random.default_rng(0)
    return [
        np.asarray(leaf + size_of(leaf) * rng.uniform(-0.1, 0.1, leaf.shape), leaf.dtype)
        for leaf in leaves
    ]
