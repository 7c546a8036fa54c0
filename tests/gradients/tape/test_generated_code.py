"""The generated code: how each operation is written, and in which memory its result lies.

Other tests compare the computed numbers with the program's. Code that writes a result to new
memory, where it could reuse other memory, passes those tests, but makes replays slow.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from operator import getitem
from typing import Any

import numpy as np
import pytest
from autograd.numpy.numpy_wrapper import concatenate_args
from expressions import given, of, program_of

import gradlab
from gradlab.arrays.indexing import HERE, gather
from gradlab.gradients.tape.codegen import compile_program
from gradlab.gradients.tape.memory import ALIGNMENT, is_view, reserve
from gradlab.program.ir import Node, Program
from gradlab.program.stand_ins import bitmask, keep, scatter, select

X, Y, ROW, W = given("x", (2, 3)), given("y", (2, 3)), given("row", (3,)), given("w", (3, 4))
C, F, K = given("c", (2, 3), bool), given("f", (2, 3), np.float32), given("k", (2, 3), np.int64)
INDEX, LONG, Z = given("i", (2,), np.int64), given("long", (64,)), given("z", (2, 3), complex)
BIG = given("big", (8, 8))
EMPTY, INT32 = given("empty", (0, 3)), given("j", (2,), np.int32)


def exp(x: Any) -> Node:
    return of(np.exp, x)


def both(x: Node) -> Node:
    return of(np.add, of(np.sin, x), x)


def mask(width: int = 8) -> Node:
    return of(bitmask, C, width)


def lines(program: Program) -> tuple[str, str]:
    """Return where the values are stored, and the lines of a replay without comments."""
    once, each = compile_program(program).source.split("def replay")
    said = [line.split("  #")[0].strip() for line in once.splitlines()]
    said = [line for line in said if " = _" not in line and line not in ("def build():", "")]
    done = [line.split("  #")[0].strip() for line in each.splitlines()[1:-1]]
    return "; ".join(said), "; ".join(line for line in done if "raise" not in line)


EXPRESSIONS: dict[str, tuple[Callable[[], Node], str, str]] = {
    "written over its operand": (
        lambda: of(np.sin, exp(X)),
        ("m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v1 = place(m0, (2, 3), float64_)"),
        "exp(in_x, v0); sin(v0, v1); return float(v1.item())",
    ),
    "an operand is read again": (
        lambda: both(exp(X)),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), float64_); v2 = place(m1, (2, 3), float64_)"
        ),
        "exp(in_x, v0); sin(v0, v1); add(v1, v0, v2); return float(v2.item())",
    ),
    "memory that fits, used again": (
        lambda: exp(of(np.matmul, of(np.matmul, exp(X), W), of(np.swapaxes, exp(W), 0, 1))),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); m1 = reserve(64); "
            "v1 = place(m1, (2, 4), float64_); m2 = reserve(96); "
            "v2 = place(m2, (3, 4), float64_); v3 = v2.T; v4 = place(m0, (2, 3), float64_); "
            "v5 = place(m0, (2, 3), float64_)"
        ),
        (
            "exp(in_x, v0); matmul(v0, in_w, v1); exp(in_w, v2); matmul(v1, v3, v4); "
            "exp(v4, v5); return float(v5.item())"
        ),
    ),
    "large memory, used again": (
        lambda: of(np.matmul, of(np.matmul, exp(BIG), BIG), BIG),
        (
            "m0 = reserve(512); v0 = place(m0, (8, 8), float64_); m1 = reserve(512); "
            "v1 = place(m1, (8, 8), float64_); v2 = place(m0, (8, 8), float64_)"
        ),
        (
            "exp(in_big, v0); matmul(v0, in_big, v1); matmul(v1, in_big, v2); "
            "return float(v2.item())"
        ),
    ),
    "memory too large to be used again": (
        lambda: exp(of(np.sum, exp(LONG))),
        (
            "m0 = reserve(512); v0 = place(m0, (64,), float64_); m1 = reserve(8); "
            "v1 = place(m1, (), float64_); v2 = place(m1, (), float64_)"
        ),
        "exp(in_long, v0); add(v0, None, None, v1, False); exp(v1, v2); return float(v2)",
    ),
    "an input is not written to": (
        lambda: of(np.sin, X),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_)",
        "sin(in_x, v0); return float(v0.item())",
    ),
    "an operand of another shape": (
        lambda: of(np.add, exp(ROW), X),
        (
            "m0 = reserve(24); v0 = place(m0, (3,), float64_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), float64_)"
        ),
        "exp(in_row, v0); add(v0, in_x, v1); return float(v1.item())",
    ),
    "an operand of another width": (
        lambda: of(np.multiply, exp(F), X),
        (
            "m0 = reserve(24); v0 = place(m0, (2, 3), float32_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), float64_)"
        ),
        "exp(in_f, v0); multiply(v0, in_x, v1); return float(v1.item())",
    ),
    "a sum": (
        lambda: of(np.sum, X, 0),
        "m0 = reserve(24); v0 = place(m0, (3,), float64_)",
        "add(in_x, 0, None, v0, False); return float(v0.item())",
    ),
    "a maximum, kept": (
        lambda: of(np.max, X, axis=1, keepdims=True),
        "m0 = reserve(16); v0 = place(m0, (2, 1), float64_)",
        "maximum(in_x, 1, None, v0, True); return float(v0.item())",
    ),
    "a sum in another dtype": (
        lambda: of(np.sum, F, dtype=float),
        "",
        "v0 = sum(in_f, dtype=constant0); if shape_of(v0) != ():; return float(v0)",
    ),
    "a mean": (
        lambda: of(np.mean, X, 0),
        "",
        "v0 = mean(in_x, 0); if shape_of(v0) != (3,):; return float(v0.item())",
    ),
    "a product": (
        lambda: of(np.matmul, X, W),
        "m0 = reserve(64); v0 = place(m0, (2, 4), float64_)",
        "matmul(in_x, in_w, v0); return float(v0.item())",
    ),
    "a dot of matrices": (
        lambda: of(np.dot, X, W),
        "m0 = reserve(64); v0 = place(m0, (2, 4), float64_)",
        "dot(in_x, in_w, v0); return float(v0.item())",
    ),
    "a dot of two dtypes": (
        lambda: of(np.dot, F, W),
        "",
        "v0 = dot(in_f, in_w); if shape_of(v0) != (2, 4):; return float(v0.item())",
    ),
    "a dot of vectors": (
        lambda: of(np.dot, ROW, ROW),
        "",
        "v0 = dot(in_row, in_row); if shape_of(v0) != ():; return float(v0)",
    ),
    "a dot with a number": (
        lambda: of(np.dot, X, 2.0),
        "",
        "v0 = dot(in_x, constant0); if shape_of(v0) != (2, 3):; return float(v0.item())",
    ),
    "a join": (
        lambda: of(concatenate_args.fun, 0, X, Y),
        "m0 = reserve(96); v0 = place(m0, (4, 3), float64_)",
        "concatenate((in_x, in_y,), 0, v0); return float(v0.item())",
    ),
    "a join with a literal": (
        lambda: of(concatenate_args.fun, 0, X, np.ones((1, 3))),
        "",
        "v0 = concatenate_args(0, in_x, constant0); return float(v0.item())",
    ),
    "a repeated row": (
        lambda: of(np.broadcast_to, ROW, (2, 3)),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_)",
        "copyto(v0, in_row, 'unsafe'); return float(v0.item())",
    ),
    "a cast": (
        lambda: of(np.astype, K, np.dtype(float)),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_)",
        "copyto(v0, in_k, 'unsafe'); return float(v0.item())",
    ),
    "a gather": (
        lambda: of(gather.fun, ROW, (HERE,), INDEX),
        "",
        "v0 = in_row.take(in_i, 0); return float(v0.item())",
    ),
    "a gather of columns": (
        lambda: of(gather.fun, X, (slice(None), HERE), INDEX),
        "",
        "v0 = in_x[index0, in_i,]; return float(v0.item())",
    ),
    "a gather by other integers": (
        lambda: of(gather.fun, ROW, (HERE,), INT32),
        "",
        "v0 = in_row.take(in_j, 0); return float(v0.item())",
    ),
    "a gather of one": (
        lambda: of(gather.fun, ROW, (HERE,), given("s", (), np.int64)),
        "",
        "v0 = gather(in_row, constant0, in_s); return float(v0)",
    ),
    "a transposed view": (
        lambda: exp(of(np.swapaxes, exp(X), 0, 1)),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v1 = v0.T; "
            "v2 = place(m0, (3, 2), float64_, (8, 24))"
        ),
        "exp(in_x, v0); exp(v1, v2); return float(v2.item())",
    ),
    "an axis with itself": (
        lambda: of(np.swapaxes, exp(X), 1, 1),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v1 = swapaxes(v0, 1, 1)",
        "exp(in_x, v0); return float(v1.item())",
    ),
    "a row, and its memory": (
        lambda: exp(of(getitem, exp(X), 0)),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v1 = v0[index0]; "
            "m1 = reserve(24); v2 = place(m1, (3,), float64_)"
        ),
        "exp(in_x, v0); exp(v1, v2); return float(v2.item())",
    ),
    "an entry of an input": (
        lambda: exp(of(getitem, X, (0, 1))),
        "m0 = reserve(8); v1 = place(m0, (), float64_)",
        "v0 = in_x[index0]; exp(v0, v1); return float(v1)",
    ),
    "entries from the end on": (
        lambda: of(getitem, exp(X), (..., 0)),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v1 = v0[index0]",
        "exp(in_x, v0); return float(v1.item())",
    ),
    "a reshaped view": (
        lambda: of(np.sin, of(np.reshape, exp(X), (6,))),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v1 = reshape(v0, (6,)); "
            "v2 = place(m0, (6,), float64_)"
        ),
        "exp(in_x, v0); sin(v1, v2); return float(v2.item())",
    ),
    "a copy by reshape": (
        lambda: of(np.reshape, of(np.swapaxes, exp(X), 0, 1), (6,)),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v1 = v0.T",
        "exp(in_x, v0); v2 = reshape(v1, (6,)); return float(v2.item())",
    ),
    "a constant": (
        lambda: of(np.multiply, X, of(np.full, (2, 3), 2.0)),
        ("v0 = full((2, 3), constant0); m0 = reserve(48); v1 = place(m0, (2, 3), float64_)"),
        "multiply(in_x, v0, v1); return float(v1.item())",
    ),
    "a number": (
        lambda: of(np.multiply, X, 2.0),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_)",
        "multiply(in_x, constant0, v0); return float(v0.item())",
    ),
    "a number beside float32": (
        lambda: of(np.multiply, F, 2.0),
        "m0 = reserve(24); v0 = place(m0, (2, 3), float32_)",
        "multiply(in_f, constant0, v0); return float(v0.item())",
    ),
    "a number too large for float32": (
        lambda: of(np.greater, F, 1e39),
        "m0 = reserve(6); v0 = place(m0, (2, 3), bool_)",
        "greater(in_f, constant0, v0); return float(v0.item())",
    ),
    "an exponent": (
        lambda: of(np.power, X, 3.5),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_)",
        "power(in_x, constant0, v0); return float(v0.item())",
    ),
    "a bound": (
        lambda: of(np.maximum, X, 0.5),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_)",
        "maximum(in_x, constant0, out=v0); return float(v0.item())",
    ),
    "a whole number": (
        lambda: of(np.add, K, 1),
        "m0 = reserve(48); v0 = place(m0, (2, 3), int64_)",
        "add(in_k, 1, v0); return float(v0.item())",
    ),
    "a complex number": (
        lambda: of(np.multiply, Z, 1j),
        "m0 = reserve(96); v0 = place(m0, (2, 3), complex128_)",
        "multiply(in_z, constant0, v0); return float(v0.item())",
    ),
    "an unknown function": (
        lambda: of(np.cumsum, X),
        "",
        "v0 = cumsum(in_x); return float(v0.item())",
    ),
    "a function that may keep its operand": (
        lambda: of(np.sin, of(np.asarray, exp(X))),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); m1 = reserve(48); "
            "v2 = place(m1, (2, 3), float64_)"
        ),
        (
            "exp(in_x, v0); v1 = asarray(v0); if shape_of(v1) != (2, 3):; sin(v1, v2); "
            "return float(v2.item())"
        ),
    ),
    "where(c, x, 0)": (
        lambda: of(keep, X, mask()),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), int64_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), float64_); v1_int64 = v1.view(int64_)"
        ),
        (
            "copyto(v0, in_c); negative(v0, v0); "
            "bitwise_and(in_x.view(int64_), v0, v1_int64); return float(v1.item())"
        ),
    ),
    "where(c, f, 0)": (
        lambda: of(keep, F, mask(4)),
        (
            "m0 = reserve(24); v0 = place(m0, (2, 3), int32_); m1 = reserve(24); "
            "v1 = place(m1, (2, 3), float32_); v1_int32 = v1.view(int32_)"
        ),
        (
            "copyto(v0, in_c); negative(v0, v0); "
            "bitwise_and(in_f.view(int32_), v0, v1_int32); return float(v1.item())"
        ),
    ),
    "where(c, exp x, 0)": (
        lambda: of(keep, exp(X), mask()),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), int64_); v0_int64 = v0.view(int64_); "
            "v2 = place(m0, (2, 3), float64_); v2_int64 = v2.view(int64_)"
        ),
        (
            "exp(in_x, v0); copyto(v1, in_c); negative(v1, v1); "
            "bitwise_and(v0_int64, v1, v2_int64); return float(v2.item())"
        ),
    ),
    "where(c, x, y)": (
        lambda: of(select, mask(), X, Y),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), int64_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), float64_); v1_int64 = v1.view(int64_)"
        ),
        (
            "copyto(v0, in_c); negative(v0, v0); "
            "bitwise_xor(in_x.view(int64_), in_y.view(int64_), v1_int64); "
            "bitwise_and(v1_int64, v0, v1_int64); "
            "bitwise_xor(v1_int64, in_y.view(int64_), v1_int64); return float(v1.item())"
        ),
    ),
    "where(c, exp x, y)": (
        lambda: of(select, mask(), exp(X), Y),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), int64_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), float64_); v1_int64 = v1.view(int64_); "
            "v2 = place(m1, (2, 3), float64_); v2_int64 = v2.view(int64_)"
        ),
        (
            "copyto(v0, in_c); negative(v0, v0); exp(in_x, v1); "
            "bitwise_xor(v1_int64, in_y.view(int64_), v2_int64); "
            "bitwise_and(v2_int64, v0, v2_int64); "
            "bitwise_xor(v2_int64, in_y.view(int64_), v2_int64); return float(v2.item())"
        ),
    ),
    "where(c, 2, y)": (
        lambda: of(select, mask(), np.float64(2), Y),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), int64_); m1 = reserve(48); "
            "v1 = place(m1, (2, 3), float64_); v1_int64 = v1.view(int64_)"
        ),
        (
            "copyto(v0, in_c); negative(v0, v0); "
            "bitwise_xor(bits0, in_y.view(int64_), v1_int64); "
            "bitwise_and(v1_int64, v0, v1_int64); "
            "bitwise_xor(v1_int64, in_y.view(int64_), v1_int64); return float(v1.item())"
        ),
    ),
    "the adjoint of a row": (
        lambda: of(scatter, ROW, 0, None, (2, 3), np.dtype(float)),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v0_part = v0[index0]",
        "v0.fill(0); copyto(v0_part, in_row); return float(v0.item())",
    ),
    "the adjoint of a row, added": (
        lambda: of(scatter, ROW, 0, exp(X), (2, 3), np.dtype(float)),
        (
            "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); "
            "v1 = place(m0, (2, 3), float64_); v1_part = v1[index0]"
        ),
        "exp(in_x, v0); add(v1_part, in_row, v1_part); return float(v1.item())",
    ),
    "the adjoint of a row, added to an input": (
        lambda: of(scatter, ROW, 0, X, (2, 3), np.dtype(float)),
        "m0 = reserve(48); v0 = place(m0, (2, 3), float64_); v0_part = v0[index0]",
        "copyto(v0, in_x); add(v0_part, in_row, v0_part); return float(v0.item())",
    ),
    "the adjoint of a gather": (
        lambda: of(scatter, exp(INDEX), (HERE,), None, (3,), np.dtype(float), INDEX),
        (
            "m0 = reserve(16); v0 = place(m0, (2,), float64_); m1 = reserve(24); "
            "v1 = place(m1, (3,), float64_)"
        ),
        "exp(in_i, v0); v1.fill(0); add_at(v1, (in_i,), v0); return float(v1.item())",
    ),
    "the adjoint of a list": (
        lambda: of(scatter, exp(INDEX), [0, 0], None, (3,), np.dtype(float)),
        "m0 = reserve(16); v0 = place(m0, (2,), float64_)",
        (
            "exp(in_i, v0); v1 = scatter(v0, constant0, None, (3,), float64_); "
            "return float(v1.item())"
        ),
    ),
    "nothing": (
        lambda: of(np.sum, exp(EMPTY), 0),
        (
            "m0 = reserve(0); v0 = place(m0, (0, 3), float64_); m1 = reserve(24); "
            "v1 = place(m1, (3,), float64_)"
        ),
        "exp(in_empty, v0); add(v0, 0, None, v1, False); return float(v1.item())",
    ),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_how_an_operation_is_written(name: str) -> None:
    make, once, each = EXPRESSIONS[name]
    assert lines(program_of(make())) == (once, each)


def test_derivatives_are_written_into_the_callers_arrays() -> None:
    """Exceptions are the value itself, constants, and derivatives of another dtype."""
    total, gradient = of(np.sum, X), of(np.sin, exp(X))
    assert "sin(v1, out0)" in lines(program_of(total, gradient, inputs=(X,)))[1]
    twice = program_of(total, gradient, gradient, inputs=(X, Y))
    assert "copyto(out1, out0, 'unsafe')" in lines(twice)[1]
    assert "copyto(out0, v1, 'unsafe')" in lines(program_of(gradient, gradient, inputs=(X,)))[1]
    assert "copyto(out0, constant0, 'unsafe')" in lines(program_of(total, 0.0, inputs=(X,)))[1]
    narrow = of(np.astype, gradient, np.dtype(np.float32))
    assert "copyto(out0, v3, 'unsafe')" in lines(program_of(total, narrow, inputs=(X,)))[1]


def test_memory_is_counted_and_aligned() -> None:
    compiled = compile_program(program_of(both(exp(X))))
    assert (compiled.buffers, compiled.nbytes) == (2, 2 * 48)
    for nbytes in (1, 8, 1000):
        memory = reserve(nbytes)
        assert memory.nbytes == nbytes
        assert memory.ctypes.data % ALIGNMENT == 0


@pytest.mark.parametrize(
    ("node", "written"),
    [
        (of(np.multiply, X, 2.0), "array(2.)"),
        (of(np.multiply, F, 2), "array(2., dtype=float32)"),
        (of(np.multiply, X, np.float64(2)), "array(2.)"),
        (of(np.greater, F, 1e39), "1e+39"),  # infinite in float32
        (of(np.multiply, X, 1j), "1j"),
        (of(np.power, X, 2.5), "2.5"),
        (of(np.multiply, F, np.float32(0.5)), "array(0.5, dtype=float32)"),
        (of(np.maximum, X, 0.5), "<(2, 3) float64>"),
        (of(np.multiply, of(np.add, F, X), 2.0), "array(2.)"),
        (of(np.where, C, X, 2.0), "2.0"),
    ],
)
def test_a_number_is_written_as_an_array_of_the_dtype_beside_it(node: Node, written: str) -> None:
    """NumPy then converts nothing at each call; a bound is an array of the result's shape."""
    source = compile_program(program_of(node)).source
    assert f"constant0 = _constant0  # {written}\n" in source


