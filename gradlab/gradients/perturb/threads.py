"""Blocks of lanes on several threads, with results independent of the number of threads.

NumPy releases Python's lock while it computes, so that large blocks run on several processors. The
number of threads affects neither the blocks nor the order in which their results are added. BLAS,
whose sums depend on its own number of threads, uses one in each.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Apply a function to each item on several threads, and yield the results in order.

    A few items are started ahead of the results. Floating-point errors are ignored.

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
    with ThreadPoolExecutor(threads) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
