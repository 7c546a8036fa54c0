"""Python numbers as inputs: what may be computed from them, and the text of a message."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest

from gradlab.errors import UntraceableError
from gradlab.program.ir import Node
from gradlab.program.numbers import Numbers, Rules

INT, FLOAT = np.dtype(np.int64), np.dtype(np.float64)


def value(dtype: Any, primitive: Any = None, *operands: Any) -> Node:
    return Node(primitive, operands, shape=(), dtype=None if dtype is None else np.dtype(dtype))


def kept(primitive: Any, *operands: Any, dtype: Any, numbers: tuple[Node, ...]) -> Node | None:
    """Return the operand of an operation on numbers that must not be 0."""
    rules = Rules()
    for number in numbers:
        rules.input(number)
    return rules.keep(value(dtype, primitive, *operands))


@pytest.mark.parametrize(
    ("number", "array", "is_allowed"),
    [
        (INT, np.int64, True),
        (INT, np.float64, True),
        (INT, np.int8, False),
        (INT, np.float32, False),
        (FLOAT, np.float64, True),
        (FLOAT, np.int64, True),
        (FLOAT, np.float32, False),
        (FLOAT, None, True),
        (None, np.float32, True),
    ],
)
def test_a_number_as_data_may_not_widen_an_array(number: Any, array: Any, is_allowed: bool) -> None:
    """A Python number takes the array's dtype; as int64 or float64 data, it might be wider."""
    n, other = value(number), value(array)
    if is_allowed:
        assert kept(np.multiply, n, other, dtype=np.float64, numbers=(n,)) is None
    else:
        with pytest.raises(UntraceableError, match="differs at each call meets"):
            kept(np.multiply, n, other, dtype=np.float64, numbers=(n,))


def test_numbers_alone_are_computed_where_python_agrees() -> None:
    n, m = value(INT), value(INT)
    both = (n, m)
    assert kept(np.add, n, 2, dtype=INT, numbers=both) is None
    assert kept(np.divide, n, m, dtype=FLOAT, numbers=both) is m
    assert kept(np.divide, n, 2, dtype=FLOAT, numbers=both) is None
    for refused in (
        (np.floor_divide, n, m, FLOAT),
        (np.remainder, n, 0, FLOAT),
        (np.left_shift, n, 2, INT),
    ):
        primitive, a, b, dtype = refused
        with pytest.raises(UntraceableError, match="Python and NumPy may compute it differently"):
            kept(primitive, a, b, dtype=dtype, numbers=both)
    for divisor in (1, 2.5):
        assert kept(np.remainder, n, divisor, dtype=FLOAT, numbers=both) is None


def test_a_result_of_numbers_is_a_number() -> None:
    n, narrow = value(INT), value(np.float32)
    rules = Rules()
    rules.input(n)
    double = value(INT, np.add, n, n)
    assert rules.keep(double) is None
    with pytest.raises(UntraceableError, match="float32"):
        rules.keep(value(np.float64, np.multiply, double, narrow))


def test_an_index_may_be_any_number() -> None:
    n = value(INT)
    assert kept(operator.getitem, value(np.float32), n, dtype=np.float32, numbers=(n,)) is None
    assert kept(np.add, value(np.float32), 2, dtype=np.float32, numbers=()) is None


def test_a_message_names_the_numbers_that_change() -> None:
    numbers = Numbers()
    for epoch in (1, 2):
        numbers.recorded((0.5, {"a": [3, epoch]}), "kind")
    assert numbers.differing("kind") == {(1, "a", 1)}
    assert "options['a'][1]" in numbers.complaint("kind", ["w", "options"])
    numbers.refusal = "reasons"
    assert numbers.complaint("kind", ["w", "options"]).endswith("cannot be an input: reasons")
