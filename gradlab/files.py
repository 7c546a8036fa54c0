"""Atomic writing and bounded reading of files.

A new file is written beside the old one, synced to disk, and moved into place in one step. A reader
finds either the old file or the new one, also after a crash.

Every reader in gradlab opens its file with `opened`, which accepts only a regular file up to a
given size. A named pipe would block the reader, and a device may have no end.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import secrets
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeVar, cast

E = TypeVar("E", bound=Exception)


def replace(path: Path, parts: Iterable[bytes], *, previous: Path | None = None) -> None:
    """Write a file completely or not at all; a symbolic link stays a link.

    `previous`, in the same folder, gets the old content; between the two moves, only that file
    exists. Raise an OSError if the file cannot be written; the old content is then still there.
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


@contextmanager
def opened(
    path: Path, most: int | None, refusal: Callable[[str], Exception]
) -> Iterator[io.BufferedReader]:
    """Open a regular file of at most `most` bytes for reading.

    The file is opened once and its descriptor is checked, so it cannot be replaced between check
    and read. It may still grow, so the caller must limit how much it reads. ``refusal(why)`` is the
    exception to raise for a reason, such as ``no such file``.

    Examples
    --------
    >>> with opened(Path(os.devnull), 100, ValueError) as file:
    ...     file.read()
    Traceback (most recent call last):
    ValueError: is a device, not a regular file
    """
    try:
        file = open(path, "rb", opener=_open)  # noqa: SIM115
    except FileNotFoundError:
        raise refusal("no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        said = getattr(error, "strerror", None) or error
        why = "is a folder; name a file" if is_folder(path) else f"cannot be read ({said})"
        raise refusal(why) from error
    with file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            kind = "a named pipe" if stat.S_ISFIFO(status.st_mode) else "a device"
            raise refusal(f"is {kind}, not a regular file")
        if most is not None and status.st_size > most:
            raise refusal(f"larger than the {most} bytes that are read")
        yield file


def refusing(path: object, kind: type[E]) -> Callable[[str], E]:
    """Return the function that makes an error about a file from a reason."""
    return lambda why: kind(f"{path}: {why}")


def read(path: Path, most: int, refusal: Callable[[str], Exception]) -> bytes:
    """Return the content of a regular file of at most `most` bytes.

    Examples
    --------
    >>> read(Path("nowhere"), 100, ValueError)
    Traceback (most recent call last):
    ValueError: no such file
    """
    with opened(path, most, refusal) as file:
        try:
            # Reading the known size avoids a second copy; more follows only if the file has grown.
            data = file.read(os.fstat(file.fileno()).st_size)
            rest = up_to(file, most + 1 - len(data))
        except OSError as error:
            raise refusal(f"cannot be read ({error.strerror})") from error
    if len(data) + len(rest) > most:
        raise refusal(f"larger than the {most} bytes that are read")
    return data + rest if rest else data


def up_to(file: IO[bytes], most: int) -> bytearray:
    """Return the next `most` bytes of a file, or fewer at its end; allocate no more than that."""
    data = bytearray()
    while piece := file.read(min(2**20, most - len(data))):
        data += piece
    return data


def cache_folder() -> Path:
    """Return the folder of the cache: ``GRADLAB_CACHE``, or the system's."""
    import pooch

    return Path(os.environ.get("GRADLAB_CACHE") or pooch.os_cache("gradlab"))


def is_folder(path: Path) -> bool:
    """Tell whether a path is a folder; an impossible path is not."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


GZIP_MAGIC = b"\x1f\x8b"
"""The first bytes of every gzip file."""


def unzipped(file: IO[bytes]) -> IO[bytes]:
    """Return a reader that unpacks a gzip file."""
    return cast(IO[bytes], gzip.GzipFile(fileobj=file))


def inflated(file: IO[bytes], most: int, refusal: Callable[[str], Exception]) -> bytearray:
    """Return the unpacked content of a gzip file, of at most `most` bytes.

    Examples
    --------
    >>> inflated(io.BytesIO(gzip.compress(bytes(1000))), 999, ValueError)
    Traceback (most recent call last):
    ValueError: unpacks to more than the 999 bytes that are read
    """
    with reading(refusal):
        data = up_to(unzipped(file), most + 1)
    if len(data) > most:
        raise refusal(f"unpacks to more than the {most} bytes that are read")
    return data


@contextmanager
def reading(refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Turn errors while reading or unpacking a file into a one-line reason."""
    try:
        yield
    except gzip.BadGzipFile as error:
        raise refusal(f"not a valid gzip file ({error})") from error
    except (EOFError, zlib.error) as error:
        raise refusal(f"the gzip file is truncated or damaged ({error})") from error
    except OSError as error:
        raise refusal(f"cannot be read ({error.strerror})") from error


def _open(path: str, flags: int) -> int:
    """Open a file without waiting for a writer to a named pipe."""
    return os.open(path, flags | _NONBLOCKING)


def probe(path: Path) -> None:
    """Raise an OSError if no new file can be created in a file's folder."""
    temporary = beside(path, f"{secrets.token_hex(8)}.tmp")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    temporary.unlink()


def write_all(file: int, data: bytes) -> None:
    """Write all bytes to a descriptor, in as many calls as it takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def sweep(path: Path) -> None:
    """Remove temporary files left behind by killed writers; no other writer may be active."""
    pattern = beside(path, "*.tmp")
    for temporary in pattern.parent.glob(pattern.name):
        with suppress(OSError):
            temporary.unlink()


_BINARY = getattr(os, "O_BINARY", 0)  # Windows writes text otherwise
_NONBLOCKING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)  # Windows has neither


def _target(path: Path) -> Path:
    # A move is atomic only within one file system, so the new file comes from the target's folder.
    return Path(os.path.realpath(path))


def beside(path: Path, ending: str) -> Path:
    """Return a short hidden name in a file's folder, derived from the file's name."""
    target = _target(path)
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    return target.with_name(f".{digest}-{ending}")


def _sync_folder(folder: Path) -> None:
    """Sync the move itself to disk, if the system can (Windows cannot open folders)."""
    with suppress(OSError, AttributeError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
