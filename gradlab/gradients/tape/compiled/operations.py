"""Elementwise operations as vector instructions, each rounded as NumPy rounds it.

No flag lets LLVM change arithmetic: a product and a sum stay two operations, a NaN stays a NaN.
So a value that is computed twice has the same bits twice, and a comparison such as the one of
relu's derivative finds what the maximum had found. ``exp`` is a polynomial of our own. All other
functions are NumPy's own inner loops, called on a row: they have NumPy's bits and its speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.exponential import exp
from gradlab.gradients.tape.compiled.indexing import UnsupportedError
from gradlab.gradients.tape.compiled.kinds import dtype_of, short, type_of
from gradlab.gradients.tape.compiled.text import Text
from gradlab.program.ir import Node, name_of
from gradlab.program.pieces import is_number, is_uniform, number
from gradlab.program.primitives import is_elementwise
from gradlab.program.stand_ins import bitmask, keep, select

BOOL = np.dtype(bool)

COMPARISONS = {
    np.equal: ("oeq", "eq"),
    np.not_equal: ("une", "ne"),
    np.greater: ("ogt", "sgt"),
    np.greater_equal: ("oge", "sge"),
    np.less: ("olt", "slt"),
    np.less_equal: ("ole", "sle"),
}
LOGICAL = (np.logical_and, np.logical_or, np.logical_xor, np.logical_not)

CHOICE = "select {m} {0}, {v} {a}, {v} {b}"

INSTRUCTIONS: dict[Any, dict[str, tuple[str, ...]]] = {
    np.positive: dict.fromkeys("fib", ()),
    np.add: {"f": ("fadd {v} {a}, {b}",), "i": ("add {v} {a}, {b}",)},
    np.subtract: {"f": ("fsub {v} {a}, {b}",), "i": ("sub {v} {a}, {b}",)},
    np.multiply: {"f": ("fmul {v} {a}, {b}",), "i": ("mul {v} {a}, {b}",)},
    np.divide: {"f": ("fdiv {v} {a}, {b}",)},
    np.negative: {"f": ("fneg {v} {a}",), "i": ("sub {v} zeroinitializer, {a}",)},
    np.absolute: {"f": ("call {v} @llvm.fabs.{s}({v} {a})",)},
    np.square: {"f": ("fmul {v} {a}, {a}",), "i": ("mul {v} {a}, {a}",)},
    np.sqrt: {"f": ("call {v} @llvm.sqrt.{s}({v} {a})",)},
    np.exp: {"f": ()},  # see `exp`
    np.remainder: {  # of a positive number, whose sign the result has
        "i": ("srem {v} {a}, {b}", "icmp slt {v} {0}, zeroinitializer", "add {v} {0}, {b}",
              "select {m} {1}, {v} {2}, {v} {0}")
    },
    # A NaN of either operand is the result.
    np.maximum: {
        "f": ("fcmp oge {v} {a}, {b}", "fcmp uno {v} {a}, {a}", "or {m} {0}, {1}",
              CHOICE.replace("0", "2")),
        "i": ("icmp sge {v} {a}, {b}", CHOICE),
    },
    np.minimum: {
        "f": ("fcmp ole {v} {a}, {b}", "fcmp uno {v} {a}, {a}", "or {m} {0}, {1}",
              CHOICE.replace("0", "2")),
        "i": ("icmp sle {v} {a}, {b}", CHOICE),
    },
    np.where: {"b": ("select {m} {a}, {v} {b}, {v} {c}",)},
    np.invert: dict.fromkeys("ib", ("xor {v} {a}, {ones}",)),
    np.logical_not: {"b": ("xor {v} {a}, {ones}",)},
    np.logical_and: {"b": ("and {v} {a}, {b}",)},
    np.logical_or: {"b": ("or {v} {a}, {b}",)},
    np.logical_xor: {"b": ("xor {v} {a}, {b}",)},
    np.bitwise_and: dict.fromkeys("ib", ("and {v} {a}, {b}",)),
    np.bitwise_or: dict.fromkeys("ib", ("or {v} {a}, {b}",)),
    np.bitwise_xor: dict.fromkeys("ib", ("xor {v} {a}, {b}",)),
    bitmask: {"b": ("sext {m} {a} to {v}",)},
    keep: {"f": ("bitcast {v} {a} to {w}", "and {w} {0}, {b}", "bitcast {w} {1} to {v}")},
    select: {"i": ("icmp ne {w} {a}, zeroinitializer", "select {m} {0}, {v} {b}, {v} {c}")},
}  # fmt: skip
"""For each operation, by the kind of its first operand's dtype, the instructions.

