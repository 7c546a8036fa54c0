"""The exponential function of a vector: 2^n times a polynomial (Cody & Waite).

x = n ln 2 + r with |r| <= ln 2 / 2; n is found by adding a number so large that the sum has no
digits after the point; ln 2 is subtracted in two parts (Cody & Waite, *Software Manual for the
Elementary Functions*, 1980, chapter 6). exp r is a polynomial: of degree 7 with the coefficients of
Cephes' ``expf`` in float32, Taylor's of degree 13 in float64, whose remainder r^14 / 14! is below
2^-57. The factor 2^n is applied in two steps, so that results below the smallest normal number
come out, too. A NaN stays one. The result is within 1 unit in the last place.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.kinds import constant, type_of

_CEPHES = [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2]
_CEPHES += [1.6666665459e-1, 5.0000001201e-1]

_SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {
        "range": (-104.0, 89.0),  # exp of these is 0 and infinite
        "magic": 12582912.0,  # 1.5 2^23
        "ln2": (0.693359375, -2.12194440e-4),
        "coefficients": _CEPHES,
        "bits": (0x4B400000, 127, 23),  # of the magic number, bias and place of the exponent
    },
    "float64": {
        "range": (-746.0, 710.0),
        "magic": 6755399441055744.0,  # 1.5 2^52
        "ln2": (6.93147180369123816490e-01, 1.90821492927058770002e-10),
        "coefficients": [1 / factorial(n) for n in range(13, 1, -1)],
        "bits": (0x4338000000000000, 1023, 52),
    },
}


def exp_function(name: str, dtype: np.dtype[Any], lanes: int) -> str:
    """Write the function for vectors of `lanes` lanes."""
    settings = _SETTINGS[dtype.name]
    kind, bits = type_of(dtype), f"i{8 * dtype.itemsize}"
    v, w = f"<{lanes} x {kind}>", f"<{lanes} x {bits}>"
    fma = f"call {v} @llvm.fma.v{lanes}f{8 * dtype.itemsize}"

    def number(value: float) -> str:
        return f"<{', '.join([f'{kind} {constant(value, dtype)}'] * lanes)}>"

    def integer(value: int) -> str:
        return f"<{', '.join([f'{bits} {value}'] * lanes)}>"

    (low, high), (ln2, rest) = settings["range"], settings["ln2"]
    magic, bias, place = settings["bits"]
    lines = [
        f"define internal {v} @{name}({v} %x) alwaysinline {{",
        f"%is_low = fcmp olt {v} %x, {number(low)}",
        f"%x0 = select <{lanes} x i1> %is_low, {v} {number(low)}, {v} %x",
        f"%is_high = fcmp ogt {v} %x0, {number(high)}",
        f"%x1 = select <{lanes} x i1> %is_high, {v} {number(high)}, {v} %x0",
        f"%shifted = {fma}({v} %x1, {v} {number(1 / np.log(2))}, {v} {number(settings['magic'])})",
        f"%n = fsub {v} %shifted, {number(settings['magic'])}",
        f"%r0 = {fma}({v} %n, {v} {number(-ln2)}, {v} %x1)",
        f"%r = {fma}({v} %n, {v} {number(-rest)}, {v} %r0)",
        f"%square = fmul {v} %r, %r",
    ]
    value = number(settings["coefficients"][0])
    for step, coefficient in enumerate(settings["coefficients"][1:]):
        lines.append(f"%p{step} = {fma}({v} {value}, {v} %r, {v} {number(coefficient)})")
        value = f"%p{step}"
    lines += [
        f"%tail = {fma}({v} {value}, {v} %square, {v} %r)",
        f"%y = fadd {v} %tail, {number(1.0)}",
        f"%whole = bitcast {v} %shifted to {w}",
        f"%e = sub {w} %whole, {integer(magic)}",
        f"%half = ashr {w} %e, {integer(1)}",
        f"%other = sub {w} %e, %half",
    ]
    for part in ("half", "other"):
        lines += [
            f"%{part}_biased = add {w} %{part}, {integer(bias)}",
            f"%{part}_bits = shl {w} %{part}_biased, {integer(place)}",
            f"%{part}_factor = bitcast {w} %{part}_bits to {v}",
        ]
    lines += [
        f"%scaled = fmul {v} %y, %half_factor",
        f"%result = fmul {v} %scaled, %other_factor",
        f"ret {v} %result",
        "}",
    ]
    return "\n".join(lines)
