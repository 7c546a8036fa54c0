"""``gradlab train``: a network, its weights, history and curves."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from gradlab import checkpoints, datasets, files, network, weights
from gradlab.command import arguments, networks, optimisers
from gradlab.command.console import fail, out, show, table
from gradlab.command.results import Folder
from gradlab.errors import OptionError
from gradlab.gradients import find_backend
from gradlab.gradients.protocol import repeatable
from gradlab.training import Fit, fit

MAX_HISTORY_BYTES = 2**28
"""Largest size of a history file in bytes; ten million steps take 200 MB."""

EXAMPLE = "Example: `gradlab train --dataset mnist --layers 50,100`"


def train(
    dataset: arguments.Dataset = "digits",
    data_dir: arguments.DataDir = None,
    subset: arguments.Subset = None,
    layers: arguments.Layers = "50",
    activation: arguments.Activation = "sigmoid",
    backend: arguments.Backend = "tape",
    epochs: arguments.Epochs = 20,
    start_from: Annotated[
        Path | None, typer.Option(help="Start from the weights in this file.")
    ] = None,
    optimizer: optimisers.Name = "sgd",
    learning_rate: optimisers.LearningRate = None,
    momentum: optimisers.Momentum = None,
    schedule: optimisers.Schedule = "constant",
    warmup: optimisers.Warmup = 0,
    weight_decay: optimisers.WeightDecay = None,
    clip: optimisers.Clip = None,
    batch_size: arguments.BatchSize = None,
    patience: Annotated[
        int | None,
        typer.Option(help="End after this many epochs without a new lowest test loss."),
    ] = None,
    keep_best: Annotated[
        bool, typer.Option("--keep-best", help="Save the weights with the lowest test loss.")
    ] = False,
    seed: arguments.Seed = 0,
    output: arguments.Output = None,
    json_file: arguments.Json = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Save the state of the training to this file.")
    ] = None,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(help="Number of steps between two checkpoints [default: one epoch]."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue from the --checkpoint if it exists."),
    ] = False,
) -> None:
    """Train a network, and save its weights, history and curves.

    Ctrl-C ends the training early and saves the weights reached. With --checkpoint, a training that
    was interrupted in any way continues with --resume and the same options, and ends with the same
    weights, to the last bit. More --epochs continue a training that had ended.
    """
    if checkpoint is None and (resume or checkpoint_every is not None):
        given = "--resume" if resume else f"--checkpoint-every {checkpoint_every}"
        raise OptionError(f"{given}: name the file, too, with --checkpoint PATH")
    # With a checkpoint or without one, the same options end in the same bits.
    chosen = repeatable(find_backend(backend))
    data = datasets.load(dataset, data_dir=data_dir, subset=subset)
    if start_from is None:
        hidden = networks.widths_of("--layers", layers, "50,100")
        start = networks.new_network(data, hidden, seed, activation)
    else:
        start = networks.read_network(start_from)
        networks.require_fit(start_from, start, data)
        activation = weights.load_metadata(start_from).get("activation", activation)
    settings: dict[str, Any] = {"activation": activation}
    n = len(data.train.x)
    if batch_size is None:
        batch_size = n if optimizer == "lbfgs" else min(100, n)
    steps = max(1, epochs) * math.ceil(n / max(1, batch_size))
    rule, described = optimisers.build(
        optimizer, learning_rate, momentum, schedule, warmup, weight_decay, clip, steps
    )
    training = {
        "dataset": data.name,
        "sizes": networks.sizes_of(start),
        **settings,
        "backend": backend,
        "epochs": epochs,
        **described,
        "batch_size": batch_size,
        "keep_best": keep_best,
        "seed": seed,
    }
    with Folder(
        output,
        json_file,
        again=partial(_may_go_on, training, checkpoint, resume),
        keeps=True,
        spare=[checkpoint, Path(dataset), start_from],
    ) as folder:
        result = fit(
            partial(network.loss, **settings),
            start,
            data.train,
            backend=chosen,
            optimizer=rule,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            validation=data.test,
            accuracy=partial(network.accuracy, **settings),
            patience=patience,
            keep_best=keep_best,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
        )
        accuracy = network.accuracy(result.params, *data.test, **settings)
        _write(folder, result, training, accuracy)
    show(networks.name_of(data, start), table(*result.history.table(validation="test")))
    shown, took = (f"{accuracy:.2%}", "bold"), f", in {result.history.seconds:.1f} s."
    out.print(Text.assemble("Test accuracy ", shown, took))
    folder.tell()
    if result.interrupted:
        how = f"; --resume continues from {checkpoint}" if checkpoint else ""
        fail(f"interrupted: the weights are those that were reached{how}", code=130)
    if networks.has_diverged(result.history):
        fail(networks.divergence(backend, described["learning_rate"]), code=1)


def _write(folder: Folder, result: Fit, training: dict[str, Any], accuracy: float) -> None:
    from gradlab import plotting

    about = {"activation": training["activation"]}
    folder.write(
        "train",
        {
            "options": training,
            "interrupted": result.interrupted,
            "accuracy": accuracy,
            "seconds": result.history.seconds,
            "epochs": [vars(epoch) for epoch in result.history.epochs],
            "leaves": result.history.leaves,
            "losses": result.history.losses,
        },
        {
            "curves": lambda: plotting.training_curves(result.history),
            "norms": lambda: plotting.norm_curves(result.history),
        },
        name="history.json",
        trained=partial(weights.save, params=result.params, metadata=about),
    )


def _may_go_on(
    training: dict[str, Any], checkpoint: Path | None, resume: bool, folder: Path
) -> bool:
    """Tell whether a folder holds only files of the training that is to be resumed."""
    if not resume or checkpoint is None:
        return False
    names = {path.name for path in folder.iterdir() if path.suffix != ".tmp"}
    if checkpoint.resolve().parent == folder.resolve():
        # What a killed training leaves behind; its lock is free then.
        own = (checkpoint, checkpoints.previous(checkpoint), files.beside(checkpoint, "lock"))
        names -= {path.name for path in own}
    if not names <= {"history.json", "weights.npz", "curves.png", "norms.png"}:
        return False
    try:
        there = json.loads(files.read(folder / "history.json", MAX_HISTORY_BYTES, OptionError))
        before = there["options"]
        longer = before["epochs"] <= training["epochs"]
        return bool(longer and before | {"epochs": 0} == training | {"epochs": 0})
    except Exception:  # it is missing, or not written by a training
        return not names
