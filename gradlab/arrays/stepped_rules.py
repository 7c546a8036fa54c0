"""Functions of `gradlab.arrays.stepped` arrays that are decided by the real parts.

Each is f(x + i h t) = f(x) + i h f'(x) t for the real function f, where h² vanishes. Where several
entries tie, f has no derivative; the rule takes the mean of their derivatives, like the other
backends. The derivative of the absolute value at 0 is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import safe_sqrt
from gradlab.arrays.dispatch import refuse_function
from gradlab.arrays.stepped import RULES, plain, values


def _rule(*functions: Any) -> Callable[[Any], Any]:
    def register(implementation: Any) -> Any:
        RULES.update(dict.fromkeys(functions, implementation))
        return implementation

    return register


def _joined(real: Any, imaginary: Any) -> Any:
    """Make a complex array from two parts; with arithmetic, an infinity would spread to both."""
    real, imaginary = np.broadcast_arrays(np.asarray(real), np.asarray(imaginary))
    whole = np.empty(real.shape, np.result_type(real, imaginary, np.complex64))
    whole.real, whole.imag = real, imaginary
    return whole


def _step(x: Any) -> Any:
    """Return the imaginary part; 0 for real numbers."""
    return np.imag(plain(x)) if np.iscomplexobj(x) else np.zeros(())


# Decided by the numbers, without a derivative

_REAL_PART_FUNCTIONS = """
    greater greater_equal less less_equal equal not_equal logical_and logical_or logical_xor
    logical_not isnan isinf isfinite isposinf isneginf signbit isclose allclose array_equal
    array_equiv isin any all nonzero flatnonzero argwhere count_nonzero argmax argmin nanargmax
    nanargmin argsort argpartition lexsort searchsorted digitize sign floor ceil trunc rint fix
    round around floor_divide spacing
