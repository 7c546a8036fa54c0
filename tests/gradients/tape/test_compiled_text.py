"""The text of compiled code, piece by piece, and the dtypes of operands. None needs llvmlite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from expressions import given, of

from gradlab.gradients.tape.compiled.forms import UnsupportedError
from gradlab.gradients.tape.compiled.operations import inner_loop, operand_dtypes
from gradlab.gradients.tape.compiled.text import Text
from gradlab.program.ir import Node
from gradlab.program.stand_ins import bitmask, keep, select

F32, F64, I32, I64, BOOL = map(np.dtype, ("f4", "f8", "i4", "i8", "?"))
X, Y, F = given("x", (3,)), given("y", (3,)), given("f", (3,), np.float32)
K, J, C = given("k", (3,), np.int64), given("i", (3,), np.int32), given("c", (3,), bool)


def test_known_integers_are_computed_at_once() -> None:
    text = Text({})
    assert (text.add(2, 3), text.mul(2, 3)) == (5, 6)
    assert [text.add(0, "%x"), text.add("%x", 0), text.mul(1, "%x"), text.mul("%x", 1)] == [
        "%x"
    ] * 4
    assert (text.mul(0, "%x"), text.mul("%x", 0), text.at("%p", 0, "double")) == (0, 0, "%p")
    assert text.lines == []
    assert text.add("%x", 1) == "%t1"
    assert text.mul(2, "%x") == "%t2"
    assert text.at("%p", 4, "double") == "%t3"
    assert text.lines == [
        "%t1 = add i64 %x, 1", "%t2 = mul i64 2, %x", "%t3 = getelementptr double, ptr %p, i64 4"
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "seen", "loops"), [(0, [], 0), (1, [0], 0), (2, ["%i_n1"], 1)])
def test_loops_of_at_most_one_round_are_none(count: int, seen: list[Any], loops: int) -> None:
    text, indices = Text({}), list[Any]()
    text.loop(count, indices.append)
    assert indices == seen
    assert sum(line == "%more_n1 = icmp slt i64 %j_n1, 2" for line in text.lines) == loops
    assert bool(text.lines) == bool(loops)


def test_vectors_of_numbers_and_masks() -> None:
    text = Text({})
    assert text.splat(1, I64, 2) == "<i64 1, i64 1>"
    assert text.mask(2, 3) == "<i1 true, i1 true, i1 false>"
    assert text.spread("%v", F64, 1) == text.resized("%v", F64, 4, 4) == "%v"
    assert text.lines == []
    text.spread("%v", F32, 2)
    text.resized("%v", F64, 2, 4)
    text.resized("%v", F64, 4, 1)
    assert text.lines == [
        "%t1 = shufflevector <1 x float> %v, <1 x float> poison, <2 x i32> zeroinitializer",
        "%t2 = shufflevector <2 x double> %v, <2 x double> zeroinitializer, "
        "<4 x i32> <i32 0, i32 1, i32 2, i32 2>",
        "%t3 = shufflevector <4 x double> %v, <4 x double> zeroinitializer, "
        "<1 x i32> zeroinitializer",
    ]


@pytest.mark.parametrize(
    ("count", "stride", "how"),
    [(4, 1, "load <4 x"), (3, 1, "masked.load"), (4, 0, "load <1 x"), (4, 2, "masked.gather"),
     (3, -1, "masked.gather")],
)  # fmt: skip
def test_how_entries_are_loaded(count: int, stride: int, how: str) -> None:
    text = Text({})
    text.load("%p", F64, 4, count, stride)
    assert sum(how in line for line in text.lines) == 1
    others = {"load <4 x", "masked.load", "load <1 x", "masked.gather"} - {how}
    assert not any(other in line for line in text.lines for other in others)
    if "gather" in how:
        steps = ", ".join(f"i64 {lane * stride}" for lane in range(4))
        assert f"<4 x i64> <{steps}>" in text.lines[0]
    if "masked" in how:
        assert text.mask(count, 4) in text.lines[-1]


@pytest.mark.parametrize(
    ("count", "stride", "how"),
    [(4, 1, "store <4 x"), (3, 1, "masked.store"), (1, 1, "store double"), (1, 5, "store double"),
     (4, 2, "masked.scatter")],
)  # fmt: skip
def test_how_entries_are_stored(count: int, stride: int, how: str) -> None:
    text = Text({})
    text.store("%v", "%p", F64, 4, count, stride)
    assert how in text.lines[-1]
    assert ("i1 true" in text.lines[-1]) == ("masked" in how)


def test_booleans_are_bytes_in_memory_and_bits_in_registers() -> None:
    text = Text({})
    text.load("%p", BOOL, 2, 2)
    assert text.lines[-1] == "%t2 = icmp ne <2 x i8> %t1, zeroinitializer"
    text.store("%b", "%p", BOOL, 2, 2)
    assert text.lines[-2:] == [
        "%t3 = zext <2 x i1> %b to <2 x i8>", "store <2 x i8> %t3, ptr %p, align 1"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [(F32, F64, "fpext"), (F64, F32, "fptrunc"), (I64, F64, "sitofp"), (I32, F32, "sitofp"),
     (BOOL, F64, "uitofp"), (BOOL, I64, "zext"), (I32, I64, "sext"), (I64, I32, "trunc"),
     (F64, BOOL, "fcmp une"), (I64, BOOL, "icmp ne")],
)  # fmt: skip
def test_conversions(old: Any, new: Any, how: str) -> None:
    text = Text({})
    assert text.convert("%v", old, old, 2) == "%v"
    text.convert("%v", old, new, 2)
    (line,) = text.lines
    assert line.startswith(f"%t1 = {how} <2 x ")


@pytest.mark.parametrize(
    ("node", "dtypes"),
    [
        (of(np.add, X, Y), (F64, F64)),
        (of(np.multiply, F, X), (F64, F64)),
        (of(np.less, F, X), (F64, F64)),
        (of(np.less, F, 1), (F32, F32)),
        (of(np.less, K, 1), (I64, I64)),
        (of(np.less, J, K), (I64, I64)),
        (of(np.where, C, F, F), (BOOL, F32, F32)),
        (of(np.logical_and, C, C), (BOOL, BOOL)),
        (of(np.logical_not, C), (BOOL,)),
        (of(np.astype, K, F64), (I64,)),
        (of(np.astype, X, BOOL), (F64,)),
        (of(np.remainder, K, 3), (I64, I64)),
        (of(np.sin, F), (F32,)),
        (of(bitmask, C, 8), (BOOL,)),
        (of(keep, X, of(bitmask, C, 8)), (F64, I64)),
        (of(select, of(bitmask, C, 8), X, Y), (I64, F64, F64)),
    ],
)
def test_the_dtypes_in_which_operands_are_taken(node: Node, dtypes: tuple[Any, ...]) -> None:
    found = operand_dtypes(node)
    assert [dtype.str.replace("u", "i") for dtype in found] == [d.str for d in dtypes]


@pytest.mark.parametrize(
    "node",
    [of(np.add, C, C), of(np.remainder, K, -3), of(np.remainder, K, 0), of(np.remainder, K, K),
     of(np.floor_divide, K, K), of(np.astype, X, I64), of(np.sort, X), of(np.gcd, K, K)],
)  # fmt: skip
def test_operations_that_are_not_known(node: Node) -> None:
    with np.errstate(all="ignore"), pytest.raises(UnsupportedError):
        operand_dtypes(node)


def test_the_inner_loop_of_a_function_that_is_not_written_out() -> None:
    for node, signature in ((of(np.sin, X), "d->d"), (of(np.sin, F), "f->f")):
        found = inner_loop(node)
        assert found is not None
        assert (found[0], np.sin.types[found[1]]) == (np.sin, signature)
    arctan = inner_loop(of(np.arctan2, X, Y))
    assert arctan is not None
    assert np.arctan2.types[arctan[1]] == "dd->d"
    for node in (of(np.add, X, Y), of(np.gcd, K, K), of(np.sum, X), of(np.isnan, X)):
        assert inner_loop(node) is None
