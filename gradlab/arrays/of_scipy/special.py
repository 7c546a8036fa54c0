"""Special functions in terms of others, for libraries that do not have them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import SOURCES, Implementation

SPECIAL: dict[str, Implementation] = {}
"""The functions, by name in `scipy.special`."""


def _special(function: Implementation) -> Implementation:
    SPECIAL[function.__name__] = function
    return function


def _sp() -> Any:
    """Return `scipy.special`, which the loss has imported."""
    return sys.modules["scipy.special"]


def of_special(function: Any) -> Implementation | None:
    """Return the implementation of a ufunc of `scipy.special`, or None."""
    module = sys.modules.get("scipy.special")
    if module is None or not isinstance(function, np.ufunc):
        return None
    name = function.__name__
    return SPECIAL.get(name) if getattr(module, name, None) is function else None


@_special
def ndtr(x: Any) -> Any:
    """Return the normal distribution function."""
    return 0.5 * _sp().erfc(-as_array(x) / np.sqrt(2))


SOURCES.append(of_special)


def _same_as(function: Callable[..., Any]) -> Implementation:
    return lambda x: function(x)


SPECIAL.update({f.__name__: _same_as(f) for f in (np.log1p, np.expm1, np.cbrt, np.exp2)})


@_special
def exp10(x: Any) -> Any:
    """Return 10ˣ."""
    return 10.0 ** as_array(x)


@_special
def cosm1(x: Any) -> Any:
    """Return cos x - 1, without cancellation near 0."""
    return -2 * np.sin(as_array(x) / 2) ** 2


@_special
def log_expit(x: Any) -> Any:
    """Return the logarithm of the logistic function."""
    return -np.logaddexp(0.0, -as_array(x))


@_special
def exprel(x: Any) -> Any:
    """Return (eˣ - 1) / x; near 0 its series, for the sake of the derivative."""
    x = as_array(x)
    is_small = np.abs(x) < 1e-2
    safe = np.where(is_small, 1.0, x)
    series = 1 + x / 2 + x**2 / 6 + x**3 / 24 + x**4 / 120 + x**5 / 720 + x**6 / 5040
    return np.where(is_small, series, np.expm1(safe) / safe)


@_special
def gammasgn(x: Any) -> Any:
    """Return the sign of the gamma function."""
    x = as_array(x)
    return np.where(x > 0, 1.0, 1.0 - 2.0 * (np.floor(x) % 2))


@_special
def gamma(x: Any) -> Any:
    """Return the gamma function."""
    return gammasgn(x) * np.exp(_sp().gammaln(x))


@_special
def rgamma(x: Any) -> Any:
    """Return 1 / Γ(x)."""
    return gammasgn(x) * np.exp(-_sp().gammaln(x))


@_special
def betaln(a: Any, b: Any) -> Any:
    """Return the logarithm of the beta function's absolute value."""
    sp = _sp()
    return sp.gammaln(a) + sp.gammaln(b) - sp.gammaln(as_array(a) + b)


@_special
def beta(a: Any, b: Any) -> Any:
    """Return the beta function."""
    sign = gammasgn(a) * gammasgn(b) * gammasgn(as_array(a) + b)
    return sign * np.exp(betaln(a, b))


@_special
def poch(z: Any, m: Any) -> Any:
    """Return Γ(z + m) / Γ(z)."""
    sp, upper = _sp(), as_array(z) + m
    return gammasgn(upper) * gammasgn(z) * np.exp(sp.gammaln(upper) - sp.gammaln(z))


@_special
def rel_entr(x: Any, y: Any) -> Any:
    """Return x log(x / y), 0 where x is 0 and y is not negative, else infinity."""
    x, y = as_array(x), as_array(y)
    is_inside = (x > 0) & (y > 0)
    ratio = np.where(is_inside, x, 1.0) / np.where(is_inside, y, 1.0)
    outside = np.where((x == 0) & (y >= 0), 0.0, np.inf)
    return np.where(is_inside, x * np.log(ratio), outside)


@_special
def kl_div(x: Any, y: Any) -> Any:
    """Return x log(x / y) - x + y."""
    return _sp().rel_entr(x, y) - x + y


@_special
def xlogy(x: Any, y: Any) -> Any:
    """Return x log y, 0 where x is 0."""
    is_zero = np.equal(x, 0) & ~np.isnan(y)
    return np.where(is_zero, 0.0, x * np.log(np.where(is_zero, 1.0, y)))


@_special
def xlog1py(x: Any, y: Any) -> Any:
    """Return x log(1 + y), 0 where x is 0."""
    is_zero = np.equal(x, 0) & ~np.isnan(y)
    return np.where(is_zero, 0.0, x * np.log1p(np.where(is_zero, 1.0, y)))


@_special
def huber(delta: Any, r: Any) -> Any:
    """Return the Huber loss; infinity for a negative delta."""
    size = np.abs(as_array(r))
    inside = np.where(size <= delta, size**2 / 2, delta * (size - np.true_divide(delta, 2)))
    return np.where(np.less(delta, 0), np.inf, inside)


@_special
def pseudo_huber(delta: Any, r: Any) -> Any:
    """Return the pseudo-Huber loss, δ² (√(1 + (r/δ)²) - 1)."""
    is_zero = np.equal(delta, 0)
    safe = np.where(is_zero, 1.0, delta)
    u = as_array(r) / safe
    value = safe**2 * u**2 / (1 + np.sqrt(1 + u**2))
    return np.where(np.less(delta, 0), np.inf, np.where(is_zero, 0.0, value))


@_special
def boxcox(x: Any, lmbda: Any) -> Any:
    """Return (x^λ - 1) / λ; log x where λ is 0."""
    log = np.log(as_array(x))
    return log * _sp().exprel(lmbda * log)


@_special
def boxcox1p(x: Any, lmbda: Any) -> Any:
    """Return ((1 + x)^λ - 1) / λ; log(1 + x) where λ is 0."""
    log = np.log1p(as_array(x))
    return log * _sp().exprel(lmbda * log)


@_special
def chdtr(v: Any, x: Any) -> Any:
    """Return the distribution function of χ²."""
    return _sp().gammainc(np.true_divide(v, 2), np.true_divide(x, 2))


@_special
def chdtrc(v: Any, x: Any) -> Any:
    """Return the survival function of χ²."""
    return _sp().gammaincc(np.true_divide(v, 2), np.true_divide(x, 2))


@_special
def pdtr(k: Any, m: Any) -> Any:
    """Return the distribution function of a Poisson variable."""
    return _sp().gammaincc(np.floor(k) + 1, m)
