"""Output files that the user names: checked before the work, written after it.

A regular file is written completely or not at all (`gradlab.files`). A path that exists and is not
a regular file, such as a device or a named pipe, is written to and never replaced. The same holds
for the file behind standard output or standard error, which the shell has open.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gradlab import files
from gradlab.errors import OptionError


def require_writable(option: str, path: Path, spare: Iterable[Path] = ()) -> None:
    """Raise an OptionError if a file is known not to be writable, without writing to it.

    This is so if the path is a folder or one of `spare`, other files of the same run; if its folder
    does not exist; or if it is not writable. The error names the option.

    Examples
    --------
    >>> require_writable("--json", Path("nowhere/numbers.json"))
    Traceback (most recent call last):
    gradlab.errors.OptionError: --json nowhere/numbers.json: there is no folder nowhere
    """
    if path.is_dir():
        raise OptionError(f"{option} {path}: is a folder; name a file")
    for other in spare:
        if _are_same(path, other):
            raise OptionError(f"{option} {path}: would replace {other}; name another file")
    if _stream(path) is not None:
        return
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not is_special(path):
            if not path.parent.is_dir():
                raise OptionError(f"{option} {path}: there is no folder {path.parent}")
            files.probe(path)
    except OSError as error:
        raise OptionError(f"{option} {path}: cannot be written ({error.strerror})") from error


def write(path: Path, data: bytes) -> None:
    """Write a file completely or not at all; write to a path that is not a regular file.

    Raise an OSError if it cannot be written. A named pipe without a reader is an error; this does
    not wait for one.
    """
    stream = _stream(path)
    if stream is None and not is_special(path):
        files.replace(path, [data])
        return
    for text in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # the stream is missing or closed
            text.flush()
    file = os.dup(stream) if stream is not None else _open_special(path)
    try:
        files.write_all(file, data)
    finally:
        os.close(file)


def is_special(path: Path) -> bool:
    """Tell whether the path exists and is neither a regular file nor a folder."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _open_special(path: Path) -> int:
    # Without this flag, opening a named pipe would wait for a reader.
    at_once = getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.open(path, os.O_WRONLY | at_once)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "no process reads from it", str(path)) from None
        raise
    if at_once:
        os.set_blocking(file, True)
    return file


def _stream(path: Path) -> int | None:
    """Return the descriptor of standard output or standard error, if it is this file."""
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
    return None


def _are_same(path: Path, other: Path) -> bool:
    if os.path.realpath(path) == os.path.realpath(other):
        return True
    try:
        return path.samefile(other) and not is_special(path)
    except OSError:
        return False
