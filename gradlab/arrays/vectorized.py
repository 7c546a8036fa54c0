"""`numpy.vectorize` and `numpy.frompyfunc` on traced arrays: the function sees traced entries."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import as_traced, has_traced, held, is_traced, refuse_plain


def vectorized(made: Any, call: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Evaluate an object of `numpy.vectorize`, whose function runs as ``call(function, ...)``."""
    places = [place for place in (*range(len(args)), *kwargs) if place not in made.excluded]
    given: dict[Any, Any] = {**dict(enumerate(args)), **kwargs}
    ins, outs = _core_dimensions(made.signature, len(places))
    arrays = [as_array(as_traced(given[place])) for place in places]
    pairs = list(zip(arrays, ins, strict=True))
    shape = np.broadcast_shapes(*(np.shape(a)[: np.ndim(a) - n] for a, n in pairs))
    arrays = [np.broadcast_to(a, shape + np.shape(a)[np.ndim(a) - n :]) for a, n in pairs]
    found = []
    for entry in np.ndindex(*shape):
        given.update({place: a[entry] for place, a in zip(places, arrays, strict=True)})
        named = {name: given[name] for name in kwargs}
        found.append(call(made.pyfunc, *(given[i] for i in range(len(args))), **named))
    if outs > 1 or (found and isinstance(found[0], tuple)):
        return tuple(_joined(made, list(column), shape) for column in zip(*found, strict=True))
    return _joined(made, found, shape)


def _core_dimensions(signature: str | None, count: int) -> tuple[list[int], int]:
    """Return the number of axes that the function takes of each argument, and of its results."""
    if not signature:
        return [0] * count, 1
    ins, outs = signature.split("->")
    cores = re.findall(r"\(([^)]*)\)", ins)
    return [len(core.replace(",", " ").split()) for core in cores], outs.count("(")


def _joined(made: Any, items: list[Any], shape: tuple[int, ...]) -> Any:
    """Return the results as one array, of the dtype that NumPy takes from the first of them."""
    first = items[0]
    is_free = not made.otypes and not is_traced(first) and has_traced(items)
    if is_free and np.asarray(first).dtype.kind in "biu":
        refuse_plain(
            "calls np.vectorize, which casts all results to integers if the first is one",
            "return a float, or give otypes=[float]",
        )
    joined = np.stack([as_array(as_traced(item)) for item in items])
    return np.reshape(joined, shape + np.shape(joined)[1:])


def is_of_objects(ufunc: np.ufunc) -> bool:
    """Tell whether a ufunc calls a Python function: one of `numpy.frompyfunc`."""
    return len(ufunc.types) == 1 and set(ufunc.types[0]) <= set("O->")


def call_of_objects(ufunc: np.ufunc, inputs: tuple[Any, ...]) -> Any:
    """Evaluate a ufunc of `numpy.frompyfunc`."""
    found = ufunc(*(x.__array__(object) if is_traced(x) else x for x in inputs))
    return tuple(map(held, found)) if isinstance(found, tuple) else held(found)
