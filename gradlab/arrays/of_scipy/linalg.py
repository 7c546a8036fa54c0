"""Functions of `scipy.linalg`, in terms of `numpy.linalg`."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import refuse_function, values_of
from gradlab.arrays.of_scipy.shared import implements


def _of_array(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda a, *args, **kwargs: function(as_array(a), *args, **kwargs)


for _name in ("inv", "det", "norm", "pinv", "svdvals"):
    implements("linalg", _name)(_of_array(getattr(np.linalg, _name)))


def _symmetric(a: Any, lower: bool) -> Any:
    """Return the symmetric matrix of which one triangle is given."""
    a = as_array(a)
    half = np.tril(a, -1) if lower else np.triu(a, 1)
    return half + np.swapaxes(half, -1, -2).conj() + np.eye(np.shape(a)[-1]) * a


@implements("linalg")
def cholesky(a: Any, lower: bool = False) -> Any:
    """Return the Cholesky factor, of which the upper one is the default."""
    root = np.linalg.cholesky(_symmetric(a, lower))
    return root if lower else np.swapaxes(root, -1, -2).conj()


@implements("linalg")
def cho_solve(c_and_lower: tuple[Any, bool], b: Any) -> Any:
    """Solve linear equations by a Cholesky factor."""
    c, lower = c_and_lower
    first = solve_triangular(c, b, trans=0 if lower else 2, lower=lower)
    return solve_triangular(c, first, trans=2 if lower else 0, lower=lower)


@implements("linalg")
def solve_triangular(
    a: Any, b: Any, trans: Any = 0, lower: bool = False, unit_diagonal: bool = False
) -> Any:
    """Solve linear equations of a triangular matrix, of which the other half is ignored."""
    a = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        eye = np.eye(np.shape(a)[-1])
        a = a * (1 - eye) + eye
    if trans in (1, "T", 2, "C"):
        a = np.swapaxes(a, -1, -2)
    return np.linalg.solve(a.conj() if trans in (2, "C") else a, as_array(b))


_GENERAL = (None, "gen", "general")
_SYMMETRIC = ("sym", "symmetric", "her", "hermitian", "pos", "positive definite")


@implements("linalg")
def solve(
    a: Any, b: Any, lower: bool = False, assume_a: str | None = None, transposed: bool = False
) -> Any:
    """Solve linear equations."""
    if assume_a in _SYMMETRIC:
        a = _symmetric(a, lower)
    elif assume_a not in _GENERAL:
        refuse_function("gradlab", solve)
    return np.linalg.solve(np.swapaxes(a, -1, -2) if transposed else as_array(a), as_array(b))


implements("linalg", "cho_factor")(lambda a, lower=False: (cholesky(a, lower), lower))
implements("linalg", "eigvalsh")(
    lambda a, *, lower=True: np.linalg.eigvalsh(as_array(a), UPLO="L" if lower else "U")
)
implements("linalg", "lstsq")(lambda a, b: np.linalg.lstsq(as_array(a), as_array(b), rcond=None))


@implements("linalg")
def eigh(a: Any, *, lower: bool = True, eigvals_only: bool = False) -> Any:
    """Return eigenvalues and eigenvectors of a symmetric matrix."""
    found = np.linalg.eigh(as_array(a), UPLO="L" if lower else "U")
    return found[0] if eigvals_only else tuple(found)


@implements("linalg")
def svd(a: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Return the singular value decomposition."""
    if not compute_uv:
        return np.linalg.svdvals(as_array(a))
    return tuple(np.linalg.svd(as_array(a), full_matrices))


@implements("linalg")
def block_diag(*arrays: Any) -> Any:
    """Return a matrix with the given ones on its diagonal."""
    blocks = [np.atleast_2d(as_array(a)) for a in arrays]
    columns = [np.shape(block)[1] for block in blocks]
    rows = []
    for i, block in enumerate(blocks):
        before, after = sum(columns[:i]), sum(columns[i + 1 :])
        rows.append(np.pad(block, ((0, 0), (before, after))))
    return np.concatenate(rows, axis=0)


@implements("linalg")
def toeplitz(c: Any, r: Any = None) -> Any:
    """Return the matrix whose diagonals are constant."""
    c = as_array(c)
    r = c.conj() if r is None else as_array(r)
    if np.ndim(c) != 1 or np.ndim(r) != 1:
        refuse_function("gradlab", toeplitz)
    values = np.concatenate([c[::-1], r[1:]])
    m, n = np.size(c), np.size(r)
    return values[np.arange(m - 1, -1, -1)[:, None] + np.arange(n)]


@implements("linalg")
def circulant(c: Any) -> Any:
    """Return the matrix whose columns are rotations of a vector."""
    c = as_array(c)
    if np.ndim(c) != 1:
        refuse_function("gradlab", circulant)
    places = np.arange(np.size(c))
    return c[(places[:, None] - places) % np.size(c)]


_PADE = [factorial(26 - k) / (factorial(k) * factorial(13 - k)) for k in range(14)]
"""Coefficients of the Padé approximant of order 13."""


@implements("linalg")
def expm(a: Any) -> Any:
    """Return the exponential of a matrix.

    Scaling and squaring: N. J. Higham, SIAM J. Matrix Anal. Appl. 26 (2005), algorithm 2.3, with
    the order 13 for every matrix.
    """
    a = as_array(a)
    largest = float(np.max(np.sum(np.abs(values_of(a)), axis=-2), initial=0.0))
    squarings = max(0, int(np.ceil(np.log2(largest / 5.371920351148152)))) if largest else 0
    a = a / 2.0**squarings
    b, eye = _PADE, np.eye(np.shape(a)[-1])
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    high = a6 @ (b[13] * a6 + b[11] * a4 + b[9] * a2)
    u = a @ (high + b[7] * a6 + b[5] * a4 + b[3] * a2 + b[1] * eye)
    high = a6 @ (b[12] * a6 + b[10] * a4 + b[8] * a2)
    v = high + b[6] * a6 + b[4] * a4 + b[2] * a2 + b[0] * eye
    result = np.linalg.solve(v - u, v + u)
    for _ in range(squarings):
        result = result @ result
    return result
