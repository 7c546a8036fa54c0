"""Losses of PyTorch and JAX, as the checker sees them: functions of NumPy's arrays.

`check_gradients` measures slopes on NumPy arrays. Here a native loss becomes such a function: each
evaluation makes native arrays of the parameters, calls the loss on them and returns its number. The
gradient under test is what the library's own reverse mode gives for the same loss, or a native
function of the caller's.

Slopes are best measured in float64. So the loss is tried in float64 first, with arguments that are
native arrays of floats in float64, too. If it raises there, it is evaluated in its own precision,
and the report says so.

A complex leaf ``z`` becomes two real ones, ``z.real`` and ``z.imag``. Its derivative is
∂L/∂re + i ∂L/∂im in PyTorch, and the conjugate of that in JAX. Each is held to its own convention.
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
"""Number of parameters that a note names."""


class NativeLoss(Protocol):
    """A loss at its parameters and arguments, in the hands of one library."""

    library: str
    backend: str
    loss: Loss
    names: list[str]
    leaves: list[Array]
    conjugates: bool
    """Whether the derivative by a complex leaf is ∂L/∂re − i ∂L/∂im, not ∂L/∂re + i ∂L/∂im."""

    def ways(self, dtype: np.dtype[Any] | None) -> list[NativeWay]:
        """Return the ways to evaluate the loss, in the order of preference."""

    def value(self, way: NativeWay, leaves: Sequence[Array]) -> Any:
        """Return the loss at leaves of NumPy's."""

    def reverse_mode(self, way: NativeWay, leaves: Sequence[Array]) -> tuple[Any, Gradient]:
        """Return the loss and the library's own gradient, with None for a leaf that has none."""

    def apply(
        self, way: NativeWay, gradient: Callable[..., Any], leaves: Sequence[Array]
    ) -> Gradient:
        """Return what a native function gives as the gradient."""

    def read(self, gradient: Any) -> Gradient:
        """Return a gradient in the structure of the parameters as arrays of NumPy's."""


class Name(str):
    """The name of a parameter, such as ``0.weight``, which a report shows as it stands."""

    __slots__ = ()

    def isidentifier(self) -> bool:
        """Return True: `gradlab.params` puts other names in brackets and quotes."""
        return True


@dataclass(frozen=True)
class NativeProblem:
    """A native loss and its gradient as functions of NumPy's arrays.

    Attributes
    ----------
    loss, gradient : callable
        Of a dict of arrays of floats, one for each name.
    params : dict
        Where to check.
    dtype : dtype or None
        In which the parameters are moved; None for float64.
    notes : tuple of str
        What the report has to say about the evaluation.
    """

    loss: Callable[[dict[Name, Array]], Any]
    params: dict[Name, Array]
    gradient: Any
    dtype: Any
    notes: tuple[str, ...]


def is_native(params: Any) -> bool:
    """Tell whether parameters are PyTorch's or JAX's: tensors, an ``nn.Module``, a pytree.

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
    """Return a native loss as a function of NumPy's arrays; None if it is plain NumPy after all.

    Raises
    ------
    LossError
        If the loss does not depend on the parameters that it is given.
    ParameterError
        If a parameter is no array of floats.
    """
    make: Callable[..., NativeLoss] = TorchLoss if is_torch(params) else JaxLoss
    first = FirstOfPair(loss)
    native = make(first, params, args)
    asked = None if dtype is None else np.dtype(dtype)
    try:
        way, value, found, refusals = _first_that_runs(native, asked, first)
    except GradlabError:
        raise
    except Exception:
        if _is_plain(first, params, args):
            return None
        raise
    if first.pair and gradient == "autograd":
        gradient = first.second
    notes = _precision_notes(native, way, value, refusals)
    if is_own := isinstance(gradient, str) and gradient in ("autograd", native.backend):
        notes += _missing_notes(native, way, value, found)
    leaves = _as_dict(native, native.leaves)
    given = {name: leaf.astype(way.dtype or leaf.dtype) for name, leaf in leaves.items()}
    return NativeProblem(
        loss=lambda given: native.value(way, _as_leaves(native, given)),
        params=given,
        gradient=_claim(native, way, "own" if is_own else gradient, np.asarray(value).dtype),
        dtype=np.result_type(np.float32, *given.values()),
        notes=tuple(notes),
    )


def _first_that_runs(
    native: NativeLoss, dtype: np.dtype[Any] | None, first: FirstOfPair
) -> tuple[NativeWay, Any, Gradient, list[Exception]]:
    """Return the first way in which the loss and its gradient can be had, and what they are.

    The library differentiates no loss that returns its gradient, which may have used up its graph.
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
    raise AssertionError("a native loss can be evaluated in one way at least")


