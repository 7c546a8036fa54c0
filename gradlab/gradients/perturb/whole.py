"""Evaluate a recorded program under movements that do not stay in rows: the second engine.

Statistics of a batch, a weight that is used twice, a leaf on the left of a product, a convolution,
or a single sample: here rows cannot be told apart, so that nothing is skipped and no lanes are
merged. Still, most values change in part alone (`extents`), or by a power series. A lane is a
movement; lanes lie last in memory, behind the axes of the value, without that of a slice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.perturb.changes import Change, change_of
from gradlab.gradients.perturb.extents import (
    LANE,
    All,
    Entry,
    Extent,
    Extents,
    Slice,
    contraction,
)
from gradlab.gradients.perturb.kinds import REDUCTIONS, NoRule, axes_of, is_change_of_entries
from gradlab.gradients.perturb.powers import FEW, Powers
from gradlab.gradients.perturb.powers import elementwise as elementwise_in_powers
from gradlab.gradients.perturb.threads import BLOCK, WORTH_A_THREAD, in_order
from gradlab.params import Array
from gradlab.program.ir import Node, Program
from gradlab.program.primitives import VIEWS

OVERHEAD = 2000
"""Cost of calling one NumPy operation, in entries computed in the same time."""

SIDE_BY_SIDE = 16
"""Smallest number of lanes in a block: they lie innermost in memory, where short loops are slow."""


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
        self.extents = Extents(program, leaf, values, signs)
        self.is_linear = self.extents.is_linear
        (self._output,) = program.outputs
        if not isinstance(self._output, Node) or self._output not in self.extents.of:
            raise NoRule("the loss does not depend on the leaf")
        self._widest = max(self.extents.sizes())
        self._plain = sum(
            prod(node.shape or ()) + _flops(node) + OVERHEAD for node in program.nodes
        )

    @property
    def is_faster(self) -> bool:
        """Whether all that changes in a lane takes less time than an evaluation."""
        if self._widest * SIDE_BY_SIDE > 4 * BLOCK:
            return False
        products = sum(_flops(n) for n in self.extents.nodes if self._is_wide_product(n))
        return 2 * (sum(self.extents.sizes()) + products) < self._plain

    def _is_wide_product(self, node: Node) -> bool:
        of, series = self.extents.of, self.extents.series
        return any(isinstance(of.get(o), All) and o not in series for o in node.sources)

    def blocks(self) -> Iterator[Array]:
        """Yield numbers of entries of the leaf that are moved together, those of a slice first."""
        hits = [extent.hit for extent in self.extents.of.values() if isinstance(extent, Slice)]
        order = np.argsort(hits[0], kind="stable") if hits else np.arange(self.extents.p)
        each = max(1, max(BLOCK // self._widest, SIDE_BY_SIDE) // self.extents.signs)
        cuts = [0, self.extents.p]
        if (
            hits and np.bincount(hits[0]).max() * self.extents.signs >= 64
        ):  # lanes of one slice share more
            cuts = [0, *(np.flatnonzero(np.diff(hits[0][order])) + 1), self.extents.p]
        for start, stop in pairwise(cuts):
            for first in range(start, stop, each):
                yield order[first : min(first + each, stop)]

    def run(self, moves: Array, threads: int) -> Array:
        """Return the rise of the loss for each movement, both of shape (*leaf, S)."""
        flat = moves.reshape(self.extents.p, self.extents.signs)
        rises = np.empty(flat.shape)
        blocks = list(self.blocks())
        size = len(blocks[0]) * self.extents.signs * self._widest
        threads = threads if len(blocks) > 1 and size >= WORTH_A_THREAD else 1

        def work(entries: Array) -> tuple[Array, Array]:
            return entries, self._run_block(entries, flat)

        for entries, rise in in_order(work, blocks, threads):
            rises[entries] = rise
        return rises.reshape(moves.shape)

    def _run_block(self, entries: Array, moves: Array) -> Array:
        """Return the rise of the loss where each of these entries is moved, shape (i, S)."""
        block = Lanes(self.extents, entries, moves)
        last = {source: node for node in self.extents.nodes for source in node.sources}
        for node in self.extents.nodes:
            block.do(node)
            for source in node.sources:
                if last[source] is node:
                    block.forget(source)
        found = block.delta(self._output, All())
        return np.broadcast_to(found, len(entries) * self.extents.signs).reshape(
            -1, self.extents.signs
        )


@dataclass(frozen=True)
class Patched:
    """A change that is a power series, but in a slice of each lane, where it is the patch."""

    powers: Powers
    slice: Slice | None
    patch: Any


class Lanes:
    """The changes of all values in some lanes: axes of the value (of a slice, without its), lanes.

    Of an `Entry`, only the lanes.
    """

    def __init__(self, extents: Extents, entries: Array, moves: Array) -> None:
        self._extents, self._of = extents, extents.of
        self._entries = np.repeat(entries, extents.signs)
        self._lanes = np.arange(len(self._entries))
        leaf = np.asarray(extents.values[extents.leaf]).reshape(-1)[self._entries]
        self.changes = {extents.leaf: Change(leaf, moves[entries].reshape(-1))}
        self._series: dict[Node, Patched] = {}

    def forget(self, node: Node) -> None:
        """Let go of a value that is not needed any more."""
        self.changes.pop(node, None)
        self._series.pop(node, None)

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
        own, delta = self._of[node], self._change(node).delta
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

    def _change(self, node: Node) -> Change:
        """Return the change of a value, its lanes filled in."""
        if node not in self.changes:
            series = self._series[node]
            delta = series.powers.change().delta
            shape = (*(node.shape or ()), len(self._lanes))
            if series.slice is not None or delta.shape != shape:
                delta = np.broadcast_to(delta, shape).copy()
            if series.slice is not None:
                self._put(delta, series.slice, series.patch - self._at(series.powers, series.slice))
            self.changes[node] = Change(series.powers.base, delta)
        return self.changes[node]

    def _at(self, powers: Powers, extent: Slice) -> Array:
        """Return a series in the slice of each lane."""
        hit, axis = extent.hit[self._entries], extent.axis - 1
        coefficients = [
            np.moveaxis(c, axis, -1)[..., 0, hit if c.shape[axis] > 1 else hit[:1] * 0]
            for c in powers.coefficients
        ]
        u = np.moveaxis(powers.u, axis, -1)
        u = u[..., 0] if u.shape[-1] == 1 else u[..., self._lanes, hit]
        return np.asarray(Powers(0.0, coefficients, u, u).change().delta)

    # Operations

    def _series_elementwise(self, node: Node) -> bool:
        """Take an operation on entries in power series, and tell whether it has been."""
        (source,) = (o for o in node.sources if o in self._of)
        series = self._series.get(source)
        if series is None:
            return False
        base = self._base(node, All(), _n(node))
        operands = [
            series.powers if o is source else self._base(o, All(), _n(node)) for o in node.operands
        ]
        powers = elementwise_in_powers(node.primitive, operands, base)
        if not isinstance(powers, Powers):
            return False
        patch = series.patch
        if series.slice is not None:
            operands = [self._base(o, series.slice, _n(node)) for o in node.operands]
            operands = [
                Change(base, series.patch) if o is source else base
                for o, base in zip(node.operands, operands, strict=True)
            ]
            patch = change_of(
                node.primitive, operands, self._base(node, series.slice, _n(node))
            ).delta
        self._series[node] = Patched(powers, series.slice, patch)
        return True

    def _elementwise(self, node: Node) -> None:
        if node in self._extents.series and self._series_elementwise(node):
            return
        extent = self._of[node]
        operands = [self._operand(o, node, extent) for o in node.operands]
        base = self._base(node, extent, _n(node))
        change = change_of(node.primitive, operands, base)
        shape = (*self._extents.shape(node), len(self._lanes))
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
            return Change(base, self._change(operand).delta)  # along other axes, once for all
        if type(own) is type(extent):
            change = self._change(operand)
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
        if is_sum and operand in self._series:
            delta = self._series_sum(node, axes)
        elif self._extents.is_total(node) and isinstance(own, Entry):
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

    def _series_sum(self, node: Node, axes: tuple[int, ...]) -> Array:
        """Sum a power series, and what the patch differs from it."""
        operand = node.operands[0]
        series, powers = self._series[operand], self._series[operand].powers
        assert operand.shape is not None
        shared = tuple(a for a in axes if powers.u.shape[a] == 1)
        shape = [s if a in shared else 1 for a, s in enumerate(operand.shape)]

        def total(c: Array) -> Array:
            full = np.broadcast_shapes(c.shape, (*shape, 1))
            return np.asarray(np.broadcast_to(c, full).sum(axis=shared, keepdims=True))

        delta = powers.mapped(0.0, total).change().delta
        delta = delta.sum(axis=tuple(a for a in axes if a not in shared), keepdims=True)
        kept = [1 if a in axes else s for a, s in enumerate(operand.shape)]
        delta = np.broadcast_to(delta, (*kept, len(self._lanes))).copy()
        if series.slice is not None:
            differs = series.patch - self._at(powers, series.slice)
            axis = _n(operand) + series.slice.axis
            within = tuple(a - (a > axis) for a in axes if a != axis)
            differs = np.expand_dims(differs.sum(axis=within, keepdims=True), axis)
            if axis in axes:
                delta += differs
            else:
                self._put(delta, series.slice, differs.squeeze(axis))
        return delta.reshape(*(node.shape or ()), -1)

    def _movement(self, node: Node) -> None:
        operand = node.operands[0]
        extent, picks = self._of[node], self._extents.picks[node]
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
        operands = node.operands[-2:]
        base = self._base(node, extent, _n(node))
        changed = [i for i, o in enumerate(operands) if isinstance(o, Node) and o in self._of]
        others = [np.asarray(self._extents.static(operands[1 - i])) for i in changed]
        given = [
            (operands[i], letters[i], other, letters[1 - i])
            for i, other in zip(changed, others, strict=True)
        ]
        if len(given) == 2:
            wide = self.delta(operands[0], All())
            given.append((operands[1], letters[1], wide, letters[0] + LANE))
        parts = [self._times(*part, letters[2], node in self._extents.series) for part in given]
        self._add_up(node, base, parts)

    def _add_up(
        self, node: Node, base: Any, parts: Sequence[tuple[Array | Powers, Slice | All]]
    ) -> None:
        """Add what the terms of a product come to."""
        series = [found for found, _ in parts if isinstance(found, Powers)]
        rest = [(found, hit) for found, hit in parts if not isinstance(found, Powers)]
        slices = [hit for _, hit in rest if isinstance(hit, Slice)]
        is_patched = len(series) == 1 and len(slices) == len(rest)
        if is_patched and all(s.axis == slices[0].axis for s in slices):
            powers = replace(series[0], base=base)
            patch = sum(found for found, _ in rest) if rest else None
            if patch is not None:
                patch = patch + self._at(powers, slices[0])
            self._series[node] = Patched(powers, slices[0] if slices else None, patch)
        elif len(parts) == 1:
            ((found, _),) = parts
            self.changes[node] = Change(base, found)
        else:
            delta = np.zeros((*(node.shape or ()), len(self._lanes)))
            for found, hit in parts:
                full = found.change().delta if isinstance(found, Powers) else found
                self._put(delta, hit, full)
            self.changes[node] = Change(base, delta)

    def _times(
        self, node: Node, own: str, other: Array, of_other: str, out: str, in_powers: bool
    ) -> tuple[Array | Powers, Slice | All]:
        """Multiply a change with another value, which may have lanes; return also what it hits."""
        if in_powers and node in self._series and self._series[node].slice is None:
            return self._series_times(node, own, other, of_other, out), All()
        extent, delta = self._of[node], self._change(node).delta
        if isinstance(extent, Entry):
            kept = [letter for letter in own if letter in out]
            if len(kept) > 1:
                extent, delta = All(), self.delta(node, All())
            alone = [i for i, k in enumerate(of_other) if k not in {*own, *out, LANE}]
            other = other.sum(axis=tuple(alone))
            of_other = "".join(k for i, k in enumerate(of_other) if i not in alone)
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
            if in_powers and LANE not in of_other and delta.shape[-1] >= FEW:
                u = align(delta, own + LANE, out + LANE)
                w = align(other, of_other, out + LANE)
                return Powers.rank_one(None, w, u, axis=-1), All()
        return multiply(delta, own + LANE, other, of_other, out + LANE), All()

    def _series_times(self, node: Node, own: str, other: Array, of_other: str, out: str) -> Powers:
        """Multiply the coefficients of a power series in their place."""
        powers, shape = self._series[node].powers, node.shape or ()
        varying = {own[axis] for axis in self._extents.series[node]}

        def times(c: Array) -> Array:
            full = [s if k not in varying else 1 for k, s in zip(own, shape, strict=True)]
            c = np.broadcast_to(c, np.broadcast_shapes(c.shape, (*full, 1)))
            return multiply(c, own + LANE, other, of_other, out + LANE)

        inside = powers.u.reshape(
            [s for k, s in zip(own, powers.u.shape, strict=False) if k in varying] + [-1]
        )
        letters = "".join(k for k in own if k in varying) + LANE
        u = align(inside, letters, out + LANE)
        coefficients = [times(c) for c in powers.coefficients]
        return Powers(None, coefficients, u, np.abs(u).max(-1, keepdims=True))

    def _place(self, extent: Entry) -> Array:
        """Return where the entry of each lane stands; anywhere if nowhere: it does not change."""
        return np.asarray(np.maximum(extent.place[self._entries], 0))

    def _where(self, hit: Array) -> Array:
        """Return for each entry of the leaf what is known for those of the lanes."""
        of_all = np.zeros(self._extents.p, int)
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
        value = np.asarray(self._extents.static(operand))
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


def multiply(a: Array, of_a: str, b: Array, of_b: str, out: str) -> Array:
    """Contract two arrays, of which the first has lanes."""
    if set(of_a) | set(of_b) == set(out):  # nothing is summed
        return np.asarray(align(a, of_a, out) * align(b, of_b, out))
    return np.asarray(np.einsum(f"{of_a},{of_b}->{out}", a, b, optimize=True))


def align(array: Array, letters: str, out: str) -> Array:
    """Let an array broadcast against one with other letters.

    Examples
    --------
    >>> align(np.ones((2, 3)), "ca", "abc").shape
    (3, 1, 2)
    """
    array = array.transpose([letters.index(k) for k in out if k in letters])
    return array[tuple(slice(None) if k in letters else None for k in out)]


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
