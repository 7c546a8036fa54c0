"""Files of arrays that belong to one task: a checkpoint of a training, or part of a gradient.

A file starts with a line that names its kind and the version of the format. The SHA-256 of the rest
follows, then the length of a header, the header in JSON, and the arrays as they lie in memory::

    gradlab checkpoint 2 | sha256 | length, 8 bytes | header | arrays

Nothing in a file is ever executed. The header says to which task the file belongs. The sizes of the
arrays come from the task that reads the file, never from the file itself, and no more bytes are
read than a file of this task can have.
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

HEADER_ALLOWANCE = 2**16
"""Bytes that a header may have besides the identity and the layout of the arrays."""


class DamagedError(Exception):
    """The content of a file differs from what was written."""


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    name: str  # what a file is called, also in its first line
    option: str  # the option that names the file
    version: int  # the version of the format
    work: str  # the kind of task that a file belongs to
    # Returns the exception to raise for a file and a reason.
    refusal: Callable[[Path, str], Exception]
    advice: str  # what to do with a file of another task

    @property
    def line(self) -> bytes:
        """The first line of a file."""
        return f"gradlab {self.name} {self.version}\n".encode()


def encode(
    kind: Format, identity: Mapping[str, str], facts: Mapping[str, Any], arrays: Sequence[Array]
) -> Iterator[bytes]:
    """Yield the bytes of a file part by part, since it may be large compared with the memory.

    The identity has what distinguishes this task from others, by the names used in errors. The
    facts are further entries of the header: values that JSON has, and integer arrays.
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
    growing: frozenset[str] = frozenset(),
) -> Built:
    """Read the file of a task that is resumed.

    A file of this task has at most `room` bytes; see `room_for`. ``build(header, body)`` returns
    the content from the header and the bytes of the arrays; if it raises, gradlab did not write the
    file. The counts of the identity named in `growing` may be larger than in the file.

    Raise an OptionError if the file belongs to another task; the exception of `kind.refusal` if it
    cannot be read or is of another version; and a DamagedError if its content differs from what was
    written.
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
    # Of a file that is too long, only the header is read: it tells the task it belongs to.
    whole = len(data) <= room
    if whole and hashlib.sha256(body).digest() != digest:
        raise DamagedError("damaged, or cut short (checksum mismatch)")
    try:
        length = int.from_bytes(body[:8], "little")
        header = json.loads(bytes(body[8 : 8 + length]), object_hook=_array_of_json)
        require_same(kind, file, header["options"], identity, growing)
        if not whole:
            raise ValueError(f"longer than one of this {kind.work} can be, {room} bytes")
        return build(header, body[8 + length :])
    except OptionError:
        raise
    except Exception as error:  # its checksum is right, so the content was made on purpose
        raise DamagedError(f"not a {kind.name} that gradlab wrote ({reason_of(error)})") from error


def require_same(
    kind: Format,
    file: Path,
    there: Mapping[str, str],
    here: Mapping[str, str],
    growing: frozenset[str] = frozenset(),
) -> None:
    """Raise an OptionError that names the differences if a file belongs to another task.

    The counts with a name in `growing` may be larger here than there.
    """
    others = [
        f"{name} was {there.get(name)} and is {text}"
        for name, text in here.items()
        if there.get(name) != text and not (name in growing and _grew(there.get(name), text))
    ]
    if others:
        raise OptionError(
            f"{kind.option}={str(file)!r} belongs to another {kind.work} ({'; '.join(others)}): "
            f"{kind.advice}"
        )


def _grew(there: str | None, here: str) -> bool:
    counts = (there or "", here)
    return all(text.isdecimal() for text in counts) and int(counts[0]) < int(counts[1])


def room_for(identity: Mapping[str, str], arrays: Sequence[Array]) -> int:
    """Return the largest length of a file with this identity, in bytes."""
    texts = len(json.dumps(dict(identity))) + len(json.dumps(layout(arrays)))
    return sum(array.nbytes for array in arrays) + texts + HEADER_ALLOWANCE


def layout(arrays: Sequence[Array]) -> list[Any]:
    """Return dtypes and shapes of arrays, for a header."""
    return [[array.dtype.str, list(array.shape)] for array in arrays]


def arrays_like(like: Sequence[Array], body: memoryview) -> list[Array]:
    """Return the arrays of a file, of the shapes, dtypes and layouts in memory of others.

    The rounding of linear algebra may depend on the layout.

    Raise a ValueError if the number of bytes does not fit.
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
    """Describe arrays by their shapes and a digest of names, dtypes and numbers.

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
    """Return an array of integers, as in the state of a generator, as JSON values."""
    return {"dtype": value.dtype.name, "array": value.tolist()}


def _array_of_json(found: dict[str, Any]) -> Any:
    if found.keys() != {"dtype", "array"}:
        return found
    if found["dtype"] not in ("uint32", "uint64"):
        raise ValueError(f"a generator of {found['dtype']}")
    return np.array(found["array"], found["dtype"])
