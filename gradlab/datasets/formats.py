"""The formats of users' data files: each reader returns arrays by name.

``.npz``
    Files of ``numpy.savez``.
``.csv``, ``.tsv``, ``.txt``
    One sample per line: numbers separated by commas, semicolons or tabs, with or without a line of
    names before them. The label is the column ``label`` (or ``class``, ``target``, ``digit``,
    ``y``), otherwise the first column.
``.pkl``, ``.pickle``
    Arrays in dicts, lists and tuples, read without executing the pickle; see `gradlab.pickles`.

Text and pickles may be compressed with gzip, under any name.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradlab import files, npz, pickles
from gradlab.datasets import idx
from gradlab.errors import DataError, reason_of

Array: TypeAlias = NDArray[Any]

MAX_ARCHIVE_BYTES = 2**33
"""Largest total size of the arrays of an archive, in bytes: 8 GiB. That fits into memory; an
archive could otherwise unpack to a thousand times its size."""

MAX_TEXT_BYTES = 2**30
"""Largest size of a text or a pickle, also after unpacking, and of a pickle's arrays together, in
bytes. All of it is held in memory, in addition to the arrays; MNIST takes 0.1 or 0.2 of it."""

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PICKLE_SUFFIXES = (".pkl", ".pickle")
SUFFIXES = (".npz", *TEXT_SUFFIXES, *PICKLE_SUFFIXES)

LABEL_NAMES = ("label", "labels", "class", "target", "digit", "y")
"""Names of a column of labels."""

PICTURE_SHAPE = (28, 28)
"""Shape of MNIST's pictures, which pickles and texts store as rows of 784 numbers."""


def looks_like_a_file(name: Any) -> bool:
    """Tell whether a text looks like the name of a data file, whether or not the file exists."""
    if not isinstance(name, str):
        return False
    if Path(_plain(name)).suffix in SUFFIXES:
        return True
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # not a valid file name
        return False


def read(path: Path, wanted: Iterable[str]) -> dict[str, Array]:
    """Return the arrays of a file that have one of the wanted names.

    Raise a DataError if it cannot be read, is damaged or in another format; the message names it.
    """
    suffix = Path(_plain(path.name)).suffix
    if suffix in TEXT_SUFFIXES:
        return _from_text(path)
    if suffix in PICKLE_SUFFIXES:
        return _from_pickle(path, set(wanted))
    return _from_npz(path, set(wanted))


def _plain(name: str) -> str:
    return name.lower().removesuffix(".gz")


def _from_npz(path: Path, wanted: set[str]) -> dict[str, Array]:
    refusal = files.refusing(path, DataError)
    with files.opened(path, MAX_ARCHIVE_BYTES, refusal) as file:
        start = file.peek(4)[:4]
        try:
            return npz.read(file, MAX_ARCHIVE_BYTES, wanted)
        except npz.ArrayError as error:
            raise refusal(str(error)) from error
        # A damaged archive may raise anything.
        except Exception as error:
            if start[:2] == b"\0\0" and start[2:3] and start[2] in idx.DTYPES:
                raise refusal(
                    "one of the IDX files of MNIST; give the data set mnist, and the folder of the "
                    "four files as data_dir (--data-dir)"
                ) from error
            raise refusal(
                "not an .npz file of numpy.savez(path, x=x, y=y), nor one that ends in "
                f"{', '.join(SUFFIXES[1:])} ({reason_of(error)})"
            ) from error


def _content(path: Path) -> bytes:
    """Return a file's unpacked content."""
    refusal = files.refusing(path, DataError)
    data = files.read(path, MAX_TEXT_BYTES, refusal)
    if data.startswith(files.GZIP_MAGIC):
        return bytes(files.inflated(io.BytesIO(data), MAX_TEXT_BYTES, refusal))
    return data


def _from_pickle(path: Path, wanted: set[str]) -> dict[str, Array]:
    data = _content(path)
    try:
        found = pickles.read(data, MAX_TEXT_BYTES)
    except pickles.PickleError as error:
        raise DataError(f"{path}: {error}") from None
    # A damaged pickle may raise anything.
    except Exception as error:
        raise DataError(
            f"{path}: not a pickle of arrays, or a damaged one ({reason_of(error)})"
        ) from error
    arrays = {name: value for name, value in found.items() if isinstance(value, np.ndarray)}
    return {name: _pictures(array) for name, array in arrays.items() if name in wanted}


def _pictures(x: Array) -> Array:
    """Reshape rows of MNIST's length to its pictures."""
    if x.ndim == 2 and x.shape[1] == PICTURE_SHAPE[0] * PICTURE_SHAPE[1]:
        return x.reshape(-1, *PICTURE_SHAPE)
    return x


def _from_text(path: Path) -> dict[str, Array]:
    content = _content(path)
    lines = _lines(content)
    first = lines.readline()
    delimiter = max(",;\t", key=first.count)
    names = [cell.strip().strip('"').lower() for cell in first.split(delimiter)]
    named = not all(map(_is_number, names))
    if not any(line.strip() for line in lines) and (named or not first.strip()):
        raise DataError(f"{path}: has no line of numbers")
    lines = _lines(content)
    if named:
        lines.readline()
    try:
        table = np.loadtxt(
            lines, delimiter=delimiter, comments=None, quotechar='"', ndmin=2, dtype=np.float64
        )
    except ValueError as error:
        where = _first_fault(content, delimiter, named) or reason_of(error)
        raise DataError(f"{path}: {where}") from error
    if table.shape[1] < 2:
        raise DataError(f"{path}: has one column; expected a label and the numbers of a sample")
    label = next((i for i, name in enumerate(names) if named and name in LABEL_NAMES), 0)
    return {"x": _pixels(np.delete(table, label, axis=1)), "y": table[:, label]}


def _lines(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", errors="replace")


def _first_fault(content: bytes, delimiter: str, named: bool) -> str | None:
    """Describe the first cell that is not a number, or the first line of a different length."""
    rows = csv.reader(_lines(content), delimiter=delimiter)
    columns = None
    with suppress(csv.Error):
        for row in rows:
            if (named and rows.line_num == 1) or not row:
                continue
            for cell in row:
                if not _is_number(cell):
                    shown = repr(cell if len(cell) < 40 else f"{cell[:40]}...")
                    return f"line {rows.line_num} has {shown}, which is not a number"
            if len(row) != (columns := columns or len(row)):
                return f"line {rows.line_num} has {len(row)} cells; those before it have {columns}"
    return None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _pixels(x: Array) -> Array:
    """Reshape rows of MNIST's length to its pictures; as bytes if the numbers fit."""
    pictures = _pictures(x)
    whole = pictures.ndim == 3 and x.size and x.min() >= 0 and 1 < x.max() <= 255
    return pictures.astype(np.uint8) if whole and np.array_equal(x, np.rint(x)) else pictures
