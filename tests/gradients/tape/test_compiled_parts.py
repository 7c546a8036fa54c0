"""The parts of machine code, each against NumPy: operations, reductions, indices, ``exp``."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from autograd.numpy import numpy_wrapper
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1
from autograd.numpy.numpy_wrapper import concatenate_args
from expressions import given, of, program_of

from gradlab.arrays.indexing import HERE, gather
from gradlab.arrays.rules.writing import put_primitive
from gradlab.gradients.tape.compiled import UnsupportedError, compile_native
from gradlab.gradients.tape.compiled.entry import layout_is_known, loops_are_known
from gradlab.gradients.tape.compiled.forms import add_at, in_known_forms, put, take
from gradlab.program.ir import Node, Program
from gradlab.program.stand_ins import bitmask, keep, scatter, select

pytest.importorskip("llvmlite", reason="llvmlite is not installed")

ROWS, LANES = 5, 21
SHAPE = (ROWS, LANES)
X, Y = given("x", SHAPE), given("y", SHAPE)
ROW, COLUMN = given("row", (LANES,)), given("column", (ROWS, 1))
F, G = given("f", SHAPE, np.float32), given("g", (LANES,), np.float32)
K, J = given("k", SHAPE, np.int64), given("j", (ROWS,), np.int64)
I32, C = given("i", (ROWS,), np.int32), given("c", SHAPE, bool)
INPUTS = (X, Y, ROW, COLUMN, F, G, K, J, I32, C)


def values(seed: int = 0) -> list[Any]:
    """Return numbers in general position, and special values."""
    rng = np.random.default_rng(seed)
    found = []
    for node in INPUTS:
        if node.dtype == bool:
            found.append(rng.random(node.shape) > 0.5)
        elif node.dtype.kind == "i":
            found.append(rng.integers(-ROWS, ROWS, node.shape).astype(node.dtype))
        else:
            array = rng.standard_normal(node.shape).astype(node.dtype)
            if node in (X, Y, F):
                special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, -1.5]
                array.flat[rng.integers(0, array.size, 14)] = special * 2
            found.append(array)
    return found


def run(outputs: Sequence[Node], arrays: Sequence[Any]) -> list[Any]:
    """Compile a program whose derivatives of the leaf are these values, and run it."""
    leaves = tuple(given(f"leaf{i}", o.shape, o.dtype) for i, o in enumerate(outputs))
    program = program_of(*outputs, inputs=(*leaves, *INPUTS))
    program = Program(program.inputs, program.nodes, (0.0, *outputs))
    native = compile_native(program)
    outs = [np.zeros(leaf.shape, leaf.dtype) for leaf in leaves]
    native.build()((*(np.zeros(leaf.shape, leaf.dtype) for leaf in leaves), *arrays, *outs))
    return outs


def wanted_of(outputs: Sequence[Node], arrays: Sequence[Any]) -> list[Any]:
    with np.errstate(all="ignore"):
        return program_of(*outputs, inputs=INPUTS).run(arrays)


BINARY = (np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum, np.arctan2)
UNARY = (np.negative, np.absolute, np.sqrt, np.square, np.log, np.tanh, np.sin, np.log1p)
COMPARED = (np.equal, np.not_equal, np.greater, np.greater_equal, np.less, np.less_equal)

ELEMENTWISE = [
    *(of(ufunc, X, Y) for ufunc in BINARY),
    *(of(ufunc, X, ROW) for ufunc in BINARY),
    *(of(ufunc, COLUMN, X) for ufunc in BINARY),
    *(of(ufunc, X, 0.5) for ufunc in BINARY),
    *(of(ufunc, F, G) for ufunc in BINARY),
    *(of(ufunc, K, 3) for ufunc in (np.add, np.subtract, np.multiply, np.maximum, np.remainder)),
    *(of(ufunc, z) for ufunc in UNARY for z in (X, F)),
    of(np.multiply, F, X),
    of(np.add, X, K),
    of(np.divide, of(np.astype, C, np.dtype(float)), ROW),
    of(np.tanh, of(np.add, X, F)),
    of(np.power, of(np.absolute, X), COLUMN),
    *(of(np.where, of(ufunc, X, Y), X, -1.0) for ufunc in COMPARED),
    *(of(np.where, of(ufunc, K, 1), X, Y) for ufunc in COMPARED),
    of(np.where, of(np.logical_not, C), X, Y),
    of(np.where, of(np.logical_xor, C, of(np.less, X, 0)), X, Y),
    of(np.astype, X, np.dtype(np.float32)),
    of(np.astype, of(np.greater, X, Y), np.dtype(np.int64)),
    of(keep, X, of(bitmask, C, 8)),
    of(keep, F, of(bitmask, C, 4)),
    of(select, of(bitmask, C, 8), X, Y),
]


def same_bits(found: Any, wanted: Any) -> bool:
    """Return whether all entries are equal, including the sign of zeros and the places of NaN."""
    return bool(np.array_equal(found, np.broadcast_to(wanted, found.shape), equal_nan=True))


NOTABLE = [
    of(np.maximum, X, Y),
    of(np.minimum, F, G),
    of(np.where, of(np.less_equal, X, Y), X, -1.0),
    of(np.where, of(np.not_equal, K, 1), X, Y),
    of(np.divide, COLUMN, X),
    of(keep, X, of(bitmask, C, 8)),
    of(np.tanh, of(np.add, X, F)),
    of(np.arctan2, X, F),
    of(np.arctan2, K, 2.5),
    of(np.remainder, K, 3),
]
"""One operation of each kind; a quick test has no time for all of them."""

EVERY = len(ELEMENTWISE) // 8


@pytest.mark.parametrize(
    "outputs",
    [
        NOTABLE,
        *(
            pytest.param(ELEMENTWISE[start::EVERY], marks=pytest.mark.slow)
            for start in range(EVERY)
        ),
    ],
)
def test_elementwise_operations_round_as_numpy_does(outputs: list[Node]) -> None:
    """Several operations in a loop have NumPy's bits, also at NaN, infinities and signed zeros."""
    arrays = values()
    found, wanted = run(outputs, arrays), wanted_of(outputs, arrays)
    for node, a, b in zip(outputs, found, wanted, strict=True):
        assert same_bits(a, b), node


