"""The table of primitives agrees with NumPy's behaviour."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from autograd.core import VSpace, sparse_add
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1
from autograd.numpy.numpy_wrapper import concatenate_args
from expressions import given, of

from gradlab.arrays.indexing import HERE, gather, ungather
from gradlab.program import stand_ins
from gradlab.program.ir import Node
from gradlab.program.primitives import (
    REDUCTIONS,
    TABLE,
    VIEWS,
    Kind,
    is_elementwise,
    may_raise,
    primitive_of,
)

A = np.array([[2.0, 1.0], [1.0, 3.0]])
V = np.array([0.5, 0.25, 0.125])
INDEX = np.array([1, 0])

CALLS: dict[Any, tuple[Any, ...]] = {
    np.where: (A > 1, A, 2 * A), np.tensordot: (A, A, 1), np.einsum: ("ij,jk->ik", A, A),
    np.inner: (A, A), np.outer: (V, V), np.kron: (A, A), np.cumsum: (V,), np.sort: (V,),
    np.argsort: (V,), np.argmax: (V,), np.argmin: (V,), np.tile: (V, 2), np.repeat: (V, 2),
    np.roll: (V, 1), np.triu: (A,), np.tril: (A,), np.pad: (V, 1), np.diff: (V,), np.var: (V,),
    np.std: (V,), np.cross: (V, V), np.count_nonzero: (V,), np.clip: (V, 0.2, 0.3),
    np.nan_to_num: (V,), np.full: ((2,), 1.0), np.linalg.solve: (A, A), np.linalg.inv: (A,),
    np.linalg.det: (A,), np.linalg.cholesky: (A,), np.linalg.slogdet: (A,), np.linalg.eigh: (A,),
    np.linalg.svd: (A,), np.linalg.qr: (A,), np.linalg.pinv: (A,), np.linalg.norm: (A,),
    concatenate_args.fun: (0, V, V), gather.fun: (V, (HERE,), INDEX),
    stand_ins.accumulate: (V, V), stand_ins.scatter: (V[:2], INDEX, None, (3,), np.dtype(float)),
    dot_adjoint_0.fun: (A, A, ((2, 2), 2, A.dtype, False), ((2, 2), 2, A.dtype, False)),
    dot_adjoint_1.fun: (A, A, ((2, 2), 2, A.dtype, False), ((2, 2), 2, A.dtype, False)),
}  # fmt: skip
"""Calls whose results share no memory with their operands."""

MAY_SHARE = (
    np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.expand_dims, np.squeeze,
    np.flipud, np.fliplr, np.real, np.broadcast_to, np.asarray, np.atleast_1d,
)  # fmt: skip


@pytest.mark.parametrize("function", CALLS, ids=lambda f: getattr(f, "__name__", str(f)))
def test_a_fresh_result_shares_no_memory(function: Any) -> None:
    result = function(*CALLS[function])
    parts = result if isinstance(result, tuple) else (result,)
    arrays = [x for x in CALLS[function] if isinstance(x, np.ndarray)]
    assert not any(np.shares_memory(part, x) for part in parts for x in arrays)
    assert primitive_of(function).fresh


@pytest.mark.parametrize("function", MAY_SHARE, ids=lambda f: f.__name__)
def test_results_that_may_be_views_are_not_fresh(function: Any) -> None:
    assert not primitive_of(function).fresh


def test_which_functions_rearrange_and_which_reduce() -> None:
    names = {getattr(f, "__name__", "") for f in VIEWS}
    assert names == {
        "reshape", "ravel", "transpose", "swapaxes", "moveaxis", "rollaxis", "expand_dims",
        "squeeze", "flipud", "fliplr", "real", "getitem",
    }  # fmt: skip
    x = np.array([[0.5, 2.0], [3.0, 0.0]])
    aliases = {np.amax, np.amin}
    assert set(REDUCTIONS) - aliases == {np.sum, np.prod, np.max, np.min, np.all, np.any}
    for function, ufunc in REDUCTIONS.items():
        for axis in (0, 1, None):
            np.testing.assert_array_equal(function(x, axis=axis), ufunc.reduce(x, axis=axis))
    assert {primitive_of(f).kind for f in (np.mean, np.var, np.std)} == {Kind.REDUCTION}


@pytest.mark.parametrize("function", TABLE, ids=lambda f: getattr(f, "__name__", str(f)))
def test_primitives_that_take_out_write_into_it(function: Any) -> None:
    row = TABLE[function]
    if row.kind is Kind.ELEMENTWISE and isinstance(function, np.ufunc):
        assert row.out == ("keyword" if function in (np.maximum, np.minimum) else "position")
        assert row.pure
        assert row.narrows
    elif function in (np.matmul, np.dot, concatenate_args.fun):
        assert row.out == "position"
    else:
        assert row.out is None


def test_narrowing_primitives_give_float32_for_float32() -> None:
    """The operands that count are values, not masks, axes, shapes, or indices."""
    x, y = np.ones((2, 2), np.float32), np.full((2, 2), 2, np.float32)
    calls = [
        (np.exp, x), (np.where, x > 1, x, y), (np.sum, x), (np.prod, x), (np.max, x), (np.min, x),
        (np.matmul, x, y), (np.dot, x, y), (np.tensordot, x, y), (np.einsum, "ij,jk->ik", x, y),
        (np.reshape, x, (4,)), (np.transpose, x), (np.squeeze, x), (np.moveaxis, x, 0, 1),
        (np.flipud, x), (np.broadcast_to, x, (2, 2, 2)), (gather.fun, x, (HERE,), INDEX),
        (concatenate_args.fun, 0, x, y),
    ]  # fmt: skip
    for function, *operands in calls:
        row = primitive_of(function)
        assert row.narrows
        assert np.asarray(function(*operands)).dtype == np.float32
        taken = [id(value) for value in operands[slice(*row.values)]]
        assert taken == [id(value) for value in operands if value is x or value is y]
    assert not primitive_of(np.mean).narrows


def test_primitives_that_convert_their_operands() -> None:
    """These primitives compute in the dtype of the result; others have loops for their operands."""
    converting = {f for f, row in TABLE.items() if row.converts}
    assert converting == {
        np.add, np.subtract, np.multiply, np.divide, np.maximum, np.minimum
    }  # fmt: skip


def test_primitives_that_compute_with_integers_as_python_does() -> None:
    alike = {f for f, row in TABLE.items() if row.like_python}
    assert alike == {
        np.add, np.subtract, np.negative, np.absolute, np.floor_divide, np.remainder
    }  # fmt: skip
    for a, b in [(7, 3), (-7, 3), (7, -3), (-7, -3)]:
        found = [f(a, b) for f in (np.add, np.subtract, np.floor_divide, np.remainder)]
        assert found == [a + b, a - b, a // b, a % b]


def test_pure_primitives() -> None:
    draws = np.random.default_rng(0).normal
    pure = [np.exp, np.linalg.inv, stand_ins.cancelled, ungather.fun, gather.fun,
            stand_ins.accumulate, stand_ins.scatter, stand_ins.add_sparse, stand_ins.bitmask,
            stand_ins.keep, stand_ins.select]  # fmt: skip
    assert all(primitive_of(f).pure for f in pure)
    impure = [VSpace.mut_add.fun, sparse_add.fun, draws, np.random.normal, print, len]
    assert not any(primitive_of(f).pure for f in impure)


def test_kinds_of_primitives_that_numpy_lacks() -> None:
    kinds = {
        stand_ins.scatter: Kind.SCATTER, stand_ins.bitmask: Kind.MASK, stand_ins.keep: Kind.KEEP,
        stand_ins.select: Kind.SELECT, gather.fun: Kind.GATHER,
        np.astype: Kind.CAST, np.broadcast_to: Kind.BROADCAST, stand_ins.accumulate: Kind.OTHER,
        concatenate_args.fun: Kind.JOIN, np.divmod: Kind.OTHER, np.matmul: Kind.PRODUCT,
    }  # fmt: skip
    assert {f: primitive_of(f).kind for f in kinds} == kinds
    bits, mask = np.array([1.5, -2.0]), np.array([-1, 0])
    expected = (bits.view(np.int64) & mask).view(float)
    np.testing.assert_array_equal(stand_ins.keep(bits, mask), expected)


X, K = given("x", (3,)), given("k", (3,), int)


@pytest.mark.parametrize(
    ("node", "raises"),
    [
        (of(np.exp, X), False),
        (of(np.power, X, -1), False),
        (of(np.power, K, 2), True),
        (of(np.add, X, X), False),
        (of(np.linalg.norm, X), False),
        (of(np.sum, X), False),
        (of(np.take, X, INDEX), True),
        (of(np.repeat, X, 2), True),
        (of(np.linspace, 0.0, 1.0), True),
        (of(np.split, given("y", (4,)), 2), True),
        (of(np.quantile, X, 0.5), True),
        (of(np.array, X), True),
        (Node(np.linalg.inv, (X,)), True),
        (Node(np.linalg.det, (X,)), False),
        (Node(np.linalg.slogdet, (X,)), False),
        (Node(gather.fun, (X,)), True),
        (Node(stand_ins.scatter, (X,)), False),
        (Node(np.frompyfunc(float, 1, 1), (X,)), True),
        (Node(print, (X,)), True),
    ],
)
def test_primitives_that_may_raise_depending_on_values(node: Node, raises: bool) -> None:
    assert may_raise(node) is raises


def test_a_result_whose_shape_depends_on_values() -> None:
    varying = {f for f, row in TABLE.items() if row.varies}
    assert varying == {
        np.nonzero, np.flatnonzero, np.argwhere, np.unique, np.extract, np.compress
    }  # fmt: skip


def test_an_option_changes_the_kind_of_an_operation() -> None:
    assert is_elementwise(of(np.exp, X))
    assert not is_elementwise(of(np.exp, X, dtype=float))
    assert is_elementwise(of(np.where, np.ones(3, bool), X, X))
    assert not is_elementwise(Node(np.where, (X,)))
    assert not is_elementwise(Node(np.divmod, (X, X)))


def test_a_ufunc_without_a_row_is_elementwise_if_it_has_one_result() -> None:
    """It counts as pure; a ufunc that runs Python code may raise an error."""
    one, two = np.frompyfunc(abs, 1, 1), np.frompyfunc(lambda x: (x, -x), 1, 2)
    assert (primitive_of(one).kind, primitive_of(one).out) == (Kind.ELEMENTWISE, "position")
    assert (primitive_of(two).kind, primitive_of(two).out) == (Kind.OTHER, None)
    for function in (one, two):
        assert primitive_of(function).pure
        assert primitive_of(function).raises
