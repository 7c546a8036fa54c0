"""The ``gradlab`` command: each verb calls the library, shows a table and writes a folder.

Exit codes: 0 fine, 1 the run failed, 2 wrong usage; for ``check``, 1 is a gradient that is wrong or
could not be told, 2 one that could not be checked. Whatever a user can do wrong ends in one line on
the standard error.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gradlab import (
    __version__,
    datasets,
    environment,
    files,
    network,
    options,
    params,
    story,
    targets,
    weights,
)
from gradlab import bench as benchmarks
from gradlab.checking import check_gradients
from gradlab.comparison import Comparison, Run
from gradlab.comparison import compare as compare_backends
from gradlab.errors import (
    BackendError,
    GradlabError,
    OptionError,
    ParameterError,
    WeightsError,
    reason_of,
)
from gradlab.gradients import BACKENDS, find_backend
from gradlab.gradients.protocol import repeatable
from gradlab.training import Fit, fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="A laboratory for gradients: one loss, many ways to differentiate it, one trainer.",
    epilog="Start with `gradlab compare`: it takes no arguments and less than a minute.",
)
out = Console(highlight=False, emoji=False)  # losses:boom:x is no explosion


# Options that several verbs take

Dataset = Annotated[
    str, typer.Option(help="digits, mnist, or the path of an .npz file with arrays x and y.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with the MNIST archives [default: $GRADLAB_DATA, else downloaded]."),
]
Subset = Annotated[int | None, typer.Option(help="Train on the first so many samples only.")]
Layers = Annotated[str, typer.Option(help="Widths of the hidden layers, such as 50,100.")]
Activation = Annotated[
    str, typer.Option(help=f"Of the hidden layers: {', '.join(network.ACTIVATIONS)}.")
]
LearningRate = Annotated[float, typer.Option(help="Step of the descent.")]
Momentum = Annotated[float, typer.Option(help="From 0 (none) to below 1.")]
Seed = Annotated[int, typer.Option(help="Decides the start and the minibatches.")]
Output = Annotated[
    Path | None, typer.Option(help="Folder for the results [default: gradlab-runs/TIME].")
]
Json = Annotated[Path | None, typer.Option("--json", help="Write the numbers to this file, too.")]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Options of the command itself."""
    if show_version:
        out.print(f"gradlab {__version__}")
    elif context.invoked_subcommand is None:
        out.print(context.get_help())


# The verbs


@app.command(epilog="Example: `gradlab compare --backend forward --backend autograd --layers 20`")
def compare(
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(BACKENDS)}; give it twice or more "
            "[default: central and autograd]."
        ),
    ] = None,
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    subset: Subset = None,
    layers: Layers = "20",
    activation: Activation = "sigmoid",
    iterations: Annotated[int, typer.Option(help="Steps that each backend trains for.")] = 50,
    learning_rate: LearningRate = 0.5,
    momentum: Momentum = 0.9,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples a step [default: 50, or all if fewer].")
    ] = None,
    seed: Seed = 0,
    output: Output = None,
    json_file: Json = None,
) -> None:
    """Train one network with each of several gradients, side by side.

    All start from the same parameters and see the same minibatches. Shows what each reached, what
    a gradient cost, and how far the gradients and the trainings lay apart; writes the figures and
    a summary.json.
    """
    backends = [find_backend(name) for name in backend or ["central", "autograd"]]
    data = datasets.load(dataset, data_dir=data_dir, subset=subset)
    start, settings = _network(data, layers, activation, seed)
    batch_size = min(50, len(data.train.x)) if batch_size is None else batch_size
    with _Folder(output, json_file) as folder:
        comparison = compare_backends(
            partial(network.loss, **settings),
            start,
            data.train,
            backends=backends,
            test=data.test,
            accuracy=partial(network.accuracy, **settings),
            learning_rate=learning_rate,
            momentum=momentum,
            batch_size=batch_size,
            iterations=iterations,
            seed=seed,
        )
        if not comparison.runs:
            _fail("interrupted before the first step; nothing was written", code=130)
    network_name = f"{_name(data, start)}, {comparison.parameters:,} parameters"
    _show(network_name, _comparison_table(comparison))
    out.print(_headline(comparison))

    from gradlab import plotting

    runs = comparison.runs
    folder.write(
        {
            "command": "compare",
            "environment": environment.describe(),
            "options": {
                "dataset": data.name,
                "sizes": _sizes(start),
                "activation": activation,
                "iterations": iterations,
                "learning_rate": learning_rate,
                "momentum": momentum,
                "batch_size": batch_size,
                "seed": seed,
            },
            **comparison.summary(),
        },
        {
            "losses": plotting.loss_curves({run.backend: run.fit.history.losses for run in runs}),
            "gradient_differences": plotting.gradient_differences(
                {run.backend: run.differences for run in runs if run.differences},
                comparison.reference,
            ),
            "cost": plotting.gradient_cost(
                {run.backend: run.seconds_per_gradient for run in runs},
                {run.backend: run.evaluations_per_gradient for run in runs},
                {run.backend for run in runs if run.equivalent},
            ),
        },
    )
    if comparison.interrupted:
        _fail("interrupted: the table and the figures show what was reached", code=130)


