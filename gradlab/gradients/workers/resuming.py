"""The slopes known so far, in memory and optionally in a file that outlives the process.

The file (`gradlab.stores`) is replaced from time to time by an atomic move, so that a complete file
exists whenever the process ends. It identifies its gradient: the method, the parameters, the loss
(its name, its value, the content of what it is bound to) and the arguments. A gradient resumes only
if all of these are the same, to the bit. A changed loss may still have the same value at these
parameters, so the largest slope is computed again and must come out the same. Until then, nothing
is written into the file. The file is removed when the gradient is complete, and only by the
gradient that it belongs to.
"""

from __future__ import annotations

import hashlib
import pickle
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gradlab import files, stores
from gradlab.errors import CheckpointWarning, OptionError
from gradlab.gradients.probing import ROUGH_RELATIVE_NOISE, CoarseLoss, Probe
from gradlab.gradients.workers.chunks import Chunk
from gradlab.gradients.workers.task import Task
from gradlab.identity import described
from gradlab.params import Array

FILE_ADVICE = "give another path, or remove the file"

PARTIAL = stores.Format(
    "partial gradient",
    "resume",
    1,
    "gradient",
    lambda file, why: OptionError(f"resume={str(file)!r}: {why}; {FILE_ADVICE}"),
    FILE_ADVICE,
)

MAX_WRITING_SHARE = 0.05
"""Largest share of the time to spend on writing. There is no other pause between two writings, so
that runs that are killed again and again still make progress."""


