"""Blocks of lanes on several threads, with results independent of the number of threads.

NumPy releases Python's lock while it computes, so that large blocks run on several processors. The
number of threads affects neither the blocks nor the order in which their results are added. BLAS,
whose sums depend on its own number of threads, uses one in each.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

import numpy as np

from gradlab import affinity

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Task(Generic[Result]):
    """A call that a thread of the pool makes, or the one that needs its result."""

    def __init__(self, pool: ThreadPoolExecutor, call: Callable[[], Result]) -> None:
        self._call, self.future = call, pool.submit(call)

    def take(self) -> None:
        """Make the call here, unless a thread has begun it."""
        if self.future.cancel():
            self.future = Future()
            self.future.set_result(self._call())


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Apply a function to each item on several threads, and yield the results in order.

    A few items are started ahead of the results. The thread that calls is one of the threads; the
    others run on other processors. Floating-point errors are ignored.

    Examples
    --------
    >>> list(in_order(np.sqrt, [4.0, -1.0, 9.0], threads=2))
    [np.float64(2.0), np.float64(nan), np.float64(3.0)]
    """

    def work(item: Item) -> Result:
        with np.errstate(all="ignore"):  # NumPy keeps this setting per thread
            return function(item)

    if threads == 1:
        yield from map(work, items)
        return
    processors = affinity.elsewhere()
    with ThreadPoolExecutor(threads - 1, initializer=_move_to, initargs=(processors,)) as pool:
        pending: deque[_Task[Result]] = deque()
        try:
            for item in items:
                pending.append(_Task(pool, partial(work, item)))
                if len(pending) > 2 * threads:
                    yield _first(pending)
            while pending:
                yield _first(pending)
        finally:
            for task in pending:
                task.future.cancel()


def _first(pending: deque[_Task[Result]]) -> Result:
    """Remove the first task and return its result; take others while a thread computes it."""
    for task in pending:
        if pending[0].future.done():
            break
        task.take()
    return pending.popleft().future.result()


def _move_to(processors: frozenset[int] | None) -> None:
    if processors:
        affinity.keep_on([threading.get_native_id()], processors)
