"""Indices as positions in an array, against NumPy's own indexing. None of this needs llvmlite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expressions import given, program_of

from gradlab.arrays.indexing import HERE
from gradlab.gradients.tape.compiled.forms import UnsupportedError
from gradlab.gradients.tape.compiled.indexing import add_at, positions, reshaped, take
from gradlab.program.ir import Node

SHAPE = (4, 3, 5)
X = np.random.default_rng(0).normal(size=SHAPE)
K = np.array([3, 0, -1, 2])
J = np.array([[0], [2], [-3]])
NARROW = np.array([1, -2], np.int32)

INDICES: list[tuple[Any, list[Any]]] = [
    ((HERE,), [K]),
    (HERE, [K]),
    ((HERE, ...), [K]),
    ((..., HERE), [K]),
    ((HERE, slice(1, None), slice(None, None, -2)), [K]),
    ((slice(1, 3), HERE), [NARROW]),
    ((slice(1, 3), HERE, slice(2)), [NARROW]),
    ((..., HERE, slice(None)), [NARROW]),
    ((HERE, 2), [K]),
    ((HERE, 2, ...), [K]),
    ((1, HERE), [NARROW]),
    ((HERE, [0, -1, 1, 2]), [K]),
    ((HERE, HERE), [np.array([0, 1, 2]), J]),
    ((slice(None), HERE, HERE), [J, np.array([4, -5])]),
    ((HERE, HERE, HERE), [np.array(2), np.array([0, 1]), np.array([-1, 0])]),
]


def filled(template: Any, arrays: list[Any]) -> Any:
    left = iter(arrays)
    if not isinstance(template, tuple):
        return next(left)
    return tuple(next(left) if part is HERE else part for part in template)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(("template", "arrays"), INDICES)
def test_positions_are_those_of_numpy(template: Any, arrays: list[Any], traced: bool) -> None:
    """Of arrays that are known, and of values of a program."""
    nodes = [given(f"i{k}", np.shape(a), a.dtype) for k, a in enumerate(arrays)]
    position, in_range = positions(SHAPE, template, nodes if traced else arrays)
    program = program_of(position, in_range, inputs=tuple(nodes))
    position, in_range = program.run(arrays)
    assert np.all(in_range)
    wanted = X[filled(template, arrays)]
    assert np.array_equal(np.broadcast_to(X.ravel()[position], wanted.shape), wanted)


@pytest.mark.parametrize("index", [[4, 0], [0, -5], [9, 0]])
@pytest.mark.parametrize("traced", [False, True])
def test_positions_out_of_range_are_known(index: list[int], traced: bool) -> None:
    array = np.array(index)
    node = given("i", (2,), np.int64)
    _, in_range = positions(SHAPE, (HERE,), [node if traced else array])
    (found,) = program_of(in_range, inputs=(node,)).run([array])
    assert not np.all(found)


@pytest.mark.parametrize(
    "template",
    [(slice(1, 3), 2, slice(None, None, 2)), ..., (np.array([2, 0]),), (X > 0.5), (0, ..., 1)],
)
def test_an_index_without_values_of_the_program_is_known_at_once(template: Any) -> None:
    position, in_range = positions(SHAPE, template, [])
    assert in_range is True
    assert np.array_equal(X.ravel()[position], X[template])
    assert position.dtype == np.int64
    assert position.flags.c_contiguous


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ((HERE, None), "beside None"),
        ((HERE, slice(None), HERE), "on both sides of a slice"),
        ((HERE, np.array([True, False, True])), "a mask beside"),
    ],
)
def test_other_indices_are_not_known(template: Any, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        positions(SHAPE, template, [np.arange(3), np.arange(3)])


def test_entries_are_read_and_added_where_they_are_in_range() -> None:
    position, here = np.array([[3, 99], [59, 3]]), np.array([[True, False], [True, True]])
    assert take(X, position, here).tolist() == [[X.flat[3], 0.0], [X.flat[59], X.flat[3]]]
    total = np.ones((2, 2))
    added = add_at(total, np.array([1.0, 2.0]), np.array([[3, 99], [0, 3]]), here)
    assert added.tolist() == [[2.0, 1.0], [1.0, 4.0]]
    assert add_at(total, 5.0, np.array([1]), True).tolist() == [[1.0, 6.0], [1.0, 1.0]]
    assert total.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_an_operand_in_another_shape() -> None:
    node = given("x", (2, 3))
    assert reshaped(node, (2, 3)) is node
    assert reshaped(2.5, (1, 1)) == 2.5
    made = reshaped(node, (3, -1))
    assert isinstance(made, Node)
    assert (made.shape, made.dtype) == ((3, 2), node.dtype)
    assert reshaped(np.ones((2, 3)), (-1,)).shape == (6,)