class PartialGradient:
    """Slopes that arrive chunk by chunk; a context that writes them to the file on exit."""

    def __init__(self, path: Path | None, known: dict[str, str] | None, probe: Probe) -> None:
        self._path, self._identity, self._name = path, known or {}, probe.name
        self._steps = [float(probe.precision), probe.closely]
        self.slopes: list[Array] = [  # for each leaf, in its shape; 0 where they are missing
            np.zeros(leaf.shape, np.result_type(leaf, np.float64)) for leaf in probe.leaves
        ]
        # For each leaf, flat, in C order.
        self.missing: list[Array] = [np.ones(leaf.size, bool) for leaf in probe.leaves]
        # The numbers of all slopes and of missing ones.
        self.size = self.pending = sum(leaf.size for leaf in probe.leaves)
        self._next = 0.0
        self._is_ours = True

    @classmethod
    def open(cls, path: Any, known: dict[str, str] | None, probe: Probe) -> PartialGradient:
        """Begin a record, or resume the one in the file.

        A file of something else, or of another gradient, or one that cannot be written, is an
        OptionError.
        """
        record = cls(None if path is None else Path(path), known, probe)
        if record._path is not None:
            if record._path.exists():
                record._read(record._path)
                record._is_ours = record.pending == record.size
            try:
                record._write()
            except OSError as error:  # before the work and not after it
                raise OptionError(
                    f"resume={str(path)!r} cannot be written ({error.strerror})"
                ) from error
        return record

    def sample(self) -> Chunk | None:
        """Return the entry of the largest slope that came from the file, if any did."""
        if self.pending == self.size:
            return None
        known = [
            np.where(mask, -1, np.abs(leaf.reshape(-1)))
            for leaf, mask in zip(self.slopes, self.missing, strict=True)
        ]
        leaf = int(np.argmax([np.max(sizes, initial=-1) for sizes in known]))
        i = int(np.argmax(known[leaf]))
        return Chunk(leaf, i, i + 1)

    def confirm(self, chunk: Chunk, found: Array) -> None:
        """Refuse the file if its slopes differ in a bit from the same ones computed again."""
        held = self.slopes[chunk.leaf].reshape(-1)[chunk.start : chunk.stop]
        if not np.array_equal(held, found):
            raise OptionError(
                f"resume={str(self._path)!r} belongs to another gradient: the slope at "
                f"{self._name(chunk.leaf, chunk.start)} was {held[0]} and is {found[0]}; give "
                "another path, or remove the file"
            )
        self._is_ours = True

    def put(self, chunk: Chunk, found: Array) -> None:
        """Store the slopes of a chunk."""
        part = slice(chunk.start, chunk.stop)
        self.slopes[chunk.leaf].reshape(-1)[part] = found
        self.missing[chunk.leaf][part] = False
        self.pending -= chunk.stop - chunk.start
        if self._is_ours and time.monotonic() >= self._next:
            self._save()

    def __enter__(self) -> PartialGradient:
        return self

    def __exit__(self, kind: object, error: object, place: object) -> None:
        if self._path is None or not self._is_ours:
            return
        coarse = isinstance(error, CoarseLoss)  # the steps of its slopes are too small
        if (self.pending or error is not None) and not coarse:
            self._save()
        else:
            with suppress(OSError):
                self._path.unlink()

    def _save(self) -> None:
        """Write the slopes so far; an error is only a warning, since the work can go on."""
        try:
            self._write()
        except OSError as error:
            self._next = time.monotonic() + 1.0
            warnings.warn(
                f"resume={str(self._path)!r} cannot be written ({error.strerror}): what it held "
                "before is kept, and the work continues",
                CheckpointWarning,
                stacklevel=3,
            )

    def _write(self) -> None:
        if self._path is None:
            return
        started = time.monotonic()
        arrays = [*self.slopes, *self.missing]
        facts = {"arrays": stores.layout(arrays), "steps": self._steps}
        files.replace(self._path, stores.encode(PARTIAL, self._identity, facts, arrays))
        self._next = time.monotonic() + (time.monotonic() - started) / MAX_WRITING_SHARE

    def _read(self, path: Path) -> None:
        like = [*self.slopes, *self.missing]

        def build(header: Any, body: memoryview) -> tuple[list[Array], float, bool]:
            if header["arrays"] != stores.layout(like):
                raise ValueError("its arrays are not those of the gradient")
            precision, closely = header["steps"]
            return stores.arrays_like(like, body), float(precision), bool(closely)

        room = stores.room_for(self._identity, like)
        try:
            arrays, precision, closely = stores.decode(PARTIAL, path, self._identity, room, build)
        except stores.DamagedError as damage:
            raise PARTIAL.refusal(path, str(damage)) from damage
        self._require_steps(path, precision, closely)
        n = len(self.slopes)
        self.slopes, masks = arrays[:n], arrays[n:]
        self.missing = [mask.view(np.uint8) != 0 for mask in masks]  # whatever bytes represent it
        self.pending = int(sum(mask.sum() for mask in self.missing))

    def _require_steps(self, path: Path, precision: float, closely: bool) -> None:
        """Use the steps of the file if it has found that smaller ones are needed."""
        known, closely_known = self._steps
        if known < precision <= ROUGH_RELATIVE_NOISE or (closely and not closely_known):
            raise CoarseLoss(max(known, precision), closely)
        steps = {"steps": f"{self._steps}"}
        stores.require_same(PARTIAL, path, {"steps": f"{[precision, closely]}"}, steps)


def identity(task: Task, probe: Probe) -> dict[str, str]:
    """Return the properties that identify a gradient, by the names used in errors."""
    numbers: dict[Any, Array] = {
        probe.name(leaf, 0) if x.size else leaf: x for leaf, x in enumerate(probe.leaves)
    }
    numbers |= {f"step {leaf}": h for leaf, h in enumerate(probe.given_steps or ())}
    try:
        data = pickle.dumps(task.args, protocol=5)
    except Exception as error:
        raise OptionError(
            f"resume= needs arguments of the loss that can be pickled ({error})"
        ) from error
    return {
        "method": described(task.method),
        "loss": described(task.loss),
        "params": stores.fingerprint(numbers),
        "arguments": f"digest {hashlib.sha256(data).hexdigest()[:16]}",
        "value of the loss": repr(float(probe.value)),
    }
