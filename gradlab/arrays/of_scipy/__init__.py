"""SciPy's functions on traced arrays, in terms of NumPy's.

SciPy's special functions are ufuncs, which NumPy passes on to traced arrays. Its other functions
compute with plain arrays, in compiled code for the most part. Where the user's code calls one with
traced values and it fails, `gradlab.arrays.rewriting` puts `counterpart` of it in its place.

The files, in reading order: `shared.py`, `special.py`, `distributions.py` (`scipy.stats`),
`linalg.py`, `others.py` (`scipy.stats`, `scipy.signal`, `scipy.spatial`). None of them imports
SciPy: the user's code has done that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradlab.arrays.of_scipy import linalg, others, special  # noqa: F401  they register themselves
from gradlab.arrays.of_scipy.distributions import bound_method, frozen, given_before
from gradlab.arrays.of_scipy.shared import FUNCTIONS

__all__ = ["counterpart", "given_before"]


def counterpart(called: Any) -> Callable[..., Any] | None:
    """Return the function of traced arrays for a function or method of SciPy's; None if none is.

    Examples
    --------
    >>> counterpart(len) is None
    True
    """
    module = str(getattr(called, "__module__", None) or type(called).__module__)
    if not module.startswith("scipy."):
        return None
    owner, name = getattr(called, "__self__", None), getattr(called, "__name__", "")
    if owner is not None:
        return bound_method(owner, name)
    package = module.split(".")[1]
    return FUNCTIONS.get((package, name)) or frozen(called)
