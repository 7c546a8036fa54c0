"""Traced arrays around the arrays of another library: what JAX's and PyTorch's share.

A `DuckArray` holds one *native* array and behaves as a `numpy.ndarray`. NumPy's functions find
their way on it by a `DuckLibrary`, which asks the other library for a small core of functions by
NumPy's names, and adds what the two do differently: NumPy's dtypes. The dtypes in which a ufunc
computes are NumPy's own answer (`numpy.ufunc.resolve_dtypes`), those of sums and joins likewise;
operands are cast before the native function sees them. All else is written in terms of this core
(`gradlab.arrays.composites`).

A trace may know the numbers in its arrays (PyTorch, JAX without compiling) or not (while something
is being compiled). Where they are known, functions that have no derivative, such as ``argsort``,
are NumPy's own on the plain numbers. Where they are not, what depends on them is refused.

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