T = of(np.swapaxes, X, 0, 1)
VIEWS = [
    of(np.add, T, of(np.reshape, ROW, (LANES, 1))),
    of(np.reshape, T, (ROWS * LANES,)),
    of(np.add, of(operator.getitem, X, (slice(None, None, -1), slice(3, None, 2))), COLUMN),
    of(np.multiply, of(operator.getitem, X, (2, ...)), ROW),
    of(np.multiply, of(np.broadcast_to, ROW, (3, LANES)), 2.0),
    of(operator.getitem, X, (..., None)),
    of(concatenate_args.fun, 1, X, T.operands[0], COLUMN),
    of(concatenate_args.fun, 0, X, of(np.negative, Y)),
    of(scatter, ROW, (1, slice(None)), None, SHAPE, np.dtype(float)),
    of(scatter, COLUMN, (slice(None), slice(2, 3)), Y, SHAPE, np.dtype(float)),
    of(
        scatter,
        of(np.sin, ROW),
        (1,),
        of(scatter, ROW, (1,), Y, SHAPE, np.dtype(float)),
        SHAPE,
        np.dtype(float),
    ),
    of(gather.fun, X, (HERE,), J),
    of(gather.fun, X, (HERE, slice(2, 5)), I32),
    of(gather.fun, X, (slice(None), HERE), of(np.reshape, J, (ROWS, 1))),
    of(gather.fun, X, (np.arange(ROWS), HERE), J),
    of(gather.fun, T, (HERE, np.arange(ROWS)), J),
    of(operator.getitem, Y, np.array([0, -1, 0])),
    of(operator.getitem, Y, (np.array([True, False, True, True, False]), 3)),
    of(operator.getitem, Y, np.arange(ROWS * LANES).reshape(SHAPE) % 7 > 4),
    of(operator.getitem, ROW, (np.array(3),)),
    of(scatter, X, [np.array([0, -1, 0, 1, 1])], None, SHAPE, np.dtype(float)),
    of(scatter, COLUMN, (slice(None), HERE), Y, SHAPE, np.dtype(float), of(np.reshape, J, (ROWS,))),
]


