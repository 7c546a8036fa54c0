"""Indices as positions in an array, against NumPy's own indexing. None of this needs llvmlite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autograd.numpy.numpy_wrapper import concatenate_args
from expressions import given, of, program_of

from gradlab.arrays.indexing import HERE
from gradlab.arrays.rules.writing import put_primitive
from gradlab.gradients.tape.compiled.forms import UnsupportedError, in_known_forms
from gradlab.gradients.tape.compiled.indexing import add_at, positions, reshaped, take
from gradlab.program.ir import Node, Program
from gradlab.program.stand_ins import scatter

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
    """The arrays are constants, or values of a program."""
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


A, B, U = given("a", (5, 7)), given("b", (6, 7)), given("u", (7,))
FORMED = [
    of(np.dot, A, of(np.swapaxes, B, 0, 1)),  # few rows by a transposed matrix
    of(np.dot, of(np.swapaxes, A, 0, 1), A),
    of(np.dot, of(np.reshape, U, (7, 1)), of(np.reshape, U, (1, 7))),
    of(np.dot, A, U),
    of(np.dot, U, of(np.swapaxes, B, 0, 1)),
    of(np.dot, U, U),
    of(np.matmul, A, of(np.transpose, A)),
    of(np.roll, A, 2, axis=1),
    of(np.repeat, U, 3),
    of(np.diagonal, A),
    of(concatenate_args.fun, 0, A, B),
    of(concatenate_args.fun, 1, A, of(np.reshape, of(np.negative, A), (5, 7))),
    of(scatter, U, (1, slice(None)), None, (5, 7), np.dtype(float)),
    of(scatter, A, (slice(None, None, -1),), None, (5, 7), np.dtype(float)),
    of(scatter, A, (slice(None),), None, (5, 7), np.dtype(float)),
    of(scatter, U, (2,), A, (5, 7), np.dtype(float)),
    of(np.count_nonzero, A),
    of(put_primitive.fun, A, U, (slice(1, 3),)),
]


@pytest.mark.parametrize("node", FORMED)
def test_each_form_has_the_value_shape_and_dtype_that_numpy_gives(node: Node) -> None:
    inputs = (A, B, U)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=i.shape) for i in inputs]
    formed = in_known_forms(program_of(node, inputs=inputs))
    every = Program(inputs, formed.nodes, (*formed.nodes, *formed.outputs))
    *found, last = every.run(arrays)
    for own, value in zip(formed.nodes, found, strict=True):
        assert (own.shape, own.dtype) == (np.shape(value), np.asarray(value).dtype), own
    (wanted,) = program_of(node, inputs=inputs).run(arrays)
    assert np.shape(last) == np.shape(wanted)
    np.testing.assert_allclose(last, wanted, rtol=0, atol=7 * 7 * 16 * 2.3e-16)


@pytest.mark.parametrize(
    ("x", "copies"), [(A, 0), (of(np.negative, A), 0), (of(np.transpose, A), 1)]
)
def test_only_a_view_is_copied_before_its_entries_are_read(x: Node, copies: int) -> None:
    formed = in_known_forms(program_of(of(np.roll, x, 1), inputs=(A,)))
    assert sum(node.primitive is np.positive for node in formed.nodes) == copies
