"""``gradlab compare``: one network trained with several gradient backends, or over another axis."""

from __future__ import annotations

import textwrap
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from gradlab import datasets, network
from gradlab.command import arguments, axes, networks
from gradlab.command.console import NARROW_WIDTH, fail, out, show, width_of
from gradlab.command.results import Folder
from gradlab.comparison import Comparison, Run
from gradlab.comparison import compare as compare_backends
from gradlab.gradients import BACKENDS, find_backend
from gradlab.history import times

EXAMPLE = (
    "Example: `gradlab compare --backend forward --backend autograd --layers 20`\n\n"
    "Or: `gradlab compare --over optimizer --values sgd,momentum,adam:0.01`"
)


def compare(
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(BACKENDS)}; repeatable, or several separated by commas "
            "[default: central,autograd; one with --over: tape].",
            autocompletion=arguments.one_of(BACKENDS),
        ),
    ] = None,
    over: axes.Over = None,
    values: axes.Values = None,
    seeds: axes.Seeds = None,
    optimizer: axes.Optimizer = None,
    dataset: arguments.Dataset = "digits",
    data_dir: arguments.DataDir = None,
    subset: arguments.Subset = None,
    layers: arguments.Layers = "20",
    activation: arguments.Activation = "sigmoid",
    iterations: Annotated[
        int | None,
        typer.Option(
            help=f"Steps of a training [default: 50; with --over {axes.DEFAULT_ITERATIONS}]."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help="Learning rate [default: 0.5; with --over, the optimiser's]."),
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(help="Momentum of sgd, from 0 to below 1 [default: 0.9].")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples per step [default: 50, or all if fewer].")
    ] = None,
    seed: arguments.Seed = 0,
    output: arguments.Output = None,
    json_file: arguments.Json = None,
) -> None:
    """Train one network with several gradient backends, side by side.

    All trainings start from the same parameters and use the same minibatches. Shows the result of
    each, the cost of a gradient, and the differences between gradients and between trainings;
    writes figures and a summary.json.

    With --over, the trainings differ in their optimizer, learning rate, activation or
    initialisation. Each is done with several seeds; the table shows means and standard deviations.
    """
    if over is None:
        axes.refuse(values=values, seeds=seeds, optimizer=optimizer)
    data = datasets.load(dataset, data_dir=data_dir, subset=subset)
    batch_size = min(50, len(data.train.x)) if batch_size is None else batch_size
    create = partial(Folder, output, json_file, keeps=True, spare=[Path(dataset)])
    common = axes.Setting(
        data=data,
        hidden=tuple(networks.widths_of("--layers", layers, "50,100")),
        activation=activation,
        optimizer="sgd" if optimizer is None else optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
    )
    if over is not None:
        axes.run(
            over,
            values,
            seeds,
            common,
            create,
            backend=axes.backend_of(backend),
            iterations=axes.DEFAULT_ITERATIONS if iterations is None else iterations,
            batch_size=batch_size,
            seed=seed,
        )
        return
    training = {
        "iterations": 50 if iterations is None else iterations,
        "learning_rate": 0.5 if learning_rate is None else learning_rate,
        "momentum": 0.9 if momentum is None else momentum,
        "batch_size": batch_size,
        "seed": seed,
    }
    names = [name.strip() for text in backend or ["central,autograd"] for name in text.split(",")]
    backends = [find_backend(name) for name in names]
    start = common.start(seed)
    settings: dict[str, Any] = {"activation": activation}
    with create() as folder:
        comparison = compare_backends(
            partial(network.loss, **settings),
            start,
            data.train,
            backends=backends,
            test=data.test,
            accuracy=partial(network.accuracy, **settings),
            **training,
        )
        if not comparison.runs:
            fail("interrupted before the first step; nothing was written", code=130)
        record = {"dataset": data.name, "sizes": networks.sizes_of(start), **settings, **training}
        _write(folder, comparison, record)
    title = f"{networks.name_of(data, start)}, {comparison.parameters:,} parameters"
    steps = f"{comparison.steps} step{'s' * (comparison.steps != 1)}"
    show(title + f", all after {steps}" * comparison.interrupted, *_tables(comparison))
    out.print(_headline(comparison))
    folder.tell()
    if comparison.interrupted:
        fail(f"interrupted: all backends are compared after {steps}", code=130)
    diverged = [run.backend for run in comparison.runs if networks.has_diverged(run.fit.history)]
    if diverged:
        fail(networks.divergence(", ".join(diverged), training["learning_rate"]), code=1)


