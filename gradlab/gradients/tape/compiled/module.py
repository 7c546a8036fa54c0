"""A program as a module of LLVM's assembly: the plan, written step by step."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled import chunks, sharing
from gradlab.gradients.tape.compiled.entry import CALLS_OFFSET, PAUSE_OFFSET, check_arrays
from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.forms import (
    UnsupportedError,
    in_known_forms,
    own_totals,
    reshaped,
)
from gradlab.gradients.tape.compiled.kinds import constant, type_of
from gradlab.gradients.tape.compiled.kinds import dtype_of as entries
from gradlab.gradients.tape.compiled.loops import LoopWriter
from gradlab.gradients.tape.compiled.plan import FusedLoop, Product, Step, plan
from gradlab.gradients.tape.compiled.products import ProductWriter, Tile
from gradlab.gradients.tape.compiled.reductions import folded, write_add_at
from gradlab.gradients.tape.compiled.sharing import MAX_CHUNKS
from gradlab.gradients.tape.compiled.storage import Storage
from gradlab.gradients.tape.compiled.text import Text
from gradlab.gradients.tape.compiled.values import Values, with_copies
from gradlab.program.ir import Node, Program, name_of, reachable
from gradlab.program.pieces import dtype_of, is_number, shape_of, size
from gradlab.program.primitives import DOT, FULL, SUM

MAX_COMPILED_OPERATIONS = 2000
"""Number of operations above which LLVM would take more than a few seconds."""


@dataclass(frozen=True)
class Module:
    """A program as assembly.

    Attributes
    ----------
    source : str
        The module; its function ``call(tuple, memory, table)`` returns the loss.
    nbytes : int
        Of the memory that it works on.
    constants : tuple of ndarray
        The arrays that follow inputs and results in the tuple.
    calls : tuple
        The inner loops of NumPy that the table has.
    steps : tuple of Step
        The plan.
    is_shared : bool
        Whether threads share some of its steps.
    """

    source: str
    nbytes: int
    constants: tuple[Any, ...]
    calls: tuple[tuple[np.ufunc, int], ...]
    steps: tuple[Step, ...]
    is_shared: bool = False


def write_module(program: Program, tile: Tile) -> Module:
    """Write a program whose outputs are the loss and its derivative by each leaf.

    Raises
    ------
    UnsupportedError
        If the program has something that the planner does not know.
    """
    if len(program.nodes) > MAX_COMPILED_OPERATIONS:
        raise UnsupportedError(
            f"it has {len(program.nodes)} operations, more than {MAX_COMPILED_OPERATIONS}"
        )
    read = {*reachable(program.inputs, program.roots)}
    for node in program.nodes:
        # It is there because it may raise an error. A known index was right when it was recorded.
        if node not in read and node.primitive is not operator.getitem:
            raise UnsupportedError(f"{name_of(node.primitive)}, which nothing reads")
    count = len(program.outputs) - 1
    program = replace(program, nodes=tuple(node for node in program.nodes if node in read))
    program = _with_outs(with_copies(in_known_forms(program)))
    squared = _squared_by_products(program, count)
    program = _with_norms(program, count, set(squared.values()))
    facts = Facts(program)
    steps, stored = plan(program, facts)
    text = Text({})
    constants = [node for node, _ in facts.constants]
    outs = [access.base for access in facts.roots[1 : 1 + count]]
    leaves = program.inputs[:count]
    check_arrays(text, program.inputs, leaves, constants)
    head, text = text, Text(text.functions)
    positions = {o: len(program.inputs) + i for i, o in enumerate(outs) if o is not None}
    arrays = [*program.inputs, *leaves, *constants]
    readable = {node: i for i, node in enumerate(arrays) if i < len(program.inputs)}
    readable |= {node: len(program.inputs) + count + i for i, node in enumerate(constants)}
    text.first.append(f"%calls = getelementptr i8, ptr %table, i64 {CALLS_OFFSET}")
    text.first.append(f"%yield_at = getelementptr i8, ptr %table, i64 {PAUSE_OFFSET}")
    text.first.append("%yield = load ptr, ptr %yield_at")
    storage = Storage(text, facts, steps, stored, readable, positions, tile.vector)
    text.put(f"store ptr %table, ptr {text.at('%m', chunks.TABLE_OFFSET, 'i8')}")
    squares, is_large, is_shared = _Squares(text, storage), _is_large(steps, facts), False
    for step in steps:
        if isinstance(step, FusedLoop):
            is_shared |= LoopWriter(text, step, facts, storage).write(is_large)
        elif isinstance(step, Product):
            square = squares.of(step.node, squared)
            writer = ProductWriter(text, step.node, facts, storage, tile, square)
            is_shared |= writer.write(is_large)
        else:
            write_add_at(text, step.node, facts, storage)
    result = _result(text, storage, facts, program, count, squares)
    run = text.function("define internal double @run(ptr %p, ptr %m, ptr %table) noinline", result)
    found = head.do("call double @run(ptr %p, ptr %m, ptr %table)")
    head.lines += [f"ret double {found}", "declined:"]
    call = head.function(
        "define double @call(ptr %tuple, ptr %m, ptr %table)", "ret double 0xFFF0000000000000"
    )
    source = "\n".join([sharing.LLVM_FUNCTIONS * is_shared, *text.functions.values(), run, call])
    values = tuple(array for _, array in facts.constants)
    return Module(source, storage.nbytes, values, tuple(storage.calls), tuple(steps), is_shared)


def _is_large(steps: Sequence[Step], facts: Facts) -> bool:
    """Tell whether threads are worth waking for the products of a program."""
    shapes = [[a.shape for a in facts.accesses(s.node)] for s in steps if isinstance(s, Product)]
    return sum(2 * m * k * n for (m, k), (_, n) in shapes) >= chunks.MIN_SHARED_WORK


def _with_outs(program: Program) -> Program:
    """Make of each output a value that can be written straight into its array."""
    values = Values(program)
    value, *derivatives = program.outputs
    taken: set[Node] = set()
    outputs = [value]
    if not isinstance(value, Node) or value in program.inputs or value.shape != ():
        outputs = [_copy(value, (), getattr(value, "dtype", None) or np.dtype(float))]
    for leaf, output in zip(program.inputs, derivatives, strict=False):
        made = output
        if not _is_direct(values, program, output, leaf, taken):
            made = _copy(output, leaf.shape or (), entries(leaf))
        taken.add(values.access(output).base if made is output else made)  # type: ignore[arg-type]
        outputs.append(made)
    roots = [*(guard.node for guard in program.guards), *outputs]
    return own_totals(
        replace(program, nodes=reachable(program.inputs, roots), outputs=tuple(outputs))
    )


def _is_direct(values: Values, program: Program, output: Any, leaf: Node, taken: set[Node]) -> bool:
    if not isinstance(output, Node) or output.shape != leaf.shape or output.dtype != leaf.dtype:
        return False
    access = values.access(output)
    base = access.base
    if base is None or base in taken or base.primitive is None or base.shape is None:
        return False
    is_whole = prod(base.shape) == prod(access.shape) and access.offset == 0
    looked_at = [program.outputs[0], *(guard.node for guard in program.guards)]
    in_order = access.strides == values.own(Node(None, shape=access.shape)).strides
    return is_whole and in_order and all(base is not node for node in looked_at)


def _copy(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Node:
    """Return an output, which may be a number or have another dtype, as an array of its own."""
    if is_number(value):
        value = Node(FULL, (shape, dtype.type(value)), {}, shape, dtype)
    elif shape_of(value) != shape and size(value) == 1:
        value = np.reshape(value, shape) if not isinstance(value, Node) else reshaped(value, shape)
    elif shape_of(value) != shape:
        value = Node(np.broadcast_to, (value, shape), {}, shape, dtype_of(value))
    if dtype_of(value) != dtype:
        return Node(np.astype, (value, dtype), {}, shape, dtype)
    return Node(np.positive, (value,), {}, shape, dtype)


def _squared_by_products(program: Program, count: int) -> dict[tuple[Node, str], Node]:
    """Return the leaves and derivatives whose squares a product adds up: by product, B or C."""
    found: dict[tuple[Node, str], Node] = {}
    derivatives, leaves = set(program.outputs[1:]), {*program.inputs[:count]}
    for node in program.nodes:
        if node.primitive not in (DOT, np.matmul):
            continue
        b = node.operands[1]
        if node in derivatives:
            found[node, "c"] = node
        elif isinstance(b, Node) and b in leaves and b not in found.values():
            found[node, "b"] = b
    return found


class _Squares:
    """The sums of squares that products keep in vectors: of leaves, and of derivatives."""

    def __init__(self, text: Text, storage: Storage) -> None:
        self._text, self._storage = text, storage
        self._kept: dict[tuple[str, np.dtype[Any]], tuple[str, int]] = {}

    def of(self, node: Node, squared: dict[tuple[Node, str], Node]) -> tuple[str, str]:
        """Return which operand of a product is squared, and the vector that it is added to."""
        for which in "bc":
            if (node, which) in squared:
                key = which, entries(node)
                lanes = self._storage.vector // entries(node).itemsize
                if key not in self._kept:
                    self._kept[key] = (
                        self._storage.block(MAX_CHUNKS * self._storage.vector),
                        lanes,
                    )
                    zero = f"<{lanes} x {type_of(entries(node))}> zeroinitializer"
                    for part in self._parts(key):
                        self._text.put(f"store {zero}, ptr {part}")
                return which, self._kept[key][0]
        return "", "null"

    def totals(self, which: str) -> list[str]:
        """Return the sums, as numbers of float64."""
        found = []
        for key, (_, lanes) in self._kept.items():
            if key[0] == which:
                adding = Node(SUM, dtype=key[1])
                total = folded(self._text, adding, lanes, self._parts(key))
                found.append(_extracted(self._text, total, key[1]))
        return found

    def _parts(self, key: tuple[str, np.dtype[Any]]) -> list[str]:
        pointer, vector = self._kept[key][0], self._storage.vector
        return [self._text.at(pointer, i * vector, "i8") for i in range(MAX_CHUNKS)]


def _with_norms(program: Program, count: int, squared: set[Node]) -> Program:
    """Add the sums of the squares of leaves and derivatives, to see that all are finite."""

    def norm(x: Node) -> Any:
        if x in squared:
            return 0.0
        square = Node(np.multiply, (x, x), {}, x.shape, x.dtype)
        return Node(SUM, (square,), {"axis": None}, (), x.dtype)

    every = [*program.inputs[:count], *program.outputs[1:]]
    outputs = (*program.outputs, *map(norm, every))
    roots = [*(guard.node for guard in program.guards), *outputs]
    return replace(program, nodes=reachable(program.inputs, roots), outputs=outputs)


def _result(
    text: Text,
    storage: Storage,
    facts: Facts,
    program: Program,
    count: int,
    squares: _Squares,
) -> str:
    """Write what the function returns: the loss, or NaN where something is not finite."""
    roots = [root.base for root in facts.roots]
    outputs, guarded = roots[: len(program.outputs)], roots[len(program.outputs) :]
    for guard, base in zip(program.guards, guarded, strict=True):
        found = text.load(storage.pointer(base), entries(base), 1, 1)
        truth = text.convert(found, entries(base), np.dtype(bool), 1)
        holds = text.do(f"extractelement <1 x i1> {truth}, i64 0")
        wrong = text.do(f"icmp ne i1 {holds}, {'true' if guard.taken else 'false'}")
        _return_if(text, wrong)
    if storage.flag:
        _return_if(text, text.do(f"load i1, ptr {storage.flag}"))
    value = _number(text, storage, outputs[0])
    norms = outputs[1 + count :]
    leaves = _total(text, storage, norms[:count], squares.totals("b"))
    derivatives = _total(text, storage, norms[count:], squares.totals("c"))
    text.put(f"store double {leaves}, ptr %m")
    for total in (leaves, derivatives):  # x - x is 0 if x is finite, else NaN
        value = text.do(f"fadd double {value}, {text.do(f'fsub double {total}, {total}')}")
    return f"ret double {value}"


def _total(text: Text, storage: Storage, norms: Sequence[Node | None], parts: Sequence[str]) -> str:
    total = constant(0.0, np.dtype(float))
    for part in (*[_number(text, storage, norm) for norm in norms if norm is not None], *parts):
        total = text.do(f"fadd double {total}, {part}")
    return total


def _return_if(text: Text, condition: str) -> None:
    n = text.name("n")[1:]
    text.lines += [f"br i1 {condition}, label %stop_{n}, label %on_{n}", f"stop_{n}:"]
    text.lines += ["ret double 0xFFF0000000000000", f"on_{n}:"]


def _number(text: Text, storage: Storage, base: Node | None) -> str:
    loaded = text.load(storage.pointer(base), entries(base), 1, 1)
    return _extracted(text, loaded, entries(base))


def _extracted(text: Text, value: str, dtype: np.dtype[Any]) -> str:
    """Return the entry of a vector of one, in float64."""
    double = text.convert(value, dtype, np.dtype(float), 1)
    return text.do(f"extractelement <1 x double> {double}, i64 0")
