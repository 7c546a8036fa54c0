"""One evaluation of a loss on duck arrays, and whether their numbers are known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from gradlab.arrays.places import place_of
from gradlab.arrays.refusals import refuse


class Trace:
    """One evaluation of a loss on duck arrays. Each of its duck arrays keeps it alive."""

    __slots__ = ("__weakref__", "detached", "device", "known", "mixed")

    def __init__(self, known: bool, device: Any = None) -> None:
        self.known = known  # whether the numbers in the arrays are known
        self.device = device  # of the arrays that are made for it; None for the library's default
        self.detached = False  # whether the loss has called `gradlab.detach`: it keeps state
        self.mixed = False  # whether it calls the library itself, which returns native arrays


class _ThreadState(threading.local):
    trace: Any = None


_here = _ThreadState()


@contextmanager
def within(trace: Trace) -> Iterator[None]:
    """Make duck arrays in this thread belong to a trace."""
    outer, _here.trace = _here.trace, trace
    try:
        yield
    finally:
        _here.trace = outer


def are_known() -> bool:
    """Tell whether the numbers in the arrays of the current trace are known."""
    return bool(getattr(_here.trace, "known", True))


def note_native_call() -> None:
    """Record that the loss called a function of the library itself."""
    if _here.trace is not None:
        _here.trace.mixed = True


def current_trace() -> Any:
    """Return the trace to which new duck arrays of this thread belong, None outside of all."""
    return _here.trace


def device_here() -> Any:
    """Return the device of the current trace's arrays."""
    return getattr(_here.trace, "device", None)


def refuse_data(what: str, instead: str) -> NoReturn:
    """Raise the error for an operation that depends on numbers unknown during compilation."""
    refuse(
        f"the loss {what} ({place_of()}): what it does depends on the numbers in its arrays, "
        f'which are not known while it is compiled; {instead}, or use backend="autograd"'
    )
