"""Traced arrays around the arrays of another library: the common part for JAX and PyTorch.

A `DuckArray` holds one *native* array and behaves like a `numpy.ndarray`. A `DuckLibrary` evaluates
NumPy's functions on it: it takes a small core of functions from the other library by NumPy's names,
and computes in NumPy's dtypes. NumPy itself gives the dtypes in which a ufunc computes
(`numpy.ufunc.resolve_dtypes`), and those of sums and joins; operands are cast before the native
function gets them. All other functions are written in terms of this core
(`gradlab.arrays.composites`).

The numbers in the arrays of a trace are known (PyTorch, JAX without compiling) or unknown (during
compilation). If they are known, functions without a derivative, such as ``argsort``, are NumPy's
own on the plain numbers. If they are unknown, whatever depends on them is refused.

The files, in reading order:

- `traces.py`: one evaluation of a loss, and whether the numbers in its arrays are known;
- `array.py`: `DuckArray`, a NumPy array to the loss;
- `library.py`: `DuckLibrary`, which evaluates NumPy's functions in NumPy's dtypes;
- `core.py`: the core, function by function.
"""

from gradlab.arrays.ducks import core as core  # registers itself
from gradlab.arrays.ducks.array import DuckArray
from gradlab.arrays.ducks.library import DuckLibrary
from gradlab.arrays.ducks.traces import (
    Trace,
    are_known,
    device_here,
    note_native_call,
    refuse_data,
    within,
)

__all__ = [
    "DuckArray",
    "DuckLibrary",
    "Trace",
    "are_known",
    "device_here",
    "note_native_call",
    "refuse_data",
    "within",
]
