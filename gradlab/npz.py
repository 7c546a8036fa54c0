"""Read ``.npz`` archives from untrusted sources.

A zip archive may unpack to a thousand times its size. An array in it may claim terabytes, or hold
pickled objects, which can run code. So the reader unpacks at most what the archive declares and the
caller allows. Each array must be exactly as long as its header says, and may hold only numbers or
text. Nothing is ever unpacked to disk.
"""

from __future__ import annotations

import io
import math
import os
import zipfile
from collections.abc import Iterable
from typing import IO

import numpy as np

from gradlab import files
from gradlab.errors import reason_of
from gradlab.params import Array

DTYPE_KINDS = "biufcSU"
"""The kinds of dtype that an array may have: numbers and text."""


class ArrayError(ValueError):
    """One array of an archive cannot be read; the message names it."""


def read(
    source: str | os.PathLike[str] | IO[bytes], most: int, wanted: Iterable[str] | None = None
) -> dict[str, Array]:
    """Return the arrays of an archive by name; with `wanted`, only those of these names.

    Raise a ValueError if the arrays take more than `most` bytes, or two have the same name; and an
    ArrayError if an array is damaged, or does not hold numbers or text. For a damaged archive, the
    zip reader may raise any exception.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> np.savez(file, x=[1.0, 2.0], y=3)
    >>> read(file, most=1000)
    {'x': array([1., 2.]), 'y': array(3)}
    >>> read(file, most=100)
    Traceback (most recent call last):
    ValueError: its arrays take ... bytes, more than the 100 that are read
    """
    with zipfile.ZipFile(source) as archive:
        members = [
            member
            for member in archive.infolist()
            if wanted is None or member.filename.removesuffix(".npy") in wanted
        ]
        names = [member.filename.removesuffix(".npy") for member in members]
        if len(set(names)) < len(names):
            raise ValueError("it holds one name twice")
        size = sum(member.file_size for member in members)
        if size > most:
            raise ValueError(f"its arrays take {size} bytes, more than the {most} that are read")
        return {
            name: _array(archive, member, name) for name, member in zip(names, members, strict=True)
        }


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> Array:
    try:
        with archive.open(member) as file:  # reading to the end verifies the checksum
            return _parsed(files.up_to(file, member.file_size + 1))
    except Exception as error:  # damaged data may raise anything
        raise ArrayError(f"{name} cannot be read ({reason_of(error)})") from error


def _parsed(data: bytearray) -> Array:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        header = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"format {version}, of arrays of records")
    shape, fortran, dtype = header
    if dtype.kind not in DTYPE_KINDS or dtype.subdtype:
        raise ValueError(f"dtype {dtype}; expected numbers (objects are programs)")
    promised, there = math.prod(shape) * dtype.itemsize, len(data) - file.tell()
    if promised != there:
        raise ValueError(f"it promises {promised} bytes for shape {shape}; there are {there}")
    flat = np.frombuffer(data, dtype, offset=file.tell())
    return flat.reshape(shape, order="F" if fortran else "C")
