"""``gradlab check``: whether a gradient is that of its loss."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from rich.text import Text

from gradlab import datasets, network, options, targets
from gradlab.checking import check_gradients
from gradlab.command.arguments import Activation, DataDir, Dataset, Json, one_of
from gradlab.command.console import fail, out, spinner
from gradlab.command.networks import name_of, widths_of
from gradlab.command.results import Writings, numbers_writer, require_file
from gradlab.errors import GradlabError, OptionError
from gradlab.gradients import BACKENDS, find_backend

EXAMPLE = """Example: `gradlab check losses.py:loss`, where losses.py has `loss(params, x)`,
`params` (arrays, or a function), `args = (x,)`, and optionally `gradient(params, x)`.

Or: `gradlab check --network 64,32,10 --plot check.png`

Exit code: 0 if the gradient is right (a valid choice at a kink is), 1 if it is wrong or the check
was inconclusive, 2 if it could not be checked."""


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
        typer.Option("--params", help="The name of the module's parameters, values or a function."),
    ] = "params",
    args_name: Annotated[
        str | None,
        typer.Option(
            "--args",
            help="The name of the module's other arguments, a tuple or a function [default: args].",
        ),
    ] = None,
    gradient: Annotated[
        str | None,
        typer.Option(
            help="The name of the module's gradient, a function or values [default: gradient, if "
            "it exists]."
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help=f"Check this backend instead: {', '.join(BACKENDS)} [default: autograd].",
            autocompletion=one_of(BACKENDS),
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
    samples: Annotated[int, typer.Option(help="Number of samples in the network's batch.")] = 20,
    mode: Annotated[
        str,
        typer.Option(
            help="entries (each separately), directional (random directions, and a search for the "
            "wrong entries), or auto (by their number).",
            autocompletion=one_of(("auto", "directional", "entries")),
        ),
    ] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the network and the directions.")] = 0,
    json_file: Json = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the check to this .png, .svg or .pdf file, and a map of the leaves."
        ),
    ] = None,
) -> None:
    """Check whether a gradient is that of its loss.

    Compares the gradient with numerical derivatives and their error bars: there is no tolerance to
    choose. Shows the verdict, the wrong entries, a likely cause, and the smallest error that the
    check detects.
    """
    source = Path((target or "").rpartition(":")[0])
    map_file = plot.with_stem(f"{plot.stem}-map") if plot and plot.name else None
    require_file("--plot", plot, suffixes=(".png", ".svg", ".pdf"), spare=[source])
    require_file("--plot", map_file, spare=[source])
    require_file("--json", json_file, spare=[source, plot, map_file])
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
            out.status(Text(f"Checking {what}"), spinner=spinner()),
            targets.one_line_error(found.name),
            np.errstate(all="ignore"),  # NaN becomes an error where it matters
        ):
            report = check_gradients(
                found.loss, found.params, *found.args,
                gradient=claimed, mode=cast(Any, mode), seed=seed,
            )  # fmt: skip
    except OptionError:
        raise
    except GradlabError as error:
        fail(f"{found.name}: {error}", code=2)
    writings = Writings()
    if json_file:
        numbers = {"target": what} | report.to_dict()
        writings.attempt(json_file, numbers_writer("check", numbers))
    if plot and map_file:
        from gradlab import plotting

        writings.attempt(plot, partial(plotting.save, plotting.gradient_agreement(report)))
        writings.attempt(map_file, partial(plotting.save, plotting.gradient_map(report)))
    out.print(what, style="italic")
    out.print(report)
    writings.require_all()
    if not report.ok:
        raise SystemExit(1)


def _network_target(
    sizes: str, dataset: str, data_dir: Path | None, activation: str, samples: int, seed: int
) -> targets.Target:
    """Return the loss of gradlab's network on the first samples of a data set."""
    widths = widths_of("--network", sizes, "64,32,10")
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
    return targets.Target(name_of(data, start), loss, start, batch, None)
