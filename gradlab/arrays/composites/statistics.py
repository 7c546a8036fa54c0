"""Covariances and counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.picking import diagonal
from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import composite, has_traced, refuse_function, values_of


@composite(np.cov)
def cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: Any = None,
    fweights: Any = None,
    aweights: Any = None,
) -> Any:
    """Return the covariance matrix of variables in rows."""
    if fweights is not None or aweights is not None:
        refuse_function("gradlab", np.cov)
    rows = _variables(m, rowvar)
    if y is not None:
        rows = np.concatenate([rows, _variables(y, rowvar)])
    free = np.shape(rows)[1] - ((0 if bias else 1) if ddof is None else ddof)
    centred = rows - np.mean(rows, axis=1, keepdims=True)
    return np.squeeze(centred @ np.conj(centred.T) / free)


def _variables(m: Any, rowvar: bool) -> Any:
    rows = np.atleast_2d(as_array(m))
    return rows if rowvar or np.shape(rows)[0] == 1 else rows.T


@composite(np.corrcoef)
def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Any:
    """Return the correlation matrix of variables in rows."""
    c = cov(x, y, rowvar)
    if np.ndim(c) == 0:
        return c / c
    deviation = np.sqrt(np.real(diagonal(c)))
    return np.clip(c / deviation[:, None] / deviation[None, :], -1, 1)


@composite(np.bincount)
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Any:
    """Sum weights by their class."""
    classes_of = values_of(as_array(x))
    if weights is None:
        return np.bincount(classes_of, minlength=minlength)
    count = max(minlength, int(np.max(classes_of, initial=-1)) + 1)
    return (classes_of == np.arange(count)[:, None]).astype(float) @ as_array(weights)


@composite(np.histogram)
def histogram(a: Any, *args: Any, **options: Any) -> Any:
    """Count entries per bin; the counts and the bin edges have no derivative."""
    if has_traced(options) or options.get("weights") is not None:
        refuse_function("gradlab", np.histogram)
    return np.histogram(values_of(as_array(a)), *args, **options)
