"""Replace common groups of operations by one operation each."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.gradients.perturb.changes import sigmoid
from gradlab.program.ir import Node, Program, reachable


def simplify(program: Program) -> tuple[Program, dict[Node, Node]]:
    """Replace sigmoids, squares, and lower bounds by one operation each.

    Return the new program, and a dict from its nodes to those of the old one with the same value.
    """
    renewed: dict[Node, Node] = {}
    origins: dict[Node, Node] = {}
    for node in program.nodes:
        made = recognise(node)
        operands = tuple(renewed.get(o, o) if isinstance(o, Node) else o for o in made.operands)
        new = made if operands == node.operands and made is node else made.with_operands(operands)
        renewed[node], origins[new] = new, node
    outputs = tuple(renewed.get(o, o) if isinstance(o, Node) else o for o in program.outputs)
    nodes = reachable(program.inputs, outputs)
    return Program(program.inputs, nodes, outputs), origins


def recognise(node: Node) -> Node:
    """Return the operation that replaces a node and those before it, or the node itself."""
    if node.dtype != np.float64:
        return node
    if node.primitive in (np.power, np.multiply) and len(node.operands) == 2:
        a, b = node.operands
        if _equals(b, 2) if node.primitive is np.power else a is b:
            return Node(np.square, (a,), {}, node.shape, node.dtype)
    z = _argument_of_sigmoid(node)
    if z is not None and z.shape == node.shape:
        return Node(sigmoid, (z,), {}, node.shape, node.dtype)
    if node.primitive is np.where and len(node.operands) == 3:
        condition, x, other = node.operands
        if (
            _is_call(condition, np.greater)
            and condition.operands[0] is x
            and x.shape == node.shape
            and isinstance(other, int | float)
            and _equals(condition.operands[1], other)
        ):
            return Node(np.maximum, (x, other), {}, node.shape, node.dtype)
    return node


def _argument_of_sigmoid(node: Node) -> Node | None:
    """Return z if a node is 1/(1 + exp(-z)), or where(z ≥ 0, 1, e)/(1 + e) with e = exp(-|z|)."""
    if not _is_call(node, np.divide):
        return None
    over, under = node.operands
    if not _is_call(under, np.add):
        return None
    one, e = under.operands
    if _equals(e, 1):
        one, e = e, one
    if not (_equals(one, 1) and _is_call(e, np.exp)):
        return None
    (exponent,) = e.operands
    if _equals(over, 1) and _is_call(exponent, np.negative):
        (z,) = exponent.operands
        return z if isinstance(z, Node) else None
    if not (_is_call(over, np.where) and _is_call(exponent, np.where)):
        return None
    condition, first, second = over.operands
    also, minus, z = exponent.operands
    if (
        _equals(first, 1)
        and second is e
        and isinstance(z, Node)
        and _is_call(minus, np.negative)
        and minus.operands[0] is z
        and _is_positive(condition, z)
        and _is_positive(also, z)
    ):
        return z
    return None


def _is_positive(condition: Any, z: Node) -> bool:
    """Tell whether a condition is z > 0 or z ≥ 0, which are one for a sigmoid: e is 1 at 0."""
    is_above = _is_call(condition, np.greater_equal) or _is_call(condition, np.greater)
    return is_above and condition.operands[0] is z and _equals(condition.operands[1], 0)


def _is_call(node: Any, primitive: Any) -> bool:
    return isinstance(node, Node) and node.primitive is primitive and not node.keywords


def _equals(operand: Any, number: float) -> bool:
    is_number = not isinstance(operand, Node) and np.ndim(operand) == 0
    return bool(is_number and isinstance(operand, (int, float, np.number)) and operand == number)
