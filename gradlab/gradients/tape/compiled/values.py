"""Where the entries of an operand lie: a base array, an offset, and a stride for each axis.

NumPy itself says what a view of an array looks like: each view of a program is taken of an array
of the right shape, without contents. So any mix of transposes, slices, reshapes and broadcasts
needs no rule here, and costs nothing when the program runs.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import held, is_buffer
from gradlab.gradients.tape.compiled.forms import UnsupportedError, is_view_form
from gradlab.gradients.tape.compiled.kinds import DTYPES
from gradlab.program.ir import Node, Program, name_of
from gradlab.program.pieces import is_number, is_uniform, number, shape_of
from gradlab.program.rewrite import rewrite


@dataclass(frozen=True)
class Access:
    """The entries of an operand."""

    base: Node | None  # the input or computed value; None for a number
    number: Any  # the number, if it is one
    shape: tuple[int, ...]
    offset: int  # of the first entry in the base, in entries
    strides: tuple[int, ...]  # entries from one index to the next along each axis

    @classmethod
    def of(cls, base: Node, whole: Any, view: Any) -> Access:
        """Return the access to a view of the whole array of a value."""
        start = view.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
        strides = tuple(
            0 if extent == 1 else stride // whole.itemsize
            for extent, stride in zip(view.shape, view.strides, strict=True)
        )
        return cls(base, None, view.shape, start // whole.itemsize, strides)

    @classmethod
    def of_number(cls, number: Any, shape: tuple[int, ...]) -> Access:
        """Return the access to a number that is repeated."""
        return cls(None, number, shape, 0, (0,) * len(shape))

    def broadcast(self, shape: tuple[int, ...]) -> Access:
        """Return the access to the operand broadcast to a shape."""
        missing = len(shape) - len(self.shape)
        pairs = zip(self.shape, self.strides, shape[missing:], strict=True)
        strides = tuple(0 if mine != full else stride for mine, stride, full in pairs)
        return replace(self, shape=shape, strides=(0,) * missing + strides)

    def merged(self, axis: int) -> Access:
        """Return the access along one axis in place of this one and the next, in a loop."""
        both = self.shape[axis] * self.shape[axis + 1]
        shape = (*self.shape[:axis], both, *self.shape[axis + 2 :])
        return replace(self, shape=shape, strides=self.strides[:axis] + self.strides[axis + 1 :])


class Values:
    """The accesses of all operands of a program."""

    def __init__(self, program: Program) -> None:
        # For each array that is a literal, the node that stands for it, by its id.
        self.constants: dict[int, tuple[Node, Any]] = {}
        self._views: dict[Node, tuple[Node, Any, Any]] = {}  # base, its array, the view
        for node in (*program.inputs, *program.nodes):
            if node.shape is None or node.dtype not in DTYPES or 0 in node.shape:
                raise UnsupportedError(f"{name_of(node.primitive)} of {node.shape} {node.dtype}")

    def access(self, operand: Any) -> Access:
        """Return where the entries of an operand lie."""
        if is_number(operand) or is_uniform(operand):
            shape = shape_of(operand) if isinstance(operand, Node) else ()
            return Access.of_number(number(operand), shape)
        base, whole, view = self._view(self._node(operand))
        if is_uniform(base):
            return Access.of_number(number(base), view.shape)
        return Access.of(base, whole, view)

    def own(self, node: Node) -> Access:
        """Return how the entries of a computed value lie in its own array, in C order."""
        return self.region(node, ())

    def region(self, node: Node, index: Any) -> Access:
        """Return the access to a region of a value's own array."""
        whole = np.empty(shape_of(node), node.dtype)
        return Access.of(node, whole, _part(whole, index))

    def _node(self, operand: Any) -> Node:
        if isinstance(operand, Node):
            return operand
        if is_buffer(operand):
            operand = held(operand)
        if type(operand) is not np.ndarray or operand.dtype not in DTYPES or not operand.size:
            raise UnsupportedError(f"an operand is a {type(operand).__name__}")
        if id(operand) not in self.constants:
            made = Node(None, shape=operand.shape, dtype=operand.dtype, name="constant")
            self.constants[id(operand)] = made, operand
        return self.constants[id(operand)][0]

    def _view(self, node: Node) -> tuple[Node, Any, Any]:
        if node not in self._views:
            if node.primitive is not None and is_view_form(node):
                base, whole, view = self._view(self._node(node.operands[0]))
                made = _viewed(node, view)
                if not isinstance(made, np.ndarray) or not np.may_share_memory(made, whole):
                    raise UnsupportedError(f"{name_of(node.primitive)} copies its operand")
                self._views[node] = base, whole, made
            else:
                whole = np.empty(shape_of(node), node.dtype)
                self._views[node] = node, whole, whole
        return self._views[node]


def with_copies(program: Program) -> Program:
    """Copy what a reshape could not be a view of, such as a transposed matrix."""
    arrays: dict[Node, Any] = {}

    def array_of(node: Node) -> Any:
        return arrays.setdefault(node, np.empty(shape_of(node), node.dtype))

    def rule(node: Node) -> Node:
        x = node.operands[0] if node.operands else None
        if not is_view_form(node) or not isinstance(x, Node) or node.dtype not in DTYPES:
            return node
        made = _viewed(node, array_of(x))
        if not np.may_share_memory(made, array_of(x)):
            x = Node(np.positive, (x,), {}, x.shape, x.dtype)
            node = node.with_operands((x, *node.operands[1:]))
            made = _viewed(node, array_of(x))
        arrays[node] = made
        return node

    return rewrite(program, rule)


def _viewed(node: Node, array: Any) -> Any:
    """Apply a view to an array."""
    if node.primitive is operator.getitem:
        return _part(array, node.operands[1])
    return node.evaluate(array, *node.operands[1:])


def _part(array: Any, index: Any) -> Any:
    """Index an array; one entry stays an array, of no dimension."""
    parts = index if isinstance(index, tuple) else (index,)
    return array[parts if Ellipsis in parts else (*parts, ...)]
