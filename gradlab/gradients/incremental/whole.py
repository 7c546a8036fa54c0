"""Evaluate a recorded program under movements that do not stay in rows: the second engine.

Statistics of a batch, a weight that is used twice, a leaf on the left of a product, a convolution,
or a single sample: here the rows cannot be told apart, so that nothing is skipped and no lanes are
merged. Still, most values change in part alone. A lane is a movement; lanes lie last in memory,
behind the axes of the value, and of each value that the leaf reaches there is known

==============  ===================================================================================
`Entry`         it consists of entries of the leaf, in some order: one of them changes
`Slice`         of one axis, one index changes: a column, where weights meet rows
`All`           anything may change
==============  ===================================================================================

There is a rule for each operation here as well, or `NoRule`: every one is exact for arrays of any
axes, because whatever changes is computed in full.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from string import ascii_letters
from typing import Any, TypeAlias

import numpy as np

from gradlab.gradients.incremental.changes import Change, change_of
from gradlab.gradients.incremental.kinds import (
    LINEAR,
    REDUCTIONS,
    NoRule,
    axes_of,
    is_change_of_entries,
)
from gradlab.gradients.incremental.threads import BLOCK, WORTH_A_THREAD, in_order
from gradlab.gradients.tape.operations import VIEWS
from gradlab.gradients.tape.program import Node, Program
from gradlab.params import Array

OVERHEAD = 2000
"""An operation takes as long to call as so many entries take to be computed."""

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


class Whole:
    """How to evaluate a program under the movements of one leaf, all of what changes.

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
        (self.output,) = program.outputs
        self.of: dict[Node, Extent] = {
            leaf: Entry.of(np.arange(self.p).reshape(leaf.shape), self.p)
        }
        self.picks: dict[Node, Array] = {}
        self.nodes: list[Node] = []
        for node in program.nodes:
            if any(source in self.of for source in node.sources):
                if node.dtype is None or not (node.dtype == np.float64 or node.dtype.kind in "bi"):
                    raise NoRule(f"{node} is not of float64")
                self.of[node] = self._extent(node)
                self.nodes.append(node)
        if not isinstance(self.output, Node) or self.output not in self.of:
            raise NoRule("the loss does not depend on the leaf")
        self.is_linear = all(
            node.primitive in LINEAR or node.primitive is np.einsum
            for node in self.nodes
            if any(isinstance(self.of.get(source), Entry) for source in node.sources)
        )
        self._plain = sum(
            prod(node.shape or ()) + _flops(node) + OVERHEAD for node in program.nodes
        )

    # What changes

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
        moved = np.asarray(node.evaluate(numbers, *map(self._static, rest)))
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
        ((extent, own, other),) = changed
        out = letters[2]
        if isinstance(extent, Entry):
            kept = [letter for letter in own if letter in out]
            if not set(own) <= {*other, *out}:
                raise NoRule("an axis of the leaf is summed alone")
            if not set(other) <= {*own, *out}:
                raise NoRule("an axis of the data is summed alone")
            if len(kept) == 1:
                (k,) = kept
                place = np.unravel_index(np.maximum(extent.place, 0), extent.index.shape)
                return Slice(out.index(k) - len(out), place[own.index(k)])
        elif isinstance(extent, Slice) and own[extent.axis] in out:
            return Slice(out.index(own[extent.axis]) - len(out), extent.hit)
        return All()

    def _static(self, operand: Any) -> Any:
        return self.values[operand] if isinstance(operand, Node) else operand

    # Whether it is worth it

    def shape(self, node: Node) -> tuple[int, ...]:
        """Return the shape of what changes of a value in a lane."""
        extent, shape = self.of[node], list(node.shape or ())
        if isinstance(extent, Slice):
            del shape[extent.axis]
        return () if isinstance(extent, Entry) else tuple(shape)

    def _sizes(self) -> Iterator[int]:
        """How many entries of each value that changes there are in a lane."""
        for node in self.nodes:
            yield prod(self.shape(node))
            if isinstance(self.of[node], All) and not self.is_total(node):
                filled = [o for o in node.sources if isinstance(self.of.get(o), Entry | Slice)]
                yield from (prod(o.shape or ()) for o in filled)

    def is_total(self, node: Node) -> bool:
        """Tell whether a value is the sum of all entries of another."""
        return node.primitive in (np.sum, np.mean) and node.shape == ()

    @property
    def is_faster(self) -> bool:
        """Whether all that changes in a lane takes less time than an evaluation."""
        products = sum(_flops(n) for n in self.nodes if self._is_wide_product(n))
        return 2 * (sum(self._sizes()) + products) < self._plain

    def _is_wide_product(self, node: Node) -> bool:
        sources = [self.of[o] for o in node.sources if o in self.of]
        return any(isinstance(extent, All) for extent in sources)

    # Evaluation

    def blocks(self) -> Iterator[Array]:
        """Yield numbers of entries of the leaf that are moved together, those of a slice first."""
        hits = [extent.hit for extent in self.of.values() if isinstance(extent, Slice)]
        order = np.argsort(hits[0], kind="stable") if hits else np.arange(self.p)
        each = max(1, BLOCK // (max(self._sizes()) * self.signs))
        cuts = [0, self.p]
        if hits and np.bincount(hits[0]).max() * self.signs >= 64:  # lanes of one slice share more
            cuts = [0, *(np.flatnonzero(np.diff(hits[0][order])) + 1), self.p]
        for start, stop in pairwise(cuts):
            for first in range(start, stop, each):
                yield order[first : min(first + each, stop)]

    def run(self, moves: Array, threads: int) -> Array:
        """Return the rise of the loss for each movement, both of shape (*leaf, S)."""
        flat = moves.reshape(self.p, self.signs)
        rises = np.empty(flat.shape)
        blocks = list(self.blocks())
        size = len(blocks[0]) * self.signs * max(self._sizes())
        threads = threads if len(blocks) > 1 and size >= WORTH_A_THREAD else 1

        def work(entries: Array) -> tuple[Array, Array]:
            return entries, self._run_block(entries, flat)

        for entries, rise in in_order(work, blocks, threads):
            rises[entries] = rise
        return rises.reshape(moves.shape)

    def _run_block(self, entries: Array, moves: Array) -> Array:
        """Return the rise of the loss where each of these entries is moved, shape (i, S)."""
        block = Lanes(self, entries, moves)
        last = {source: node for node in self.nodes for source in node.sources}
        for node in self.nodes:
            block.do(node)
            for source in node.sources:
                if last[source] is node:
                    block.changes.pop(source, None)
        found = block.delta(self.output, All())
        return np.broadcast_to(found, len(entries) * self.signs).reshape(-1, self.signs)


class Lanes:
    """The changes of all values in some lanes: axes of the value (of a slice, without its), lanes.

    Of an `Entry`, only the lanes.
    """

    def __init__(self, whole: Whole, entries: Array, moves: Array) -> None:
        self._whole, self._of = whole, whole.of
        self._entries = np.repeat(entries, whole.signs)
        self._lanes = np.arange(len(self._entries))
        leaf = np.asarray(whole.values[whole.leaf]).reshape(-1)[self._entries]
        self.changes = {whole.leaf: Change(leaf, moves[entries].reshape(-1))}

    def do(self, node: Node) -> None:
        """Find the change of a value from those of its operands."""
        if is_change_of_entries(node):
            self._elementwise(node)
        elif node.primitive in REDUCTIONS:
            self._reduction(node)
        elif node.primitive in VIEWS:
            self._movement(node)
        else:
            self._product(node)

    def delta(self, node: Node, extent: Extent) -> Array:
        """Return the change of a value, as far as a wider extent reaches."""
        own, delta = self._of[node], self.changes[node].delta
        if isinstance(extent, type(own)):
            return np.asarray(delta)
        assert node.shape is not None
        place: Any
        if isinstance(own, Entry):
            place = own.place[self._entries]
            full = np.zeros((prod(node.shape), len(self._lanes)))
            there = place >= 0
            full[place[there], self._lanes[there]] = np.broadcast_to(delta, place.shape)[there]
            return full.reshape(*node.shape, -1)
        assert isinstance(own, Slice)
        full = np.zeros((*node.shape, len(self._lanes)))
        self._put(full, own, delta)
        return full

    # Operations

    def _elementwise(self, node: Node) -> None:
        extent = self._of[node]
        operands = [self._operand(o, node, extent) for o in node.operands]
        base = self._base(node, extent, _n(node))
        change = change_of(node.primitive, operands, base)
        shape = (*self._whole.shape(node), len(self._lanes))
        if change.shape != shape:
            change = Change(base, np.broadcast_to(change.delta, shape))
        self.changes[node] = change

    def _operand(self, operand: Any, node: Node, extent: Extent) -> Any:
        """Return an operand that is broadcast to a value, as far as this changes."""
        if not isinstance(operand, Node) or operand not in self._of:
            return self._base(operand, extent, _n(node))
        own = self._of[operand]
        base = self._base(operand, extent, _n(node))
        if isinstance(extent, Slice) and isinstance(own, Entry):
            return Change(base, self.changes[operand].delta)  # along other axes, once for all
        if type(own) is type(extent):
            change = self.changes[operand]
            if np.ndim(base) == np.ndim(change.delta):
                return change
        delta = self.delta(operand, extent)
        missing = _n(node) + 1 - isinstance(extent, Slice) - delta.ndim
        return Change(base, delta.reshape((1,) * missing + delta.shape))

    def _reduction(self, node: Node) -> None:
        operand = node.operands[0]
        own, extent = self._of[operand], self._of[node]
        axes, keepdims = axes_of(node)
        is_sum = node.primitive in (np.sum, np.mean)
        assert node.primitive is not None
        base = self._base(node, extent, _n(node))
        if self._whole.is_total(node) and isinstance(own, Entry):
            delta = self.changes[operand].delta
        elif is_sum and isinstance(own, Slice) and isinstance(extent, All):
            axis = _n(operand) + own.axis
            within = tuple(a - (a > axis) for a in axes if a != axis)
            delta = np.sum(self.changes[operand].delta, axis=within)
            delta = delta.reshape(*(node.shape or ()), -1)
        else:
            if isinstance(own, Slice) and isinstance(extent, Slice):
                axis = _n(operand) + own.axis
                axes = tuple(a - (a > axis) for a in axes)
            else:
                own = All()
            delta = self.delta(operand, own)
            if not is_sum:
                new = self._base(operand, own, _n(operand)) + delta
                new = node.primitive(new, axis=axes, keepdims=keepdims)
                self.changes[node] = Change(base, new=new)
                return
            delta = np.sum(delta, axis=axes, keepdims=keepdims)
        if node.primitive is np.mean:
            delta = delta / (prod(operand.shape) / prod(node.shape or ()))
        self.changes[node] = Change(base, delta)

    def _movement(self, node: Node) -> None:
        operand = node.operands[0]
        extent, picks = self._of[node], self._whole.picks[node]
        base = self._base(node, extent, _n(node))
        if isinstance(extent, Entry):
            there = extent.place[self._entries] >= 0
            self.changes[node] = Change(base, np.where(there, self.changes[operand].delta, 0.0))
            return
        delta = self.delta(operand, extent)
        lanes = delta.shape[-1]
        delta = delta.reshape(-1, lanes)
        in_order = picks.size == len(delta) and (picks.reshape(-1) == np.arange(picks.size)).all()
        moved = delta if in_order else delta[picks.reshape(-1)]
        self.changes[node] = Change(base, moved.reshape(*picks.shape, lanes))

    def _product(self, node: Node) -> None:
        """Multiply two values: (a + da) (b + db) - a b = da b + a db + da db."""
        letters, extent = contraction(node), self._of[node]
        a, _ = operands = node.operands[-2:]
        parts = [o if isinstance(o, Node) and o in self._of else None for o in operands]
        base = self._base(node, extent, _n(node))
        static_a, static_b = (np.asarray(self._whole._static(o)) for o in operands)
        if parts[1] is None:
            assert parts[0] is not None
            delta, _ = self._times(parts[0], letters[0], static_b, letters[1], letters[2])
        elif parts[0] is None:
            delta, _ = self._times(parts[1], letters[1], static_a, letters[0], letters[2])
        else:
            delta = np.zeros((*(node.shape or ()), len(self._lanes)))
            both = (self.delta(a, All()), letters[0] + LANE)
            for part, own, other, of_other in (
                (parts[0], letters[0], static_b, letters[1]),
                (parts[1], letters[1], static_a, letters[0]),
                (parts[1], letters[1], *both),
            ):
                found, reach = self._times(part, own, other, of_other, letters[2])
                self._put(delta, reach, found)
        self.changes[node] = Change(base, delta)

    def _times(
        self, node: Node, own: str, other: Array, of_other: str, out: str
    ) -> tuple[Array, Slice | All]:
        """Multiply a change with another value, which may have lanes; return also what it hits."""
        extent, delta = self._of[node], self.changes[node].delta
        if isinstance(extent, Entry):
            kept = [letter for letter in own if letter in out]
            if len(kept) > 1 or not set(of_other) <= {*own, *out, LANE}:
                extent, delta = All(), self.delta(node, All())
        if isinstance(extent, Entry):
            place = np.unravel_index(self._place(extent), extent.index.shape)
            where = dict(zip(own, place, strict=True))
            at = tuple(
                where[letter] if letter in where else self._lanes if letter == LANE else slice(None)
                for letter in of_other
            )
            # Advanced indices first, then the axes that are left.
            free = [letter for letter in of_other if letter not in where and letter != LANE]
            order = [i for i, letter in enumerate(of_other) if letter in where or letter == LANE]
            order += [i for i, letter in enumerate(of_other) if letter in free]
            picked = other.transpose(order)[tuple(at[i] for i in order)]  # lanes first
            arranged = [letter for letter in out if letter not in kept]
            picked = picked.transpose(*[1 + free.index(k) for k in arranged], 0)
            hit = (
                Slice(out.index(kept[0]) - len(out), self._where(where[kept[0]])) if kept else All()
            )
            return picked * delta, hit
        if isinstance(extent, Slice):
            k = own[extent.axis]
            own = own.replace(k, "")
            if k in of_other:
                hit = extent.hit[self._entries]
                other = np.moveaxis(other, of_other.index(k), -1)
                of_other = of_other.replace(k, "")
                if LANE in of_other:
                    other = other[..., self._lanes, hit]
                elif (hit == hit[0]).all():
                    other = other[..., hit[0]]
                else:
                    other, of_other = other[..., hit], of_other + LANE
            if k in out:
                found = multiply(delta, own + LANE, other, of_other, out.replace(k, "") + LANE)
                return found, Slice(out.index(k) - len(out), extent.hit)
        return multiply(delta, own + LANE, other, of_other, out + LANE), All()

    def _place(self, extent: Entry) -> Array:
        """Return where the entry of each lane stands; anywhere if nowhere: it does not change."""
        return np.maximum(extent.place[self._entries], 0)

    def _where(self, hit: Array) -> Array:
        """Return for each entry of the leaf what is known for those of the lanes."""
        of_all = np.zeros(self._whole.p, int)
        of_all[self._entries] = hit
        return of_all

    def _put(self, full: Array, extent: Slice | All, delta: Array) -> None:
        """Add to the slice of each lane."""
        if isinstance(extent, All):
            full += delta
            return
        hit = extent.hit[self._entries]
        moved = np.moveaxis(full, full.ndim - 1 + extent.axis, 0)
        if (hit == hit[0]).all():
            moved[hit[0]] += delta
        else:
            moved = np.moveaxis(moved, -1, 1)
            moved[hit, self._lanes] += np.moveaxis(delta, -1, 0)

    def _base(self, operand: Any, extent: Extent, ndim: int) -> Any:
        """Return a value without any change, broadcast beside lanes of a value of `ndim` axes."""
        value = np.asarray(self._whole._static(operand))
        if value.ndim == 0:
            return value if not isinstance(operand, Node) else value[None]
        if isinstance(extent, Entry):
            return np.broadcast_to(value, extent.index.shape).reshape(-1)[self._place(extent)]
        value = value.reshape((1,) * (ndim - value.ndim) + value.shape)
        if isinstance(extent, All):
            return value[..., None]
        if value.shape[extent.axis] == 1:
            return value.squeeze(extent.axis)[..., None]
        hit = extent.hit[self._entries]
        value = np.moveaxis(value, extent.axis, -1)
        return np.asarray(value[..., hit[:1]] if (hit == hit[0]).all() else value[..., hit])


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


def multiply(a: Array, of_a: str, b: Array, of_b: str, out: str) -> Array:
    """Contract two arrays, of which the first has lanes."""
    if set(of_a) | set(of_b) == set(out):  # nothing is summed
        aligned = []
        for array, letters in ((a, of_a), (b, of_b)):
            array = array.transpose([letters.index(k) for k in out if k in letters])
            aligned.append(array[tuple(slice(None) if k in letters else None for k in out)])
        return np.asarray(aligned[0] * aligned[1])
    return np.asarray(np.einsum(f"{of_a},{of_b}->{out}", a, b, optimize=True))


def _flops(node: Node) -> float:
    """Return about how many entries of other operations a product takes as long as."""
    try:
        letters = contraction(node)
    except NoRule:
        return 0.0
    sizes: dict[str, int] = {}
    for operand, of in zip(node.operands[-2:], letters, strict=False):
        shape = operand.shape if isinstance(operand, Node) else np.shape(operand)
        sizes.update(zip(of, shape or (), strict=True))
    return prod(sizes.values()) / 8


def _n(node: Node) -> int:
    return len(node.shape or ())
