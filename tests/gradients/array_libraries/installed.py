"""The installed backends of other libraries, and their arrays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from optional import LIBRARIES, each_backend

every_library = each_backend(LIBRARIES)
only_jax = each_backend(["jax"])
only_torch = each_backend(["torch"])


def library(backend: str) -> Any:
    """Return the package, and conversions of NumPy's arrays to its own and back."""
    if backend == "jax":
        import jax

        return SimpleNamespace(array=jax.numpy.asarray, Array=jax.Array, numpy=np.asarray)
    import torch

    return SimpleNamespace(
        array=torch.tensor, Array=torch.Tensor, numpy=lambda tensor: tensor.numpy()
    )


def line(w: Any, x: Any) -> Any:
    return ((w * x) ** 2).sum()
