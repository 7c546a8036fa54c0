"""Records of what a loss does while it is traced, one list per thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Collector(threading.local, Generic[T]):
    """Collects items within a block, in the thread that runs it.

    Examples
    --------
    >>> numbers = Collector[int]()
    >>> with numbers.collecting() as found:
    ...     numbers.note(1)
    >>> numbers.note(2)
    >>> found
    [1]
    """

    found: list[T] | None = None  # of the innermost block; None outside of all blocks

    @contextmanager
    def collecting(self) -> Iterator[list[T]]:
        """Collect the items of a block; the lists of outer blocks do not change."""
        found: list[T] = []
        before, self.found = self.found, found
        try:
            yield found
        finally:
            self.found = before

    def note(self, item: T) -> None:
        """Add an item, if anything is being collected in this thread."""
        if self.found is not None:
            self.found.append(item)
