"""Read the parts of files of `gradlab.stores`, and forge such files with the right checksum."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np


def forged(data: bytes, change: Callable[[Any, bytes], tuple[Any, bytes]]) -> bytes:
    """Return the bytes of a file with changed header or arrays and the right checksum."""
    line, header, arrays = parts(data)
    header, arrays = change(header, arrays)
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = len(text).to_bytes(8, "little") + text + arrays
    return line + b"\n" + sha256(body).digest() + body


def parts(data: bytes) -> tuple[bytes, Any, bytes]:
    """Return the first line, the header and the bytes of the arrays."""
    line, _, rest = data.partition(b"\n")
    body = rest[32:]
    length = int.from_bytes(body[:8], "little")
    return line, json.loads(body[8 : 8 + length]), body[8 + length :]


def arrays_in(path: Path) -> list[Any]:
    """Return the arrays of a file."""
    _, header, data = parts(path.read_bytes())
    arrays = []
    for dtype, shape in header["arrays"]:
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        arrays.append(np.frombuffer(data[:size], dtype).reshape(shape))
        data = data[size:]
    return arrays