def _is_plain(loss: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> bool:
    """Tell whether a loss is plain NumPy: of NumPy's arrays, it makes a number of NumPy's."""
    try:
        leaves, structure = flatten(params)
        value = loss(structure.unflatten(leaves), *args)
    except Exception:
        return False
    return isinstance(value, (np.generic, np.ndarray, float, int))


# The gradient under test


def _claim(native: NativeLoss, way: NativeWay, gradient: Any, value: np.dtype[Any]) -> Any:
    """Return the gradient under test as `check_gradients` takes it.

    Parameters
    ----------
    gradient : str, Backend, callable or structure
        What the caller gave; "own" for the library's reverse mode.
    value : dtype
        Of the loss. Where it is narrower than the parameters, so is the gradient.
    """

    def as_dict(found: Gradient) -> dict[Name, Array]:
        arrays = [
            np.zeros(leaf.shape) if array is None else np.asarray(array)
            for array, leaf in zip(found, native.leaves, strict=True)
        ]
        named = _as_dict(native, [a.conj() for a in arrays] if native.conjugates else arrays)
        return {name: _narrowed(array, value) for name, array in named.items()}

    if isinstance(gradient, str) and gradient == "own":
        return lambda given: as_dict(native.reverse_mode(way, _as_leaves(native, given))[1])
    if isinstance(gradient, str) or callable(getattr(gradient, "value_and_grad", None)):
        backend = find_backend(gradient)
        if backend.name != native.backend:
            return backend  # a numerical one takes the loss as a function of NumPy's arrays
        f = backend.value_and_grad(native.loss)
        return lambda given: as_dict(
            native.apply(way, lambda *args: f(*args)[1], _as_leaves(native, given))
        )
    if callable(gradient):
        return lambda given: as_dict(native.apply(way, gradient, _as_leaves(native, given)))
    return as_dict(native.read(gradient))


def _narrowed(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return floats in a dtype, if that is narrower than theirs."""
    is_narrower = dtype.kind == array.dtype.kind == "f" and dtype.itemsize < array.dtype.itemsize
    return array.astype(dtype) if is_narrower else array


# From native leaves to real ones, and back


def _as_dict(native: NativeLoss, leaves: Sequence[Array]) -> dict[Name, Array]:
    """Return leaves by name; a complex one as two real ones."""
    found: dict[Name, Array] = {}
    for name, leaf, like in zip(native.names, leaves, native.leaves, strict=True):
        if like.dtype.kind == "c":
            found[Name(f"{name}.real")] = np.array(leaf.real)
            found[Name(f"{name}.imag")] = np.array(leaf.imag)
        else:
            found[Name(name)] = leaf
    return found


def _as_leaves(native: NativeLoss, given: dict[Name, Array]) -> list[Array]:
    """Return the leaves of such a dict."""
    arrays = iter(given.values())
    return [
        next(arrays) + 1j * next(arrays) if leaf.dtype.kind == "c" else next(arrays)
        for leaf in native.leaves
    ]


# What the report has to say


def _precision_notes(
    native: NativeLoss, way: NativeWay, value: Any, refusals: list[Exception]
) -> list[str]:
    """Say where the loss is not evaluated in float64."""
    dtype = np.asarray(value).dtype
    if refusals and way is OWN:
        return [
            f"evaluated in its own precision, as it raises in float64: {reason_of(refusals[0])}"
        ]
    if way.dtype == np.float64 and dtype.kind == "f" and dtype != np.float64:
        return [f"the loss returns {dtype}, also of parameters of float64"]
    return []


def _missing_notes(native: NativeLoss, way: NativeWay, value: Any, found: Gradient) -> list[str]:
    """Say which parameters have no gradient; raise if the loss depends on none at all."""
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
    """Return leaves at another point, not far away."""
    rng = np.random.default_rng(0)
    return [
        np.asarray(leaf + size_of(leaf) * rng.uniform(-0.1, 0.1, leaf.shape), leaf.dtype)
        for leaf in leaves
    ]
