"""Properties of operations that their rows in `gradlab.program.primitives` lack."""

from __future__ import annotations

from math import prod

import numpy as np

from gradlab.program.ir import Node
from gradlab.program.primitives import MEAN, REDUCTIONS, SUM, Kind, is_elementwise, primitive_of


class NoRule(Exception):  # noqa: N818 - not an error: the plain loop takes over
    """The engine has no rule for an operation."""


KINDS_WITH_RULES = (Kind.ELEMENTWISE, Kind.REDUCTION, Kind.VIEW, Kind.PRODUCT)
"""The kinds of operations for which the engine has rules."""


def kind_of(node: Node) -> Kind:
    """Return the kind of an operation, one of `KINDS_WITH_RULES`.

    `NoRule` is raised for another kind, and for an elementwise operation with options.

    Examples
    --------
    >>> import numpy as np
    >>> kind_of(Node(np.sum, (Node(None, shape=(2,)),))).name
    'REDUCTION'
    """
    kind = primitive_of(node.primitive).kind
    if kind not in KINDS_WITH_RULES or (kind is Kind.ELEMENTWISE and not is_elementwise(node)):
        raise NoRule(f"{node.primitive}")
    return kind


def is_sum(node: Node) -> bool:
    """Tell whether an operation is a sum or a mean."""
    return node.primitive in (SUM, MEAN)


def is_maximum(node: Node) -> bool:
    """Tell whether an operation is the maximum along one axis."""
    return REDUCTIONS.get(node.primitive) is np.maximum and len(axes_of(node)[0]) == 1


def terms_of_mean(node: Node) -> int:
    """Return the number by which a sum of entries is divided: 1 unless it is a mean.

    Examples
    --------
    >>> terms_of_mean(Node(MEAN, (Node(None, shape=(2, 3)),), shape=(2,)))
    3
    """
    if node.primitive is not MEAN:
        return 1
    return int(prod(node.operands[0].shape) // max(prod(node.shape or ()), 1))


def axes_of(node: Node) -> tuple[tuple[int, ...], bool]:
    """Return the axes of a reduction, counted from 0, and whether the result keeps them."""
    options = dict(zip(("axis",), node.operands[1:], strict=False), **node.keywords)
    if len(node.operands) > 2 or not set(options) <= {"axis", "keepdims"}:
        raise NoRule("a reduction with options")
    ndim = len(node.operands[0].shape)
    axis = options.get("axis")
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % ndim for a in axes)), bool(options.get("keepdims", False))
