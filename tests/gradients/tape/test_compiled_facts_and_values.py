"""What the compiler knows of a program before it writes code: types, places, forms, roles.

None of these tests needs llvmlite.
"""

from __future__ import annotations

import operator
import threading
from typing import Any

import numpy as np
import pytest
from autograd.numpy import numpy_wrapper
from expressions import given, of, program_of

from gradlab import blas
from gradlab.gradients.tape import compiled
from gradlab.gradients.tape.compiled import UnsupportedError, entry, kinds, require_known, sharing
from gradlab.gradients.tape.compiled.facts import Facts, Role
from gradlab.gradients.tape.compiled.forms import form_of, in_known_forms, put, take
from gradlab.gradients.tape.compiled.module import _copy
from gradlab.gradients.tape.compiled.values import Values
from gradlab.program.ir import Node
from gradlab.program.primitives import DOT, FULL, SUM

F32, F64, I64, BOOL = map(np.dtype, ("f4", "f8", "i8", "?"))
SHAPE = (5, 7)
X, Y, ROW, COLUMN = given("x", SHAPE), given("y", SHAPE), given("row", (7,)), given("c", (5, 1))
SQUARE = given("square", (3, 3))
RNG = np.random.default_rng(0)


def test_numbers_and_types_as_llvm_writes_them() -> None:
    assert kinds.constant(0, F64) == "0x0000000000000000"
    assert kinds.constant(1.0, F64) == "0x3FF0000000000000"
    assert kinds.constant(0.1, F32) == kinds.constant(float(np.float32(0.1)), F64)
    assert (kinds.constant(0, I64), kinds.constant(-3, I64)) == ("0", "-3")
    assert (kinds.constant(0, BOOL), kinds.constant(1, BOOL)) == ("false", "true")
    assert [kinds.suffix(kind) for kind in ("float", "double", "i64")] == ["f32", "f64", "i64"]
    assert (kinds.short(F32, 8), kinds.short(F64, 4), kinds.short(I64, 2)) == (
        "v8f32", "v4f64", "v2i64"
    )  # fmt: skip


def test_the_next_power_of_two() -> None:
    assert [kinds.power_of_two(n) for n in range(10)] == [1, 1, 2, 4, 4, 8, 8, 8, 8, 16]


# Where entries lie


VIEWS = [
    X,
    COLUMN,
    of(np.swapaxes, X, 0, 1),
    of(operator.getitem, X, (slice(1, None, 2), slice(None, None, -1))),
    of(operator.getitem, X, (3, ...)),
    of(operator.getitem, X, (slice(None), slice(2, 3))),
    of(operator.getitem, ROW, (None, slice(1, 6), None)),
    of(np.broadcast_to, ROW, SHAPE),
    of(np.broadcast_to, COLUMN, (2, *SHAPE)),
    of(np.reshape, ROW, (7, 1, 1)),
]


@pytest.mark.parametrize("view", VIEWS)
def test_the_entries_of_a_view_lie_where_its_strides_say(view: Node) -> None:
    program = program_of(view, inputs=(X, ROW, COLUMN))
    arrays = [RNG.normal(size=node.shape) for node in program.inputs]
    (wanted,) = program.run(arrays)
    access = Values(program).access(view)
    flat = arrays[program.inputs.index(access.base)].ravel()
    assert access.shape == np.shape(wanted)
    for index in np.ndindex(access.shape):
        place = access.offset + sum(
            i * stride for i, stride in zip(index, access.strides, strict=True)
        )
        assert flat[place] == wanted[index]
    assert all(
        stride == 0
        for stride, extent in zip(access.strides, access.shape, strict=True)
        if extent == 1
    )


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 5), (2, 1, 4)])
def test_an_axis_of_one_entry_has_no_stride(shape: tuple[int, ...]) -> None:
    """This holds for inputs and for computed values."""
    x = given("x", shape)
    values = Values(program_of(x))
    own = tuple(
        0 if extent == 1 else int(np.prod(shape[axis + 1 :])) for axis, extent in enumerate(shape)
    )
    assert values.own(x).strides == values.access(x).strides == own


