"""Evaluate a recorded program under the movement of each entry of a leaf, and only what changes.

A *lane* is a row of the batch together with a movement. Lanes lie last in memory, in three axes:
the columns in which the movements set in, the movements of each column, the rows of the batch::

    COLUMN   (J, M, R)        the column itself is no axis of its own: it is the lane's
    ROWS     (..., J, M, R)   all features of a row

A static value has 1 in place of J and M. Lanes whose movement a zero takes away are left out, and
lanes of one row with equal movements are computed once: an image has few grey values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from math import prod
from typing import Any, TypeAlias

import numpy as np

from gradlab.blas import available, one_thread
from gradlab.gradients.perturb.changes import Change, change_of
from gradlab.gradients.perturb.kinds import (
    LINEAR,
    REDUCTIONS,
    Kind,
    Kinds,
    NoRule,
    axes_of,
    find_kinds,
    is_change_of_entries,
)
from gradlab.gradients.perturb.powers import COMPARISONS, FEW, SERIES, Powers, is_linear
from gradlab.gradients.perturb.powers import elementwise as elementwise_in_powers
from gradlab.gradients.perturb.scratch import into, release
from gradlab.gradients.perturb.simplify import simplify
from gradlab.gradients.perturb.threads import (
    BLOCK,
    WORTH_A_THREAD,
    in_order,
)
from gradlab.gradients.perturb.whole import Whole
from gradlab.params import Array
from gradlab.program.ir import Node, Program
from gradlab.program.primitives import VIEWS

SIDE_BY_SIDE = 8
"""Fewer rows are computed one by one: they lie innermost in memory, where short loops are slow."""

GROUPS = 8
"""Largest number of different perturbation sizes for which equal lanes are merged."""

Columns: TypeAlias = "slice | Array"


class Incremental:
    """A loss at a point, ready to be evaluated around it.

    Parameters
    ----------
    program : Program
        The loss: from the leaves, then the arrays of the arguments, to one number.
    inputs : sequence of ndarray
        The values of its inputs.
    threads : int, optional
        How many to use; by default as many as NumPy's BLAS may.

    Examples
    --------
    >>> from gradlab.gradients.tape import record
    >>> x, W = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    >>> program = record(lambda W, x: np.sum((x @ W) ** 2), W, [x])
    >>> incremental = Incremental(program, [W, x])
    >>> rises, moves = incremental.rises(0, [np.full(W.shape, 0.5)])
    >>> rises[0]
    array([[38.25, 38.25],
           [55.25, 55.25],
           [73.25, 73.25]])
    """

    def __init__(self, program: Program, inputs: Sequence[Any], threads: int | None = None) -> None:
        values: dict[Node, Any] = dict(zip(program.inputs, inputs, strict=True))
        for node in program.nodes:
            operands = [values[o] if isinstance(o, Node) else o for o in node.operands]
            values[node] = node.evaluate(*operands)
        (output,) = program.outputs
        self.value: Any = values[output] if isinstance(output, Node) else output
        self.recorded = program
        self.program, origins = simplify(program)
        self._threads = available() if threads is None else threads
        self._values = values
        self._values.update({node: values[origin] for node, origin in origins.items()})

    def rises(self, leaf: int, moves: Sequence[Array]) -> tuple[Array, Array] | None:
        """Return how far the loss rises where each entry of a leaf in turn is moved.

        Parameters
        ----------
        leaf : int
            Which input.
        moves : sequence of ndarray
            Movements of each entry, in the leaf's shape: for a symmetric quotient, h and -h.

        Returns
        -------
        rises : ndarray, shape (S, *leaf)
            f(x + move) - f(x), for each of the S movements.
        moves : ndarray, shape (S, *leaf)
            By how far the entries were really moved. Where the leaf enters linearly, x + move is
            not formed, and these are the given ones; elsewhere they are those after its rounding.

        None if there is no rule for an operation, or the plain loop is the faster way.
        """
        node = self.program.inputs[leaf]
        plan = self._plan(node, len(moves))
        if plan is None:
            return None
        stacked = np.stack(moves, -1)
        if not plan.is_linear:
            x = np.asarray(self._values[node])[..., None]
            stacked = (x + stacked) - x
        with np.errstate(all="ignore"), one_thread():  # what is not finite: by the plain loop
            rises = plan.run(stacked, self._threads)
        release()
        if not np.isfinite(rises + self.value).all():
            return None
        return np.moveaxis(rises, -1, 0).copy(), np.moveaxis(stacked, -1, 0)

    def _plan(self, leaf: Node, signs: int) -> Plan | Whole | None:
        """Return the faster way, None if it is the plain loop."""
        for way in WAYS:
            try:
                plan = way(self.program, leaf, self._values, signs)
            except NoRule:
                continue
            if plan.is_faster:
                return plan
        return None


class Plan:
    """How to evaluate a program under the movements of one leaf: in three stages.

    First what is still made of single entries, all at once; then the rows, block by block; last
    the totals.
    """

    def __init__(self, program: Program, leaf: Node, values: dict[Node, Any], signs: int) -> None:
        self.kinds: Kinds = find_kinds(program, leaf, values)
        self.signs = signs
        self.leaf, self.output = leaf, program.outputs[0]
        of = self.kinds.of
        nodes = [node for node in program.nodes if node in of]
        self.entries = [node for node in nodes if of[node] is Kind.ENTRY]
        self.rows = [node for node in nodes if of[node] in (Kind.COLUMN, Kind.ROWS)]
        totals = [node for node in nodes if of[node] is Kind.TOTAL]
        self.sums = [node for node in totals if node.primitive in REDUCTIONS]
        self.totals = [node for node in totals if node not in self.sums]
        self.is_linear = all(
            node.primitive in LINEAR
            for node in nodes
            if any(of.get(source) is Kind.ENTRY for source in node.sources)
        )
        self._layouts: dict[int, tuple[Any, Array]] = {}

    # The stages

    def run(self, moves: Array, threads: int) -> Array:
        """Return the rise of the loss for each movement, both of shape (*leaf, S)."""
        kinds, values, signs = self.kinds, self.kinds.values, self.signs
        rises = {node: np.zeros((moves[..., 0].size, signs)) for node in self.sums}
        changes = {self.leaf: Change(np.asarray(values[self.leaf])[..., None], moves)}
        for node in self.entries:
            changes[node] = self._of_entries(node, changes)
        for node in self.sums:
            operand = node.operands[0]
            if kinds.of[operand] is Kind.ENTRY:
                rises[node][kinds.index[operand]] += changes[operand].delta / _share(node)
        if kinds.lift is not None:
            entries = kinds.lift.entries
            index = kinds.index[entries]
            index = index.reshape(-1, index.shape[-1])
            delta = changes[entries].delta.reshape(*index.shape, signs)
            for node, rise in self._of_rows(delta, threads).items():
                rises[node][index] += rise / _share(node)
        for node, rise in rises.items():
            changes[node] = Change(values[node], rise)
        for node in self.totals:
            operands = [
                changes[o] if isinstance(o, Node) and o in changes else kinds.static(o)
                for o in node.operands
            ]
            changes[node] = change_of(node.primitive, operands, values[node])
        if (
            not isinstance(self.output, Node) or self.output not in changes
        ):  # the loss does not depend on the leaf
            return np.zeros(moves.shape)
        rise = changes[self.output].delta
        return np.asarray(rise, dtype=np.float64).reshape(moves.shape)

    def _of_entries(self, node: Node, changes: dict[Node, Change]) -> Change:
        kinds = self.kinds
        base = np.asarray(kinds.values[node])[..., None]
        if node in kinds.picks:
            delta = changes[node.operands[0]].delta
            return Change(base, delta.reshape(-1, delta.shape[-1])[kinds.picks[node]])
        operands = [
            changes[o] if isinstance(o, Node) and o in changes else _with_lanes(kinds.static(o), 1)
            for o in node.operands
        ]
        return change_of(node.primitive, operands, base)

    def _of_rows(self, delta: Array, threads: int) -> dict[Node, Array]:
        """Return the rise of each sum over rows for each movement: shape (d, k, S), as given."""
        rises = {
            node: np.zeros(delta.shape)
            for node in self.sums
            if self.kinds.of[node.operands[0]] is not Kind.ENTRY
        }
        if not rises:
            return rises
        blocks = self._blocks(delta)
        first = list(islice(blocks, 4))
        if len(first) < 4 or sum(b.lanes.size for b in first) / 4 * self.widest < WORTH_A_THREAD:
            threads = 1
        for block, columns, found in in_order(self._run_block, chain(first, blocks), threads):
            for node, rise in found.items():
                block.give_back(rises[node], columns, rise)
        return rises

    # Blocks of lanes

    @cached_property
    def powers(self) -> set[Node]:
        """The values of rows whose changes are power series, unless a step is too large."""
        of, lift = self.kinds.of, self.kinds.lift
        if lift is None or lift.rows.shape[1] * self.signs < FEW:
            return set()
        origins: dict[Node, Node] = {}  # the product in which each series begins: it sets u
        linear: set[Node] = set()  # in u w
        for node in self.rows:
            changed = [isinstance(o, Node) and o in of for o in node.operands]
            sources = [o for o in node.sources if o in of]
            beginnings = {origins.get(o) for o in sources}
            through = None not in beginnings and len(beginnings) == 1
            keeps = through and all(o in linear for o in sources)
            if node.primitive in (np.matmul, np.dot):
                if of.get(node.operands[0]) is Kind.COLUMN:
                    through = keeps = True
                    beginnings = {node}
            elif node.primitive in SERIES:
                through, keeps = keeps, False
            elif node.primitive not in (*COMPARISONS, np.maximum, np.sum, np.mean, *VIEWS):
                through = through and is_linear(node.primitive, changed)
            if through and of[node] is Kind.ROWS:
                (beginning,) = beginnings
                assert beginning is not None
                origins[node] = beginning
                if keeps:
                    linear.add(node)
        return set(origins)

    @cached_property
    def widest(self) -> int:
        """How many entries the largest value has in a lane."""
        of = self.kinds.of
        wide = {n: prod(n.shape[1:]) for n in self.rows if of[n] is Kind.ROWS and n.shape}
        filled = [width for node, width in wide.items() if node not in self.powers]
        shared = [4 * width // FEW for node, width in wide.items() if node in self.powers]
        return max([1, *filled, *shared])

    @property
    def is_faster(self) -> bool:
        """Whether there are fewer blocks than evaluations: each takes as many operations."""
        lift = self.kinds.lift
        if lift is None:
            return True
        (n, d), k = lift.rows.shape, self.kinds.index[lift.entries].shape[-1]
        passes = n * d * k * self.signs * self.widest / BLOCK
        blocks = max(n / self._rows_at_once(d * k * self.signs), passes)
        return bool(blocks <= prod(self.leaf.shape or ()) * self.signs)

    def _rows_at_once(self, lanes: int) -> int:
        lift = self.kinds.lift
        assert lift is not None
        at_once = min(len(lift.rows), BLOCK // (self.widest * max(lanes, 1)))
        return at_once if at_once >= SIDE_BY_SIDE else 1

    def _blocks(self, delta: Array) -> Iterator[Block]:
        lift = self.kinds.lift
        assert lift is not None
        d, k, signs = delta.shape
        at_once = self._rows_at_once(delta.size)
        if at_once == 1 and lift.merges:
            yield from self._merged_blocks(delta)
            return
        movements = np.arange(d)
        each = max(1, BLOCK // (self.widest * d * signs))
        for start in range(0, len(lift.rows), at_once):
            rows = slice(start, start + at_once)
            for columns in _parts(k, each):
                spread = delta[:, columns].transpose(1, 0, 2)[..., None]
                lanes = spread * lift.rows[rows].T[None, :, None, :]
                yield Block(rows, columns, lanes, movements, movements)

    def _merged_blocks(self, delta: Array) -> Iterator[Block]:
        """Yield blocks of one row each, without zeros, equal movements of a column once."""
        lift = self.kinds.lift
        assert lift is not None
        _, k, signs = delta.shape
        groups = _groups(delta)
        for r, row in enumerate(lift.rows):
            for size, mask in groups:
                usable = row != 0 if mask is None else (row != 0) & mask.any(1)
                movements = np.flatnonzero(usable)
                if not len(movements):
                    continue
                factors, lane = row[movements], np.arange(len(movements))
                if size is not None:
                    factors, lane = np.unique(factors, return_inverse=True)
                most = max(1, BLOCK // (self.widest * signs))
                for part in _parts(len(factors), most):
                    in_part = (lane >= part.start) & (lane < part.stop)
                    moved = movements[in_part]
                    each = max(1, most // (part.stop - part.start))
                    for columns in _parts(k, each):
                        if size is None:
                            spread = delta[moved, columns].transpose(1, 0, 2)
                            lanes = spread * factors[part][:, None]
                        else:
                            once = factors[part][:, None] * size
                            width = columns.stop - columns.start
                            lanes = np.broadcast_to(once, (width, *once.shape))
                        yield Block(
                            slice(r, r + 1),
                            columns,
                            lanes[..., None],
                            moved,
                            lane[in_part] - part.start,
                            None if mask is None else mask[moved],
                        )

    def _run_block(self, block: Block) -> tuple[Block, Columns, dict[Node, Array]]:
        """Return it with the columns that are left, and the rise of each sum over rows."""
        kinds, of = self.kinds, self.kinds.of
        assert kinds.lift is not None
        run = Run(self, block)
        for node in self.rows:
            if node is kinds.lift.node:
                continue
            if is_change_of_entries(node):
                run.elementwise(node)
            elif node.primitive in (np.matmul, np.dot):
                if node is self.narrow and not run.drop_idle(node.operands[0]):
                    return block, np.arange(0), {}
                run.product(node)
            elif node in kinds.picks:
                run.movement(node)
            else:
                run.reduction(node)
            for operand in self.last_used[node]:
                run.forget(operand)
        sums = [node for node in self.sums if of[node.operands[0]] is not Kind.ENTRY]
        return block, run.columns, {node: run.total(node.operands[0]) for node in sums}

    @cached_property
    def last_used(self) -> dict[Node, list[Node]]:
        """For each operation on rows, the operands that none after it needs."""
        last: dict[Node, Node] = {}
        for node in [*self.rows, *self.sums]:
            last.update(dict.fromkeys(node.sources, node))
        return {n: [s for s in set(n.sources) if last[s] is n] for n in self.rows}

    @cached_property
    def narrow(self) -> Node | None:
        """The product through which all columns go: lanes that have come to nothing end there."""
        of, lift = self.kinds.of, self.kinds.lift
        for position, node in enumerate(self.rows):
            if node.primitive in (np.matmul, np.dot) and lift and node is not lift.node:
                before = {lift.node, *self.rows[:position]} - {node}
                later = [*self.rows[position + 1 :], *self.sums]
                is_only = not any(s in before for user in later for s in user.sources)
                return node if is_only and of.get(node.operands[0]) is Kind.COLUMN else None
        return None

    def layout(self, operand: Any, ndim: int) -> Array:
        """Return a static value beside rows of `ndim` axes: its features, then its rows (or 1)."""
        known = self._layouts.get(id(operand))
        if known is not None and known[0] is operand and known[1].ndim == ndim:
            return known[1]
        value = np.asarray(self.kinds.static(operand))
        value = value.reshape((1,) * (ndim - value.ndim) + value.shape)
        laid = np.ascontiguousarray(np.moveaxis(value, 0, -1))
        self._layouts[id(operand)] = operand, laid
        return laid


WAYS: tuple[type[Plan] | type[Whole], ...] = (Plan, Whole)
"""How to evaluate movements, in the order in which they are tried."""


@dataclass(frozen=True, slots=True)
class Block:
    """Lanes that are computed together.

    Attributes
    ----------
    rows, columns : slice
        Where they are.
    lanes : ndarray, shape (J, m, S, R)
        By how much each column is moved: m different movements of it, for each of S signs.
    movements, lane : ndarray, shape (i,)
        The rows of the leaf's matrix that are moved, and which of the m lanes is each one's.
    mask : ndarray, shape (i, k), or None
        Which entries of them; by default all.
    """

    rows: slice
    columns: slice
    lanes: Array
    movements: Array
    lane: Array
    mask: Array | None = None

    def give_back(self, rise: Array, columns: Columns, found: Array) -> None:
        """Add what was found in the lanes, shape (J, m S, R), to the movements that share them."""
        _, m, signs, _ = self.lanes.shape
        each = found.sum(-1).reshape(-1, m, signs).transpose(1, 0, 2)[self.lane]
        if self.mask is not None:
            each = np.where(self.mask[:, columns, None], each, 0.0)
        if isinstance(columns, slice):
            rise[self.movements, columns] += each
        else:
            rise[self.movements[:, None], columns] += each


class Run:
    """The values of one block, kept while it is computed."""

    def __init__(self, plan: Plan, block: Block) -> None:
        self._plan, self._kinds = plan, plan.kinds
        self._rows = block.rows
        self.columns: Columns = block.columns
        lift = plan.kinds.lift
        assert lift is not None
        j, m, signs, r = block.lanes.shape
        self._lanes = (j, m * signs, r)
        self._narrow: dict[Node, Change] = {}
        self._wide: dict[Node, Change] = {}
        self._powers: dict[Node, Powers] = {}
        self._same: set[Node] = set()
        is_product = lift.node is not lift.entries
        base = self._beside_columns(lift.node if is_product else lift.entries)
        self._narrow[lift.node] = Change(base, block.lanes.reshape(self._lanes))

    # Operations

    def elementwise(self, node: Node) -> None:
        """Redo an operation on entries."""
        if node in self._plan.powers and self._in_powers(node):
            return
        is_narrow = self._kinds.of[node] is Kind.COLUMN
        values = self._narrow if is_narrow else self._wide
        operands = [self._operand(o, _ndim(node), is_narrow) for o in node.operands]
        base = self._beside_columns(node) if is_narrow else self._beside_rows(node, _ndim(node))
        if not any(isinstance(o, Change) for o in operands):
            self._same.add(node)
            return
        change = change_of(node.primitive, operands, base)
        if node.dtype != np.float64 and np.array_equal(
            change.new, np.broadcast_to(base, change.new.shape)
        ):
            self._same.add(node)  # a comparison that comes out as ever
            return
        shape = self._lanes if is_narrow else (*_features(node), *self._lanes)
        if change.shape != shape:
            change = Change(base, np.broadcast_to(change.delta, shape))
        values[node] = change

    def _in_powers(self, node: Node) -> bool:
        """Take an operation on entries in power series, and tell whether it has been."""
        changed = [o for o in node.sources if self._changes(o)]
        if not changed or not all(o in self._powers for o in changed):
            return False
        operands = [
            self._powers[o] if self._changes(o) else self._static(o, _ndim(node), False)
            for o in node.operands
        ]
        base = self._beside_rows(node, _ndim(node))
        found = elementwise_in_powers(node.primitive, operands, base)
        if isinstance(found, Powers):
            shape = _features(node)
            self._powers[node] = found.mapped(
                base, lambda c: np.broadcast_to(c, (*shape, *c.shape[-3:]))
            )
        elif found is not None:
            self._same.add(node)
        return found is not None

    def product(self, node: Node) -> None:
        """Multiply rows by a static matrix; a column by one of its rows, an outer product."""
        a, b = node.operands
        factor = np.asarray(self._kinds.static(b))
        base = self._beside_rows(node, _ndim(node))
        if a in self._narrow:
            rows, u = factor[self.columns].T[..., None, None], self._narrow[a].delta
            if node in self._plan.powers and self._lanes[1] >= FEW:
                self._powers[node] = Powers.rank_one(base, rows, u)
            else:
                self._wide[node] = Change(base, into(np.multiply, rows, u))
        elif a in self._powers:
            self._powers[node] = self._powers[a].mapped(base, lambda c: _contract(c, factor, node))
        elif a in self._wide:
            delta = self._wide[a].delta
            self._wide[node] = Change(base, _contract(delta, factor, node))
        else:
            self._same.add(node)

    def reduction(self, node: Node) -> None:
        """Reduce features, by the same function over the same axes."""
        operand = node.operands[0]
        axes, keepdims = axes_of(node)
        features = tuple(axis - 1 for axis in axes)
        base = self._beside_rows(node, _ndim(node))

        def total(delta: Array) -> Array:
            reduce = np.sum if node.primitive is np.sum else np.mean
            return np.asarray(reduce(delta, axis=features, keepdims=keepdims))

        is_sum = node.primitive in (np.sum, np.mean)
        if is_sum and operand in self._powers:
            self._powers[node] = self._powers[operand].mapped(base, total)
            return
        change = self._widened(operand)
        if change is None:
            self._same.add(node)
            return
        if is_sum:
            self._wide[node] = Change(base, total(change.delta))
        else:
            assert node.primitive is not None
            new = node.primitive(change.new, axis=features, keepdims=keepdims)
            self._wide[node] = Change(base, new=new)

    def movement(self, node: Node) -> None:
        """Rearrange features as the probe has shown."""
        operand = node.operands[0]
        base = self._beside_rows(node, _ndim(node))
        picks = self._kinds.picks[node][self._rows]
        is_same_for_all = (picks == picks[:1]).all()
        if is_same_for_all and operand in self._powers:
            self._powers[node] = self._powers[operand].mapped(
                base, lambda c: c.reshape(-1, *c.shape[-3:])[picks[0]]
            )
            return
        change = self._widened(operand)
        if change is None:
            self._same.add(node)
            return
        delta = change.delta.reshape(-1, *self._lanes)
        if is_same_for_all:
            delta = delta[picks[0]]
        else:
            rows = np.arange(len(picks)).reshape(-1, *[1] * (picks.ndim - 1))
            delta = np.moveaxis(delta[picks, :, :, rows], 0, -1)
        self._wide[node] = Change(base, delta)

    def total(self, operand: Node) -> Any:
        """Return the change of the sum over all features in each lane."""
        if operand in self._narrow:
            return self._narrow[operand].delta
        if operand in self._powers:
            powers = self._powers[operand]
            of_all = powers.mapped(0.0, lambda c: c.reshape(-1, *c.shape[-3:]).sum(0))
            return of_all.change().delta
        if operand in self._wide:
            delta = self._wide[operand].delta
            return delta.reshape(-1, *self._lanes).sum(0)
        return np.zeros(self._lanes)

    def drop_idle(self, node: Node) -> bool:
        """Leave out the columns of a value that do not change, and tell whether any does."""
        change = self._narrow.get(node)
        if change is None:
            return False
        alive = change.delta.any(axis=(1, 2))
        if not alive.all():
            kept = np.arange(self.columns.start, self.columns.stop)[alive]  # type: ignore[union-attr]
            self.columns, self._lanes = kept, (len(kept), *self._lanes[1:])
            self._narrow = {node: Change(change.base[alive], change.delta[alive])}
        return bool(alive.any())

    def forget(self, node: Node) -> None:
        """Let go of a value that is not needed any more."""
        self._narrow.pop(node, None)
        self._wide.pop(node, None)
        self._powers.pop(node, None)

    # Operands

    def _operand(self, operand: Any, ndim: int, is_narrow: bool) -> Any:
        if self._changes(operand):
            change = self._narrow[operand] if is_narrow else self._widened(operand)
            if change is not None:
                return change
        return self._static(operand, ndim, is_narrow)

    def _changes(self, operand: Any) -> bool:
        is_reached = isinstance(operand, Node) and operand in self._kinds.of
        return is_reached and operand not in self._same

    def _static(self, operand: Any, ndim: int, is_narrow: bool) -> Any:
        if np.ndim(self._kinds.static(operand)) == 0:
            return self._kinds.static(operand)
        return self._beside_columns(operand) if is_narrow else self._beside_rows(operand, ndim)

    def _widened(self, node: Node) -> Change | None:
        """Return the change of all features, None where there is none."""
        if node in self._narrow and node not in self._wide:
            narrow = self._narrow[node]
            k = self._kinds.values[node].shape[-1]
            numbers = np.arange(k)[self.columns]
            delta = np.zeros((k, *self._lanes))
            delta[numbers, np.arange(len(numbers))] = narrow.delta
            self._wide[node] = Change(self._beside_rows(node, 2), delta)
        elif node in self._powers and node not in self._wide:
            self._wide[node] = self._powers[node].change()
        return self._wide.get(node)

    def _beside_columns(self, operand: Any) -> Array:
        laid = self._plan.layout(operand, 2)
        laid = laid[:, self._rows] if laid.shape[1] > 1 else laid
        return (laid[self.columns] if len(laid) > 1 else laid)[:, None, :]

    def _beside_rows(self, operand: Any, ndim: int) -> Array:
        laid = self._plan.layout(operand, ndim)
        laid = laid[..., self._rows] if laid.shape[-1] > 1 else laid
        return laid[..., None, None, :]


def _contract(delta: Array, factor: Array, node: Node) -> Array:
    """Multiply the last of the features by a static matrix or vector."""
    *outer, k, j, m, r = delta.shape
    found = np.matmul(factor.T, delta.reshape(*outer, k, -1))
    return np.asarray(found.reshape(*_features(node), j, m, r))


def _ndim(node: Node) -> int:
    return len(node.shape or ())


def _features(node: Node) -> tuple[int, ...]:
    return (node.shape or ())[1:]


def _with_lanes(value: Any, axes: int) -> Any:
    return value if np.ndim(value) == 0 else np.asarray(value)[(..., *[None] * axes)]


def _share(node: Node) -> int:
    """Return what a sum is divided by: 1, of a mean the number of terms."""
    return prod(node.operands[0].shape) if node.primitive is np.mean else 1


def _parts(length: int, each: int) -> Iterator[slice]:
    for start in range(0, length, each):
        yield slice(start, min(start + each, length))


def _groups(delta: Array) -> list[tuple[Array | None, Array | None]]:
    """Sort movements, shape (d, k, S), by size: the size, shape (S,), and which entries have it.

    One group without a size where there are too many, one without a mask where there is one size.
    """
    first = delta[..., 0]
    sizes = np.unique(first)
    if len(sizes) > GROUPS:
        return [(None, None)]
    groups: list[tuple[Array | None, Array | None]] = []
    for size in sizes:
        mask = first == size
        members = delta[mask]
        if (members != members[0]).any():
            return [(None, None)]
        groups.append((members[0], None if mask.all() else mask))
    return groups
