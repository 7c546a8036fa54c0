"""The storage of values of compiled code: none is overwritten while a later step reads it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from expressions import given, of, program_of

from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.plan import FusedLoop, Step, plan
from gradlab.gradients.tape.compiled.storage import ALIGNMENT, FIRST_OFFSET, Storage, members_of
from gradlab.gradients.tape.compiled.text import Text
from gradlab.program.ir import Node
from gradlab.program.primitives import DOT

X = given("x", (8, 8))


def dot(a: Node, b: Node) -> Node:
    assert a.shape
    assert b.shape
    return Node(DOT, (a, b), {}, (a.shape[0], b.shape[1]), a.dtype)


def stored(*outputs: Node) -> tuple[Storage, Facts, list[Step], dict[Node, tuple[int, int]]]:
    """Return the storage of a program, and the range of bytes of each value in its block."""
    program = program_of(*outputs)
    facts = Facts(program)
    steps, kept = plan(program, facts)
    text = Text({})
    arrays = {node: position for position, node in enumerate(program.inputs)}
    storage = Storage(text, facts, steps, kept, arrays, {}, 32)
    starts = {}
    for line in text.first:
        if found := re.fullmatch(r"(%\S+) = getelementptr i8, ptr %m, i64 (\d+)", line):
            starts[found[1]] = int(found[2])
    places = {}
    for node in program.nodes:
        start = starts.get(storage._pointers.get(node, ""))
        if start is not None and node.dtype is not None:
            size = int(np.prod(node.shape or (1,))) * node.dtype.itemsize
            places[node] = start, start + size
    return storage, facts, steps, places


def test_places_are_used_again() -> None:
    """Of four products in a row, two are in use at a time."""
    value = X
    for _ in range(4):
        value = dot(value, value)
    storage, _, _, places = stored(value)
    assert storage.nbytes == FIRST_OFFSET + 2 * 8 * 8 * 8
    assert sorted({start for start, _ in places.values()}) == [FIRST_OFFSET, FIRST_OFFSET + 512]


def test_values_are_aligned_and_rows_come_after_them() -> None:
    storage, _, _, places = stored(dot(given("a", (3, 5)), given("b", (5, 3))))
    assert [start for start, _ in places.values()] == [FIRST_OFFSET]
    assert storage.nbytes == FIRST_OFFSET + 2 * ALIGNMENT  # 72 bytes
    storage.block(72)
    assert storage.nbytes == FIRST_OFFSET + 4 * ALIGNMENT
    storage.block(ALIGNMENT)
    assert storage.nbytes == FIRST_OFFSET + 5 * ALIGNMENT


def test_numbers_and_sums_of_columns_have_places() -> None:
    total, columns = of(np.sum, X), of(np.sum, X, axis=0)
    _, _, _, places = stored(of(np.exp, total), of(np.exp, columns))
    assert {total, columns} <= places.keys()
    row = of(np.sum, X, axis=1)
    _, _, _, places = stored(of(np.subtract, X, of(np.reshape, row, (8, 1))))
    assert row not in places  # its loop has it in a register


@pytest.mark.parametrize("seed", range(10))
def test_no_value_is_overwritten_before_its_last_reader(seed: int) -> None:
    """Random expressions run step by step, with nothing but their storage."""
    rng = np.random.default_rng(seed)
    made = [X, of(np.exp, X)]
    for _ in range(20):
        a, b = (made[k] for k in rng.integers(max(0, len(made) - 6), len(made), 2))
        made.append(
            [
                lambda a=a, b=b: dot(a, b),
                lambda a=a, b=b: of(np.multiply, a, of(np.swapaxes, b, 0, 1)),
                lambda a=a: of(np.tanh, a),
                lambda a=a: of(np.subtract, a, of(np.sum, a, axis=0)),
            ][rng.integers(4)]()
        )
    _, facts, steps, places = stored(*made[-2:])
    alive: set[Node] = set()
    for step in steps:
        members = members_of(step)
        inside = set(members) if isinstance(step, FusedLoop) else set()
        read = {base for node in members for base in facts.bases(node)} - inside
        written = [node for node in members if node in places and node not in alive]
        assert read & places.keys() <= alive
        for node in written:
            low, high = places[node]
            alive = {a for a in alive if places[a][1] <= low or high <= places[a][0]} | {node}
        assert read & places.keys() <= alive  # nor while the step runs
        assert set(written) <= alive
    assert {root.base for root in facts.roots} <= alive