@app.command(epilog="Example: `gradlab train --dataset mnist --layers 50,100`")
def train(
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    subset: Subset = None,
    layers: Layers = "50",
    activation: Activation = "sigmoid",
    backend: Annotated[str, typer.Option(help=f"One of {', '.join(BACKENDS)}.")] = "tape",
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 20,
    learning_rate: LearningRate = 0.1,
    momentum: Momentum = 0.9,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples a step [default: 100, or all if fewer].")
    ] = None,
    seed: Seed = 0,
    output: Output = None,
    json_file: Json = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Keep where the training stands in this file.")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="So many steps apart [default: after each epoch].")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the --checkpoint, if there is one already."),
    ] = False,
) -> None:
    """Train a network, and save its weights, history and curves.

    Ctrl-C ends the training early and saves what was reached. With --checkpoint, a training that
    was interrupted in whatever way goes on with --resume and the same options, and ends with the
    same weights, to the last bit.
    """
    if checkpoint is None and (resume or checkpoint_every is not None):
        given = "--resume" if resume else f"--checkpoint-every {checkpoint_every}"
        raise OptionError(f"{given}: name the file, too, with --checkpoint PATH")
    # With a checkpoint or without one, the same options end in the same bits.
    chosen = repeatable(find_backend(backend))
    data = datasets.load(dataset, data_dir=data_dir, subset=subset)
    start, settings = _network(data, layers, activation, seed)
    batch_size = min(100, len(data.train.x)) if batch_size is None else batch_size
    training = {
        "dataset": data.name,
        "sizes": _sizes(start),
        "activation": activation,
        "backend": backend,
        "epochs": epochs,
        "learning_rate": learning_rate,
        "momentum": momentum,
        "batch_size": batch_size,
        "seed": seed,
    }
    with _Folder(output, json_file, again=training if resume else None) as folder:
        result = fit(
            partial(network.loss, **settings),
            start,
            data.train,
            backend=chosen,
            learning_rate=learning_rate,
            momentum=momentum,
            batch_size=batch_size,
            epochs=epochs,
            seed=seed,
            validation=data.test,
            accuracy=partial(network.accuracy, **settings),
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
        )
    accuracy = network.accuracy(result.params, *data.test, **settings)
    _show(_name(data, start), _epochs_table(result))
    out.print(f"Test accuracy [bold]{accuracy:.2%}[/], in {result.history.seconds:.1f} s.")

    from gradlab import plotting

    folder.write(
        {
            "command": "train",
            "environment": environment.describe(),
            "options": training,
            "interrupted": result.interrupted,
            "accuracy": accuracy,
            "seconds": result.history.seconds,
            "epochs": [vars(epoch) for epoch in result.history.epochs],
            "losses": result.history.losses,
        },
        {"curves": plotting.training_curves(result.history)},
        name="history.json",
        trained=partial(weights.save, params=result.params, metadata={"activation": activation}),
    )
    if result.interrupted:
        how = f"; --resume goes on from {checkpoint}" if checkpoint else ""
        _fail(f"interrupted: the weights are those that were reached{how}", code=130)


