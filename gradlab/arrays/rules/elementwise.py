"""Elementwise functions, choices and casts; functions without a derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import JVPNode, VJPNode, defjvp, defvjp
from autograd.extend import primitive
from autograd.tracer import register_notrace

from gradlab.arrays.rules.shared import define, where_primitive

# autograd's rule of where leaves out the sum over what is broadcast.
define(
    where_primitive,
    None,
    lambda g, ans, c, x, y: where_primitive(c, g, anp.zeros(anp.shape(ans))),
    lambda g, ans, c, x, y: where_primitive(c, anp.zeros(anp.shape(ans)), g),
)


def where(condition: Any, *choices: Any) -> Any:
    """Return `numpy.where` of traced arrays; for a condition only, the places where it holds."""
    if not choices:
        return anp.nonzero(condition)
    return where_primitive(condition, *choices)


def of_complex(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that leaves real arrays as they are: their real part, or conjugate."""
    return lambda x: function(x) if anp.iscomplexobj(x) else x


define(anp.cbrt, lambda g, ans, x: g / (3 * ans**2))


# autograd's rule of abs divides x by |x|, whose derivative is lost from |x| = 1e154: the Hessian of
# abs was 1e-200 at 1e200. The sign has the derivative 0. Both are 0 at 0.


def _direction(x: Any, length: Any) -> Any:
    return anp.conj(x) / anp.where(length == 0, 1.0, length) if anp.iscomplexobj(x) else anp.sign(x)


defvjp(anp.abs, lambda ans, x: lambda g: g * _direction(x, ans))
defjvp(anp.abs, lambda g, ans, x: of_complex(anp.real)(g * _direction(x, ans)))


# Like a norm, hypot has the derivative 0 at 0.


def _share(x: Any, length: Any) -> Any:
    return x / anp.where(length == 0, 1.0, length)


define(
    anp.hypot,
    lambda g, ans, x, y: g * _share(x, ans),
    lambda g, ans, x, y: g * _share(y, ans),
)


# Second derivatives of tanh, whose first derivative is g / cosh². The rule divides twice, because
# the derivative of a quotient has the square of the divisor, and cosh⁴ overflows from |x| = 177.
# From |x| = 710, cosh itself is inf and gets the cotangent 0. Its slope stays finite there, because
# 0 · inf is NaN.


def _finite_sinh(x: Any) -> Any:
    kind = anp.result_type(x)
    if kind.kind != "f":
        return anp.sinh(x)
    largest = kind.type(np.log(np.finfo(kind).max) - 1)
    return anp.sinh(anp.clip(x, -largest, largest))


def _over_cosh_twice(g: Any, x: Any) -> Any:
    cosh = anp.cosh(x)
    return g / cosh / cosh


define(anp.cosh, lambda g, ans, x: g * _finite_sinh(x))
define(anp.tanh, lambda g, ans, x: _over_cosh_twice(g, x))


def _astype_vjp(ans: Any, x: Any, dtype: Any, **options: Any) -> Any:
    kind = anp.result_type(x)
    is_real = kind.kind != "c"  # only the real part of g belongs to x
    return lambda g: anp.astype(anp.real(g) if is_real and anp.iscomplexobj(g) else g, kind)


defvjp(anp.astype, _astype_vjp, argnums=(0,))
defjvp(anp.astype, lambda g, ans, x, dtype, **options: anp.astype(g, ans.dtype))


@primitive  # type: ignore[untyped-decorator]
def _integers(x: Any, dtype: Any) -> Any:
    return np.asarray(x).astype(dtype)


register_notrace(VJPNode, _integers)
register_notrace(JVPNode, _integers)


def astype(x: Any, dtype: Any, *, copy: bool = True, device: Any = None) -> Any:
    """Return an array in another dtype; among integers there is no derivative."""
    return anp.astype(x, dtype) if np.dtype(dtype).kind in "fc" else _integers(x, dtype)


for _flat in (anp.digitize, anp.isin, anp.lexsort, anp.heaviside, anp.signbit):
    register_notrace(VJPNode, _flat)
    register_notrace(JVPNode, _flat)
INTEGER_FUNCTIONS = {np.unravel_index, np.ravel_multi_index, np.digitize, np.isin, np.lexsort}
"""Functions of integers and truth values, which a recording follows although they have no rule."""
