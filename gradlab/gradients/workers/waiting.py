"""A wait for answers, which Ctrl-C may interrupt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradlab.interrupts import allowed


def interruptible(answers: Iterator[Any]) -> Iterator[Any]:
    """Yield what there is, interrupted while it is computed or waited for."""
    end = object()
    while True:
        with allowed():
            found = next(answers, end)
        if found is end:
            return
        yield found
