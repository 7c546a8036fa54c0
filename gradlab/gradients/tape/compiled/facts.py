"""What the planner and the writers of code ask about the nodes of a program."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.forms import UnsupportedError, add_at, is_view_form, put, take
from gradlab.gradients.tape.compiled.operations import operand_dtypes
from gradlab.gradients.tape.compiled.values import Access, Values
from gradlab.program.ir import Node, Program, name_of
from gradlab.program.pieces import is_plain_reduction, is_uniform, shape_of
from gradlab.program.primitives import DOT, REDUCTIONS

STRIP = 2048
"""Largest number of lanes at once, in entries: several values of a strip fit into the L1 cache."""

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Facts:
    """The nodes of a program in known forms, and where their operands lie."""

    def __init__(self, program: Program) -> None:
        self.values = Values(program)
        self.program = program
        self._operands: dict[Node, list[Access]] = {}
        self._placed: dict[Node, tuple[tuple[int, ...], Access]] = {}
        for node in program.nodes:
            if self.is_computed(node):
                self._learn(node)
        self.roots = [self.values.access(root) for root in program.roots]

    def _learn(self, node: Node) -> None:
        values = self.values
        if node.primitive in (DOT, np.matmul) and not node.keywords:
            accesses = [values.access(operand) for operand in node.operands]
            same = {a.base.dtype if a.base else None for a in accesses} == {node.dtype}
            if not same or node.dtype not in FLOATS or any(len(a.shape) != 2 for a in accesses):
                raise UnsupportedError(f"{name_of(node.primitive)} of other than two matrices")
            self._operands[node], place = accesses, values.own(node)
            self._placed[node] = node.shape or (), place
        elif node.primitive is put:
            total, term, index, _ = node.operands
            region = values.region(node, index)
            inputs = [values.access(term).broadcast(region.shape), values.access(total)]
            self._operands[node], self._placed[node] = inputs, (region.shape, region)

        elif node.primitive is take:
            x, position, in_range = node.operands
            shape = node.shape or ()
            inputs = [values.access(o).broadcast(shape) for o in (position, in_range)]
            self._operands[node] = [*inputs, values.access(x)]
            self._placed[node] = shape, values.own(node)
        elif node.primitive is add_at:
            total, *others = node.operands
            shape = np.broadcast_shapes(*map(shape_of, others))
            inputs = [values.access(o).broadcast(shape) for o in others]
            self._operands[node] = [*inputs, values.access(total)]
        elif node.primitive in REDUCTIONS:
            self._learn_reduction(node)
        else:
            shape = node.shape or ()
            given = node.operands[: len(operand_dtypes(node))]
            self._operands[node] = [values.access(operand).broadcast(shape) for operand in given]
            self._placed[node] = shape, values.own(node)

    def _learn_reduction(self, node: Node) -> None:
        x, *rest = node.operands
        axis = rest[0] if rest else node.keywords.get("axis")
        if not is_plain_reduction(node):
            raise UnsupportedError(f"{name_of(node.primitive)} with options")
        access = self.values.access(x)
        count = len(access.shape)
        axes = range(count) if axis is None else np.atleast_1d(axis) % count
        reduced = {int(a) for a in axes}
        strides, step = [0] * count, 1
        for position in reversed(range(count)):
            if position not in reduced:
                strides[position] = step if access.shape[position] > 1 else 0
                step *= access.shape[position]
        self._operands[node] = [access]
        self._placed[node] = access.shape, Access(node, None, access.shape, 0, tuple(strides))

    # What is asked

    def is_computed(self, node: Node) -> bool:
        """Tell whether a node has entries of its own: it is no view, nor a repeated number."""
        return not is_uniform(node) and not is_view_form(node)

    def is_product(self, node: Node) -> bool:
        """Tell whether a node is a product of two matrices."""
        return node.primitive in (DOT, np.matmul)

    def is_reduction(self, node: Node) -> bool:
        """Tell whether a node reduces an operand along axes of more than one entry."""
        return node.primitive in REDUCTIONS

    @cached_property
    def constants(self) -> list[tuple[Node, Any]]:
        """The arrays that the program was recorded with, and the nodes that stand for them."""
        return [*self.values.constants.values()]

    def accesses(self, node: Node) -> list[Access]:
        """Return where the operands of a node lie."""
        return self._operands[node]

    def bases(self, node: Node) -> list[Node]:
        """Return the values that a node reads."""
        return [*dict.fromkeys(a.base for a in self._operands[node] if a.base is not None)]

    def total(self, node: Node) -> Node:
        """Return the value that an operation with indices has in memory, which `put` writes to."""
        base = self._operands[node][-1].base
        assert base is not None
        return base

    def extents(self, node: Node) -> tuple[int, ...]:
        """Return the axes that a node visits, without those of one entry."""
        return tuple(extent for extent in self._placed[node][0] if extent > 1) or (1,)

    def place(self, node: Node, extents: tuple[int, ...]) -> Access:
        """Return where a member of a loop writes its result."""
        return self._use(self._placed[node][1], self._placed[node][0], extents)

    def uses_in(self, node: Node, extents: tuple[int, ...]) -> list[Access] | None:
        """Return what a node reads in a loop over a rectangle; None if it does not belong there."""
        if self.is_product(node) or node.primitive is add_at:
            return None
        own = self.extents(node)
        if own != extents and not self.is_column(node, extents):
            return None
        shape = self._placed[node][0]
        accesses = self._operands[node][: -1 if node.primitive in (put, take) else None]
        return [self._use(access, shape, extents) for access in accesses]

    def is_column(self, node: Node, extents: tuple[int, ...]) -> bool:
        """Tell whether a node has an entry for each row of a rectangle."""
        own = self.extents(node)
        return own != extents and (own == extents[:-1] or (own == (1,) and len(extents) == 1))

    def row_reduces(self, node: Node, extents: tuple[int, ...]) -> bool:
        """Tell whether a node reduces each row of a loop, so that the loop can use the result."""
        if not self.is_reduction(node) or self.is_column(node, extents):
            return False
        strides = self.place(node, extents).strides
        return strides[-1] == 0 and all(strides[:-1]) and extents[-1] <= STRIP

    def is_in_register(self, use: Access, extents: tuple[int, ...]) -> bool:
        """Tell whether a member is read at the point at which the loop has it."""
        base = use.base
        assert base is not None
        if base.primitive is put or self.uses_in(base, extents) is None:
            return False
        if self.is_reduction(base) and not self.row_reduces(base, extents):
            return False
        place = self.place(base, extents)
        return use.offset == 0 and use.strides == place.strides

    def _use(self, access: Access, shape: tuple[int, ...], extents: tuple[int, ...]) -> Access:
        strides = tuple(
            stride for stride, extent in zip(access.strides, shape, strict=True) if extent > 1
        )
        strides += (0,) * (len(extents) - len(strides))
        return Access(access.base, access.number, extents, access.offset, strides)