def _write(folder: Folder, comparison: Comparison, record: dict[str, Any]) -> None:
    from gradlab import plotting

    runs = comparison.runs
    folder.write(
        "compare",
        {"options": record, **comparison.summary()},
        {
            "losses": lambda: plotting.loss_curves(
                {run.backend: run.fit.history.losses for run in runs}
            ),
            "gradient_differences": lambda: plotting.gradient_differences(
                {run.backend: run.differences for run in runs if run.differences},
                comparison.reference,
            ),
            "cost": lambda: plotting.gradient_cost(
                {run.backend: run.seconds_per_gradient for run in runs},
                {run.backend: run.evaluations_per_gradient for run in runs},
                {run.backend for run in runs if run.equivalent},
            ),
        },
    )


def _tables(comparison: Comparison) -> list[Table]:
    """Lay out a comparison with a column per backend, or a row per backend if there are many."""
    columns = Table("")
    for run in comparison.runs:
        columns.add_column(run.backend, justify="right")
    for section in comparison.sections():
        for name, *cells in section:
            columns.add_row(name, *map(_marked, cells))
        columns.add_section()
    if width_of(columns) <= NARROW_WIDTH:
        return [columns]
    return [_rows(comparison, section) for section in comparison.sections()]


def _rows(comparison: Comparison, section: list[list[str]]) -> Table:
    """Lay out a section with one row per backend; headings break to the width of their cells."""
    table = Table("")
    for name, *cells in section:
        width = max(map(len, cells))
        heading = textwrap.fill(name, max(width, 8), break_long_words=False)
        table.add_column(heading, justify="right")
    for i, run in enumerate(comparison.runs, start=1):
        table.add_row(run.backend, *(_marked(row[i]) for row in section))
    return table


def _marked(cell: str) -> Text:
    return Text(cell, "red" if cell == "no" else "")


def _headline(comparison: Comparison) -> Text:
    slowest = max(comparison.runs, key=lambda run: run.seconds_per_gradient)
    fastest = min(comparison.runs, key=lambda run: run.seconds_per_gradient)
    exact = [run for run in comparison.runs if not run.estimate]
    apart = [run.backend for run in exact if not run.together]
    if apart:
        return Text(f"{', '.join(apart)} took a different path from {comparison.reference}.")
    estimates = [run.backend for run in comparison.runs if run.estimate]
    factor = times(comparison.speedup(fastest))
    faster = (f"{fastest.backend} is {factor} times faster than {slowest.backend}", "bold")
    aside = f" {' and '.join(estimates)}: an estimate, right only on average." * bool(estimates)
    rest = f"{_of_the_loop(slowest, fastest)}.{aside}"
    if len(exact) < 2:
        return Text.assemble(faster, rest)
    worst = max(run.largest_difference for run in exact)
    gradients = "Apart from the estimates, the gradients" if estimates else "The gradients"
    agree = f"{gradients} agree to {worst:.0e} of a layer's largest entry, and "
    return Text.assemble(agree, faster, rest)


def _of_the_loop(slowest: Run, fastest: Run) -> str:
    """Return the speed relative to a finite difference that evaluates the whole loss each time.

    The backend differs from that loop: it computes only what each perturbed entry affects.
    """
    if slowest.seconds_by_plain_loop is None:
        return ""
    factor = slowest.seconds_by_plain_loop / fastest.seconds_per_gradient
    return (
        f", which computes only what each entry changes, and about {times(factor)} times faster "
        "than a plain loop of evaluations"
    )