def test_a_number_lies_nowhere() -> None:
    filled = Node(FULL, ((2, 3), 2.5), {}, (2, 3), F64)
    values = Values(program_of(X))
    for operand, shape in ((2.5, ()), (filled, (2, 3)), (of(np.swapaxes, filled, 0, 1), (3, 2))):
        access = values.access(operand)
        assert (access.base, access.number, access.shape) == (None, 2.5, shape)
        assert access.strides == (0,) * len(shape)


@pytest.mark.parametrize(
    "index",
    [
        slice(1, 4),
        (slice(None), slice(2, 3)),
        (3,),
        (..., 2),
        (slice(None, None, -2), slice(1, 7, 3)),
        (slice(0, 1), slice(None)),
        (),
    ],
)
def test_the_region_of_an_array_lies_where_numpy_says(index: Any) -> None:
    places = np.arange(35).reshape(SHAPE)[index]
    access = Values(program_of(X)).region(X, index)
    assert (access.base, access.shape) == (X, places.shape)
    for position in np.ndindex(places.shape):
        assert access.offset + np.dot(position, access.strides) == places[position]
    assert all(
        s == 0 for s, extent in zip(access.strides, access.shape, strict=True) if extent == 1
    )


# What the planner asks


def role(facts: Facts, node: Node, extents: tuple[int, ...]) -> Role:
    found = facts.role(node, extents)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("shape", "extents"), [((), (1,)), ((1, 1), (1,)), ((3, 1, 4), (3, 4)), ((1, 6), (6,))]
)
def test_a_node_visits_its_axes_of_several_entries(
    shape: tuple[int, ...], extents: tuple[int, ...]
) -> None:
    node = of(np.negative, given("x", shape))
    assert Facts(program_of(node)).extents(node) == extents


def test_a_value_is_in_a_register_only_where_it_is_computed() -> None:
    """It is not in one at another offset, or in another order."""
    base = of(np.exp, SQUARE)
    same = of(np.add, base, 1.0)
    turned = of(np.add, base, of(np.swapaxes, base, 0, 1))
    reverse = (slice(None, None, -1),) * 2
    reversed_ = of(np.add, base, of(operator.getitem, base, reverse))
    facts = Facts(program_of(same, turned, reversed_))
    for node, wanted in ((same, [True]), (turned, [True, False]), (reversed_, [True, False])):
        uses = role(facts, node, (3, 3)).uses
        found = [facts.is_in_register(use, (3, 3)) for use in uses if use.base is base]
        assert found == wanted


def test_a_sum_of_rows_is_used_in_its_loop_and_a_sum_of_columns_is_not() -> None:
    rows, columns = of(np.sum, X, axis=1), of(np.sum, X, axis=0)
    every, line = of(np.sum, X), of(np.sum, ROW)
    long = of(np.sum, given("long", (2, 2049)), axis=1)
    facts = Facts(program_of(rows, columns, every, line, long))
    assert role(facts, rows, SHAPE).row_reduces
    assert role(facts, line, (7,)).row_reduces
    assert not role(facts, columns, SHAPE).row_reduces
    assert not role(facts, every, SHAPE).row_reduces
    assert not role(facts, long, (2, 2049)).row_reduces  # a row that is longer than a strip
    just = of(np.sum, given("just", (2, 2048)), axis=1)
    assert role(Facts(program_of(just)), just, (2, 2048)).row_reduces


def test_columns_have_an_entry_for_each_row() -> None:
    column, whole, number = of(np.exp, given("u", (5,))), of(np.exp, X), of(np.exp, given("s", ()))
    facts = Facts(program_of(column, whole, number))
    assert role(facts, column, SHAPE).is_column
    assert not role(facts, whole, SHAPE).is_column
    assert role(facts, number, (7,)).is_column
    assert facts.role(whole, (5,)) is None
    assert facts.role(number, SHAPE) is None


def test_an_array_that_is_indexed_or_written_to_is_no_operand_of_the_loop() -> None:
    position, here = given("i", (3,), np.int64), given("h", (3,), bool)
    taken = Node(take, (COLUMN, position, here), {}, (3,), F64)
    region = Node(put, (of(np.exp, ROW), given("w", (3,)), slice(1, 4), True), {}, (7,), F64)
    facts = Facts(program_of(taken, region))
    for node, bases in ((taken, ["i", "h"]), (region, ["w"])):
        uses = role(facts, node, (3,)).uses
        assert [use.base.name for use in uses if use.base] == bases


# Forms


