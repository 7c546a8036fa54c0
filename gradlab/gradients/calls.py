"""The arrays that receive a gradient: the ``out`` argument of a call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.errors import ParameterError
from gradlab.params import Array, Structure
from gradlab.program.cache_key import key_of


def out_leaves(out: Any, gradients: Sequence[Array], structure: Structure) -> list[Array]:
    """Return the caller's arrays for a gradient; raise an error if they do not fit."""
    targets: list[Any] = []
    key_of(out, targets)
    if len(targets) != len(gradients):
        raise ParameterError(
            f"out holds {len(targets)} arrays; the gradient has {len(gradients)}: "
            f"{', '.join(structure.paths)}"
        )
    for path, target, gradient in zip(structure.paths, targets, gradients, strict=True):
        if target.shape != gradient.shape or target.dtype != gradient.dtype:
            raise ParameterError(
                f"out: {path} is {target.shape} {target.dtype}; "
                f"the gradient there is {gradient.shape} {gradient.dtype}"
            )
        if not target.flags.writeable:
            raise ParameterError(f"out: {path} is read-only")
    return targets


def owners(arrays: Sequence[Any]) -> list[Array]:
    """Return the arrays that own the memory of these, each once."""
    found = [array.base if isinstance(array.base, np.ndarray) else array for array in arrays]
    return [*{id(array): array for array in found}.values()]


def require_apart(targets: Sequence[Array], inputs: Sequence[Any], structure: Structure) -> None:
    """Raise an error if a derivative would overwrite the data from which it is computed."""
    for path, target in zip(structure.paths, targets, strict=True):
        if any(np.may_share_memory(target, array) for array in inputs):
            raise ParameterError(f"out: {path} shares memory with a parameter or an argument")
