"""``gradlab diagnose``: the story of a training, with remedies."""

from __future__ import annotations

import io
from functools import cache, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from gradlab import datasets, diagnosis, environment, interrupts, options, outputs
from gradlab.bench import report
from gradlab.command import arguments, axes, optimisers
from gradlab.command.console import out, spinner
from gradlab.command.networks import name_of, outputs_of, widths_of
from gradlab.command.results import Folder
from gradlab.errors import OptionError
from gradlab.gradients import find_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.figure import Figure

EXAMPLE = (
    "Example: `gradlab diagnose --learning-rate 10 --activation relu`\n\n"
    "Or: `gradlab diagnose --layers 30,30,30,30,30,30 --initialisation 0.1`"
)


def diagnose(
    dataset: arguments.Dataset = "digits",
    data_dir: arguments.DataDir = None,
    subset: arguments.Subset = None,
    layers: arguments.Layers = "50",
    activation: arguments.Activation = "sigmoid",
    initialisation: Annotated[
        str | None,
        typer.Option(
            help="Initial weights: xavier, he, normal, or a standard deviation "
            "[default: by the activation]."
        ),
    ] = None,
    backend: arguments.Backend = "tape",
    epochs: arguments.Epochs = 10,
    optimizer: optimisers.Name = "sgd",
    learning_rate: optimisers.LearningRate = None,
    momentum: optimisers.Momentum = None,
    batch_size: arguments.BatchSize = None,
    seed: arguments.Seed = 0,
    output: arguments.Output = None,
    json_file: arguments.Json = None,
) -> None:
    """Train a network, and report the problems of the training with remedies.

    Checks the gradient at the start and at the end; tries other learning rates, each for at most
    100 steps; examines the loss along a step, dead units, the outputs of the hidden layers and the
    norms of the gradient. Shows problems and remedies in a few sentences; writes a report.html, the
    figures, and a summary.json.
    """
    data = datasets.load(dataset, data_dir=data_dir, subset=subset)
    setting = axes.Setting(
        data=data,
        hidden=tuple(widths_of("--layers", layers, "50,100")),
        activation=activation,
        initialisation=_scale(initialisation),
        optimizer=optimizer,
        learning_rate=learning_rate,
        momentum=momentum,
    )
    start = setting.start(seed)
    given, record = setting.training(0)
    chosen = find_backend(backend)
    epochs = options.integer("epochs", epochs)
    if batch_size is not None:
        batch_size = options.integer("batch_size", batch_size)
    training = {"backend": chosen, "epochs": epochs, "batch_size": batch_size, "seed": seed}
    with Folder(output, json_file, spare=[Path(dataset)]) as folder:
        with interrupts.allowed(), out.status(Text("Diagnosing"), spinner=spinner()):
            found = diagnosis.diagnose(
                given["loss"], start, data.train,
                test=data.test,
                hidden=partial(outputs_of, activation=activation),
                optimizer=given["optimizer"],
                accuracy=given["accuracy"],
                progress=False,
                **training,
            )  # fmt: skip
        title = name_of(data, start)
        numbers = {
            "options": {"dataset": data.name, "hidden": setting.hidden, **record}
            | {**training, "backend": chosen.name},
            **found.summary(),
        }
        _write(folder, found, numbers, title)
    out.print(title, style="italic")
    for finding in found.findings:
        out.print(Text.assemble((finding.about, "bold"), f": {finding.text}"))
        if finding.remedy:
            out.print(Text(f"  → {finding.remedy}", "yellow"))
    out.print(Text(found.headline(), "bold"))
    folder.tell()


def _scale(initialisation: str | None) -> str | float | None:
    if initialisation is None:
        return None
    try:
        return axes.initialisation_of(initialisation)
    except OptionError as error:
        raise OptionError(f"--initialisation {initialisation}: {error}") from None


def _write(folder: Folder, found: diagnosis.Diagnosis, numbers: dict[str, Any], title: str) -> None:
    figures = {name: cache(draw) for name, draw in _figures(found).items()}
    page = partial(_write_page, f"{title}: a diagnosis", found, figures)
    folder.write("diagnose", numbers, dict(figures), others={"report.html": page})


def _write_page(
    title: str, found: diagnosis.Diagnosis, figures: Mapping[str, Callable[[], Figure]], path: Path
) -> None:
    """Write the findings and figures as a page in the form of the benchmarks' report."""
    table = {
        "title": "Findings",
        "columns": ["", "found", "remedy"],
        "right": [False] * 3,
        "rows": [[finding.about, finding.text, finding.remedy] for finding in found.findings],
    }
    told = "<br>".join(map(escape, report.environment_lines(environment.describe())))
    body = f"""<header>
<h1>{escape(title)}</h1>
<p class="headline">{escape(found.headline())}</p>
</header>
<main>
{report.body(table)}
{"".join(report.figure(_svg(draw()), name) for name, draw in figures.items())}
<p class="environment">{told}</p>
</main>"""
    outputs.write(path, report.document(title, body).encode())


def _svg(figure: Figure) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="svg")
    return picture.getvalue().decode()


def _figures(found: diagnosis.Diagnosis) -> dict[str, Callable[[], Figure]]:
    from gradlab import plotting

    history, start = found.fit.history, found.sections["start"].loss
    figures = {
        "curves": lambda: plotting.training_curves(history),
        "rates": lambda: plotting.rate_sweep(found.sweep, found.rate or 1.0, start, found.steps),
        "step": lambda: plotting.loss_sections(found.sections),
        "norms": lambda: plotting.norm_curves(history),
    }
    if found.layers["start"]:
        figures["activations"] = lambda: plotting.activation_histograms(
            found.outputs, "at the start and at the end"
        )
    return figures