@app.command(epilog="Example: `gradlab evaluate weights.npz --dataset mnist`")
def evaluate(
    weights_file: Annotated[
        Path,
        typer.Argument(metavar="WEIGHTS", help="A .npz, .safetensors or (old) .pkl file."),
    ],
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    activation: Annotated[
        str | None,
        typer.Option(help="Of the hidden layers [default: what the file says, else sigmoid]."),
    ] = None,
    output: Output = None,
    json_file: Json = None,
) -> None:
    """Classify the test data with saved weights.

    Shows the accuracy and the confusion matrix, and draws the digits that were taken for another.
    """
    trained = weights.load(weights_file)
    activation = activation or weights.load_metadata(weights_file).get("activation", "sigmoid")
    data = datasets.load(dataset, data_dir=data_dir)
    x, labels = data.test
    _require_fit(weights_file, trained, data)
    logits = network.logits(trained, x, activation=activation)
    predicted = np.argmax(logits, axis=1)
    right = predicted == labels
    accuracy = float(np.mean(right))
    counts = np.zeros((data.classes, data.classes), int)
    np.add.at(counts, (labels, predicted), 1)
    folder = _Folder(output, json_file)
    _show("Rows: what it is. Columns: what it was taken for.", _confusion_table(counts))
    out.print(
        f"Accuracy [bold]{accuracy:.4f}[/]: {right.sum():,} of {len(labels):,} samples of "
        f"{data.name} are classified right."
    )

    from gradlab import plotting

    # The most confident mistakes say the most about the network.
    confidence = network.softmax(logits).max(axis=1)
    worst = np.flatnonzero(~right)
    worst = worst[np.argsort(-confidence[worst], kind="stable")][:24]
    figures = {"confusion": plotting.confusion_matrix(counts)}
    if data.image_shape:
        figures["misclassified"] = plotting.misclassified(
            x[worst].reshape(-1, *data.image_shape),
            labels[worst],
            predicted[worst],
            confidence[worst],
        )
    folder.write(
        {
            "command": "evaluate",
            "environment": environment.describe(),
            "options": {
                "weights": str(weights_file),
                "dataset": data.name,
                "activation": activation,
            },
            "accuracy": accuracy,
            "right": int(right.sum()),
            "samples": len(labels),
            "confusion": counts.tolist(),
        },
        figures,
    )


@app.command(epilog="Example: `gradlab bench accuracy scaling --quick`")
def bench(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAMES]...", help="Which [default: all].")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer rounds and wider errors: some two minutes.")
    ] = False,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show which there are, and exit.")
    ] = False,
    output: Output = None,
    json_file: Json = None,
) -> None:
    """Run the benchmarks, and write a report.

    The folder gets a report.html, the tables as Markdown and CSV, the figures as PNG and SVG, and
    the raw numbers as JSON. It is whole after each benchmark: Ctrl-C keeps what is done. One that
    fails, or a peer that is not installed, is a row that says so.
    """
    scripts = benchmarks.find(names or ())
    if show_list:
        table = Table("name", "question", box=None)
        for script in scripts:
            table.add_row(script.name, script.question)
        out.print(table)
        return
    outcomes: list[benchmarks.Outcome] = []
    with _Folder(output, json_file) as folder, out.status("") as status:

        def watch(name: str, message: str) -> None:
            place = f"{len(outcomes) + 1} of {len(scripts)}"
            status.update(Text(f"{name} ({place}): {message}"))

        for outcome in benchmarks.bench(scripts, folder.path, quick=quick, watch=watch):
            outcomes.append(outcome)
            told = f"{outcome.name}, {outcome.seconds:.0f} s: {outcome.headline}"
            style = "" if outcome.state == "done" else "red"
            out.print(Text(told, style), soft_wrap=True)
    if json_file:
        shutil.copyfile(folder.path / "summary.json", json_file)
    out.print(f"Written to {folder.path}: report.html, tables, figures, raw", soft_wrap=True)
    if any(outcome.state == "interrupted" for outcome in outcomes):
        _fail("interrupted: the report has what was done", code=130)
    if failed := [outcome.name for outcome in outcomes if outcome.state == "failed"]:
        _fail(f"{', '.join(failed)} failed; the report says why", code=1)


