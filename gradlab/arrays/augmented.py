"""``z += w`` where z is a plain array and w is traced.

A plain array cannot hold a traced value. Python assigns what the operator returns to z, though, so
a traced array in its place is right if nothing else refers to the plain one. The number of its
references tells: it is compared with that of an array to which a local variable alone refers.
"""

from __future__ import annotations

import dis
import os
import sys
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import UNSHARED, Library, Traced, call_ufunc
from gradlab.arrays.refusals import forgiving
from gradlab.errors import UntraceableError

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_OPERATOR = dis.opmap["BINARY_OP"]


def is_unshared(inputs: tuple[Any, ...], out: tuple[Any, ...], references: int) -> bool:
    """Tell whether an operator such as ``+=`` writes into an array that its target alone refers to.

    Parameters
    ----------
    inputs, out : tuple
        Of the ufunc that is called.
    references : int
        How many references to what is written into there are in `call_ufunc`.
    """
    if isinstance(inputs[-1], _Probe):
        inputs[-1].references = references
        return False
    array = out[0]
    is_plain = type(array) is np.ndarray and array.base is None and array.flags.writeable
    return is_plain and array is inputs[0] and references <= _fewest() and _is_by_operator()


UNSHARED.append(is_unshared)


def _is_by_operator() -> bool:
    """Tell whether the user's code is at an operator, which assigns its result, and no call."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith(_HERE) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_code[frame.f_lasti] == _OPERATOR


class _Probe(Traced):
    """What takes down the references to an array to which it is added."""

    references = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return call_ufunc(self.library, ufunc, method, inputs, kwargs)


_Probe.library = Library("probe", lambda function: lambda array, probe: array)


@cache
def _fewest() -> int:
    """Return the references to an array to which a local variable alone refers."""
    probe = _Probe()
    z: Any = np.zeros(1)
    with forgiving(), suppress(UntraceableError):  # a plain array, to which the probe is added
        z += probe
    return probe.references
