"""``z += w`` where z is a plain array and w is traced.

A plain array cannot hold a traced value. But Python assigns the operator's result to z, so a traced
array may replace the plain one if nothing else refers to it. The reference count decides: it is
compared with the count of an array that only a local variable refers to.
"""

from __future__ import annotations

import dis
import os
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import Library, Traced
from gradlab.arrays.refusals import forgiving
from gradlab.arrays.ufuncs import UNSHARED_TESTS, call_ufunc
from gradlab.errors import UntraceableError

_THIS_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_BINARY_OPCODE = dis.opmap["BINARY_OP"]


def is_unshared(inputs: tuple[Any, ...], out: tuple[Any, ...], references: int) -> bool:
    """Tell whether ``+=`` or its like writes into an array that only its target refers to.

    `references` is the reference count of that array in `call_ufunc`.
    """
    if isinstance(inputs[-1], _Probe):
        inputs[-1].references = references
        return False
    array = out[0]
    is_plain = type(array) is np.ndarray and array.base is None and array.flags.writeable
    return (
        is_plain
        and array is inputs[0]
        and references <= _references_to_a_local()
        and _is_by_operator()
    )


UNSHARED_TESTS.append(is_unshared)


def _is_by_operator() -> bool:
    """Tell whether the user's code runs an operator, which assigns its result, and not a call."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_THIS_FOLDER) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_code[frame.f_lasti] == _BINARY_OPCODE


class _Probe(Traced):
    """Records the reference count of an array when it is added to it."""

    references = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(self.library, ufunc, method, inputs, kwargs)


_Probe.library = Library("probe", lambda function: lambda array, probe: array)


@cache
def _references_to_a_local() -> int:
    """Return the reference count of an array that only a local variable refers to."""
    probe = _Probe()
    z: Any = np.zeros(1)
    with forgiving(), suppress(UntraceableError):  # a plain array, to which the probe is added
        z += probe
    return probe.references
