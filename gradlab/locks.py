"""One writer a file: a lock that ends with its process, however that ends.

The lock is on a hidden file beside the one that is written, which is replaced by moves and cannot
be locked itself. The system drops it when the process is gone, so that a lock file which a killed
process left behind locks nobody out.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradlab import files
from gradlab.errors import OptionError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt

    def _lock(file: int) -> None:
        os.lseek(file, 2**30, os.SEEK_SET)  # beyond its end, so that others can read it
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
else:

    def _lock(file: int) -> None:
        # Unlike those of flock(), these locks are not inherited by a process that is forked.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_here: set[Path] = set()
"""What this process has locked: for the system, one process is one owner."""

_guard = threading.Lock()


def _renew() -> None:
    """Have a lock that another thread may have held when the process was forked."""
    global _guard
    _guard = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def locked(option: str, path: Path) -> Iterator[None]:
    """Be the only one who writes a file, in this process and all others of the machine.

    Where the file system knows no locks, or the folder takes no new file, there is none.

    Parameters
    ----------
    option : str
        What an error calls the file.
    path : Path
        The file; it need not be there.

    Raises
    ------
    OptionError
        If somebody else has the lock.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with locked("checkpoint", Path(folder, "state")):
    ...         with locked("checkpoint", Path(folder, "state")):
    ...             pass
    Traceback (most recent call last):
    gradlab.errors.OptionError: checkpoint='.../state': process ... is writing it; wait until that
    has ended, or name another file
    """
    place = files.beside(path, "lock")
    with _guard:
        free = place not in _here
        _here.add(place)
    if not free:
        raise _taken(option, path, str(os.getpid()))
    file = None
    try:
        try:
            file = _open(place)
        except BlockingIOError as error:
            raise _taken(option, path, error.args[1]) from None
        except OSError:
            file = None
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                os.unlink(place)  # while it is locked, so that nobody has locked it since
            os.close(file)
        with _guard:
            _here.discard(place)


def _open(place: Path) -> int:
    """Return the descriptor of a lock file that is locked.

    Raises
    ------
    BlockingIOError
        If somebody else has locked it; it says which process.
    OSError
        If it cannot be locked at all.
    """
    while True:
        file = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file)
            with suppress(OSError):  # the disk may be full
                os.lseek(file, 0, os.SEEK_SET)
                os.ftruncate(file, os.write(file, b"%d" % os.getpid()))
            # Whoever had it before may have removed it between our two steps.
            if os.path.samestat(os.fstat(file), os.stat(place)):
                return file
        except FileNotFoundError:
            pass
        except OSError as error:
            os.lseek(file, 0, os.SEEK_SET)
            owner = os.read(file, 20).decode("ascii", "replace")
            os.close(file)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise BlockingIOError(error.errno, owner) from None
            raise
        os.close(file)


def _taken(option: str, path: Path, owner: str) -> OptionError:
    return OptionError(
        f"{option}={str(path)!r}: process {owner} is writing it; wait until that has ended, or "
        "name another file"
    )
