"""``gradlab compare``: one network trained with each of several gradients."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from gradlab import datasets, environment, network
from gradlab.command.arguments import (
    Activation,
    DataDir,
    Dataset,
    Json,
    Layers,
    LearningRate,
    Momentum,
    Output,
    Seed,
    Subset,
    one_of,
)
from gradlab.command.console import fail, out, show
from gradlab.command.networks import name_of, prepare, sizes_of
from gradlab.command.results import Folder
from gradlab.comparison import Comparison, times
from gradlab.comparison import compare as compare_backends
from gradlab.gradients import BACKENDS, find_backend

EXAMPLE = "Example: `gradlab compare --backend forward --backend autograd --layers 20`"


def compare(
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help=f"One of {', '.join(BACKENDS)}; give it twice or more "
            "[default: central and autograd].",
            autocompletion=one_of(BACKENDS),
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
    start, settings = prepare(data, layers, activation, seed)
    batch_size = min(50, len(data.train.x)) if batch_size is None else batch_size
    with Folder(output, json_file) as folder:
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
            fail("interrupted before the first step; nothing was written", code=130)
    network_name = f"{name_of(data, start)}, {comparison.parameters:,} parameters"
    show(network_name, _comparison_table(comparison))
    out.print(_headline(comparison))

    from gradlab import plotting

    runs = comparison.runs
    folder.write(
        {
            "command": "compare",
            "environment": environment.describe(),
            "options": {
                "dataset": data.name,
                "sizes": sizes_of(start),
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
        fail("interrupted: the table and the figures show what was reached", code=130)


def _comparison_table(comparison: Comparison) -> Table:
    table = Table("")
    for run in comparison.runs:
        table.add_column(run.backend, justify="right")
    for section in comparison.sections():
        for name, *cells in section:
            table.add_row(name, *("[red]no[/]" if cell == "no" else cell for cell in cells))
        table.add_section()
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
        f"[bold]{fastest.backend} is {times(comparison.speedup(fastest))} times faster than "
        f"{slowest.backend}[/]."
    )
    aside = f" {' and '.join(estimates)}: an estimate, right on average alone." * bool(estimates)
    if len(exact) < 2:
        return faster + aside
    worst = max(run.largest_difference for run in exact)
    gradients = "Apart from the estimates, the gradients" if estimates else "The gradients"
    return f"{gradients} agree to {worst:.0e} of a layer's largest entry, and {faster}{aside}"
