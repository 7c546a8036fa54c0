"""The number of threads of NumPy's BLAS, limited to one for small work.

BLAS splits a matrix product among threads that wait for each other in busy loops. For a product of
a few hundred rows and columns, the waiting costs more than it saves on busy processors, and it
saves little on idle ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

from gradlab.forking import ForkLock

MAX_SINGLE_THREAD_WORK = 10**8
"""Work up to which a training step uses one thread, in parameter entries times samples per batch.

A network's gradient takes about six operations for each, so 10⁸ take a tenth of a second. On two
idle processors, two threads were faster from 10⁷ on (1.6 times at 2·10⁷). On busy processors, they
were slower at all sizes, by a factor of 200 at 5·10⁶ and of three at 2·10⁸.
"""

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables that set the number of BLAS threads."""


def available() -> int:
    """Return the number of threads of BLAS outside `one_thread`.

    gradlab's own threads follow the same setting.
    """
    with _state.lock.held:
        counts = _state.granted if _state.depth else [lib.num_threads for lib in _libraries()]
    return max(counts, default=0) or os.cpu_count() or 1


def in_use() -> int:
    """Return how many threads BLAS uses at present."""
    return max((lib.num_threads for lib in _libraries()), default=0) or os.cpu_count() or 1


def for_work(entries: int, samples: int) -> AbstractContextManager[None]:
    """Let BLAS use one thread if a training step is small.

    The rule depends only on sizes, so the same training gives the same bits. An environment
    variable of `BLAS_VARIABLES` takes precedence.

    Examples
    --------
    >>> with for_work(entries=1_000, samples=100):
    ...     pass
    """
    if entries * samples > MAX_SINGLE_THREAD_WORK or any(
        name in os.environ for name in BLAS_VARIABLES
    ):
        return nullcontext()
    return one_thread()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS use one thread in a ``with`` block; the last block to end restores the setting.

    The setting is global to the process and shared by all its threads.
    """
    with _state.lock.held:
        if not _state.depth:
            _state.granted = [library.num_threads for library in _libraries()]
            _set([1] * len(_state.granted))
        _state.depth += 1
    try:
        yield
    finally:
        with _state.lock.held:
            _state.depth -= 1
            if not _state.depth:
                _set(_state.granted)


class _State:
    def __init__(self) -> None:
        self.lock = ForkLock()
        self.depth = 0
        self.granted: list[int] = []


_state = _State()


def _set(counts: list[int]) -> None:
    for library, count in zip(_libraries(), counts, strict=True):
        # From 3.8 on, threadpoolctl lets only one Python thread set it, until that thread ends.
        release = getattr(library, "clear_controlling_thread", lambda force: None)
        release(force=True)
        library.set_num_threads(count)
        release(force=True)


@cache
def _libraries() -> list[Any]:
    """Find the BLAS libraries once, since that takes longer than a small gradient."""
    found = ThreadpoolController().lib_controllers
    return [library for library in found if library.user_api == "blas"]
