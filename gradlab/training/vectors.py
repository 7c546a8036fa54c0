"""The leaves of the parameters as a few contiguous blocks of memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from gradlab.params import Array


@dataclass(frozen=True)
class Vector:
    """Arrays that lie side by side in memory, so that a step is a few operations on few blocks."""

    leaves: list[Array]  # views of the blocks
    # One for each dtype, with one axis; for arrays that do not lie side by side, the leaves.
    blocks: list[Array]

    @classmethod
    def of(cls, leaves: Sequence[Array]) -> Vector:
        """Copy arrays into a vector."""
        vector = cls.like(leaves)
        for mine, leaf in zip(vector.leaves, leaves, strict=True):
            mine[...] = leaf
        return vector

    @classmethod
    def like(cls, leaves: Sequence[Array]) -> Vector:
        """Return a vector of zeros for arrays of these shapes and dtypes."""
        ends: dict[np.dtype[Any], int] = {}
        starts = []
        for leaf in leaves:
            start = ends.get(leaf.dtype, 0)
            starts.append(start)
            # Each leaf starts at a multiple of 64 bytes, where vector instructions are fastest.
            entries = 64 // math.gcd(leaf.itemsize, 64)
            ends[leaf.dtype] = start + math.ceil(leaf.size / entries) * entries
        blocks = {dtype: np.zeros(end, dtype) for dtype, end in ends.items()}
        views = [
            blocks[leaf.dtype][start : start + leaf.size].reshape(leaf.shape, order=order_of(leaf))
            for leaf, start in zip(leaves, starts, strict=True)
        ]
        return cls(views, [*blocks.values()])

    def another(self) -> Vector:
        """Return a vector of zeros for the same leaves."""
        return self.like(self.leaves)

    def is_finite(self) -> bool:
        """Tell whether all entries are finite."""
        # A norm costs a fraction of np.isfinite. Entries are tested only if it overflows.
        with np.errstate(all="ignore"):
            norm = sum(map(np.vdot, self.blocks, self.blocks))
        return bool(np.isfinite(norm)) or all(np.isfinite(block).all() for block in self.blocks)


def order_of(array: Array) -> Literal["C", "F"]:
    """Return the memory order of an array: by columns ("F") or, if in doubt, by rows ("C")."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
