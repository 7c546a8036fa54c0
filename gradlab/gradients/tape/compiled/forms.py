"""Rewrite a program into the few forms of operation that the planner knows.

After this pass, a node is elementwise, a sum or another reduction, a view, a product of two
matrices, `put` (a region of an array is written), `take` or `add_at` (entries at indices are read,
or added to). A product with ones becomes a sum; a product that has no dimension to tile becomes
multiplications and a sum, which fuse with what is around them. Nothing else changes.
"""

from __future__ import annotations

import operator
from collections import Counter
from math import prod
from typing import Any

import numpy as np

from gradlab.arrays.indexing import gather, is_basic
from gradlab.arrays.rules.writing import put_primitive
from gradlab.gradients.tape.compiled.equivalents import equivalent
from gradlab.gradients.tape.compiled.indexing import (
    INT,
    UnsupportedError,
    add_at,
    positions,
    reshaped,
    take,
)
from gradlab.program.ir import Node, Program
from gradlab.program.pieces import dtype_of, is_constant, shape_of
from gradlab.program.primitives import DOT, FULL, SUM, Kind, kind_of
from gradlab.program.rewrite import rebuild, rewrite
from gradlab.program.stand_ins import accumulate, scatter

REARRANGED = frozenset({np.roll, np.repeat, np.tile, np.flip, np.rot90, np.diagonal, np.resize})
"""Functions that put entries of the first operand where the other operands, all known, say."""

FEW_ROWS = 6
"""Rows below which a product with a transposed matrix is a dot product for each entry."""


def put(total: Any, term: Any, index: Any, add: bool) -> Any:
    """Return `total` with a region replaced by `term`, or with `term` added there.

    Examples
    --------
    >>> put(np.zeros(3), np.ones(2), slice(1, 3), False)
    array([0., 1., 1.])
    """
    result = np.array(total)
    result[index] = result[index] + term if add else term
    return result


def in_known_forms(program: Program) -> Program:
    """Rewrite a program; see the module."""
    return own_totals(rewrite(program, _rule))


def _rule(node: Node) -> Any:
    node = equivalent(node)
    if node.primitive in REARRANGED:
        return _rearranged(node)
    if node.primitive in (DOT, np.matmul) and not node.keywords:
        return _product(node)
    if node.primitive is scatter:
        return _scatter(node)
    if node.primitive is accumulate:
        return Node(np.add, node.operands, {}, node.shape, node.dtype)
    if node.primitive is put_primitive.fun:
        return _written(node)
    if kind_of(node) is Kind.JOIN:
        return _join(node)
    is_index = node.primitive is operator.getitem and not is_basic(node.operands[1])
    if node.primitive is gather.fun or is_index:
        return _gathered(node)
    if node.primitive is np.count_nonzero and len(node.operands) == 1 and not node.keywords:
        return _counted(node)
    return node


def _counted(node: Node) -> Node:
    x = node.operands[0]
    is_set = Node(np.not_equal, (x, 0), {}, shape_of(x), np.dtype(bool))
    return Node(SUM, (is_set,), {"axis": None}, (), node.dtype)


# Products


def _product(node: Node) -> Any:
    a, b = node.operands
    shapes = shape_of(a), shape_of(b)
    if not all(len(shape) in (1, 2) for shape in shapes) or 0 in shapes[0] + shapes[1]:
        return node
    if is_constant(b, 1) and _is_float(a, node):
        return _reduced(node, a, -1)
    if is_constant(a, 1) and _is_float(b, node):
        return _reduced(node, b, 0)
    a2 = a if len(shapes[0]) == 2 else reshaped(a, (1, -1))
    b2 = b if len(shapes[1]) == 2 else reshaped(b, (-1, 1))
    (m, k), n = shape_of(a2), shape_of(b2)[1]
    if k == 1:  # an outer product
        return reshaped(_multiplied(a2, b2, (m, n), node), node.shape)
    if n == 1:
        terms = _multiplied(a2, reshaped(b2, (1, k)), (m, k), node)
        return reshaped(_sum(terms, (1,), (m,), node), node.shape)
    if m < FEW_ROWS and _is_transposed(b2):
        rows = _multiplied(reshaped(a2, (m, 1, k)), _transposed(b2), (m, n, k), node)
        return reshaped(_sum(rows, (2,), (m, n), node), node.shape)
    if a2 is a and b2 is b:
        return node
    return reshaped(Node(DOT, (a2, b2), {}, (m, n), node.dtype), node.shape)


def _is_float(operand: Any, node: Node) -> bool:
    return isinstance(operand, Node) and operand.dtype == node.dtype


def _reduced(node: Node, x: Node, axis: int) -> Any:
    """Return the sum for a product with ones, where all columns of these are the same."""
    shape = list(shape_of(x))
    del shape[axis]
    total = _sum(x, (axis % len(shape_of(x)),), tuple(shape), node)
    ends = shape_of(node.operands[1])[1:] if axis else shape_of(node.operands[0])[:-1]
    if not ends or ends == (1,):
        return reshaped(total, node.shape)
    parts = (*shape, 1) if axis else (1, *shape)
    return Node(np.broadcast_to, (reshaped(total, parts), node.shape), {}, node.shape, node.dtype)


