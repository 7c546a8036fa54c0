"""Compute in float32 where only numbers, booleans and integers caused float64.

autograd's derivatives of `max`, `where` and similar functions multiply by booleans, counts and
zeros of their own. NumPy promotes the result to float64, and with it the rest of the backward pass,
including matrix products. The float64 stays if a float64 array of the user's takes part: an input,
a captured array, a cast.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gradlab.program.ir import Node, Program
from gradlab.program.pieces import BOOL, cast, is_number
from gradlab.program.primitives import FULL, Kind, is_elementwise, primitive_of
from gradlab.program.rewrite import rebuild

FLOAT32 = np.dtype(np.float32)


def keep_float32(program: Program) -> Program:
    """Compute in float32 where only numbers, booleans and integers caused float64: inexact.

    A program without float32 inputs stays unchanged.
    """
    if not any(node.dtype == np.float32 for node in program.inputs):
        return program
    narrowing = _Narrowing()
    for node in program.inputs:
        narrowing.classify(node)
    for node in program.nodes:
        narrowing.classify(node)
        narrowing.narrow(node)
    return rebuild(program, narrowing.current)


class _Narrowing:
    """The precision of the nodes so far, and their replacements.

    For a node, `_is_narrow` is True if it has only the precision of float32, False if it depends on
    a float64 array, and None if it has no precision of its own: integers, booleans, arrays filled
    with one number, and values computed only from these.
    """

    def __init__(self) -> None:
        self._is_narrow: dict[Node, bool | None] = {}
        self._replaced: dict[Node, Any] = {}
        self._in_float32: dict[Node, Node] = {}  # those without a precision of their own

    def current(self, operand: Any) -> Any:
        """Return the replacement of an operand."""
        return self._replaced.get(operand, operand) if isinstance(operand, Node) else operand

    def classify(self, node: Node) -> None:
        """Store a node's precision."""
        self._is_narrow[node] = self._precision_of_node(node)

    def _precision_of_node(self, node: Node) -> bool | None:
        if node.dtype is None or node.dtype.kind not in "fc" or node.primitive is FULL:
            return None
        if node.primitive is None or not _is_narrowable(node):
            return node.dtype == np.float32
        found = {self._precision(operand) for operand in node.operands}
        return None if found <= {None} else False not in found

    def _precision(self, operand: Any) -> bool | None:
        if isinstance(operand, Node):
            return self._is_narrow[operand]
        if isinstance(operand, np.ndarray) and operand.dtype.kind in "fc":
            return bool(operand.dtype == np.float32)
        return None

    def narrow(self, node: Node) -> None:
        """Replace a node by one in float32, or by one whose operands keep their original dtypes."""
        if node.dtype == np.float64 and self._is_narrow[node]:
            operands = self._with_values(node, self._narrowed)
            self._replaced[node] = replace(node, operands=operands, dtype=FLOAT32)
            return
        operands = tuple(self._widened(operand, node) for operand in node.operands)
        same = all(new is old for new, old in zip(operands, node.operands, strict=True))
        self._replaced[node] = node if same else replace(node, operands=operands)

    def _with_values(self, node: Node, change: Any) -> tuple[Any, ...]:
        """Return a node's operands, converted if they enter the arithmetic."""
        positions = range(len(node.operands))[slice(*primitive_of(node.primitive).values)]
        return tuple(
            change(operand) if position in positions else self.current(operand)
            for position, operand in enumerate(node.operands)
        )

    def _widened(self, operand: Any, node: Node) -> Any:
        new = self.current(operand)
        if isinstance(operand, Node) and new.dtype != operand.dtype and node.dtype != BOOL:
            return cast(new, operand.dtype)
        return new

    def _narrowed(self, operand: Any) -> Any:
        """Return an operand in a form that does not promote float32."""
        if isinstance(operand, Node):
            if operand.dtype == np.float64 and self._is_narrow[operand] is None:
                return self._computed_in_float32(operand)
            operand = self.current(operand)
            wide = operand.dtype is not None and operand.dtype.kind in "iuf"
            return cast(operand, FLOAT32) if wide and operand.dtype != np.float32 else operand
        if isinstance(operand, np.generic) and operand.dtype.kind in "iuf":
            return np.float32(operand)
        if isinstance(operand, np.ndarray) and operand.ndim and operand.dtype.kind in "iu":
            return operand.astype(np.float32)
        return operand

    def _computed_in_float32(self, node: Node) -> Node:
        """Compute a node without a precision of its own in float32."""
        if node not in self._in_float32:
            if node.primitive is FULL:
                shape, value = node.operands
                operands: tuple[Any, ...] = shape, np.float32(value)
            else:
                operands = self._with_values(node, self._literally)
            self._in_float32[node] = replace(node, operands=operands, dtype=FLOAT32)
        return self._in_float32[node]

    def _literally(self, operand: Any) -> Any:
        """Return an operand as float32, for operations without another float32 operand."""
        if isinstance(operand, Node) and operand.dtype == BOOL:
            return cast(operand, FLOAT32)
        return np.float32(operand) if is_number(operand) else self._narrowed(operand)


def _is_narrowable(node: Node) -> bool:
    """Tell whether a primitive computes in float32 if its operands are float32."""
    row = primitive_of(node.primitive)
    if node.keywords.get("dtype") is not None or not row.narrows:
        return False
    return row.kind is not Kind.ELEMENTWISE or is_elementwise(node)
