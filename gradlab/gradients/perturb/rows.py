"""The proof that the batch axis is separable: each row depends only on the same row of operands.

Each rule checks that an operation does not mix the rows, the leading axis of its operands, and
leaves the extent of a row's features to `Extents`. If a rule cannot prove this, the axis counts as
not separable. Entries of the leaf first change rows at one node, the `Lift`. Values before it are
computed for all entries at once, and so are values computed from a sum over all rows, a `Total`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.perturb.extents import All, Entries, Extent, Extents, Slice, Total
from gradlab.gradients.perturb.operations import NoRule, axes_of, is_sum
from gradlab.params import Array
from gradlab.program.ir import Node
from gradlab.program.primitives import DOT


@dataclass(frozen=True)
class Lift:
    """The node where entries of the leaf first change rows.

    A perturbation d of entry (i, j) of the factor changes column j, in row r, by ``rows[r, i] d``.
    """

    # The value that changes: a product of a constant matrix and entries of the leaf, or entries of
    # the leaf that are added to each row.
    node: Node
    index: Array  # shape (d, k): the entry of the leaf at position (i, j) of the factor
    rows: Array  # shape (n, d): the constant matrix; ones if the entries are added to each row
    entries: Node  # the factor itself

    @property
    def is_product(self) -> bool:
        """Whether rows may have zeros and repetitions, so that a search for them pays."""
        return self.node is not self.entries


class RowExtents(Extents):
    """The extents of features in a row; `NoRule` is raised if the batch axis is not separable."""

    lead = 1
    lift: Lift | None = None

    def require_output(self) -> None:
        """Raise `NoRule` unless the loss is a sum over rows, or does not depend on the leaf."""
        (output,) = self.program.outputs
        if isinstance(output, Node) and not isinstance(self.of.get(output, Total()), Total):
            raise NoRule("the loss is not a sum over rows")

    def features(self, operand: Any) -> tuple[int, ...]:
        """Return the shape of a value in a row; entries added to each row have no row axis."""
        is_lifted = self.lift is not None and operand is self.lift.node is self.lift.entries
        return operand.shape[-1:] if is_lifted else super().features(operand)

    def start_rows(self) -> None:
        """Treat entries that are added to each row as a column from here on."""
        extent = None if self.lift is None else self.of[self.lift.node]
        if self.lift is not None and isinstance(extent, Entries):
            self.of[self.lift.node] = self._column(self.lift.node, extent)

    def _column(self, node: Node, entries: Entries) -> Slice:
        if not node.shape:
            raise NoRule("a number meets an array")
        return Slice(-1, entries.any_position % node.shape[-1])

    @property
    def n(self) -> int:
        """The number of rows."""
        assert self.lift is not None
        return len(self.lift.rows)

    def of_elementwise(self, node: Node) -> Extent:
        """Keep rows that have the same position in all operands."""
        changed = [operand for operand in node.sources if operand in self.of]
        totals = [isinstance(self.of[operand], Total) for operand in changed]
        if any(totals):
            if not all(totals) or node.shape != ():
                raise NoRule("a total meets an array")
            return Total()
        shape = node.shape or ()
        entries = [operand for operand in changed if isinstance(self.of[operand], Entries)]
        if len(entries) == len(changed):
            extent = super().of_elementwise(node)
            if isinstance(extent, Entries):
                return extent
        for operand in entries:
            self._lift_entries(operand, shape)
        for operand in changed:
            own = operand.shape or ()
            if operand not in entries and (not own or (len(own), own[0]) != (len(shape), self.n)):
                raise NoRule("the axis of the rows moves")
        if not shape or shape[0] != self.n:
            raise NoRule("rows are repeated")
        return super().of_elementwise(node)

    def as_slice(self, operand: Node, node: Node) -> Slice | None:
        """Treat entries that are added to each row as a column."""
        extent = self.of[operand]
        if isinstance(extent, Entries):
            return self._column(operand, extent)
        return super().as_slice(operand, node)

    def _lift_entries(self, entries: Node, shape: tuple[int, ...]) -> None:
        """Combine entries of shape (k,) or (1, k) with rows of shape (n, k)."""
        if len(shape) != 2 or entries.shape not in ((shape[1],), (1, shape[1])):
            raise NoRule("entries are broadcast in another way than along rows")
        self._set_lift(entries, entries, np.ones((shape[0], 1)))

    def _set_lift(self, node: Node, entries: Node, rows: Array) -> None:
        extent = self.of[entries]
        assert isinstance(extent, Entries)
        if self.lift is None:
            index = extent.index.reshape(-1, extent.index.shape[-1])
            self.lift = Lift(node, index, rows, entries)
        elif self.lift.node is not node or len(self.lift.rows) != len(rows):
            raise NoRule("entries of the leaf change rows at two nodes")

    def of_product(self, node: Node) -> Extent:
        """Multiply rows by a constant matrix, or a constant matrix by entries."""
        if node.primitive not in (np.matmul, DOT) or node.keywords:
            raise NoRule("a product of another kind")
        a, b = node.operands
        a_extent, b_extent = (self.of.get(o) if isinstance(o, Node) else None for o in (a, b))
        if a_extent is None and isinstance(b_extent, Entries):
            rows = np.asarray(self.constant(a))
            if rows.ndim == 2 and len(b.shape) == 2 and rows.dtype.kind in "biuf":
                self._set_lift(node, b, rows)
                return self._column(b, b_extent)
        is_rows = isinstance(a_extent, Slice | All) and b_extent is None
        if is_rows and len(a.shape) >= 2 and np.ndim(self.constant(b)) in (1, 2):
            return super().of_product(node)
        raise NoRule("a product of another kind")

    def of_reduction(self, node: Node) -> Extent:
        """Reduce features, or sum over all rows and features."""
        operand = node.operands[0]
        extent = self.of.get(operand)
        axes, _ = axes_of(node)
        if extent is None or isinstance(extent, Total):
            raise NoRule("a reduction of a number, or along an axis that changes")
        if len(axes) == len(operand.shape):
            if is_sum(node) and node.shape == ():
                return Total()
            raise NoRule("a total that is not a sum")
        if isinstance(extent, Entries) or 0 in axes:
            raise NoRule("a reduction across rows")
        return super().of_reduction(node)

    def of_gather(self, node: Node) -> Extent:
        """Rearrange the features of each row, in the same way or a different way in each."""
        operand = node.operands[0]
        if isinstance(self.of.get(operand), Entries | None):
            extent = super().of_gather(node)
            if not isinstance(extent, Entries):
                raise NoRule("an entry occurs twice")
            return extent
        gathered = self.gathered(node)
        if isinstance(self.of[operand], Total) or not node.shape or node.shape[0] != self.n:
            raise NoRule("rows move")
        size = prod(self.features(operand))
        row = np.arange(self.n).reshape(-1, *[1] * (gathered.ndim - 1))
        if size == 0 or (gathered // size != row).any():
            raise NoRule("entries move to other rows")
        within = gathered % size  # (n, *features): the index of the feature within its row
        if (within != within[:1]).any():
            self.gathers[node] = within
            return All()
        self.gathers[node] = within[:1]
        return self.gathered_slice(node, within[0])
