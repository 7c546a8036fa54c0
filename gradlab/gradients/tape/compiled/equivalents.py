"""Functions of NumPy in terms of those that the planner knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1

from gradlab.gradients.tape.compiled.indexing import reshaped
from gradlab.program.ir import Node
from gradlab.program.pieces import dtype_of, shape_of
from gradlab.program.primitives import DOT


def equivalent(node: Node) -> Any:
    """Return the same value by functions that the planner knows, or the node itself."""
    if node.primitive in (DOT, np.matmul) and not node.keywords:
        return _converted(node)
    return _RULES.get(node.primitive, _unchanged)(node)


def _unchanged(node: Node) -> Node:
    return node


def _converted(node: Node) -> Node:
    """Convert the operands of a product to its dtype, as NumPy does."""
    if all(dtype_of(operand) == node.dtype for operand in node.operands):
        return node

    def converted(x: Any) -> Any:
        if dtype_of(x) == node.dtype:
            return x
        return Node(np.astype, (x, node.dtype), {}, shape_of(x), node.dtype)

    return node.on(tuple(map(converted, node.operands)))


def _clip(node: Node) -> Any:
    if len(node.operands) != 3 or node.keywords:
        return node
    x, low, high = node.operands
    for ufunc, bound in ((np.maximum, low), (np.minimum, high)):
        if bound is not None:
            x = Node(ufunc, (x, bound), {}, *_like(node))
    return x


def _outer(node: Node) -> Any:
    if len(node.operands) != 2:
        return node
    a, b = node.operands
    return Node(np.multiply, (reshaped(a, (-1, 1)), reshaped(b, (1, -1))), {}, *_like(node))


def _is_nan(node: Node) -> Any:
    (x,) = node.operands
    return Node(np.not_equal, (x, x), {}, *_like(node))


def _is(number: float) -> Callable[[Node], Any]:
    """Compare with a number."""
    return lambda node: Node(np.equal, (*node.operands, number), {}, *_like(node))


def _size_is(ufunc: np.ufunc) -> Callable[[Node], Any]:
    """Compare the absolute value with infinity."""

    def rule(node: Node) -> Any:
        size = Node(np.absolute, node.operands, {}, node.shape, dtype_of(node.operands[0]))
        return Node(ufunc, (size, np.inf), {}, *_like(node))

    return rule


def _copied(node: Node) -> Any:
    """``np.array(x)`` without further arguments."""
    args, keywords, x = node.operands
    return Node(np.positive, (x,), {}, *_like(node)) if not args and not keywords else node


def _at_least(node: Node) -> Any:
    if len(node.operands) != 1:
        return node
    return reshaped(node.operands[0], node.shape)


def _adjoint_of_dot(node: Node) -> Any:
    """Write the adjoint of a matrix and a vector, or of a vector and a matrix."""
    other, g, a_meta, b_meta = node.operands
    is_first = node.primitive is dot_adjoint_0.fun
    same = dtype_of(other) == dtype_of(g) == node.dtype
    if not same or {a_meta[1], b_meta[1]} != {1, 2}:
        return node
    if len(node.shape or ()) == 2:
        return _outer(node.on((g, other) if is_first else (other, g)))
    # The other factor is the matrix: B g for a vector A, A'g for a vector B.
    if is_first:
        return Node(DOT, (other, g), {}, *_like(node))
    return Node(DOT, (g, other), {}, *_like(node))


def _like(node: Node) -> tuple[Any, Any]:
    return node.shape, node.dtype


_RULES: dict[Any, Callable[[Node], Any]] = {
    np.clip: _clip,
    np.outer: _outer,
    np.isnan: _is_nan,
    np.isinf: _size_is(np.equal),
    np.isfinite: _size_is(np.less),
    np.isposinf: _is(np.inf),
    np.isneginf: _is(-np.inf),
    np.atleast_1d: _at_least,
    np.atleast_2d: _at_least,
    np.atleast_3d: _at_least,
    numpy_wrapper._array_from_scalar_or_array.fun: _copied,
    dot_adjoint_0.fun: _adjoint_of_dot,
    dot_adjoint_1.fun: _adjoint_of_dot,
}
