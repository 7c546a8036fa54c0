"""The slopes that are known so far, in memory and, if wanted, in a file that outlives the process.

The file is rewritten every now and then by a move, which is atomic: whenever the process ends,
a whole file is there. It says what it is part of: the method, the parameters, the loss (its name,
its value, the content of what it is bound to), the arguments. A gradient is taken up again only
where all of these are the same, to the bit; and because a loss may have changed where its value at
one place does not show it, the largest slope is taken once more and has to come out as it was.
Until it has, nothing is written into the file. It is removed when the gradient is complete, and
only by the gradient that it is part of.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from gradlab import files, npz
from gradlab.errors import CheckpointWarning, OptionError, reason_of
from gradlab.gradients.probing import COARSEST, CoarseLoss, Probe
from gradlab.gradients.workers.chunks import Chunk
from gradlab.gradients.workers.problem import Problem
from gradlab.identity import described
from gradlab.params import Array

IDENTITY = 2**20
"""Bytes that the text may take which says what a file is part of."""

HEADER = 2**12
"""Bytes that the description of an array may take beside it."""

STEPS = "the precision and whether all entries are looked at closely are"
"""What the steps depend on that is found out on the way: see `CoarseLoss`."""

SHARE = 0.05
"""The most of the time that goes into writing.

There is no pause beyond that: workers that are killed again and again shall get further each time.
"""


class PartialGradient:
    """Slopes that come in chunk by chunk; a context, which writes what it has when it is left.

    Attributes
    ----------
    slopes : list of ndarray
        Of each leaf, in its shape; 0 where they are missing.
    missing : list of ndarray of bool
        Of each leaf, flat, in C order.
    pending, size : int
        How many are missing, and how many there are to be.
    """

    def __init__(self, path: Path | None, known: dict[str, str] | None, probe: Probe) -> None:
        self._path, self._identity, self._name = path, known, probe.name
        self.slopes: list[Array] = [
            np.zeros(leaf.shape, np.result_type(leaf, np.float64)) for leaf in probe.leaves
        ]
        self.missing: list[Array] = [np.ones(leaf.size, bool) for leaf in probe.leaves]
        self.size = self.pending = sum(leaf.size for leaf in probe.leaves)
        self._next = 0.0
        self._is_ours = True

    @classmethod
    def open(cls, path: Any, known: dict[str, str] | None, probe: Probe) -> PartialGradient:
        """Begin a record, or take up the one that the file has.

        Raises
        ------
        OptionError
            If the file holds something else, part of another gradient, or cannot be written.
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
        """Compare slopes of the file with the same ones, taken again; it is ours if they agree.

        Raises
        ------
        OptionError
            If they differ in a bit.
        """
        held = self.slopes[chunk.leaf].reshape(-1)[chunk.start : chunk.stop]
        if not np.array_equal(held, found):
            raise OptionError(
                f"resume={str(self._path)!r} belongs to another gradient: the slope at "
                f"{self._name(chunk.leaf, chunk.start)} was {held[0]} and is {found[0]}; give "
                "another path, or remove the file"
            )
        self._is_ours = True

    def put(self, chunk: Chunk, found: Array) -> None:
        """Enter the slopes of a chunk."""
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
        coarse = isinstance(error, CoarseLoss)  # its slopes have steps that are too small
        if (self.pending or error is not None) and not coarse:
            self._save()
        else:
            with suppress(OSError):
                self._path.unlink()

    def _save(self) -> None:
        """Write what there is; the work is worth more than the file of it."""
        try:
            self._write()
        except OSError as error:
            self._next = time.monotonic() + 1.0
            warnings.warn(
                f"resume={str(self._path)!r} cannot be written ({error.strerror}): what it held "
                "before stays, and the work goes on",
                CheckpointWarning,
                stacklevel=3,
            )

    def _write(self) -> None:
        if self._path is None:
            return
        started = time.monotonic()
        data = io.BytesIO()
        arrays = {f"slopes {i}": leaf for i, leaf in enumerate(self.slopes)}
        arrays |= {f"missing {i}": mask for i, mask in enumerate(self.missing)}
        np.savez(data, identity=np.array(json.dumps(self._identity)), **arrays)  # type: ignore[arg-type]
        files.replace(self._path, [data.getvalue()])
        self._next = time.monotonic() + (time.monotonic() - started) / SHARE

    def _read(self, path: Path) -> None:
        def refusal(why: str) -> OptionError:
            return OptionError(f"resume={str(path)!r}: {why}")

        try:
            # The arrays have a limit of their own, and of the file only they are read.
            with files.opened(path, None, refusal) as file:
                known = json.loads(str(npz.read(file, IDENTITY, ["identity"])["identity"]))
                _require_steps(known, self._identity or {})
                _same(path, known, self._identity or {})
                most = sum(array.nbytes + HEADER for array in (*self.slopes, *self.missing))
                held = npz.read(file, most + IDENTITY)
            slopes = [_like(leaf, held[f"slopes {i}"]) for i, leaf in enumerate(self.slopes)]
            missing = [_like(mask, held[f"missing {i}"]) for i, mask in enumerate(self.missing)]
        except (OptionError, CoarseLoss):
            raise
        except Exception as error:
            raise OptionError(
                f"resume={str(path)!r}: not a file of slopes ({reason_of(error)}); give the path "
                "of one that this wrote, or of none"
            ) from error
        self.slopes, self.missing = slopes, missing
        self.pending = int(sum(mask.sum() for mask in missing))


def _require_steps(known: dict[str, str], wanted: dict[str, str]) -> None:
    """Have the gradient begun with the steps of the file, where these were found to be needed."""
    precision, closely = json.loads(known[STEPS])
    before, closely_before = json.loads(wanted[STEPS])
    if before < float(precision) <= COARSEST or (closely and not closely_before):
        raise CoarseLoss(max(before, float(precision)), bool(closely))


def _like(wanted: Array, found: Array) -> Array:
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        raise ValueError(f"{found.dtype} of shape {found.shape} among its arrays")
    return found


def _same(path: Path, found: dict[str, str], wanted: dict[str, str]) -> None:
    """Say what it is in which the gradient of a file is another one, if it is."""
    for what, here in wanted.items():
        there = found.get(what)
        if there != here:
            shown = "" if len(here) > 60 else f" (there {there}, here {here})"
            raise OptionError(
                f"resume={str(path)!r} belongs to another gradient: {what} not the same{shown}; "
                "give another path, or remove the file"
            )


def identity(problem: Problem, probe: Probe) -> dict[str, str]:
    """Return what tells one gradient from all others, by what it is called in an error.

    Raises
    ------
    OptionError
        If the arguments cannot be pickled, and so not be told from others.
    """
    names = [probe.name(leaf, 0) for leaf, x in enumerate(probe.leaves) if x.size]
    leaves = [(x.dtype.str, x.shape, x.tobytes()) for x in probe.leaves]
    steps = [h.tobytes() for h in probe.given_steps or ()]
    try:
        data = pickle.dumps(problem.args, protocol=5)
    except Exception as error:
        raise OptionError(
            f"resume= needs arguments of the loss that can be pickled ({error})"
        ) from error
    return {
        "the method is": described(problem.method),
        "the loss is": described(problem.loss),
        "the parameters are": _digest(pickle.dumps((names, leaves, steps), protocol=5)),
        "the arguments are": _digest(data),
        "the value of the loss is": repr(float(probe.value)),
        STEPS: json.dumps([probe.precision, probe.closely]),
    }


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
