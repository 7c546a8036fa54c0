"""``gradlab compare --over``: one network trained with several optimisers, or values of others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Annotated, Any

import typer

from gradlab import datasets, network, options
from gradlab.command import arguments, optimisers
from gradlab.command.console import fail, out, show, table
from gradlab.command.networks import has_diverged, new_network, outputs_of, sizes_of
from gradlab.command.results import Folder
from gradlab.comparison import Trials, compare_trainings
from gradlab.errors import OptionError, unknown
from gradlab.gradients import find_backend
from gradlab.history import count

DEFAULT_ITERATIONS = 500
"""Training steps of each training if none are given."""

MAX_SEEDS = 1000

MINIBATCH_OPTIMISERS = tuple(name for name in optimisers.RATES if name != "lbfgs")
"""Optimisers that take minibatches, so that they can be compared after as many steps."""

SCALES = ("xavier", "he", "normal")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A network and its training, of which one field varies."""

    data: datasets.Dataset  # what it is trained on
    hidden: tuple[int, ...]  # the widths of the hidden layers
    # Their names.
    activation: str = "sigmoid"
    initialisation: Any = None  # the `scale` of `gradlab.network.init`
    optimizer: str = "sgd"
    # None stands for the optimiser's own.
    learning_rate: float | None = None
    momentum: float | None = None

    def start(self, seed: int) -> dict[str, Any]:
        """Return the initial parameters."""
        return new_network(self.data, self.hidden, seed, self.activation, self.initialisation)

    def outputs(self, seed: int) -> list[Any]:
        """Return the outputs of the hidden layers for the test data, before training."""
        return outputs_of(self.start(seed), self.data.test.x, self.activation)

    def training(self, steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the arguments for a training of `steps` steps, and a record of them."""
        rule, described = optimisers.build(
            self.optimizer, self.learning_rate, self.momentum, "constant", 0, None, None, steps
        )
        given = {
            "loss": partial(network.loss, activation=self.activation),
            "params": self.start,
            "accuracy": partial(network.accuracy, activation=self.activation),
            "optimizer": rule,
        }
        names = ("optimizer", "learning_rate", "momentum")
        record = {"activation": self.activation, "initialisation": self.initialisation}
        return given, record | {name: described[name] for name in names}


def _activation(text: str) -> dict[str, Any]:
    if text not in network.ACTIVATIONS:
        raise OptionError(unknown("activation", text, network.ACTIVATIONS))
    return {"activation": text}


def initialisation_of(text: str) -> str | float:
    """Return the `scale` of `gradlab.network.init` that an option names."""
    if text in SCALES:
        return text
    return _positive(text, f"choose {', '.join(SCALES)} or a positive number")


def _learning_rate(text: str) -> dict[str, Any]:
    return {"learning_rate": _positive(text, "give a positive number")}


def _optimizer(text: str) -> dict[str, Any]:
    """Return what a name changes, or a name and a learning rate such as ``adam:0.01``.

    Here, ``sgd`` has no momentum, and ``momentum`` has.
    """
    name, colon, rate = text.partition(":")
    if name not in ("momentum", *MINIBATCH_OPTIMISERS):
        raise OptionError(
            unknown("optimizer", name, ["sgd", "momentum", *MINIBATCH_OPTIMISERS[1:]])
        )
    found: dict[str, Any] = {"optimizer": "sgd" if name == "momentum" else name}
    if name != "momentum":
        found["momentum"] = 0.0 if name == "sgd" else None
    return found | (_learning_rate(rate) if colon else {})


def _positive(text: str, advice: str) -> float:
    try:
        return options.number("value", float(text))
    except ValueError:  # an OptionError is one, too
        raise OptionError(advice) from None


AXES: dict[str, tuple[str, Callable[[str], dict[str, Any]], str]] = {
    "optimizer": ("optimizer", _optimizer, "sgd,momentum,adagrad,rmsprop,adam"),
    "learning-rate": ("learning_rate", _learning_rate, "0.001,0.01,0.1,1"),
    "activation": ("activation", _activation, "sigmoid,tanh,relu"),
    "initialisation": (
        "initialisation",
        lambda text: {"initialisation": initialisation_of(text)},
        "0.01,xavier,he",
    ),
}
"""The axes of a comparison: the field of `Setting`, what a value changes, the default values."""

Over = Annotated[
    str | None,
    typer.Option(
        help=f"Compare {', '.join(AXES)}, not backends.", autocompletion=arguments.one_of(AXES)
    ),
]
Values = Annotated[
    str | None,
    typer.Option(
        help="With --over: the values, separated by commas. An optimizer is sgd (without "
        "momentum), momentum, adam, ..., or one with a learning rate, adam:0.01. An "
        "initialisation is xavier, he, normal, or a standard deviation "
        "[default: a choice for each]."
    ),
]
Seeds = Annotated[
    int | None, typer.Option(help="With --over: number of seeds, starting at --seed [default: 3].")
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        help=f"With --over: one of {', '.join(MINIBATCH_OPTIMISERS)} [default: sgd].",
        autocompletion=arguments.one_of(MINIBATCH_OPTIMISERS),
    ),
]


def refuse(**given: Any) -> None:
    """Raise an error if an option that belongs to ``--over`` was given without it."""
    for name, value in given.items():
        if value is not None:
            raise OptionError(f"--{name} {value}: add --over, one of {', '.join(AXES)}")


def settings_of(over: str, values: str | None, common: Setting) -> dict[str, Setting]:
    """Return the setting of each value.

    Raise an OptionError if the axis or a value is unknown, or an option contradicts the axis.
    """
    if over not in AXES:
        raise OptionError(f"--over {over}: {unknown('axis', over, AXES)}")
    if common.optimizer not in MINIBATCH_OPTIMISERS:
        raise OptionError(
            f"--optimizer {common.optimizer}: "
            f"{unknown('optimizer', common.optimizer, MINIBATCH_OPTIMISERS)}"
        )
    field, changes, default = AXES[over]
    there = getattr(common, field)
    if there != next(f.default for f in fields(Setting) if f.name == field):
        raise OptionError(
            f"--{over} {there}: --over {over} compares several; name them in --values"
        )
    names = [name.strip() for name in (default if values is None else values).split(",")]
    if len(names) < 2 or len(set(names)) < len(names):
        raise OptionError(
            f"--values {values}: name two different values or more, such as {default}"
        )
    bare = {name.partition(":")[0] for name in names}
    if over == "optimizer" and common.momentum is not None and "momentum" not in bare:
        raise OptionError(
            f"--momentum {common.momentum:g}: add momentum to --values, or leave it out"
        )
    found = {}
    for name in names:
        try:
            found[name] = replace(common, **changes(name))
        except OptionError as error:
            raise OptionError(f"--values {name}: {error}") from None
    return found


def backend_of(names: list[str] | None) -> Any:
    """Return the backend of all trainings."""
    given = [name.strip() for text in names or ["tape"] for name in text.split(",")]
    if len(given) > 1:
        raise OptionError(f"--backend {','.join(given)}: with --over, give one")
    return find_backend(given[0])


def run(
    over: str,
    values: str | None,
    seeds: int | None,
    common: Setting,
    folder: Callable[[], Folder],
    **training: Any,
) -> None:
    """Train with each value and seed; show a table, and write the numbers and a figure.

    `training` has ``backend``, ``iterations``, ``batch_size`` and ``seed``.
    """
    settings = settings_of(over, values, common)
    advice = f"give an integer from 1 to {MAX_SEEDS:,}"
    number = options.integer("seeds", 3 if seeds is None else seeds, advice, most=MAX_SEEDS)
    first = options.integer("seed", training.pop("seed"), least=0)
    built = {name: s.training(training["iterations"]) for name, s in settings.items()}
    data = common.data
    with folder() as place:
        trials = compare_trainings(
            network.loss,
            None,  # each value has a loss and a start of its own
            data.train,
            values={name: given for name, (given, _) in built.items()},
            over=over,
            seeds=range(first, first + number),
            test=data.test,
            **training,
        )
        if not trials.trials:
            fail("interrupted before a training was complete; nothing was written", code=130)
        record = {
            "dataset": data.name,
            "hidden": common.hidden,
            **training,
            "backend": training["backend"].name,
            "seeds": [first, first + number - 1],
            "values": {name: told for name, (_, told) in built.items()},
        }
        _write(place, trials, record, settings, first)
    sizes = "-".join(map(str, sizes_of(common.start(first))))
    show(
        f"{data.name}, {sizes}, {count(training['iterations'], 'step')}",
        table(*trials.table(), named=True),
    )
    out.print(trials.headline(), soft_wrap=True)
    place.tell()
    if trials.interrupted:
        fail("interrupted: what is shown are the trainings that were complete", code=130)
    if all(trial.diverged or has_diverged(trial.fit.history) for trial in trials.trials):
        fail("every training diverged; lower the learning rate", code=1)


def _write(
    folder: Folder, trials: Trials, record: dict[str, Any], settings: dict[str, Setting], seed: int
) -> None:
    from gradlab import plotting

    figures = {"losses": lambda: plotting.loss_bands(trials.losses(), trials.over)}
    if trials.over in ("activation", "initialisation") and record["hidden"]:
        figures["activations"] = lambda: plotting.activation_histograms(
            {name: setting.outputs(seed) for name, setting in settings.items()}
        )
    folder.write("compare", {"options": record, **trials.summary()}, figures)
