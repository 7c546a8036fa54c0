"""Files that are there whole or not at all, and that are read no further than they may be long.

The new file is written beside the old one, brought to the disk, and moved into its place in one
step: a reader, or who comes after a crash, finds the old file or the new one.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def replace(path: Path, parts: Iterable[bytes], *, previous: Path | None = None) -> None:
    """Write a file whole or not at all; a link stays a link.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    parts : iterable of bytes
        What it shall hold, one part after the other.
    previous : Path, optional
        Where to keep what it held, in the same folder. Between two moves the file is there and
        nowhere else.

    Raises
    ------
    OSError
        If it cannot be written; what the old file held is then still there.
    """
    target = _target(path)
    temporary = beside(path, f"{secrets.token_hex(8)}.tmp")
    try:
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
        try:
            for part in parts:
                write_all(file, part)
            os.fsync(file)
        finally:
            os.close(file)
        if previous is not None and target.exists():
            os.replace(target, previous)
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def read(path: Path, most: int) -> bytes:
    """Return what a file holds, if that is no more than `most` bytes.

    Raises
    ------
    ValueError
        If it holds more, or has no end, as a device.
    OSError
        If it cannot be read.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError("is not a file")
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"larger than the {most} bytes that are read")
        return file.read()


def probe(path: Path) -> None:
    """Raise an OSError if no new file can be made in the folder of a file."""
    temporary = beside(path, f"{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    temporary.unlink()


def write_all(file: int, data: bytes) -> None:
    """Write bytes to a descriptor, however many it takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def sweep(path: Path) -> None:
    """Remove what writings of a file left behind that were killed; nobody else may be at it."""
    pattern = beside(path, "*.tmp")
    for temporary in pattern.parent.glob(pattern.name):
        with suppress(OSError):
            temporary.unlink()


_BINARY = getattr(os, "O_BINARY", 0)  # Windows writes text otherwise


def _target(path: Path) -> Path:
    # A move is atomic only within one file system, so the new file comes from the target's folder.
    return Path(os.path.realpath(path))


def beside(path: Path, ending: str) -> Path:
    """Return a hidden name that belongs to a file, in its folder; short, however long its own."""
    target = _target(path)
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    return target.with_name(f".{digest}-{ending}")


def _sync_folder(folder: Path) -> None:
    """Bring the move itself to the disk, where the system can (Windows opens no folders)."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
