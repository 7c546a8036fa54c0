"""Arrays of one value; shapes and dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import composite, has_traced, held, is_traced


@composite(np.full_like)
def full_like(
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
) -> Any:
    """Return an array of one value, which can be written into if it is of floating point."""
    a = a if is_traced(a) else as_array(a)
    shape = a.shape if shape is None else shape
    dtype = a.dtype if dtype is None else np.dtype(dtype)
    if has_traced(fill_value):
        filled = np.broadcast_to(as_array(fill_value), shape)
        return filled if filled.dtype == dtype else filled.astype(dtype)
    made = np.full(shape, fill_value, dtype)
    is_writeable = is_traced(a) and dtype.kind in "fc" and made.ndim
    return a.library.constant(a, made) if is_writeable else made


def _filled_like(value: float) -> Callable[..., Any]:
    return lambda a, dtype=None, order="K", subok=True, shape=None: full_like(
        a, value, dtype, order, subok, shape
    )


composite(np.zeros_like, np.empty_like)(_filled_like(0))
composite(np.ones_like)(_filled_like(1))

_function: Any
for _function in (np.shape, np.ndim, np.size):
    composite(_function)(_function.__wrapped__)
composite(np.result_type)(
    lambda *values: np.result_type(*[x.dtype if is_traced(x) else x for x in map(held, values)])
)
composite(np.iscomplexobj)(lambda x: as_array(x).dtype.kind == "c")
composite(np.isrealobj)(lambda x: as_array(x).dtype.kind != "c")