@app.command(epilog="Example: `gradlab demo --output story`")
def demo(output: Output = None, json_file: Json = None) -> None:
    """Tell the story that gradlab grew out of, in numbers and pictures.

    Losses, the derivative of x² by hand and numerically, gradients of a bowl, and the descent into
    it.
    """
    folder = _Folder(output, json_file)
    told = story.tell()
    table = Table("loss", "right prediction", "wrong prediction")
    for name, values in told.losses.items():
        table.add_row(name.replace("_", " "), *(f"{value:.17g}" for value in values))
    _show("A loss says how wrong", table)
    error = np.max(np.abs(told.numerical - told.by_hand))
    out.print(
        f"\nThe derivative of x² is 2x; the central difference is off by at most {error:.1e}.\n"
    )
    table = Table("at", "numerical", "by hand")
    for point, gradient in told.gradients.items():
        by_hand = f"({2 * point[0]:g}, {2 * point[1]:g})"
        table.add_row(f"({point[0]:g}, {point[1]:g})", str(gradient), by_hand)
    _show("The gradient of x₀² + x₁²", table)
    start, end = told.path[0], told.path[-1]
    out.print(
        f"\nGradient descent from ({start[0]:g}, {start[1]:g}), rate 0.1: after "
        f"{len(told.path) - 1} steps at ({end[0]:.1e}, {end[1]:.1e}), the minimum."
    )

    from gradlab import plotting

    guesses = {
        f"{name}: cross entropy {told.losses['cross_entropy'][i]:.3f}": prediction
        for i, (name, prediction) in enumerate({"right": story.RIGHT, "wrong": story.WRONG}.items())
    }
    x0, x1 = np.meshgrid(*2 * [np.arange(-5.0, 5.0, 0.25)])
    folder.write(
        {"command": "demo", "environment": environment.describe(), **told.summary()},
        {
            "predictions": plotting.predictions(story.LABEL, guesses),
            "derivative": plotting.derivative(
                told.x, story.square(told.x), told.by_hand, told.numerical
            ),
            "surface": plotting.surface(x0, x1, story.bowl(np.stack([x0, x1]))),
            "descent": plotting.descent(told.path, story.bowl),
        },
    )


@app.command(
    epilog="""Example: `gradlab check losses.py:loss`, where losses.py has `loss(params, x)`, and
beside it `params` (arrays, or a function), `args = (x,)`, and perhaps `gradient(params, x)`.

Or: `gradlab check --network 64,32,10 --plot check.png`

Exit code: 0 if the gradient is right (a valid choice at a kink is), 1 if it is wrong or the check
was inconclusive, 2 if it could not be checked."""
)
def check(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="TARGET",
            help="A loss: module:function, or file.py:function.",
            show_default=False,
        ),
    ] = None,
    params_name: Annotated[
        str,
        typer.Option("--params", help="The module's parameters: a name of values or a function."),
    ] = "params",
    args_name: Annotated[
        str | None,
        typer.Option(
            "--args", help="Likewise, a tuple of what else the loss takes [default: args]."
        ),
    ] = None,
    gradient: Annotated[
        str | None,
        typer.Option(
            help="The module's gradient, a function or values [default: gradient, if there is one]."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help=f"Check this backend instead: {', '.join(BACKENDS)} [default: autograd]."
        ),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--network", help="Check gradlab's network of these widths, such as 64,32,10."
        ),
    ] = None,
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    activation: Activation = "sigmoid",
    samples: Annotated[int, typer.Option(help="So many samples make the network's batch.")] = 20,
    mode: Annotated[
        str,
        typer.Option(
            help="entries (each by itself), directional (random directions, and a search for the "
            "wrong entries), or auto (by their number)."
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Decides the network's start and the directions.")] = 0,
    json_file: Json = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw it into this .png, .svg or .pdf, and a map of the leaves beside."),
    ] = None,
) -> None:
    """Check whether a gradient is that of its loss.

    Compares it with numerical derivatives that carry their own error bars: there is no tolerance to
    choose. Shows the verdict, the entries at fault, a likely cause, and how small an error would
    have been seen.
    """
    _require_file("--json", json_file)
    _require_file("--plot", plot, suffixes=(".png", ".svg", ".pdf"))
    if (target is None) == (sizes is None):
        raise OptionError("give either a TARGET, such as losses.py:loss, or --network 64,32,10")
    if gradient and (backend or sizes):
        raise OptionError(f"--gradient {gradient}: give it with a TARGET, and without --backend")
    chosen = find_backend(backend or "autograd")
    if target is not None:
        found = targets.load(target, params=params_name, args=args_name, gradient=gradient)
    else:
        found = _network_target(sizes or "", dataset, data_dir, activation, samples, seed)
    own = found.gradient is not None and backend is None
    claimed, name = (found.gradient, gradient or "gradient") if own else (chosen, chosen.name)
    what = f"{found.name} against {name}"
    try:
        with (
            out.status(Text(f"Checking {what}")),
            targets.blame(found.name),
            np.errstate(all="ignore"),  # NaN is an error, and beyond a domain's edge it is none
        ):
            report = check_gradients(
                found.loss, found.params, *found.args,
                gradient=claimed, mode=cast(Any, mode), seed=seed,
            )  # fmt: skip
    except OptionError:
        raise
    except GradlabError as error:
        _fail(f"{found.name}: {error}", code=2)
    out.print(what, style="italic", markup=False)
    out.print(report)
    if json_file:
        summary = {"command": "check", "environment": environment.describe(), "target": what}
        _write_json(json_file, summary | report.to_dict())
    if plot:
        from gradlab import plotting

        plotting.save(plotting.gradient_agreement(report), plot)
        plotting.save(plotting.gradient_map(report), plot.with_stem(f"{plot.stem}-map"))
    if not report.ok:
        raise SystemExit(1)


