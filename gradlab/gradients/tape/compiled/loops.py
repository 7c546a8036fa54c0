"""Write a fused loop: rows, phases within a row, lanes.

Within a phase (see `members`), all members go through the lanes together, in registers. A later
phase reads values from memory: from where they are stored, or from a buffer of one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.chunks import MIN_STEP_WORK, write_shared
from gradlab.gradients.tape.compiled.facts import STRIP_ENTRIES, Facts
from gradlab.gradients.tape.compiled.forms import put, take
from gradlab.gradients.tape.compiled.kinds import dtype_of, memory_type, power_of_two, type_of
from gradlab.gradients.tape.compiled.members import Member, members_in
from gradlab.gradients.tape.compiled.operations import instruct, operand_dtypes, write
from gradlab.gradients.tape.compiled.plan import FusedLoop
from gradlab.gradients.tape.compiled.reductions import (
    combine,
    folded,
    join_totals,
    neutral,
    start_totals,
)
from gradlab.gradients.tape.compiled.sharing import MAX_CHUNKS
from gradlab.gradients.tape.compiled.storage import Storage, aligned
from gradlab.gradients.tape.compiled.text import Text
from gradlab.gradients.tape.compiled.values import Access
from gradlab.program.ir import Node

UNROLLED_VECTORS = 4
"""Vectors that are written one after the other; a sum has as many parts, which are independent."""

MAX_UNROLLED_OPERATIONS = 16
"""Number of operations of a phase up to which its vectors are written one after the other."""

MAX_JOINED_BYTES = 1 << 20
"""Bytes up to which each chunk has a part of a loop's reductions: they stay in the L2 cache."""