def test_views_regions_and_indices() -> None:
    arrays = values()
    found, wanted = run(VIEWS, arrays), wanted_of(VIEWS, arrays)
    for node, a, b in zip(VIEWS, found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-16, err_msg=str(node))


def test_an_index_out_of_range_is_declined() -> None:
    leaf, x, i = given("leaf", (2,)), given("x", (3,)), given("i", (2,), np.int64)
    picked = of(gather.fun, x, (HERE,), i)
    native = compile_native(Program((leaf, x, i), (picked,), (0.0, picked))).build()
    out = np.zeros(2)
    for index, answers in (([0, 2], True), ([-3, -1], True), ([0, 3], False), ([-4, 0], False)):
        value = native((np.zeros(2), np.arange(3.0), np.array(index), out))
        assert np.isfinite(value) == answers


Z = of(np.multiply, COLUMN, ROW)
FLOAT_TESTS = (np.isnan, np.isposinf, np.isneginf)
EQUIVALENT = [
    of(np.clip, X, -0.5, 1),
    of(np.clip, F, None, ROW),
    of(np.clip, K, -2, 2),
    of(np.outer, ROW, COLUMN),
    of(np.roll, X, 2),
    of(np.roll, T, (1, -3), axis=(0, 1)),
    of(np.repeat, of(np.negative, X), 3, axis=1),
    of(np.tile, ROW, (2, 2)),
    of(np.rot90, F),
    of(put_primitive.fun, X, ROW, (slice(1, 3),)),
    of(put_primitive.fun, np.zeros(SHAPE), K, (..., slice(None, None, -1))),
    of(put_primitive.fun, of(np.negative, F), 2.5, (2, 3)),
    *(of(np.where, of(ufunc, z), z, 7.0) for z in (X, F) for ufunc in FLOAT_TESTS),
    of(np.diagonal, Y),
    of(numpy_wrapper._array_from_scalar_or_array.fun, (), {}, X),
    of(np.dot, of(np.astype, C, np.dtype(np.float32)), of(np.swapaxes, np.ones(SHAPE), 0, 1)),
]


def test_functions_that_have_equivalents() -> None:
    arrays = values()
    found, wanted = run(EQUIVALENT, arrays), wanted_of(EQUIVALENT, arrays)
    for node, a, b in zip(EQUIVALENT, found, wanted, strict=True):
        assert same_bits(a, b), node


A_META, V_META = ((ROWS, LANES), 2, np.dtype(float), False), ((LANES,), 1, np.dtype(float), False)
U_META = ((ROWS,), 1, np.dtype(float), False)
SHORT = of(np.reshape, COLUMN, (ROWS,))


@pytest.mark.parametrize(
    "node",
    [
        of(dot_adjoint_0.fun, ROW, SHORT, A_META, V_META),
        of(dot_adjoint_1.fun, Z, SHORT, A_META, V_META),
        of(dot_adjoint_0.fun, Z, ROW, U_META, A_META),
        of(dot_adjoint_1.fun, SHORT, ROW, U_META, A_META),
    ],
)
def test_adjoints_of_a_matrix_and_a_vector(node: Node) -> None:
    arrays = values()
    (found,), (wanted,) = run([node], arrays), wanted_of([node], arrays)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=21 * 21 * 2.3e-16 * np.abs(wanted).max())


WIDE = given("wide", (3, 2, 5000))