def _sum(x: Any, axis: tuple[int, ...], shape: tuple[int, ...], like: Node) -> Node:
    return Node(SUM, (x,), {"axis": axis}, shape, like.dtype)


def _multiplied(a: Any, b: Any, shape: tuple[int, ...], like: Node) -> Node:
    return Node(np.multiply, (a, b), {}, shape, like.dtype)


def _is_transposed(x: Any) -> bool:
    return isinstance(x, Node) and x.primitive in (np.swapaxes, np.transpose)


def _transposed(x: Node) -> Node:
    return Node(np.swapaxes, (x, 0, 1), {}, shape_of(x)[::-1], x.dtype)


# Regions of arrays


def _gathered(node: Node) -> Node:
    x, index, *arrays = node.operands
    if isinstance(index, list):
        index = tuple(index) if index and isinstance(index[0], slice) else np.asarray(index)
    return _taken(x, *positions(shape_of(x), index, arrays), node)


def _rearranged(node: Node) -> Node:
    """NumPy itself says where each entry goes: the function is applied to their positions."""
    x, *others = node.operands
    if any(isinstance(other, Node) for other in others):
        return node
    every = np.arange(prod(shape_of(x))).reshape(shape_of(x))
    return _taken(x, np.asarray(node.evaluate(every, *others), INT, order="C"), True, node)


def _taken(x: Any, position: Any, in_range: Any, node: Node) -> Node:
    if isinstance(x, Node) and is_view_form(x):
        x = Node(np.positive, (x,), {}, x.shape, x.dtype)
    return Node(take, (x, position, in_range), {}, node.shape, node.dtype)


def _scatter(node: Node) -> Any:
    term, index, total, shape, dtype, *arrays = node.operands
    start = _filled(0, shape, dtype) if total is None else total
    if isinstance(index, list) and index and isinstance(index[0], slice):
        index = tuple(index)  # as autograd writes it
    if arrays or not is_basic(index):
        if index is None:
            raise UnsupportedError("an index of None")
        found, in_range = positions(tuple(shape), index, arrays)
        return Node(add_at, (start, term, found, in_range), {}, node.shape, node.dtype)
    region = np.broadcast_to(np.empty((), dtype), shape)[index].shape
    is_new = total is None and isinstance(term, Node) and term.dtype == dtype
    if (
        is_new
        and np.prod(region) == np.prod(shape)
        and shape_of(term) == region
        and not _reverses(index)
    ):
        return reshaped(term, tuple(shape))  # all of it
    return Node(put, (start, term, index, True), {}, node.shape, node.dtype)


def _reverses(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, slice) and (part.step or 1) < 0 for part in parts)


def _written(node: Node) -> Node:
    x, value, index = node.operands
    kinds = np.dtype(dtype_of(value)).kind, np.dtype(node.dtype).kind
    if kinds == ("f", "i") or not is_basic(index) or len(shape_of(value)) > len(shape_of(x)):
        return node
    return Node(put, (x, value, index, False), {}, node.shape, node.dtype)


def _join(node: Node) -> Any:
    axis, *parts = node.operands
    shape = node.shape or ()
    axis = int(axis) % len(shape)
    result = _filled(0, shape, node.dtype)
    start = 0
    for part in parts:
        stop = start + shape_of(part)[axis]
        index = (*[slice(None)] * axis, slice(start, stop))
        result = Node(put, (result, part, index, False), {}, shape, node.dtype)
        start = stop
    return result


def _filled(value: Any, shape: Any, dtype: Any) -> Node:
    dtype, shape = np.dtype(dtype), tuple(shape)
    number = Node(FULL, (shape, dtype.type(value)), {}, shape, dtype)
    return Node(np.positive, (number,), {}, shape, dtype)


def own_totals(program: Program) -> Program:
    """Have each `put` write into an array that nothing else reads: into a copy where needed."""
    uses = Counter(o for node in program.nodes for o in node.operands if isinstance(o, Node))
    uses.update(root for root in program.roots if isinstance(root, Node))
    replaced: dict[Node, Node] = {}

    def current(operand: Any) -> Any:
        return replaced.get(operand, operand) if isinstance(operand, Node) else operand

    for node in program.nodes:
        operands = [*map(current, node.operands)]
        if node.primitive in (put, add_at):
            total = node.operands[0]
            is_computed = isinstance(total, Node) and total.primitive not in (None, FULL)
            if not is_computed or uses[total] > 1 or is_view_form(total):
                copied = (operands[0],)
                operands[0] = Node(np.positive, copied, {}, node.shape, node.dtype)
        if any(a is not b for a, b in zip(operands, node.operands, strict=True)):
            replaced[node] = node.on(tuple(operands))
    return rebuild(program, current)


def is_view_form(node: Node) -> bool:
    """Tell whether a node only rearranges its first operand."""
    if kind_of(node) is Kind.VIEW:
        return node.primitive is not operator.getitem or is_basic(node.operands[1])
    return kind_of(node) is Kind.BROADCAST


__all__ = [
    "UnsupportedError",
    "add_at",
    "in_known_forms",
    "is_view_form",
    "own_totals",
    "put",
    "reshaped",
    "take",
]
