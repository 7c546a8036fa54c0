"""The IDX format of MNIST (LeCun, Cortes, Burges: the MNIST database).

A file has a header and an array in row-major order, both big-endian::

    0  0  dtype code  number of dimensions | dimension, 4 bytes each | numbers

The reader is strict: a file whose content differs from its header is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradlab import files
from gradlab.errors import DataError

Refusal: TypeAlias = Callable[[str], DataError]

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}

MAX_DIMENSIONS = 32
MAX_HEADER_BYTES = 4 + 4 * 255
"""Largest size of a header, in bytes."""

MAX_ARRAY_BYTES = 2**30
"""Largest size of the array, in bytes: twenty times MNIST, and far below a machine's memory, which
a damaged header must not fill."""


def read(path: Path) -> NDArray[Any]:
    r"""Read one array from an IDX file, compressed with gzip or not.

    The first bytes decide, not the suffix: an archive may lose it, and a browser may unpack the
    file and keep it. The array has the machine's byte order. Raise a DataError if there is no such
    file, or it is not exactly one array in the IDX format.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp(), "labels-idx1-ubyte")
    >>> _ = path.write_bytes(b"\0\0\x08\x01" + b"\0\0\0\x03" + bytes([5, 0, 4]))
    >>> read(path)
    array([5, 0, 4], dtype=uint8)
    """
    refusal = files.refusing(path, DataError)
    with (
        files.opened(path, MAX_ARRAY_BYTES + MAX_HEADER_BYTES, refusal) as file,
        files.reading(refusal),
    ):
        compressed = file.peek(2).startswith(files.GZIP_MAGIC)
        return _array(files.unzipped(file) if compressed else file, refusal)


def _array(file: IO[bytes], refusal: Refusal) -> NDArray[Any]:
    dtype, shape = _header(file, refusal)
    promised = math.prod(shape) * dtype.itemsize
    # One byte more than promised shows that some are left over, and reads no more of them; at the
    # end of a gzip file it also has the checksum verified.
    numbers = files.up_to(file, promised + 1)
    if len(numbers) != promised:
        found = f"only {len(numbers)}" if len(numbers) < promised else "more"
        raise refusal(f"the header promises {promised} bytes for shape {shape}; there are {found}")
    return np.frombuffer(numbers, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _header(file: IO[bytes], refusal: Refusal) -> tuple[np.dtype[Any], tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4:
        raise refusal(f"an IDX file starts with 4 bytes; there are only {len(magic)}")
    if magic[:2] != b"\0\0" or magic[2] not in DTYPES or magic[3] == 0:
        raise refusal(
            f"not an IDX file: it starts with {magic.hex(' ')}, not with 00 00, "
            f"a dtype code ({', '.join(f'{code:02x}' for code in DTYPES)}) and the dimensions"
        )
    dtype, dimensions = np.dtype(DTYPES[magic[2]]), magic[3]
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise refusal(f"the header ends within the sizes of its {dimensions} dimensions")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    # An array without entries may still be too large for NumPy in its other dimensions.
    if dimensions > MAX_DIMENSIONS:
        raise refusal(
            f"the header promises {dimensions} dimensions; at most {MAX_DIMENSIONS} are read"
        )
    if math.prod(max(size, 1) for size in shape) * dtype.itemsize > MAX_ARRAY_BYTES:
        raise refusal(
            f"the header promises shape {shape} of {dtype.name}, more than the {MAX_ARRAY_BYTES} "
            f"bytes that are read; it is damaged, or too large for gradlab"
        )
    return dtype, shape