def reductions(x: Node) -> list[Node]:
    sums = [of(np.sum, x, axis=axis) for axis in (None, 0, 1, 2, (0, 2), (1, 2))]
    kept = [of(np.max, x, axis=2, keepdims=True), of(np.min, x, axis=0), of(np.max, x, axis=None)]
    ready = of(np.subtract, x, of(np.max, x, axis=2, keepdims=True))
    called = of(np.tanh, of(np.log, of(np.add, of(np.multiply, ready, ready), 1.0)))
    return [*sums, *kept, ready, called, of(np.sum, of(np.multiply, x, x), axis=1)]


@pytest.mark.parametrize("shape", [(3, 2, 5000), (4, 3, 7)])
def test_reductions(shape: tuple[int, ...]) -> None:
    """Reductions along any axes, also of long rows, are right to the round-off of a sum.

    At most `n` terms are added up, with an error of `n` units in the last place of the sum of their
    sizes; the largest and the smallest entries are exact.
    """
    x = given("x", shape)
    outputs = reductions(x)
    leaves = tuple(given(f"leaf{i}", o.shape) for i, o in enumerate(outputs))
    program = program_of(*outputs, inputs=(*leaves, x))
    native = compile_native(Program(program.inputs, program.nodes, (0.0, *outputs)))
    array = np.random.default_rng(0).standard_normal(shape)
    outs = [np.zeros(leaf.shape) for leaf in leaves]
    zeros = [np.zeros(leaf.shape) for leaf in leaves]
    assert native.build()((*zeros, array, *outs)) == 0
    wanted = program_of(*outputs).run([array])
    for node, a, b in zip(outputs, outs, wanted, strict=True):
        bound = 0.0
        if node.primitive is np.sum:
            bound = (
                array.size
                / max(a.size, 1)
                * 2.3e-16
                * np.max(np.abs(array)) ** 2
                * array.size
                / a.size
            )
        assert np.max(np.abs(a - b)) <= bound, node


def test_a_largest_entry_that_is_nan() -> None:
    arrays = values()
    outputs = [of(np.max, X, axis=1), of(np.min, F, axis=0), of(np.max, X, axis=None)]
    found, wanted = run(outputs, arrays), wanted_of(outputs, arrays)
    for a, b in zip(found, wanted, strict=True):
        assert same_bits(a, b)


def test_booleans_are_reduced_and_counted() -> None:
    arrays = values()
    outputs = [
        of(np.astype, of(np.all, C, axis=1), np.dtype(float)),
        of(np.astype, of(np.any, C, axis=0), np.dtype(float)),
        of(np.astype, of(np.count_nonzero, of(np.equal, K, 0)), np.dtype(float)),
        of(np.astype, of(np.max, K, axis=0), np.dtype(float)),
    ]
    for a, b in zip(run(outputs, arrays), wanted_of(outputs, arrays), strict=True):
        assert same_bits(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp(dtype: Any) -> None:
    """The result is within a unit in the last place, with special values as NumPy's."""
    low, high = (-105, 90) if dtype == np.float32 else (-747, 711)
    x = np.linspace(low, high, 200_000).astype(dtype)
    x[:8] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, 10 * high, 10 * low]
    leaf = given("leaf", x.shape, dtype)
    z = given("z", x.shape, dtype)
    y = of(np.exp, z)
    out = np.zeros_like(x)
    compile_native(Program((leaf, z), (y,), (0.0, y))).build()((np.zeros_like(x), x, out))
    with np.errstate(all="ignore"):
        assert same_bits(out[:8], np.exp(x[:8]))
        exact = np.exp(x[8:].astype(np.longdouble))
        rounded = exact.astype(dtype)
        assert np.array_equal(np.isinf(out[8:]), np.isinf(rounded))
        finite = np.isfinite(rounded)
        units = np.abs(out[8:] - exact)[finite] / np.spacing(rounded)[finite]
    assert units.max() <= 1.5  # of which half is that the exact value lies between two numbers


def test_known_layouts() -> None:
    assert layout_is_known()
    assert loops_are_known()


