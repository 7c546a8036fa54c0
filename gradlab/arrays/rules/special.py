"""SciPy's special functions, entry by entry: each rule is the derivative for each argument.

The formulas are in the Digital Library of Mathematical Functions, https://dlmf.nist.gov: chapters 5
(gamma), 6 (exponential integrals), 7 (error functions), 8 (incomplete gamma and beta functions), 10
(Bessel functions), 19 (elliptic integrals) and 25 (zeta). The derivative of a distribution function
is its density.

SciPy need not be installed: `autograd` imports this module when a loss calls one of its functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import autograd.scipy.special as asp  # registers autograd's own rules, which these replace
import numpy as np
import scipy.special as sp
from autograd.core import defjvp
from autograd.extend import primitive
from autograd.tracer import trace_primitives_map

from gradlab.arrays.rules.shared import define

Derivative = Callable[..., Any]

_ROOT_PI = float(np.sqrt(np.pi))
_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))


def _density(x: Any) -> Any:
    """Return the standard normal density."""
    return anp.exp(-(x**2) / 2) / _ROOT_TWO_PI


def _log_or_zero(x: Any, y: Any) -> Any:
    return anp.where(x == 0, 0.0, x) / anp.where(x == 0, 1.0, y)


def _beta_density(a: Any, b: Any, x: Any) -> Any:
    return anp.exp(sp.xlogy(a - 1, x) + sp.xlog1py(b - 1, -x) - sp.betaln(a, b))


def _t_density(df: Any, t: Any) -> Any:
    scale = sp.gammaln((df + 1) / 2) - sp.gammaln(df / 2) - anp.log(df * np.pi) / 2
    return anp.exp(scale - (df + 1) / 2 * anp.log1p(t**2 / df))


def _exprel(ans: Any, x: Any) -> Any:
    """Return the derivative of (eˣ - 1) / x; near 0 by its series, as the quotient is 0/0 there."""
    is_small = abs(x) < 1e-2
    safe = anp.where(is_small, 1.0, x)
    series = 1 / 2 + x / 3 + x**2 / 8 + x**3 / 30 + x**4 / 144 + x**5 / 840
    return anp.where(is_small, series, (anp.exp(safe) - sp.exprel(safe)) / safe)


def _i1e(ans: Any, x: Any) -> Any:
    at_zero = x == 0
    return sp.i0e(x) - ans * anp.sign(x) - anp.where(at_zero, 0.5, ans / anp.where(at_zero, 1.0, x))


DERIVATIVES: dict[str, tuple[Derivative | None, ...]] = {
    # Gamma and beta
    "gamma": (lambda y, x: y * sp.psi(x),),
    "gammaln": (lambda y, x: sp.psi(x),),
    "rgamma": (lambda y, x: -y * sp.psi(x),),
    "psi": (lambda y, x: asp.polygamma(1, x),),
    "zeta": (None, lambda y, x, q: -x * sp.zeta(x + 1, q)),
    "beta": (
        lambda y, a, b: y * (sp.psi(a) - sp.psi(a + b)),
        lambda y, a, b: y * (sp.psi(b) - sp.psi(a + b)),
    ),
    "betaln": (
        lambda y, a, b: sp.psi(a) - sp.psi(a + b),
        lambda y, a, b: sp.psi(b) - sp.psi(a + b),
    ),
    "poch": (
        lambda y, z, m: y * (sp.psi(z + m) - sp.psi(z)),
        lambda y, z, m: y * sp.psi(z + m),
    ),
    "gammainc": (None, lambda y, a, x: anp.exp(sp.xlogy(a - 1, x) - x - sp.gammaln(a))),
    "gammaincc": (None, lambda y, a, x: -anp.exp(sp.xlogy(a - 1, x) - x - sp.gammaln(a))),
    "gammaincinv": (None, lambda y, a, p: anp.exp(y + sp.gammaln(a) - sp.xlogy(a - 1, y))),
    "betainc": (None, None, lambda y, a, b, x: _beta_density(a, b, x)),
    "betaincinv": (None, None, lambda y, a, b, p: 1 / _beta_density(a, b, y)),
    # Error functions and the normal distribution
    "erf": (lambda y, x: 2 / _ROOT_PI * anp.exp(-(x**2)),),
    "erfc": (lambda y, x: -2 / _ROOT_PI * anp.exp(-(x**2)),),
    "erfcx": (lambda y, x: 2 * x * y - 2 / _ROOT_PI,),
    "erfi": (lambda y, x: 2 / _ROOT_PI * anp.exp(x**2),),
    "dawsn": (lambda y, x: 1 - 2 * x * y,),
    "erfinv": (lambda y, x: _ROOT_PI / 2 * anp.exp(y**2),),
    "erfcinv": (lambda y, x: -_ROOT_PI / 2 * anp.exp(y**2),),
    "ndtr": (lambda y, x: _density(x),),
    "ndtri": (lambda y, p: 1 / _density(y),),
    "log_ndtr": (lambda y, x: anp.exp(-(x**2) / 2 - y) / _ROOT_TWO_PI,),
    "stdtr": (None, lambda y, df, t: _t_density(df, t)),
    "stdtrit": (None, lambda y, df, p: 1 / _t_density(df, y)),
    # Logarithms, exponentials, entropies
    "expit": (lambda y, x: y * sp.expit(-x),),
    "logit": (lambda y, p: 1 / (p * (1 - p)),),
    "log_expit": (lambda y, x: sp.expit(-x),),
    "exprel": (_exprel,),
    "xlogy": (lambda y, a, b: anp.log(b), lambda y, a, b: _log_or_zero(a, b)),
    "xlog1py": (lambda y, a, b: anp.log1p(b), lambda y, a, b: _log_or_zero(a, 1 + b)),
    "entr": (lambda y, x: -anp.log(x) - 1,),
    "rel_entr": (lambda y, a, b: anp.log(a / b) + 1, lambda y, a, b: -a / b),
    "kl_div": (lambda y, a, b: anp.log(a / b), lambda y, a, b: 1 - a / b),
    # Exponential integrals
    "expi": (lambda y, x: anp.exp(x) / x,),
    "exp1": (lambda y, x: -anp.exp(-x) / x,),
    "spence": (lambda y, z: anp.log(z) / (1 - z),),
    # Bessel functions
    "j0": (lambda y, x: -sp.j1(x),),
    "j1": (lambda y, x: (sp.j0(x) - sp.jv(2, x)) / 2,),
    "jv": (None, lambda y, n, x: (sp.jv(n - 1, x) - sp.jv(n + 1, x)) / 2),
    "y0": (lambda y, x: -sp.y1(x),),
    "y1": (lambda y, x: (sp.y0(x) - sp.yn(2, x)) / 2,),
    "yn": (None, lambda y, n, x: (sp.yn(n - 1, x) - sp.yn(n + 1, x)) / 2),
    "i0": (lambda y, x: sp.i1(x),),
    "i1": (lambda y, x: (sp.i0(x) + sp.iv(2, x)) / 2,),
    "iv": (None, lambda y, n, x: (sp.iv(n - 1, x) + sp.iv(n + 1, x)) / 2),
    "i0e": (lambda y, x: sp.i1e(x) - anp.sign(x) * y,),
    "i1e": (_i1e,),
    "k0": (lambda y, x: -sp.k1(x),),
    "k1": (lambda y, x: -sp.k0(x) - y / x,),
    "kv": (None, lambda y, n, x: -(sp.kv(n - 1, x) + sp.kv(n + 1, x)) / 2),
    "k0e": (lambda y, x: y - sp.k1e(x),),
    "k1e": (lambda y, x: y * (1 - 1 / x) - sp.k0e(x),),
    # Elliptic integrals of the parameter m = k²
    "ellipk": (lambda y, m: (sp.ellipe(m) / (1 - m) - y) / (2 * m),),
    "ellipe": (lambda y, m: (y - sp.ellipk(m)) / (2 * m),),
}
"""For each function, its derivatives for the arguments, of its value and its arguments.

None stands for one that has no closed form.
"""


def _register(name: str, derivatives: tuple[Derivative | None, ...]) -> None:
    function = getattr(sp, name)  # where that is Python, a ufunc does the work
    ufunc = function if isinstance(function, np.ufunc) else getattr(sp._ufuncs, f"_{name}")
    wrapper = trace_primitives_map.get(ufunc) or primitive(ufunc)
    define(wrapper, *map(_times, derivatives))


def _times(derivative: Derivative | None) -> Callable[..., Any] | None:
    return None if derivative is None else lambda g, ans, *args: g * derivative(ans, *args)


for _name, _derivatives in DERIVATIVES.items():
    if hasattr(sp, _name):
        _register(_name, _derivatives)

defjvp(asp.polygamma, None, lambda g, ans, n, x: g * asp.polygamma(n + 1, x))
