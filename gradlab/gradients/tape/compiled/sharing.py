"""Threads that share out the rows of products and fused loops.

A step of a large program is cut into chunks of rows. Each thread takes the next chunk that is left,
and so does the thread that called. It never waits for a thread that has not started, only for
chunks that others have begun. The chunks follow from the shapes, and the bits do not depend on who
computes them.

Between two calls, the threads sleep in a queue. During a call they look for the next step, and
yield the processor each time there is none.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from queue import SimpleQueue
from typing import Any

from gradlab import affinity, blas

MAX_CHUNKS = 8
"""Largest number of chunks of a step: more threads than that are not used."""

JOB_OFFSET = 64
"""Where in the memory of a program the job is, in bytes: the chunks that are left, those that are
not finished, a function and its two arguments, and a flag that there may be more."""

OPEN_OFFSET = JOB_OFFSET + 40

LLVM_FUNCTIONS = """
define internal void @work(ptr %job) noinline {
  br label %look
look:
  %left = load atomic i64, ptr %job acquire, align 8
  %is_some = icmp sgt i64 %left, 0
  br i1 %is_some, label %claim, label %over
claim:
  %chunk = sub i64 %left, 1
  %claimed = cmpxchg ptr %job, i64 %left, i64 %chunk acq_rel acquire
  %is_mine = extractvalue { i64, i1 } %claimed, 1
  br i1 %is_mine, label %compute, label %look
compute:
  %function_at = getelementptr i8, ptr %job, i64 16
  %function = load ptr, ptr %function_at
  %p_at = getelementptr i8, ptr %job, i64 24
  %p = load ptr, ptr %p_at
  %m_at = getelementptr i8, ptr %job, i64 32
  %m = load ptr, ptr %m_at
  call void %function(ptr %p, ptr %m, i64 %chunk)
  %unfinished = getelementptr i8, ptr %job, i64 8
  %before = atomicrmw sub ptr %unfinished, i64 1 acq_rel
  br label %look
over:
  ret void
}
define internal void @share(
  ptr %job, ptr %function, i64 %chunks, ptr %p, ptr %m, ptr %pause
) noinline {
  %function_at = getelementptr i8, ptr %job, i64 16
  store ptr %function, ptr %function_at
  %p_at = getelementptr i8, ptr %job, i64 24
  store ptr %p, ptr %p_at
  %m_at = getelementptr i8, ptr %job, i64 32
  store ptr %m, ptr %m_at
  %unfinished = getelementptr i8, ptr %job, i64 8
  store atomic i64 %chunks, ptr %unfinished monotonic, align 8
  store atomic i64 %chunks, ptr %job release, align 8
  call void @work(ptr %job)
  br label %look
look:
  %count = load atomic i64, ptr %unfinished acquire, align 8
  %is_done = icmp eq i64 %count, 0
  br i1 %is_done, label %over, label %wait
wait:
  call i32 %pause()
  br label %look
over:
  ret void
}
define void @help(ptr %job, ptr %pause) {
  %open_at = getelementptr i8, ptr %job, i64 40
  br label %look
look:
  call void @work(ptr %job)
  %open = load atomic i64, ptr %open_at acquire, align 8
  %is_open = icmp ne i64 %open, 0
  br i1 %is_open, label %wait, label %over
wait:
  call i32 %pause()
  br label %look
over:
  ret void
}
"""


@cache
def pause() -> int:
    """Return the address of the function that yields the processor, or 0 if there is none."""
    with suppress(AttributeError, OSError, TypeError):
        return ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value or 0
    return 0


class _Helpers:
    """Threads that help in calls, started when they are needed; a forked process has its own."""

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._queue: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._processors: frozenset[int] | None = None
        self._starting = threading.Lock()

    def ask(
        self, count: int, help: Callable[[], None], processors: frozenset[int] | None = None
    ) -> None:
        """Have `help` called by as many threads, on these processors."""
        with self._starting:
            while len(self._threads) < count:
                thread = threading.Thread(target=self._serve, name="gradlab helps", daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads
                    break
                self._threads.append(thread)
                self._processors = None
            if processors and processors != self._processors:
                affinity.keep_on([thread.native_id for thread in self._threads], processors)
                self._processors = processors
        for _ in range(count - self._queue.qsize()):  # no more than wait already
            self._queue.put(help)

    def _serve(self) -> None:
        queue = self._queue
        while True:
            queue.get()()


_HELPERS = _Helpers()


@contextmanager
def with_helpers(help: Callable[[], None], opened: Any) -> Iterator[None]:
    """Have other threads help in a call, as many as NumPy's BLAS would use.

    Parameters
    ----------
    help : callable
        Takes chunks, as long as there are any, or as long as the flag is set.
    opened : ndarray of int64, shape (1,)
        The flag.
    """
    count = min(blas.in_use(), MAX_CHUNKS) - 1
    processors = affinity.elsewhere() if count > 0 else None
    if processors is not None:
        count = min(count, len(processors))
    if count <= 0:
        yield
        return
    opened[0] = 1
    try:
        _HELPERS.ask(count, help, processors)
        yield
    finally:
        opened[0] = 0
