"""Unnamed files that processes share: the task, and the position of each worker.

Each worker maps the file of the task into its memory, so that all of them share one copy of the
data (a worker that writes into it gets its own copy of the page). The system frees a file when the
last process that has it open ends, for whatever reason.
"""

from __future__ import annotations

import errno
import mmap
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from multiprocessing import reduction
from pickle import PickleBuffer
from typing import IO, Any

import numpy as np

from gradlab.errors import WorkerError
from gradlab.gradients.workers.task import Task, load
from gradlab.params import Array

ALIGNMENT = 64
"""Bytes to a multiple of which an array starts in the file, as it does in its own memory."""

LIMITS_ADVICE = (
    "give fewer workers, close files, or raise the limits of the system (ulimit -n, ulimit -u)"
)
"""Advice for when the system has no descriptor or process left."""


class NamelessFile:
    """A file for several processes that disappears when the last of them closes it or ends.

    On POSIX it never has a name, and processes inherit its descriptor. Windows gives it a name,
    and removes the file when it is closed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        if os.name == "posix":
            return _opened, (reduction.DupFd(self.file.fileno()),)
        return _opened_by_name, (self.file.name,)


def _opened(descriptor: Any) -> NamelessFile:
    return NamelessFile(open(descriptor.detach(), "r+b"))


def _opened_by_name(name: str) -> NamelessFile:
    def opener(path: str, flags: int) -> int:
        return os.open(path, flags | getattr(os, "O_TEMPORARY", 0))

    return NamelessFile(open(name, "r+b", opener=opener))


def written(parts: Sequence[Any]) -> NamelessFile:
    """Write bytes one after the other into a new file, each at a multiple of `ALIGNMENT`.

    A full disk is a WorkerError here: using memory mapped to the file would crash later.
    """
    try:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile(prefix="gradlab-"))
            for part in parts:
                file.write(part)
                file.write(bytes(-file.tell() % ALIGNMENT))
            file.flush()
            stack.pop_all()
            return NamelessFile(file)
    except OSError as error:
        folder = tempfile.tempdir or "the temporary folder"
        advice = "make room there, or name another folder in the environment variable TMPDIR"
        raise WorkerError(
            f"the data for the workers cannot be written to {folder} ({error.strerror or error}): "
            f"{LIMITS_ADVICE if error.errno in (errno.EMFILE, errno.ENFILE) else advice}"
        ) from error


def store(task: Task) -> NamelessFile:
    """Write a task: lengths of the pickle and of each array; the pickle; the arrays."""
    buffers: list[PickleBuffer] = []
    stream = task.pickle(buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [len(stream), *(view.nbytes for view in views)]
    return written([np.array([len(sizes), *sizes], np.int64).tobytes(), stream, *views])


def restore(stored: NamelessFile) -> Task:
    """Read a task; its arrays are the file's pages, shared until they are written to."""
    view = memoryview(mmap.mmap(stored.file.fileno(), 0, access=mmap.ACCESS_COPY))

    count = int.from_bytes(view[:8], sys.byteorder)
    sizes = np.frombuffer(view, np.int64, count, 8).tolist()
    parts, start = [], 0
    for size in (8 + 8 * count, *sizes):
        parts.append(view[start : start + size])
        start += size + -size % ALIGNMENT
    return load(bytes(parts[1]), parts[2:])


def map_places(shared: NamelessFile) -> Array:
    """Map the file with the position of each worker: leaf, entry, and since when, on one clock."""
    rows = np.frombuffer(mmap.mmap(shared.file.fileno(), 0), np.int64)
    return rows.reshape(-1, ALIGNMENT // 8)[:, :3]
