"""A lock that is free in a forked process.

A fork copies the memory of a process, but of its threads only the one that forks. A lock that
another thread holds at that moment stays locked in the child for good.
"""

from __future__ import annotations

import os
import threading


class ForkLock:
    """A lock for a module of gradlab: ``with lock.held: ...``.

    Attributes
    ----------
    held : threading.Lock
        The lock; a forked process has a new one.

    Examples
    --------
    >>> lock = ForkLock()
    >>> with lock.held:
    ...     lock.held.locked()
    True
    """

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.held = threading.Lock()


def held_at_forks() -> threading.RLock:
    """Return a lock that a fork waits for, so that its holder is not cut off in the child.

    It is for work in a library that has a lock of its own, which would stay locked there.

    Examples
    --------
    >>> with held_at_forks():
    ...     pass
    """
    lock = threading.RLock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release
        )
    return lock
