"""Inputs of the network as arrays of numbers, plain or traced."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.errors import DataError, GradlabError
from gradlab.params import numbers


def as_numbers(value: Any, what: str, error: type[GradlabError] = DataError) -> Any:
    """Return an array unchanged, anything else as a NumPy array of numbers."""
    kind = getattr(getattr(value, "dtype", None), "kind", "O")
    return value if kind in "biufc" else numbers(value, what, error)


def as_floats(x: Any) -> Any:
    """Return x in floating point: −x of an unsigned integer wraps."""
    x = as_numbers(x, "the input")
    return x if x.dtype.kind in "fc" else x.astype(np.float64)
