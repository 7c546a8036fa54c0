"""The text of programs, values and literals."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from expressions import given, of

from gradlab.program.ir import Guard, Node, Program, describe, literal, name_of, names_of, reachable
from gradlab.program.reasons import definition_of, reason_of_state, refusal_of


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2.5, "2.5"), (None, "None"), ((), "()"), ((1,), "(1,)"), ((1, 2), "(1, 2)"),
        ([1, (2,)], "[1, (2,)]"), (slice(1, None), "1:"), (slice(None, 3, 2), ":3:2"),
        (slice(None), ":"), (..., "..."), (np.dtype(float), "float64"), (float, "float"),
        (np.arange(4), "array([0, 1, 2, 3])"), (np.arange(5), "<(5,) int64>"),
        ("x" * 58, f"'{'x' * 58}'"), ("x" * 59, "<str>"),
    ],
)  # fmt: skip
def test_a_literal_takes_one_line(value: Any, written: str) -> None:
    assert literal(value) == written


def test_inputs_have_names_that_python_accepts() -> None:
    shapes = [("a b", ()), ("1st", ()), ("v2", ()), ("", ()), ("a-b", ()), ("v2x", ())]
    inputs = tuple(given(name, shape) for name, shape in shapes)
    names = names_of(Program(inputs, (), ()))
    assert [names[node] for node in inputs] == ["a_b", "_1st", "_v2", "input3", "a_b_", "v2x"]
    assert all(name.isidentifier() for name in names.values())


def test_a_program_prints_its_operations_and_guards() -> None:
    x = given("x", (3,))
    total, large = of(np.sum, x, axis=0), of(np.greater, x, 1.0)
    program = Program((x,), (total, large), (total, 2.0), (Guard(large, True, "line 3"),))
    assert str(program).splitlines() == [
        "def program(x):  # (3,) float64",
        "    v0 = sum(x, axis=0)  # () float64",
        "    v1 = greater(x, 1.0)  # (3,) bool",
        "    assert bool(v1) is True  # line 3",
        "    return v0, 2.0",
    ]
    assert describe(Node(print)) == "object"
    assert name_of(np.sum) == "sum"
    assert name_of(3) == "3"


def test_nodes_are_sorted_after_their_operands() -> None:
    x = given("x", (3,))
    a, b = of(np.exp, x), of(np.sin, x)
    c = of(np.add, a, b)
    assert reachable([x], [c, 1.0, x]) == (a, b, c)
    assert reachable([x, a], [c]) == (b, c)
    assert reachable([x], []) == ()


def test_the_reason_why_a_loss_with_state_is_not_replayed() -> None:
    assert reason_of_state([]) == ""
    assert "in cache, log (" in reason_of_state(["cache", "log"], ["line 1"])
    assert "gradlab.detach (line 1)" in reason_of_state([], ["line 1", "line 2"])


def test_a_refusal_names_its_place_once() -> None:
    """It names the line that raised it, unless the message names it already, or there is none."""
    line = sys._getframe().f_lineno + 2
    try:
        raise ValueError("no\nnumber")
    except ValueError as error:
        found = refusal_of(error)
        place = f"{Path(__file__).name}, line {line}"
        assert found.startswith("ValueError while it was recorded: no number (")
        assert place in found
        again = ValueError(found[found.index("(") + 1 : -1]).with_traceback(error.__traceback__)
        assert refusal_of(again).count(place) == 1
    assert refusal_of(ValueError("no number")) == "ValueError while it was recorded: no number"


def test_where_a_loss_is_defined() -> None:
    def loss(w: Any) -> Any:
        return w

    line = loss.__code__.co_firstlineno
    expected = f"the loss is defined in {__file__}, line {line}"
    assert definition_of(loss) == definition_of(partial(partial(loss), 1)) == expected
    assert definition_of(np.sin) == "the loss is a ufunc"
