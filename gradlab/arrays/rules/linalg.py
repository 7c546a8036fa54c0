"""Linear equations, determinants, inverses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import autograd.numpy as anp
import autograd.numpy.linalg as alinalg
import numpy as np
from autograd.core import defjvp, defvjp
from autograd.tracer import getval, isbox

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.rules.shared import mh, mt, unbroadcast_to


def solve(a: Any, b: Any) -> Any:
    """Return the solution of a x = b, for a vector or for matrices, with batches."""
    a, b = as_array(a), as_array(b)
    if anp.ndim(b) == 1:
        return alinalg.solve(a, b[:, None])[..., 0]
    return alinalg.solve(a, b)


def _solve_vjp_of_a(ans: Any, a: Any, b: Any) -> Any:
    sum_up = unbroadcast_to(a)

    def columns(x: Any) -> Any:
        return x[..., None] if anp.ndim(b) == 1 else x

    return lambda g: sum_up(-anp.matmul(columns(solve_t(a, g)), mt(columns(ans))))


def solve_t(a: Any, g: Any) -> Any:
    """Return the solution of aᵀ x = g."""
    return solve(mt(a), g)


def _solve_vjp_of_b(ans: Any, a: Any, b: Any) -> Any:
    sum_up = unbroadcast_to(b)
    return lambda g: sum_up(solve_t(a, g))


defvjp(alinalg.solve, _solve_vjp_of_a, _solve_vjp_of_b)


def named(decompose: Callable[..., Any]) -> Callable[..., Any]:
    """Return a decomposition whose result has NumPy's field names, also for traced arrays."""

    def decomposition(*args: Any, **kwargs: Any) -> Any:
        result = decompose(*args, **kwargs)
        return type(getval(result))(*result) if isbox(result) else result

    return decomposition


def _cofactor(x: Any, ans: Any) -> Any:
    """Return det(x) x⁻ᵀ; for a singular matrix, from its singular values, det(u vᵀ) u adj(s) vᵀ."""
    if not np.any(getval(ans) == 0):
        return ans[..., None, None] * mt(alinalg.inv(x))
    u, s, v = alinalg.svd(x, full_matrices=False)
    n = anp.shape(x)[-1]
    others = [anp.prod(s[..., [j for j in range(n) if j != i]], axis=-1) for i in range(n)]
    adjugate = np.stack(others, axis=-1)
    sign = alinalg.det(anp.matmul(u, v))
    return sign[..., None, None] * anp.matmul(u * adjugate[..., None, :], v)


def _trace_of_product(a: Any, b: Any) -> Any:
    return anp.sum(a * b, axis=(-2, -1))


defvjp(alinalg.det, lambda ans, x: lambda g: g[..., None, None] * _cofactor(x, ans))
defjvp(alinalg.det, lambda g, ans, x: _trace_of_product(_cofactor(x, ans), g))


def _slogdet_vjp(ans: Any, x: Any) -> Any:
    """Return the adjoint of d log det x = tr(x⁻¹ dx); the imaginary part turns the phase."""

    def vjp(g: Any) -> Any:
        scale = g[1]
        if anp.iscomplexobj(x):
            scale = scale + 1j * anp.imag(g[0] * ans[0])
        return anp.reshape(scale, (*anp.shape(scale), 1, 1)) * mt(alinalg.inv(x))

    return vjp


def _slogdet_jvp(g: Any, ans: Any, x: Any) -> Any:
    relative = _trace_of_product(mt(alinalg.inv(x)), g)
    if not anp.iscomplexobj(x):
        return type(ans)(0.0 * ans[0], relative)
    return type(ans)(1j * anp.imag(relative) * ans[0], anp.real(relative))


defvjp(alinalg.slogdet, _slogdet_vjp)
defjvp(alinalg.slogdet, _slogdet_jvp)


def pinv(a: Any, rcond: Any = None, hermitian: bool = False, **options: Any) -> Any:
    """Return the pseudo-inverse, where the rank stays the same nearby."""
    a = from_triangle(a) if hermitian else a
    return alinalg.pinv(a, **({} if rcond is None else {"rcond": rcond}), **options)


def _pinv_jvp(g: Any, p: Any, x: Any, **options: Any) -> Any:
    """Golub & Pereyra, SIAM J. Numer. Anal. 10 (1973), equation 4.12, for a constant rank."""
    left = np.eye(anp.shape(p)[-2]) - anp.matmul(p, x)
    right = np.eye(anp.shape(x)[-2]) - anp.matmul(x, p)
    first = -anp.matmul(anp.matmul(p, g), p)
    second = anp.matmul(anp.matmul(anp.matmul(p, mh(p)), mh(g)), right)
    third = anp.matmul(anp.matmul(anp.matmul(left, mh(g)), mh(p)), p)
    return first + second + third


def _pinv_vjp(ans: Any, x: Any, **options: Any) -> Any:
    """Return the adjoint of `_pinv_jvp`, term by term."""

    def vjp(g: Any) -> Any:
        p, ph, gh = ans, mh(ans), anp.conj(g)
        left = np.eye(anp.shape(p)[-2]) - anp.matmul(p, x)
        right = np.eye(anp.shape(x)[-2]) - anp.matmul(x, p)
        first = -anp.matmul(anp.matmul(ph, gh), ph)
        second = anp.matmul(anp.matmul(right, mh(gh)), anp.matmul(p, ph))
        third = anp.matmul(anp.matmul(anp.matmul(ph, p), mh(gh)), left)
        return anp.conj(first + second + third)

    return vjp


defvjp(alinalg.pinv, _pinv_vjp)
defjvp(alinalg.pinv, _pinv_jvp)
defjvp(alinalg.inv, lambda g, ans, x: -anp.matmul(anp.matmul(ans, g), ans))
defjvp(
    alinalg.solve,
    lambda g, ans, a, b: -solve(a, anp.matmul(g, ans)),
    lambda g, ans, a, b: solve(a, g),
)


def from_triangle(a: Any, uplo: str = "L") -> Any:
    """Return the Hermitian matrix of which LAPACK reads one triangle."""
    half = anp.tril(a, -1) if uplo == "L" else mh(anp.triu(a, 1))
    return half + mh(half) + anp.real(a) * np.eye(anp.shape(a)[-1])
