"""What a movement of one entry of a leaf changes in each value, whether or not there are rows.

Where `kinds` asks that what happens in a row is decided in this row, here each value stands alone,
and any movement of entries, statistics over any axes, and products of any two axes are allowed:

==============  ===================================================================================
`Entry`         it consists of entries of the leaf, in some order: one of them changes
`Slice`         of one axis, one index changes: a column, where weights meet rows
`All`           anything may change
==============  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from string import ascii_letters
from typing import Any, TypeAlias

import numpy as np

from gradlab.gradients.perturb.kinds import (
    LINEAR,
    REDUCTIONS,
    NoRule,
    axes_of,
    is_change_of_entries,
)
from gradlab.gradients.perturb.powers import FEW, SERIES, is_linear
from gradlab.params import Array
from gradlab.program.ir import Node, Program
from gradlab.program.primitives import VIEWS

LANE = "L"
"""The letter of the lanes in a contraction."""


@dataclass(frozen=True)
class Entry:
    """It consists of entries of the leaf.

    Attributes
    ----------
    index : ndarray
        Which entry stands where; each at most once.
    place : ndarray, shape (p,)
        Where each entry of the leaf stands, -1 where it does not.
    """

    index: Array
    place: Array

    @classmethod
    def of(cls, index: Array, p: int) -> Entry:
        """Find the places."""
        place = np.full(p, -1)
        place[index.reshape(-1)] = np.arange(index.size)
        return cls(index, place)


@dataclass(frozen=True)
class Slice:
    """Of one axis, counted from the last (-1), the index ``hit[entry]`` changes."""

    axis: int
    hit: Array


@dataclass(frozen=True)
class All:
    """All of it may change."""


Extent: TypeAlias = Entry | Slice | All


class Extents:
    """The extents of the values that a leaf reaches.

    Attributes
    ----------
    nodes : list of Node
        The values, in order.
    of : dict
        From node to extent; static nodes are not in it.
    picks : dict
        For each movement, which entry of its operand (of a slice of it) each of its own is.
    series : dict
        The values whose changes are power series in a number u, unless a step is too large; and
        along which axes u varies.

    Raises
    ------
    NoRule
        If there is an operation that none of the rules covers.
    """

    def __init__(
        self, program: Program, leaf: Node, values: Mapping[Node, Any], signs: int
    ) -> None:
        assert leaf.shape is not None
        self.values, self.signs, self.leaf = values, signs, leaf
        self.p = prod(leaf.shape)
        start = Entry.of(np.arange(self.p).reshape(leaf.shape), self.p)
        self.of: dict[Node, Extent] = {leaf: start}
        self.picks: dict[Node, Array] = {}
        self.series: dict[Node, frozenset[int]] = {}
        self._rank_one: set[Node] = set()
        self.nodes: list[Node] = []
        for node in program.nodes:
            if any(source in self.of for source in node.sources):
                if node.dtype is None or not (node.dtype == np.float64 or node.dtype.kind in "biu"):
                    raise NoRule(f"{node} is not of float64")
                self.of[node] = self._extent(node)
                self._find_series(node)
                self.nodes.append(node)

    @property
    def is_linear(self) -> bool:
        """Whether the movements of entries alone are looked at, never the entries."""
        return all(
            node.primitive in LINEAR or node.primitive is np.einsum
            for node in self.nodes
            if any(isinstance(self.of.get(source), Entry) for source in node.sources)
        )

    def static(self, operand: Any) -> Any:
        """Return the value of an operand without any change."""
        return self.values[operand] if isinstance(operand, Node) else operand

    def shape(self, node: Node) -> tuple[int, ...]:
        """Return the shape of what changes of a value in a lane."""
        extent, shape = self.of[node], list(node.shape or ())
        if isinstance(extent, Slice):
            del shape[extent.axis]
        return () if isinstance(extent, Entry) else tuple(shape)

    def sizes(self) -> Iterator[int]:
        """How many entries of each value that changes there are in a lane."""
        for node in self.nodes:
            size = prod(self.shape(node))
            if node in self.series:
                varying = prod((node.shape or ())[axis] for axis in self.series[node])
                size = max(varying, 4 * size // FEW)
            yield size
            is_filled = isinstance(self.of[node], All) and node not in self.series
            if is_filled and not self.is_total(node):
                filled = [o for o in node.sources if isinstance(self.of.get(o), Entry | Slice)]
                yield from (prod(o.shape or ()) for o in filled)

    def is_total(self, node: Node) -> bool:
        """Tell whether a value is the sum of all entries of another."""
        return node.primitive in (np.sum, np.mean) and node.shape == ()

    def _extent(self, node: Node) -> Extent:
        if is_change_of_entries(node):
            return self._of_entries(node)
        if node.primitive in REDUCTIONS:
            return self._of_reduction(node)
        if node.primitive in VIEWS:
            return self._of_movement(node)
        return self._of_product(node, contraction(node))

    def _of_entries(self, node: Node) -> Extent:
        changed = [operand for operand in node.sources if operand in self.of]
        extents = [self.of[operand] for operand in changed]
        first = extents[0]
        if isinstance(first, Entry) and all(
            isinstance(e, Entry) and o.shape == node.shape and np.array_equal(e.index, first.index)
            for e, o in zip(extents, changed, strict=True)
        ):
            return first
        slices = [self._as_slice(e, o, node) for e, o in zip(extents, changed, strict=True)]
        first_slice = slices[0]
        if first_slice is not None and all(
            s is not None and s.axis == first_slice.axis and np.array_equal(s.hit, first_slice.hit)
            for s in slices
        ):
            return first_slice
        return All()

    def _as_slice(self, extent: Extent, operand: Node, node: Node) -> Slice | None:
        """Return which slice of a node an operand that is broadcast changes, if it is one."""
        assert operand.shape is not None
        assert node.shape is not None
        if isinstance(extent, Slice):
            same = operand.shape[extent.axis] == node.shape[extent.axis]
            return extent if same else None
        if isinstance(extent, Entry) and (extent.place >= 0).all():
            long = [axis for axis in range(-len(operand.shape), 0) if operand.shape[axis] > 1]
            if len(long) == 1:
                return Slice(long[0], extent.place)
        return None

    def _of_reduction(self, node: Node) -> Extent:
        (operand, *_), (axes, keepdims) = node.operands, axes_of(node)
        extent = self.of[operand]
        if isinstance(extent, Slice):
            ndim = len(operand.shape)
            axis = ndim + extent.axis
            if axis not in axes:
                behind = 0 if keepdims else sum(a > axis for a in axes)
                return Slice(extent.axis + behind, extent.hit)
        return All()

    def _of_movement(self, node: Node) -> Extent:
        """Find out by a probe of numbered entries where each of them goes."""
        operand, *rest = node.operands
        if operand not in self.of or any(o in self.of for o in rest if isinstance(o, Node)):
            raise NoRule("a movement that changes")
        extent, shape = self.of[operand], operand.shape
        numbers = np.arange(prod(shape)).reshape(shape)
        moved = np.asarray(node.evaluate(numbers, *map(self.static, rest)))
        self.picks[node] = moved
        if isinstance(extent, Entry):
            index = extent.index.reshape(-1)[moved]
            return Entry.of(index, self.p) if len(np.unique(moved)) == moved.size else All()
        if isinstance(extent, Slice):
            inner = prod(shape[len(shape) + extent.axis + 1 :])
            k = shape[extent.axis]
            hit = moved // inner % k
            others = moved // (inner * k) * inner + moved % inner
            for axis in range(-moved.ndim, 0):
                first = others.take([0], axis) if moved.shape[axis] == k else others
                along = np.arange(k).reshape(-1, *[1] * (-axis - 1))
                if moved.shape[axis] == k and (hit == along).all() and (others == first).all():
                    self.picks[node] = first.squeeze(axis)
                    return Slice(axis, extent.hit)
        return All()

    def _of_product(self, node: Node, letters: tuple[str, str, str]) -> Extent:
        changed = [
            (self.of[o], own, other)
            for o, own, other in zip(node.operands[-2:], letters, letters[1::-1], strict=False)
            if isinstance(o, Node) and o in self.of
        ]
        if len(changed) > 1:
            return All()
        ((extent, own, _),) = changed
        out = letters[2]
        if isinstance(extent, Entry):
            kept = [letter for letter in own if letter in out]
            if len(kept) == 1:
                (k,) = kept
                place = np.unravel_index(np.maximum(extent.place, 0), extent.index.shape)
                return Slice(out.index(k) - len(out), place[own.index(k)])
        elif isinstance(extent, Slice) and own[extent.axis] in out:
            return Slice(out.index(own[extent.axis]) - len(out), extent.hit)
        return All()

    def _find_series(self, node: Node) -> None:
        """Note along which axes u varies, if the change of a value is a power series in u."""
        if not isinstance(self.of[node], All):
            return
        changed = [o for o in node.operands if isinstance(o, Node) and o in self.of]
        first = changed[0]
        if is_change_of_entries(node):
            if len(changed) > 1 or first not in self.series or first.shape != node.shape:
                return
            linear = is_linear(node.primitive, [o is first for o in node.operands])
            keeps = linear or node.primitive is np.maximum
            if keeps or node.primitive is np.square or first in self._rank_one:
                if not keeps and node.primitive not in SERIES:
                    return
                self.series[node] = self.series[first]
                if keeps and first in self._rank_one:
                    self._rank_one.add(node)
        elif node.primitive not in REDUCTIONS and node.primitive not in VIEWS:
            a, b, out = contraction(node)
            for operand, own, other in zip(node.operands[-2:], (a, b), (b, a), strict=True):
                if len(changed) == 1 and operand is first and operand in self.series:
                    varying = {own[axis] for axis in self.series[operand]}
                    if varying <= set(out) and not varying & set(other):
                        self.series[node] = frozenset(out.index(k) for k in varying)
                        if operand in self._rank_one:
                            self._rank_one.add(node)
                elif self._is_outer(operand, own, other, out):
                    rest = [self.of[o] for o in changed if o is not operand]
                    if all(isinstance(extent, Entry) for extent in rest):
                        varying = set(own) - set(other)
                        self.series[node] = frozenset(out.index(k) for k in varying)
                        self._rank_one.add(node)

    def _is_outer(self, operand: Any, own: str, other: str, out: str) -> bool:
        """Tell whether a slice is multiplied with a static one, which many lanes share."""
        extent = self.of.get(operand) if isinstance(operand, Node) else None
        if not isinstance(extent, Slice):
            return False
        k = own[extent.axis]
        is_outer = set(own) & set(other) == {k} and set(own + other) - {k} == set(out)
        return is_outer and self.signs * self.p >= FEW * len(np.unique(extent.hit))


def contraction(node: Node) -> tuple[str, str, str]:
    """Return a product of two arrays as the letters of `numpy.einsum`: of a, b, and the result.

    Examples
    --------
    >>> a, b = (Node(None, shape=shape) for shape in ((5, 2, 3), (3, 4)))
    >>> contraction(Node(np.matmul, (a, b)))
    ('abc', 'cd', 'abd')
    """
    if node.primitive is np.einsum:
        spec, *operands = node.operands
        if not isinstance(spec, str) or len(operands) != 2 or set(node.keywords) - {"optimize"}:
            raise NoRule("a product of another kind")
        inputs, arrow, out = spec.replace(" ", "").partition("->")
        a, comma, b = inputs.partition(",")
        if not arrow or not comma or not (a + b).isalpha() or LANE in spec:
            raise NoRule("letters that are implied")
        if any(len(set(letters)) < len(letters) for letters in (a, b, out)):
            raise NoRule("a diagonal")
        return a, b, out
    if node.primitive not in (np.matmul, np.dot) or node.keywords:
        raise NoRule(f"{node.primitive}")
    ndims = [np.ndim(o) if not isinstance(o, Node) else len(o.shape or ()) for o in node.operands]
    if not (ndims[0] >= 1 and 1 <= ndims[1] <= 2):
        raise NoRule("a product of another kind")
    a = ascii_letters[: ndims[0]]
    b = a[-1] + ascii_letters[ndims[0] : ndims[0] + ndims[1] - 1]
    return a, b, a[:-1] + b[1:]
