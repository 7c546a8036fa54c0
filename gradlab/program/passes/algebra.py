"""Exact algebra: every bit of every output stays, except that a zero may change its sign.

The rules hold in floating-point arithmetic: a sign can be moved through a product or a sum, and
x + 0 is x. Round-off breaks other rules (associativity, distributivity). Without these rules, the
mixture of gaussians of `benchmarks/functions.py` and small networks take 1.05 times as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.program.ir import Node, Program
from gradlab.program.pieces import (
    binary,
    dtype_of,
    full,
    is_constant,
    is_number,
    is_plain_reduction,
    is_uniform,
    negative,
    number,
    repeat,
    shape_of,
    size,
    unsigned,
)
from gradlab.program.primitives import (
    REDUCTIONS,
    RESHAPE,
    VIEWS,
    is_elementwise,
    primitive_of,
)
from gradlab.program.rewrite import rewrite


def simplify(program: Program) -> Program:
    """Drop identities, move signs outwards, and evaluate what depends only on numbers."""
    return rewrite(program, _simplify)


def _simplify(node: Node) -> Any:
    if node.shape is None or node.dtype is None or not primitive_of(node.primitive).pure:
        return node
    for rule in (_fold, _identities, _signs):
        result = rule(node)
        if isinstance(result, Node) and result is not node and result.primitive is not None:
            return _simplify(result)
        if result is not node:
            return result
    return node


def _fold(node: Node) -> Any:
    """Evaluate nodes that depend only on numbers or uniform arrays."""
    if is_uniform(node.operands[0]) and (
        node.primitive is np.broadcast_to
        or (node.primitive in VIEWS and not any(isinstance(o, Node) for o in node.operands[1:]))
    ):
        return full(number(node.operands[0]), node)
    if not is_elementwise(node):
        return node
    if all(is_number(operand) or is_uniform(operand) for operand in node.operands):
        value = _evaluated(node, map(number, node.operands))
        has_shape = value is not node and any(map(is_uniform, node.operands))
        return full(value, node) if has_shape else value
    # A uniform array counts as a number if the other operands have the full shape.
    others = [shape_of(operand) for operand in node.operands if not is_uniform(operand)]
    if any(map(is_uniform, node.operands)) and np.broadcast_shapes(*others) == node.shape:
        operands = tuple(number(o) if is_uniform(o) else o for o in node.operands)
        return node.with_operands(operands)
    return node


def _evaluated(node: Node, operands: Iterable[Any]) -> Any:
    with np.errstate(all="ignore"):
        value = np.asarray(node.evaluate(*operands))[()]
    return value if value.dtype == node.dtype else node


def _identities(node: Node) -> Any:
    """Drop x + 0, x · 1, x / 1, a sum of one term, a reshape to the same shape."""
    primitive, operands = node.primitive, node.operands
    x = operands[0]
    if primitive in (np.add, np.subtract, np.multiply, np.divide, np.true_divide):
        neutral = 0 if primitive in (np.add, np.subtract) else 1
        pairs = [(x, operands[1])]
        if primitive in (np.add, np.multiply):
            pairs.append((operands[1], x))
        for kept, other in pairs:
            if is_constant(other, neutral) and dtype_of(kept) == node.dtype:
                return repeat(kept, node.shape)
    if not isinstance(x, Node):
        return node
    is_reduction = primitive in REDUCTIONS and is_plain_reduction(node) and node.dtype == x.dtype
    if is_reduction and node.shape and size(node) == size(x):  # along axes of length 1
        return replace(node, primitive=RESHAPE, operands=(x, node.shape), keywords={})
    if primitive is RESHAPE and node.shape == x.shape and _is_c_order(node):
        return x
    if primitive is np.negative and x.primitive is np.negative:
        return x.operands[0]
    return node


def _signs(node: Node) -> Any:
    """Move a minus sign out of a product, unless that would negate a larger array."""
    primitive, operands = node.primitive, node.operands
    if primitive is np.negative:
        return _negated(node, operands[0])
    if primitive in (np.multiply, np.divide, np.true_divide):
        (a, b), (p, q) = operands, map(unsigned, operands)
        if p is not None and q is not None:
            return binary(primitive, p, q, node)
        if p is not None and size(node) <= size(p):
            return negative(binary(primitive, p, b, node))
        if q is not None and size(node) <= size(q):
            return negative(binary(primitive, a, q, node))
    return node


def _negated(node: Node, x: Any) -> Any:
    if not isinstance(x, Node) or node.dtype is None or node.dtype.kind != "f":
        return node
    if x.primitive is np.subtract:
        return binary(np.subtract, x.operands[1], x.operands[0], node)
    if x.primitive in (np.multiply, np.divide, np.true_divide):
        for position, operand in enumerate(x.operands):
            # A boolean or an unsigned number has no negative of its type.
            signed = not isinstance(operand, (bool, np.bool_, np.unsignedinteger))
            if is_number(operand) and signed:
                operands = list(x.operands)
                operands[position] = -operand
                return replace(x, operands=tuple(operands))
    return node


def _is_c_order(node: Node) -> bool:
    return len(node.operands) == 2 and node.keywords.get("order") in (None, "C")
