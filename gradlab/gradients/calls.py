"""What is fixed about a call of a gradient, by which what was prepared for it is found again.

A backend that records or compiles a loss does so once for all calls of one *key*: the structure of
the parameters and arguments, the shapes and dtypes of the arrays among them, and the values of
everything else. With ``out``, a call also says where its gradient goes.
"""

from __future__ import annotations

import types
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from autograd.tracer import isbox

from gradlab.arrays.dispatch import held, is_buffer
from gradlab.errors import ParameterError, UntraceableError
from gradlab.params import Array, Structure

HIGHER = (
    "the tape holds first derivatives alone, and its gradient is being differentiated: "
    'use backend="autograd" for the inner gradient'
)


class HigherDerivativeError(UntraceableError):
    """The tape's gradient is being differentiated."""


# Keys


class UnkeyableError(UntraceableError):
    """An argument of which it cannot be told whether it is the same again."""


def key_of(params: Any, leaves: list[Any]) -> Any:
    """Return what is fixed about parameters; their leaves are appended as arrays."""
    kind = type(params)
    if kind is np.ndarray:
        leaves.append(params)
        return params.shape, params.dtype
    if is_buffer(params):
        return key_of(held(params), leaves)
    if isinstance(params, dict):
        return kind, *params, *[key_of(child, leaves) for child in params.values()]
    if isinstance(params, (list, tuple)):
        return kind, *[key_of(child, leaves) for child in params]
    if isbox(params):
        raise HigherDerivativeError(HIGHER)
    try:
        leaf = np.asarray(params)
    except Exception as error:
        raise UnkeyableError(f"{kind.__name__} is no parameter") from error
    leaves.append(leaf)
    return kind, leaf.shape, leaf.dtype


_VALUES = (type(None), bool, int, str, bytes, type, np.dtype, range, type(...), frozenset)
_FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.ModuleType,
    np.ufunc,
    partial,
)


def key_of_argument(value: Any, arrays: list[Any]) -> Any:
    """Return what is fixed about an argument; the arrays in it are appended."""
    if is_buffer(value):
        return key_of_argument(held(value), arrays)
    kind = type(value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc":
        if isinstance(value, np.ma.MaskedArray):
            raise UnkeyableError("an argument is a masked array")
        arrays.append(value)
        return kind, value.shape, value.dtype
    if isinstance(value, (*_VALUES, *_FUNCTIONS)):
        return kind, value
    if kind in (float, complex):
        return kind, repr(value)  # 0.0 is not -0.0, and nan is nan
    if kind is dict:
        return kind, *value, *[key_of_argument(child, arrays) for child in value.values()]
    if kind is list or isinstance(value, tuple):
        return kind, *[key_of_argument(child, arrays) for child in value]
    if kind is slice:
        return kind, value.start, value.stop, value.step
    if isbox(value):
        raise HigherDerivativeError(HIGHER)
    methods: Any = kind.__eq__, kind.__hash__
    if methods[0] is not object.__eq__ and methods[1] not in (None, object.__hash__):
        try:
            hash(value)
        except TypeError:
            pass
        else:
            return kind, value
    raise UnkeyableError(
        f"an argument is a {kind.__name__}, which may be changed between two calls; "
        "give the arrays and numbers in it instead"
    )


# Where a gradient goes


def out_leaves(out: Any, gradients: Sequence[Array], structure: Structure) -> list[Array]:
    """Return the arrays of the caller's that take a gradient, or say why they cannot."""
    targets: list[Any] = []
    key_of(out, targets)
    if len(targets) != len(gradients):
        raise ParameterError(
            f"out holds {len(targets)} arrays; the gradient has {len(gradients)}: "
            f"{', '.join(structure.paths)}"
        )
    for path, target, gradient in zip(structure.paths, targets, gradients, strict=True):
        if target.shape != gradient.shape or target.dtype != gradient.dtype:
            raise ParameterError(
                f"out: {path} is {target.shape} {target.dtype}; "
                f"the gradient there is {gradient.shape} {gradient.dtype}"
            )
        if not target.flags.writeable:
            raise ParameterError(f"out: {path} is read-only")
    return targets


def owners(arrays: Sequence[Any]) -> list[Array]:
    """Return the arrays to which the memory of these belongs, each once."""
    found = [array.base if isinstance(array.base, np.ndarray) else array for array in arrays]
    return [*{id(array): array for array in found}.values()]


def require_apart(targets: Sequence[Array], inputs: Sequence[Any], structure: Structure) -> None:
    """Raise an error where a derivative would be written over what it is computed from."""
    for path, target in zip(structure.paths, targets, strict=True):
        if any(np.may_share_memory(target, array) for array in inputs):
            raise ParameterError(f"out: {path} shares memory with a parameter or an argument")
