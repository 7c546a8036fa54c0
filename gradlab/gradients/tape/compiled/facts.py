"""What the planner and the writers of code ask about the nodes of a program."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from gradlab.gradients.tape.compiled.forms import UnsupportedError, add_at, is_view_form, put, take
from gradlab.gradients.tape.compiled.operations import operand_dtypes
from gradlab.gradients.tape.compiled.values import Access, Values
from gradlab.program.ir import Node, Program, name_of
from gradlab.program.pieces import is_plain_reduction, is_uniform, shape_of
from gradlab.program.primitives import DOT, REDUCTIONS

STRIP_ENTRIES = 2048
"""Largest number of lanes at once, in entries: several values of a strip fit into the L1 cache."""

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Role(NamedTuple):
    """What a node does in a loop over a rectangle."""

    uses: list[Access]  # what it reads there
    place: Access  # where its result is written
    is_column: bool  # whether it has one entry for each row
    row_reduces: bool  # whether it reduces each row, so that the loop can use the result


class Facts:
    """The nodes of a program in known forms, and where their operands lie."""

    def __init__(self, program: Program) -> None:
        self.values = Values(program)
        self.program = program
        self._operands: dict[Node, list[Access]] = {}
        self._placed: dict[Node, tuple[tuple[int, ...], Access]] = {}
        self._roles: dict[tuple[Node, tuple[int, ...]], Role | None] = {}
        for node in program.nodes:
            if self.is_computed(node):
                self._learn(node)
        self.roots = [self.values.access(root) for root in program.roots]

    def _learn(self, node: Node) -> None:
        if node.primitive in REDUCTIONS:
            self._learn_reduction(node)
            return
        values, shape, place = self.values, shape_of(node), self.values.own(node)
        inputs, total = node.operands, node.operands[:0]
        if self.is_product(node):
            accesses = [values.access(operand) for operand in inputs]
            same = {a.base.dtype if a.base else None for a in accesses} == {node.dtype}
            if not same or node.dtype not in FLOATS or any(len(a.shape) != 2 for a in accesses):
                raise UnsupportedError(f"{name_of(node.primitive)} of other than two matrices")
            self._operands[node], self._placed[node] = accesses, (shape, place)
            return
        if node.primitive is put:
            total, inputs = inputs[:1], inputs[1:2]
            place = values.region(node, node.operands[2])
            shape = place.shape
        elif node.primitive in (take, add_at):
            total, inputs = inputs[:1], inputs[1:]
            if node.primitive is add_at:
                shape = np.broadcast_shapes(*map(shape_of, inputs))
        else:
            inputs = inputs[: len(operand_dtypes(node))]
        found = [values.access(operand).broadcast(shape) for operand in inputs]
        self._operands[node] = [*found, *map(values.access, total)]
        self._placed[node] = shape, place

    def _learn_reduction(self, node: Node) -> None:
        x, *rest = node.operands
        axis = rest[0] if rest else node.keywords.get("axis")
        if not is_plain_reduction(node):
            raise UnsupportedError(f"{name_of(node.primitive)} with options")
        access = self.values.access(x)
        count = len(access.shape)
        axes = {*(range(count) if axis is None else np.atleast_1d(axis) % count)}
        kept = tuple(1 if i in axes else extent for i, extent in enumerate(access.shape))
        place = self.values.own(Node(None, shape=kept, dtype=node.dtype)).broadcast(access.shape)
        self._operands[node] = [access]
        self._placed[node] = access.shape, replace(place, base=node)

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

    @property
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

    def role(self, node: Node, extents: tuple[int, ...]) -> Role | None:
        """Return what a node does in a loop; None if it does not belong there."""
        if (node, extents) not in self._roles:
            self._roles[node, extents] = self._role(node, extents)
        return self._roles[node, extents]

    def _role(self, node: Node, extents: tuple[int, ...]) -> Role | None:
        if self.is_product(node) or node.primitive is add_at:
            return None
        own, (shape, written) = self.extents(node), self._placed[node]
        is_column = own != extents and own == (extents[:-1] or (1,))
        if own != extents and not is_column:
            return None
        place = self._use(written, shape, extents)
        rows = place.strides[-1] == 0 and all(place.strides[:-1]) and extents[-1] <= STRIP_ENTRIES
        accesses = self._operands[node][: -1 if node.primitive in (put, take) else None]
        uses = [self._use(access, shape, extents) for access in accesses]
        return Role(uses, place, is_column, self.is_reduction(node) and not is_column and rows)

    def is_in_register(self, use: Access, extents: tuple[int, ...]) -> bool:
        """Tell whether a member is read at the point at which the loop has it."""
        base = use.base
        assert base is not None
        role = self.role(base, extents)
        if role is None or base.primitive is put:
            return False
        if self.is_reduction(base) and not role.row_reduces:
            return False
        return use.offset == 0 and use.strides == role.place.strides

    def _use(self, access: Access, shape: tuple[int, ...], extents: tuple[int, ...]) -> Access:
        strides = tuple(
            stride for stride, extent in zip(access.strides, shape, strict=True) if extent > 1
        )
        strides += (0,) * (len(extents) - len(strides))
        return Access(access.base, access.number, extents, access.offset, strides)
