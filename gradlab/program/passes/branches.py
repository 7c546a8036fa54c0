"""The exact algebra of ``where(condition, a, b)``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.program.ir import Node
from gradlab.program.pieces import (
    dtype_of,
    dtype_of_all,
    is_branch,
    is_constant,
    is_number,
    negative,
    negative_of,
    shape_of,
    unsigned,
)
from gradlab.program.primitives import is_elementwise


def branches(node: Node) -> Any:
    """Replace two branches on one condition, a bound, and a magnitude by one operation each."""
    if node.primitive is np.where and is_elementwise(node):
        return _magnitude(_clamped(node))
    if node.primitive in (np.add, np.subtract):
        return _sum_of_branches(node)
    return node


def _sum_of_branches(node: Node) -> Any:
    """where(c, a, 0) + where(c, 0, b) is where(c, a, b)."""
    x, y = node.operands
    if not (is_branch(x) and is_branch(y) and x.operands[0] is y.operands[0]):
        return node
    c, a, b = x.operands
    _, p, q = y.operands
    if is_constant(b, 0) and is_constant(p, 0):
        kept = a, q if node.primitive is np.add else negative_of(q)
    elif is_constant(a, 0) and is_constant(q, 0):
        kept = p if node.primitive is np.add else negative_of(p), b
    else:
        return node
    shape = np.broadcast_shapes(shape_of(c), *map(shape_of, kept))
    if shape != node.shape or dtype_of_all(kept) != node.dtype:
        return node
    return Node(np.where, (c, *kept), {}, node.shape, node.dtype)


def _clamped(node: Node) -> Node:
    """where(x > 1, x, 1) is max(x, 1); for 0, `where` stays: selection by bits is faster."""
    c, a, b = node.operands
    if not (isinstance(c, Node) and c.primitive in (np.greater_equal, np.greater)):
        return node
    x, bound = c.operands
    is_clamp = is_number(bound) and is_number(b) and x is a and bound == b != 0
    if is_clamp and dtype_of(x) == node.dtype and shape_of(x) == node.shape:
        return replace(node, primitive=np.maximum, operands=(x, b))
    return node


def _magnitude(node: Node) -> Any:
    """where(x >= 0, -x, x) is -|x|."""
    if node.primitive is not np.where:
        return node
    c, a, b = node.operands
    if not (isinstance(c, Node) and c.primitive in (np.greater_equal, np.greater)):
        return node
    x, zero = c.operands
    is_magnitude = is_constant(zero, 0) and b is x and unsigned(a) is x
    if is_magnitude and dtype_of(x) == node.dtype and shape_of(x) == node.shape:
        return negative(replace(node, primitive=np.absolute, operands=(x,)))
    return node
