"""Operations that were refused while a loss was traced.

gradlab raises an error in the middle of the user's code if a derivative would be lost. The code may
catch it and take another branch: ``try: s = int(x)``, ``except Exception: s = 1``. On plain arrays,
the same code would not take that branch. Each refusal is therefore recorded, and raised again after
the loss has returned (`gradlab.arrays.tracing.run_traced`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import NoReturn

from gradlab.arrays.collecting import Collector
from gradlab.errors import UntraceableError

_refused = Collector[Exception]()


def refusals() -> AbstractContextManager[list[Exception]]:
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
    return _refused.collecting()


@contextmanager
def forgiving() -> Iterator[None]:
    """Forget the refusals of a block that works without the numbers, such as a check of them."""
    found = _refused.found
    before = None if found is None else len(found)
    try:
        yield
    finally:
        if found is not None:
            del found[before:]


def record(error: Exception) -> None:
    """Record a refusal, if a loss is being traced in this thread."""
    _refused.note(error)


class PlainWriteError(UntraceableError):
    """The loss writes a traced value into a plain array, which cannot hold it."""


def refuse(why: str | Exception, kind: type[Exception] = UntraceableError) -> NoReturn:
    """Record a refusal, and raise it: an error, or one of this kind with a text."""
    error = why if isinstance(why, Exception) else kind(why)
    record(error)
    raise error