# From options to the library


def _network_target(
    sizes: str, dataset: str, data_dir: Path | None, activation: str, samples: int, seed: int
) -> targets.Target:
    """Return the loss of gradlab's network on the first samples of a data set."""
    widths = _widths("--network", sizes, "64,32,10")
    data = datasets.load(dataset, data_dir=data_dir)
    (most, inputs), classes = data.train.x.shape, data.classes
    if len(widths) < 2 or (widths[0], widths[-1]) != (inputs, classes):
        raise OptionError(
            f"--network {sizes}: {data.name} has {inputs} inputs and {classes} classes; "
            f"give widths such as {inputs},32,{classes}"
        )
    samples = options.integer("samples", samples, f"give an integer from 1 to {most}", most=most)
    start = network.init(widths, seed, activation=activation)
    loss = partial(network.loss, activation=activation)
    batch = data.train.x[:samples], data.train.y[:samples]
    return targets.Target(_name(data, start), loss, start, batch, None)


def _network(
    data: datasets.Dataset, layers: str, activation: str, seed: int
) -> tuple[dict[str, params.Array], dict[str, Any]]:
    """Return the initial parameters for a data set, and the network's options."""
    d = data.train.x.shape[1]
    hidden = _widths("--layers", layers, "50,100")
    start = network.init([d, *hidden, data.classes], seed, activation=activation)
    return start, {"activation": activation}


def _widths(option: str, text: str, example: str) -> list[int]:
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if not all(word.isdecimal() and len(word) < 10 and int(word) for word in words):
        raise OptionError(f"{option} {text}: give widths such as {example}")
    return [int(word) for word in words]


def _require_fit(path: Path, trained: Any, data: datasets.Dataset) -> None:
    """Raise an error that names the file where its network is not one for the data set."""
    try:
        d, *_, k = _sizes(trained)
    except ParameterError as error:
        raise WeightsError(f"{path}: {error}") from error
    inputs = data.test.x.shape[1]
    if (d, k) != (inputs, data.classes):
        raise WeightsError(
            f"{path}: a network from {d} inputs to {k} classes, "
            f"but {data.name} has {inputs} inputs and {data.classes} classes"
        )


def _sizes(start: dict[str, params.Array]) -> list[int]:
    pairs = network.layers(start)
    return [pairs[0][0].shape[0], *(W.shape[1] for W, _ in pairs)]


# From results to tables


def _show(title: str, table: Table) -> None:
    """Print a table under its title, which rich would break to the width of the table."""
    out.print(title, style="italic", markup=False)
    out.print(table)


def _name(data: datasets.Dataset, start: dict[str, params.Array]) -> str:
    return f"{data.name}, {'-'.join(map(str, _sizes(start)))}"