class LoopWriter:
    """Writes one loop; see the module."""

    def __init__(self, text: Text, loop: FusedLoop, facts: Facts, storage: Storage) -> None:
        self._text, self._facts, self._storage = text, facts, storage
        self._extents, self._members = members_in(loop, facts, storage)
        floats = [n.dtype.itemsize for n in self._members if n.dtype and n.dtype.kind == "f"]
        widest = max(floats, default=8)
        self._lanes = min(storage.vector // widest, power_of_two(self._extents[-1]))
        self._values: dict[Node, str] = {}  # in registers, in this phase
        self._columns: dict[Node, str] = {}  # vectors of one
        self._once: dict[Access, str] = {}  # operands with one entry in this row
        self._pointers: dict[Any, str] = {}  # to the first entries in this row
        self._indices: list[Any] = []  # of this row, and where its strip begins
        self._is_chunk = False
        self._parts: dict[Node | None, str] = {}  # of reductions, in a chunk

    # The loop around rows

    def write(self, is_shared: bool = False) -> bool:
        """Write the loop; tell whether threads share its rows, which `is_shared` allows."""
        text, storage = self._text, self._storage
        for member in self._members.values():
            if member.reduces and not member.row_reduces and not member.is_total:
                start_totals(text, storage.vector, member.node, storage.pointer(member.node))
        rows = -(-self._outer // MAX_CHUNKS)
        joined = [member.node for member in self._members.values() if self._is_joined(member)]
        if not (is_shared and self._can_be_shared(joined)):
            self._rows_between(0, self._outer)
            return False
        chunks = -(-self._outer // rows)
        parts = {node: storage.block(chunks * storage.nbytes_of(node)) for node in joined}

        def chunk(text: Text, start: str, count: str) -> None:
            self._text, self._is_chunk = text, True
            for node, each in parts.items():
                own = text.mul("%chunk", storage.nbytes_of(node))
                self._parts[node] = text.at(each, own, "i8")
                start_totals(text, storage.vector, node, self._parts[node])
            self._rows_between(start, count)

        write_shared(text, storage, self._outer, rows, chunk)
        for node, each in parts.items():
            found = [text.at(each, i * storage.nbytes_of(node), "i8") for i in range(chunks)]
            join_totals(text, storage.vector, node, storage.pointer(node), found)
        return True

    def _is_joined(self, member: Member) -> bool:
        """Tell whether rows of several chunks are reduced to one entry."""
        is_within = member.row_reduces or (len(self._extents) > 1 and member.place.strides[0])
        return member.reduces and not is_within

    def _can_be_shared(self, joined: Sequence[Node]) -> bool:
        """Tell whether the loop is large, and its chunks write to memory of their own."""
        work = 10 * prod(self._extents) * len(self._members)
        indexed = any(node.primitive in (put, take) for node in self._members)
        nbytes = MAX_CHUNKS * sum(map(self._storage.nbytes_of, joined))
        is_one_row = len(self._extents) == 1
        columns = is_one_row and any(member.is_column for member in self._members.values())
        is_apart = not indexed and not columns and nbytes <= MAX_JOINED_BYTES
        return is_apart and self._outer > 1 and work >= MIN_STEP_WORK

    @property
    def _outer(self) -> int:
        """The number of rows of the outermost loop: of strips, where there is one row."""
        extents = self._extents
        return extents[0] if len(extents) > 1 else max(1, extents[0] // STRIP_ENTRIES)

    def _rows_between(self, start: Any, count: Any) -> None:
        """Write a part of the outermost loop."""
        totals = [member for member in self._members.values() if member.is_total]
        for member in totals:
            self._start_parts(member)
        self._between = start, count
        self._rows(0, [])
        for member in totals:
            value = folded(self._text, member.node, self._lanes, member.parts)
            self._text.store(value, self._memory(member.node), dtype_of(member.node), 1, 1)

    def _rows(self, axis: int, indices: list[Any]) -> None:
        text, lanes, last = self._text, self._extents[-1], len(self._extents) - 1
        start, count = self._between if axis == 0 else (0, self._extents[axis])
        if axis < last:
            text.loop(count, lambda i: self._rows(axis + 1, [*indices, text.add(i, start)]))
            return
        full, rest = divmod(lanes, STRIP_ENTRIES)
        if axis or not full:
            count = full

        def strip(s: Any) -> None:
            self._row([*indices, text.mul(text.add(s, start), STRIP_ENTRIES)], STRIP_ENTRIES)

        def end() -> None:
            self._row([*indices, full * STRIP_ENTRIES], rest)

        text.loop(count, strip)
        if rest and count == full:
            end()
        elif rest:
            text.when(text.do(f"icmp eq i64 {text.add(start, count)}, {full}"), end)

    def _memory(self, node: Node | None) -> str:
        """Return the pointer to a value, or to the part of it that this chunk reduces."""
        return self._parts[node] if node in self._parts else self._storage.pointer(node)

    def _row(self, indices: list[Any], count: int) -> None:
        self._pointers, self._columns, self._once = {}, {}, {}
        self._indices = indices
        members = [*self._members.values()]
        for member in members:
            outside = [use for use in member.uses if use.base not in self._members]
            for use in [*outside, member.place] if self._is_written(member) else outside:
                if use.base is not None:
                    self._pointer(use)
        for use in dict.fromkeys(use for member in members for use in member.uses):
            if use.base is not None and use.base not in self._members and not use.strides[-1]:
                self._once[use] = self._text.load(self._pointer(use), dtype_of(use.base), 1, 1)
        for phase in range(1 + max(member.phase for member in members)):
            here = [member for member in members if member.phase == phase]
            for member in here:
                if member.is_column:
                    self._column(member)
            for member in here:
                if member.is_call and not member.is_column:
                    self._call(member, count)
            if full := [m for m in here if not m.is_column and not m.is_call]:
                self._phase(full, count)

    def _is_written(self, member: Member) -> bool:
        """Tell whether a member writes to memory at each point."""
        is_total = member.reduces and not member.row_reduces
        return member.is_stored or is_total or member.node.primitive is put

    def _pointer(self, use: Access) -> str:
        """Return a pointer to an operand's first entry in this row."""
        key = use.base, use.offset, use.strides
        if key not in self._pointers:
            pointer, kind = self._memory(use.base), memory_type(dtype_of(use.base))
            index = self._text.index(use.offset, use.strides, self._indices)
            self._pointers[key] = self._text.at(pointer, index, kind)
        return self._pointers[key]

    def _row_of(self, member: Member) -> str:
        """Return a pointer to a row of a member: where it is stored, or in a buffer."""
        if member.is_stored:
            return self._pointer(member.place)
        if not member.row_buffer:
            member.row_buffer = self._buffer(dtype_of(member.node))
        return member.row_buffer

    def _buffer(self, dtype: np.dtype[Any]) -> str:
        """Return memory for a row; each chunk has its own."""
        nbytes = aligned(min(self._extents[-1], STRIP_ENTRIES) * dtype.itemsize)
        if not self._is_chunk:
            return self._storage.block(nbytes)
        every = self._storage.block(MAX_CHUNKS * nbytes)
        name, first = self._text.name("b"), self._text.first
        first.append(f"{name}_at = mul i64 %chunk, {nbytes}")
        first.append(f"{name} = getelementptr i8, ptr {every}, i64 {name}_at")
        return name

    def _column(self, member: Member) -> None:
        """Write a member that has one entry a row, as a vector of one."""
        lanes, self._lanes, self._values = self._lanes, 1, {}
        if member.is_call:
            self._call(member, 1)
            dtype = dtype_of(member.node)
            self._values[member.node] = self._text.load(self._row_of(member), dtype, 1, 1)
        else:
            self._point(member, 0, 1, 0)
        self._columns.update(self._values)
        self._lanes = lanes

    # Calls of NumPy's inner loops

    def _call(self, member: Member, count: int) -> None:
        operands = [self._given(use, dtype_of(member.node)) for use in member.uses]
        self._storage.call_numpy(self._text, member.node, operands, self._row_of(member), count)

    def _given(self, use: Access, dtype: np.dtype[Any]) -> tuple[str, int]:
        """Return a pointer to an operand of a call, and the bytes from one entry to the next."""
        base = use.base
        if base is None or base in self._columns:
            value = self._text.splat(use.number, dtype, 1) if base is None else self._columns[base]
            slot = self._text.on_stack(f"<1 x {type_of(dtype)}>")
            self._text.store(value, slot, dtype, 1, 1)
            return slot, 0
        if base in self._members:
            return self._row_of(self._members[base]), dtype.itemsize
        return self._pointer(use), use.strides[-1] * dtype.itemsize

    # Lanes

    def _phase(self, full: list[Member], count: int) -> None:
        in_rows = [
            member
            for member in full
            if member.reduces and member.place.strides[-1] == 0 and not member.is_total
        ]
        for member in in_rows:
            self._start_parts(member)

        def body(j: Any, lanes_here: int, part: int) -> None:
            self._values = {}
            for member in full:
                self._point(member, j, lanes_here, part)

        self._over_lanes(count, body, len(full))
        for member in in_rows:
            node, to = member.node, member.place
            value = folded(self._text, node, self._lanes, member.parts)
            if member.row_reduces:
                self._columns[node] = value
            else:
                before = self._text.load(self._pointer(to), dtype_of(node), 1, 1)
                value = combine(self._text, node, 1, before, value)
            if member.is_stored or not member.row_reduces:
                self._text.store(value, self._pointer(to), dtype_of(node), 1, 1)

    def _over_lanes(self, count: int, body: Any, operations: int) -> None:
        lanes, text = self._lanes, self._text
        vectors, rest = divmod(count, lanes)
        unrolled = UNROLLED_VECTORS if operations <= MAX_UNROLLED_OPERATIONS else 1
        looped = vectors // unrolled if vectors > unrolled else 0

        def several(i: Any) -> None:
            for part in range(unrolled):
                body(text.add(text.mul(i, unrolled * lanes), part * lanes), lanes, part)

        text.loop(looped, several)
        for vector in range(looped * unrolled, vectors):
            body(vector * lanes, lanes, vector % UNROLLED_VECTORS)
        if rest:
            body(vectors * lanes, rest, vectors % UNROLLED_VECTORS)

    def _point(self, member: Member, j: Any, lanes_here: int, part: int) -> None:
        """Write one member for one vector."""
        node, lanes, text = member.node, self._lanes, self._text
        if member.reduces:
            self._reduce(member, j, lanes_here, part)
            return
        operands = [
            self._operand(use, dtype, j, lanes_here)
            for use, dtype in zip(member.uses, self._dtypes(node), strict=True)
        ]
        if node.primitive is put:
            self._write(member, operands[0], j, lanes_here, np.add if node.operands[3] else None)
            return
        if node.primitive is take:
            value = self._take(member, operands, lanes_here)
        else:
            value = write(text, node, lanes, operands)
        self._values[node] = value
        if member.is_stored:
            self._write(member, value, j, lanes_here)
        elif self._is_read_later(member):
            to = text.at(self._row_of(member), j, memory_type(dtype_of(node)))
            text.store(value, to, dtype_of(node), lanes, lanes_here)

    def _dtypes(self, node: Node) -> tuple[np.dtype[Any], ...]:
        if node.primitive is put:
            return (dtype_of(node),)
        if node.primitive is take:
            return np.dtype(np.int64), np.dtype(bool)
        return operand_dtypes(node)

    def _is_read_later(self, member: Member) -> bool:
        return any(
            other.phase > member.phase and any(use.base is member.node for use in other.uses)
            for other in self._members.values()
        )

    def _write(
        self, member: Member, value: str, j: Any, lanes_here: int, ufunc: np.ufunc | None = None
    ) -> None:
        """Store entries, or combine them with those that are in memory."""
        text, lanes, dtype = self._text, self._lanes, dtype_of(member.node)
        to, stride = self._at_lane(member.place, j), member.place.strides[-1] or 1
        if ufunc is not None or member.reduces:
            before = text.load(to, dtype, lanes, lanes_here, stride)
            if ufunc is not None:
                value = instruct(text, ufunc, dtype, dtype, lanes, (before, value))
            else:
                value = combine(text, member.node, lanes, before, value)
        text.store(value, to, dtype, lanes, lanes_here, stride)

    def _at_lane(self, use: Access, j: Any) -> str:
        index = self._text.mul(use.strides[-1], j)
        return self._text.at(self._pointer(use), index, memory_type(dtype_of(use.base)))

    def _operand(self, use: Access, dtype: np.dtype[Any], j: Any, lanes_here: int) -> str:
        lanes, text = self._lanes, self._text
        if use.base is None:
            return text.splat(use.number, dtype, lanes)
        old = dtype_of(use.base)
        if use.base in self._values:
            value = self._values[use.base]
        elif use.base in self._columns:
            value = text.spread(self._columns[use.base], old, lanes)
        elif use.base in self._members:
            from_ = text.at(self._row_of(self._members[use.base]), j, memory_type(old))
            value = text.load(from_, old, lanes, lanes_here)
        elif use in self._once:
            value = text.spread(self._once[use], old, lanes)
        else:
            value = text.load(self._at_lane(use, j), old, lanes, lanes_here, use.strides[-1])
        return text.convert(value, old, dtype, lanes)

    def _take(self, member: Member, operands: list[str], lanes_here: int) -> str:
        """Load entries at positions, where these are in range."""
        text, lanes, (position, in_range) = self._text, self._lanes, operands
        mask = text.mask(lanes_here, lanes)
        wrong = text.do(f"xor <{lanes} x i1> {in_range}, {text.mask(lanes, lanes)}")
        wrong = text.do(f"and <{lanes} x i1> {wrong}, {mask}")
        self._storage.note_if_any(text, wrong, lanes)
        allowed = text.do(f"and <{lanes} x i1> {in_range}, {mask}")
        x = self._facts.total(member.node)
        at = text.do(
            f"getelementptr {memory_type(dtype_of(x))}, ptr {self._storage.pointer(x)}, "
            f"<{lanes} x i64> {position}"
        )
        return text.from_memory(text.gather(at, dtype_of(x), lanes, allowed), dtype_of(x), lanes)

    # Reductions

    def _reduce(self, member: Member, j: Any, lanes_here: int, part: int) -> None:
        (use,), lanes, text = member.uses, self._lanes, self._text
        dtype = dtype_of(member.node)
        if member.place.strides[-1] or member.is_column:  # each lane, or row, has its own total
            self._write(member, self._operand(use, dtype, j, lanes_here), j, lanes_here)
            return
        vector = f"<{lanes} x {type_of(dtype)}>"
        accumulator = member.parts[part % len(member.parts)]
        before = text.do(f"load {vector}, ptr {accumulator}")
        value = self._operand(use, dtype, j, lanes_here)
        if lanes_here < lanes:
            rest = text.splat(neutral(member.node), dtype, lanes)
            mask = text.mask(lanes_here, lanes)
            value = text.do(f"select <{lanes} x i1> {mask}, {vector} {value}, {vector} {rest}")
        found = combine(text, member.node, lanes, before, value)
        text.put(f"store {vector} {found}, ptr {accumulator}")

    def _start_parts(self, member: Member) -> None:
        vector = f"<{self._lanes} x {type_of(dtype_of(member.node))}>"
        if not member.parts:
            count = min(UNROLLED_VECTORS, -(-self._extents[-1] // self._lanes))
            member.parts = [self._text.on_stack(vector) for _ in range(count)]
        start = self._text.splat(neutral(member.node), dtype_of(member.node), self._lanes)
        for part in member.parts:
            self._text.put(f"store {vector} {start}, ptr {part}")
