"""Rewrite programs: each pass takes a program and returns an equivalent one.

Most passes are a rule for one node, which `rewrite` applies to all nodes in order: `at_each_node`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, TypeAlias

import numpy as np

from gradlab.arrays.rules.writing import constant
from gradlab.program.ir import Node, Program, reachable
from gradlab.program.primitives import FULL, is_elementwise, may_raise, primitive_of
from gradlab.program.references import holders

Pass: TypeAlias = Callable[[Program], Program]
Rule: TypeAlias = Callable[[Node], Any]
"""Returns the replacement of a node: the node itself, another node, or a literal."""


def rewrite(program: Program, rule: Rule) -> Program:
    """Apply a rule to each node after its operands are replaced; drop unused nodes."""
    replaced: dict[Node, Any] = {}  # by what

    def current(operand: Any) -> Any:
        return replaced.get(operand, operand) if isinstance(operand, Node) else operand

    for node in program.nodes:
        adapted = node
        if replaced and any(isinstance(o, Node) and o in replaced for o in node.operands):
            adapted = node.with_operands(tuple(map(current, node.operands)))
        result = rule(adapted)
        if result is not node:
            replaced[node] = result
    return rebuild(program, current) if replaced else program


def at_each_node(rule: Rule) -> Pass:
    """Make a pass of a rule: see `rewrite`."""

    @wraps(rule)
    def step(program: Program) -> Program:
        return rewrite(program, rule)

    return step


def rebuild(program: Program, current: Callable[[Any], Any]) -> Program:
    """Return the program with its outputs and guards replaced.

    Unused nodes are dropped, unless they may raise an error that the loss raises, too.
    """
    outputs = tuple(map(current, program.outputs))
    guards = [replace(guard, node=current(guard.node)) for guard in program.guards]
    left = tuple(guard for guard in guards if isinstance(guard.node, Node))
    kept = [current(node) for node in program.nodes if may_raise(node)]
    roots = (*(guard.node for guard in left), *outputs, *kept)
    return Program(program.inputs, reachable(program.inputs, roots), outputs, left)


def remove_dead(program: Program) -> Program:
    """Drop nodes that no output needs and that raise no errors."""
    return rebuild(program, lambda operand: operand)


def merge_duplicates(program: Program) -> Program:
    """Merge common subexpressions."""
    seen: dict[Any, Node] = {}

    def rule(node: Node) -> Node:
        if not primitive_of(node.primitive).pure:
            return node
        keywords = tuple((key, _identity(value)) for key, value in sorted(node.keywords.items()))
        key = (node.primitive, tuple(map(_identity, node.operands)), keywords)
        return seen.setdefault(key, node)

    return rewrite(program, rule)


def _identity(operand: Any) -> Any:
    """Return a key that is equal for operands that are known to be equal."""
    if isinstance(operand, (tuple, list)):
        return type(operand), tuple(map(_identity, operand))
    if isinstance(operand, slice):
        return slice, _identity((operand.start, operand.stop, operand.step))
    if operand is None or isinstance(operand, (bool, int, str, np.dtype, type)):
        return type(operand), operand
    if isinstance(operand, (float, complex, np.generic)):
        return type(operand), repr(operand)  # 0.0 is not -0.0, and nan is nan
    return Node, id(operand)


@at_each_node
def inline_constants(node: Node) -> Any:
    """Replace the node that wraps a constant for tracing by the constant."""
    return node.operands[1] if node.primitive is constant.fun else node


def own_constants(program: Program) -> Program:
    """Mark uniform constant arrays that can no longer change.

    autograd's derivatives contain many arrays of zeros to broadcast against. An array that the
    loss closes over looks the same, but its owner may write into it between two calls, and the
    program must see the new contents. The reference count tells them apart: only the program
    refers to autograd's arrays.
    """
    held: dict[int, tuple[list[Any], int]] = {}
    for operand in (operand for node in program.nodes for operand in node.operands):
        if type(operand) is np.ndarray and operand.ndim and operand.base is None:
            held[id(operand)] = [operand], held.get(id(operand), (None, 0))[1] + 1
    operand = None
    uniform: dict[int, Node] = {}
    for key in list(held):
        box, count = held.pop(key)
        if box[0].size and _is_uniform(box[0]):
            value, shape, dtype = box[0].flat[0], box[0].shape, box[0].dtype
            if holders(box) <= count:
                uniform[key] = Node(FULL, (shape, value), {}, shape, dtype)

    def rule(node: Node) -> Node:
        operands = tuple(uniform.get(id(operand), operand) for operand in node.operands)
        same = all(map(operator.is_, operands, node.operands))
        same = same or not is_elementwise(node)  # shapes and indices stay unchanged
        return node if same else node.with_operands(operands)

    return rewrite(program, rule)


def _is_uniform(array: Any) -> bool:
    bits = array.view(f"V{array.itemsize}") if array.flags.c_contiguous else array
    return bool((bits == bits.flat[0]).all())