def _comparison_table(comparison: Comparison) -> Table:
    table = Table("")
    for run in comparison.runs:
        table.add_column(run.backend, justify="right")

    def row(name: str, show: Callable[[Run], str]) -> None:
        table.add_row(name, *(show(run) for run in comparison.runs))

    def against_reference(show: Callable[[Run], str]) -> Callable[[Run], str]:
        return lambda run: "reference" if run.backend == comparison.reference else show(run)

    row("test loss", lambda run: _number(run.loss))
    row("test accuracy", lambda run: f"{run.accuracy:.2%}")
    table.add_section()
    row("seconds a gradient", lambda run: f"{run.seconds_per_gradient:.3g}")
    row("times faster", lambda run: _times(comparison.speedup(run)))
    row("evaluations a gradient", _evaluations)
    if any(run.equivalent for run in comparison.runs):
        row(
            "seconds by the plain loop",
            lambda run: (
                "–" if run.seconds_by_plain_loop is None else f"~{run.seconds_by_plain_loop:.3g}"
            ),
        )
    table.add_section()
    row(
        "largest gradient difference",
        against_reference(lambda run: f"{run.largest_difference:.1e}"),
    )
    row(
        "largest parameter distance",
        against_reference(
            lambda run: "–" if run.largest_distance is None else f"{run.largest_distance:.1e}"
        ),
    )
    row(
        "trainings stayed together",
        against_reference(
            lambda run: "estimate" if run.estimate else "yes" if run.together else "[red]no[/]"
        ),
    )
    return table


def _headline(comparison: Comparison) -> str:
    slowest = max(comparison.runs, key=lambda run: run.seconds_per_gradient)
    fastest = min(comparison.runs, key=lambda run: run.seconds_per_gradient)
    exact = [run for run in comparison.runs if not run.estimate]
    apart = [run.backend for run in exact if not run.together]
    if apart:
        return f"{', '.join(apart)} went another way than {comparison.reference}."
    estimates = [run.backend for run in comparison.runs if run.estimate]
    faster = (
        f"[bold]{fastest.backend} is {_times(comparison.speedup(fastest))} times faster than "
        f"{slowest.backend}[/]."
    )
    aside = f" {' and '.join(estimates)}: an estimate, right on average alone." * bool(estimates)
    if len(exact) < 2:
        return faster + aside
    worst = max(run.largest_difference for run in exact)
    gradients = "Apart from the estimates, the gradients" if estimates else "The gradients"
    return f"{gradients} agree to {worst:.0e} of a layer's largest entry, and {faster}{aside}"


def _epochs_table(result: Fit) -> Table:
    table = Table()
    for name in ("epoch", "loss", "test loss", "test accuracy", "seconds"):
        table.add_column(name, justify="right")
    for epoch in result.history.epochs:
        table.add_row(
            str(epoch.epoch),
            _number(epoch.loss),
            _number(epoch.validation_loss),
            f"{epoch.accuracy:.2%}",
            f"{epoch.seconds:.2f}",
        )
    return table


def _times(factor: float) -> str:
    """Write a factor with two digits or more.

    Examples
    --------
    >>> _times(2.52), _times(1234.5)
    ('2.5', '1,234')
    """
    return f"{factor:,.1f}" if factor < 10 else f"{factor:,.0f}"


def _evaluations(run: Run) -> str:
    """Write how often the loss was evaluated; or to how many evaluations that is equivalent."""
    return f"{'equiv. ' * run.equivalent}{_count(run.evaluations_per_gradient)}"


def _count(evaluations: float) -> str:
    return f"{evaluations:,.0f}" if evaluations >= 1 else f"{evaluations:.2g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3e}"


def _confusion_table(counts: params.Array) -> Table:
    classes = [str(k) for k in range(len(counts))]
    table = Table()
    table.add_column("", style="bold")
    for name in classes:
        table.add_column(name, justify="right")
    for k, row in enumerate(counts):
        cells = [f"[bold]{n}[/]" if k == j else str(n or "·") for j, n in enumerate(row)]
        table.add_row(classes[k], *cells)
    return table


# Where results go


