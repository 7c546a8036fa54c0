"""The changes of all values of a program in one block of lanes: one rule per kind of operation.

The axes of a change are those of `blocks`: (*features, J, M, R), without the axis of a slice. A
base, the unperturbed value, has length 1 in place of M. It also has length 1 in place of J, unless
it holds the slice of each column. In `powers`, coefficients are shaped like a base, and u has all
lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradlab.gradients.perturb.blocks import Block
from gradlab.gradients.perturb.changes import Change, change_of
from gradlab.gradients.perturb.extents import All, Entries, Extent, Extents, Slice
from gradlab.gradients.perturb.layout import (
    Arrangement,
    LaneSlice,
    at_slice,
    filled,
    flat,
    is_range,
    put,
)
from gradlab.gradients.perturb.operations import is_sum, terms_of_mean
from gradlab.gradients.perturb.powers import Powers
from gradlab.gradients.perturb.powers import elementwise as elementwise_in_powers
from gradlab.params import Array
from gradlab.program.ir import Node


@dataclass(frozen=True)
class Patched:
    """A change that is a power series outside a slice of each lane, and the patch inside."""

    powers: Powers
    at: LaneSlice | None = None
    patch: Any = None


class Changes:
    """The changes of the values of one block; `start` has those from which all others follow."""

    def __init__(
        self, extents: Extents, layout: Arrangement, block: Block, start: dict[Node, Array]
    ) -> None:
        self.extents, self.layout, self.block = extents, layout, block
        self.base = partial(layout.base, block.rows)
        self.of = extents.of
        self.features, self.ndim = layout.features, layout.ndim
        self.series: dict[Node, Patched] = {}
        self._wide: dict[Node, Change] = {}
        self._same: set[Node] = set()
        self._ats: dict[int, LaneSlice] = {}
        self.lanes = block.lanes
        self.kept = np.arange(self.lanes[0])
        self.changes: dict[Node, Change] = {}
        for node, delta in start.items():
            base = self.base(node, self.at(self.of[node]), self.ndim[node])
            self.changes[node] = Change(base, delta)

    def forget(self, nodes: Sequence[Node]) -> None:
        """Release values that no later operation needs."""
        for of in (self.changes, self.series, self._wide):
            if of:
                for node in nodes:
                    of.pop(node, None)

    def is_changed(self, operand: Any) -> bool:
        """Tell whether an operand changes in any lane."""
        return isinstance(operand, Node) and operand in self.of and operand not in self._same

    def keep_same(self, node: Node) -> None:
        """Note that a value does not change in any lane."""
        self._same.add(node)

    # Elementwise operations

    def elementwise(self, node: Node) -> None:
        """Apply an elementwise operation to the lanes."""
        if node in self.extents.series and self._in_series(node):
            return
        at, ndim = self.at(self.of[node]), self.ndim[node]
        operands = [
            self._operand(o, node) if self.is_changed(o) else self.base(o, at, ndim)
            for o in node.operands
        ]
        if not any(type(o) is Change for o in operands):
            self.keep_same(node)
            return
        base = self.base(node, at, ndim)
        change = change_of(node.primitive, operands, base)
        if node.dtype != np.float64 and np.array_equal(
            change.new, np.broadcast_to(base, np.shape(change.new))
        ):
            self.keep_same(node)  # a comparison with the same result in all lanes
            return
        shape = (*self.layout.shape[node], *self.lanes)
        if change.shape != shape:
            change = Change(base, np.broadcast_to(change.delta, shape))
        self.changes[node] = change

    def _operand(self, operand: Node, node: Node) -> Change:
        """Return the change of an operand, broadcast to the part of a value that changes."""
        own, extent, ndim = self.of[operand], self.of[node], self.ndim[node]
        is_spread = isinstance(extent, Slice) and isinstance(own, Entries)  # along other axes
        if self.ndim[operand] == ndim and not is_spread:
            return self.change(operand) if type(own) is type(extent) else self.wide(operand)
        delta = self.change(operand).delta if is_spread else self.delta(operand, extent)
        missing = ndim - self.extents.lead - isinstance(extent, Slice) + 3 - np.ndim(delta)
        base = self.base(operand, self.at(extent), ndim)
        return Change(base, delta.reshape((1,) * missing + delta.shape))

    def _in_series(self, node: Node) -> bool:
        """Apply an elementwise operation to power series; tell whether that succeeded."""
        changed = [o for o in node.sources if self.is_changed(o)]
        if not changed or not all(o in self.series for o in changed):
            return False
        patches = [self.series[o] for o in changed if self.series[o].at is not None]
        if patches and len(changed) > 1:
            return False
        ndim, is_changed = self.ndim[node], self.is_changed
        base = self.base(node, None, ndim)
        operands = [
            self.series[o].powers if is_changed(o) else self.base(o, None, ndim)
            for o in node.operands
        ]
        found = elementwise_in_powers(node.primitive, operands, base)
        if not isinstance(found, Powers):
            if found is not None and not patches:
                self.keep_same(node)
            return found is not None and not patches
        if not patches:
            if not self.extents.series[node].varying:
                features = self.features[node]
                found = found.mapped(base, lambda c: filled(c, features))
            self.series[node] = Patched(found)
            return True
        at, patch = patches[0].at, patches[0].patch
        operands = [
            Change(self.base(o, at, ndim), patch) if is_changed(o) else self.base(o, at, ndim)
            for o in node.operands
        ]
        delta = change_of(node.primitive, operands, self.base(node, at, ndim)).delta
        self.series[node] = Patched(found, at, delta)
        return True

    # Reductions

    def reduction(self, node: Node) -> None:
        """Reduce features by the same function along the same axes."""
        operand = node.operands[0]
        own, extent = self.of[operand], self.of[node]
        axes, keepdims = self.layout.axes[node]
        base = self.base(node, self.at(extent), self.ndim[node])
        powers = self._continued(operand, node)
        if not self.is_changed(operand):
            self.keep_same(node)
        elif powers and (found := self.layout.reduced(node, powers, base)):
            self.series[node] = Patched(found)
        elif is_sum(node):
            terms = terms_of_mean(node)
            delta = self.total(operand, axes, keepdims, self.features[node], extent)
            self.changes[node] = Change(base, delta if terms == 1 else delta / terms)
        else:
            if isinstance(own, Slice) and isinstance(extent, Slice):
                axis = len(self.features[operand]) + own.axis
                axes = tuple(a - (a > axis) for a in axes)
                values = self.base(operand, self.at(own), self.ndim[operand])
                values = values + self.change(operand).delta
            else:
                values = self.wide(operand).new
            assert node.primitive is not None
            new = node.primitive(values, axis=axes, keepdims=keepdims)
            self.changes[node] = Change(base, new=new)

    def _continued(self, operand: Node, node: Node) -> Powers | None:
        """Return the series of an operand if a node continues it and it has no patch."""
        series = self.series.get(operand) if node in self.extents.series else None
        return series.powers if series and series.at is None else None

    def total(
        self,
        operand: Node,
        axes: tuple[int, ...],
        keepdims: bool,
        features: tuple[int, ...],
        extent: Extent,
    ) -> Any:
        """Return the change of a sum along axes; the features of the result are `features`."""
        if not self.is_changed(operand):
            return np.zeros((*features, *self.lanes))
        own = self.of[operand]
        if operand in self.series and operand not in self.changes:
            return self._total_of_series(operand, axes, features)
        if isinstance(own, Entries) and features == ():
            return self.changes[operand].delta
        if isinstance(own, Slice):
            axis = len(self.features[operand]) + own.axis
            within = tuple(a - (a > axis) for a in axes if a != axis)
            if isinstance(extent, Slice):
                return np.sum(self.change(operand).delta, axis=within, keepdims=keepdims)
            if axis in axes:
                delta = np.sum(self.change(operand).delta, axis=within)
                return delta.reshape(*features, *self.lanes)
        return np.sum(self.wide(operand).delta, axis=axes, keepdims=keepdims)

    def _total_of_series(
        self, operand: Node, axes: tuple[int, ...], features: tuple[int, ...]
    ) -> Array:
        """Sum a power series and the difference of the patch from it."""
        series, shape = self.series[operand], self.features[operand]
        powers = series.powers
        # Along axes where u is constant, sum the coefficients instead of the lanes.
        u = powers.u.reshape((1,) * (len(shape) + 3 - powers.u.ndim) + powers.u.shape)
        shared = tuple(a for a in axes if u.shape[a] == 1)
        full = [s if a in shared else 1 for a, s in enumerate(shape)]

        def summed(c: Array) -> Array:
            c = np.broadcast_to(c, np.broadcast_shapes(c.shape, (*full, 1, 1, 1)))
            return np.asarray(c.sum(axis=shared, keepdims=True))

        delta = powers.mapped(0.0, summed).change().delta
        delta = delta.sum(axis=tuple(a for a in axes if a not in shared), keepdims=True)
        kept = [1 if a in axes else s for a, s in enumerate(shape)]
        if delta.shape != (*kept, *self.lanes):
            delta = np.broadcast_to(delta, (*kept, *self.lanes)).copy()
        if series.at is not None:
            differs = series.patch - at_slice(powers, series.at)
            axis = len(shape) + series.at.axis
            within = tuple(a - (a > axis) for a in axes if a != axis)
            differs = differs.sum(axis=within, keepdims=True)
            if axis in axes:
                delta += np.expand_dims(differs, axis)
            else:
                put(delta, series.at, differs)
        return np.asarray(delta.reshape(*features, *self.lanes))

    # Gathers

    def gather(self, node: Node) -> None:
        """Rearrange features by the indices that the probe found."""
        operand, extent = node.operands[0], self.of[node]
        base = self.base(node, self.at(extent), self.ndim[node])
        gathered = self.extents.gathers[node]
        if not self.is_changed(operand):
            self.keep_same(node)
            return
        if len(gathered) > 1:
            gathered = gathered[self.block.rows]
        is_same_for_all = bool((gathered == gathered[:1]).all())
        powers = self._continued(operand, node)
        if powers and is_same_for_all:
            features = self.features[operand]
            taken = powers.mapped(base, lambda c: flat(filled(c, features))[gathered[0]])
            self.series[node] = Patched(taken)
            return
        delta = flat(self.delta(operand, extent))
        if is_same_for_all:
            first = gathered[0]
            is_in_order = first.size == len(delta) and is_range(first.reshape(-1))
            found = delta.reshape(*first.shape, *self.lanes) if is_in_order else delta[first]
        else:  # (R, *features, J, M) -> (*features, J, M, R)
            rows = np.arange(len(gathered)).reshape(-1, *[1] * (gathered.ndim - 1))
            found = np.moveaxis(delta[gathered, :, :, rows], 0, -1)
        self.changes[node] = Change(base, found)

    # Changes of values

    def change(self, node: Node) -> Change:
        """Return the change of a value within its extent, with a series evaluated in each lane."""
        if node not in self.changes:
            series = self.series[node]
            delta = series.powers.change().delta
            shape = (*self.features[node], *self.lanes)
            if series.at is not None or delta.shape != shape:
                delta = np.broadcast_to(delta, shape).copy()
            if series.at is not None:
                differs = series.patch - at_slice(series.powers, series.at)
                put(delta, series.at, differs)
            self.changes[node] = Change(series.powers.base, delta)
        return self.changes[node]

    def wide(self, node: Node) -> Change:
        """Return the change of all features."""
        own = self.of[node]
        if isinstance(own, All):
            return self.change(node)
        if node not in self._wide:
            delta = self.change(node).delta
            full = np.zeros((*self.features[node], *self.lanes))
            if isinstance(own, Slice):
                put(full, self.at(own), delta)
            else:  # an entry: (1, M, 1) -> its position in the features of each lane
                assert isinstance(own, Entries)
                place = np.broadcast_to(self.block.each(own.place), self.lanes[:2])[0]
                m = np.flatnonzero(place >= 0)
                flat(full)[place[m], 0, m, 0] = np.broadcast_to(delta, self.lanes)[0, m, 0]
            self._wide[node] = Change(self.base(node, None, self.ndim[node]), full)
        return self._wide[node]

    def delta(self, node: Node, extent: Extent) -> Array:
        """Return the change of a value within an extent at least as wide as its own."""
        is_own = isinstance(extent, type(self.of[node]))
        return np.asarray((self.change(node) if is_own else self.wide(node)).delta)

    def drop_idle(self, node: Node) -> bool:
        """Drop the columns of a slice that do not change; tell whether any remain."""
        if not self.is_changed(node):
            return False
        change = self.changes[node]
        alive = change.delta.any(axis=(1, 2))
        if not alive.all():
            self.kept = self.kept[alive]
            self.lanes = (len(self.kept), *self.lanes[1:])
            base = change.base if len(change.base) == 1 else change.base[alive]
            self.changes = {node: Change(base, change.delta[alive])}
            self._wide.clear()
            self._ats.clear()
        return bool(alive.any())

    # Unperturbed values

    def at(self, extent: Extent | None) -> LaneSlice | None:
        """Return the slice of each lane, or None for all features."""
        if not isinstance(extent, Slice):
            return None
        known = self._ats.get(id(extent))
        if known is None:
            hit = self.block.hit(extent)
            hit = hit if len(hit) == len(self.kept) else hit[self.kept]
            known = self._ats[id(extent)] = LaneSlice(extent.axis, hit)
        return known
