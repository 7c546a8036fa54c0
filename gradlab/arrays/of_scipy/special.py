"""Special functions in terms of others, for libraries that do not have them."""

from __future__ import annotations

import sys
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


SOURCES.append(of_special)


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
def rel_entr(x: Any, y: Any) -> Any:
    """Return x log(x / y), 0 where x is 0 and y is not negative, else infinity."""
    x, y = as_array(x), as_array(y)
    is_inside = (x > 0) & (y > 0)
    ratio = np.where(is_inside, x, 1.0) / np.where(is_inside, y, 1.0)
    outside = np.where((x == 0) & (y >= 0), 0.0, np.inf)
    return np.where(is_inside, x * np.log(ratio), outside)


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


def _x_times(log: Any, x: Any, y: Any) -> Any:
    """Return x log(y), 0 where x is 0."""
    is_zero = np.equal(x, 0) & ~np.isnan(y)
    return np.where(is_zero, 0.0, x * log(np.where(is_zero, 1.0, y)))


SPECIAL |= {
    "log1p": lambda x: np.log1p(x),
    "expm1": lambda x: np.expm1(x),
    "cbrt": lambda x: np.cbrt(x),
    "exp2": lambda x: np.exp2(x),
    "exp10": lambda x: 10.0**x,
    "cosm1": lambda x: -2 * np.sin(x / 2) ** 2,  # without cancellation near 0
    "xlogy": lambda x, y: _x_times(np.log, x, y),
    "xlog1py": lambda x, y: _x_times(np.log1p, x, y),
    "kl_div": lambda x, y: _sp().rel_entr(x, y) - x + y,
    "boxcox": lambda x, k: np.log(x) * _sp().exprel(k * np.log(x)),
    "boxcox1p": lambda x, k: np.log1p(x) * _sp().exprel(k * np.log1p(x)),
    # Beta and gamma
    "betaln": lambda a, b: _sp().gammaln(a) + _sp().gammaln(b) - _sp().gammaln(as_array(a) + b),
    "beta": lambda a, b: (
        gammasgn(a) * gammasgn(b) * gammasgn(as_array(a) + b) * np.exp(_sp().betaln(a, b))
    ),
    "gamma": lambda x: gammasgn(x) * np.exp(_sp().gammaln(x)),
    "rgamma": lambda x: gammasgn(x) * np.exp(-_sp().gammaln(x)),
    "poch": lambda z, m: (
        gammasgn(z + m) * gammasgn(z) * np.exp(_sp().gammaln(z + m) - _sp().gammaln(z))
    ),
    # Distribution functions: normal, logistic, χ² and its survival function, Poisson
    "ndtr": lambda x: 0.5 * _sp().erfc(-x / np.sqrt(2)),
    "log_expit": lambda x: -np.logaddexp(0.0, -x),
    "chdtr": lambda v, x: _sp().gammainc(np.true_divide(v, 2), np.true_divide(x, 2)),
    "chdtrc": lambda v, x: _sp().gammaincc(np.true_divide(v, 2), np.true_divide(x, 2)),
    "pdtr": lambda k, m: _sp().gammaincc(np.floor(k) + 1, m),
}
