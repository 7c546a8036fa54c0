"""What a movement of one entry of a leaf does to each value of a program.

A value that the leaf does not reach is static. Of the others, each is of one `Kind`, which says
what can change in it, and so what has to be computed of it. The kinds are found once for each
leaf, operation by operation; where an operation is not known to keep the rows of its operands
apart, there is no rule, and the leaf is left to the plain loop.

``ENTRY``
    It consists of entries of the leaf, or of functions of one each, in some order: a movement
    changes the one that is moved.
``COLUMN``
    Shape (n, k): a movement of an entry changes one column.
``ROWS``
    Shape (n, ...): it may change all, but what happens in a row is decided in this row.
``TOTAL``
    One number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.perturb.changes import sigmoid
from gradlab.params import Array
from gradlab.program.ir import Node, Program
from gradlab.program.primitives import VIEWS, is_elementwise


class Kind(Enum):
    """What can change in a value; see the module."""

    ENTRY = "entry"
    COLUMN = "column"
    ROWS = "rows"
    TOTAL = "total"


class NoRule(Exception):  # noqa: N818 - no error: the plain loop takes over
    """Nothing is known about how an operation spreads a change."""


@dataclass(frozen=True)
class Lift:
    """Where entries begin to change rows: the first value of kind ``COLUMN``.

    A movement d of entry (i, j) of the factor changes column j, in row r, by ``rows[r, i] d``.

    Attributes
    ----------
    node : Node
        The value that changes: a product of a static matrix and entries of the leaf, or entries
        of the leaf that are added to each row.
    entries : Node
        The factor, of kind ``ENTRY``, shape (d, k) or (k,).
    rows : ndarray, shape (n, d)
        The static matrix; ones for entries that are added to each row.
    merges : bool
        Whether rows of it may have zeros and repetitions, so that it pays to look for them.
    """

    node: Node
    entries: Node
    rows: Array
    merges: bool


@dataclass
class Kinds:
    """The kinds of the values that a leaf reaches.

    Attributes
    ----------
    of : dict
        From node to kind; static nodes are not in it.
    index : dict
        For each node of kind ``ENTRY``, which entry of the leaf stands where.
    picks : dict
        For each movement of rows, which entry of its operand's row each of its own is.
    lift : Lift or None
        Where entries become rows.
    """

    values: Mapping[Node, Any]
    of: dict[Node, Kind] = field(default_factory=dict)
    index: dict[Node, Array] = field(default_factory=dict)
    picks: dict[Node, Array] = field(default_factory=dict)
    lift: Lift | None = None

    @property
    def n(self) -> int:
        """How many rows there are."""
        assert self.lift is not None
        return len(self.lift.rows)

    def static(self, operand: Any) -> Any:
        """Return the value of a static operand."""
        return self.values[operand] if isinstance(operand, Node) else operand


def find_kinds(program: Program, leaf: Node, values: Mapping[Node, Any]) -> Kinds:
    """Find the kind of each value that a leaf reaches.

    Raises
    ------
    NoRule
        If there is an operation that none of the rules covers.
    """
    assert leaf.shape is not None
    kinds = Kinds(values)
    kinds.of[leaf] = Kind.ENTRY
    kinds.index[leaf] = np.arange(prod(leaf.shape)).reshape(leaf.shape)
    for node in program.nodes:
        if any(source in kinds.of for source in node.sources):
            if node.dtype is None or not (node.dtype == np.float64 or node.dtype.kind in "biu"):
                raise NoRule(f"{node} is not of float64")
            kinds.of[node] = _kind(node, kinds)
    (output,) = program.outputs
    if isinstance(output, Node) and kinds.of.get(output, Kind.TOTAL) is not Kind.TOTAL:
        raise NoRule("the loss is no total")
    return kinds


def _kind(node: Node, kinds: Kinds) -> Kind:
    if is_change_of_entries(node):
        return _elementwise(node, kinds)
    if node.primitive in (np.matmul, np.dot) and not node.keywords:
        return _product(node, kinds)
    if node.primitive in REDUCTIONS:
        return _reduction(node, kinds)
    if node.primitive in VIEWS:
        return _movement(node, kinds)
    raise NoRule(f"{node.primitive}")


def is_change_of_entries(node: Node) -> bool:
    """Tell whether each entry of a value follows from its operands' entries in the same place."""
    return is_elementwise(node) or node.primitive is sigmoid


