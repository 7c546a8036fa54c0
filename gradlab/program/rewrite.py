"""Rewrite programs: each pass takes a program and returns one that computes the same.

Most passes are a rule for one node, which `rewrite` applies to all nodes in their order.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gradlab.arrays import rules
from gradlab.program.ir import Node, Program, reachable
from gradlab.program.primitives import FULL, is_elementwise, is_pure, may_raise
from gradlab.program.references import holders

Pass: TypeAlias = Callable[[Program], Program]
Rule: TypeAlias = Callable[[Node], Any]
"""Returns what stands for a node: the node itself, another, or a literal."""


def rewrite(program: Program, rule: Rule) -> Program:
    """Apply a rule to each node, after its operands have been replaced; drop what is not needed."""
    replaced: dict[Node, Any] = {}  # what is not itself any more

    def current(operand: Any) -> Any:
        return replaced.get(operand, operand) if isinstance(operand, Node) else operand

    for node in program.nodes:
        adapted = node
        if replaced and any(isinstance(o, Node) and o in replaced for o in node.operands):
            adapted = node.on(tuple(map(current, node.operands)))
        result = rule(adapted)
        if result is not node:
            replaced[node] = result
    return rebuild(program, current) if replaced else program


def rebuild(program: Program, current: Callable[[Any], Any]) -> Program:
    """Return the program whose outputs and guards are replaced so.

    What nothing needs is dropped, unless it may raise an error: then the loss raises it, too.
    """
    outputs = tuple(map(current, program.outputs))
    guards = [replace(guard, node=current(guard.node)) for guard in program.guards]
    left = tuple(guard for guard in guards if isinstance(guard.node, Node))
    kept = [current(node) for node in program.nodes if may_raise(node)]
    roots = (*(guard.node for guard in left), *outputs, *kept)
    return Program(program.inputs, reachable(program.inputs, roots), outputs, left)


def remove_dead(program: Program) -> Program:
    """Drop what no output needs and what raises no errors."""
    return rebuild(program, lambda operand: operand)


def merge_duplicates(program: Program) -> Program:
    """Compute the same thing once: common subexpressions."""
    seen: dict[Any, Node] = {}

    def rule(node: Node) -> Node:
        if not is_pure(node.primitive):
            return node
        keywords = tuple((key, _identity(value)) for key, value in sorted(node.keywords.items()))
        key = (node.primitive, tuple(map(_identity, node.operands)), keywords)
        return seen.setdefault(key, node)

    return rewrite(program, rule)


def _identity(operand: Any) -> Any:
    """Return a key that is the same for operands that are, and can be told to be, the same."""
    if isinstance(operand, (tuple, list)):
        return type(operand), tuple(map(_identity, operand))
    if isinstance(operand, slice):
        return slice, _identity((operand.start, operand.stop, operand.step))
    if operand is None or isinstance(operand, (bool, int, str, np.dtype, type)):
        return type(operand), operand
    if isinstance(operand, (float, complex, np.generic)):
        return type(operand), repr(operand)  # 0.0 is not -0.0, and nan is nan
    return Node, id(operand)


def inline_constants(program: Program) -> Program:
    """Take a constant itself, not the node that lets it be traced beside another value."""
    made = rules.constant_primitive.fun
    return rewrite(program, lambda node: node.operands[1] if node.primitive is made else node)


def own_constants(program: Program) -> Program:
    """Say of a constant array that it is uniform, where nobody can change it any more.

    autograd's derivatives are full of arrays of zeros to broadcast against. An array that the
    loss closes over looks the same, but its owner may write into it between two calls, and then
    the program has to see it. They differ in who holds them: nobody but the program holds the
    former, which their count of references tells.
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
        same = same or not is_elementwise(node)  # a shape or an index stays as it is
        return node if same else node.on(operands)

    return rewrite(program, rule)


def _is_uniform(array: Any) -> bool:
    bits = array.view(f"V{array.itemsize}") if array.flags.c_contiguous else array
    return bool((bits == bits.flat[0]).all())