def product(a: Any, b: Any, shape: tuple[int, ...]) -> Node:
    return Node(DOT, (a, b), {}, shape, F64)


@pytest.mark.parametrize(("number", "sums"), [(1.0, True), (10.0, False), (0.0, False)])
def test_a_product_with_ones_is_a_sum_and_no_other_product_is(number: float, sums: bool) -> None:
    def filled(*shape: int) -> Node:
        return Node(FULL, (shape, number), {}, shape, F64)

    outputs = [
        product(X, filled(7, 2), (5, 2)),
        product(filled(2, 5), X, (2, 7)),
        product(X, filled(7), (5,)),
        product(filled(5), X, (7,)),
        product(X, filled(7, 1), (5, 1)),
    ]
    x = RNG.normal(size=SHAPE)
    for output in outputs:
        program = program_of(output, inputs=(X,))
        formed = in_known_forms(program)
        primitives = {node.primitive for node in formed.nodes}
        assert (primitives.isdisjoint((DOT, np.multiply)) and SUM in primitives) == sums
        (found,), (wanted,) = formed.run([x]), program.run([x])
        assert np.shape(found) == np.shape(wanted)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=7 * 7 * 10 * 4 * 2.3e-16)


@pytest.mark.parametrize(
    ("given_shape", "shape", "dtype"),
    [((1, 1), (), F64), ((), (1, 1), F64), ((3,), (2, 3), F64), ((2, 3), (2, 3), F64),
     ((2, 3), (2, 3), F32), ((1,), (1, 1), F32)],
)  # fmt: skip
def test_outputs_are_copied_in_the_shape_and_dtype_of_their_leaf(
    given_shape: tuple[int, ...], shape: tuple[int, ...], dtype: Any
) -> None:
    x = given("x", given_shape)
    array = RNG.normal(size=given_shape)
    made = _copy(x, shape, dtype)
    assert (made.shape, made.dtype) == (shape, dtype)
    (found,) = program_of(made, inputs=(x,)).run([array])
    wanted = array.reshape(shape) if array.size == 1 else np.broadcast_to(array, shape)
    assert np.array_equal(found, wanted.astype(dtype))


@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_number_becomes_an_array_of_its_leaf(dtype: Any) -> None:
    (found,) = program_of(_copy(2.5, (2, 3), dtype)).run([])
    assert (np.shape(found), found.dtype) == ((2, 3), dtype)
    assert (found == 2.5).all()


def test_a_copy_with_options_is_left_to_numpy() -> None:
    copied = numpy_wrapper._array_from_scalar_or_array.fun
    assert form_of(of(copied, (), {}, X)).primitive is np.positive
    for args, keywords in (((F32,), {}), ((), {"dtype": F32}), ((F32,), {"copy": True})):
        node = of(copied, args, keywords, X)
        assert form_of(node) is node


# Where nothing is compiled, and who helps


def test_other_layouts_of_arrays_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "is_missing", lambda: False)
    require_known()
    for name in ("layout_is_known", "loops_are_known"):
        with monkeypatch.context() as patched:
            patched.setattr(compiled, name, lambda: False)
            with pytest.raises(UnsupportedError, match="lays out"):
                require_known()
    assert entry.layout_is_known()


def test_without_other_threads_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        sharing._HELPERS, "ask", lambda count, help, processors: asked.append(count)
    )
    monkeypatch.setattr(sharing.affinity, "elsewhere", lambda: None)  # also on fewer processors
    for threads, expected in ((1, []), (3, [2])):
        monkeypatch.setattr(blas, "in_use", lambda threads=threads: threads)
        opened = np.zeros(1, np.int64)
        with sharing.with_helpers(lambda: None, opened):
            assert asked == expected
            assert opened[0] == (threads > 1)
        assert opened[0] == 0


def test_threads_that_help_are_started_once() -> None:
    helpers = sharing._Helpers()
    came = threading.Barrier(3)
    for _ in range(2):
        helpers.ask(2, came.wait)
        came.wait(60)
    names = [thread for thread in threading.enumerate() if thread.name == "gradlab helps"]
    before = len(names)
    helpers.ask(2, came.wait)
    came.wait(60)
    assert sum(t.name == "gradlab helps" for t in threading.enumerate()) == before
    assert len(helpers._threads) == 2
