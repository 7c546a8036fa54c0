"""How a native loss is evaluated: the types shared by `native` and the libraries' modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradlab.errors import ParameterError
from gradlab.params import Array

Gradient: TypeAlias = list[Array | None]
"""A gradient as a list of leaves; None if the library finds no dependence on a leaf."""


@dataclass(frozen=True, eq=False)  # NumPy treats the dtype None as float64
class NativeWay:
    """A way to evaluate a native loss.

    Attributes
    ----------
    dtype : dtype or None
        Dtype of the parameters and arguments that the loss gets; None for their own.
    widens : bool
        Whether operations on mixed precisions, which the library would refuse, compute in the wider
        one.
    """

    dtype: np.dtype[Any] | None
    widens: bool = False


WIDE = NativeWay(np.dtype(np.float64))
OWN = NativeWay(None)


def in_dtype(leaf: Array, dtype: np.dtype[Any] | None) -> Array:
    """Return an array of floats or complex numbers in the precision of a dtype.

    Examples
    --------
    >>> in_dtype(np.ones(2, np.complex64), np.dtype(np.float64)).dtype
    dtype('complex128')
    """
    if dtype is None:
        return leaf
    return leaf.astype(np.result_type(dtype, np.complex64) if leaf.dtype.kind == "c" else dtype)


def matched(names: Sequence[str], found: dict[str, Any], what: str) -> list[Any]:
    """Return the values of a dict in the order of names; raise if some are missing."""
    if missing := [name for name in names if name not in found]:
        raise ParameterError(f"{what} lacks {', '.join(missing)}")
    if extra := [name for name in found if name not in names]:
        raise ParameterError(f"{what} has {', '.join(extra)}, which the parameters do not have")
    return [found[name] for name in names]
