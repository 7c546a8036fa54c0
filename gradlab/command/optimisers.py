"""The optimiser of ``gradlab train``, from its options."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import typer

from gradlab import optim, options
from gradlab.command import arguments
from gradlab.errors import OptionError, unknown
from gradlab.optim.schedules import Rate

RATES = {"sgd": 0.1, "adagrad": 0.05, "rmsprop": 0.001, "adam": 0.001, "adamw": 0.001, "lbfgs": 1.0}
"""The learning rate of each optimiser if none is given."""

SCHEDULES: dict[str, Callable[[float, int], Rate]] = {
    "constant": lambda rate, steps: rate,
    "step": lambda rate, steps: optim.step(rate, math.ceil(steps / 3)),
    "cosine": optim.cosine,
}
"""The learning rate during a training with a given number of steps."""

Name = Annotated[
    str,
    typer.Option(
        "--optimizer",
        help=f"One of {', '.join(RATES)}.",
        autocompletion=arguments.one_of(RATES),
    ),
]
LearningRate = Annotated[
    float | None,
    typer.Option(help="Learning rate [default: 0.1; adam, adamw and rmsprop 0.001, ...]."),
]
Momentum = Annotated[
    float | None, typer.Option(help="Momentum of sgd, from 0 to below 1 [default: 0.9].")
]
Schedule = Annotated[
    str,
    typer.Option(
        help="The learning rate over time: constant, step (a tenth after each third), cosine.",
        autocompletion=arguments.one_of(SCHEDULES),
    ),
]
Warmup = Annotated[int, typer.Option(help="Steps at the start in which the learning rate grows.")]
WeightDecay = Annotated[
    float | None, typer.Option(help="Decoupled weight decay [default: 0; adamw 0.01].")
]
Clip = Annotated[float | None, typer.Option(help="Largest norm of a gradient [default: none].")]


def build(
    name: str,
    learning_rate: float | None,
    momentum: float | None,
    schedule: str,
    warmup: int,
    weight_decay: float | None,
    clip: float | None,
    steps: int,
) -> tuple[optim.Optimiser, dict[str, Any]]:
    """Return the optimiser for a training of `steps` steps, and the options for its record.

    Raise an OptionError if an option is out of range, or the optimiser does not have it.
    """
    if name not in RATES:
        raise OptionError(f"--optimizer {name}: {unknown('optimizer', name, RATES)}")
    if schedule not in SCHEDULES:
        raise OptionError(f"--schedule {schedule}: {unknown('schedule', schedule, SCHEDULES)}")
    if momentum is not None and name != "sgd":
        raise OptionError(f"--momentum {momentum:g}: {name} takes no momentum; leave it out")
    peak = RATES[name] if learning_rate is None else learning_rate
    peak = options.number("learning_rate", peak)
    warmup = options.integer("warmup", warmup, least=0)
    given = {"weight_decay": weight_decay, "clip": clip}
    settings = {key: value for key, value in given.items() if value is not None}
    if settings and name == "lbfgs":
        option = next(iter(settings)).replace("_", "-")
        raise OptionError(f"--{option}: lbfgs does not take it; leave it out")
    if name == "sgd":
        settings["momentum"] = 0.9 if momentum is None else momentum
    rate = SCHEDULES[schedule](peak, max(1, steps - warmup))
    optimizer = getattr(optim, name)(optim.warmup(rate, warmup) if warmup else rate, **settings)
    record = {"optimizer": name, "learning_rate": peak, "schedule": schedule, "warmup": warmup}
    return optimizer, record | {"momentum": settings.get("momentum")} | given
