"""Where values live while a compiled gradient runs.

Inputs, constants and derivatives lie in arrays of the caller's. All else lies in one block of
memory: first a table of the addresses that the code needs, then the values that steps hand to each
other, whose places are used again once nothing reads them, then buffers for rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.forms import add_at, put
from gradlab.gradients.tape.compiled.kinds import dtype_of
from gradlab.gradients.tape.compiled.operations import inner_loop
from gradlab.gradients.tape.compiled.plan import FusedLoop, Step
from gradlab.gradients.tape.compiled.text import Text
from gradlab.program.ir import Node

ALIGNMENT = 64
"""Bytes to which each value is aligned: a cache line, and the widest vector."""

FIRST_OFFSET = 2 * ALIGNMENT
"""Bytes before the values: the squared norm of the leaves, the address of the table, and the job
that threads share."""


class Storage:
    """The memory of a compiled program.

    In the function of `text`, ``%p`` is a table of the arrays, and ``%m`` the block. `arrays` and
    `outs` have positions in the table, of inputs and constants, and of derivatives; `stored` are
    the values that steps read from memory, and `vector` the bytes of a vector register.
    """

    def __init__(
        self,
        text: Text,
        facts: Facts,
        steps: Sequence[Step],
        stored: set[Node],
        arrays: dict[Node, int],
        outs: dict[Node, int],
        vector: int,
    ) -> None:
        self.vector = vector
        self.calls: list[tuple[np.ufunc, int]] = []  # NumPy's inner loops, each by its position
        self.nbytes = FIRST_OFFSET  # of the block
        self.flag = ""  # the bit that is set where the call must be declined, if there is one
        self._text, self._facts, self._stored = text, facts, stored
        self._pointers: dict[Node, str] = {}
        self._first: dict[Node, Step] = {}
        for step in steps:
            for node in members_of(step):
                self._first.setdefault(node, step)
        for node, position in arrays.items():
            self._pointers[node] = self._of_table(position)
        for node, position in outs.items():
            self._pointers[self.root(node)] = self._of_table(position)
        self._place(steps)

    def root(self, node: Node) -> Node:
        """Return the value whose memory another is written into."""
        while node.primitive in (put, add_at):
            node = self._facts.total(node)
        return node

    def pointer(self, node: Node | None) -> str:
        """Return the pointer to a value."""
        assert node is not None
        return self._pointers[self.root(node)]

    def is_stored_by(self, node: Node, loop: FusedLoop) -> bool:
        """Tell whether a loop writes one of its values to memory."""
        return node in self._stored and self._first[node] is loop

    def pointers(self) -> list[str]:
        """Return the lines that define the pointers so far, for another function."""
        return [line for line in self._text.first if line.startswith(("%m", "%p", "%calls"))]

    def nbytes_of(self, node: Node) -> int:
        """Return the bytes of the memory of a value."""
        return aligned(prod(node.shape or (1,)) * dtype_of(node).itemsize)

    def block(self, nbytes: int) -> str:
        """Return memory that nothing else uses."""
        pointer = self._of_block(self.nbytes)
        self.nbytes += aligned(nbytes)
        return pointer

    def call_numpy(
        self, text: Text, node: Node, operands: Sequence[tuple[str, int]], result: str, count: int
    ) -> None:
        """Write a call of NumPy's inner loop on `count` entries.

        Of each operand it takes a pointer, and the bytes from one entry to the next.
        """
        call = inner_loop(node)
        assert call is not None
        if call not in self.calls:
            self.calls.append(call)
        where = 16 * self.calls.index(call)
        function = text.do(f"load ptr, ptr {text.at('%calls', where, 'i8')}")
        data = text.do(f"load ptr, ptr {text.at('%calls', where + 8, 'i8')}")
        given = [*operands, (result, dtype_of(node).itemsize)]
        kinds = f"[{len(given)} x ptr]", f"[{len(given)} x i64]", "i64"
        pointers, steps, length = map(text.on_stack, kinds)
        for position, (pointer, step) in enumerate(given):
            text.put(f"store ptr {pointer}, ptr {text.at(pointers, position, 'ptr')}")
            text.put(f"store i64 {step}, ptr {text.at(steps, position, 'i64')}")
        text.put(f"store i64 {count}, ptr {length}")
        text.put(f"call void {function}(ptr {pointers}, ptr {length}, ptr {steps}, ptr {data})")

    def note_if_any(self, text: Text, wrong: str, lanes: int) -> None:
        """Remember that a call must be declined, if any entry of a vector is set."""
        if not self.flag:
            self.flag = self._text.on_stack("i1")
            self._text.first.append(f"store i1 false, ptr {self.flag}")
        any_wrong = text.do(f"call i1 @llvm.vector.reduce.or.v{lanes}i1(<{lanes} x i1> {wrong})")
        before = text.do(f"load i1, ptr {self.flag}")
        text.put(f"store i1 {text.do(f'or i1 {before}, {any_wrong}')}, ptr {self.flag}")

    def _place(self, steps: Sequence[Step]) -> None:
        """Give each value in memory a place, which is free again after its last reader."""
        needed: dict[Node, list[int]] = {}  # from which step to which
        for position, step in enumerate(steps):
            for node in members_of(step):
                if self._needs_memory(node, step):
                    needed.setdefault(self.root(node), [position, position])[1] = position
                for base in map(self.root, self._facts.bases(node)):
                    if base in needed:
                        needed[base][1] = position
        for root in self._facts.roots:
            if root.base is not None and self.root(root.base) in needed:
                needed[self.root(root.base)][1] = len(steps)
        busy: list[tuple[int, int, int]] = []  # where, up to where, until which step
        for node, (first, last) in needed.items():
            if node in self._pointers:
                continue
            busy = sorted(place for place in busy if place[2] >= first)
            start, size = FIRST_OFFSET, self.nbytes_of(node)
            for low, high, _ in busy:
                if start + size <= low:
                    break
                start = max(start, high)
            busy.append((start, start + size, last))
            self.nbytes = max(self.nbytes, start + size)
            self._pointers[node] = self._of_block(start)

    def _needs_memory(self, node: Node, step: Step) -> bool:
        if not isinstance(step, FusedLoop) or node in self._stored or node.primitive is put:
            return True
        role = self._facts.role(node, step.extents)
        return self._facts.is_reduction(node) and not (role and role.row_reduces)

    def _of_block(self, offset: int) -> str:
        name = self._text.name("m")
        self._text.first.append(f"{name} = getelementptr i8, ptr %m, i64 {offset}")
        return name

    def _of_table(self, position: int) -> str:
        name = self._text.name("p")
        self._text.first.append(f"{name}_at = getelementptr ptr, ptr %p, i64 {position}")
        self._text.first.append(f"{name} = load ptr, ptr {name}_at")
        return name


def members_of(step: Step) -> list[Node]:
    """Return the values that a step computes."""
    return step.members if isinstance(step, FusedLoop) else [step.node]


def aligned(nbytes: int) -> int:
    """Return a number of bytes that begins and ends with a cache line."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT
