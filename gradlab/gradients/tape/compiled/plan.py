"""Cut a program into steps: products of matrices, and fused loops between them.

A `FusedLoop` visits the points of a rectangle, row by row; its last axis, the *lanes*, is what
vector instructions work on. Each of its members computes an entry a point, or an entry a row (a
*column*), or reduces what the others compute. Within a loop, a value goes from one member to the
next in a register, if both are at the same point; only what later steps read goes to memory. What
is cheap is computed again rather than stored.

Products come in the order of the program. Before each, what it needs is computed, together with
what nothing later but these values need, such as the sums of a bias.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.forms import UnsupportedError, add_at, put, take
from gradlab.program.ir import Node, Program, name_of

MAX_RECOMPUTED_OPERATIONS = 8
"""Number of operations up to which a value is computed again rather than stored."""

MAX_LOOP_OPERATIONS = 32
"""Number of operations up to which a loop grows: LLVM's time grows faster than that."""

CHEAP = frozenset(
    {np.add, np.subtract, np.multiply, np.negative, np.positive, np.maximum, np.minimum}
    | {np.equal, np.not_equal, np.greater, np.greater_equal, np.less, np.less_equal, np.astype}
)


@dataclass(eq=False)
class Product:
    """A product of two matrices."""

    node: Node


@dataclass(eq=False)
class Indexed:
    """An array added at indices, entry by entry."""

    node: Node


@dataclass(eq=False)
class FusedLoop:
    """A fused loop."""

    extents: tuple[int, ...]  # of the axes that it visits; the last are the lanes
    members: list[Node] = field(default_factory=list)  # in order


Step = Product | Indexed | FusedLoop


def plan(program: Program, facts: Facts) -> tuple[list[Step], set[Node]]:
    """Return the steps of a program, and the values that are read from memory."""
    planner = _Planner(program, facts)
    return planner.run(), planner.stored


