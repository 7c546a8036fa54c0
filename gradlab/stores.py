"""Arrays that belong to one piece of work, in a file: a checkpoint, or a part of a gradient.

The file is a line with the kind of work and the version of the format, the SHA-256 of all that
follows, and that: the length of a header, the header in JSON, and the arrays as they lie in
memory::

    gradlab checkpoint 1 | sha256 | length, 8 bytes | header | arrays

Nothing in it can be run. The header says to which work the file belongs. The sizes of the arrays
are those of the work that reads it, never what the file promises; no more of it is read than such a
file can be long.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from gradlab import files
from gradlab.errors import OptionError, reason_of
from gradlab.params import Array

Built = TypeVar("Built")

HEADER = 2**16
"""Bytes that a header may have beside the identity and the layout of the arrays."""


class DamagedError(Exception):
    """A file does not hold what was written."""


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes
    ----------
    name : str
        What a file is, and what its first line says.
    option : str
        The option that names the file.
    version : int
        Of its format.
    work : str
        To what a file belongs.
    refusal : callable
        Returns the exception to raise for a file and a reason.
    advice : str
        What to do with a file of other work.
    """

    name: str
    option: str
    version: int
    work: str
    refusal: Callable[[Path, str], Exception]
    advice: str

    @property
    def line(self) -> bytes:
        """The first line of a file."""
        return f"gradlab {self.name} {self.version}\n".encode()


def encode(
    kind: Format, identity: Mapping[str, str], facts: Mapping[str, Any], arrays: Sequence[Array]
) -> Iterator[bytes]:
    """Yield the bytes of a file part by part, since it may be large beside the memory.

    Parameters
    ----------
    kind : Format
        What the file is.
    identity : mapping of str to str
        What tells this work from other work, by what an error calls it.
    facts : mapping
        What else the header says, of values that JSON has, and integer arrays.
    arrays : sequence of ndarray
        What the file holds.
    """
    text = json.dumps({"options": dict(identity), **facts}, default=json_of_array).encode()

    def body() -> Iterator[bytes]:
        yield len(text).to_bytes(8, "little") + text
        yield from (array.tobytes() for array in arrays)

    digest = hashlib.sha256()
    for part in body():
        digest.update(part)
    yield kind.line + digest.digest()
    yield from body()


def decode(
    kind: Format,
    file: Path,
    identity: Mapping[str, str],
    room: int,
    build: Callable[[Any, memoryview], Built],
) -> Built:
    """Read a file of work that goes on.

    Parameters
    ----------
    kind : Format
        What the file has to be.
    file : Path
        The file.
    identity : mapping of str to str
        What tells this work from other work.
    room : int
        How long a file of this work can be, in bytes: see `room_for`.
    build : callable
        Returns what the header and the bytes of the arrays stand for. What it raises means that
        gradlab did not write them.

    Raises
    ------
    OptionError
        If the file belongs to other work.
    Exception
        What `kind.refusal` returns, if the file cannot be read, or is of another version.
    DamagedError
        If the file does not hold what was written.
    """

    def refusal(why: str) -> Exception:
        return kind.refusal(file, why)

    with files.opened(file, None, refusal) as stream, files.reading(refusal):
        data = bytes(files.up_to(stream, room + 1))
    line, _, rest = data.partition(b"\n")
    if line + b"\n" != kind.line:
        if version := re.fullmatch(rb"gradlab %s (\d{1,9})" % kind.name.encode(), line):
            raise refusal(
                f"has the format {version[1].decode()}, of another version of gradlab; this one "
                f"reads {kind.version}"
            )
        raise DamagedError(f"not a {kind.name}, or damaged in its first line")
    digest, body = rest[:32], memoryview(rest)[32:]
    # Of a file that is too long, only the header is looked at: to which work may it belong?
    whole = len(data) <= room
    if whole and hashlib.sha256(body).digest() != digest:
        raise DamagedError("damaged, or cut short (checksum mismatch)")
    try:
        length = int.from_bytes(body[:8], "little")
        header = json.loads(bytes(body[8 : 8 + length]), object_hook=_array_of_json)
        require_same(kind, file, header["options"], identity)
        if not whole:
            raise ValueError(f"longer than one of this {kind.work} can be, {room} bytes")
        return build(header, body[8 + length :])
    except OptionError:
        raise
    except Exception as error:  # its checksum is right, so that somebody meant it
        raise DamagedError(f"not a {kind.name} that gradlab wrote ({reason_of(error)})") from error


def require_same(
    kind: Format, file: Path, there: Mapping[str, str], here: Mapping[str, str]
) -> None:
    """Raise an OptionError that names in what the work of a file differs, if it does."""
    others = [
        f"{name} was {there.get(name)} and is {text}"
        for name, text in here.items()
        if there.get(name) != text
    ]
    if others:
        raise OptionError(
            f"{kind.option}={str(file)!r} belongs to another {kind.work} ({'; '.join(others)}): "
            f"{kind.advice}"
        )


def room_for(identity: Mapping[str, str], arrays: Sequence[Array]) -> int:
    """Return how long a file of this identity can be at most, in bytes."""
    texts = len(json.dumps(dict(identity))) + len(json.dumps(layout(arrays)))
    return sum(array.nbytes for array in arrays) + texts + HEADER


def layout(arrays: Sequence[Array]) -> list[Any]:
    """Return dtypes and shapes of arrays, for a header."""
    return [[array.dtype.str, list(array.shape)] for array in arrays]


def arrays_like(like: Sequence[Array], body: memoryview) -> list[Array]:
    """Return the arrays of a file, of the shapes, dtypes and layouts in memory of others.

    The rounding of linear algebra may depend on the layout.

    Raises
    ------
    ValueError
        If the bytes are not as many.
    """
    if len(body) != sum(array.nbytes for array in like):
        raise ValueError(f"{len(body)} bytes of arrays")
    arrays = []
    for array in like:
        part, body = body[: array.nbytes], body[array.nbytes :]
        read = np.empty_like(array)
        read[...] = np.frombuffer(part, array.dtype).reshape(array.shape)
        arrays.append(read)
    return arrays


def fingerprint(arrays: Mapping[Any, Array]) -> str:
    """Say what tells arrays from others: shapes, and a digest of names, dtypes and numbers.

    Examples
    --------
    >>> fingerprint({"x": np.zeros((3, 2)), "y": np.zeros(3)})
    '(3, 2), (3,) of digest ada32a94ca67bf10'
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    shapes = [str(array.shape) for array in arrays.values()]
    shown = shapes if len(shapes) < 7 else [*shapes[:3], "...", *shapes[-3:]]
    return f"{', '.join(shown)} of digest {digest.hexdigest()[:16]}"


def json_of_array(value: Any) -> Any:
    """Return what JSON has for an array of integers, as in the state of a generator."""
    return {"dtype": value.dtype.name, "array": value.tolist()}


def _array_of_json(found: dict[str, Any]) -> Any:
    if found.keys() != {"dtype", "array"}:
        return found
    if found["dtype"] not in ("uint32", "uint64"):
        raise ValueError(f"a generator of {found['dtype']}")
    return np.array(found["array"], found["dtype"])
