"""Changes to autograd during a recording.

autograd does two things that would make a recording wrong and that a box cannot detect:

*It adds derivatives in place.* The sum would appear as an operand after it was overwritten. During
a recording, each sum is a new array.

*It takes values out of their boxes* for functions without a derivative (`notrace_primitive`, and
autograd's integer types). Their results would be constants. During a recording, these functions get
the recorded value itself, so that their operations are recorded as functions of data. Functions
that read only shapes and dtypes are excepted, because the key of a call contains those.
"""

from __future__ import annotations

import builtins
import copy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd import tracer
from autograd.core import SparseObject, VSpace
from autograd.numpy import numpy_wrapper
from autograd.tracer import isbox

from gradlab.arrays.refusals import refuse


def _function_of(wrapped: Any) -> Any:
    """Return the function that `notrace_primitive` wrapped."""
    return wrapped.__closure__[0].cell_contents


_WRAPPER: CodeType = numpy_wrapper.metadata.__code__
"""The code of each wrapper that `notrace_primitive` makes."""
_OF_SHAPES: list[Any] = [np.ndim, np.shape, np.iscomplexobj, np.result_type]
_OF_SHAPES += [builtins.isinstance, builtins.type]
_OF_SHAPES += map(_function_of, (numpy_wrapper.metadata, numpy_wrapper.parse_einsum_input))
_INTEGERS = {
    _function_of(cls.__new__): cls.__mro__[1].__name__
    for cls in (anp.int8, anp.int16, anp.int32, anp.int64)
}


@contextmanager
def autograd_as_recorded(recorded: type) -> Iterator[None]:
    """Make autograd add in new arrays and leave recorded values in their boxes of this class."""

    def getval(x: Any) -> Any:
        while isbox(x) and type(x) is not recorded:
            x = x._value
        if type(x) is not recorded:
            return x
        caller = sys._getframe(1)
        function = caller.f_locals["f_raw"] if caller.f_code is _WRAPPER else None
        if any(function is known for known in _OF_SHAPES):
            return x._value  # type: ignore[attr-defined]
        if function in _INTEGERS:
            name = _INTEGERS[function]
            refuse(f"it makes a NumPy integer of a traced value: use astype({name})")
        return x

    written: Any = SparseObject.mut_add  # a slot's descriptor
    replaced = [
        (tracer, "getval", getval),
        (VSpace, "_mut_add", _add),
        (
            SparseObject,
            "mut_add",
            property(lambda sparse: _on_a_copy(sparse, written), written.__set__),
        ),
    ]
    before = [(owner, name, owner.__dict__[name]) for owner, name, _ in replaced]
    try:
        for owner, name, value in replaced:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _add(space: VSpace, total: Any, term: Any) -> Any:
    result = copy.copy(total)
    result += term
    return result


def _on_a_copy(sparse: SparseObject, written: Any) -> Any:
    """Return a function that adds a sparse object to a copy of its argument."""
    mut_add = written.__get__(sparse)
    return lambda total: mut_add(copy.copy(total))
