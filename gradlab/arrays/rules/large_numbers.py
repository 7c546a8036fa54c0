"""Rules that square no number: a square overflows from 1e154, and underflows below 1e-162.

autograd's rule of x / y divides by y², which makes the derivative inf at y = 1e-200, 0 at 1e160.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp

from gradlab.arrays.rules.shared import define

for _divide in (anp.divide, anp.true_divide):
    define(
        _divide,
        lambda g, ans, x, y: g / y,
        lambda g, ans, x, y: -(g / y) * ans,
    )

define(anp.reciprocal, lambda g, ans, x: -(g * ans) * ans)


def _over_radius_twice(g: Any, side: Any, x: Any, y: Any) -> Any:
    radius = anp.hypot(x, y)
    return (g / radius) * (side / radius)


define(
    anp.arctan2,
    lambda g, ans, x, y: _over_radius_twice(g, y, x, y),
    lambda g, ans, x, y: -_over_radius_twice(g, x, x, y),
)


def _arcsinh(g: Any, ans: Any, x: Any) -> Any:
    return g / (anp.sqrt(x**2 + 1) if anp.iscomplexobj(x) else anp.hypot(x, 1.0))


define(anp.arcsinh, _arcsinh)
define(anp.arcsin, lambda g, ans, x: g / anp.sqrt((1 - x) * (1 + x)))
define(anp.arccos, lambda g, ans, x: -g / anp.sqrt((1 - x) * (1 + x)))
define(anp.arctanh, lambda g, ans, x: g / ((1 - x) * (1 + x)))
define(anp.arccosh, lambda g, ans, x: g / (anp.sqrt(x - 1) * anp.sqrt(x + 1)))


# The logarithm of a sum of two zeros is -inf, and so are both terms: their difference is NaN.


def _share_of_sum(power: Any) -> Callable[[Any, Any], Any]:
    return lambda x, ans: power(x - anp.where(anp.isneginf(ans), 0.0, ans))


for _function, _power in ((anp.logaddexp, anp.exp), (anp.logaddexp2, anp.exp2)):
    _share = _share_of_sum(_power)
    define(
        _function,
        lambda g, ans, x, y, share=_share: g * share(x, ans),
        lambda g, ans, x, y, share=_share: g * share(y, ans),
    )
