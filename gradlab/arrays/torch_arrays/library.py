"""Tensors as traced arrays, and NumPy's functions on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gradlab.arrays.creation import protect
from gradlab.arrays.ducks import (
    DuckArray,
    DuckLibrary,
    are_known,
    device_here,
    note_native_call,
)
from gradlab.arrays.torch_arrays.functions import NATIVES
from gradlab.arrays.torch_arrays.indices import forward, turned_axes
from gradlab.arrays.torch_arrays.special import special

DTYPES = {
    getattr(torch, name): np.dtype(name)
    for name in (
        "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 "
        "complex64 complex128"
    ).split()
}
_TORCH_DTYPES = {dtype: native for native, dtype in DTYPES.items()}


class TorchLibrary(DuckLibrary):
    """How NumPy's functions are evaluated on PyTorch's tensors."""

    takes_numbers = frozenset(
        "add subtract multiply divide power".split()
        + "less less_equal equal not_equal greater greater_equal".split()
    )

    def is_native(self, value: Any) -> bool:
        """Tell whether a value is a tensor."""
        return isinstance(value, torch.Tensor)

    def from_numpy(self, array: Any) -> Any:
        """Return NumPy's array as a tensor, which shares its memory where it can."""
        if not are_known():
            return torch.tensor(np.ascontiguousarray(array).reshape(array.shape))
        flags = array.flags
        # Not backwards, read-only or of foreign byte order: PyTorch has no such tensors.
        if not (flags.c_contiguous and flags.writeable and array.dtype.isnative):
            array = np.require(np.asarray(array), array.dtype.newbyteorder("="), ["C", "W"])
        if any(step < 0 for step in array.strides):  # which PyTorch does not support
            array = array.copy()
        tensor = torch.from_numpy(array)
        protect(array)
        device = device_here()
        return tensor if device is None else tensor.to(device)

    def to_numpy(self, native: Any) -> Any:
        """Return a copy of the numbers."""
        return native.detach().cpu().resolve_conj().resolve_neg().numpy().copy()

    def dtype_of(self, native: Any) -> np.dtype[Any]:
        """Return the dtype as NumPy's."""
        return DTYPES[native.dtype]

    def cast(self, native: Any, dtype: np.dtype[Any]) -> Any:
        """Return a tensor in another dtype."""
        if native.is_complex() and dtype.kind != "c":
            native = native.real
        return native.to(_TORCH_DTYPES[dtype])

    def at(self, native: Any, index: tuple[Any, ...]) -> Any:
        """Return the entries at an index."""
        source, place = forward(native, index)
        return source[place]

    def put(self, native: Any, index: tuple[Any, ...], value: Any) -> Any:
        """Return a tensor with other entries at an index."""
        source, place = forward(native, index)
        new = source.clone()
        new[place] = value
        turned = turned_axes(native, index)
        return new.flip(turned) if turned else new

    def depends(self, native: Any) -> bool:
        """Tell whether a derivative passes through a tensor."""
        return bool(native.requires_grad)

    def special(self, ufunc: Any) -> Any:
        """Return the function of torch.special of the name."""
        return special(ufunc)


class TorchArray(DuckArray):
    """A NumPy array to the loss, a tensor inside."""

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Evaluate a function of PyTorch's on the tensors inside; the result is a tensor."""
        note_native_call()
        return function(*_inside(args), **_inside(kwargs or {}))


def _inside(value: Any) -> Any:
    if isinstance(value, DuckArray):
        return value.native
    if isinstance(value, dict):
        return {key: _inside(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_inside, value))
    return value


LIBRARY = TorchLibrary("torch", TorchArray, NATIVES)
TorchArray.library = LIBRARY
