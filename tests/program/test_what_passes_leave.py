"""The expression that each pass leaves: a rule applies where it is valid, and nowhere else.

Other tests check on random programs that a program computes the same before and after. A rule that
is never applied passes those tests, but makes programs slow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from operator import getitem
from typing import Any, NamedTuple

import numpy as np
import pytest
from autograd.numpy.numpy_vjps import dot_adjoint_0, dot_adjoint_1
from expressions import given, of, program_of, text

from gradlab.program.ir import Guard, Node, Program
from gradlab.program.passes import INEXACT, optimise
from gradlab.program.passes.algebra import simplify
from gradlab.program.passes.arithmetic import MAX_SUM_TERMS, expand_powers, sum_by_products
from gradlab.program.passes.float32 import keep_float32
from gradlab.program.passes.lowering import convert_beforehand, lower
from gradlab.program.passes.selection import select_by_bits
from gradlab.program.rewrite import Pass, merge_duplicates, remove_dead
from gradlab.program.stand_ins import accumulate

X, Y, ROW = given("x", (2, 3)), given("y", (2, 3)), given("row", (3,))
C, ONE_BY_ONE, COLUMN = given("c", (2, 3), bool), given("u", (1, 1)), given("column", (2, 1))
F, G, K = given("f", (2, 3), np.float32), given("g", (2, 3), np.float32), given("k", (2, 3), int)
Z = given("z", (2, 3), complex)


def neg(x: Any) -> Node:
    return of(np.negative, x)


def fill(value: Any, shape: tuple[int, ...] = (2, 3)) -> Node:
    return of(np.full, shape, np.float64(value))


def where(a: Any, b: Any, c: Any = C) -> Node:
    return of(np.where, c, a, b)


def spread(x: Any, shape: tuple[int, ...] = (2, 3)) -> Node:
    return of(np.broadcast_to, x, shape)


def meta(x: Node) -> tuple[Any, ...]:
    """Return the arguments of autograd for the adjoint of a product of an operand."""
    return x.shape, len(x.shape or ()), x.dtype, False


class Case(NamedTuple):
    step: Pass
    made: Callable[[], Node]
    left: str


ALGEBRA = {
    # x + 0, x · 1, x / 1
    "x + 0": (lambda: of(np.add, X, 0.0), "x"),
    "0 + x": (lambda: of(np.add, 0.0, X), "x"),
    "x - 0": (lambda: of(np.subtract, X, 0.0), "x"),
    "0 - x": (lambda: of(np.subtract, 0.0, X), "subtract(0.0, x)"),
    "x * 1": (lambda: of(np.multiply, X, 1.0), "x"),
    "1 * x": (lambda: of(np.multiply, 1.0, X), "x"),
    "x / 1": (lambda: of(np.divide, X, 1.0), "x"),
    "1 / x": (lambda: of(np.divide, 1.0, X), "divide(1.0, x)"),
    "x + 1": (lambda: of(np.add, X, 1.0), "add(x, 1.0)"),
    "x * 0": (lambda: of(np.multiply, X, 0.0), "multiply(x, 0.0)"),
    "x + zeros": (lambda: of(np.add, X, fill(0.0)), "x"),
    "row + zeros of the full shape": (
        lambda: of(np.add, ROW, fill(0.0)),
        "broadcast_to(row, (2, 3))",
    ),
    "float32 + zeros of float64": (lambda: of(np.add, F, fill(0.0)), "add(f, 0.0)"),
    "k * 1.0": (lambda: of(np.multiply, K, 1.0), "multiply(k, 1.0)"),
    # sums of one term, the same shape again, the same dtype
    "a sum over one column": (lambda: of(np.sum, COLUMN, 1), "reshape(column, (2,))"),
    "a maximum over one column": (lambda: of(np.max, COLUMN, axis=1), "reshape(column, (2,))"),
    "a sum over one column, kept": (lambda: of(np.sum, COLUMN, axis=1, keepdims=True), "column"),
    "a sum of one to a number": (lambda: of(np.sum, ONE_BY_ONE), "sum(u)"),
    "a sum over three columns": (lambda: of(np.sum, X, 1), "sum(x, 1)"),
    "a sum in another dtype": (
        lambda: of(np.sum, given("f1", (2, 1), np.float32), 1, dtype=float),
        "sum(f1, 1, dtype=float)",
    ),
    "a mean over one column": (lambda: of(np.mean, COLUMN, 1), "mean(column, 1)"),
    "the same shape": (lambda: of(np.reshape, X, (2, 3)), "x"),
    "the same shape, in Fortran's order": (
        lambda: of(np.reshape, X, (2, 3), order="F"),
        "reshape(x, (2, 3), order='F')",
    ),
    "another shape": (lambda: of(np.reshape, X, (3, 2)), "reshape(x, (3, 2))"),
    "- -x": (lambda: neg(neg(X)), "x"),
    # numbers alone, and arrays of one number
    "2 * 3": (lambda: of(np.multiply, 2.0, 3.0), "6.0"),
    "twos * 3": (lambda: of(np.multiply, fill(2.0), 3.0), "full((2, 3), 6.0)"),
    "zeros to more rows": (lambda: spread(fill(0.5, (3,))), "full((2, 3), 0.5)"),
    "a view of zeros": (lambda: of(np.reshape, fill(0.5), (3, 2)), "full((3, 2), 0.5)"),
    "x * twos": (lambda: of(np.multiply, X, fill(2.0)), "multiply(x, 2.0)"),
    "row * twos of the full shape": (
        lambda: of(np.multiply, ROW, fill(2.0)),
        "multiply(row, full((2, 3), 2.0))",
    ),
    "exp of zeros": (lambda: of(np.exp, fill(0.0)), "full((2, 3), 1.0)"),
    # signs
    "-(x - y)": (lambda: neg(of(np.subtract, X, Y)), "subtract(y, x)"),
    "-(k - k)": (lambda: neg(of(np.subtract, K, K)), "negative(subtract(k, k))"),
    "-(2 x)": (lambda: neg(of(np.multiply, 2.0, X)), "multiply(-2.0, x)"),
    "-(x / 2)": (lambda: neg(of(np.divide, X, 2.0)), "divide(x, -2.0)"),
    "-(x True)": (lambda: neg(of(np.multiply, X, True)), "negative(x)"),
    "-(x y)": (lambda: neg(of(np.multiply, X, Y)), "negative(multiply(x, y))"),
    "-x * 2": (lambda: of(np.multiply, neg(X), 2.0), "multiply(x, -2.0)"),
    "2 / -x": (lambda: of(np.divide, 2.0, neg(X)), "divide(-2.0, x)"),
    "-x * -y": (lambda: of(np.multiply, neg(X), neg(Y)), "multiply(x, y)"),
    "-x * y": (lambda: of(np.multiply, neg(X), Y), "negative(multiply(x, y))"),
    "x / -y": (lambda: of(np.divide, X, neg(Y)), "negative(divide(x, y))"),
    "a sign of fewer entries": (
        lambda: of(np.multiply, neg(ROW), Y),
        "multiply(negative(row), y)",
    ),
    "a sign of fewer entries, behind": (
        lambda: of(np.divide, Y, neg(ROW)),
        "divide(y, negative(row))",
    ),
    "draws are no algebra": (
        lambda: of(np.random.default_rng(0).normal, 0.0),
        "normal(0.0)",
    ),
}

LOWERED = {
    "mean": (lambda: of(np.mean, X), "divide(sum(x, axis=None), 6)"),
    "mean of rows": (lambda: of(np.mean, X, 0), "divide(sum(x, axis=0), 2)"),
    "mean of columns, kept": (
        lambda: of(np.mean, X, axis=1, keepdims=True),
        "divide(sum(x, axis=1, keepdims=True), 3)",
    ),
    "mean of nothing": (
        lambda: of(np.mean, given("e", (0, 3)), axis=1),
        "divide(sum(e, axis=1), 0)",
    ),
    "mean in a given dtype": (lambda: of(np.mean, X, 1, float), "mean(x, 1, float)"),
    "mean of integers": (lambda: of(np.mean, K), "mean(k)"),
    "mean in another dtype": (
        lambda: of(np.mean, F, dtype=np.float64),
        "mean(f, dtype=float64)",
    ),
    "a product of matrices": (lambda: of(np.matmul, X, given("w", (3, 2))), "dot(x, w)"),
    "a product with a vector": (lambda: of(np.matmul, X, ROW), "matmul(x, row)"),
    "a product of integers": (
        lambda: of(np.matmul, K, given("w", (3, 2), int)),
        "matmul(k, w)",
    ),
    "a product of two dtypes": (lambda: of(np.matmul, F, given("w", (3, 2))), "matmul(f, w)"),
    "a product with an option": (
        lambda: of(np.matmul, X, given("w", (3, 2)), casting="safe"),
        "matmul(x, w, casting='safe')",
    ),
    "a shape in an array": (lambda: of(np.reshape, X, np.array([3, 2])), "reshape(x, (3, 2))"),
    "an accumulation": (lambda: of(accumulate, X, Y), "add(x, y)"),
    "an accumulation of two dtypes": (lambda: of(accumulate, F, Y), "accumulate(f, y)"),
    "the adjoint of a product": (
        lambda: of(dot_adjoint_0.fun, given("w", (3, 2)), M22, meta(X), meta(given("w", (3, 2)))),
        "dot(m, swapaxes(w, 0, 1))",
    ),
    "the adjoint of a product, behind": (
        lambda: of(dot_adjoint_1.fun, X, M22, meta(X), meta(given("w", (3, 2)))),
        "swapaxes(dot(swapaxes(m, 0, 1), x), 0, 1)",
    ),
    "the adjoint of a product with a vector": (
        lambda: of(dot_adjoint_0.fun, ROW, given("v", (2,)), meta(X), meta(ROW)),
        None,
    ),
}
M22 = given("m", (2, 2))

CONVERTED = {
    "a mask": (lambda: of(np.multiply, X, C), "multiply(x, astype(c, float64))"),
    "counts": (lambda: of(np.add, K, X), "add(astype(k, float64), x)"),
    "two of a kind": (lambda: of(np.add, X, Y), "add(x, y)"),
    "a count of booleans": (lambda: of(np.sum, C), "sum(astype(c, int64))"),
    "what converts nothing": (lambda: of(np.arctan2, F, X), "arctan2(f, x)"),
    "a comparison": (lambda: of(np.greater, F, X), "greater(f, x)"),
}

SELECTED = {
    "where(c, x, 0)": (lambda: where(X, 0.0), "keep(x, bitmask(c, 8))"),
    "where(c, 0, x)": (lambda: where(0.0, X), "keep(x, invert(bitmask(c, 8)))"),
    "where(c, x, y)": (lambda: where(X, Y), "select(bitmask(c, 8), x, y)"),
    "where(c, 2, x)": (lambda: where(2.0, X), "select(bitmask(c, 8), 2.0, x)"),
    "float32": (lambda: where(F, G), "select(bitmask(c, 4), f, g)"),
    "two dtypes": (lambda: where(F, X), "where(c, f, x)"),
    "two shapes": (lambda: where(ROW, X), "where(c, row, x)"),
    "integers": (lambda: where(K, K), "where(c, k, k)"),
    "a condition of another dtype": (lambda: where(X, Y, K), "where(k, x, y)"),
    "a condition of another shape": (
        lambda: where(X, Y, given("d", (3,), bool)),
        "where(d, x, y)",
    ),
    "numbers": (
        lambda: where(1.0, 2.0, given("d", (), bool)),
        "where(d, 1.0, 2.0)",
    ),
}

POWERS = {
    "x ** 1": (lambda: of(np.power, X, 1.0), "x"),
    "x ** 2": (lambda: of(np.power, X, 2), "multiply(x, x)"),
    "x ** 3": (lambda: of(np.power, X, 3), "multiply(multiply(x, x), x)"),
    "x ** 4": (lambda: of(np.power, X, 4), "multiply(multiply(x, x), multiply(x, x))"),
    "x ** 5": (lambda: of(np.power, X, 5), "power(x, 5)"),
    "x ** 0.5": (lambda: of(np.power, X, 0.5), "sqrt(x)"),
    "x ** -0.5": (lambda: of(np.power, X, -0.5), "divide(1.0, sqrt(x))"),
    "x ** -1": (lambda: of(np.power, X, -1), "divide(1.0, x)"),
    "x ** -2": (lambda: of(np.power, X, -2), "divide(1.0, multiply(x, x))"),
    "k ** 2": (lambda: of(np.power, K, 2), "power(k, 2)"),
    "z ** 2": (lambda: of(np.power, Z, 2), "power(z, 2)"),
    "f ** an array of float64": (lambda: of(np.power, F, np.float64(2)), "power(f, 2.0)"),
    "2 ** x": (lambda: of(np.power, 2.0, X), "power(2.0, x)"),
    "x ** y": (lambda: of(np.power, X, Y), "power(x, y)"),
}


def thin(rows: int, columns: int, *axis: Any, **options: Any) -> Node:
    return of(np.sum, given("t", (rows, columns)), *axis, **options)


SUMS = {
    "rows": (lambda: thin(2, 3, 0), "dot(full((2,), 1.0), t)"),
    "columns": (lambda: thin(2, 3, 1), "dot(t, full((3,), 1.0))"),
    "the last axis": (lambda: thin(2, 3, -1), "dot(t, full((3,), 1.0))"),
    "the first, from behind": (lambda: thin(2, 3, axis=-2), "dot(full((2,), 1.0), t)"),
    "rows, kept": (
        lambda: thin(2, 3, axis=0, keepdims=True),
        "dot(full((1, 2), 1.0), t)",
    ),
    "columns, kept": (
        lambda: thin(2, 3, axis=1, keepdims=True),
        "dot(t, full((3, 1), 1.0))",
    ),
    "everything": (lambda: thin(2, 3), "sum(t)"),
    "both axes": (lambda: thin(2, 3, (0, 1)), "sum(t, (0, 1))"),
    "one term": (lambda: thin(2, 1, 1), "sum(t, 1)"),
    "two terms": (lambda: thin(3, 2, 1), "dot(t, full((2,), 1.0))"),
    "one column of many rows": (lambda: thin(3, 1, 0), "dot(full((3,), 1.0), t)"),
    "no columns": (lambda: thin(2, 0, 0), "dot(full((2,), 1.0), t)"),
    "nothing": (lambda: thin(0, 0, 0), "sum(t, 0)"),
    "a vector": (lambda: of(np.sum, ROW, 0), "sum(row, 0)"),
    "float32": (lambda: of(np.sum, F, 1), "dot(f, full((3,), 1.0))"),
    "integers": (lambda: of(np.sum, K, 1), "sum(k, 1)"),
    "in another dtype": (
        lambda: of(np.sum, F, 1, dtype=np.float64),
        "sum(f, 1, dtype=float64)",
    ),
    "a maximum": (lambda: of(np.max, X, 1), "max(x, 1)"),
    "up to the limit": (
        lambda: thin(1, MAX_SUM_TERMS, 1),
        f"dot(t, full(({MAX_SUM_TERMS},), 1.0))",
    ),
    "beyond the limit": (lambda: thin(1, MAX_SUM_TERMS + 1, 1), "sum(t, 1)"),
}

TABLES: dict[Pass, dict[str, Any]] = {
    simplify: ALGEBRA,
    lower: LOWERED,
    convert_beforehand: CONVERTED,
    select_by_bits: SELECTED,
    expand_powers: POWERS,
    sum_by_products: SUMS,
}
CASES = {
    f"{step.__name__}: {name}": Case(step, *row)
    for step, table in TABLES.items()
    for name, row in table.items()
}


@pytest.mark.parametrize("name", CASES)
def test_the_result_of_each_rule(name: str) -> None:
    step, make, expected = CASES[name]
    made = make()
    [found] = step(program_of(made)).outputs
    assert text(found) == (text(made) if expected is None else expected)
    if isinstance(found, Node):
        assert (found.shape, found.dtype) == (made.shape, made.dtype)


NARROWED = {
    "counts": (lambda: of(np.multiply, F, K), "multiply(f, astype(k, float32))", np.float32),
    "float64": (lambda: of(np.multiply, F, X), "multiply(f, x)", float),
    "an array of one number": (
        lambda: of(np.multiply, F, fill(2.0)),
        "multiply(f, full((2, 3), 2.0))",
        np.float32,
    ),
    "a number of NumPy's": (lambda: where(F, np.float64(0.5)), "where(c, f, 0.5)", np.float32),
    "a number of NumPy's in a product": (
        lambda: of(np.multiply, F, np.float64(0.5)),
        "multiply(f, 0.5)",
        np.float32,
    ),
    "an integer of NumPy's": (
        lambda: of(np.multiply, F, np.int64(3)),
        "multiply(f, 3.0)",
        np.float32,
    ),
    "a cast of the user's": (
        lambda: of(np.multiply, of(np.astype, F, np.dtype(float)), K),
        "multiply(astype(f, float64), k)",
        float,
    ),
    "a sum in float64": (lambda: of(np.sum, F, dtype=float), "sum(f, dtype=float)", float),
    "beside float64 later": (
        lambda: of(np.multiply, of(np.multiply, F, K), X),
        "multiply(astype(multiply(f, astype(k, float32)), float64), x)",
        float,
    ),
    "in a comparison": (
        lambda: of(np.greater, of(np.multiply, F, K), 1.0),
        "greater(multiply(f, astype(k, float32)), 1.0)",
        bool,
    ),
    "counts alone": (lambda: of(np.exp, K), "exp(k)", float),
    "what counts alone became": (
        lambda: of(np.multiply, F, of(np.exp, K)),
        "multiply(f, exp(astype(k, float32)))",
        np.float32,
    ),
    "what booleans became": (
        lambda: of(np.multiply, F, of(np.add, C, np.float64(1))),
        "multiply(f, add(astype(c, float32), 1.0))",
        np.float32,
    ),
    "an array of integers": (
        lambda: of(np.multiply, F, np.array([1, 2, 3])),
        "multiply(f, array([1., 2., 3.], dtype=float32))",
        np.float32,
    ),
    "an array of float64": (
        lambda: of(np.multiply, F, np.ones(3)),
        "multiply(f, array([1., 1., 1.]))",
        float,
    ),
    "an index": (
        lambda: of(np.multiply, of(np.reshape, F, (3, 2)), of(np.reshape, K, (3, 2))),
        "multiply(reshape(f, (3, 2)), astype(reshape(k, (3, 2)), float32))",
        np.float32,
    ),
    "a mean, which narrows nothing": (
        lambda: of(np.mean, of(np.multiply, F, K)),
        "mean(astype(multiply(f, astype(k, float32)), float64))",
        float,
    ),
}


@pytest.mark.parametrize("name", NARROWED)
def test_values_that_only_numbers_made_float64_become_float32(name: str) -> None:
    make, expected, dtype = NARROWED[name]
    [found] = keep_float32(program_of(make())).outputs
    assert text(found) == expected
    assert found.dtype == dtype


def test_a_program_without_float32_does_not_change() -> None:
    wide = Program((X, K), (product := of(np.multiply, X, K),), (product,))
    assert keep_float32(wide) is wide


def test_dead_code_is_removed_unless_it_may_raise() -> None:
    kept, dead = Node(np.linalg.inv, (X,), {}, (2, 3), np.dtype(float)), of(np.exp, X)
    entry, slices = of(getitem, X, np.array([0])), of(getitem, X, (slice(None), 0))
    nodes = (dead, kept, entry, slices, used := of(np.sin, X))
    program = Program((X,), nodes, (used,))
    assert set(remove_dead(program).nodes) == {kept, entry, used}


def test_a_guard_on_a_number_is_removed() -> None:
    """A branch that no longer depends on data is constant."""
    number, data = of(np.greater, 2.0, 1.0), of(np.greater, of(np.max, X), 1.0)
    guards = (Guard(number, True, "here"), Guard(data, True, "there"))
    found = simplify(replace(program_of(number, data), outputs=(), guards=guards))
    assert [guard.place for guard in found.guards] == ["there"]
    assert number not in found.nodes


def test_equal_calls_are_made_once() -> None:
    """Slices, tuples and keywords in another order are equal, but a list and a tuple are not."""
    rows, kept = {"axis": 0}, {"axis": 0, "keepdims": True}
    pairs = [
        ((np.sum, (X,), kept), (np.sum, (X,), dict(reversed(kept.items()))), 1),
        ((np.sum, (X,), rows), (np.sum, (X,), {"axis": 1}), 2),
        ((np.sum, (X,), rows), (np.sum, (X,), kept), 2),
        ((np.reshape, (X, (3, 2)), {}), (np.reshape, (X, (3, 2)), {}), 1),
        ((np.reshape, (X, (3, 2)), {}), (np.reshape, (X, [3, 2]), {}), 2),
        ((getitem, (X, slice(0, 1)), {}), (getitem, (X, slice(0, 1)), {}), 1),
        ((getitem, (X, slice(0, 2)), {}), (getitem, (X, slice(0, 2, 2)), {}), 2),
        ((np.add, (X, Y), {}), (np.add, (Y, X), {}), 2),
        ((np.add, (X, 1.0), {}), (np.subtract, (X, 1.0), {}), 2),
    ]
    for (f, a, options), (g, b, others), expected in pairs:
        found = merge_duplicates(program_of(of(f, *a, **options), of(g, *b, **others)))
        assert len(found.nodes) == expected


def test_savings_tell_what_was_done_and_whether_it_was_exact() -> None:
    made = of(np.sum, of(np.power, of(np.add, X, 0.0), 2), 1)
    program = program_of(made)
    found, savings = optimise(program)
    assert text(found.outputs[0]) == "dot(multiply(x, x), full((3,), 1.0))"
    assert [s.name for s in savings if not s.exact] == [
        "drop_what_cancels",
        *(step.__name__ for step in INEXACT),
    ]
    assert savings[0].before == 3
    assert savings[-1].after == len(found.nodes)
    assert all(a.after == b.before for a, b in pairwise(savings))
    # Once to simplify, and once more to find that nothing changes.
    names = [saving.name for saving in savings]
    assert names.count("simplify") == 2
    assert names.count("merge_duplicates") == 3
    assert names[-4:] == ["lower", "convert_beforehand", "select_by_bits", "merge_duplicates"]
    found, savings = optimise(program, exact=True)
    assert text(found.outputs[0]) == "sum(power(x, 2), 1)"
    assert all(saving.exact for saving in savings)
