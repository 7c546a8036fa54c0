"""What the engine knows of each NumPy call: one table, a row a call.

`PRIMITIVES` has the family of a call, whose rules `extents` and `evaluate` follow. The formulas of
an elementwise call stand beside their derivations, under the same keys: `changes.RULES` has the
change of a result, `powers.SERIES` its power series. A ufunc without a row is elementwise, and is
evaluated anew at the perturbed value.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.perturb.changes import RULES
from gradlab.program.ir import Node
from gradlab.program.primitives import MEAN, SUM, VIEWS, is_elementwise


class NoRule(Exception):  # noqa: N818 - no error: the plain loop takes over
    """The engine does not know how a perturbation passes through an operation."""


class Family(Enum):
    """How a perturbation passes through an operation."""

    ELEMENTWISE = "each entry follows from the operands' entries in its place"
    REDUCTION = "each set of entries along some axes becomes one"
    GATHER = "entries are rearranged or left out"
    PRODUCT = "a contraction of two operands"


@dataclass(frozen=True)
class Primitive:
    """What is known of one NumPy call.

    Attributes
    ----------
    family : Family
        How a perturbation passes through it.
    is_linear : bool
        Whether the change of its result follows from the perturbation alone, not from the value
        that is perturbed.
    """

    family: Family
    is_linear: bool = False


LINEAR = {np.add, np.subtract, np.negative, np.sum, np.mean}

PRIMITIVES: dict[Any, Primitive] = {
    **{f: Primitive(Family.ELEMENTWISE, f in LINEAR) for f in RULES},
    **{
        f: Primitive(Family.REDUCTION, f in LINEAR)
        for f in (np.sum, np.mean, np.max, np.amax, np.min, np.amin, np.prod, np.var, np.std)
    },
    **{f: Primitive(Family.GATHER, is_linear=True) for f in VIEWS},
    **{f: Primitive(Family.PRODUCT, is_linear=True) for f in (np.matmul, np.dot, np.einsum)},
}
"""NumPy call -> what the engine knows of it."""


def family(node: Node) -> Family:
    """Return the family of an operation.

    Raises
    ------
    NoRule
        If it has none.

    Examples
    --------
    >>> family(Node(np.sum, (Node(None, shape=(2,)),))).name
    'REDUCTION'
    """
    if is_elementwise(node):
        return Family.ELEMENTWISE
    row = PRIMITIVES.get(node.primitive)
    with_options = isinstance(node.primitive, np.ufunc) or node.keywords
    if row is None or (row.family is Family.ELEMENTWISE and with_options):
        raise NoRule(f"{node.primitive}")
    return row.family


def is_linear(node: Node) -> bool:
    """Tell whether an operation looks at a perturbation, never at the perturbed value."""
    row = PRIMITIVES.get(node.primitive)
    return row is not None and row.is_linear


def is_sum(node: Node) -> bool:
    """Tell whether an operation adds up entries, and divides at most by their number."""
    return node.primitive in (SUM, MEAN)


def terms_of_mean(node: Node) -> int:
    """Return the number by which a sum of entries is divided: 1 unless it is a mean.

    Examples
    --------
    >>> terms_of_mean(Node(np.mean, (Node(None, shape=(2, 3)),), shape=(2,)))
    3
    """
    if node.primitive is not MEAN:
        return 1
    return int(prod(node.operands[0].shape) // max(prod(node.shape or ()), 1))


def axes_of(node: Node) -> tuple[tuple[int, ...], bool]:
    """Return the axes of a reduction, counted from 0, and whether they are kept."""
    options = dict(zip(("axis",), node.operands[1:], strict=False), **node.keywords)
    if len(node.operands) > 2 or not set(options) <= {"axis", "keepdims"}:
        raise NoRule("a reduction with options")
    ndim = len(node.operands[0].shape)
    axis = options.get("axis")
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % ndim for a in axes)), bool(options.get("keepdims", False))
