"""Norms, eigenvalues, linear equations."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array, axes_of, safe_sqrt
from gradlab.arrays.dispatch import composite


@composite(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Return a norm of vectors or matrices."""
    x = as_array(x)
    if axis is None and (ord is None or (np.ndim(x) == 1 and ord == 2)):
        flat = np.ravel(x)
        total = safe_sqrt(np.sum(np.real(flat * np.conj(flat))))
        return np.reshape(total, (1,) * np.ndim(x)) if keepdims else total
    axes = axes_of(x, axis)
    if len(axes) == 1:
        return vector_norm(x, ord=2 if ord is None else ord, axis=axes[0], keepdims=keepdims)
    x = np.moveaxis(x, axes, (-2, -1))
    result = matrix_norm(x, ord="fro" if ord is None else ord)
    return np.expand_dims(result, axes) if keepdims else result


@composite(np.linalg.vector_norm)
def vector_norm(x: Any, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Any:
    """Return a norm of the entries along axes."""
    size, options = np.abs(x), {"axis": axis, "keepdims": keepdims}
    if ord == 2:
        return safe_sqrt(np.sum(np.real(x * np.conj(x)), **options))
    if ord == 1:
        return np.sum(size, **options)
    if ord == np.inf:
        return np.max(size, **options)
    if ord == -np.inf:
        return np.min(size, **options)
    if ord == 0:
        return np.sum((x != 0) * 1.0, **options)
    total = np.sum(np.where(size > 0, np.where(size > 0, size, 1.0) ** ord, 0.0 * size), **options)
    return np.where(total > 0, np.where(total > 0, total, 1.0) ** (1 / ord), 0.0 * total)


@composite(np.linalg.matrix_norm)
def matrix_norm(x: Any, *, keepdims: bool = False, ord: Any = "fro") -> Any:
    """Return a norm of the matrices in the last two axes."""
    match ord:
        case "fro":
            result = safe_sqrt(np.sum(np.real(x * np.conj(x)), axis=(-2, -1)))
        case 1 | -1:
            result = (np.max if ord > 0 else np.min)(np.sum(np.abs(x), axis=-2), axis=-1)
        case np.inf:
            result = np.max(np.sum(np.abs(x), axis=-1), axis=-1)
        case float() if ord == -np.inf:
            result = np.min(np.sum(np.abs(x), axis=-1), axis=-1)
        case "nuc":
            result = np.sum(np.linalg.svdvals(x), axis=-1)
        case 2 | -2:
            result = np.linalg.svdvals(x)[..., 0 if ord > 0 else -1]
        case _:
            raise ValueError("Invalid norm order for matrices.")
    return np.expand_dims(result, (-2, -1)) if keepdims else result


@composite(np.linalg.cond)
def cond(x: Any, p: Any = None) -> Any:
    """Return the condition number."""
    if p in (None, 2, -2):
        s = np.linalg.svdvals(x)
        return s[..., -1] / s[..., 0] if p == -2 else s[..., 0] / s[..., -1]
    return norm(x, p, axis=(-2, -1)) * norm(np.linalg.inv(x), p, axis=(-2, -1))


@composite(np.linalg.matrix_power)
def matrix_power(a: Any, n: int) -> Any:
    """Multiply a matrix with itself, by repeated squaring."""
    if n < 0:
        return matrix_power(np.linalg.inv(a), -n)
    result = None
    while n:
        if n % 2:
            result = a if result is None else result @ a
        a, n = a @ a if n > 1 else a, n // 2
    return np.eye(np.shape(a)[-1]) + 0.0 * a if result is None else result


@composite(np.linalg.lstsq)
def lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Any, Any, Any, Any]:
    """Solve least squares by the pseudo-inverse, for a matrix of full rank."""
    a, b = as_array(a), as_array(b)
    x = np.linalg.pinv(a) @ b
    s = np.linalg.svdvals(a)
    m, n = np.shape(a)
    rest = b - a @ x
    sums = np.sum(np.real(rest * np.conj(rest)), axis=0)
    return x, np.atleast_1d(sums) if m > n else np.zeros(0), np.int32(min(m, n)), s


@composite(np.linalg.tensorinv)
def tensorinv(a: Any, ind: int = 2) -> Any:
    """Invert a tensor as a matrix."""
    shape = np.shape(a)
    n = int(np.prod(shape[ind:]))
    return np.reshape(np.linalg.inv(np.reshape(a, (n, -1))), shape[ind:] + shape[:ind])


@composite(np.linalg.tensorsolve)
def tensorsolve(a: Any, b: Any, axes: Any = None) -> Any:
    """Solve a tensor equation as a matrix equation."""
    a, b = as_array(a), as_array(b)
    if axes is not None:
        kept = [k for k in range(np.ndim(a)) if k not in axes]
        a = np.transpose(a, (*kept, *axes))
    shape = np.shape(a)[np.ndim(b) - np.ndim(a) :] if np.ndim(a) > np.ndim(b) else ()
    n = int(np.prod(shape))
    return np.reshape(np.linalg.solve(np.reshape(a, (-1, n)), np.ravel(b)), shape)


composite(np.linalg.svdvals)(lambda x: np.linalg.svd(x, full_matrices=False, compute_uv=False))
composite(np.linalg.eigvalsh)(lambda a, UPLO="L": np.linalg.eigh(a, UPLO=UPLO)[0])
composite(np.linalg.eigvals)(lambda a: np.linalg.eig(a)[0])
composite(np.linalg.multi_dot)(lambda arrays: reduce(np.dot, map(as_array, arrays)))
