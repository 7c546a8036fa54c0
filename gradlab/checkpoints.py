"""The state of a training in a file that survives crashes.

A training depends on its options, its parameters, the state of its optimiser, and the next draws of
its generator. A `State` has everything that changes between two steps, so a training resumed from
it ends with the same bits as the undisturbed one.

The format is that of `gradlab.stores`. Each checkpoint is written to a new file, which is then
moved into place. The previous one is kept as ``PATH.previous``, in case the newer one is damaged.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradlab import files, stores
from gradlab.errors import CheckpointError, CheckpointWarning, OptionError
from gradlab.history import Epoch, History
from gradlab.locks import locked
from gradlab.params import Array
from gradlab.stores import Format
from gradlab.stores import fingerprint as fingerprint

CHECKPOINT = Format(
    "checkpoint",
    "checkpoint",
    2,
    "training",
    lambda file, why: CheckpointError(f"{file}: {why}; name another one"),
    "give the same options, or name another file",
)

EXTENSIBLE_OPTIONS = frozenset({"epochs"})
"""Options that may be larger in a resumed training: its first epochs stay the same."""

NUMBERS_PER_EPOCH = 4
"""Numbers of an epoch: its loss, validation loss and accuracy (NaN for None), and seconds. Two
norms for each leaf follow; they are NaN if they were not recorded."""


@dataclass(frozen=True)
class State:
    """The state of a training after some steps."""

    params: list[Array]  # the leaves
    # Other arrays that change: those of the optimiser, such as a velocity for each leaf; the state
    # of the loss; the parameters of the best epoch.
    carried: list[Array]
    # The state of the generator at the start of the epoch of the last step: the later draws of that
    # epoch are repeated.
    generator: Mapping[str, Any]
    history: History  # it may already have entries of an unfinished step
    # The numbers of steps and epochs of the history that count.
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0  # duration of the steps of an unfinished epoch


class Keeper:
    """A context that writes checkpoints of a training at intervals, and always at its end.

    Enter it while signals are held, so that a second Ctrl-C does not interrupt the last writing.
    """

    def __init__(self, path: Path, options: Mapping[str, str], state: State) -> None:
        self._path, self._options, self._reached = path, options, state
        self._written = state.steps

    def reach(self, state: State, *, write: bool) -> None:
        """Store the state of the training, and write it if it is time."""
        self._reached = state
        if write:
            self._write()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *error: object) -> None:
        if self._written != self._reached.steps:
            self._write()

    def _write(self) -> None:
        """Write the state; if that fails, warn and continue the training."""
        parts = encode(self._reached, self._options)
        try:
            files.replace(self._path, parts, previous=previous(self._path))
        except OSError as error:
            warnings.warn(
                f"checkpoint={str(self._path)!r} cannot be written ({error.strerror}): that of "
                f"step {self._written} is kept, and the training continues",
                CheckpointWarning,
                stacklevel=3,
            )
        else:
            self._written = self._reached.steps


def exclusive(path: Any) -> AbstractContextManager[None]:
    """Return a context in which no other training can write the checkpoint, if there is a path.

    Raise an OptionError if another training is writing it.
    """
    named = isinstance(path, str | os.PathLike)
    return locked("checkpoint", Path(path)) if named else nullcontext()


def previous(path: Path) -> Path:
    """Return the path of the previous checkpoint."""
    return path.with_name(f"{path.name}.previous")


def take_up(
    path: str | os.PathLike[str],
    options: Mapping[str, str],
    start: State,
    *,
    most: tuple[int, int],
    resume: bool | str,
) -> tuple[Keeper, State]:
    """Start to write checkpoints, and return the state at which the training begins.

    This is `start`, or with `resume` the state in the file, if it exists; ``"another backend"``
    allows another backend. The options distinguish this training from others, and `most` are its
    numbers of steps and epochs.

    Raise an OptionError if the file exists and `resume` is false, or it is from a training with
    other options; and a CheckpointError if the file and the previous one are damaged, or it cannot
    be read or written.
    """
    path = Path(path)
    if path.is_dir():
        raise OptionError(f"checkpoint={str(path)!r}: is a folder; name a file")
    files.sweep(path)
    found = [file for file in (path, previous(path)) if file.exists()]
    if found and not resume:
        raise OptionError(
            f"checkpoint={str(path)!r}: already exists; continue from it with resume=True, or name "
            "another file"
        )
    compared = dict(options)
    if resume == "another backend":
        del compared["backend"]
    state = _latest(found, compared, start, most) or start
    # Test before the training whether it can be written. The file that was here is
    # equal or damaged, and not kept.
    try:
        files.replace(path, encode(state, options))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror}); name a file on a disk with free space"
        ) from error
    return Keeper(path, options, state), state


def _latest(
    found: Sequence[Path], options: Mapping[str, str], start: State, most: tuple[int, int]
) -> State | None:
    """Return the state of the first valid file; warn if another one is damaged."""
    damages = []
    for file in found:
        try:
            state = decode(file, options, start, most)
        except stores.DamagedError as damage:
            damages.append(f"{file}: {damage}")
            continue
        if damages:
            warnings.warn(
                f"{damages[0]}; continuing from the previous one, of step {state.steps}",
                CheckpointWarning,
                stacklevel=4,
            )
        return state
    if damages:
        raise CheckpointError(f"{'; '.join(damages)}; remove the damaged files to start again")
    return None


# The format


def encode(state: State, options: Mapping[str, str]) -> Iterator[bytes]:
    """Yield the bytes of a checkpoint, part by part."""
    facts = {
        "arrays": stores.layout(state.params),
        "generator": state.generator,
        "steps": state.steps,
        "epochs": state.epochs,
        "seconds": state.seconds,
    }
    losses = np.array(state.history.losses[: state.steps])
    rows = [_row(epoch, len(state.params)) for epoch in state.history.epochs[: state.epochs]]
    arrays = [*state.params, *state.carried, losses, np.array(rows, np.float64)]
    return stores.encode(CHECKPOINT, options, facts, arrays)


def decode(file: Path, options: Mapping[str, str], start: State, most: tuple[int, int]) -> State:
    """Return the state in a checkpoint of the training to resume; see `stores.decode`."""
    room = stores.room_for(options, [*start.params, *start.carried])
    room += 8 * most[0] + 8 * (NUMBERS_PER_EPOCH + 2 * len(start.params)) * most[1]
    return stores.decode(
        CHECKPOINT,
        file,
        options,
        room,
        lambda header, body: _state(header, body, start, most),
        EXTENSIBLE_OPTIONS,
    )


def _state(header: Any, body: memoryview, start: State, most: tuple[int, int]) -> State:
    if header["arrays"] != stores.layout(start.params):
        raise ValueError("its arrays are not those of the parameters")
    counts = header["steps"], header["epochs"]
    if not all(
        type(count) is int and 0 <= count <= end for count, end in zip(counts, most, strict=True)
    ):
        raise ValueError(f"{counts} steps and epochs, of {most}")
    width = NUMBERS_PER_EPOCH + 2 * len(start.params)
    like = [*start.params, *start.carried, np.empty(counts[0]), np.empty((counts[1], width))]
    *leaves, losses, rows = stores.arrays_like(like, body)
    # Only results that were not requested may be missing.
    if not all(np.isfinite(array).all() for array in (*leaves, losses, rows[:, [0, 3]])):
        raise ValueError("an array is not finite")
    norms = rows[:, NUMBERS_PER_EPOCH:]
    missing = np.isnan(norms)
    if (norms < 0).any() or (missing.any(axis=1) != missing.all(axis=1)).any():
        raise ValueError("a norm is negative or missing")
    seconds = header["seconds"]
    if type(seconds) is not float or not math.isfinite(seconds):
        raise ValueError(f"{seconds!r} seconds")
    n = len(start.params)
    return State(
        params=leaves[:n],
        carried=leaves[n:],
        generator=_generator(header["generator"], start.generator),
        history=History(losses.tolist(), [_epoch(i, row) for i, row in enumerate(rows.tolist())]),
        steps=counts[0],
        epochs=counts[1],
        seconds=seconds,
    )


def _row(epoch: Epoch, leaves: int) -> list[float | None]:
    norms = [*epoch.gradient_norms, *epoch.update_norms] or [math.nan] * (2 * leaves)
    return [epoch.loss, epoch.validation_loss, epoch.accuracy, epoch.seconds, *norms]


def _epoch(i: int, row: Sequence[float]) -> Epoch:
    loss, validation_loss, accuracy, seconds, *norms = row
    gradients, updates = norms[: len(norms) // 2], norms[len(norms) // 2 :]
    known = () if any(map(math.isnan, norms)) else (tuple(gradients), tuple(updates))
    return Epoch(i + 1, loss, _known(validation_loss), _known(accuracy), seconds, *known)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _generator(state: Any, like: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the state of a generator if a generator of the same kind accepts it."""
    kind = getattr(np.random, str(like["bit_generator"]))
    kind(0).state = state
    return dict(state)


def digest_of(state: Mapping[str, Any]) -> str:
    """Return an identity of the state of a generator."""
    text = json.dumps(state, default=stores.json_of_array, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
