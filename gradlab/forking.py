"""A lock that is unlocked in a forked process.

A fork copies the memory of a process, but only the thread that forks. A lock that another thread
holds at that moment would stay locked in the child forever.
"""

from __future__ import annotations

import os
import threading


class ForkLock:
    """A lock for a module of gradlab: ``with lock.held: ...``; a forked process has a new one.

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
    """Return a lock for which forks wait, so that no child is created while it is held.

    It protects work in a library with an internal lock, which would stay locked in the child.

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
