"""Detection of writes into captured arrays while a loss is recorded.

A recording holds a captured array itself, not a copy, so that the next replay sees new contents
that its owner wrote between two calls. If the loss itself writes into the array after using it, the
recording would use the last contents everywhere. An error refuses that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.places import Place, describe_place
from gradlab.errors import UntraceableError
from gradlab.params import Array, checksum


class Constants:
    """The arrays that are operands of a recording, with a checksum of each."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Array, int, Place | None]] = {}

    def store(self, operand: Any, place: Place | None) -> None:
        """Store an array, or the arrays inside a tuple or list."""
        if type(operand) in (tuple, list):
            for part in operand:
                self.store(part, place)
        elif isinstance(operand, np.ndarray) and id(operand) not in self._seen:
            self._seen[id(operand)] = operand, checksum(operand), place

    def require_unchanged(self) -> None:
        """Raise an error if the contents of an array have changed; forget all arrays."""
        seen, self._seen = self._seen, {}
        for array, before, place in seen.values():
            if checksum(array) != before:
                where = f" ({describe_place(place)})" if place else ""
                raise UntraceableError(
                    f"it writes into an array that it has already used{where}: write into a "
                    "copy, or make a new array each time"
                )
