"""Compare the value of a loss on the library's arrays with that on NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.dispatch import NUMERICAL_BACKEND
from gradlab.arrays.questions import asked_in_code
from gradlab.errors import LossError, UntraceableError
from gradlab.gradients.array_libraries.call import Call
from gradlab.gradients.array_libraries.forms import MAX_COMPILED_FORMS, Prepared, Way
from gradlab.gradients.tracing import draws_undone, is_close, is_rounding


@draws_undone()
def verify(prepared: Prepared, call: Call, value: Any) -> bool:
    """Compare the value with that on plain arrays, at the first call with each shape.

    Return False if the loss turns out to be random, or to keep state. A difference beyond rounding
    is an error, and so is a random loss that would be compiled.
    """
    shapes = call.shapes()
    if shapes in prepared.seen or len(prepared.seen) > MAX_COMPILED_FORMS:
        return True
    kinds = [
        call.owner.to_numpy(value).dtype,
        *[k for _, k in shapes if getattr(k, "kind", "") == "f"],
    ]
    eps = max(float(np.finfo(kind).eps) for kind in kinds)
    outcome = call.on_plain_arrays()
    if isinstance(outcome, (IndexError, ValueError)):
        raise outcome
    is_pure = True
    if not isinstance(outcome, Exception):
        eps = max(eps, float(np.finfo(float).eps))
        if not is_close(float(value), float(outcome), eps):
            is_pure = _judge(prepared.way, call, float(outcome), float(value), eps)
    prepared.seen.add(shapes)
    return is_pure


def _judge(way: Way, call: Call, wanted: float, value: float, eps: float) -> bool:
    """Refuse a value that differs from NumPy's by more than rounding, unless the loss is random."""
    again, name = call.on_plain_arrays(), call.owner.name
    if isinstance(again, Exception) or float(again) != wanted:
        if way.compiled:
            raise UntraceableError(
                f"the loss draws random numbers or keeps state, which {name} would "
                "compile into it for good: draw them outside of it and pass them as "
                'arguments, or use backend="autograd"'
            )
        return False
    if not is_rounding(value, wanted, eps, call.at, call.leaves):
        asked = "; ".join(map(str, asked_in_code(call.owner._loss, call.args)))
        why = f"it asks what its values are ({asked})" if asked else "a function that it calls"
        raise LossError(
            f"the loss is {value!r} on {call.owner.arrays} and {wanted!r} on NumPy's: {why}"
            + (", or use" if asked else f' differs in {name}; use backend="autograd" or')
            + f" {NUMERICAL_BACKEND}"
        )
    return True