class _Planner:
    def __init__(self, program: Program, facts: Facts) -> None:
        self._facts = facts
        self._nodes = [node for node in program.nodes if facts.is_computed(node)]
        self._order = {node: position for position, node in enumerate(self._nodes)}
        self._readers: dict[Node, list[Node]] = {}
        for node in self._nodes:
            for base in facts.bases(node):
                self._readers.setdefault(base, []).append(node)
        self._inputs = {*program.inputs, *(node for node, _ in facts.constants)}
        self._done = {*self._inputs}
        self.stored: set[Node] = {root.base for root in facts.roots if root.base is not None}
        self._steps: list[Step] = []

    def run(self) -> list[Step]:
        for node in self._nodes:
            if self._facts.is_product(node):
                bases = self._facts.bases(node)
                self._close(self._with_sinks(self._needed(bases)))
                self.stored.update(bases)
                self._steps.append(Product(node))
                self._done.add(node)
        self._close(self._needed(self._nodes))
        for step in self._steps:
            if isinstance(step, FusedLoop):
                self._drop_unused(step)
        self._require_order()
        return [step for step in self._steps if not isinstance(step, FusedLoop) or step.members]

    def _require_order(self) -> None:
        """Raise an error if a step reads what a later step computes."""
        have = {*self._inputs}
        for step in self._steps:
            for node in step.members if isinstance(step, FusedLoop) else [step.node]:
                if not have.issuperset(self._facts.bases(node)):
                    raise UnsupportedError(
                        f"the planner has no order for {name_of(node.primitive)}"
                    )
                have.add(node)

    def _needed(self, roots: Iterable[Node]) -> set[Node]:
        found: set[Node] = set()
        stack = [root for root in roots if root not in self._done]
        while stack:
            node = stack.pop()
            if node not in found and not self._facts.is_product(node):
                found.add(node)
                stack += [b for b in self._facts.bases(node) if b not in self._done]
        return found

    def _with_sinks(self, found: set[Node]) -> set[Node]:
        """Add what can be computed now, and is read by nothing that comes later."""
        bases_of = self._facts.bases
        read = {base for node in found for base in bases_of(node)} | found
        have, can = self._done | found, set[Node]()
        for node in self._nodes:
            bases, is_new = {*bases_of(node)}, node not in have
            is_sink = is_new and not self._facts.is_product(node) and bases & (read | can)
            if is_sink and bases <= have | can:
                can.add(node)
        while True:
            inside = can | found
            left = {
                n
                for n in can
                if inside.issuperset(self._readers.get(n, ()))
                and (have | can).issuperset(bases_of(n))
            }
            if left == can:
                return inside
            can = left

    # Loops

    def _close(self, found: set[Node]) -> None:
        """Compute all that was found, in loops."""
        remaining = sorted(found, key=self._order.__getitem__)
        while remaining:
            left = {*remaining}
            first = next(n for n in remaining if left.isdisjoint(self._facts.bases(n)))
            if first.primitive is add_at:
                self._steps.append(Indexed(first))
                self.stored.update(self._facts.bases(first))
                members = [first]
            else:
                extents, members = self._largest_loop(first, remaining)
                self._steps.append(self._loop(extents, members))
            self._done.update(members)
            taken = set(members)
            remaining = [node for node in remaining if node not in taken]

    def _largest_loop(
        self, first: Node, remaining: Sequence[Node]
    ) -> tuple[tuple[int, ...], list[Node]]:
        """Choose the rectangle: the first node's own, or one whose rows it has an entry of."""
        own = self._facts.extents(first)
        wider = [self._facts.extents(node) for node in remaining if node.primitive is not add_at]
        choices = dict.fromkeys([own, *[e for e in wider if e[:-1] == own or own == (1,)]])
        found = [(extents, self._extract(extents, remaining)) for extents in choices]
        return max((c for c in found if first in c[1]), key=lambda choice: len(choice[1]))

    def _extract(self, extents: tuple[int, ...], remaining: Sequence[Node]) -> list[Node]:
        """Return what a loop over this rectangle can compute of the remaining nodes."""
        members: dict[Node, None] = {}
        outside = set(remaining)
        for node in remaining:
            if len(members) < MAX_LOOP_OPERATIONS and self._fits(node, extents, members, outside):
                members[node] = None
        return [*members]

    def _fits(
        self,
        node: Node,
        extents: tuple[int, ...],
        members: Collection[Node],
        missing: set[Node],
    ) -> bool:
        """Tell whether a loop can compute a node where its members are in registers."""
        role = self._facts.role(node, extents)
        if role is None:
            return False
        for use in role.uses:
            is_lost = use.base in members and not self._facts.is_in_register(use, extents)
            if is_lost or (use.base in missing and use.base not in members):
                return False
        if node.primitive not in (put, take):
            return True
        total = self._facts.total(node)
        return total not in members and total not in missing

    def _loop(self, extents: tuple[int, ...], members: Sequence[Node]) -> FusedLoop:
        again: dict[Node, None] = {}
        inside = set(members)
        for node in members:
            for base in self._facts.bases(node):
                if base not in inside:
                    self._provide(node, base, extents, again, inside)
        return FusedLoop(extents, sorted([*again, *members], key=self._order.__getitem__))

    def _provide(
        self,
        node: Node,
        base: Node,
        extents: tuple[int, ...],
        again: dict[Node, None],
        inside: set[Node],
    ) -> None:
        """Have an earlier value at hand: from memory, or computed again."""
        if base not in self._order or base in self.stored:
            return
        role = self._facts.role(node, extents)
        uses = [use for use in role.uses if use.base is base] if role else []
        chain = self._chain(base, extents, {*again, *inside})
        is_memory = node.primitive in (put, take) and base is self._facts.total(node)
        if is_memory or not all(self._facts.is_in_register(use, extents) for use in uses):
            chain = None
        if chain is None or len(again) + len(chain) > MAX_RECOMPUTED_OPERATIONS:
            self.stored.add(base)
        else:
            again.update(dict.fromkeys(chain))

    def _chain(self, base: Node, extents: tuple[int, ...], members: set[Node]) -> list[Node] | None:
        """Return the nodes to compute for a value again, or None if that is not cheap."""
        if base.primitive not in CHEAP or self._facts.is_product(base):
            return None
        chain: list[Node] = []
        for operand in self._facts.bases(base):
            if operand in self._order and operand not in self.stored and operand not in members:
                inner = self._chain(operand, extents, members)
                if inner is None:
                    return None
                chain += inner
        if (
            not self._fits(base, extents, [*members, *chain], set())
            or len(chain) > MAX_RECOMPUTED_OPERATIONS
        ):
            return None
        return [*chain, base]

    def _drop_unused(self, loop: FusedLoop) -> None:
        """Leave out what only other loops need, which compute it again."""
        kept: list[Node] = []
        read: set[Node] = set()
        for node in reversed(loop.members):
            if node in read or node in self.stored or node.primitive is put:
                kept.append(node)
                read.update(self._facts.bases(node))
        loop.members = kept[::-1]
