"""Find maxima that a program subtracts before it takes exponentials, and that cancel.

A softmax or the logarithm of a sum of exponentials subtracts the largest entry first, so that
nothing overflows. The result does not depend on what is subtracted::

    m = max(z);    log Σ exp(z) = m + log Σ exp(z − m)     for every m

The derivative through m is therefore zero. autograd computes it nevertheless: the position of the
maximum, how often it occurs, and a sum whose terms cancel to round-off. That is a fifth of the
operations of a small network's gradient.

`cancelling` proves the invariance. It derives how each value changes if a constant c (a different
one in each row) is added to m. It knows two kinds of change: to v + k·c, and to v · exp(k·c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradlab.program.ir import Node
from gradlab.program.pieces import is_plain_reduction, size
from gradlab.program.primitives import REDUCTIONS, SUM, is_elementwise

MAXIMA = {f for f, ufunc in REDUCTIONS.items() if ufunc in (np.maximum, np.minimum)}
"""Reductions that return one of the entries, so that adding a constant to all entries adds it."""


@dataclass(frozen=True)
class Response:
    """How a value v changes when c is added to the maximum."""

    kind: str  # "shift": v + k·c; "scale": v · exp(k·c)
    k: float  # with 0, the value does not change


UNCHANGED = Response("shift", 0.0)


def cancelling(nodes: Sequence[Node], end: Node) -> set[Node]:
    """Return the maxima (and minima) on which `end`, the result of a program, does not depend.

    Examples
    --------
    >>> from gradlab.program.record import record
    >>> def loss(z):
    ...     m = np.max(z, axis=1, keepdims=True)
    ...     return np.sum(m + np.log(np.sum(np.exp(z - m), axis=1, keepdims=True)))
    >>> program = record(loss, np.eye(2))
    >>> cancelling(program.nodes, program.outputs[0])
    {<max(...): (2, 1) float64>}
    >>> program = record(lambda z: np.sum(np.max(z, axis=1, keepdims=True) - z), np.eye(2))
    >>> cancelling(program.nodes, program.outputs[0])
    set()
    """
    alike: dict[Any, list[Node]] = {}
    for node in nodes:
        if node.primitive in MAXIMA and node.dtype is not None and node.dtype.kind == "f":
            alike.setdefault(_what_is_computed(node), []).append(node)
    return {node for same in alike.values() if _is_invariant(same, nodes, end) for node in same}


def _what_is_computed(node: Node) -> tuple[Any, ...]:
    operands = [id(o) if isinstance(o, Node) else repr(o) for o in node.operands]
    return node.primitive, *operands, repr(sorted(node.keywords.items()))


def _is_invariant(maxima: Sequence[Node], nodes: Iterable[Node], end: Node) -> bool:
    """Tell whether the result stays the same if any constant is added to a maximum."""
    changes: dict[Node, Response | None] = dict.fromkeys(maxima, Response("shift", 1.0))
    for node in nodes:
        if node not in changes and any(source in changes for source in node.sources):
            change = _change(node, changes, maxima[0])
            if change != UNCHANGED:
                changes[node] = change  # None: in another way
    return end not in changes


def _change(node: Node, changes: dict[Node, Response | None], maximum: Node) -> Response | None:
    """Return the change of a node with a changed operand."""
    given = [
        changes.get(operand, UNCHANGED) if isinstance(operand, Node) else UNCHANGED
        for operand in node.operands
    ]
    if None in given or not _is_in_rows(node, maximum):
        return None
    operands = [change for change in given if change is not None]
    if node.primitive in {SUM, *MAXIMA}:
        return _change_of_reduction(node, operands[0])
    if node.primitive is np.broadcast_to:
        return operands[0]
    rule = _RULES.get(node.primitive) if is_elementwise(node) else None
    return None if rule is None else rule(*operands)


def _exp(a: Response) -> Response | None:
    return Response("scale", a.k) if a.kind == "shift" else None


def _log(a: Response) -> Response | None:
    return Response("shift", a.k) if a.kind == "scale" else None


def _negative(a: Response) -> Response:
    return Response("shift", -a.k) if a.kind == "shift" else a


def _sum(a: Response, b: Response, sign: int = 1) -> Response | None:
    return Response("shift", a.k + sign * b.k) if a.kind == b.kind == "shift" else None


def _product(a: Response, b: Response, sign: int = 1) -> Response | None:
    if any(change.kind != "scale" and change.k for change in (a, b)):
        return None  # a change that is not 0 is added, not multiplied by exp(k·c)
    k = a.k + sign * b.k
    return Response("scale", k) if k else UNCHANGED


_RULES: dict[Any, Callable[..., Response | None]] = {
    np.exp: _exp,
    np.log: _log,
    np.negative: _negative,
    np.add: _sum,
    np.subtract: partial(_sum, sign=-1),
    np.multiply: _product,
    np.divide: partial(_product, sign=-1),
}


def _change_of_reduction(node: Node, given: Response) -> Response | None:
    """Return the change of a sum or maximum over entries that get the same constant."""
    if not is_plain_reduction(node):
        return None
    x = node.operands[0]
    if node.primitive is SUM and given.kind == "shift":
        return Response("shift", given.k * (size(x) // size(node) if size(node) else 1))
    return given


def _is_in_rows(node: Node, maximum: Node) -> bool:
    """Tell whether each entry of a node belongs to one entry of the maximum.

    This holds for sums over a row that keep the dimensions, but not for sums over rows, whose
    constants differ.
    """
    if maximum.shape == ():
        return node.shape is not None
    return (
        node.shape is not None
        and maximum.shape is not None
        and len(node.shape) == len(maximum.shape)
        and all(m in (1, n) for m, n in zip(maximum.shape, node.shape, strict=True))
    )
