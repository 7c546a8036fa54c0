"""The tape: autograd's reverse mode, recorded once and replayed at the speed of NumPy by hand.

autograd spends most of the time of a small network's gradient in Python, on bookkeeping that is
the same at every call. The tape lets autograd do that once, records the array operations, and
repeats only these (Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008,
chapter 4; ReverseDiff.jl and CppAD call it a compiled tape). What does not depend on gradients,
the program and its passes among it, is in `gradlab.program`. From the loss to the replay:

==============  ===================================================================================
`recorder`      runs value and gradient of a loss through autograd's tracer: a flat `Program`
`invariance`    proves of maxima that they cancel, and their derivatives with them
`codegen`       straight-line Python over buffers that are allocated once: `code` has its lines and
                names, `memory` says where values live, `writing` how each operation is written
`recorded`      a recording, compiled, and where its results go
`compiled`      a recording as machine code; `later` compiles it for a later replay, and `direct`
                calls it without the key of the call
`runtime`       which recording fits which call; when eager autograd has to decide
`comparing`     replays beside eager autograd, and data beside those of the calls before
==============  ===================================================================================

Labels in brackets, ``z[np.arange(n), y]`` and ``table[y]``, are seen to for all backends, by
`arrays.indexing` and `arrays.rewriting`. What a recording depends on is stated in
`program.cache_key`: other backends keep by it what they compile, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from gradlab.errors import OptionError
from gradlab.gradients.protocol import Loss
from gradlab.gradients.tape.runtime import CacheInfo, TapedGradient
from gradlab.program.ir import Node, Program
from gradlab.program.record import record

__all__ = ["CacheInfo", "Node", "Program", "Tape", "TapedGradient", "record"]


@dataclass(frozen=True)
class Tape:
    """autograd's reverse mode, compiled: the same gradient, without autograd's time in Python.

    Parameters
    ----------
    on_untraceable : {"fallback", "error"}
        What to do with a loss that cannot be recorded because what it does depends on values:
        run it on eager autograd, with a warning, or raise `UntraceableError`.
    verify : int or None
        Compare every `verify`-th replay with eager autograd; None compares only the first ones.
    exact : bool
        Whether to leave out the passes that round differently. By default a result may differ from
        eager autograd's by a few units in the last place of its leaf's largest entry, and float32
        is computed in float32, where autograd's own derivatives are promoted to float64. Even with
        `exact`, a power of a single number may differ in its last place: NumPy has one function
        for numbers, which eager autograd's derivatives use, and another for arrays.
    cache : int
        Number of recordings that a function keeps, for different shapes and options.
    compile : bool or "auto"
        Whether machine code replays a recording (``pip install 'gradlab[compiled]'``): several
        times faster for small batches. Compiling takes about half a second at each recording. With
        "auto", NumPy answers until that pays, which is 500 to 6,000 replays for a network, and a
        thread compiles meanwhile; machine code takes over at a replay that depends only on the
        recorded program. By default NumPy replays, with its own roundings. Where llvmlite is
        missing, or the program has something that the compiler does not know, NumPy replays, and
        ``explain()`` says why.

    Notes
    -----
    *The first call.* Eager autograd evaluates the loss first, with plain arrays for data. The loss
    is then called again to be recorded. A recording that gives another value or gradient is not
    used. A conversion that is refused while the loss is traced, such as ``int(x)``, is an error
    even if the loss catches the exception.

    *Closures.* A loss is recorded again where anything that it reads has changed, the numbers in
    arrays included, and runs on eager autograd where that cannot be told: see
    `gradlab.program.cache_key`. An array that is written into before each call ends in eager
    autograd; pass it as an argument. What that leaves out is noticed only when a replay is compared
    with eager autograd, at the first replays, at the first with other parameters, at the first with
    other data, and then every `verify` calls: random numbers of a generator that the loss makes,
    and values taken out of a box with ``autograd.tracer.getval``. Pass such things as arguments. A
    primitive of your own (``autograd.extend.primitive``) has to be pure.

    *Bits.* A function returns the replay's result from the first call on, so that the same
    arguments give the same bits. They may change by roundings at one of the comparisons: where a
    replay turns out to lose digits and is replaced by the exact program, where a Python number
    becomes data, or where the loss is left to eager autograd. With `exact`, these agree. With
    ``compile="auto"``, they also change where machine code takes over; the same sequence of calls
    of a new function gives the same bits again.

    Labels in an index, ``z[np.arange(n), y]`` or ``np.eye(k)[y]``, are data, if they are an
    argument or computed from one. A Python number is part of a recording; where two recordings
    differ in numbers alone, such as the count of iterations, the next one has these as data, too.
    A loss that cannot be recorded so runs on eager autograd after a few recordings more.

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
        """The tape whose answers do not depend, in their rounding, on the calls before."""
        return replace(self, exact=True)

    def value_and_grad(self, loss: Loss) -> TapedGradient:
        """Return ``f(params, *args, out=None) -> (value, grads)``; see `Backend`."""
        return TapedGradient(
            loss,
            on_untraceable=self.on_untraceable,
            verify=self.verify,
            exact=self.exact,
            cache=self.cache,
            compile=self.compile,
        )
