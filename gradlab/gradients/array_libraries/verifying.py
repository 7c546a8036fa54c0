"""The value of the library held to NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.dispatch import NUMERICAL
from gradlab.errors import LossError, UntraceableError
from gradlab.gradients.array_libraries.call import Call
from gradlab.gradients.array_libraries.forms import KEPT, Prepared, Way

CLOSE = 1e4
"""Roundings of its own value, or of its parameters, by which the library's value may differ from
NumPy's: sums and products come in another order."""


def verify(prepared: Prepared, call: Call, value: Any) -> bool:
    """Hold the value to that on plain arrays, at the first call with each shape.

    Returns
    -------
    bool
        False if the loss turned out to be random, or to keep state.

    Raises
    ------
    LossError, UntraceableError
        If the values differ by more than rounding, or a random loss would be compiled.
    """
    shapes = call.shapes()
    if shapes in prepared.seen or len(prepared.seen) > KEPT:
        return True
    kinds = [
        call.owner.to_numpy(value).dtype,
        *[k for _, k in shapes if getattr(k, "kind", "") == "f"],
    ]
    dtype = max(kinds, key=lambda kind: np.finfo(kind).eps)  # what is coarsest counts
    outcome = call.on_plain_arrays()
    if isinstance(outcome, (IndexError, ValueError)):
        raise outcome
    is_pure = True
    if not isinstance(outcome, Exception) and not _is_close(outcome, float(value), dtype):
        is_pure = _judge(prepared.way, call, float(outcome), float(value), dtype)
    prepared.seen.add(shapes)
    return is_pure


def _judge(way: Way, call: Call, wanted: float, value: float, dtype: Any) -> bool:
    """Refuse a value that is not NumPy's, unless the loss is random or that inaccurate."""
    again, name = call.on_plain_arrays(), call.owner.name
    if isinstance(again, Exception) or float(again) != wanted:
        if way.compiled:
            raise UntraceableError(
                f"the loss draws random numbers or keeps state, which {name} would "
                "compile into it for good: draw them outside of it and pass them as "
                'arguments, or use backend="autograd"'
            )
        return False
    spread = max(abs(near - wanted) for near in call.nearby(dtype))
    if not abs(value - wanted) <= CLOSE * spread:
        raise LossError(
            f"the loss is {value!r} on {call.owner.arrays} and {wanted!r} on NumPy's: a function "
            f'that it calls differs in {name}; use backend="autograd" or {NUMERICAL}'
        )
    return True


def _is_close(wanted: Any, value: float, dtype: Any) -> bool:
    """Tell whether two values agree but for rounding, without asking how much there may be."""
    eps = max(float(np.finfo(dtype).eps), float(np.finfo(np.asarray(wanted, float).dtype).eps))
    return bool(abs(float(wanted) - value) <= CLOSE / 100 * eps * abs(float(wanted)))
