"""Densities and distribution functions of `scipy.stats`.

`scipy.stats` computes them at plain arrays: it selects the entries inside the support, and writes
the results into a new array. Here the formula of the standard distribution is evaluated at all
entries, and `where` takes those inside. The formula is a method of each distribution: `_logpdf`,
`_cdf` and so on, which a subclass of SciPy's defines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array

_VALUES_OUTSIDE_SUPPORT = {
    **dict.fromkeys(("logpdf", "logpmf"), (-np.inf, -np.inf)),
    **dict.fromkeys(("pdf", "pmf"), (0.0, 0.0)),
    "cdf": (0.0, 1.0),
    "logcdf": (-np.inf, 0.0),
    "sf": (1.0, 0.0),
    "logsf": (0.0, -np.inf),
}
"""The values below and above the support."""


def _sp() -> Any:
    from scipy import special  # the loss has imported it

    return special


def _t_logpdf(x: Any, df: Any) -> Any:
    sp = _sp()
    scale = sp.gammaln((df + 1) / 2) - sp.gammaln(np.true_divide(df, 2))
    return scale - np.log(df * np.pi) / 2 - (df + 1) / 2 * np.log1p(x * x / df)


_FORMULAS: dict[tuple[str, str], Callable[..., Any]] = {
    ("t", "logpdf"): _t_logpdf,
    ("cauchy", "logpdf"): lambda x: -np.log(np.pi) - np.log1p(x * x),
    ("lognorm", "logpdf"): lambda x, s: (
        -(np.log(x) ** 2) / (2 * s**2) - np.log(s * x) - np.log(2 * np.pi) / 2
    ),
    ("laplace", "logpdf"): lambda x: -np.log(2.0) - np.abs(x),
    ("binom", "logpmf"): lambda k, n, p: (
        _sp().gammaln(n + 1)
        - _sp().gammaln(k + 1)
        - _sp().gammaln(n - k + 1)
        + _sp().xlogy(k, p)
        + _sp().xlog1py(n - k, -p)
    ),
    ("bernoulli", "logpmf"): lambda k, p: _sp().xlogy(k, p) + _sp().xlog1py(1 - k, -p),
}
"""Formulas that SciPy itself has in compiled code, or only for plain arrays."""


def given_before(called: Any) -> Any:
    """Return the parameters of the distribution that a method belongs to, if it has them."""
    owner: Any = getattr(called, "__self__", None)
    is_frozen = hasattr(owner, "dist") and hasattr(owner, "kwds")
    return (owner.args, owner.kwds) if is_frozen else ()


def bound_method(owner: Any, name: str) -> Callable[..., Any] | None:
    """Return the function for a method of a distribution, or None."""
    if hasattr(owner, "dist") and hasattr(owner, "kwds"):  # with its parameters
        method = bound_method(owner.dist, name)
        return None if method is None else lambda x: method(x, *owner.args, **owner.kwds)
    if type(owner).__name__ == "multivariate_normal_gen":
        return _NORMAL.get(name)
    if not hasattr(owner, "_get_support") or name not in (*_VALUES_OUTSIDE_SUPPORT, "ppf", "isf"):
        return None
    return partial(_evaluate, owner, name)


def _evaluate(dist: Any, name: str, x: Any, *args: Any, **kwargs: Any) -> Any:
    """Evaluate a method of a distribution."""
    is_discrete = hasattr(dist, "_pmf")
    names = [*(dist.shapes.split(", ") if dist.shapes else ()), "loc", "scale"]
    given = {"loc": 0.0, "scale": 1.0, **dict(zip(names, args, strict=False)), **kwargs}
    loc, scale = as_array(given.pop("loc")), as_array(given.pop("scale"))
    shapes = [as_array(given[shape]) for shape in names[:-2]]
    is_valid = (scale > 0) & dist._argcheck(*shapes)
    if name in ("ppf", "isf"):
        found = getattr(dist, f"_{name}")(as_array(x), *shapes) * scale + loc
        is_valid = is_valid & np.greater(x, 0) & np.less(x, 1)
    else:
        y = (as_array(x) - loc) / scale
        found = _within(dist, name, y, shapes, is_discrete)
        if name == "logpdf":
            found = found - np.log(scale)
        elif name == "pdf":
            found = found / scale
    return np.where(is_valid, found, np.nan)


def _within(dist: Any, name: str, y: Any, shapes: list[Any], is_discrete: bool) -> Any:
    """Evaluate the formula inside the support, and at a point inside for the other entries."""
    low, high = dist._get_support(*shapes)
    is_below, is_above = y < low, y > high
    if name in ("cdf", "sf", "logcdf", "logsf"):
        is_above = y >= high
    outside = is_below | is_above
    if is_discrete and name in ("pmf", "logpmf"):
        outside = outside | (y != np.floor(y))
    middle = np.where(np.isfinite(low) & np.isfinite(high), (low + high) / 2, 0.0)
    middle = np.where(np.isfinite(low) & ~np.isfinite(high), low + 1.0, middle)
    middle = np.where(~np.isfinite(low) & np.isfinite(high), high - 1.0, middle)
    if is_discrete:
        middle = np.floor(middle)
    below, above = _VALUES_OUTSIDE_SUPPORT[name]
    found = _formula(dist, name)(np.where(outside, middle, y), *shapes)
    return np.where(outside, np.where(is_above, above, below), found)


def _formula(dist: Any, name: str) -> Callable[..., Any]:
    """Return the formula of a standard distribution."""
    own = _FORMULAS.get((dist.name, name))
    if own is not None:
        return own
    log = f"log{name}"
    defines_log = f"_{log}" in vars(type(dist)) or (dist.name, log) in _FORMULAS
    if name in ("pdf", "pmf") and defines_log:
        return lambda *args: np.exp(_formula(dist, log)(*args))
    formula: Callable[..., Any] = getattr(dist, f"_{name}")
    return formula


# The normal distribution of vectors


def _normal_logpdf(x: Any, mean: Any = None, cov: Any = 1, allow_singular: bool = False) -> Any:
    x, cov = as_array(x), as_array(cov)
    n = int(np.shape(mean)[-1]) if np.ndim(mean) else int(np.shape(cov)[-1] if np.ndim(cov) else 1)
    if np.ndim(cov) < 2:
        cov = np.eye(n) * cov
    if not (np.ndim(x) and np.shape(x)[-1] == n):
        x = np.expand_dims(x, -1)  # numbers, of which each is a vector
    residual = x - (0.0 if mean is None else mean)
    rows = np.reshape(residual, (-1, n))
    root = np.linalg.cholesky(cov)
    white = np.linalg.solve(root, rows.T)
    log_det = 2 * np.sum(np.log(np.diagonal(root)))
    found = -(n * np.log(2 * np.pi) + log_det + np.sum(white**2, axis=0)) / 2
    return np.reshape(found, np.shape(residual)[:-1])


_NORMAL: dict[str, Callable[..., Any]] = {
    "logpdf": _normal_logpdf,
    "pdf": lambda *args, **kwargs: np.exp(_normal_logpdf(*args, **kwargs)),
}


def frozen(called: Any) -> Callable[..., Any] | None:
    """Return the function that binds a distribution to traced parameters, or None."""
    if type(called).__name__ != "multivariate_normal_gen":
        return None
    return lambda *given, **named: SimpleNamespace(
        logpdf=lambda x: _normal_logpdf(x, *given, **named),
        pdf=lambda x: np.exp(_normal_logpdf(x, *given, **named)),
    )
