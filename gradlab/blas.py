"""The threads of NumPy's BLAS: how many it may use, and one of them for work that is small.

BLAS shares out a matrix product among its threads, which wait busily for each other. For a product
of some hundred rows and columns the waiting costs more than it saves where the processors have
other work, too, and saves little where they have none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController

SMALL = 10**8
"""Entries of the parameters times samples of a batch, up to which one thread takes a training step.

A gradient of a network is some six operations for each of these; 10⁸ are a tenth of a second. Two
threads that had two processors for themselves were faster from 10⁷ on (1.6 times at 2·10⁷); where
others used the processors, too, they were slower throughout, up to 200 times at 5·10⁶ and three
times at 2·10⁸.
"""

CHOSEN = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS")
"""Environment variables by which users say how many threads BLAS has."""


def available() -> int:
    """Return how many threads BLAS may use, not counting what `one_thread` takes from it.

    What is said to BLAS is meant for gradlab's own threads, too.
    """
    with _state.lock:
        counts = _state.granted if _state.depth else [lib.num_threads for lib in _libraries()]
    return max(counts, default=0) or os.cpu_count() or 1


def for_work(entries: int, samples: int) -> AbstractContextManager[None]:
    """Let BLAS use one thread where a training step is small; a rule, so that bits repeat.

    Users who set an environment variable of `CHOSEN` have decided already.

    Examples
    --------
    >>> with for_work(entries=1_000, samples=100):
    ...     pass
    """
    if entries * samples > SMALL or any(name in os.environ for name in CHOSEN):
        return nullcontext()
    return one_thread()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let BLAS use one thread for a while; the last of those who asked for it gives the rest back.

    The setting is one for the whole process, whoever runs in it.
    """
    with _state.lock:
        if not _state.depth:
            _state.granted = [library.num_threads for library in _libraries()]
            _set([1] * len(_state.granted))
        _state.depth += 1
    try:
        yield
    finally:
        with _state.lock:
            _state.depth -= 1
            if not _state.depth:
                _set(_state.granted)


class _State:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.depth = 0
        self.granted: list[int] = []


_state = _State()


def _renew_lock() -> None:
    _state.lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # another thread may have held it
    os.register_at_fork(after_in_child=_renew_lock)


def _set(counts: list[int]) -> None:
    for library, count in zip(_libraries(), counts, strict=True):
        # From 3.8 on, threadpoolctl lets one thread of Python alone set it, until that one ends.
        release = getattr(library, "clear_controlling_thread", lambda force: None)
        release(force=True)
        library.set_num_threads(count)
        release(force=True)


@cache
def _libraries() -> list[Any]:
    """Find the libraries, once: that takes longer than a small gradient."""
    found = ThreadpoolController().lib_controllers
    return [library for library in found if library.user_api == "blas"]
