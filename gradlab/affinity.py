"""Threads on other processors than the one that calls them.

The operating system may wake a thread on the processor of the thread that wakes it, and move it
only milliseconds later. A thread that helps in a call of a millisecond would come too late.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any


@cache
def _current() -> Any:
    """Return the function that gives the processor of this thread, or None if there is none."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    with suppress(AttributeError, OSError, TypeError):
        return ctypes.CDLL(None).sched_getcpu
    return None


def elsewhere() -> frozenset[int] | None:
    """Return the processors that this thread may use and does not run on.

    Returns None if the operating system does not say.
    """
    current = _current()
    return None if current is None else frozenset(os.sched_getaffinity(0)) - {current()}


def keep_on(threads: Iterable[int | None], processors: Iterable[int]) -> None:
    """Let threads, given by their native identifiers, run on these processors only."""
    for thread in threads:
        with suppress(OSError):  # the thread has ended, or a processor is switched off
            if thread:
                os.sched_setaffinity(thread, processors)
