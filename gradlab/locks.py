"""A lock that allows one writer per file and ends with its process.

The lock is on a hidden file beside the file that is written, because the latter is replaced and
cannot be locked itself. The system releases the lock when the process ends, so a lock file left
behind by a killed process blocks nobody.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradlab import files
from gradlab.errors import OptionError
from gradlab.forking import ForkLock

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
"""Files that this process has locked; to the system, all its threads are one owner."""

_guard = ForkLock()


@contextmanager
def locked(option: str, path: Path) -> Iterator[None]:
    """Hold the only lock on a file among all processes and threads of this machine.

    The file need not exist. Without support for locks in the file system, or without write access,
    nothing is locked. Raise an OptionError, which names the option of the file, if another process
    or thread holds the lock.

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
    with _guard.held:
        free = place not in _here
        _here.add(place)
    if not free:
        raise _in_use(option, path, str(os.getpid()))
    file = None
    try:
        try:
            file = _open(place)
        except BlockingIOError as error:
            raise _in_use(option, path, error.args[1]) from None
        except OSError:
            file = None
        yield
    finally:
        if file is not None:
            with suppress(OSError):
                os.unlink(place)  # while it is still locked, so that no one else can have locked it
            os.close(file)
        with _guard.held:
            _here.discard(place)


def _open(place: Path) -> int:
    """Open and lock a lock file; return its descriptor.

    Raise a BlockingIOError if another process has locked it; the message has its number. Raise an
    OSError if it cannot be locked at all.
    """
    while True:
        file = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file)
            with suppress(OSError):  # the disk may be full
                os.lseek(file, 0, os.SEEK_SET)
                os.ftruncate(file, os.write(file, b"%d" % os.getpid()))
            # Its last owner may have removed it between opening and locking.
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


def _in_use(option: str, path: Path, owner: str) -> OptionError:
    return OptionError(
        f"{option}={str(path)!r}: process {owner} is writing it; wait until that has ended, or "
        "name another file"
    )
