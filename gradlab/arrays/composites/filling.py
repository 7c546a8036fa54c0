"""Arrays of one value; shapes and dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import composite, held, is_traced


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
    a, fill_value = as_array(a), as_array(fill_value)
    shape = a.shape if shape is None else shape
    dtype = a.dtype if dtype is None else np.dtype(dtype)
    if is_traced(fill_value):
        filled = np.broadcast_to(fill_value, shape)
        return filled if filled.dtype == dtype else filled.astype(dtype)
    made = np.full(shape, fill_value, dtype)
    is_writeable = is_traced(a) and dtype.kind in "fc" and made.ndim
    return a.library.constant(a, made) if is_writeable else made


composite(np.zeros_like, np.empty_like)(
    lambda a, *args, **options: full_like(a, 0, *args, **options)
)
composite(np.ones_like)(lambda a, *args, **options: full_like(a, 1, *args, **options))

_function: Any
for _function in (np.shape, np.ndim, np.size):
    composite(_function)(_function.__wrapped__)
composite(np.result_type)(
    lambda *values: np.result_type(*[x.dtype if is_traced(x) else x for x in map(held, values)])
)
composite(np.iscomplexobj)(lambda x: as_array(x).dtype.kind == "c")
composite(np.isrealobj)(lambda x: as_array(x).dtype.kind != "c")
