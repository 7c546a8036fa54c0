"""Elementwise operations as vector instructions, each rounded as NumPy rounds it.

No flag lets LLVM change arithmetic: a product and a sum stay two operations, a NaN stays a NaN.
So a value that is computed twice has the same bits twice, and a comparison such as the one of
relu's derivative finds what the maximum had found. ``exp`` is a polynomial of our own. All other
functions are NumPy's own inner loops, called on a row: they have NumPy's bits and its speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.forms import UnsupportedError
from gradlab.gradients.tape.compiled.kinds import dtype_of, type_of
from gradlab.gradients.tape.compiled.text import Text
from gradlab.program.ir import Node, name_of
from gradlab.program.pieces import is_number, is_uniform, number
from gradlab.program.primitives import is_elementwise
from gradlab.program.stand_ins import bitmask, keep, select

BOOL = np.dtype(bool)

ARITHMETIC = {
    np.add: ("fadd", "add"),
    np.subtract: ("fsub", "sub"),
    np.multiply: ("fmul", "mul"),
    np.divide: ("fdiv", None),
}
COMPARISONS = {
    np.equal: ("oeq", "eq"),
    np.not_equal: ("une", "ne"),
    np.greater: ("ogt", "sgt"),
    np.greater_equal: ("oge", "sge"),
    np.less: ("olt", "slt"),
    np.less_equal: ("ole", "sle"),
}
LOGICAL = {np.logical_and: "and", np.logical_or: "or", np.logical_xor: "xor"}
BITWISE = {np.bitwise_and: "and", np.bitwise_or: "or", np.bitwise_xor: "xor"}


def operand_dtypes(node: Node) -> tuple[np.dtype[Any], ...]:
    """Return the dtype in which a node takes each operand.

    Raises
    ------
    UnsupportedError
        If the operation is not known.
    """
    own, primitive = dtype_of(node), node.primitive
    if primitive is np.astype:
        dtype = node.operands[0].dtype
        if dtype.kind == "f" and own.kind != "f" and own != BOOL:
            raise UnsupportedError(f"astype from {dtype} to {own}")
        return (dtype,)
    if primitive is bitmask:
        return (BOOL,)
    if primitive is keep:
        return own, node.operands[1].dtype
    if primitive is select:
        return node.operands[0].dtype, own, own
    if not is_elementwise(node):
        raise UnsupportedError(name_of(primitive))
    if primitive is np.where:
        return BOOL, own, own
    if primitive in COMPARISONS:
        dtype = np.result_type(*map(_dtype_or_number, node.operands))
        return dtype, dtype
    if primitive in LOGICAL:
        return BOOL, BOOL
    if primitive is np.logical_not:
        return (BOOL,)
    if own == BOOL and primitive not in BITWISE and primitive is not np.invert:
        raise UnsupportedError(f"{name_of(primitive)} of booleans")
    if primitive in ARITHMETIC and ARITHMETIC[primitive][own.kind != "f"] is None:
        raise UnsupportedError(f"{name_of(primitive)} of integers")
    if primitive in (np.remainder, np.floor_divide) and own.kind == "i":
        divisor = node.operands[1]
        if not is_number(divisor) or divisor <= 0:
            raise UnsupportedError(f"{name_of(primitive)} of integers by no positive number")
        return own, own
    known = primitive in ARITHMETIC or primitive in BITWISE or primitive in WRITERS
    if not known and inner_loop(node) is None:
        raise UnsupportedError(name_of(primitive))
    return (own,) * len(node.operands)


def _dtype_or_number(operand: Any) -> Any:
    if isinstance(operand, Node):
        return (
            number(operand) if is_uniform(operand) and is_number(number(operand)) else operand.dtype
        )
    return operand if is_number(operand) else operand.dtype


def inner_loop(node: Node) -> tuple[np.ufunc, int] | None:
    """Return the ufunc and the position of its inner loop for a node that is not inlined.

    Returns None for a node that is inlined, or has no such loop.
    """
    primitive = node.primitive
    if not isinstance(primitive, np.ufunc) or primitive in WRITERS or primitive.nout != 1:
        return None
    if node.dtype is None or dtype_of(node).kind != "f" or primitive in ARITHMETIC:
        return None
    signature = node.dtype.char * primitive.nin + "->" + node.dtype.char
    return (primitive, primitive.types.index(signature)) if signature in primitive.types else None


def write(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    """Write an operation on vectors of `lanes` lanes; return the name of the result."""
    own, primitive = dtype_of(node), node.primitive
    dtypes = operand_dtypes(node)
    vector = f"<{lanes} x {type_of(own)}>"
    if primitive in ARITHMETIC:
        op = ARITHMETIC[primitive][own.kind != "f"]
        return text.do(f"{op} {vector} {operands[0]}, {operands[1]}")
    if primitive in COMPARISONS:
        return compare(text, COMPARISONS[primitive], dtypes[0], lanes, operands)
    if primitive in LOGICAL or primitive in BITWISE:
        op = LOGICAL.get(primitive) or BITWISE[primitive]
        return text.do(f"{op} {vector} {operands[0]}, {operands[1]}")
    if primitive is np.astype:
        return text.convert(operands[0], dtypes[0], own, lanes)
    writer: Callable[..., str] = {**WRITERS, **INTEGERS}[primitive]
    return writer(text, node, lanes, operands)


def compare(
    text: Text,
    condition: tuple[str, str],
    dtype: np.dtype[Any],
    lanes: int,
    operands: Sequence[str],
) -> str:
    """Write a comparison of floats or of integers."""
    is_float = dtype.kind == "f"
    how = f"fcmp {condition[0]}" if is_float else f"icmp {condition[1]}"
    if dtype == BOOL:
        how = how.replace("icmp s", "icmp u")
    return text.do(f"{how} <{lanes} x {type_of(dtype)}> {operands[0]}, {operands[1]}")


def _select(text: Text, condition: str, vector: str, lanes: int, a: str, b: str) -> str:
    return text.do(f"select <{lanes} x i1> {condition}, {vector} {a}, {vector} {b}")


def _extremum(largest: bool) -> Callable[..., str]:
    def write_extremum(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
        a, b = operands
        dtype = dtype_of(node)
        vector = f"<{lanes} x {type_of(dtype)}>"
        taken = compare(text, ("oge", "sge") if largest else ("ole", "sle"), dtype, lanes, (a, b))
        if dtype.kind == "f":  # a NaN of either operand is the result
            is_nan = text.do(f"fcmp uno {vector} {a}, {a}")
            taken = text.do(f"or <{lanes} x i1> {taken}, {is_nan}")
        return _select(text, taken, vector, lanes, a, b)

    return write_extremum


def _intrinsic(name: str) -> Callable[..., str]:
    def write_intrinsic(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
        return text.intrinsic(name, node.dtype, lanes, operands)

    return write_intrinsic


def _negative(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    vector = f"<{lanes} x {type_of(dtype_of(node))}>"
    if dtype_of(node).kind == "f":
        return text.do(f"fneg {vector} {operands[0]}")
    return text.do(f"sub {vector} zeroinitializer, {operands[0]}")


def _absolute(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    if dtype_of(node).kind == "f":
        return text.intrinsic("fabs", node.dtype, lanes, operands)
    vector = f"<{lanes} x {type_of(dtype_of(node))}>"
    opposite = text.do(f"sub {vector} zeroinitializer, {operands[0]}")
    is_negative = text.do(f"icmp slt {vector} {operands[0]}, zeroinitializer")
    return _select(text, is_negative, vector, lanes, opposite, operands[0])


def _where(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    vector = f"<{lanes} x {type_of(dtype_of(node))}>"
    return _select(text, operands[0], vector, lanes, operands[1], operands[2])


def _bitmask(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    return text.do(f"sext <{lanes} x i1> {operands[0]} to <{lanes} x {type_of(dtype_of(node))}>")


def _kept(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    x, mask = operands
    floats = f"<{lanes} x {type_of(dtype_of(node))}>"
    bits = f"<{lanes} x i{8 * dtype_of(node).itemsize}>"
    found = text.do(f"and {bits} {text.do(f'bitcast {floats} {x} to {bits}')}, {mask}")
    return text.do(f"bitcast {bits} {found} to {floats}")


def _selected(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    mask, x, y = operands
    bits = f"<{lanes} x i{8 * dtype_of(node).itemsize}>"
    taken = text.do(f"icmp ne {bits} {mask}, zeroinitializer")
    return _select(text, taken, f"<{lanes} x {type_of(dtype_of(node))}>", lanes, x, y)


def _inverted(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    kind = type_of(dtype_of(node))
    ones = ", ".join([f"{kind} {'true' if kind == 'i1' else '-1'}"] * lanes)
    return text.do(f"xor <{lanes} x {kind}> {operands[0]}, <{ones}>")


def _remainder(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    """Write the remainder of integers, which has the sign of the divisor, a positive number."""
    vector = f"<{lanes} x {type_of(dtype_of(node))}>"
    rest = text.do(f"srem {vector} {operands[0]}, {operands[1]}")
    is_negative = text.do(f"icmp slt {vector} {rest}, zeroinitializer")
    above = text.do(f"add {vector} {rest}, {operands[1]}")
    return _select(text, is_negative, vector, lanes, above, rest)


def _floor_divide(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    vector = f"<{lanes} x {type_of(dtype_of(node))}>"
    rest = _remainder(text, node, lanes, operands)
    whole = text.do(f"sub {vector} {operands[0]}, {rest}")
    return text.do(f"sdiv {vector} {whole}, {operands[1]}")


def _square(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    op = "fmul" if dtype_of(node).kind == "f" else "mul"
    return text.do(f"{op} <{lanes} x {type_of(dtype_of(node))}> {operands[0]}, {operands[0]}")


def _exp(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    return text.call_exp(dtype_of(node), lanes, operands[0])


WRITERS: dict[Any, Callable[..., str]] = {
    np.positive: lambda text, node, lanes, operands: operands[0],
    np.negative: _negative,
    np.absolute: _absolute,
    np.maximum: _extremum(True),
    np.minimum: _extremum(False),
    np.where: _where,
    np.logical_not: _inverted,
    np.invert: _inverted,
    np.square: _square,
    np.sqrt: _intrinsic("sqrt"),
    np.exp: _exp,
    bitmask: _bitmask,
    keep: _kept,
    select: _selected,
}
"""Operations that are written inline, beside those in the tables above."""

INTEGERS: dict[Any, Callable[..., str]] = {np.remainder: _remainder, np.floor_divide: _floor_divide}
"""Operations that are written inline for integers alone."""
