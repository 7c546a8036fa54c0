"""Machine code on disk, so that the next process links in milliseconds what this one compiled.

The code is in ``compiled`` in the folder that ``GRADLAB_CACHE`` names, or in the cache folder of
the system. Whoever can write there can run code in this process. So the folder must belong to the
user and be closed to all others (mode 0700), and so must each file. The folder is opened once, and
its files through its descriptor: nothing can be put in its place between a check and a read. A file
is linked only if its SHA-256 is right. Anything else is ignored, and the program is compiled again.
Nothing is kept on a system without owners and descriptors of folders, such as Windows.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from gradlab import files

MAX_FILE_BYTES = 16 * 2**20
"""Bytes of the largest file, far more than 2,000 operations take, the most that is compiled."""

MAX_FOLDER_BYTES = 64 * 2**20
"""Bytes of all files together: some thousand networks, whose code has 10 to 60 kB each."""

CODE_SUFFIX, UNFINISHED_SUFFIX = ".code", ".tmp"


def name_of(*parts: str) -> str:
    """Return the name of what is compiled from these texts.

    Examples
    --------
    >>> name_of("source", "processor") == name_of("sourceprocessor", "")
    False
    """
    sha = hashlib.sha256()
    for part in parts:
        sha.update(hashlib.sha256(part.encode()).digest())
    return sha.hexdigest()


def stored(name: str) -> bytes | None:
    """Return the machine code of this name, or None if there is none that can be trusted."""
    with suppress(OSError), _opened() as directory:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name + CODE_SUFFIX, flags, dir_fd=directory), "rb") as file:
            if not _is_private(os.fstat(file.fileno())):
                return None
            content = bytes(files.up_to(file, MAX_FILE_BYTES + 1))
        digest, code = content[:32], content[32:]
        if len(content) <= MAX_FILE_BYTES and digest == _digest(name, code):
            os.utime(name + CODE_SUFFIX, dir_fd=directory, follow_symlinks=False)  # it is in use
            return code
    return None


def store(name: str, code: bytes) -> None:
    """Keep machine code, if the folder can be written.

    The files that have been unused for the longest time make room for it.
    """
    if len(code) + 32 > MAX_FILE_BYTES:
        return
    with suppress(OSError), _opened(create=True) as directory:
        unfinished = f"{name}.{secrets.token_hex(8)}{UNFINISHED_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(unfinished, flags, 0o600, dir_fd=directory)
        try:
            try:
                files.write_all(file, _digest(name, code) + code)
            finally:
                os.close(file)
            os.replace(unfinished, name + CODE_SUFFIX, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with suppress(OSError):
                os.unlink(unfinished, dir_fd=directory)
            raise
        _make_room(directory)


@contextmanager
def _opened(create: bool = False) -> Iterator[int]:
    """Open the folder, and yield its descriptor; raise an OSError if it cannot be trusted."""
    if not hasattr(os, "geteuid") or os.open not in os.supports_dir_fd:
        raise PermissionError
    path = files.cache_folder() / "compiled"
    if create:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(0o700)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(directory)
        if status.st_mode & 0o077 or not _is_private(status):
            raise PermissionError
        yield directory
    finally:
        os.close(directory)


def _is_private(status: os.stat_result) -> bool:
    """Tell whether nobody else can write."""
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _digest(name: str, code: bytes) -> bytes:
    """Return the SHA-256 of machine code and its name, so that it is found under no other."""
    return hashlib.sha256(name.encode() + code).digest()


def _make_room(directory: int) -> None:
    """Remove the oldest files, as long as there are too many."""
    found = []
    for name in os.listdir(directory):
        if name.endswith((CODE_SUFFIX, UNFINISHED_SUFFIX)):
            with suppress(FileNotFoundError):  # another process has removed it
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                found.append((status.st_mtime_ns, name, status.st_size))
    total = sum(size for _, _, size in found)
    for _, name, size in sorted(found):
        if total <= MAX_FOLDER_BYTES:
            break
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        total -= size
