"""Evaluate a program under the perturbations of one leaf, in three stages.

1. Values that consist of entries of the leaf: all entries at once.
2. Values in lanes: block by block.
3. Values computed from sums over all rows: all perturbations at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.perturb.blocks import (
    Block,
    RowBlock,
    entry_blocks,
    row_blocks,
    rows_at_once,
)
from gradlab.gradients.perturb.changes import Change, change_of
from gradlab.gradients.perturb.contraction import flops
from gradlab.gradients.perturb.evaluate import Changes
from gradlab.gradients.perturb.extents import All, Entries, Extents, Slice, Total
from gradlab.gradients.perturb.layout import Arrangement
from gradlab.gradients.perturb.operations import is_sum, terms_of_mean
from gradlab.gradients.perturb.products import product
from gradlab.gradients.perturb.rows import Lift, RowExtents
from gradlab.gradients.perturb.threads import in_order
from gradlab.gradients.perturb.whole_series import NoSeries, PowerSums, WholeSeries
from gradlab.params import Array
from gradlab.program.ir import Node
from gradlab.program.primitives import Kind

RULES = {
    Kind.ELEMENTWISE: Changes.elementwise,
    Kind.REDUCTION: Changes.reduction,
    Kind.VIEW: Changes.gather,
    Kind.PRODUCT: product,
}
"""Kind of operation -> method that computes the change of a value from those of its operands."""


class Plan:
    """A plan that evaluates a program under the perturbations of one leaf."""

    def __init__(self, extents: Extents) -> None:
        self.extents, self.limits = extents, extents.limits
        self.is_linear = extents.is_linear
        (self._output,) = extents.program.outputs
        of = extents.of
        self._entries = {n: e for n, e in of.items() if isinstance(e, Entries)}
        totals = [n for n in extents.nodes if isinstance(of[n], Total)]
        self._sums = [n for n in totals if is_sum(n)]
        self._totals = [n for n in totals if n not in self._sums]
        first = set(self._entries) | set(totals)
        self._nodes = [n for n in extents.nodes if n not in first and n is not self._start]
        if isinstance(extents, RowExtents):
            extents.start_rows()
        self._layout = Arrangement(extents)

    @property
    def _lift(self) -> Lift | None:
        return self.extents.lift if isinstance(self.extents, RowExtents) else None

    @property
    def _start(self) -> Node | None:
        return None if self._lift is None else self._lift.node

    # The estimate of the cost

    @cached_property
    def widest(self) -> int:
        """Number of entries of the largest value in a lane."""
        return max([1, *self.extents.sizes(self._nodes)])

    @property
    def is_faster(self) -> bool:
        """Whether the plan is estimated to be faster than the plain loop."""
        if self.limits.even_if_slower:
            return True
        if isinstance(self.extents, RowExtents):
            return self._lift is None or self._has_few_blocks(self._lift)
        if self.widest * self.limits.lanes_side_by_side > 4 * self.limits.block:
            return False
        products = sum(flops(n) for n in self.extents.nodes if self._is_wide_product(n))
        sizes = sum(self.extents.sizes(self.extents.nodes))
        plain = sum(
            prod(node.shape or ()) + flops(node) + self.limits.call_cost
            for node in self.extents.program.nodes
        )
        return 2 * (sizes + products) < plain

    def _has_few_blocks(self, lift: Lift) -> bool:
        """Tell whether there are fewer blocks than evaluations: each makes the same calls."""
        n, signs = len(lift.rows), self.extents.signs
        lanes = lift.index.size * signs
        passes = n * lanes * self.widest / self.limits.block
        blocks = max(n / rows_at_once(lift, lanes, self.widest, self.limits), passes)
        return bool(blocks <= self.extents.p * signs)

    def _is_wide_product(self, node: Node) -> bool:
        of, series = self.extents.of, self.extents.series
        return any(isinstance(of.get(o), All) and o not in series for o in node.sources)

    # The stages

    def run(self, perturbations: Array, threads: int) -> Array:
        """Return the change of the loss for each perturbation, both of shape (*leaf, S)."""
        extents = self.extents
        flat = perturbations.reshape(extents.p, extents.signs)
        changes = self._of_entries(flat)
        sums = self._sums if isinstance(extents, RowExtents) else [self._output]
        found = {node: np.zeros(flat.shape) for node in sums if node not in changes}
        inside = []
        for node in found:
            operand = node.operands[0]
            if isinstance(extents, RowExtents) and operand in self._entries:
                found[node] += changes[operand].delta / terms_of_mean(node)
            else:
                inside.append(node)
        if inside:
            self._of_lanes(changes, {node: found[node] for node in inside}, threads)
        for node, delta in found.items():
            changes[node] = Change(extents.values[node], delta)
        for node in self._totals:
            operands = [
                changes[o] if isinstance(o, Node) and o in changes else extents.constant(o)
                for o in node.operands
            ]
            changes[node] = change_of(node.primitive, operands, extents.values[node])
        output = self._output
        if not isinstance(output, Node) or output not in changes:  # no effect
            return np.zeros(perturbations.shape)
        delta = np.asarray(changes[output].delta, dtype=np.float64)
        return np.broadcast_to(delta, flat.shape).reshape(perturbations.shape)

    def _of_entries(self, flat: Array) -> dict[Node, Change]:
        """Return the changes of all values that consist of entries: shape (p, S)."""
        extents = self.extents

        def placed(operand: Any, entry: Entries) -> Any:
            value = np.asarray(extents.constant(operand))
            if value.ndim == 0:
                return extents.constant(operand)
            full = np.broadcast_to(value, entry.index.shape)
            return full.reshape(-1)[entry.any_position][:, None]

        start = self._entries[extents.leaf]
        leaf = np.asarray(extents.values[extents.leaf]).reshape(-1)[:, None]
        changes = {extents.leaf: Change(leaf, flat)}
        for node, entry in self._entries.items():
            if entry is start and node is extents.leaf:
                continue
            if extents.kinds[node] is Kind.VIEW:
                there = (entry.place >= 0)[:, None]
                delta = np.where(there, changes[node.operands[0]].delta, 0.0)
                changes[node] = Change(placed(node, entry), delta)
                continue
            operands = [
                changes[o] if isinstance(o, Node) and o in changes else placed(o, entry)
                for o in node.operands
            ]
            changes[node] = change_of(node.primitive, operands, placed(node, entry))
        return changes

    def _of_lanes(
        self, changes: dict[Node, Change], found: dict[Node, Array], threads: int
    ) -> None:
        """Sum the changes found in rows and lanes, for each perturbation."""
        lift, left = self._lift, [slice(None)]
        if lift is not None and lift.is_product:
            delta = changes[lift.entries].delta[lift.index]  # (p, S) -> (d, k, S)
            if len(lift.index) * self.extents.signs >= self.limits.min_series_lanes:
                left = self._by_series(lift, delta, found, threads)
        blocks = chain.from_iterable(self._blocks(changes, rows) for rows in left)
        first = list(islice(blocks, 4))
        size = sum(prod(block.lanes) for block in first) / max(len(first), 1) * self.widest
        if len(first) < 2 or size < self.limits.worth_a_thread:
            threads = 1

        def work(block: Block) -> tuple[Block, Array, dict[Node, Array]]:
            start = self._start_of(block, changes)
            return block, *self._run_block(block, start, list(found))

        shape = (*lift.index.shape, self.extents.signs) if lift else None
        totals = {node: np.zeros(shape) if shape else found[node] for node in found}
        for block, kept, parts in in_order(work, chain(first, blocks), threads):
            for node, part in parts.items():
                block.add_to_total(totals[node], kept, part)
        if lift is not None:
            for node, total in totals.items():
                found[node][lift.index] += total

    def _by_series(
        self, lift: Lift, delta: Array, found: dict[Node, Array], threads: int
    ) -> list[slice]:
        """Add what rows contribute whose loss is a power series; return the other rows."""
        n, columns = len(lift.rows), lift.index.shape[1]
        sizes = (prod(self.extents.shape(node)) for node in self._nodes)
        operations = n * columns * max([1, *sizes])
        blocks = -(-operations // self.limits.series)
        each = -(-n // max(blocks, 1 + (2 * operations > self.limits.series)))
        farthest = np.abs(delta).max((0, 2))
        sums = {node: PowerSums(lift.index.shape) for node in found}

        def work(rows: slice) -> tuple[slice, list[list[Array]] | None]:
            reach = farthest[:, None, None] * np.abs(lift.rows[rows]).max(1)
            series = WholeSeries(self.extents, self._layout, rows, reach)
            series.start(lift)
            try:
                for node, _, used in self._steps:
                    series.take(node)
                    series.forget(used)
                return rows, [series.total(node) for node in found]
            except NoSeries:
                return rows, None

        left: list[slice] = []
        waiting = [slice(start, min(start + each, n)) for start in range(0, n, each)]
        while waiting:
            failed = []
            for rows, totals in in_order(work, waiting, min(threads, len(waiting))):
                if totals is None:
                    failed.append(rows)
                    continue
                for node, coefficients in zip(found, totals, strict=True):
                    sums[node].add(lift.rows[rows], coefficients)
            left += [rows for rows in failed if rows.stop - rows.start == 1]
            waiting = [half for rows in failed for half in _halves(rows)]
        for node, total in sums.items():
            found[node][lift.index] += total.at(delta)
        return sorted(left, key=lambda rows: rows.start)

    def _blocks(self, changes: dict[Node, Change], rows: slice) -> Iterator[Block]:
        """Yield blocks of lanes for some rows of the batch."""
        lift = self._lift
        if lift is None:
            yield from entry_blocks(self.extents, self.widest)
            return
        delta = changes[lift.entries].delta[lift.index]  # (p, S) -> (d, k, S)
        some = replace(lift, rows=lift.rows[rows])
        first = rows.start or 0
        for block in row_blocks(some, delta, self.widest, self.limits):
            start, stop = first + block.rows.start, first + block.rows.stop
            yield replace(block, rows=slice(start, stop))

    def _start_of(self, block: Block, changes: dict[Node, Change]) -> dict[Node, Any]:
        """Return the changes at the start of a block."""
        if isinstance(block, RowBlock):
            return {block.lift.node: block.change.reshape(block.lanes)}
        return {  # (p, S) -> (1, i S, 1)
            node: change.delta[block.entries].reshape(block.lanes)
            for node, change in changes.items()
        }

    def _run_block(
        self, block: Block, start: dict[Node, Any], outputs: list[Node]
    ) -> tuple[Array, dict[Node, Array]]:
        """Return the remaining columns, and the changes of values in them, (J, M, R)."""
        of = Changes(self.extents, self._layout, block, start)
        for node, rule, used in self._steps:
            if node is self.narrow and not of.drop_idle(node.operands[0]):
                return of.kept, {}  # no column is left
            rule(of, node)
            of.forget(used)
        return of.kept, {node: self._in_lanes(of, node) for node in outputs}

    def _in_lanes(self, of: Changes, node: Node) -> Array:
        """Return the change of an output or of a sum over all features."""
        if not isinstance(self.extents, RowExtents):
            return np.broadcast_to(of.wide(node).delta if of.is_changed(node) else 0.0, of.lanes)
        operand = node.operands[0]
        axes = tuple(range(len(self.extents.features(operand))))
        return np.asarray(of.total(operand, axes, False, (), All()) / terms_of_mean(node))

    @cached_property
    def _steps(self) -> list[tuple[Node, Callable[[Changes, Node], None], list[Node]]]:
        """Each operation in lanes, its rule, and the operands that no later operation needs."""
        last: dict[Node, Node] = {}
        for node in [*self._nodes, *self._sums]:
            last.update(dict.fromkeys(node.sources, node))
        return [
            (n, RULES[self.extents.kinds[n]], [s for s in set(n.sources) if last[s] is n])
            for n in self._nodes
        ]

    @cached_property
    def narrow(self) -> Node | None:
        """The product that all columns pass through: columns without a change are dropped there."""
        lift, of = self._lift, self.extents.of
        if lift is None:
            return None
        for position, node in enumerate(self._nodes):
            if self.extents.kinds[node] is Kind.PRODUCT:
                before = {lift.node, *self._nodes[:position]}
                later = [*self._nodes[position + 1 :], *self._sums]
                is_only = not any(s in before for user in later for s in user.sources)
                return node if is_only and isinstance(of.get(node.operands[0]), Slice) else None
        return None


def _halves(rows: slice) -> list[slice]:
    """Cut rows in two; a single row is not cut."""
    middle = (rows.start + rows.stop) // 2
    return [slice(rows.start, middle), slice(middle, rows.stop)] if middle > rows.start else []
