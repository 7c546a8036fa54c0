"""Polynomials and convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.linalg import lstsq
from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import composite, refuse_function, values_of


@composite(np.polyval)
def polyval(p: Any, x: Any) -> Any:
    """Evaluate a polynomial by Horner's rule, highest power first."""
    p, x = as_array(p), as_array(x)
    y = 0.0 * x
    for coefficient in p:
        y = y * x + coefficient
    return y


@composite(np.roots)
def roots(p: Any) -> Any:
    """Return the roots of a polynomial: the eigenvalues of its companion matrix."""
    p = as_array(p)
    kept = np.flatnonzero(values_of(p))
    if np.ndim(p) != 1 or not kept.size:
        return np.zeros(0)
    last = int(kept[-1])
    zeros = np.zeros(np.size(p) - 1 - last)  # the polynomial is x to a power times the rest
    p = p[int(kept[0]) : last + 1]
    n = np.size(p) - 1
    if not n:
        return zeros
    companion = np.concatenate([(-p[1:] / p[0])[None], np.eye(n - 1, n)])
    return np.concatenate([np.linalg.eigvals(companion), zeros])


@composite(np.vander)
def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """Return the matrix of powers."""
    x = as_array(x)
    n = np.shape(x)[0] if N is None else N
    powers = np.arange(n) if increasing else np.arange(n)[::-1]
    return np.where(powers == 0, 1.0, x[:, None] ** np.where(powers == 0, 1, powers))


@composite(np.polyfit)
def polyfit(x: Any, y: Any, deg: int, rcond: Any = None, full: bool = False, **options: Any) -> Any:
    """Fit a polynomial by least squares."""
    if full or any(value is not None and value is not False for value in options.values()):
        refuse_function("gradlab", np.polyfit)
    matrix = vander(x, deg + 1)
    scale = np.sqrt(np.sum(matrix * matrix, axis=0))
    return (lstsq(matrix / scale, y)[0].T / scale).T


@composite(np.convolve)
def convolve(a: Any, v: Any, mode: str = "full") -> Any:
    """Return the discrete convolution of two sequences."""
    a, v = np.atleast_1d(as_array(a)), np.atleast_1d(as_array(v))
    if np.shape(v)[0] > np.shape(a)[0]:
        a, v = v, a
    n, m = np.shape(a)[0], np.shape(v)[0]
    length, start = {
        "full": (n + m - 1, 0),
        "same": (n, (m - 1) // 2),
        "valid": (n - m + 1, m - 1),
    }[mode]
    padded = np.pad(a, m - 1)
    windows = padded[start + np.arange(length)[:, None] + np.arange(m)]
    return windows @ v[::-1]


composite(np.polymul)(lambda a1, a2: convolve(a1, a2))


@composite(np.correlate)
def correlate(a: Any, v: Any, mode: str = "valid") -> Any:
    """Return the cross-correlation of two sequences."""
    a, v = np.atleast_1d(as_array(a)), np.atleast_1d(as_array(v))
    if np.shape(v)[0] > np.shape(a)[0]:  # NumPy swaps them, and turns the result around
        return convolve(np.conj(v), a[::-1], mode)[::-1]
    return convolve(a, np.conj(v)[::-1], mode)
