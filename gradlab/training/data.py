"""Data to train on, and functions of the parameters that are evaluated on data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from gradlab.errors import DataError
from gradlab.gradients.protocol import real_scalar
from gradlab.params import Array, entry, first, numbers
from gradlab.training.vectors import Vector

Data: TypeAlias = Sequence[Any]
"""Arrays with one row per sample, such as ``(x, y)``; the loss is ``loss(params, *data)``."""

Accuracy: TypeAlias = Callable[..., float]
"""``accuracy(params, *data)``, a share from 0 to 1."""


def check_data(data: Data, what: str = "data") -> tuple[Array, ...]:
    """Return data as arrays of one length.

    Raise a DataError if there are no samples, the lengths differ, or an array holds a NaN, an
    infinity or something other than numbers; it names the array.

    Examples
    --------
    >>> check_data((np.zeros((3, 2)), [0, 1]))
    Traceback (most recent call last):
    gradlab.errors.DataError: data: 3 samples of x, but 2 of y
    """
    if isinstance(data, (np.ndarray, str, bytes)) or not isinstance(data, Sequence) or not data:
        raise DataError(f"{what}: give arrays with one row per sample, such as (x, y)")
    names = getattr(data, "_fields", None) or (
        ("x", "y") if len(data) == 2 else [f"array {i}" for i in range(len(data))]
    )
    arrays = tuple(
        numbers(array, f"{what}: {name}") for name, array in zip(names, data, strict=True)
    )
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0 or len(array) == 0:
            raise DataError(f"{what}: {name} holds no samples (shape {array.shape})")
        if len(array) != len(arrays[0]):
            raise DataError(
                f"{what}: {len(arrays[0])} samples of {names[0]}, but {len(array)} of {name}"
            )
        if array.dtype.kind in "fc" and not Vector([array], [array]).is_finite():
            where = entry(name, first(~np.isfinite(array)))
            raise DataError(f"{what}: {where} is not finite; remove or replace such samples")
    return arrays


def evaluate(
    function: Callable[..., Any], params: Any, data: Data, what: str = "the loss"
) -> float:
    """Return a loss or an accuracy on all of the data.

    Raise a LossError or a NonFiniteError if it is not one real, finite number.

    Examples
    --------
    >>> evaluate(lambda p, x: p * np.mean(x), 2.0, [[1.0, 3.0]])
    4.0
    """
    with quiet():
        return float(real_scalar(function(params, *data), what=what))


def quiet() -> np.errstate:
    """Silence NumPy's warnings of overflow and NaN: the error for a non-finite loss is clearer."""
    return np.errstate(over="ignore", invalid="ignore")
