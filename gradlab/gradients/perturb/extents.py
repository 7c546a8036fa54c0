"""What the perturbation of one entry of a leaf changes in each value of a program.

==============  ===================================================================================
`Entries`       the value consists of entries of the leaf, in some order: one of them changes
`Slice`         one index of one axis changes: a column, if weights are multiplied by rows
`All`           any entry may change
`Total`         one number, the sum over all rows (only in `rows`)
==============  ===================================================================================

A value that does not depend on the leaf is constant. Extents are computed once for each leaf,
operation by operation. Axes are counted from the last (-1), so that their numbers stay the same
when `rows` drops the leading axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np

from gradlab.gradients.perturb.contraction import contraction
from gradlab.gradients.perturb.limits import Limits
from gradlab.gradients.perturb.operations import NoRule, axes_of, is_maximum, is_sum, kind_of
from gradlab.gradients.perturb.powers import is_series
from gradlab.params import Array
from gradlab.program.ir import Node, Program
from gradlab.program.pieces import shape_of
from gradlab.program.primitives import Kind, primitive_of


@dataclass(frozen=True)
class Entries:
    """The value consists of entries of the leaf."""

    index: Array  # the entry of the leaf at each position; each occurs at most once
    place: Array  # shape (p,): the position of each entry of the leaf; -1 if the value lacks it

    @classmethod
    def of(cls, index: Array, p: int) -> Entries:
        """Find the places."""
        place = np.full(p, -1)
        place[index.reshape(-1)] = np.arange(index.size)
        return cls(index, place)

    @cached_property
    def any_position(self) -> Array:
        """The positions; 0 for a missing entry, whose change is 0."""
        return np.maximum(self.place, 0)

    @cached_property
    def axes(self) -> tuple[Array, ...]:
        """For each axis of the value, the index of each entry of the leaf."""
        return np.unravel_index(self.any_position, self.index.shape)


@dataclass(frozen=True)
class Slice:
    """The index ``hit[entry]`` of one axis changes; the axis is counted from the last (-1)."""

    axis: int
    hit: Array


@dataclass(frozen=True)
class All:
    """All entries may change."""


@dataclass(frozen=True)
class Total:
    """The value is one number, the sum over all rows."""


Extent: TypeAlias = Entries | Slice | All | Total


@dataclass(frozen=True)
class Series:
    """Properties of a change that is a power series in a number u."""

    # The product where the series begins. It defines u: series of one origin can be added.
    origin: Node
    varying: frozenset[int]  # the axes along which u varies, counted from the last


class Extents:
    """The extents of the values that depend on a leaf, without a separable batch axis.

    `NoRule` is raised if no rule covers an operation.
    """

    lead = 0
    """Number of leading axes that are no features: 1 if there are rows."""

    def __init__(
        self,
        program: Program,
        leaf: Node,
        values: Mapping[Node, Any],
        signs: int,
        limits: Limits,
    ) -> None:
        assert leaf.shape is not None
        self.program, self.values, self.signs, self.leaf = program, values, signs, leaf
        self.limits = limits
        self.p = prod(leaf.shape)
        start = Entries.of(np.arange(self.p).reshape(leaf.shape), self.p)
        # Constant nodes are left out.
        self.of: dict[Node, Extent] = {leaf: start}
        # For each `Kind.VIEW` node, the index of each of its features among the operand's features
        # (or those of a slice): shape (1, ...), or (n, ...) if it differs between rows.
        self.gathers: dict[Node, Array] = {}
        # The values whose changes are power series, unless a step is too large.
        self.series: dict[Node, Series] = {}
        self.kinds: dict[Node, Kind] = {}
        self.nodes: list[Node] = []
        rules: dict[Kind, Callable[[Node], Extent]] = {
            Kind.ELEMENTWISE: self.of_elementwise,
            Kind.REDUCTION: self.of_reduction,
            Kind.VIEW: self.of_gather,
            Kind.PRODUCT: self.of_product,
        }
        for node in program.nodes:
            if any(source in self.of for source in node.sources):
                if node.dtype is None or not (node.dtype == np.float64 or node.dtype.kind in "biu"):
                    raise NoRule(f"{node} is not float64")
                self.kinds[node] = kind_of(node)
                self.of[node] = rules[self.kinds[node]](node)
                self._find_series(node)
                self.nodes.append(node)
        self.is_linear = all(
            primitive_of(node.primitive).linear is True
            for node in self.nodes
            if any(isinstance(self.of.get(source), Entries) for source in node.sources)
        )
        self.require_output()

    def require_output(self) -> None:
        """Raise `NoRule` if the loss does not depend on the leaf."""
        if self.program.outputs[0] not in self.of:
            raise NoRule("the loss does not depend on the leaf")

    def constant(self, operand: Any) -> Any:
        """Return the unperturbed value of an operand."""
        return self.values[operand] if isinstance(operand, Node) else operand

    def features(self, operand: Any) -> tuple[int, ...]:
        """Return the shape of a value, without the axis of the rows."""
        return shape_of(operand)[self.lead :]

    def ndim(self, node: Node) -> int:
        """Return the number of axes of a value, including the rows."""
        return self.lead + len(self.features(node))

    def shape(self, node: Node) -> tuple[int, ...]:
        """Return the shape of the part of a value that changes in a lane."""
        extent, shape = self.of[node], list(self.features(node))
        if isinstance(extent, Slice):
            del shape[extent.axis]
        return () if isinstance(extent, Entries) else tuple(shape)

    def letters(self, node: Node) -> tuple[str, str, str]:
        """Return the subscripts of a product's features; see `contraction`."""
        a, b, out = contraction(node)
        return a[self.lead :], b, out[self.lead :]

    def sizes(self, nodes: list[Node]) -> Iterator[int]:
        """Yield the number of entries of each value in a lane."""
        for node in nodes:
            size = prod(self.shape(node))
            if node in self.series:
                varying = prod(self.features(node)[axis] for axis in self.series[node].varying)
                size = max(varying, 4 * size // self.limits.min_series_lanes)
            yield size
            if isinstance(self.of[node], All) and node not in self.series:
                yield from (prod(self.features(o)) for o in node.sources if self._fills(node, o))

    def _fills(self, node: Node, operand: Node) -> bool:
        """Tell whether a rule computes all features of an operand, although few of them change."""
        extent = self.of.get(operand)
        if isinstance(extent, Entries):
            return not (is_sum(node) and node.shape == ())
        alone = sum(o in self.of for o in node.sources) == 1
        passes = is_sum(node) or (alone and self.kinds[node] is Kind.PRODUCT)
        return isinstance(extent, Slice) and not passes

    # Rules, one per kind

    def of_elementwise(self, node: Node) -> Extent:
        """Keep the extent if all operands share it."""
        changed = [operand for operand in node.sources if operand in self.of]
        extents = [self.of[operand] for operand in changed]
        first = extents[0]
        if isinstance(first, Entries) and all(
            isinstance(e, Entries)
            and o.shape == node.shape
            and np.array_equal(e.index, first.index)
            for e, o in zip(extents, changed, strict=True)
        ):
            return first
        slices = [self.as_slice(o, node) for o in changed]
        first_slice = slices[0]
        if first_slice is not None and all(
            s is not None and s.axis == first_slice.axis and np.array_equal(s.hit, first_slice.hit)
            for s in slices
        ):
            return first_slice
        return All()

    def as_slice(self, operand: Node, node: Node) -> Slice | None:
        """Return the slice of a node that a broadcast operand changes, if it changes one slice."""
        extent = self.of[operand]
        assert operand.shape is not None
        assert node.shape is not None
        if isinstance(extent, Slice):
            same = operand.shape[extent.axis] == node.shape[extent.axis]
            return extent if same else None
        if isinstance(extent, Entries) and (extent.place >= 0).all():
            long = [axis for axis in range(-len(operand.shape), 0) if operand.shape[axis] > 1]
            if len(long) == 1:
                return Slice(long[0], extent.place)
        return None

    def of_reduction(self, node: Node) -> Extent:
        """Keep a slice if its axis is not reduced."""
        (operand, *_), (axes, keepdims) = node.operands, axes_of(node)
        extent = self.of[operand]
        if isinstance(extent, Slice):
            axis = len(operand.shape) + extent.axis
            if axis not in axes:
                behind = 0 if keepdims else sum(a > axis for a in axes)
                return Slice(extent.axis + behind, extent.hit)
        return All()

    def gathered(self, node: Node) -> Array:
        """Apply the operation to numbered entries to find where each of them goes."""
        operand, *rest = node.operands
        if operand not in self.of or any(o in self.of for o in rest if isinstance(o, Node)):
            raise NoRule("an index depends on the parameters")
        numbers = np.arange(prod(operand.shape)).reshape(operand.shape)
        return np.asarray(node.evaluate(numbers, *map(self.constant, rest)))

    def of_gather(self, node: Node) -> Extent:
        """Follow the entries; keep a slice if the result is one."""
        operand, gathered = node.operands[0], self.gathered(node)
        extent = self.of[operand]
        self.gathers[node] = gathered[None]
        if isinstance(extent, Entries):
            is_unique = len(np.unique(gathered)) == gathered.size
            return Entries.of(extent.index.reshape(-1)[gathered], self.p) if is_unique else All()
        return self.gathered_slice(node, gathered)

    def gathered_slice(self, node: Node, gathered: Array) -> Extent:
        """Return the slice that a rearrangement of features keeps, if it keeps one."""
        operand = node.operands[0]
        extent, features = self.of[operand], self.features(operand)
        if not isinstance(extent, Slice):
            return All()
        # The flat index of an entry is (before * k + hit) * inner + behind in the operand, and
        # before * inner + behind in a slice, which lacks the axis of length k.
        inner = prod(features[len(features) + extent.axis + 1 :])
        k = features[extent.axis]
        hit = gathered // inner % k
        others = gathered // (inner * k) * inner + gathered % inner
        for axis in range(-gathered.ndim, 0):
            if gathered.shape[axis] != k:
                continue
            first = others.take([0], axis)
            along = np.arange(k).reshape(-1, *[1] * (-axis - 1))
            if (hit == along).all() and (others == first).all():
                self.gathers[node] = first.squeeze(axis)[None]
                return Slice(axis, extent.hit)
        return All()

    def of_product(self, node: Node) -> Extent:
        """Turn entries into a slice; keep a slice if its axis is not summed."""
        *letters, out = self.letters(node)
        changed = [
            (self.of[o], own)
            for o, own in zip(node.operands[-2:], letters, strict=True)
            if isinstance(o, Node) and o in self.of
        ]
        if len(changed) > 1:
            return All()
        ((extent, own),) = changed
        if isinstance(extent, Entries):
            kept = [letter for letter in own if letter in out]
            if len(kept) == 1:
                (k,) = kept
                return Slice(out.index(k) - len(out), extent.axes[own.index(k)])
        elif isinstance(extent, Slice) and own[extent.axis] in out:
            return Slice(out.index(own[extent.axis]) - len(out), extent.hit)
        return All()

    # Power series

    def _find_series(self, node: Node) -> None:
        """Record whether the change of a value is a power series."""
        if not isinstance(self.of[node], All):
            return
        kind = self.kinds[node]
        if kind is Kind.PRODUCT:
            found = self._series_of_product(node)
        elif kind is Kind.ELEMENTWISE:
            found = self._series_of_elementwise(node)
        else:  # sums and gathers act on coefficients as on values, unless u varies inside
            found = self.series.get(node.operands[0])
            acts = is_sum(node) or is_maximum(node) or kind is Kind.VIEW
            if found is not None and (found.varying or not acts):
                found = None
        if found is not None:
            self.series[node] = found

    def _series_of_elementwise(self, node: Node) -> Series | None:
        changed = [o for o in node.sources if o in self.of]
        first = self.series.get(changed[0])
        if first is None:
            return None
        for operand in changed:
            other = self.series.get(operand)
            if other is None or (other.origin, other.varying) != (first.origin, first.varying):
                return None
            if first.varying and operand.shape != node.shape:
                return None
        flags = [isinstance(o, Node) and o in self.of for o in node.operands]
        return first if is_series(node.primitive, flags) else None

    def _series_of_product(self, node: Node) -> Series | None:
        """Begin a series at an outer product; apply other products to its coefficients."""
        *letters, out = self.letters(node)
        operands = node.operands[-2:]
        changed = [o for o in operands if isinstance(o, Node) and o in self.of]
        found = None
        for operand, own, other in zip(operands, letters, letters[::-1], strict=True):
            known = self.series.get(operand) if isinstance(operand, Node) else None
            if known is not None and len(changed) == 1:
                varying = {own[axis] for axis in known.varying}
                if varying <= set(out) and not varying & set(other):
                    axes = frozenset(out.index(k) - len(out) for k in varying)
                    found = Series(known.origin, axes)
            elif self._is_outer(operand, own, other, out):
                rest = [self.of[o] for o in changed if o is not operand]
                if all(isinstance(extent, Entries) for extent in rest):
                    axes = frozenset(out.index(k) - len(out) for k in set(own) - set(other))
                    found = Series(node, axes)
        return found

    def _is_outer(self, operand: Any, own: str, other: str, out: str) -> bool:
        """Tell whether a slice is multiplied by a constant slice that many lanes share."""
        extent = self.of.get(operand) if isinstance(operand, Node) else None
        if not isinstance(extent, Slice):
            return False
        k = own[extent.axis]
        is_outer = set(own) & set(other) == {k} and set(own + other) - {k} == set(out)
        return is_outer and self.signs * self.p >= self.limits.min_series_lanes * len(
            np.unique(extent.hit)
        )
