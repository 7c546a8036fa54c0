"""Where a training stands, in a file that no crash can spoil.

A training is a function of its options, its parameters, what its optimiser carries, and of what its
generator draws next. A `State` is all that changes in it between two steps, so that a training
taken up from one ends where the undisturbed one ends, to the last bit.

The format is that of `gradlab.stores`. Each file is written anew and moved into its place; the one
before it is kept beside it, as ``PATH.previous``, for the day on which the disk damages the newer
one.
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

GROWING = frozenset({"epochs"})
"""Options that may be larger in a training that goes on: its first epochs stay the same."""

EPOCH = 4
"""Numbers of an epoch: its loss, validation loss and accuracy (NaN for None), and seconds. Two
norms for each leaf follow; they are NaN where none were taken."""


@dataclass(frozen=True)
class State:
    """Where a training stands after some steps.

    Attributes
    ----------
    params : list of ndarray
        The leaves.
    carried : list of ndarray
        What else changes: what the optimiser carries from step to step, such as a velocity for
        each leaf; the state of the loss; the parameters of the best epoch.
    generator : dict
        The state of the generator at the start of the epoch of the last step: what the epoch has
        drawn since then is drawn again.
    history : History
        It may know more already, of a step that is not over.
    steps, epochs : int
        How much of the history counts.
    seconds : float
        What the steps of an epoch that is not over took.
    """

    params: list[Array]
    carried: list[Array]
    generator: Mapping[str, Any]
    history: History
    steps: int = 0
    epochs: int = 0
    seconds: float = 0.0


class Keeper:
    """Writes where a training stands now and then, and at its end, whatever that is; a context.

    Whoever enters it has signals held, so that no second Ctrl-C interrupts the last writing.
    """

    def __init__(self, path: Path, options: Mapping[str, str], state: State) -> None:
        self._path, self._options, self._reached = path, options, state
        self._written = state.steps

    def reach(self, state: State, *, write: bool) -> None:
        """Take note of where the training stands, and perhaps write it down."""
        self._reached = state
        if write:
            self._write()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *error: object) -> None:
        if self._written != self._reached.steps:
            self._write()

    def _write(self) -> None:
        """Write down what was reached; the training is worth more than that one file of it."""
        parts = encode(self._reached, self._options)
        try:
            files.replace(self._path, parts, previous=previous(self._path))
        except OSError as error:
            warnings.warn(
                f"checkpoint={str(self._path)!r} cannot be written ({error.strerror}): that of "
                f"step {self._written} stays, and the training goes on",
                CheckpointWarning,
                stacklevel=3,
            )
        else:
            self._written = self._reached.steps


def alone(path: Any) -> AbstractContextManager[None]:
    """Return a context in which nobody else writes a checkpoint, if it has a path.

    Raises
    ------
    OptionError
        If another training is writing it.
    """
    named = isinstance(path, str | os.PathLike)
    return locked("checkpoint", Path(path)) if named else nullcontext()


def previous(path: Path) -> Path:
    """Return where the checkpoint before the last one is kept."""
    return path.with_name(f"{path.name}.previous")


def take_up(
    path: str | os.PathLike[str],
    options: Mapping[str, str],
    start: State,
    *,
    most: tuple[int, int],
    resume: bool | str,
) -> tuple[Keeper, State]:
    """Begin to keep checkpoints, and return where the training stands.

    Parameters
    ----------
    path : str or path
        The file.
    options : mapping of str to str
        What tells this training from others, by what the options are called.
    start : State
        Where it starts if there is no checkpoint.
    most : tuple of int
        How many steps and epochs the training has.
    resume : bool or str
        Whether to go on from the file, if there is one; ``"another backend"`` does so, too.

    Raises
    ------
    OptionError
        If there is a file and `resume` is false, or it is of a training with other options.
    CheckpointError
        If the file and the one before it are damaged, or it cannot be read or written.
    """
    path = Path(path)
    if path.is_dir():
        raise OptionError(f"checkpoint={str(path)!r}: is a folder; name a file")
    files.sweep(path)
    found = [file for file in (path, previous(path)) if file.exists()]
    if found and not resume:
        raise OptionError(
            f"checkpoint={str(path)!r}: there is one already; go on from it with resume, or name "
            "another file"
        )
    compared = dict(options)
    if resume == "another backend":
        del compared["backend"]
    state = _latest(found, compared, start, most) or start
    # If it cannot be written, then before the work and not after it. What stood in this place is
    # the same, or damaged, and nothing to be kept.
    try:
        files.replace(path, encode(state, options))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror}); name a file where there is room"
        ) from error
    return Keeper(path, options, state), state


def _latest(
    found: Sequence[Path], options: Mapping[str, str], start: State, most: tuple[int, int]
) -> State | None:
    """Return the state of the first file that is sound, with a warning if another one was not."""
    damages = []
    for file in found:
        try:
            state = decode(file, options, start, most)
        except stores.DamagedError as damage:
            damages.append(f"{file}: {damage}")
            continue
        if damages:
            warnings.warn(
                f"{damages[0]}; going on from the one before it, of step {state.steps}",
                CheckpointWarning,
                stacklevel=4,
            )
        return state
    if damages:
        raise CheckpointError(f"{'; '.join(damages)}; remove what is damaged to start afresh")
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
    """Return the state in a checkpoint of the training that is to go on; see `stores.decode`."""
    room = stores.room_for(options, [*start.params, *start.carried])
    room += 8 * most[0] + 8 * (EPOCH + 2 * len(start.params)) * most[1]
    return stores.decode(
        CHECKPOINT,
        file,
        options,
        room,
        lambda header, body: _state(header, body, start, most),
        GROWING,
    )


def _state(header: Any, body: memoryview, start: State, most: tuple[int, int]) -> State:
    if header["arrays"] != stores.layout(start.params):
        raise ValueError("its arrays are not those of the parameters")
    counts = header["steps"], header["epochs"]
    if not all(
        type(count) is int and 0 <= count <= end for count, end in zip(counts, most, strict=True)
    ):
        raise ValueError(f"{counts} steps and epochs, of {most}")
    width = EPOCH + 2 * len(start.params)
    like = [*start.params, *start.carried, np.empty(counts[0]), np.empty((counts[1], width))]
    *leaves, losses, rows = stores.arrays_like(like, body)
    # Only what an epoch was not asked for may be missing.
    if not all(np.isfinite(array).all() for array in (*leaves, losses, rows[:, [0, 3]])):
        raise ValueError("an array is not finite")
    norms = rows[:, EPOCH:]
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
    """Return the state of a generator, if one of the same kind takes it."""
    kind = getattr(np.random, str(like["bit_generator"]))
    kind(0).state = state
    return dict(state)


def digest_of(state: Mapping[str, Any]) -> str:
    """Return what tells the state of a generator from others."""
    text = json.dumps(state, default=stores.json_of_array, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
