"""Rewrite a program into the few forms of operation that the planner knows.

After this pass, a node is elementwise, a sum or another reduction, a view, a product of two
matrices, `put` (a region of an array is written), `take` or `add_at` (entries at indices are read,
or added to). A product with ones becomes a sum; a product that has no dimension to tile becomes
multiplications and a sum, which fuse with what is around them. Nothing else changes.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1

from gradlab.arrays.indexing import gather, is_basic
from gradlab.arrays.rules.writing import put_primitive
from gradlab.gradients.tape.compiled.indexing import (
    INT,
    UnsupportedError,
    add_at,
    elementwise,
    positions,
    reshaped,
    take,
)
from gradlab.gradients.tape.compiled.operations import inner_loop
from gradlab.program.ir import Node, Program
from gradlab.program.pieces import (
    dtype_of,
    is_constant,
    is_number,
    is_uniform,
    repeat,
    shape_of,
    transposed,
)
from gradlab.program.primitives import DOT, FULL, SUM, Kind, kind_of
from gradlab.program.rewrite import rebuild, rewrite
from gradlab.program.stand_ins import accumulate, scatter

MIN_BLOCKED_ROWS = 6
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
    return own_totals(rewrite(program, form_of))


def form_of(node: Node) -> Any:
    """Return a value in known forms, or the node itself if it has one or there is none."""
    if kind_of(node) is Kind.JOIN:
        return _join(node)
    if node.primitive in _RULES:
        return _RULES[node.primitive](node)
    if inner_loop(node) is None or all(_has(operand, node.dtype) for operand in node.operands):
        return node
    return node.with_operands(
        tuple(x if _has(x, node.dtype) else _converted(x, node.dtype) for x in node.operands)
    )


def _has(operand: Any, dtype: np.dtype[Any] | None) -> bool:
    """Tell whether an operand need not be converted to a dtype: also if it is a number."""
    return is_number(operand) or is_uniform(operand) or dtype_of(operand) == dtype


def _converted(x: Any, dtype: np.dtype[Any] | None) -> Any:
    return x if dtype_of(x) == dtype else elementwise(np.astype, dtype, x, dtype)


# Products


def _product(node: Node) -> Any:
    a, b = (_converted(operand, node.dtype) for operand in node.operands)
    shapes = shape_of(a), shape_of(b)
    if node.keywords or {*map(len, shapes)} - {1, 2} or 0 in shapes[0] + shapes[1]:
        return node
    for ones, x, axis in ((b, a, -1), (a, b, 0)):
        if is_constant(ones, 1) and isinstance(x, Node):
            return _sum_for_ones(node, x, axis % len(shape_of(x)))
    a2 = a if len(shapes[0]) == 2 else reshaped(a, (1, -1))
    b2 = b if len(shapes[1]) == 2 else reshaped(b, (-1, 1))
    (m, k), n = shape_of(a2), shape_of(b2)[1]
    if k == 1:  # an outer product
        return reshaped(elementwise(np.multiply, node.dtype, a2, b2), node.shape)
    if n == 1:
        return _sums_of_products(node, a2, reshaped(b2, (1, k)))
    if m < MIN_BLOCKED_ROWS and _is_transposed(b2):
        return _sums_of_products(node, reshaped(a2, (m, 1, k)), transposed(b2))
    return reshaped(Node(DOT, (a2, b2), {}, (m, n), node.dtype), node.shape)


def _sum_for_ones(node: Node, x: Node, axis: int) -> Any:
    """Return the sum of x along an axis, for each column of ones if there are several."""
    shape = shape_of(x)
    total = _sum(x, axis, node)
    if len(shape_of(node)) < len(shape):
        return reshaped(total, node.shape)
    return repeat(reshaped(total, (*shape[:axis], 1, *shape[axis + 1 :])), node.shape)


def _sums_of_products(node: Node, a: Any, b: Any) -> Any:
    terms = elementwise(np.multiply, node.dtype, a, b)
    return reshaped(_sum(terms, len(shape_of(terms)) - 1, node), node.shape)


def _sum(x: Node, axis: int, like: Node) -> Node:
    shape = shape_of(x)
    return Node(SUM, (x,), {"axis": (axis,)}, shape[:axis] + shape[axis + 1 :], like.dtype)


def _is_transposed(x: Any) -> bool:
    return isinstance(x, Node) and x.primitive in (np.swapaxes, np.transpose)


def _outer(node: Node) -> Any:
    a, b, *out = node.operands
    if out:
        return node
    return elementwise(np.multiply, node.dtype, reshaped(a, (-1, 1)), reshaped(b, (1, -1)))


def _adjoint_of_dot(node: Node) -> Any:
    """Write the adjoint of a matrix and a vector, or of a vector and a matrix."""
    other, g, a_meta, b_meta = node.operands
    if not dtype_of(other) == dtype_of(g) == node.dtype or {a_meta[1], b_meta[1]} != {1, 2}:
        return node
    # The other factor is the matrix: B g for a vector A, A'g for a vector B.
    factors = (g, other) if len(shape_of(node)) == 2 else (other, g)
    if node.primitive is dot_adjoint_1.fun:
        factors = factors[::-1]
    return (_outer if len(shape_of(node)) == 2 else _product)(
        Node(DOT, factors, {}, node.shape, node.dtype)
    )


# Regions of arrays


def _rearranged(node: Node) -> Node:
    """NumPy itself says where each entry goes: the function is applied to their positions."""
    x, *others = node.operands
    if any(isinstance(other, Node) for other in others):
        return node
    every = np.arange(prod(shape_of(x))).reshape(shape_of(x))
    return _taken(node, np.asarray(node.evaluate(every, *others), INT, order="C"), True)


def _gathered(node: Node) -> Node:
    x, index, *arrays = node.operands
    if node.primitive is operator.getitem and is_basic(index):
        return node
    return _taken(node, *positions(shape_of(x), index, arrays))


def _taken(node: Node, position: Any, in_range: Any) -> Node:
    x = node.operands[0]
    if isinstance(x, Node) and is_view_form(x):
        x = _copy(x)
    return Node(take, (x, position, in_range), {}, node.shape, node.dtype)


def _scatter(node: Node) -> Any:
    term, index, total, shape, dtype, *arrays = node.operands
    start = _filled(0, shape, dtype) if total is None else total
    if arrays or not is_basic(index):
        found = positions(tuple(shape), index, arrays)
        return Node(add_at, (start, term, *found), {}, node.shape, node.dtype)
    whole = np.empty(shape, bool)
    region = whole[index]
    is_all = region.size == whole.size and region.flags.c_contiguous
    if total is None and is_all and isinstance(term, Node) and term.dtype == dtype:
        return reshaped(repeat(term, region.shape), tuple(shape))
    return Node(put, (start, term, index, True), {}, node.shape, node.dtype)


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
    return _copy(Node(FULL, (shape, dtype.type(value)), {}, shape, dtype))


def _copy(x: Node) -> Node:
    return Node(np.positive, (x,), {}, x.shape, x.dtype)


# Other functions


def _clip(node: Node) -> Any:
    if len(node.operands) != 3 or node.keywords:
        return node
    x, low, high = node.operands
    for ufunc, bound in ((np.maximum, low), (np.minimum, high)):
        if bound is not None:
            x = Node(ufunc, (x, bound), {}, node.shape, node.dtype)
    return x


def _compared(ufunc: np.ufunc, number: float | None = None) -> Callable[[Node], Any]:
    """Compare the operand with a number, or with itself."""

    def rule(node: Node) -> Any:
        (x,) = node.operands
        return Node(ufunc, (x, x if number is None else number), {}, node.shape, node.dtype)

    return rule


def _counted(node: Node) -> Node:
    if len(node.operands) != 1 or node.keywords:
        return node
    is_set = elementwise(np.not_equal, np.dtype(bool), node.operands[0], 0)
    return Node(SUM, (is_set,), {"axis": None}, (), node.dtype)


def _copied(node: Node) -> Any:
    """``np.array(x)`` without further arguments."""
    args, keywords, x = node.operands
    return node if args or keywords else Node(np.positive, (x,), {}, node.shape, node.dtype)


_RULES: dict[Any, Callable[[Node], Any]] = {
    DOT: _product,
    np.matmul: _product,
    np.outer: _outer,
    dot_adjoint_0.fun: _adjoint_of_dot,
    dot_adjoint_1.fun: _adjoint_of_dot,
    scatter: _scatter,
    accumulate: lambda node: Node(np.add, node.operands, {}, node.shape, node.dtype),
    put_primitive.fun: _written,
    gather.fun: _gathered,
    operator.getitem: _gathered,
    np.count_nonzero: _counted,
    np.clip: _clip,
    np.isnan: _compared(np.not_equal),
    np.isposinf: _compared(np.equal, np.inf),
    np.isneginf: _compared(np.equal, -np.inf),
    numpy_wrapper._array_from_scalar_or_array.fun: _copied,
    **dict.fromkeys(
        (np.roll, np.repeat, np.tile, np.flip, np.rot90, np.diagonal, np.resize), _rearranged
    ),
}


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
            replaced[node] = node.with_operands(tuple(operands))
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