def test_what_the_passes_saved_adds_up() -> None:
    """Each line has the change in the number of operations; the first and the last have totals."""
    f = gradlab.Tape().value_and_grad(lambda w: np.mean(np.exp(w * 1.0 + 0.0) ** 2))
    f(np.ones((4, 3)))
    first, *passes = f.explain().splitlines()
    last = next(line for line in passes if line.startswith("replayed"))
    before, after = (int(line.split()[1]) for line in (first, last))
    counts = [int(line.split()[0]) for line in passes if line.startswith("  ")]
    assert before + sum(counts) == after < before


def test_methods_of_the_same_name_are_distinguished() -> None:
    """Each access to ``np.add.reduce`` makes a new object, which is the same function."""
    largest, total = of(np.maximum.reduce, LONG), of(np.add.reduce, LONG)
    compiled = compile_program(program_of(of(np.subtract, of(np.subtract, largest, total), total)))
    assert compiled.build()(np.full(64, 2.0)) == 2 - 2 * 128


def test_a_decorated_function_is_called_with_its_decoration() -> None:
    """NumPy's functions are called without their dispatch to other libraries' arrays."""

    @wraps(np.max)
    def twice(x: Any) -> Any:
        return 2 * np.max(x)

    compiled = compile_program(program_of(of(np.subtract, of(twice, LONG), of(np.max, LONG))))
    assert compiled.build()(np.full(64, 3.0)) == 6 - 3


def test_memory_of_both_factors_is_freed_once() -> None:
    """Otherwise, two values that are read together would be stored there."""
    product = of(np.matmul, (e := exp(BIG)), e)
    both_of_it = of(np.subtract, of(np.sin, product), of(np.cos, product))
    program = program_of(of(np.max, of(np.add, both_of_it, of(np.tan, product))))
    x = np.linspace(0, 1, 64).reshape(8, 8)
    assert compile_program(program).build()(x) == program.run([x])[0]


def test_views_are_of_arrays_of_the_program() -> None:
    assert is_view(of(np.reshape, X, (3, 2)))
    assert is_view(of(getitem, X, (slice(None), 0)))
    assert not is_view(of(np.reshape, np.ones((2, 3)), (3, 2)))
    assert not is_view(of(getitem, X, np.array([0])))
    assert not is_view(of(np.sin, X))
