"""Rules that square no number: a square overflows from 1e154, and underflows below 1e-162.

autograd's rule of x / y divides by y², which makes the derivative inf at y = 1e-200, 0 at 1e160.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
from autograd.core import defjvp, defvjp

from gradlab.arrays.rules.shared import unbroadcast_to


def _define(function: Any, slope: Callable[..., Any]) -> None:
    """Register ``slope(g, ans, x)``, the derivative of a function of one number, times g."""
    defvjp(function, lambda ans, x: lambda g: slope(g, ans, x))
    defjvp(function, slope)


def _define_binary(function: Any, first: Callable[..., Any], second: Callable[..., Any]) -> None:
    """Register ``slope(g, ans, x, y)`` of both arguments."""

    def of_first(ans: Any, x: Any, y: Any) -> Any:
        sum_up = unbroadcast_to(x)
        return lambda g: sum_up(first(g, ans, x, y))

    def of_second(ans: Any, x: Any, y: Any) -> Any:
        sum_up = unbroadcast_to(y)
        return lambda g: sum_up(second(g, ans, x, y))

    defvjp(function, of_first, of_second)
    defjvp(function, first, second)


for _divide in (anp.divide, anp.true_divide):
    _define_binary(
        _divide,
        lambda g, ans, x, y: g / y,
        lambda g, ans, x, y: -(g / y) * ans,
    )

_define(anp.reciprocal, lambda g, ans, x: -(g * ans) * ans)


def _over_radius_twice(g: Any, side: Any, x: Any, y: Any) -> Any:
    radius = anp.hypot(x, y)
    return (g / radius) * (side / radius)


_define_binary(
    anp.arctan2,
    lambda g, ans, x, y: _over_radius_twice(g, y, x, y),
    lambda g, ans, x, y: -_over_radius_twice(g, x, x, y),
)


def _arcsinh(g: Any, ans: Any, x: Any) -> Any:
    return g / (anp.sqrt(x**2 + 1) if anp.iscomplexobj(x) else anp.hypot(x, 1.0))


_define(anp.arcsinh, _arcsinh)
_define(anp.arcsin, lambda g, ans, x: g / anp.sqrt((1 - x) * (1 + x)))
_define(anp.arccos, lambda g, ans, x: -g / anp.sqrt((1 - x) * (1 + x)))
_define(anp.arctanh, lambda g, ans, x: g / ((1 - x) * (1 + x)))
_define(anp.arccosh, lambda g, ans, x: g / (anp.sqrt(x - 1) * anp.sqrt(x + 1)))


# The logarithm of a sum of two zeros is -inf, and so are both terms: their difference is NaN.


def _share_of_sum(power: Any) -> Callable[[Any, Any], Any]:
    return lambda x, ans: power(x - anp.where(anp.isneginf(ans), 0.0, ans))


for _function, _power in ((anp.logaddexp, anp.exp), (anp.logaddexp2, anp.exp2)):
    _share = _share_of_sum(_power)
    _define_binary(
        _function,
        lambda g, ans, x, y, share=_share: g * share(x, ans),
        lambda g, ans, x, y, share=_share: g * share(y, ans),
    )
