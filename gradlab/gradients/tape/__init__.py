"""The tape: autograd's reverse mode, recorded once and replayed as fast as handwritten NumPy.

For a small network, autograd spends most of the time of a gradient on bookkeeping in Python, which
is the same at every call. The tape runs autograd once, records the array operations, and repeats
only these (Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, chapter 4; ReverseDiff.jl
and CppAD call it a compiled tape). The parts that do not depend on gradients, such as the program
and its passes, are in `gradlab.program`. From the loss to the replay:

==============  ===================================================================================
`recorder`      runs value and gradient of a loss through autograd's tracer: a flat `Program`
`invariance`    finds maxima that cancel, whose derivatives need not be computed
`codegen`       straight-line Python over buffers that are allocated once: `code` has its lines and
                names, `memory` assigns buffers to values, `writing` writes each operation
`recorded`      a compiled recording, and the arrays of its results
`compiled`      a recording as machine code; `later` compiles it for a later replay, and `direct`
                calls it without the key of the call
`runtime`       chooses the recording for a call, and decides when to use eager autograd
`comparing`     compares replays with eager autograd, and data with those of earlier calls
==============  ===================================================================================

`arrays.indexing` and `arrays.rewriting` handle labels in an index, ``z[np.arange(n), y]`` and
``table[y]``, for all backends. `program.cache_key` states what a recording depends on; other
backends use the same key for their compiled functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gradlab.errors import OptionError
from gradlab.gradients.protocol import Loss
from gradlab.gradients.tape.recorded import CacheInfo as CacheInfo
from gradlab.gradients.tape.runtime import TapedGradient as TapedGradient


@dataclass(frozen=True)
class Tape:
    """autograd's reverse mode, compiled: the same gradient without the overhead of Python.

    Parameters
    ----------
    on_untraceable : {"fallback", "error"}
        What to do with a loss that cannot be recorded because it branches on values: run it on
        eager autograd, with a warning, or raise `UntraceableError`.
    verify : int or None
        Compare every `verify`-th replay with eager autograd; None compares only the first ones.
    exact : bool
        Whether to omit the passes that round differently. By default a result may differ from
        eager autograd's by a few units in the last place of its leaf's largest entry, and float32
        is computed in float32, where autograd's own derivatives are promoted to float64. Even with
        `exact`, a power of a single number may differ in its last place: NumPy has one function
        for numbers, which eager autograd's derivatives use, and another for arrays.
    cache : int
        Number of recordings that a function keeps, for different shapes and options.
    compile : bool or "auto"
        Whether machine code replays a recording (``pip install 'gradlab[compiled]'``): several
        times faster for small batches. Compiling takes about half a second for each recording. With
        "auto", NumPy replays until compiling pays, for 500 to 6,000 replays of a network, while a
        thread compiles; machine code is used from a replay on that depends only on the recorded
        program. By default NumPy replays, with its own rounding. If llvmlite is missing, or the
        compiler lacks an operation of the program, NumPy replays, and ``explain()`` says why.

    Notes
    -----
    *The first call.* Eager autograd first evaluates the loss, with plain arrays for data. The loss
    is then called again to be recorded. A recording with another value or gradient is not used. A
    conversion that is refused while the loss is traced, such as ``int(x)``, is an error even if the
    loss catches the exception.

    *Closures.* A loss is recorded again if anything that it reads has changed, including the
    numbers in arrays. It runs on eager autograd if that cannot be determined: see
    `gradlab.program.cache_key`. If an array changes before each call, the loss also runs on eager
    autograd; pass the array as an argument. Two things are detected only when a replay is compared
    with eager autograd: random numbers of a generator that the loss creates, and values taken out
    of a box with ``autograd.tracer.getval``. Pass these as arguments. The comparisons are at the
    first replays, at the first with other parameters, at the first with other data, and then every
    `verify` calls. A primitive of your own (``autograd.extend.primitive``) must be pure.

    *Bits.* A function returns the replay's result from the first call on, so the same arguments
    give the same bits. The rounding may change at one of the comparisons: if a replay loses digits
    and is replaced by the exact program, if a Python number becomes data, or if the loss is left to
    eager autograd. With `exact`, these agree. With ``compile="auto"``, the rounding also changes at
    the first call of machine code; the same sequence of calls of a new function gives the same
    bits.

    Labels in an index, ``z[np.arange(n), y]`` or ``np.eye(k)[y]``, are data if they are an argument
    or computed from one. A Python number is part of a recording. If two recordings differ only in
    numbers, such as a count of iterations, the next recording has these as data. A loss that cannot
    be recorded in this way runs on eager autograd after a few more recordings.

    Examples
    --------
    >>> import numpy as np
    >>> f = Tape().value_and_grad(lambda w, x: (w * np.exp(w * x)).sum())
    >>> f(np.array([1.0, 0.0]), np.array([0.0, 5.0]))  # records
    (1.0, array([1., 1.]))
    >>> f(np.array([0.0, 2.0]), np.array([1.0, 0.0]))  # replays
    (2.0, array([1., 1.]))
    >>> print(f.program)
    def program(params, x):  # (2,) float64; (2,) float64
        v0 = multiply(params, x)  # (2,) float64
        v1 = exp(v0)  # (2,) float64
        v2 = multiply(params, v1)  # (2,) float64
        v3 = sum(v2)  # () float64
        v4 = multiply(v1, params)  # (2,) float64
        v5 = multiply(x, v4)  # (2,) float64
        v6 = add(v1, v5)  # (2,) float64
        return v3, v6
    """

    on_untraceable: Literal["fallback", "error"] = "fallback"
    verify: int | None = 1000
    exact: bool = False
    cache: int = 32
    compile: bool | Literal["auto"] = False
    name = "tape"

    def __post_init__(self) -> None:
        if self.on_untraceable not in ("fallback", "error"):
            raise OptionError(f"on_untraceable={self.on_untraceable!r}: choose fallback or error")
        if not isinstance(self.compile, bool) and self.compile != "auto":
            raise OptionError(f"compile={self.compile!r}: choose True, False, or auto")
        for option, value in (("verify", self.verify), ("cache", self.cache)):
            is_count = isinstance(value, int) and value >= 1
            if not (is_count or (option, value) == ("verify", None)):
                raise OptionError(f"{option}={value!r}: give an integer from 1")

    @property
    def repeatable(self) -> Tape:
        """The tape whose rounding does not depend on earlier calls."""
        return replace(self, exact=True)

    def value_and_grad(self, loss: Loss) -> TapedGradient:
        """Return ``f(params, *args, out=None) -> (value, grads)``; see `Backend`."""
        return TapedGradient(loss, self)
