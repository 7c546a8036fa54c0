"""Eigenvalues, singular values, QR and Cholesky factors.

QR has rules for real matrices of full rank that are not wider than tall.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import autograd.numpy.linalg as alinalg
import numpy as np
from autograd.core import defjvp, defvjp, vspace
from autograd.extend import primitive

from gradlab.arrays.composites.picking import diagonal as diagonal_composite
from gradlab.arrays.composites.picking import take_along_axis as take_along_axis_composite
from gradlab.arrays.dispatch import refuse_function
from gradlab.arrays.rules.linalg import from_triangle, named, solve
from gradlab.arrays.rules.shared import concatenate, mh, mt, where_primitive


def svd(
    a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
) -> Any:
    """Return the singular value decomposition.

    The full one is the reduced one and vectors orthogonal to it, which are not unique: a loss that
    depends on them has no derivative.
    """
    m, n = anp.shape(a)[-2:]
    a = from_triangle(a) if hermitian else a
    if not compute_uv:
        return svdvals(a)
    u, _, vt = result = named(alinalg.svd)(a, full_matrices=False)
    if full_matrices and m > n:
        return result._replace(U=concatenate([u, _complement(u)], -1))
    if full_matrices and m < n:
        return result._replace(Vh=concatenate([vt, mh(_complement(mh(vt)))], -2))
    return result


@primitive  # type: ignore[untyped-decorator]
def _complement(q: Any) -> Any:
    """Return orthonormal columns orthogonal to those of q."""
    return np.linalg.svd(q, full_matrices=True)[0][..., np.shape(q)[-1] :]


def _complement_vjp(ans: Any, q: Any) -> Any:
    def vjp(g: Any) -> Any:
        # 0 if the loss does not use them; else NaN, which ends in an error.
        return anp.sum(quotient(g, 0.0)) + vspace(q).zeros()

    return vjp


defvjp(_complement, _complement_vjp)
# NaN: a loss that uses it ends in an error about a gradient that is not finite.
defjvp(_complement, lambda g, ans, q: np.full(np.shape(ans), np.nan, ans.dtype))


def svdvals(a: Any) -> Any:
    """Return the singular values."""
    return alinalg.svd(a, full_matrices=False, compute_uv=False)


def quotient(x: Any, d: Any) -> Any:
    """Return x / d; for d = 0, return 0 if x is 0, and else NaN, which ends in an error.

    The vectors of equal eigenvalues have no derivative; only a loss that uses them gets NaN.
    """
    is_zero = d == 0
    return x / where_primitive(is_zero, anp.where(x == 0, 1.0, np.nan), d)


def divide_by_gaps(x: Any, w: Any) -> Any:
    """Return xᵢⱼ / (wⱼ - wᵢ), and 0 on the diagonal."""
    off = 1.0 - np.eye(anp.shape(w)[-1])
    return quotient(x * off, w[..., None, :] - w[..., :, None])


def _eigh_jvp(g: Any, ans: Any, x: Any, UPLO: str = "L") -> Any:
    """Giles, *Collected matrix derivative results*, 2008, section 3.1."""
    w, v = ans
    inner = anp.matmul(mh(v), anp.matmul(from_triangle(g, UPLO), v))
    turning = divide_by_gaps(inner, w)
    return type(ans)(anp.real(diagonal_composite(inner, 0, -2, -1)), anp.matmul(v, turning))


def _eigh_vjp(ans: Any, x: Any, UPLO: str = "L") -> Any:
    """Return the adjoint of `_eigh_jvp`; the triangle that is not read has derivative 0."""
    w, v = ans

    def vjp(g: Any) -> Any:
        eye = np.eye(anp.shape(w)[-1])
        inner = g[0][..., None, :] * eye + divide_by_gaps(anp.matmul(mt(v), g[1]), w)
        share = anp.matmul(anp.conj(v), anp.matmul(inner, mt(v)))
        both = share + mh(share)
        return anp.real(share) * eye + (anp.tril(both, -1) if UPLO == "L" else anp.triu(both, 1))

    return vjp


defvjp(alinalg.eigh, _eigh_vjp)
defjvp(alinalg.eigh, _eigh_jvp)


def eig(a: Any) -> Any:
    """Return eigenvalues and eigenvectors; the largest entry of a complex vector is real."""
    result = named(alinalg.eig)(a)
    w, v = result
    if not anp.iscomplexobj(v):
        return result
    # LAPACK chooses the phases this way. Repeating the choice here gives it its derivative.
    largest = anp.argmax(anp.abs(v), axis=-2)[..., None, :]
    entry = take_along_axis_composite(v, largest, -2)
    return type(result)(w, v * (anp.conj(entry) / anp.abs(entry)))


def _eig_vjp(ans: Any, x: Any) -> Any:
    """Boeddeker et al., *On the computation of complex-valued gradients*, arXiv:1701.00392."""
    w, v = ans

    def vjp(g: Any) -> Any:
        gw, gv = g
        vt, eye = mt(v), np.eye(anp.shape(w)[-1])
        own = anp.matmul(vt, gv)
        norms = anp.matmul(anp.matmul(vt, anp.conj(v)), anp.real(own) * eye)
        inner = gw[..., None, :] * eye + divide_by_gaps(own - norms, w)
        share = anp.matmul(alinalg.inv(vt), anp.matmul(inner, vt))
        return share if anp.iscomplexobj(x) else anp.real(share)

    return vjp


def _eig_jvp(g: Any, ans: Any, x: Any) -> Any:
    w, v = ans
    inner = solve(v, anp.matmul(g, v))
    dv = anp.matmul(v, divide_by_gaps(inner, w))
    growth = anp.sum(anp.real(anp.conj(v) * dv), axis=-2, keepdims=True)
    return type(ans)(diagonal_composite(inner, 0, -2, -1), dv - v * growth)


defvjp(alinalg.eig, _eig_vjp)
defjvp(alinalg.eig, _eig_jvp)


def _svd_jvp(g: Any, ans: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Townsend, *Differentiating the singular value decomposition*, 2016, equations 16 to 18."""
    u, s, vt = ans if compute_uv else alinalg.svd(a, full_matrices=False)
    if compute_uv and full_matrices and anp.shape(a)[-1] != anp.shape(a)[-2]:
        raise NotImplementedError("JVP of svd with full_matrices=True not defined")
    uh, v = mh(u), mh(vt)
    p = anp.matmul(anp.matmul(uh, g), v)
    ds = anp.real(diagonal_composite(p, 0, -2, -1))
    if not compute_uv:
        return ds
    ps, sp = p * s[..., None, :], s[..., :, None] * p
    du = anp.matmul(u, divide_by_gaps(ps + mh(ps), s**2))
    dv = anp.matmul(v, divide_by_gaps(sp + mh(sp), s**2))
    # The parts outside the spaces of u and of v.
    gv, gu = anp.matmul(g, v), anp.matmul(mh(g), u)
    if anp.iscomplexobj(p):  # u and v share their phases: the whole change goes to u
        phase = quotient(anp.imag(diagonal_composite(p, 0, -2, -1)), s)
        du = du + u * (1j * phase)[..., None, :]
    m, n = anp.shape(a)[-2:]
    if m > n:
        du = du + quotient(gv - anp.matmul(u, anp.matmul(uh, gv)), s[..., None, :])
    if m < n:
        dv = dv + quotient(gu - anp.matmul(v, anp.matmul(vt, gu)), s[..., None, :])
    return type(ans)(du, ds, mh(dv))


