"""Compute in float32 what only numbers, booleans and integers made float64.

autograd's derivatives of `max`, `where` and the like multiply by booleans, counts and zeros of
their own, and NumPy makes float64 of that; with it the rest of the backward pass is in double
precision, products of matrices and all. Where a float64 array of the user's takes part (an input,
a captured array, a cast), the float64 stays.
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
    """Compute in float32 what only numbers, booleans and integers made float64: rounds differently.

    A program without float32 inputs stays as it is.
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
    """What is known of the nodes so far, and what stands for them.

    Of a node, `_is_narrow` is True where float32 is all the precision that it has, False where a
    float64 array takes part, and None where it has no precision of its own: integers, booleans,
    arrays of one number, and what is computed from these alone.
    """

    def __init__(self) -> None:
        self._is_narrow: dict[Node, bool | None] = {}
        self._replaced: dict[Node, Any] = {}
        self._in_float32: dict[Node, Node] = {}  # of nodes without a precision of their own

    def current(self, operand: Any) -> Any:
        """Return what stands for an operand."""
        return self._replaced.get(operand, operand) if isinstance(operand, Node) else operand

    def classify(self, node: Node) -> None:
        """Note a node's precision."""
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
        """Put a node in float32 in its place, or the node on operands of the dtypes it had."""
        if node.dtype == np.float64 and self._is_narrow[node]:
            operands = self._with_values(node, self._narrowed)
            self._replaced[node] = replace(node, operands=operands, dtype=FLOAT32)
            return
        operands = tuple(self._widened(operand, node) for operand in node.operands)
        same = all(new is old for new, old in zip(operands, node.operands, strict=True))
        self._replaced[node] = node if same else replace(node, operands=operands)

    def _with_values(self, node: Node, change: Any) -> tuple[Any, ...]:
        """Return a node's operands, changed where their values are computed with."""
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
        """Return an operand as one that leaves a float32 a float32."""
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
        """Compute in float32 what has no precision of its own."""
        if node not in self._in_float32:
            if node.primitive is FULL:
                shape, value = node.operands
                operands: tuple[Any, ...] = shape, np.float32(value)
            else:
                operands = self._with_values(node, self._literally)
            self._in_float32[node] = replace(node, operands=operands, dtype=FLOAT32)
        return self._in_float32[node]

    def _literally(self, operand: Any) -> Any:
        """Return an operand as float32, where there is no float32 beside it to decide."""
        if isinstance(operand, Node) and operand.dtype == BOOL:
            return cast(operand, FLOAT32)
        return np.float32(operand) if is_number(operand) else self._narrowed(operand)


def _is_narrowable(node: Node) -> bool:
    """Tell whether a primitive computes in float32 when its operands are."""
    row = primitive_of(node.primitive)
    if node.keywords.get("dtype") is not None or not row.narrows:
        return False
    return row.kind is not Kind.ELEMENTWISE or is_elementwise(node)
