"""A recorded gradient as one function of machine code, by way of LLVM's assembly.

The replay in NumPy spends its time on calls, on memory that each call reads and writes again, and,
at a few rows, in the library's products. Here the whole program becomes one function: elementwise
operations are fused into loops, and products are computed in tiles of registers. In reading order:

===============  ==================================================================================
`forms`          rewrites a program into few forms of operation
`values`         where the entries of an operand lie: NumPy itself says what a view is
`facts`          what is asked about a node, in a loop over a rectangle
`plan`           cuts a program into products and fused loops
`text`           LLVM's assembly: names, loops, vectors; `kinds` has its types
`operations`     elementwise operations as instructions; `exponential` is our own ``exp``
`indexing`       index arrays as arithmetic
`storage`        which memory each value has
`members`        what each member of a fused loop reads and writes, and when
`loops`          writes a fused loop: rows, phases, lanes
`reductions`     what several points of a loop write into one entry
`products`       writes a product of matrices by a tile of registers; `tails` has its last columns
`chunks`         cuts the rows of a loop or a product into chunks
`sharing`        threads that share out the chunks
`entry`          the function that Python calls: it looks at the arrays before it runs
`module`         puts these together
`native`         machine code in this process, by llvmlite; `disk` keeps it for the next one
`steps`          many steps of a training in one native call
===============  ==================================================================================

A program with anything that the planner does not know is declined as a whole, and NumPy replays it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from gradlab.forking import held_at_forks
from gradlab.gradients.tape.compiled.entry import DECLINED, layout_is_known, loops_are_known
from gradlab.gradients.tape.compiled.forms import UnsupportedError
from gradlab.gradients.tape.compiled.module import write_module
from gradlab.gradients.tape.compiled.native import Native, NativeReplay, load, machine_code, tile
from gradlab.gradients.tape.compiled.steps import Steps
from gradlab.program.ir import Program

__all__ = [
    "DECLINED",
    "Native",
    "NativeReplay",
    "Steps",
    "UnsupportedError",
    "compile_native",
    "compile_steps",
    "is_missing",
    "require_known",
]

_COMPILE_LOCK = held_at_forks()
"""Held while LLVM works, which has a lock of its own."""


def is_missing() -> bool:
    """Tell whether llvmlite cannot be imported."""
    try:
        return find_spec("llvmlite") is None
    except ValueError:  # it has been hidden in `sys.modules`
        return True


def require_known() -> None:
    """Raise `UnsupportedError` if nothing can be compiled here.

    Raises
    ------
    UnsupportedError
        If llvmlite is not installed, or this Python lays out arrays in another way.
    """
    if is_missing():
        raise UnsupportedError("llvmlite is not installed: pip install 'gradlab[compiled]'")
    if not (layout_is_known() and loops_are_known()):
        raise UnsupportedError("this Python lays out arrays in another way than CPython")


def compile_native(program: Program) -> Native:
    """Compile a program whose outputs are a loss and its derivative by each leaf.

    Raises
    ------
    UnsupportedError
        If nothing can be compiled here, or the planner does not know something in the program.
    """
    with _compiling():
        module = write_module(program, tile())
        return load(module, machine_code(module))


def compile_steps(*args: Any) -> Steps:
    """Compile the steps of a training; the parameters are those of `Steps`.

    Raises
    ------
    UnsupportedError
        If nothing can be compiled here, or the update has an operation that is not known.
    """
    with _compiling():
        return Steps(*args)


@contextmanager
def _compiling() -> Iterator[None]:
    require_known()
    try:
        with _COMPILE_LOCK:
            yield
    except UnsupportedError:
        raise
    except Exception as error:  # NumPy's replay serves, whatever is wrong here
        raise UnsupportedError(f"the compiler failed: {type(error).__name__}: {error}") from error
