"""NumPy's indices in the form that PyTorch takes: forwards, and made of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from gradlab.arrays.ducks import are_known


def _spread(native: Any, index: tuple[Any, ...]) -> list[tuple[Any, int]]:
    """Return the parts of an index without ..., and the axis where each begins."""
    taken = sum(
        part.ndim if getattr(part, "dtype", None) in (bool, torch.bool) else 1
        for part in index
        if part is not None and part is not Ellipsis
    )
    rest = [slice(None)] * (native.ndim - taken)
    parts: list[Any] = []
    for part in index:
        parts += rest if part is Ellipsis else [part]
    if not any(part is Ellipsis for part in index):
        parts += rest
    placed, axis = [], 0
    for part in parts:
        placed.append((part, axis))
        if getattr(part, "dtype", None) in (bool, torch.bool):
            axis += part.ndim
        elif part is not None:
            axis += 1
    return placed


def _is_backwards(part: Any) -> bool:
    return isinstance(part, slice) and part.step is not None and part.step < 0


def turned_axes(native: Any, index: tuple[Any, ...]) -> list[int]:
    """Return the axes along which an index goes backwards."""
    if not any(map(_is_backwards, index)):
        return []
    return [axis for part, axis in _spread(native, index) if _is_backwards(part)]


def forward(native: Any, index: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """Return a tensor and an equivalent index into it that goes forwards, as PyTorch requires."""
    if turned := turned_axes(native, index):
        parts = []
        for part, axis in _spread(native, index):
            if _is_backwards(part):
                n = native.shape[axis]
                places = range(n)[part]
                part = (
                    slice(n - 1 - places[0], n - places[-1], -part.step) if places else slice(0, 0)
                )
            parts.append(part)
        native, index = native.flip(turned), tuple(parts)
    arrays = [part for part in index if hasattr(part, "shape")]
    if not arrays:
        return native, index
    if any(part.ndim and part.dtype not in (bool, torch.bool) for part in arrays):
        index = _joined(index)
    return native, tuple([_native_part(part) for part in index])


def _joined(index: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an index whose integers are arrays, as NumPy treats them beside arrays."""
    if any(getattr(part, "dtype", None) in (bool, torch.bool) for part in index):
        parts: list[Any] = []
        for part in index:
            if isinstance(part, np.ndarray) and part.dtype == np.bool_:
                parts += np.nonzero(part)
            else:
                parts.append(part)
        index = tuple(parts)
    shapes = [tuple(part.shape) for part in index if hasattr(part, "shape")]
    shape = np.broadcast_shapes(*shapes)
    return tuple(
        [
            np.broadcast_to(p, shape) if type(p) is int or isinstance(p, np.ndarray) else p
            for p in index
        ]
    )


def _native_part(part: Any) -> Any:
    if isinstance(part, np.ndarray):
        kind = np.bool_ if part.dtype == bool else np.int64
        return (torch.from_numpy if are_known() else torch.tensor)(np.array(part, kind))
    if isinstance(part, torch.Tensor) and part.dtype != torch.bool:
        return part.to(torch.int64)
    return part
