"""Adapt a function to the backends: parameters first, all outputs in one vector.

A function may take several arguments and keyword arguments, and return a structure of arrays and
auxiliary data. `adapted` makes it a function of its differentiated arguments, `flat` concatenates
its outputs, and `weighted` returns their weighted sum. The latter is a loss, so every backend
differentiates it: its gradient is the vector-Jacobian product with the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeAlias

import numpy as np

from gradlab import options
from gradlab.arrays.conversions import Conversion, conversions, is_tracing, returned
from gradlab.arrays.dispatch import held
from gradlab.arrays.read_only import read_only
from gradlab.errors import LossError, NonFiniteError, OptionError
from gradlab.gradients.protocol import raise_from_loss
from gradlab.layout import Layout
from gradlab.params import Array, Structure, entry, first, flatten, floating, read

Function: TypeAlias = Callable[..., Any]
"""``f(params, *args, **keywords) -> outputs``: pure; the outputs are a structure of arrays."""

BARE = "output"
"""The path of a bare output."""


# Arguments


def check_argnums(argnums: Any) -> int | tuple[int, ...]:
    """Return the positions of the differentiated arguments; raise an error if they are not valid.

    Examples
    --------
    >>> check_argnums((2, 0))
    (2, 0)
    >>> check_argnums(-1)
    Traceback (most recent call last):
    gradlab.errors.OptionError: argnums=-1: give the position of an argument, from 0, or a tuple...
    """
    advice = "give the position of an argument, from 0, or a tuple of positions"
    if not isinstance(argnums, tuple | list):
        return options.integer("argnums", argnums, advice, least=0)
    found = options.each("argnums", argnums, partial(options.integer, least=0), advice, fewest=1)
    if len(set(found)) < len(found):
        raise options.refusal("argnums", argnums, "give each position once")
    return tuple(found)


def split(argnums: int | tuple[int, ...], args: Sequence[Any]) -> tuple[Any, tuple[Any, ...]]:
    """Return the differentiated arguments, and the others.

    Examples
    --------
    >>> split((2, 0), ("a", "b", "c"))
    (('c', 'a'), ('b',))
    """
    chosen = argnums if isinstance(argnums, tuple) else (argnums,)
    if max(chosen) >= len(args):
        raise OptionError(
            f"argnums={argnums!r}: the function was called with {len(args)} positional arguments"
        )
    params = tuple(args[i] for i in chosen)
    others = tuple(arg for i, arg in enumerate(args) if i not in chosen)
    return (params if isinstance(argnums, tuple) else params[0]), others


def adapted(function: Function, argnums: int | tuple[int, ...], has_aux: bool) -> Function:
    """Return the function of ``(params, *others)`` that returns only the outputs."""
    if argnums == 0 and not has_aux:
        return function
    called = with_aux(function, argnums)
    return partial(_outputs, called) if has_aux else called


def with_aux(function: Function, argnums: int | tuple[int, ...]) -> Function:
    """Return the function of ``(params, *others)`` with everything that it returns."""
    return partial(_call, function, argnums)


def _outputs(function: Function, params: Any, *others: Any) -> Any:
    if not is_tracing():
        return pair_of(function(params, *others))[0]
    with conversions() as noted:
        outputs, aux = pair_of(held(function(params, *others)))
    spare = flatten(aux, lambda value, path: value)[0]  # numbers that need no derivative
    noted = [c for c in noted if not any(c.number is value for value in spare)]
    leaves, structure = _settled(outputs, noted)
    return structure.unflatten(leaves)


def _call(function: Function, argnums: Any, params: Any, *others: Any) -> Any:
    chosen = argnums if isinstance(argnums, tuple) else (argnums,)
    values = params if isinstance(argnums, tuple) else (params,)
    arguments = list(others)
    for position, value in sorted(zip(chosen, values, strict=True), key=lambda pair: pair[0]):
        arguments.insert(position, value)
    return function(*arguments)


def pair_of(value: Any) -> tuple[Any, Any]:
    """Return outputs and auxiliary part of what a function with ``has_aux`` returned."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise LossError(
            f"has_aux=True: the function returned {type(value).__name__}; "
            "return a pair (outputs, aux)"
        )
    return value[0], value[1]


# Outputs


def flat(function: Function, params: Any, *args: Any) -> Any:
    """Return all outputs of a function as one vector, on plain and on traced arrays."""
    leaves = leaves_of(function, params, args)
    if len(leaves) == 1:
        return np.ravel(leaves[0])
    return np.concatenate([np.ravel(leaf) for leaf in leaves]) if leaves else np.zeros(0)