class _Folder:
    """The folder of a run's results: made before the work, so that it does not fail after it.

    Where it is the context of the work, it goes again if the work fails. It may hold nothing but
    what an attempt `again` of a training with the same options left there.
    """

    def __init__(
        self, output: Path | None, json_file: Path | None, again: dict[str, Any] | None = None
    ) -> None:
        self.json_file = json_file
        self.path = output or _fresh(Path("gradlab-runs") / f"{datetime.now():%Y%m%d-%H%M%S}")
        if self.path.is_dir() and any(self.path.iterdir()) and not _is_of(self.path, again):
            raise OptionError(f"--output {self.path}: the folder is not empty; name a new one")
        _require_file("--json", json_file)
        self._made = [path for path in (self.path, *self.path.parents) if not path.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"--output {self.path}: {error.strerror}") from None

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            with suppress(OSError):  # another run may have put its folder beside it
                for path in self._made:
                    path.rmdir()

    def write(
        self,
        summary: dict[str, Any],
        figures: dict[str, Figure],
        *,
        name: str = "summary.json",
        trained: Callable[[Path], None] | None = None,
    ) -> None:
        """Write the numbers, what was trained and the figures, and say where."""
        from gradlab import plotting

        written = []
        # The numbers come first: by them another attempt knows the folder.
        for path in filter(None, [self.path / name, self.json_file]):
            _write_json(path, summary)
        if trained:
            trained(self.path / "weights.npz")
            written.append("weights.npz")
        for figure_name, figure in figures.items():
            plotting.save(figure, self.path / f"{figure_name}.png")
        written += [name, *(f"{figure}.png" for figure in figures)]
        out.print(f"Written to {self.path}: {', '.join(written)}", soft_wrap=True)


def _is_of(folder: Path, options: dict[str, Any] | None) -> bool:
    """Tell whether a folder holds only what a training of these options has written, or begun."""
    names = {path.name for path in folder.iterdir() if path.suffix != ".tmp"}
    if options is None or not names <= {"history.json", "weights.npz", "curves.png"}:
        return False
    try:
        there = json.loads((folder / "history.json").read_text(encoding="utf-8"))
        return bool(there["options"] == options)
    except Exception:  # it is missing, or not what a training writes
        return not names


def _require_file(option: str, path: Path | None, suffixes: tuple[str, ...] = ()) -> None:
    """Raise, before the work, if a file of that name cannot be written after it."""
    if path is None:
        return
    if path.is_dir():
        raise OptionError(f"{option} {path}: is a folder; name a file")
    if not path.parent.is_dir():
        raise OptionError(f"{option} {path}: there is no folder {path.parent}")
    if suffixes and path.suffix.lower() not in suffixes:
        raise OptionError(f"{option} {path}: name a file that ends in {', '.join(suffixes)}")


def _write_json(path: Path, summary: dict[str, Any]) -> None:
    text = json.dumps(summary, indent=2, allow_nan=False) + "\n"
    files.replace(path, [text.encode()])


def _fresh(path: Path) -> Path:
    """Return a path that does not exist yet, for two runs in one second."""
    candidates = (path.with_name(f"{path.name}-{i}") for i in range(2, sys.maxsize))
    return path if not path.exists() else next(p for p in candidates if not p.exists())


# Errors


def _fail(message: str, code: int) -> NoReturn:
    _tell(message)
    raise SystemExit(code)


def _tell(message: object) -> None:
    """Say something in one line, on the standard error."""
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    console.print(f"gradlab: {message}", soft_wrap=True)


def _as_typed(message: str) -> str:
    """Call an option of the library as the command does.

    Examples
    --------
    >>> _as_typed("batch_size=0: give an integer from 1")
    '--batch-size 0: give an integer from 1'
    """
    return re.sub(r"^(\w+)=", lambda option: f"--{option[1].replace('_', '-')} ", message)


_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # click's UsageError, wherever typer keeps it


def main() -> NoReturn:
    """Run the command; every foreseeable error is one line, and so is a warning."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _tell(message)
        _run()


def _run() -> NoReturn:
    try:
        code = app(standalone_mode=False)
    except _USAGE_ERROR as error:
        _fail(f"{error.format_message()} (see gradlab --help)", code=2)
    except (OptionError, BackendError) as error:
        _fail(_as_typed(str(error)), code=2)
    except GradlabError as error:
        _fail(str(error), code=1)
    except (KeyboardInterrupt, typer.Abort):
        _fail("interrupted", code=130)
    except OSError as error:
        _fail(f"{error.filename or 'file'}: {error.strerror or error}", code=1)
    except MemoryError as error:
        _fail(f"there is not enough memory ({reason_of(error)})", code=1)
    raise SystemExit(code if isinstance(code, int) else 0)
