"""SIGINT and SIGTERM, deferred while work must not be interrupted.

Ctrl-C raises KeyboardInterrupt at any point, even in a ``finally`` block. Code that cleans up
(processes, files) would have to expect it at each line. Within `held`, signals wait instead, except
where `allowed` lets them through::

    with held():
        ...                 # start processes
        with allowed():
            ...             # wait for them: Ctrl-C raises here
        ...                 # end them: no Ctrl-C, however often it is pressed

The first signal that is raised closes `allowed` at the same moment, so that a second one cannot
interrupt the cleanup. A signal that still waits when the outermost `held` ends is raised there,
unless the exception of the first one is already propagating.

Signals interrupt only the main thread of a process; in other threads, both contexts do nothing. The
program's own handlers are called as usual. SIGTERM without a handler raises SystemExit, so that
cleanup runs as it does after Ctrl-C.
"""

from __future__ import annotations

import _thread
import _weakrefset
import math
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)

MIN_SECONDS_BETWEEN_RAISES = 5.0
"""Seconds after a signal was raised in `allowed` until the next one may be raised there as well.

This bounds how long code that swallows KeyboardInterrupt can resist Ctrl-C.
"""

RESEND_SECONDS = 0.01
"""Seconds after which a signal is sent again that came where Python drops exceptions."""

_DROPPING_CALLBACKS = {
    ("<frozen importlib._bootstrap>", "cb"),
    (_weakrefset.__file__, "_remove"),
    (weakref.__file__, "remove"),
}
"""Callbacks of weak references, by file and name: Python prints and drops what they raise."""


class _HeldBack:
    """The signals that the main thread defers; only that thread changes it."""

    def __init__(self) -> None:
        self.depth = 0
        self.open = False
        self.raised = -math.inf
        self.waiting: set[int] = set()
        self.handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Call the program's handler now, or note the signal; installed while signals are held."""
        now = time.monotonic()
        if self.depth and not (self.open and now - self.raised > MIN_SECONDS_BETWEEN_RAISES):
            self.waiting.add(number)
            return
        if _is_dropped(frame):
            _thread.start_new_thread(_send_again, (number,))  # takes no lock of `threading`
            return
        self.raised = now
        self.handlers[number](number, frame)
        self.raised = -math.inf  # the handler did not raise

    def deliver(self) -> None:
        """Handle the signals that were deferred."""
        numbers = sorted(self.waiting)
        self.waiting.clear()
        for number in numbers:
            self.handle(number, None)

    def install(self) -> None:
        """Replace the program's handlers."""
        for number in SIGNALS:
            handler = signal.getsignal(number)
            if number == signal.SIGTERM and handler is signal.SIG_DFL:
                handler = _terminate
            if callable(handler) and handler != self.handle:
                self.handlers[number] = handler
                signal.signal(number, self.handle)

    def restore(self) -> None:
        """Restore the program's handlers."""
        for number, handler in self.handlers.items():
            if signal.getsignal(number) == self.handle:
                signal.signal(number, signal.SIG_DFL if handler is _terminate else handler)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _is_dropped(frame: FrameType | None) -> bool:
    """Tell whether Python drops what is raised in a frame: in a destructor, for example."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or (code.co_filename, code.co_name) in _DROPPING_CALLBACKS:
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    time.sleep(RESEND_SECONDS)
    os.kill(os.getpid(), number)


_state = _HeldBack()


def _start_afresh() -> None:
    """Restore a forked process's handlers, with nothing held."""
    global _state
    before, _state = _state, _HeldBack()
    if before.depth:
        before.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


class held:  # noqa: N801
    """A context in which signals wait, except within `allowed`.

    Examples
    --------
    >>> before, done = signal.signal(signal.SIGINT, signal.default_int_handler), []
    >>> try:
    ...     with held():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("put in order")
    ... except KeyboardInterrupt:
    ...     done.append("interrupted")
    >>> done
    ['put in order', 'interrupted']
    >>> _ = signal.signal(signal.SIGINT, before)
    """

    def __enter__(self) -> held:
        # The order of these statements, and of those below, leaves no gap for a signal: until the
        # depth is above 0, and again once it is 0, `handle` calls the program's handlers.
        self._state = _state if _is_main_thread() else None
        if self._state is not None:
            if not self._state.depth:
                self._state.waiting.clear()
                self._state.raised = -math.inf
                self._state.install()
            self._open = self._state.open
            self._state.open = False
            self._state.depth += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        state = self._state
        if state is None:
            return
        ending = kind is not None and not issubclass(kind, Exception)
        if ending and state.depth == 1:
            state.waiting.clear()  # the propagating exception already ends the program
        state.depth -= 1
        state.open = self._open
        if not state.depth:
            state.restore()
        if not state.depth or (state.open and not ending):
            state.deliver()


class allowed:  # noqa: N801
    """A context within `held` in which signals are raised; outside `held` it has no effect."""

    def __enter__(self) -> allowed:
        self._state = _state if _state.depth and _is_main_thread() else None
        if self._state is not None:
            self._open = self._state.open
            self._state.raised = -math.inf
            try:
                self._state.open = True
                self._state.deliver()
            except BaseException:
                self._state.open = self._open
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._state is not None:
            self._state.open = self._open


def forget() -> bool:
    """Drop a deferred Ctrl-C, and tell whether there was one."""
    there = _is_main_thread() and signal.SIGINT in _state.waiting
    if there:
        _state.waiting.discard(signal.SIGINT)
    return there
