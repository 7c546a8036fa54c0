"""Expressions as nodes of programs, of the shapes and dtypes that NumPy gives them."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.program.ir import Node, Program, literal, name_of, reachable


def of(primitive: Any, *operands: Any, **keywords: Any) -> Node:
    """Return the node of a call."""
    values = [np.ones(o.shape, o.dtype) if isinstance(o, Node) else o for o in operands]
    with np.errstate(all="ignore"):
        value = np.asarray(primitive(*values, **keywords))
    return Node(primitive, operands, keywords, value.shape, value.dtype)


def given(name: str, shape: tuple[int, ...], dtype: Any = float) -> Node:
    """Return an input."""
    return Node(None, shape=shape, dtype=np.dtype(dtype), name=name)


def text(operand: Any) -> str:
    """Return an expression as a call of calls."""
    if not isinstance(operand, Node):
        return literal(operand.item() if isinstance(operand, np.generic) else operand)
    if operand.primitive is None:
        return operand.name
    parts = [text(o) for o in operand.operands]
    parts += [f"{key}={literal(value)}" for key, value in operand.keywords.items()]
    return f"{name_of(operand.primitive)}({', '.join(parts)})"


def program_of(*outputs: Any, inputs: tuple[Node, ...] = ()) -> Program:
    """Return the program of some outputs; its inputs are these, then those that it reads."""
    every: list[Node] = []

    def visit(node: Any) -> None:
        if isinstance(node, Node) and node not in every:
            for operand in node.operands:
                visit(operand)
            every.append(node)

    for output in outputs:
        visit(output)
    read = tuple(node for node in every if node.primitive is None and node not in inputs)
    return Program((*inputs, *read), reachable((*inputs, *read), outputs), outputs)
