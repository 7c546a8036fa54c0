"""Select by bitwise operations instead of a branch per entry: exact.

Matrix factorisation takes 1.3 times as long without this pass, the physics residual 1.03 times
(`benchmarks/functions.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.program.ir import Node
from gradlab.program.pieces import BOOL, is_constant, is_number
from gradlab.program.primitives import is_elementwise
from gradlab.program.rewrite import at_each_node
from gradlab.program.stand_ins import bitmask, keep, select


@at_each_node
def select_by_bits(node: Node) -> Any:
    """Replace a branch per entry by bitwise operations: see `stand_ins.keep`."""
    if node.primitive is not np.where or not is_elementwise(node):
        return node
    c, a, b = node.operands
    if not (isinstance(c, Node) and c.dtype == BOOL and c.shape == node.shape and node.shape):
        return node
    if node.dtype not in (np.float32, np.float64):
        return node
    if not all(_fits(z, node) for z in (a, b)):
        return node
    a, b = (z if isinstance(z, Node) else node.dtype.type(z) for z in (a, b))
    width = node.dtype.itemsize
    if is_constant(b, 0):
        return replace(node, primitive=keep, operands=(a, _bitmask(c, width)))
    if is_constant(a, 0):
        mask = _bitmask(c, width)
        inverse = Node(np.invert, (mask,), {}, mask.shape, mask.dtype)
        return replace(node, primitive=keep, operands=(b, inverse))
    return replace(node, primitive=select, operands=(_bitmask(c, width), a, b))


def _bitmask(condition: Node, width: int) -> Node:
    return Node(bitmask, (condition, width), {}, condition.shape, np.dtype(f"i{width}"))


def _fits(operand: Any, node: Node) -> bool:
    """Tell whether an operand is a number, or an array of the node's dtype and shape."""
    if is_number(operand):
        return True
    return isinstance(operand, Node) and operand.dtype == node.dtype and operand.shape == node.shape
