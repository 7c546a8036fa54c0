"""Running results of associative ufuncs, such as products."""

from __future__ import annotations

from typing import Any

import numpy as np


def accumulate(ufunc: Any, x: Any, axis: int) -> Any:
    """Return the running results of an associative ufunc, in about log₂ n calls of it.

    Each step combines every entry with the one s places before it and doubles s: Hillis & Steele,
    *Data parallel algorithms*, Communications of the ACM 29 (1986). The method does not divide, so
    zeros need no special case.

    Examples
    --------
    >>> accumulate(np.multiply, np.array([2.0, 0.0, 3.0]), 0)
    array([2., 0., 0.])
    """
    if ufunc is np.add:
        return np.cumsum(x, axis=axis)
    y = np.moveaxis(x, axis, 0)
    reach, n = 1, np.shape(y)[0]
    while reach < n:
        y = np.concatenate([y[:reach], ufunc(y[:-reach], y[reach:])])
        reach *= 2
    return np.moveaxis(y, 0, axis)
