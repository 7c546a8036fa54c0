"""The members of a fused loop: what each reads and writes, and in which phase of a row it comes.

A row is computed in *phases*. A reduction of a row ends a phase, as its whole result is needed; a
call of NumPy's inner loop begins one, as it needs whole operands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.operations import inner_loop
from gradlab.gradients.tape.compiled.plan import FusedLoop
from gradlab.gradients.tape.compiled.storage import Storage
from gradlab.gradients.tape.compiled.values import Access
from gradlab.program.ir import Node

MAX_LOOP_SUM = 1 << 17
"""Entries up to which a total has accumulators for the whole loop; above, for each row, as the
round-off of a sum grows with the number of terms that are added one after the other."""


@dataclass
class Member:
    """A node in a loop."""

    node: Node
    uses: list[Access]  # its operands
    place: Access  # where its result is written, if it is stored
    phase: int  # of a row, in which it is computed
    is_column: bool  # whether it has one entry a row
    is_call: bool  # whether it is a call of NumPy's inner loop
    reduces: bool
    row_reduces: bool  # whether it reduces each row
    is_total: bool  # whether it reduces the whole loop to one entry
    is_stored: bool  # whether a later step reads it from memory
    row_buffer: str = ""  # the memory of one row of it, once there is any
    parts: list[str] = field(default_factory=list)  # the accumulators of a reduction


def members_in(
    loop: FusedLoop, facts: Facts, storage: Storage
) -> tuple[tuple[int, ...], dict[Node, Member]]:
    """Return the axes of a loop, as few as possible, and its members in order."""
    members: dict[Node, Member] = {}
    for node in loop.members:
        members[node] = _member(node, loop, facts, storage, members)
    return _collapsed(loop.extents, members), members


def _member(
    node: Node, loop: FusedLoop, facts: Facts, storage: Storage, before: Mapping[Node, Member]
) -> Member:
    role = facts.role(node, loop.extents)
    assert role is not None
    uses, place, is_column, row_reduces = role
    reduces = facts.is_reduction(node)
    is_call = inner_loop(node) is not None and not reduces
    phase = 0
    for member in [before[use.base] for use in uses if use.base and use.base in before]:
        waits = member.row_reduces or (is_call and not is_column and not member.is_column)
        phase = max(phase, member.phase + waits)
    one = reduces and not row_reduces and not is_column and not any(place.strides)
    return Member(
        node, uses, place, phase, is_column, is_call, reduces, row_reduces,
        is_total=one and prod(loop.extents) <= MAX_LOOP_SUM,
        is_stored=storage.is_stored_by(node, loop),
    )  # fmt: skip


def _collapsed(extents: tuple[int, ...], members: Mapping[Node, Member]) -> tuple[int, ...]:
    """Make one axis of two, where every operand allows it."""
    if any(member.row_reduces or member.is_column for member in members.values()):
        return extents
    for axis in reversed(range(len(extents) - 1)):
        extent = extents[axis + 1]
        every = [use for member in members.values() for use in (*member.uses, member.place)]
        if all(use.strides[axis] == use.strides[axis + 1] * extent for use in every):
            extents = (*extents[:axis], extents[axis] * extent, *extents[axis + 2 :])
            for member in members.values():
                member.uses = [use.merged(axis) for use in member.uses]
                member.place = member.place.merged(axis)
    return extents
