"""Turn a program into straight-line Python over buffers that are allocated once.

The generated module has one function, `build`, which makes the buffers, the views of them and
the constants, and returns `replay`, which has them at hand: all that is left to do for each call
is to hand arrays to NumPy, together with the array that takes the result. `Compiled.source` can
be read; each value has there the name that it has in the printed program.

`code` has the lines and names, `memory` says where each value lives, `writing` how each operation
is written.

Chains of elementwise operations are not fused. In blocks that stay in the cache they take longer
at every size, as the additional calls cost more than the memory that is saved; and one compiled
loop for a chain (numba) gains 2 % of a gradient at batch 1000, where its exp, half as fast as
NumPy's, does not lose that again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from gradlab.gradients.tape.code import Code
from gradlab.gradients.tape.memory import Places, place, reserve
from gradlab.gradients.tape.writing import write
from gradlab.program.ir import Node, Program

Replay = Callable[..., float]
"""``replay(*inputs, *outs) -> loss``; the derivatives are written into `outs`."""


class ReplayError(Exception):
    """The program does not stand for the loss with these arguments."""


@dataclass(frozen=True)
class Compiled:
    """A program as Python.

    Attributes
    ----------
    program : Program
        What was compiled.
    source : str
        The generated module.
    build : callable
        Makes a set of buffers and returns the `Replay` that works on it, in one thread at a time.
    buffers : int
        How many pieces of memory a set has.
    nbytes : int
        How large they are together.
    """

    program: Program
    source: str = field(repr=False)
    build: Callable[[], Replay] = field(repr=False)
    buffers: int
    nbytes: int


def compile_program(program: Program) -> Compiled:
    """Compile a program whose outputs are a loss and its derivative by each leaf.

    The leaves are its first inputs; the derivatives are delivered in their shapes and dtypes.
    """
    scope = {
        "reserve": reserve,
        "place": place,
        "ReplayError": ReplayError,
        "shape_of": np.shape,
        "copyto": inspect.unwrap(np.copyto),
    }
    code = Code(program, scope)
    places = Places(program, code)
    guards = {guard.node: guard for guard in program.guards}
    for position, node in enumerate(program.nodes):
        write(code, places, node, position)
        if guard := guards.get(node):
            code.do(f"if bool({code.names[node]}) is not {guard.taken}:")
            code.do(f"    raise ReplayError({code.constant(guard.place)})")
        places.release(node, position)
    _write_outputs(code, places, program)
    source = _module(code, program)
    exec(compile(source, "<tape>", "exec"), scope)
    sizes = [memory.nbytes for memory in places.memories]
    return Compiled(program, source, scope["build"], len(sizes), sum(sizes))


def _write_outputs(code: Code, places: Places, program: Program) -> None:
    value, *derivatives = program.outputs
    for position, output in enumerate(derivatives):
        if not isinstance(output, Node) or places.outs.get(output) != position:
            code.do(f"copyto(out{position}, {code.operand(output)}, 'unsafe')")
    # An array of one entry is a number only by its method.
    item = ".item()" if isinstance(value, Node) and value.shape else ""
    code.do(f"return float({code.operand(value)}{item})")


def _module(code: Code, program: Program) -> str:
    arguments = [code.names[node] for node in program.inputs]
    arguments += [f"out{position}" for position in range(len(program.outputs) - 1)]
    head = ["def build():", *(f"    {line}" for line in code.once)]
    body = [
        f"    def replay({', '.join(arguments)}):",
        *(f"        {line}" for line in code.each),
    ]
    return "\n".join([*head, *body, "    return replay", ""])