def _elementwise(node: Node, kinds: Kinds) -> Kind:
    changed = [operand for operand in node.sources if operand in kinds.of]
    found = {kinds.of[operand] for operand in changed}
    if found == {Kind.TOTAL}:
        if node.shape != ():
            raise NoRule("a total is broadcast")
        return Kind.TOTAL
    if Kind.TOTAL in found:
        raise NoRule("a total meets an array")
    if found == {Kind.ENTRY} and all(operand.shape == node.shape for operand in changed):
        index = kinds.index[changed[0]]
        if all(np.array_equal(kinds.index[operand], index) for operand in changed):
            kinds.index[node] = index
            return Kind.ENTRY
    shape = node.shape
    if shape is None or not shape:
        raise NoRule("entries meet a number")
    for operand in changed:
        if kinds.of[operand] is Kind.ENTRY:
            _lift_entries(operand, shape, kinds)
        elif not operand.shape or (len(operand.shape), operand.shape[0]) != (len(shape), kinds.n):
            raise NoRule("the axis of the rows moves")
    if shape[0] != kinds.n:
        raise NoRule("rows are repeated")
    is_narrow = len(shape) == 2 and all(
        kinds.of[o] in (Kind.COLUMN, Kind.ENTRY) and o.shape is not None and o.shape[-1] == shape[1]
        for o in changed
    )
    return Kind.COLUMN if is_narrow else Kind.ROWS


def _lift_entries(entries: Node, shape: tuple[int, ...], kinds: Kinds) -> None:
    """Let entries of shape (k,) or (1, k) meet rows of shape (n, k)."""
    if len(shape) != 2 or entries.shape not in ((shape[1],), (1, shape[1])):
        raise NoRule("entries are broadcast in another way than along rows")
    _set_lift(Lift(entries, entries, np.ones((shape[0], 1)), merges=False), kinds)


def _set_lift(lift: Lift, kinds: Kinds) -> None:
    if kinds.lift is None:
        kinds.lift = lift
    elif kinds.lift.node is not lift.node or len(kinds.lift.rows) != len(lift.rows):
        raise NoRule("the leaf meets the rows twice")


def _product(node: Node, kinds: Kinds) -> Kind:
    a, b = node.operands
    a_kind, b_kind = (kinds.of.get(o) if isinstance(o, Node) else None for o in (a, b))
    if a_kind is None and b_kind is Kind.ENTRY:
        rows = np.asarray(kinds.static(a))
        if rows.ndim == 2 and len(b.shape) == 2 and rows.dtype.kind in "biuf":
            _set_lift(Lift(node, b, rows, merges=True), kinds)
            return Kind.COLUMN
    if a_kind in (Kind.COLUMN, Kind.ROWS) and b_kind is None:
        factor = kinds.static(b)
        if len(a.shape) >= 2 and np.ndim(factor) in (1, 2):
            return Kind.ROWS
    raise NoRule("a product of another kind")


LINEAR = {np.add, np.subtract, np.negative, np.matmul, np.dot, np.sum, np.mean, *VIEWS}
"""What looks at the movement of an entry, never at the entry that was moved."""

REDUCTIONS = {np.sum, np.mean, np.max, np.amax, np.min, np.amin, np.prod, np.var, np.std}
"""Of each set of entries alone, whatever the other axes: the same function does it on lanes."""


def axes_of(node: Node) -> tuple[tuple[int, ...], bool]:
    """Return the axes of a reduction, counted from 0, and whether they are kept."""
    options = dict(zip(("axis",), node.operands[1:], strict=False), **node.keywords)
    if len(node.operands) > 2 or not set(options) <= {"axis", "keepdims"}:
        raise NoRule("a reduction with options")
    ndim = len(node.operands[0].shape)
    axis = options.get("axis")
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    return tuple(sorted(a % ndim for a in axes)), bool(options.get("keepdims", False))


def _reduction(node: Node, kinds: Kinds) -> Kind:
    operand = node.operands[0]
    kind = kinds.of.get(operand)
    if kind is None:
        raise NoRule("an axis that changes")
    axes, _ = axes_of(node)
    if kind is Kind.TOTAL:
        raise NoRule("a reduction of a number")
    if len(axes) == len(operand.shape):
        if node.primitive in (np.sum, np.mean) and node.shape == ():
            return Kind.TOTAL
        raise NoRule("a total that is no sum")
    if kind is Kind.ENTRY or 0 in axes:
        raise NoRule("a reduction across rows")
    return Kind.ROWS


def _movement(node: Node, kinds: Kinds) -> Kind:
    """Find out by a probe of numbered entries where each of them goes."""
    operand, *rest = node.operands
    if operand not in kinds.of or any(o in kinds.of for o in rest if isinstance(o, Node)):
        raise NoRule("a movement that changes")
    kind = kinds.of[operand]
    numbers = np.arange(prod(operand.shape)).reshape(operand.shape)
    moved = np.asarray(node.evaluate(numbers, *map(kinds.static, rest)))
    if kind is Kind.ENTRY:
        index = kinds.index[operand].reshape(-1)[moved]
        if len(np.unique(index)) < index.size:
            raise NoRule("an entry stands in two places")
        kinds.index[node] = index
        kinds.picks[node] = moved
        return Kind.ENTRY
    if kind is Kind.TOTAL or not node.shape or node.shape[0] != kinds.n:
        raise NoRule("rows move")
    size = prod(operand.shape[1:])
    row = np.arange(kinds.n).reshape(-1, *[1] * (moved.ndim - 1))
    if size == 0 or (moved // size != row).any():
        raise NoRule("entries move to other rows")
    kinds.picks[node] = moved % size
    return Kind.ROWS