"""


def _by_value(function: Any) -> Any:
    def implementation(*args: Any, **kwargs: Any) -> Any:
        return function(*map(values, args), **{key: values(value) for key, value in kwargs.items()})

    return implementation


for _name in _REAL_PART_FUNCTIONS.split():
    _rule(getattr(np, _name))(_by_value(getattr(np, _name)))


# Piece by piece


def _extremum(of_all: Any) -> Any:
    def implementation(a: Any, axis: Any = None, keepdims: bool = False) -> Any:
        x, step = values(a), _step(a)
        found = of_all(x, axis=axis, keepdims=True)
        chosen = x == found
        count = np.sum(chosen, axis=axis, keepdims=True)
        mean = np.sum(np.where(chosen, step, 0), axis=axis, keepdims=True) / np.maximum(count, 1)
        whole = _joined(found, mean)
        return whole if keepdims else np.squeeze(whole, axis)

    return implementation


_rule(np.max, np.amax)(_extremum(np.max))
_rule(np.min, np.amin)(_extremum(np.min))


def _of_two(ufunc: Any) -> Any:
    def implementation(a: Any, b: Any) -> Any:
        found = ufunc(values(a), values(b))
        of_a, of_b = found == values(a), found == values(b)
        share = np.where(of_a & of_b, 0.5, np.where(of_a, 1.0, 0.0))
        return _joined(found, np.where(share > 0, share * _step(a), 0)
                       + np.where(share < 1, (1 - share) * _step(b), 0))  # fmt: skip

    return implementation


for _ufunc in (np.maximum, np.minimum, np.fmax, np.fmin):
    _rule(_ufunc)(_of_two(_ufunc))


_rule(np.absolute, np.fabs)(lambda x: _joined(np.abs(values(x)), np.sign(values(x)) * _step(x)))
_rule(np.real)(lambda val: val.real)
_rule(np.conjugate)(lambda x: plain(x).copy())
_rule(np.nextafter)(lambda x, y: _joined(np.nextafter(values(x), values(y)), _step(x)))
_rule(np.remainder)(
    lambda x, y: _joined(
        np.remainder(values(x), values(y)),
        _step(x) - np.floor_divide(values(x), values(y)) * _step(y),
    )
)


# Branch cuts: a real function has no value beyond its domain, where the complex one has


def _within(function: Any, domain: Any) -> Any:
    def implementation(*args: Any) -> Any:
        whole = np.asarray(function(*map(plain, args)))
        is_inside = domain(*map(values, args))
        return whole if np.all(is_inside) else np.where(is_inside, whole, np.nan)

    return implementation


def _has_power(x: Any, p: Any) -> Any:
    return (x >= 0) | (np.floor(p) == p)


_DOMAINS: dict[Any, Any] = {
    **dict.fromkeys((np.sqrt, np.log, np.log2, np.log10), lambda x: x >= 0),
    **dict.fromkeys((np.arcsin, np.arccos, np.arctanh), lambda x: np.abs(x) <= 1),
    **dict.fromkeys((np.power, np.float_power), _has_power),
    np.log1p: lambda x: x >= -1,
    np.arccosh: lambda x: x >= 1,
}
for _function, _domain in _DOMAINS.items():
    _rule(_function)(_within(_function, _domain))


# Functions that NumPy has only for real numbers


_rule(np.hypot)(lambda a, b: safe_sqrt(a * a + b * b))


@_rule(np.cbrt)
def _cbrt(x: Any) -> Any:
    sign = np.where(values(x) < 0, -1.0, 1.0)
    return _joined(np.cbrt(values(x)), sign * np.imag((sign * plain(x)) ** (1 / 3)))


@_rule(np.arctan2)
def _arctan2(y: Any, x: Any) -> Any:
    y, x = np.broadcast_arrays(plain(y), plain(x))
    is_flat = np.abs(x.real) >= np.abs(y.real)
    upper, lower = np.where(is_flat, y, -x), np.where(is_flat, x, y)
    return _joined(np.arctan2(y.real, x.real), np.imag(np.arctan(upper / lower)))


def _log_of_sum(ufunc: Any, exp: Any, log: Any) -> Any:
    def implementation(a: Any, b: Any) -> Any:
        found = ufunc(values(a), values(b))
        top = np.where(np.isfinite(found), found, 0)
        return _joined(found, np.imag(log(exp(plain(a) - top) + exp(plain(b) - top))))

    return implementation


_rule(np.logaddexp)(_log_of_sum(np.logaddexp, np.exp, np.log))
_rule(np.logaddexp2)(_log_of_sum(np.logaddexp2, np.exp2, np.log2))
_rule(np.deg2rad, np.radians)(lambda x: plain(x) * (np.pi / 180))
_rule(np.rad2deg, np.degrees)(lambda x: plain(x) * (180 / np.pi))


# Matrices


@_rule(np.linalg.slogdet)
def _slogdet(a: Any) -> Any:
    sign, size = np.linalg.slogdet(values(a))
    turned = np.linalg.slogdet(plain(a))[0] * sign  # a rotation by the step of log |det|
    return type(np.linalg.slogdet(np.eye(1)))(sign, _joined(size, np.imag(turned)))


@_rule(np.linalg.cholesky)
def _cholesky(a: Any, *, upper: bool = False) -> Any:
    """S. F. Walter, *Structured higher-order algorithmic differentiation* (2012), section 4.2.

    NumPy reads only one triangle.
    """
    a = np.swapaxes(plain(a), -1, -2) if upper else plain(a)
    factor = np.linalg.cholesky(a.real)
    step = np.tril(a.imag) + np.swapaxes(np.tril(a.imag, -1), -1, -2)
    inner = np.linalg.solve(factor, np.swapaxes(np.linalg.solve(factor, step), -1, -2))
    halved = np.tril(inner) - 0.5 * inner * np.eye(inner.shape[-1])
    whole = _joined(factor, factor @ halved)
    return np.swapaxes(whole, -1, -2) if upper else whole


@_rule(np.linalg.eigh)
def _eigh(a: Any, UPLO: Any = "L") -> Any:
    """M. B. Giles, *An extended collection of matrix derivative results* (2008), section 3.1."""
    found = np.linalg.eigh(values(a), UPLO)
    w, v = found
    one = np.tril if UPLO.upper() == "L" else np.triu
    step = one(_step(a)) + np.swapaxes(one(_step(a), -1 if one is np.tril else 1), -1, -2)
    inner = np.swapaxes(v, -1, -2) @ step @ v
    apart = w[..., None, :] - w[..., :, None]
    is_other = ~np.eye(w.shape[-1], dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):  # equal ones have no derivative
        turn = np.where(is_other, inner / np.where(is_other, apart, 1), 0)
    return type(found)(_joined(w, np.diagonal(inner, 0, -2, -1)), _joined(v, v @ turn))


@_rule(np.linalg.svd)
def _svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Giles, section 3.2: the singular values without vectors."""
    if compute_uv:
        refuse_function("complex-step", np.linalg.svd)
    u, s, vt = np.linalg.svd(values(a), full_matrices=False)
    return _joined(s, np.einsum("...ik,...ij,...kj->...k", u, _step(a), vt))


@_rule(np.linalg.pinv)
def _pinv(a: Any, rcond: Any = None, hermitian: bool = False, **options: Any) -> Any:
    """Golub & Pereyra, SIAM Journal on Numerical Analysis 10 (1973), at constant rank."""
    x, step = values(a), _step(a)
    p = np.linalg.pinv(x, rcond, hermitian, **options)
    pt, stept = np.swapaxes(p, -1, -2), np.swapaxes(step, -1, -2)
    left, right = np.eye(x.shape[-1]) - p @ x, np.eye(x.shape[-2]) - x @ p
    return _joined(p, -p @ step @ p + p @ pt @ stept @ right + left @ stept @ pt @ p)


def _refused(function: Any) -> Any:
    return lambda *args, **kwargs: refuse_function("complex-step", function)


_REFUSED: tuple[Any, ...] = (np.linalg.qr, np.angle, np.real_if_close, np.linalg.matrix_rank)
for _function in _REFUSED:
    _rule(_function)(_refused(_function))
