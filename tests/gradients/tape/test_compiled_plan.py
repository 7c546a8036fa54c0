"""The division of a program into products and loops: what is fused, stored, or computed again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expressions import given, of, program_of

from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.forms import add_at, put, take
from gradlab.gradients.tape.compiled.plan import (
    MAX_LOOP_OPERATIONS,
    MAX_RECOMPUTED_OPERATIONS,
    FusedLoop,
    Indexed,
    plan,
)
from gradlab.program.ir import Node, name_of
from gradlab.program.primitives import DOT

A, B = given("a", (5, 6)), given("b", (5, 6))
SQUARE, U, V = given("s", (5, 5)), given("u", (5,)), given("v", (7,))


def dot(a: Node, b: Node) -> Node:
    assert a.shape
    assert b.shape
    return Node(DOT, (a, b), {}, (a.shape[0], b.shape[1]), a.dtype)


def planned(*outputs: Node) -> tuple[list[str], list[str]]:
    """Return the steps, each by the names of its operations, and the names of what is stored."""
    program = program_of(*outputs)
    steps, stored = plan(program, Facts(program))
    told = []
    for step in steps:
        if isinstance(step, FusedLoop):
            extents = "x".join(map(str, step.extents))
            told.append(f"{extents}: {' '.join(name_of(n.primitive) for n in step.members)}")
        else:
            told.append(type(step).__name__)
    return told, [name_of(node.primitive) for node in program.nodes if node in stored]


def column(node: Node) -> Node:
    return of(np.reshape, node, (5, 1))


@pytest.mark.parametrize(
    ("output", "steps", "stored"),
    [
        (of(np.sum, of(np.multiply, of(np.exp, A), B), axis=1), ["5x6: exp multiply sum"], ["sum"]),
        (of(np.subtract, A, column(of(np.max, A, axis=1))), ["5x6: max subtract"], ["subtract"]),
        (of(np.multiply, A, column(of(np.exp, U))), ["5x6: exp multiply"], ["multiply"]),
        (
            of(np.subtract, A, of(np.sum, of(np.exp, A), axis=0)),
            ["5x6: exp sum", "5x6: subtract"],
            ["sum", "subtract"],
        ),
        (of(np.exp, of(np.sum, A)), ["5x6: sum", "1: exp"], ["sum", "exp"]),
    ],
)
def test_what_shares_a_loop(output: Node, steps: list[str], stored: list[str]) -> None:
    """A result of a row can be used in its loop; a result of all rows cannot."""
    assert planned(output) == (steps, stored)


def test_loops_over_other_rectangles_are_separate() -> None:
    assert planned(of(np.exp, A), of(np.exp, V))[0] == ["5x6: exp", "7: exp"]


def test_a_value_that_is_read_elsewhere_is_stored_first() -> None:
    value = of(np.exp, SQUARE)
    turned = of(np.add, value, of(np.swapaxes, value, 0, 1))
    assert planned(turned) == (["5x5: exp", "5x5: add"], ["exp", "add"])


def test_what_a_product_needs_is_computed_before_it_with_what_only_that_needs() -> None:
    delta = of(np.multiply, SQUARE, given("t", (5, 5)))
    steps, _ = planned(dot(delta, SQUARE), of(np.sum, delta, axis=0))
    assert steps == ["5x5: multiply sum", "Product"]
    later = dot(delta, SQUARE)
    steps, _ = planned(of(np.multiply, of(np.exp, later), delta))
    assert steps == ["5x5: multiply", "Product", "5x5: exp multiply"]


def around_a_product(value: Node) -> Node:
    """Return an expression that reads a value before a product and after it."""
    return of(np.multiply, dot(of(np.sin, value), SQUARE), value)


def chain(count: int, x: Node) -> Node:
    for k in range(count):
        x = of(np.add, x, float(k))
    return x


def test_a_cheap_value_is_computed_again_and_a_dear_one_is_stored() -> None:
    steps, stored = planned(around_a_product(chain(1, SQUARE)))
    assert (steps, stored) == (
        ["5x5: add sin", "Product", "5x5: add multiply"], ["sin", "dot", "multiply"]
    )  # fmt: skip
    steps, stored = planned(around_a_product(of(np.exp, SQUARE)))
    assert (steps, stored) == (
        ["5x5: exp sin", "Product", "5x5: multiply"], ["exp", "sin", "dot", "multiply"]
    )  # fmt: skip


@pytest.mark.parametrize("more", [0, 1])
def test_a_long_chain_is_stored(more: int) -> None:
    steps, stored = planned(around_a_product(chain(MAX_RECOMPUTED_OPERATIONS + more, SQUARE)))
    assert steps[-1] == "5x5: " + "add " * (0 if more else MAX_RECOMPUTED_OPERATIONS) + "multiply"
    assert ("add" in stored) == bool(more)


def test_a_cheap_value_of_a_dear_one_is_computed_from_the_stored_one() -> None:
    dear = of(np.exp, SQUARE)
    steps, stored = planned(around_a_product(of(np.negative, dear)), of(np.sum, dot(dear, SQUARE)))
    assert stored[:2] == ["exp", "sin"]
    assert "negative" not in stored
    assert sum("negative" in step for step in steps) == 2


def test_a_loop_grows_up_to_a_number_of_operations() -> None:
    steps, _ = planned(chain(MAX_LOOP_OPERATIONS + 3, A))
    assert [step.count("add") for step in steps] == [MAX_LOOP_OPERATIONS, 3]


def test_indices_and_regions() -> None:
    """A region is written once its array is complete; what is added at indices has its own step."""
    position, here = given("i", (3,), np.int64), given("h", (3,), bool)
    total = of(np.exp, U)
    added = Node(add_at, (total, given("w", (3,)), position, here), {}, (5,), np.dtype(float))
    program = program_of(added)
    steps, stored = plan(program, Facts(program))
    assert [type(step) for step in steps] == [FusedLoop, Indexed]
    assert stored >= {total, added}
    taken = Node(take, (total, position, here), {}, (3,), np.dtype(float))
    assert planned(taken) == (["5: exp", "3: take"], ["exp", "take"])
    region = Node(put, (total, given("w", (3,)), slice(1, 4), True), {}, (5,), np.dtype(float))
    assert planned(region)[0] == ["5: exp", "3: put"]


@pytest.mark.parametrize("seed", range(10))
def test_each_step_reads_what_came_before_it(seed: int) -> None:
    """In random expressions, each value that a step reads is an input, stored, or in the loop."""
    rng = np.random.default_rng(seed)
    made: list[Node] = [SQUARE, of(np.exp, SQUARE)]
    for _ in range(16):
        a, b = (made[k] for k in rng.integers(max(0, len(made) - 8), len(made), 2))
        row: Any = of(np.sum, a, axis=1)
        made.append(
            [
                lambda a=a, b=b: of(np.add, a, b),
                lambda a=a, b=b: of(np.multiply, a, of(np.swapaxes, b, 0, 1)),
                lambda a=a: of(np.tanh, a),
                lambda a=a, b=b: dot(a, b),
                lambda a=a, row=row: of(np.subtract, a, of(np.reshape, row, (5, 1))),
                lambda a=a, row=row: of(np.subtract, a, row),
            ][rng.integers(6)]()
        )
    program = program_of(*made[-3:])
    facts = Facts(program)
    steps, stored = plan(program, facts)
    have = {*program.inputs}
    for step in steps:
        if not isinstance(step, FusedLoop):
            assert have.issuperset(facts.bases(step.node))
            have.add(step.node)
            continue
        inside = set(step.members)
        for node in step.members:
            role = facts.role(node, step.extents)
            assert role is not None
            for use in role.uses:
                in_register = use.base in inside and facts.is_in_register(use, step.extents)
                assert use.base is None or in_register or use.base in have
        have |= inside & stored
    assert have.issuperset(base.base for base in facts.roots if base.base is not None)