def _svd_vjp(ans: Any, a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Return the adjoint of `_svd_jvp`."""
    if full_matrices and compute_uv and anp.shape(a)[-1] != anp.shape(a)[-2]:
        raise NotImplementedError("VJP of svd with full_matrices=True not defined")

    def vjp(g: Any) -> Any:
        u, s, vt = ans if compute_uv else alinalg.svd(a, full_matrices=False)
        row, eye = s[..., None, :], np.eye(anp.shape(s)[-1])
        if not compute_uv:
            return anp.matmul(anp.conj(u) * g[..., None, :], anp.conj(vt))
        gu, gs, gv = g[0], g[1], mh(g[2])
        uu, vv = anp.matmul(mt(u), gu), anp.matmul(anp.conj(vt), gv)
        inner = divide_by_gaps(uu - mh(uu), s**2) * row + gs[..., None, :] * eye
        inner = inner + s[..., :, None] * divide_by_gaps(vv - mh(vv), s**2)
        if anp.iscomplexobj(u):
            inner = inner + 1j * quotient(anp.imag(uu) * eye, row)
        share = anp.matmul(anp.conj(u), anp.matmul(inner, anp.conj(vt)))
        m, n = anp.shape(a)[-2:]
        if m > n:
            rest = gu - anp.matmul(anp.conj(u), uu)
            share = share + anp.matmul(quotient(rest, row), anp.conj(vt))
        if m < n:
            rest = anp.conj(gv) - anp.matmul(mh(vt), anp.conj(vv))
            share = share + anp.matmul(anp.conj(u), mt(quotient(rest, row)))
        return share

    return vjp


defvjp(alinalg.svd, _svd_vjp)
defjvp(alinalg.svd, _svd_jvp)


def qr(a: Any, mode: str = "reduced") -> Any:
    """Return an orthogonal and a triangular factor."""
    m, n = anp.shape(a)[-2:]
    if mode not in ("reduced", "r") or m < n or anp.iscomplexobj(a):
        refuse_function("autograd", np.linalg.qr)
    q, r = alinalg.qr(a)
    return r if mode == "r" else type(np.linalg.qr(np.eye(1)))(q, r)


def _qr_vjp(ans: Any, a: Any) -> Any:
    """Walter & Lehmann, *Algorithmic differentiation of linear algebra functions*, 2013."""
    q, r = ans

    def vjp(g: Any) -> Any:
        gq, gr = g
        m = anp.matmul(r, mt(gr)) - anp.matmul(mt(gq), q)
        lower = anp.tril(m, -1)
        symmetric = lower + mt(lower) + m * np.eye(anp.shape(m)[-1])
        return mt(solve(r, mt(gq + anp.matmul(q, symmetric))))

    return vjp


def _qr_jvp(g: Any, ans: Any, a: Any) -> Any:
    q, r = ans
    c = mt(solve(mt(r), mt(g)))  # g r⁻¹
    inner = anp.matmul(mt(q), c)
    lower = anp.tril(inner, -1)
    turning = lower - mt(lower)
    dq = c - anp.matmul(q, inner) + anp.matmul(q, turning)
    return type(ans)(dq, anp.matmul(inner - turning, r))


defvjp(alinalg.qr, _qr_vjp)
defjvp(alinalg.qr, _qr_jvp)


def cholesky(a: Any, *, upper: bool = False) -> Any:
    """Return a triangular factor; like NumPy, read only one triangle of the matrix."""
    factor = alinalg.cholesky(from_triangle(a, "U" if upper else "L"))
    return mh(factor) if upper else factor


def _lower_half(x: Any) -> Any:
    """Return the lower triangle, with half of the diagonal: Φ of Murray, arXiv:1602.07527."""
    return anp.tril(x) - 0.5 * x * np.eye(anp.shape(x)[-1])


def _cholesky_vjp(ans: Any, x: Any) -> Any:
    """L⁻ᵀ Φ(Lᵀ g) conj(L)⁻¹, made Hermitian: the adjoint of `_cholesky_jvp`."""

    def vjp(g: Any) -> Any:
        left = solve(mt(ans), _lower_half(anp.matmul(mt(ans), g)))
        share = mt(solve(mh(ans), mt(left)))
        return (share + mh(share)) / 2

    return vjp


def _cholesky_jvp(g: Any, ans: Any, x: Any) -> Any:
    """L Φ(L⁻¹ g L⁻ᴴ): Murray, arXiv:1602.07527."""
    inner = solve(ans, mh(solve(ans, (g + mh(g)) / 2)))
    return anp.matmul(ans, _lower_half(inner))


defvjp(alinalg.cholesky, _cholesky_vjp)
defjvp(alinalg.cholesky, _cholesky_jvp)
