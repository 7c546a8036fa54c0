"""Exact definitions of a few functions in terms of simpler ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1

from gradlab.program.ir import Node
from gradlab.program.pieces import (
    binary,
    cast,
    dtype_of,
    full,
    is_product_of_matrices,
    size,
    transposed,
)
from gradlab.program.primitives import DOT, MEAN, RESHAPE, SUM, is_elementwise, primitive_of
from gradlab.program.rewrite import at_each_node
from gradlab.program.stand_ins import accumulate, cancelled


@at_each_node
def lower(node: Node) -> Node:
    """Replace means, adjoints of products and similar functions by sums, products and views."""
    rule = _RULES.get(node.primitive)
    return node if rule is None else rule(node)


@at_each_node
def drop_what_cancels(node: Node) -> Node:
    """Replace values that are zero apart from round-off by zero: see `cancelled`."""
    return full(0.0, node) if node.primitive is cancelled else node


@at_each_node
def keep_what_cancels(node: Node) -> Any:
    """Keep the values that `drop_what_cancels` would drop."""
    return node.operands[0] if node.primitive is cancelled else node


def _accumulate(node: Node) -> Node:
    is_sum = {dtype_of(o) for o in node.operands} == {node.dtype}
    return replace(node, primitive=np.add) if is_sum else node


def _matmul(node: Node) -> Node:
    # The same call of BLAS with less overhead; several times as fast for an outer product.
    if not node.keywords and is_product_of_matrices(node):
        return replace(node, primitive=DOT)
    return node


def _reshape(node: Node) -> Node:
    x, *rest = node.operands
    if rest and isinstance(rest[0], np.ndarray):
        return replace(node, operands=(x, tuple(map(int, rest[0])), *rest[1:]))
    return node


def _mean(node: Node) -> Node:
    x, *axis = node.operands
    if len(axis) > 1 or not set(node.keywords) <= {"axis", "keepdims"}:
        return node
    keywords = {"axis": axis[0] if axis else None, **node.keywords}
    if not (isinstance(x, Node) and x.dtype in (np.float32, np.float64) and node.dtype == x.dtype):
        return node
    count = size(x) // max(size(node), 1)
    total = replace(node, primitive=SUM, operands=(x,), keywords=keywords)
    return binary(np.divide, total, count, node)


def _adjoint_of_dot(node: Node) -> Node:
    """Write the adjoint of a matrix product as a product with the other factor transposed."""
    other, g, a_meta, b_meta = node.operands
    if not (isinstance(g, Node) and a_meta[1] == b_meta[1] == 2):
        return node
    dtype = np.result_type(*(dtype_of(operand) for operand in (other, g)))
    if node.primitive is dot_adjoint_0.fun:
        product = Node(DOT, (g, transposed(other)), {}, node.shape, dtype)
    else:
        assert node.shape is not None
        flipped = Node(DOT, (transposed(g), other), {}, node.shape[::-1], dtype)
        product = transposed(flipped)
    return product if dtype == node.dtype else cast(product, node.dtype)


_RULES: dict[Any, Callable[[Node], Node]] = {
    MEAN: _mean,
    accumulate: _accumulate,
    dot_adjoint_0.fun: _adjoint_of_dot,
    dot_adjoint_1.fun: _adjoint_of_dot,
    np.matmul: _matmul,
    RESHAPE: _reshape,
}


@at_each_node
def convert_beforehand(node: Node) -> Node:
    """Convert an operand once as a whole, where NumPy would convert it chunk by chunk.

    Without this pass, a loss that multiplies by counts takes 1.2 times as long, one that multiplies
    by a mask 1.05 times.
    """
    counts = node.primitive is SUM and node.dtype is not None and node.dtype.kind in "iu"
    if not counts and not (primitive_of(node.primitive).converts and is_elementwise(node)):
        return node
    operands = tuple(
        cast(operand, node.dtype)
        if isinstance(operand, Node) and operand.dtype != node.dtype
        else operand
        for operand in node.operands
    )
    same = all(new is old for new, old in zip(operands, node.operands, strict=True))
    return node if same else node.with_operands(operands)