def weighted(function: Function, params: Any, *args: Any) -> Any:
    """Return the weighted sum of all outputs of a function.

    The last argument is the vector of the weights. It is data, so one recording or compiled
    function serves all weights. This function calls only methods of arrays, because the outputs may
    be arrays of any library.

    Examples
    --------
    >>> weighted(lambda x: {"a": x, "b": x[0] * x[1]}, np.array([2.0, 3.0]), np.array([1.0, 0, 10]))
    np.float64(62.0)
    """
    *rest, weights = args
    total, start = 0.0, 0
    for leaf in leaves_of(function, params, rest):
        row = leaf.reshape(-1) if hasattr(leaf, "reshape") else np.ravel(leaf)
        size = row.shape[0]
        share = weights if size == weights.shape[0] else weights[start : start + size]
        total = total + (row * share).sum()
        start += size
    return total


def leaves_of(function: Function, params: Any, args: Sequence[Any]) -> list[Any]:
    """Return the outputs, with traced values in place of numbers made from them."""
    if not is_tracing():
        return flatten(function(params, *args), lambda value, path: held(value))[0]
    with conversions() as noted:
        outputs = held(function(params, *args))
    return _settled(outputs, noted)[0]


def _settled(outputs: Any, noted: Sequence[Conversion]) -> tuple[list[Any], Structure]:
    """Flatten outputs, with the traced value in place of each number that was made from it."""
    used: list[Conversion] = []

    def leaf(value: Any, path: str) -> Any:
        for conversion in noted:
            if conversion.number is value:
                used.append(conversion)
                return conversion.traced
        return held(value)

    flattened = flatten(outputs, leaf)
    # A number that is not an output was made for another purpose, and is refused.
    returned(None, [conversion for conversion in noted if conversion not in used])
    return flattened


@dataclass(frozen=True)
class Outputs(Layout):
    """The outputs of a function at a point, and their structure."""

    vector: Array  # shape (m,): all entries, leaf by leaf, in C order
    dtypes: tuple[np.dtype[Any], ...]  # of each leaf


def outputs_of(value: Any, place: str = "", *, finite: bool = True) -> Outputs:
    """Return the outputs of a function on plain arrays; `finite` requires finite numbers.

    Raise a LossError or a NonFiniteError if an output is not an array of finite real numbers; the
    message names it.
    """
    leaves, structure = flatten(value, partial(_output, place, finite))
    paths = tuple(BARE if path == "params" else path for path in structure.paths)
    parts = [floating(leaf).ravel() if leaf.dtype.kind != "b" else leaf.ravel() for leaf in leaves]
    vector = np.concatenate([np.zeros(0), *parts])
    structure = Structure(structure.template, paths, structure.scalars)
    shapes = tuple(leaf.shape for leaf in leaves)
    return Outputs(structure, shapes, paths, vector, tuple(leaf.dtype for leaf in leaves))


def _output(place: str, finite: bool, value: Any, path: str) -> Array:
    name = BARE if path == "params" else path
    where = f" at {place}" if place else ""
    array = read(value, name, LossError)
    if array.dtype.kind not in "biuf":
        what = "complex" if array.dtype.kind == "c" else f"of dtype {array.dtype}"
        raise LossError(
            f"{name}{where} is {what}; the outputs of a function are arrays of real numbers"
            + (": return its real and imaginary parts" if array.dtype.kind == "c" else "")
        )
    if finite and not np.isfinite(array).all():
        index = first(~np.isfinite(array))
        raise NonFiniteError(f"{entry(name, index)} is {array[index]}{where}")
    return array


# The point at which a function is differentiated


@dataclass(frozen=True)
class Point:
    """A function, the point at which it is differentiated, and its outputs there."""

    function: Function  # ``function(params, *args) -> outputs``
    params: Any  # the parameters as they were given
    args: tuple[Any, ...]  # the other arguments of the function
    leaves: list[Array]
    structure: Structure  # that of the parameters
    outputs: Outputs

    @cached_property
    def layout(self) -> Layout:
        """The parameters as one vector."""
        return Layout.of(self.leaves, self.structure)

    @property
    def size(self) -> int:
        """The number of entries of the parameters, p."""
        return self.layout.size


def evaluated(function: Function, params: Any, args: Sequence[Any]) -> Any:
    """Return the outputs of a function on plain, read-only arrays."""
    try:
        return function(read_only(params), *map(read_only, args))
    except Exception as error:
        raise_from_loss(error, "the given parameters")
