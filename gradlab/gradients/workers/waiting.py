"""Waiting for answers so that Ctrl-C can interrupt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gradlab.interrupts import allowed


def interruptible(answers: Iterator[Any]) -> Iterator[Any]:
    """Yield the items; a signal may interrupt while the next one is computed or awaited."""
    end = object()
    while True:
        with allowed():
            found = next(answers, end)
        if found is end:
            return
        yield found
