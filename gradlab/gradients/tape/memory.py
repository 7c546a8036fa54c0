"""Assign memory to the values of a replay.

If NumPy can write a result to an output array, the result goes to a buffer, a piece of *memory*
that other values may use before and after it: memory is free after the last use of the last value
in it, views included. An elementwise operation reuses the memory of an operand if it is the last to
read it. The derivatives are written directly into the caller's arrays. An array that an unknown
function may have kept, or returned a view of, is never written to again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from gradlab.arrays.indexing import is_basic
from gradlab.gradients.tape.code import Code
from gradlab.program.ir import Node, Program
from gradlab.program.pieces import is_number, is_plain_reduction
from gradlab.program.primitives import DOT, Kind, is_elementwise, kind_of, primitive_of

ALIGNMENT = 64
"""Bytes to which memory is aligned, for vector instructions."""

AFTER_ALL_NODES = 1 << 60
"""The position after all nodes."""


@dataclass(eq=False)
class Memory:
    """A piece of memory, and the values that currently use it."""

    name: str
    nbytes: int
    values: list[Node] = field(default_factory=list)
    pinned: bool = False


class Places:
    """The memory of each value of a program."""

    def __init__(self, program: Program, code: Code) -> None:
        self._program, self._code = program, code
        self._free: list[Memory] = []
        self._last_use = _last_uses(program)
        self.memories: list[Memory] = []  # all that is reserved
        # The memory that a value uses, or is a view of.
        self.home: dict[Node, Memory] = {}
        # An array of the same layout.
        self.proto: dict[Node, Any] = {node: prototype(node) for node in program.inputs}
        self.static: set[Node] = set()  # values whose arrays are bound once
        self.fixed = _fixed(program)  # values that depend only on numbers and shapes
        self.outs = self._destinations()  # values written into an array of the caller, and which
        for node, position in self.outs.items():
            code.names[node] = f"out{position}"

    def _destinations(self) -> dict[Node, int]:
        """Return the nodes that can be written directly into an array of the caller."""
        value, *derivatives = self._program.outputs
        found: dict[Node, int] = {}
        looked_at = [guard.node for guard in self._program.guards] + [value]
        nodes = set(self._program.nodes)
        leaves = self._program.inputs[: len(derivatives)]
        for position, (leaf, output) in enumerate(zip(leaves, derivatives, strict=True)):
            if not isinstance(output, Node) or output not in nodes:
                continue
            if any(output is node for node in looked_at):
                continue
            fits = output.shape == leaf.shape and output.dtype == leaf.dtype
            if fits and output.shape != () and takes_out(output) and output not in self.fixed:
                found.setdefault(output, position)
        return found

    def release(self, node: Node, position: int) -> None:
        """Free the memory whose values are not read after this position."""
        for value in (node, *node.sources):
            memory = self.home.get(value)
            if memory and memory.values and self._is_last_reader(value, position):
                memory.values.clear()
                self._free.append(memory)

    def _is_last_reader(self, value: Node, position: int) -> bool:
        memory = self.home.get(value)
        return (
            memory is not None
            and not memory.pinned
            and all(self._last_use[other] <= position for other in memory.values)
        )

    def new(self, node: Node, over: Sequence[Any] = (), position: int = -1) -> str:
        """Return the name of the array for a result: the caller's, an operand's, or another.

        The memory of an operand in `over` that is read here for the last time is reused.
        """
        name = self._code.names[node]
        proto = self.proto[node] = prototype(node) if node in self.outs else self.layout(node)
        if node in self.outs:
            return name
        memory = self._of_operand(node, over, position) or self._unused(nbytes_of(node))
        memory.values.append(node)
        self.home[node] = memory
        self.static.add(node)
        strides = "" if proto.flags.c_contiguous else f", {proto.strides}"
        dtype = self._code.constant(node.dtype, "dtype")
        self._code.do_once(f"{name} = place({memory.name}, {node.shape}, {dtype}{strides})")
        return name

    def _of_operand(self, node: Node, over: Sequence[Any], position: int) -> Memory | None:
        """Return the memory of an operand that the result can overwrite."""
        for operand in over:
            if (
                isinstance(operand, Node)
                and operand.shape == node.shape
                and _itemsize(operand) == _itemsize(node)
                and self._is_last_reader(operand, position)
                and self.proto[operand].strides == self.proto[node].strides
                and _fills_its_memory(operand)
            ):
                return self.home[operand]
        return None

    def _unused(self, nbytes: int) -> Memory:
        fitting = [m for m in self._free if nbytes <= m.nbytes <= max(4 * nbytes, 256)]
        if fitting:
            memory = min(reversed(fitting), key=lambda m: m.nbytes)
            self._free.remove(memory)
            return memory
        memory = Memory(f"m{len(self.memories)}", nbytes)
        self.memories.append(memory)
        self._code.do_once(f"{memory.name} = reserve({nbytes})")
        return memory

    def share(self, node: Node, source: Node) -> None:
        """Store that a value is a view of another."""
        self.static.add(node)
        if memory := self.home.get(source):
            self.home[node] = memory
            memory.values.append(node)

    def pin(self, node: Node) -> None:
        """Never write into a node's operands again: a function may have kept them."""
        for source in node.sources:
            if memory := self.home.get(source):
                memory.pinned = True

    def layout(self, node: Node) -> Any:
        """Return an array with the layout that NumPy would choose for a result.

        If an operand is transposed, that is not C order; and the order of a sum depends on the
        layout of its operand.
        """
        operands = [self.proto[source] for source in node.sources if source in self.proto]
        row = primitive_of(node.primitive)
        is_index = row.kind is Kind.GATHER or node.primitive is operator.getitem
        if not is_index and all(p is None or p.flags.c_contiguous for p in operands):
            return prototype(node)
        if is_elementwise(node) or row.kind in _AS_ELEMENTWISE:
            inputs: Any = [["readonly"]] * len(operands)
            iterator = np.nditer(
                [*operands, None],
                flags=["zerosize_ok"],
                op_flags=[*inputs, ["writeonly", "allocate"]],
                op_dtypes=[*(proto.dtype for proto in operands), node.dtype],
            )
            return iterator.operands[-1]
        if is_index or row.fresh or row.kind is Kind.REDUCTION:
            with np.errstate(all="ignore"), suppress(Exception):
                made = np.asarray(node.evaluate(*map(self._value, node.operands)))
                if (made.shape, made.dtype) == (node.shape, node.dtype):
                    return made
        return prototype(node)

    def _value(self, operand: Any) -> Any:
        if not isinstance(operand, Node):
            return operand
        is_integer = operand.dtype is not None and operand.dtype.kind in "iu"
        # As an index, 0 is in range for every array that is not empty.
        return (np.zeros_like if is_integer else np.ones_like)(self.proto[operand])


