"""What a loss was refused while it was traced.

An error that says that a derivative would be lost is raised in the middle of the user's code, which
may catch it and go another way: ``try: s = int(x)``, ``except Exception: s = 1``. On plain arrays,
the same code goes on behind the ``try``. Each refusal is therefore recorded, and raised again when
the loss has returned (`gradlab.arrays.tracing.run_traced`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_here = threading.local()


@contextmanager
def refusals() -> Iterator[list[Exception]]:
    """Collect the refusals of a loss in this thread.

    Examples
    --------
    >>> with refusals() as found:
    ...     try:
    ...         refuse(TypeError("no number"))
    ...     except TypeError:
    ...         pass
    >>> found
    [TypeError('no number')]
    """
    before = getattr(_here, "found", None)
    found: list[Exception] = []
    _here.found = found
    try:
        yield found
    finally:
        _here.found = before


@contextmanager
def forgiving() -> Iterator[None]:
    """Forget the refusals of a block that does without the numbers, such as a check of them."""
    found = getattr(_here, "found", None)
    before = None if found is None else len(found)
    try:
        yield
    finally:
        if found is not None:
            del found[before:]


def record(error: Exception) -> None:
    """Record a refusal, if a loss is being traced in this thread."""
    found = getattr(_here, "found", None)
    if found is not None:
        found.append(error)


def refuse(error: Exception) -> NoReturn:
    """Record a refusal, and raise it."""
    record(error)
    raise error