@pytest.mark.parametrize(
    ("node", "match"),
    [
        (of(np.sort, ROW), "sort"),
        (of(np.astype, X, np.dtype(np.int64)), "astype from float64 to int64"),
        (of(np.remainder, K, K), "remainder of integers by no positive number"),
        (of(np.add, of(np.astype, ROW, np.dtype(complex)), 1j), "complex128"),
        (of(np.add, C, C), "add of booleans"),
        (of(np.einsum, "ij->j", X), "einsum"),
        (of(np.matmul, of(np.reshape, X, (1, *SHAPE)), T), "matmul of other than two matrices"),
    ],
)
def test_unsupported_operations_are_named(node: Node, match: str) -> None:
    leaf = given("leaf", node.shape, node.dtype)
    program = program_of(node, inputs=(leaf, *INPUTS))
    with pytest.raises(UnsupportedError, match=match):
        compile_native(Program(program.inputs, program.nodes, (0.0, node)))


PRODUCTS: dict[str, Callable[[], Node]] = {
    "by ones": lambda: of(np.dot, X, np.ones((LANES, 2))),
    "an outer product": lambda: of(np.dot, COLUMN, of(np.reshape, ROW, (1, LANES))),
    "a matrix and a vector": lambda: of(np.dot, X, ROW),
    "a vector and a matrix": lambda: of(np.dot, of(operator.getitem, COLUMN, (slice(None), 0)), X),
    "two vectors": lambda: of(np.dot, ROW, ROW),
    "few rows by a transposed matrix": lambda: of(np.dot, X, of(np.swapaxes, Y, 0, 1)),
    "many rows by a transposed matrix": lambda: of(np.dot, T, of(np.swapaxes, T, 0, 1)),
    "two transposed matrices": lambda: of(np.dot, of(np.matmul, T, Y), of(np.swapaxes, Y, 0, 1)),
}


@pytest.mark.parametrize("seed", [3])
def test_products(seed: int) -> None:
    """The bound is twice the round-off of a sum of 21 products of numbers below 4."""
    arrays = [
        np.nan_to_num(a, nan=0.5, posinf=1, neginf=-1) if a.dtype.kind == "f" else a
        for a in values(seed)
    ]
    outputs = [make() for make in PRODUCTS.values()]
    found, wanted = run(outputs, arrays), wanted_of(outputs, arrays)
    for name, a, b in zip(PRODUCTS, found, wanted, strict=True):
        assert np.max(np.abs(a - b)) <= 2 * 21 * 2.3e-16 * 21 * 5 * 4**3, name


def test_forms_equal_the_calls_that_they_replace() -> None:
    """The package's regions and indices agree with NumPy, and inputs do not change."""
    arrays = values()
    program = program_of(*VIEWS, inputs=INPUTS)
    for a, b in zip(in_known_forms(program).run(arrays), program.run(arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    total = np.zeros(3)
    for change in (put(total, 1.0, 0, True), add_at(total, 1.0, np.array([1]), True)):
        assert change.sum() == 1
    assert total.sum() == 0
    assert take(np.array([5.0]), np.array([7]), np.array([False])) == 0


def test_a_sum_waits_for_a_value_that_is_computed_after_a_product() -> None:
    """Only the sum reads ``-cos w``, but ``cos w`` is read after the product as well."""
    w, leaf = given("w", (9, 9)), given("leaf", ())
    scaled, cosine = of(np.multiply, w, 1.5), of(np.cos, w)
    outputs = of(np.sum, of(np.negative, cosine)), of(np.multiply, of(np.dot, scaled, w), cosine)
    program = program_of(*outputs, inputs=(leaf, w))
    native = compile_native(Program(program.inputs, program.nodes, (0.0, *outputs))).build()
    for scale in (1.0, 2.0):
        array = scale * np.random.default_rng(0).random((9, 9))
        found = [np.zeros(()), np.zeros((9, 9))]
        native((np.zeros(()), array, *found))
        for a, b in zip(found, program.run([np.zeros(()), array]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)