The operands are a, b and c; the results of the instructions before are 0, 1 and 2. There are the
types of a vector of results (v), of operands (u), of bits (m), and of integers as wide as a result
(w), the suffix of LLVM's functions (s), and a vector of set bits."""

for _ufunc, (_float, _integer) in COMPARISONS.items():
    INSTRUCTIONS[_ufunc] = {
        "f": (f"fcmp {_float} {{u}} {{a}}, {{b}}",),
        "i": (f"icmp {_integer} {{u}} {{a}}, {{b}}",),
        "b": (f"icmp {_integer.replace('s', 'u')} {{u}} {{a}}, {{b}}",),
    }


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
    dtypes = (own,) * len(node.operands)
    if primitive is np.where:
        dtypes = BOOL, own, own
    elif primitive in COMPARISONS:
        dtypes = (np.result_type(*map(_dtype_or_number, node.operands)),) * 2
    elif primitive in LOGICAL:
        dtypes = (BOOL,) * len(node.operands)
    kind = dtypes[0].kind
    if inner_loop(node) is None and kind not in INSTRUCTIONS.get(primitive, ()):
        of = {"b": "booleans", "i": "integers"}.get(kind, str(dtypes[0]))
        raise UnsupportedError(f"{name_of(primitive)} of {of}")
    if primitive is np.remainder and kind == "i":
        divisor = node.operands[1]
        if not is_number(divisor) or divisor <= 0:
            raise UnsupportedError("remainder of integers by no positive number")
    return dtypes


def _dtype_or_number(operand: Any) -> Any:
    value = number(operand) if is_uniform(operand) else operand
    return value if is_number(value) else operand.dtype


def inner_loop(node: Node) -> tuple[np.ufunc, int] | None:
    """Return the ufunc and the position of its inner loop for a node that is not inlined.

    Returns None for a node that is inlined, or has no such loop.
    """
    ufunc, dtype = node.primitive, node.dtype
    if not isinstance(ufunc, np.ufunc) or ufunc.nout != 1 or dtype is None or dtype.kind != "f":
        return None
    signature = dtype.char * ufunc.nin + "->" + dtype.char
    if "f" in INSTRUCTIONS.get(ufunc, ()) or signature not in ufunc.types:
        return None
    return ufunc, ufunc.types.index(signature)


def write(text: Text, node: Node, lanes: int, operands: Sequence[str]) -> str:
    """Write an operation on vectors of `lanes` lanes; return the name of the result."""
    own, dtype = dtype_of(node), operand_dtypes(node)[0]
    if node.primitive is np.astype:
        return text.convert(operands[0], dtype, own, lanes)
    if node.primitive is np.exp:
        return exp(text, own, lanes, operands[0])
    return instruct(text, node.primitive, own, dtype, lanes, operands)


def instruct(
    text: Text,
    primitive: Any,
    own: np.dtype[Any],
    dtype: np.dtype[Any],
    lanes: int,
    operands: Sequence[str],
) -> str:
    """Write the instructions for a result of dtype `own`, with a first operand of `dtype`."""
    names = {
        "v": f"<{lanes} x {type_of(own)}>",
        "u": f"<{lanes} x {type_of(dtype)}>",
        "m": f"<{lanes} x i1>",
        "w": f"<{lanes} x i{8 * own.itemsize}>",
        "s": short(own, lanes),
        "ones": text.splat(-1, own, lanes),
        **dict(zip("abc", operands, strict=False)),
    }
    results: list[str] = []
    for instruction in INSTRUCTIONS[primitive][dtype.kind]:
        results.append(text.do(instruction.format(*results, **names)))
    return results[-1] if results else operands[0]
