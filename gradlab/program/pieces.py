"""Nodes of common operations, and properties of operands.

An operand is a `Node` or a literal. A number counts as an array of dimension 0.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from gradlab.program.ir import Node
from gradlab.program.primitives import FULL

BOOL = np.dtype(bool)


def binary(primitive: Any, a: Any, b: Any, like: Node) -> Node:
    """Return ``primitive(a, b)`` with the shape and dtype of the node that it replaces."""
    return Node(primitive, (a, b), {}, like.shape, like.dtype)


def full(value: Any, like: Node) -> Node:
    """Return an array filled with one number, with the shape and dtype of a node."""
    return Node(FULL, (like.shape, value), {}, like.shape, like.dtype)


def negative(x: Node) -> Node:
    """Return −x."""
    return Node(np.negative, (x,), {}, x.shape, x.dtype)


def transposed(x: Any) -> Any:
    """Return a matrix with its axes swapped."""
    if not isinstance(x, Node):
        return x.T
    assert x.shape is not None
    return Node(np.swapaxes, (x, 0, 1), {}, x.shape[::-1], x.dtype)


def cast(x: Node, dtype: np.dtype[Any] | None) -> Node:
    """Return x in another dtype."""
    return Node(np.astype, (x, dtype), {}, x.shape, dtype)


def repeat(x: Any, shape: tuple[int, ...] | None) -> Any:
    """Return x broadcast to a shape, or x itself if it has that shape."""
    if shape_of(x) == shape:
        return x
    if is_uniform(x):
        return replace(x, operands=(shape, number(x)), shape=shape)
    return Node(np.broadcast_to, (x, shape), {}, shape, dtype_of(x))


def is_number(operand: Any) -> bool:
    """Tell whether an operand is a literal number, which cannot change."""
    return isinstance(operand, (bool, int, float, complex, np.number, np.bool_))


def is_uniform(operand: Any) -> bool:
    """Tell whether an operand is an array filled with one number, which cannot change."""
    return isinstance(operand, Node) and operand.primitive is FULL


def number(operand: Any) -> Any:
    """Return the number of a literal or a uniform array."""
    return operand.operands[1] if isinstance(operand, Node) else operand


def is_constant(operand: Any, value: float) -> bool:
    """Tell whether an operand is this number, or an array filled with it."""
    return (is_number(operand) or is_uniform(operand)) and bool(number(operand) == value)


def unsigned(operand: Any) -> Any:
    """Return x for an operand that is −x in floating point, else None."""
    if not (isinstance(operand, Node) and operand.primitive is np.negative and operand.dtype):
        return None
    return operand.operands[0] if operand.dtype.kind == "f" and not operand.keywords else None


def shape_of(operand: Any) -> tuple[int, ...]:
    """Return an operand's shape."""
    if isinstance(operand, Node):
        assert operand.shape is not None
        return operand.shape
    return np.shape(operand)


def size(operand: Any) -> int:
    """Return the number of entries of an operand."""
    return prod(shape_of(operand))


def dtype_of(operand: Any) -> np.dtype[Any] | None:
    """Return an operand's dtype."""
    return operand.dtype if isinstance(operand, Node) else np.asarray(operand).dtype


def is_plain_reduction(node: Node) -> bool:
    """Tell whether a reduction has no options except its axis."""
    options = {key for key, value in node.keywords.items() if value is not None}
    return options <= {"axis", "keepdims"} and len(node.operands) <= 2


def is_product_of_matrices(node: Node) -> bool:
    """Tell whether a node is a product of two float32 or two float64 matrices."""
    return node.dtype in (np.float32, np.float64) and all(
        isinstance(operand, Node)
        and operand.shape is not None
        and len(operand.shape) == 2
        and operand.dtype == node.dtype
        for operand in node.operands
    )
