"""The exponential function of a vector: 2^n times a polynomial (Cody & Waite).

x = n ln 2 + r with |r| <= ln 2 / 2; n is found by adding a number so large that the sum has no
digits after the point; ln 2 is subtracted in two parts (Cody & Waite, *Software Manual for the
Elementary Functions*, 1980, chapter 6). exp r is a polynomial: of degree 7 with the coefficients of
Cephes' ``expf`` in float32, Taylor's of degree 13 in float64, whose remainder r^14 / 14! is below
2^-57. The factor 2^n is applied in two steps, so that results below the smallest normal number
come out, too. A NaN stays one. The result is within 1 unit in the last place.
"""

from __future__ import annotations

from math import factorial, log
from typing import Any, NamedTuple

import numpy as np

from gradlab.gradients.tape.compiled.kinds import constant, type_of
from gradlab.gradients.tape.compiled.text import Text


class _Settings(NamedTuple):
    range: tuple[float, float]  # exp of these is 0 and infinite
    magic: float  # 1.5 times 2 to the number of digits
    ln2: tuple[float, float]
    coefficients: list[float]
    bits: tuple[int, int, int]  # of the magic number; bias and place of the exponent


_CEPHES = [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2]
_CEPHES += [1.6666665459e-1, 5.0000001201e-1]
_TAYLOR = [1 / factorial(n) for n in range(13, 1, -1)]
_LN2 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)

_SETTINGS = {
    "float32": _Settings(
        (-104.0, 89.0), 12582912.0, (0.693359375, -2.12194440e-4), _CEPHES, (0x4B400000, 127, 23)
    ),
    "float64": _Settings(
        (-746.0, 710.0), 6755399441055744.0, _LN2, _TAYLOR, (0x4338000000000000, 1023, 52)
    ),
}


def exp(text: Text, dtype: np.dtype[Any], lanes: int, x: str) -> str:
    """Write the function of a vector; return the name of the result."""
    settings = _SETTINGS[dtype.name]
    kind = type_of(dtype)
    v, w, bits = f"<{lanes} x {kind}>", f"<{lanes} x i{8 * dtype.itemsize}>", f"<{lanes} x i1>"

    def number(value: float) -> str:
        return f"<{', '.join([f'{kind} {constant(value, dtype)}'] * lanes)}>"

    def integer(value: int) -> str:
        return f"<{', '.join([f'i{8 * dtype.itemsize} {value}'] * lanes)}>"

    def fma(a: str, b: str, c: str) -> str:
        return text.intrinsic("fma", dtype, lanes, (a, b, c))

    for condition, end in zip(("olt", "ogt"), map(number, settings.range), strict=True):
        outside = text.do(f"fcmp {condition} {v} {x}, {end}")
        x = text.do(f"select {bits} {outside}, {v} {end}, {v} {x}")
    magic = number(settings.magic)
    shifted = fma(x, number(1 / log(2)), magic)
    n, r = text.do(f"fsub {v} {shifted}, {magic}"), x
    for multiple in settings.ln2:
        r = fma(n, number(-multiple), r)
    value, *coefficients = map(number, settings.coefficients)
    for coefficient in coefficients:
        value = fma(value, r, coefficient)
    value = fma(value, text.do(f"fmul {v} {r}, {r}"), r)
    value = text.do(f"fadd {v} {value}, {number(1.0)}")
    of_magic, bias, place = settings.bits
    exponent = text.do(f"sub {w} {text.do(f'bitcast {v} {shifted} to {w}')}, {integer(of_magic)}")
    half = text.do(f"ashr {w} {exponent}, {integer(1)}")
    for part in (half, text.do(f"sub {w} {exponent}, {half}")):
        biased = text.do(f"add {w} {part}, {integer(bias)}")
        factor = text.do(f"shl {w} {biased}, {integer(place)}")
        value = text.do(f"fmul {v} {value}, {text.do(f'bitcast {w} {factor} to {v}')}")
    return value