_AS_ELEMENTWISE = {Kind.CAST, Kind.MASK, Kind.KEEP, Kind.SELECT}
"""Kinds whose results have the layout of an elementwise operation's."""


def reserve(nbytes: int) -> Any:
    """Return `nbytes` bytes, aligned for vector instructions."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def place(memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any], strides: Any = None) -> Any:
    """Return the array of this shape and dtype at the start of the memory."""
    return np.ndarray(shape, dtype, memory, strides=strides)


def prototype(node: Node) -> Any:
    """Return an array of a node's shape and dtype, in C order."""
    assert node.shape is not None
    return np.empty(node.shape, node.dtype)


def nbytes_of(node: Node) -> int:
    """Return the number of bytes of a value."""
    return prod(node.shape or ()) * _itemsize(node)


def _itemsize(node: Node) -> int:
    return node.dtype.itemsize if node.dtype is not None else 0


def _last_uses(program: Program) -> dict[Node, int]:
    """Return the position of the last node that reads each value."""
    last = {node: position for position, node in enumerate(program.nodes)}
    for position, node in enumerate(program.nodes):
        for source in node.sources:
            last[source] = position
    for output in program.outputs:
        if isinstance(output, Node):
            last[output] = AFTER_ALL_NODES
    return last


def _fixed(program: Program) -> set[Node]:
    """Return the nodes that depend only on numbers and shapes."""
    fixed: set[Node] = set()
    for node in program.nodes:
        if primitive_of(node.primitive).pure and not node.keywords:
            operands = node.operands
            if all(o in fixed if isinstance(o, Node) else _is_plain(o) for o in operands):
                fixed.add(node)
    return fixed


def _is_plain(operand: Any) -> bool:
    return is_number(operand) or isinstance(operand, tuple)


def _fills_its_memory(operand: Node) -> bool:
    """Tell whether a value starts where its memory starts, so that another can replace it."""
    while kind_of(operand) is Kind.VIEW:
        inner = operand.operands[0]
        if not isinstance(inner, Node) or nbytes_of(inner) != nbytes_of(operand):
            return False
        operand = inner
    return True


def is_view(node: Node) -> bool:
    """Tell whether an operation rearranges an array that is not itself an object."""
    if kind_of(node) is not Kind.VIEW or node.shape is None:
        return False
    x, *rest = node.operands
    if not isinstance(x, Node) or x.shape is None:
        return False
    if node.primitive is operator.getitem and not is_basic(rest[0]):
        return False
    return not any(isinstance(operand, Node) for operand in rest)


def takes_out(node: Node) -> bool:
    """Tell whether NumPy can write the result to a given array."""
    if node.shape is None or node.dtype is None or node.dtype.kind not in "biufc":
        return False
    rule = _TAKES_OUT.get(kind_of(node))
    return rule is not None and rule(node)


def _product_takes_out(node: Node) -> bool:
    if node.keywords or primitive_of(node.primitive).out is None:
        return False
    if node.primitive is not DOT:
        return True
    parts = [part for part in node.operands if isinstance(part, Node)]
    fit = [part.shape and part.dtype == node.dtype for part in parts]
    return len(fit) == 2 and all(fit) and node.shape != ()


_TAKES_OUT: dict[Kind, Callable[[Node], bool]] = {
    Kind.ELEMENTWISE: lambda n: is_elementwise(n) and primitive_of(n.primitive).out is not None,
    Kind.PRODUCT: _product_takes_out,
    Kind.REDUCTION: lambda node: reduction(node) is not None,
    Kind.JOIN: lambda node: all(isinstance(part, Node) for part in node.operands[1:]),
    Kind.BROADCAST: lambda node: True,
    Kind.CAST: lambda node: True,
}


def reduction(node: Node) -> Any:
    """Return operand, axis and keepdims of a ufunc's `reduce`; None if it has other options."""
    x, *axes = node.operands
    axis, keepdims = node.keywords.get("axis"), node.keywords.get("keepdims")
    if primitive_of(node.primitive).ufunc is None or not is_plain_reduction(node):
        return None
    if not isinstance(x, Node) or not isinstance(keepdims, bool | None):
        return None
    axis = axes[0] if axes else axis
    return x, tuple(axis) if isinstance(axis, list) else axis, bool(keepdims)
