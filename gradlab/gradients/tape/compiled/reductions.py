"""Reductions, and additions at indices: what several points of a loop write into one entry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.kinds import dtype_of, memory_type, power_of_two, type_of
from gradlab.gradients.tape.compiled.operations import instruct
from gradlab.gradients.tape.compiled.storage import Storage
from gradlab.gradients.tape.compiled.text import Text
from gradlab.gradients.tape.compiled.values import Access
from gradlab.program.ir import Node
from gradlab.program.primitives import REDUCTIONS


def neutral(node: Node) -> Any:
    """Return the number with which a reduction begins."""
    ends: tuple[Any, Any] = -np.inf, np.inf
    if dtype_of(node).kind == "i":
        info = np.iinfo(dtype_of(node))
        ends = info.min, info.max
    numbers: dict[Any, Any] = {np.add: 0, np.multiply: 1, np.maximum: ends[0], np.minimum: ends[1]}
    return {**numbers, np.logical_and: True, np.logical_or: False}[REDUCTIONS[node.primitive]]


def combine(text: Text, node: Node, lanes: int, a: str, b: str) -> str:
    """Write the operation of a reduction on two vectors."""
    ufunc, dtype = REDUCTIONS[node.primitive], dtype_of(node)
    if ufunc in (np.maximum, np.minimum) and dtype.kind == "f":
        return text.intrinsic(ufunc.__name__, dtype, lanes, (a, b))
    return instruct(text, ufunc, dtype, dtype, lanes, (a, b))


def folded(text: Text, node: Node, lanes: int, accumulators: Sequence[str]) -> str:
    """Return what the accumulators of a reduction come to, as a vector of one."""
    kind = type_of(dtype_of(node))
    parts = [text.do(f"load <{lanes} x {kind}>, ptr {part}") for part in accumulators]
    while len(parts) > 1:
        parts = [*parts[2:], combine(text, node, lanes, parts[0], parts[1])]
    value = parts[0]
    while lanes > 1:  # the halves of a vector, until one entry is left
        lanes //= 2
        halves = [
            text.shuffle(value, "poison", kind, 2 * lanes, range(start, start + lanes))
            for start in (0, lanes)
        ]
        value = combine(text, node, lanes, *halves)
    return value


def start_totals(text: Text, vector: int, node: Node, pointer: str) -> None:
    """Write the neutral number to all entries of a reduction."""
    dtype = dtype_of(node)

    def clear(i: Any, lanes: int, here: int) -> None:
        to = text.at(pointer, i, memory_type(dtype))
        text.store(text.splat(neutral(node), dtype, lanes), to, dtype, lanes, here)

    _each_vector(text, vector, node, clear)


def join_totals(text: Text, vector: int, node: Node, pointer: str, parts: Sequence[str]) -> None:
    """Write what the parts of a reduction come to, entry by entry, in their order."""
    dtype = dtype_of(node)

    def join(i: Any, lanes: int, here: int) -> None:
        first, *others = (text.at(part, i, memory_type(dtype)) for part in parts)
        total = text.load(first, dtype, lanes, here)
        for other in others:
            total = combine(text, node, lanes, total, text.load(other, dtype, lanes, here))
        text.store(total, text.at(pointer, i, memory_type(dtype)), dtype, lanes, here)

    _each_vector(text, vector, node, join)


def _each_vector(
    text: Text, vector: int, node: Node, body: Callable[[Any, int, int], None]
) -> None:
    """Write ``body(start, lanes, count)`` for the entries of a value, some lanes at a time."""
    count = prod(node.shape or (1,))
    lanes = min(vector // dtype_of(node).itemsize, power_of_two(count))
    text.loop(count // lanes, lambda i: body(text.mul(i, lanes), lanes, lanes))
    if rest := count % lanes:
        body(count - rest, lanes, rest)


def write_add_at(text: Text, node: Node, facts: Facts, storage: Storage) -> None:
    """Write an addition at indices, entry by entry: two of them may be the same."""
    term, position, in_range, _ = facts.accesses(node)
    dtype = dtype_of(node)

    def operand(access: Access, indices: list[Any], wanted: np.dtype[Any]) -> str:
        if access.base is None:
            return text.splat(access.number, wanted, 1)
        own = dtype_of(access.base)
        index = text.index(access.offset, access.strides, indices)
        at = text.at(storage.pointer(access.base), index, memory_type(own))
        return text.convert(text.load(at, own, 1, 1), own, wanted, 1)

    def visit(indices: list[Any]) -> None:
        if len(indices) < len(term.shape):
            text.loop(term.shape[len(indices)], lambda i: visit([*indices, i]))
            return
        inside = operand(in_range, indices, np.dtype(bool))
        storage.note_if_any(text, text.do(f"xor <1 x i1> {inside}, <i1 true>"), 1)
        where = operand(position, indices, np.dtype(np.int64))
        offset = text.do(f"extractelement <1 x i64> {where}, i64 0")
        value = operand(term, indices, dtype)

        def add() -> None:
            to = text.at(storage.pointer(node), offset, memory_type(dtype))
            before = text.load(to, dtype, 1, 1)
            found = instruct(text, np.add, dtype, dtype, 1, (before, value))
            text.store(found, to, dtype, 1, 1)

        text.when(text.do(f"extractelement <1 x i1> {inside}, i64 0"), add)

    visit([])
