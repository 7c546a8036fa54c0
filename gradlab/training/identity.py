"""The identity of a training in its checkpoints, and the options that name a checkpoint."""

from __future__ import annotations

import os
from typing import Any

from gradlab import checkpoints, identity, options
from gradlab.checkpoints import State
from gradlab.gradients import Backend
from gradlab.optim.rules import SGD
from gradlab.params import Array, Structure
from gradlab.training.loop import Validation
from gradlab.training.schedule import Schedule
from gradlab.training.stateful import Auxiliary


def check_options(checkpoint: Any, every: Any, resume: Any) -> None:
    """Refuse options of `fit` that do not determine which checkpoint to write, and when.

    Raise an OptionError if one is of the wrong kind, or belongs to a checkpoint that is not named.
    """
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise options.refusal("checkpoint", checkpoint, "give the path of a file")
    if every is not None:
        options.integer("checkpoint_every", every)
    if not isinstance(resume, bool) and resume != "another backend":
        raise options.refusal("resume", resume, "give True, False, or 'another backend'")
    if checkpoint is None and (resume or every is not None):
        name, value = ("resume", resume) if resume else ("checkpoint_every", every)
        raise options.refusal(name, value, "name the file, too, with checkpoint")


def identity_of(
    optimiser: Any,
    schedule: Schedule,
    seed: Any,
    watch: Validation,
    backend: Backend,
    start: State,
    structure: Structure,
) -> dict[str, str]:
    """Return what distinguishes a training from others, by the names of the options of `fit`."""
    numbers = {
        "batch_size": schedule.batch_size,
        "epochs": None if schedule.replace else schedule.epochs,
        "iterations": schedule.steps if schedule.replace else None,
        "seed": seed,
    }
    functions = {"loss": watch.loss, "accuracy": watch.accuracy, "backend": backend}
    arrays: dict[str, dict[Any, Array]] = {
        "params": dict(zip(structure.paths, start.params, strict=True)),
        "data": dict(enumerate(watch.data)),
        "validation": dict(enumerate(watch.validation or ())),
    }
    return (
        _described(optimiser)
        | {name: str(value) for name, value in numbers.items()}
        | {name: identity.described(function) for name, function in functions.items()}
        | {name: checkpoints.fingerprint(group) for name, group in arrays.items()}
    )


def identity_of_state(auxiliary: Auxiliary | None, keep_best: bool) -> dict[str, str]:
    """Return what else distinguishes a training whose loss has a state, or that keeps the best."""
    found = {"keep_best": str(keep_best), "has_aux": str(auxiliary is not None)}
    if auxiliary:
        leaves = dict(zip(auxiliary.structure.paths, auxiliary.leaves, strict=True))
        found["state"] = checkpoints.fingerprint(leaves)
    return found


def _described(optimiser: Any) -> dict[str, str]:
    """Describe an optimiser; describe SGD by the options of `fit` if these suffice."""
    if isinstance(optimiser, SGD):
        rate, momentum = optimiser.learning_rate, optimiser.momentum
        if optimiser == SGD(learning_rate=rate, momentum=momentum):
            return {"learning_rate": identity.shown(rate), "momentum": identity.shown(momentum)}
    return {"optimizer": identity.described(optimiser)}
