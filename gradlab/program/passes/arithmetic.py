"""Faster arithmetic that rounds differently, by a few units in the last place.

Each pass pays in an interleaved measurement on `benchmarks/`: its docstring states how much longer
a gradient takes without it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.program.ir import Node
from gradlab.program.pieces import binary, is_number, is_plain_reduction
from gradlab.program.primitives import DOT, FULL, SUM, is_elementwise
from gradlab.program.rewrite import at_each_node


@at_each_node
def expand_powers(node: Node) -> Any:
    """Multiply, divide or take a root instead of calling `power`, if the exponent allows it.

    x², 1/x and √x are then correctly rounded; `power` may be off by a unit in the last place.
    Without this pass, the spring chain takes 1.3 times as long, matrix factorisation 1.2 times.
    """
    if node.primitive is not np.power or not is_elementwise(node):
        return node
    x, exponent = node.operands
    if not (isinstance(x, Node) and is_number(exponent) and x.dtype == node.dtype):
        return node
    if node.dtype is None or node.dtype.kind != "f" or x.shape != node.shape:
        return node
    square = binary(np.multiply, x, x, node)
    match float(exponent):
        case 1.0:
            return x
        case 2.0:
            return square
        case 3.0:
            return binary(np.multiply, square, x, node)
        case 4.0:
            return binary(np.multiply, square, square, node)
        case 0.5:
            return replace(node, primitive=np.sqrt, operands=(x,))
        case -0.5:
            return binary(np.divide, 1.0, replace(node, primitive=np.sqrt, operands=(x,)), node)
        case -1.0:
            return binary(np.divide, 1.0, x, node)
        case -2.0:
            return binary(np.divide, 1.0, square, node)
    return node


MAX_SUM_TERMS = 4096
"""Largest number of terms of a sum that becomes a product: a pairwise sum of more is more exact."""


@at_each_node
def sum_by_products(node: Node) -> Any:
    """Sum the rows or columns of a matrix as a product with ones: several times as fast.

    BLAS adds in a different order. NumPy adds columns one after the other, and rows pairwise. The
    error of pairwise summation grows more slowly with the length (Higham, *Accuracy and Stability
    of Numerical Algorithms*, 2nd ed., 2002, section 4.2), so that long sums keep it. Without this
    pass, networks of `benchmarks/tape_speed.py` take 1.03 to 1.1 times as long.
    """
    if node.primitive is not SUM or not is_plain_reduction(node):
        return node
    x, *axes = node.operands
    axis = axes[0] if axes else node.keywords.get("axis")
    if not (isinstance(x, Node) and x.shape and len(x.shape) == 2 and type(axis) is int):
        return node
    n, k = x.shape
    if x.dtype not in (np.float32, np.float64) or node.dtype != x.dtype or not max(n, k) > 0:
        return node
    keepdims = bool(node.keywords.get("keepdims"))
    length = k if axis in (1, -1) else n
    if not 1 < length <= MAX_SUM_TERMS:  # a sum of one term is a view: see `_identities`
        return node
    shape: tuple[int, ...] = (length,)
    if keepdims:
        shape = (length, 1) if axis in (1, -1) else (1, length)
    ones = Node(FULL, (shape, x.dtype.type(1)), {}, shape, x.dtype)
    factors = (x, ones) if axis in (1, -1) else (ones, x)
    return Node(DOT, factors, {}, node.shape, node.dtype)
