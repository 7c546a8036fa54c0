"""Decompositions in mpmath, with the signs that NumPy chose."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np


def rows_of(matrix: Any) -> list[Any]:
    return [matrix[i, j] for i in range(matrix.rows) for j in range(matrix.cols)]


def aligned_columns(matrix: Any, like: np.ndarray) -> Any:
    """Give the columns of a matrix the signs of NumPy's."""
    made = matrix.copy()
    for j in range(matrix.cols):
        side = sum(matrix[i, j] * mpmath.mpf(float(like[i, j])) for i in range(matrix.rows))
        for i in range(matrix.rows):
            made[i, j] = made[i, j] * mpmath.sign(side)
    return made


def lower_symmetric(a: Any) -> Any:
    """Return the symmetric matrix that LAPACK reads from the lower triangle."""
    return mpmath.matrix([[a[max(i, j), min(i, j)] for j in range(a.cols)] for i in range(a.rows)])


def mp_eigh(a: Any, like: Any) -> Any:
    values, vectors = mpmath.eigsy(lower_symmetric(a))
    order = sorted(range(a.rows), key=lambda i: values[i])
    vectors = mpmath.matrix([[vectors[i, j] for j in order] for i in range(a.rows)])
    return [values[i] for i in order], rows_of(aligned_columns(vectors, like[1]))


def mp_svd(a: Any, like: Any) -> Any:
    u, s, vt = mpmath.svd_r(a)
    u = aligned_columns(u, like[0])
    return rows_of(u), list(s), rows_of(aligned_columns(vt.T, like[2].T).T)


def mp_qr(a: Any, like: Any) -> Any:
    q, _ = mpmath.qr(a, mode="skinny")
    q = aligned_columns(q, like[0])
    return rows_of(q), rows_of(q.T * a)


def mp_cholesky(a: Any, like: Any) -> Any:
    return (rows_of(mpmath.cholesky((a + a.T) / 2)),)
