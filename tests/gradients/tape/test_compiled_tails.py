"""The last columns of a product, which the compiled tape computes apart from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expressions import given, of, program_of
from test_compiled_sharing import share_small_steps

from gradlab.gradients.tape import compiled
from gradlab.gradients.tape.compiled import compile_native, is_missing
from gradlab.gradients.tape.compiled.products import Tile
from gradlab.program.ir import Program

pytestmark = pytest.mark.skipif(is_missing(), reason="llvmlite is not installed")

WIDE, NARROW = Tile(64, 24, 4), Tile(32, 12, 2)
SLOW = pytest.mark.slow
ROWS, DEPTH = 53, 67
"""Enough rows for a tail of four columns, and four vectors of float32 and a rest."""

LARGE = {np.float32: 1e30, np.float64: 1e200}
"""Numbers whose squares are infinite."""


def lanes_of(tile: Tile, dtype: Any) -> int:
    return tile.vector // np.dtype(dtype).itemsize


def check_products(widths: list[int], dtype: Any) -> None:
    """Compare AB, A'B, AB' and A'B' with NumPy's products in a wider format.

    A sum of n terms, each rounded once, is off by at most n / 2 units in the last place of the sum
    of their sizes (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed., section 3.1).
    The reference is at most as far off, where no format is wider than float64.
    """
    rng = np.random.default_rng(0)
    outputs, inputs, arrays, wanted = [], [], [], []
    for n in widths:
        for turn_a, turn_b in ((False, False), (True, False), (False, True), (True, True)):
            shapes = (ROWS, DEPTH), (DEPTH, n)
            nodes, factors = [], []
            for name, shape, turn in zip("ab", shapes, (turn_a, turn_b), strict=True):
                stored = shape[::-1] if turn else shape
                node = given(f"{name}{len(inputs)}", stored, dtype)
                inputs.append(node)
                arrays.append(rng.standard_normal(stored).astype(dtype))
                nodes.append(of(np.transpose, node) if turn else node)
                factors.append(arrays[-1].T if turn else arrays[-1])
            outputs.append(of(np.dot, *nodes))
            wanted.append(factors)
    leaves = [given(f"leaf{i}", node.shape, dtype) for i, node in enumerate(outputs)]
    program = program_of(*outputs, inputs=(*leaves, *inputs))
    native = compile_native(Program(program.inputs, program.nodes, (0.0, *outputs)))
    found = [np.full(node.shape, np.nan, dtype) for node in outputs]
    zeros = [np.zeros(node.shape, dtype) for node in outputs]
    assert native.build()((*zeros, *arrays, *found)) == 0
    for c, (a, b) in zip(found, wanted, strict=True):
        a, b = a.astype(np.longdouble), b.astype(np.longdouble)
        bound = DEPTH * np.finfo(dtype).eps * (np.abs(a) @ np.abs(b))
        assert np.all(np.abs(c - a @ b) <= bound), c.shape


@pytest.mark.parametrize("is_shared", [False, pytest.param(True, marks=SLOW)])
@pytest.mark.parametrize("tile", [WIDE, pytest.param(NARROW, marks=SLOW)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_of_all_widths(
    dtype: Any, tile: Tile, is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = lanes_of(tile, dtype)
    monkeypatch.setattr(compiled, "tile", lambda: tile)
    if is_shared:
        share_small_steps(monkeypatch.setattr)
    check_products([lanes + tail for tail in range(lanes // 4 + 2)], dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_products_with_any_number_of_columns(dtype: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "tile", lambda: WIDE)
    check_products([*range(1, 2 * lanes_of(WIDE, dtype)), 5 * lanes_of(WIDE, dtype) + 1], dtype)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_entry_that_is_not_finite_is_seen(
    dtype: Any, turn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The squares of B and of C include the last columns."""
    monkeypatch.setattr(compiled, "tile", lambda: WIDE)
    n = lanes_of(WIDE, dtype) + 2
    b, like_b, like_c = (
        given(f"leaf{i}", (s, n), dtype) for i, s in enumerate((DEPTH, DEPTH, ROWS))
    )
    a = given("a", (DEPTH, ROWS) if turn else (ROWS, DEPTH), dtype)
    g, d, e = (given(name, (ROWS, k), dtype) for name, k in (("g", n), ("d", DEPTH), ("e", DEPTH)))
    product = of(np.dot, of(np.transpose, a) if turn else a, b)
    # The second derivative is a product itself. The others hide an infinite entry of a product.
    outputs = (
        of(np.maximum, of(np.dot, of(np.transpose, e), g), 0.0),
        of(np.dot, of(np.transpose, d), g),
        of(np.maximum, product, 0.0),
    )
    program = program_of(*outputs, inputs=(b, like_b, like_c, a, g, d, e))
    native = compile_native(Program(program.inputs, program.nodes, (0.0, *outputs))).build()
    rest = [np.zeros(node.shape, dtype) for node in (like_b, like_c)]
    outs = [np.zeros(node.shape, dtype) for node in (b, like_b, like_c)]

    def value(b: Any, g: Any, d: Any) -> float:
        return native((b, *rest, np.ones(a.shape, dtype), g, d, np.zeros_like(d), *outs))

    zeros = [np.zeros(node.shape, dtype) for node in (b, g, d)]
    assert value(*zeros) == 0
    for i in range(DEPTH):
        for j in (0, n - 2, n - 1):
            of_b, of_g, of_d = (array.copy() for array in zeros)
            of_b[i, j] = -np.inf
            assert not np.isfinite(value(of_b, *zeros[1:]))
            of_g[0, j] = of_d[0, i] = LARGE[dtype]
            assert not np.isfinite(value(zeros[0], of_g, of_d))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_entry_is_the_same_sum_with_any_rows(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C has the same bits in chunks of other sizes."""
    monkeypatch.setattr(compiled, "tile", lambda: WIDE)
    rng, n = np.random.default_rng(0), lanes_of(WIDE, dtype) + 2
    factors = [rng.standard_normal(s).astype(dtype) for s in ((ROWS, DEPTH), (DEPTH, n))]
    a, b = given("a", (ROWS, DEPTH), dtype), given("b", (DEPTH, n), dtype)
    turned = given("turned", (DEPTH, ROWS), dtype)
    outputs = of(np.dot, a, b), of(np.dot, of(np.transpose, turned), b)
    leaves = [given(f"leaf{i}", (ROWS, n), dtype) for i in range(2)]
    program = program_of(*outputs, inputs=(*leaves, a, b, turned))
    program = Program(program.inputs, program.nodes, (0.0, *outputs))
    zeros = [np.zeros((ROWS, n), dtype) for _ in range(2)]
    answers = []
    for is_shared in (False, True):
        if is_shared:
            share_small_steps(monkeypatch.setattr)
        found = [np.zeros((ROWS, n), dtype) for _ in range(2)]
        turned_a = np.ascontiguousarray(factors[0].T)
        native = compile_native(program)
        assert native.module.is_shared == is_shared
        native.build()((*zeros, *factors, turned_a, *found))
        answers.append([array.tobytes() for array in found])
    assert answers[0] == answers[1]
