"""``gradlab evaluate``: what a trained network gets right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from gradlab import datasets, environment, network, params, weights
from gradlab.command.arguments import DataDir, Dataset, Json, Output, one_of
from gradlab.command.console import out, show
from gradlab.command.networks import sizes_of
from gradlab.command.results import Folder
from gradlab.errors import ParameterError, WeightsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLE = "Example: `gradlab evaluate weights.npz --dataset mnist`"


def evaluate(
    weights_file: Annotated[
        Path,
        typer.Argument(metavar="WEIGHTS", help="A .npz, .safetensors, .pkl or .pkl.gz file."),
    ],
    dataset: Dataset = "digits",
    data_dir: DataDir = None,
    activation: Annotated[
        str | None,
        typer.Option(
            help="Of the hidden layers [default: what the file says, else sigmoid].",
            autocompletion=one_of(network.ACTIVATIONS),
        ),
    ] = None,
    output: Output = None,
    json_file: Json = None,
) -> None:
    """Classify the test data with saved weights.

    Shows the accuracy and the confusion matrix, and draws misclassified digits.
    """
    trained = _network(weights_file)
    given = activation or weights.load_metadata(weights_file).get("activation")
    activation = given or "sigmoid"
    data = datasets.load(dataset, data_dir=data_dir)
    x, labels = data.test
    _require_fit(weights_file, trained, data)
    logits = network.logits(trained, x, activation=activation)
    predicted = np.argmax(logits, axis=1)
    right = predicted == labels
    accuracy = float(np.mean(right))
    counts = np.zeros((data.classes, data.classes), int)
    np.add.at(counts, (labels, predicted), 1)
    with Folder(output, json_file, spare=[weights_file, Path(dataset)]) as folder:
        summary = {
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
        }
        folder.write(summary, _figures(data, logits, predicted, counts))
    show("Rows: true class. Columns: predicted class.", _confusion_table(counts))
    of = f": {right.sum():,} of {len(labels):,} samples of {data.name} are classified right."
    out.print(Text.assemble("Accuracy ", (f"{accuracy:.4f}", "bold"), of))
    if not given and len(trained) > 2:
        out.print(
            f"The file does not say which activation its hidden layers have: {activation} is "
            f"assumed; --activation names another.",
            soft_wrap=True,
        )
    folder.tell()


def _figures(
    data: datasets.Dataset, logits: params.Array, predicted: params.Array, counts: params.Array
) -> dict[str, Callable[[], Figure]]:
    from gradlab import plotting

    x, labels = data.test
    # The most confident mistakes tell the most about the network.
    confidence = network.softmax(logits).max(axis=1)
    worst = np.flatnonzero(predicted != labels)
    worst = worst[np.argsort(-confidence[worst], kind="stable")][:24]
    figures = {"confusion": lambda: plotting.confusion_matrix(counts)}
    if data.image_shape:
        images = x[worst].reshape(-1, *data.image_shape)
        figures["misclassified"] = lambda: plotting.misclassified(
            images, labels[worst], predicted[worst], confidence[worst]
        )
    return figures


def _network(path: Path) -> dict[str, params.Array]:
    """Read a network, whatever the names of its arrays."""
    trained = weights.load(path)
    try:
        return weights.as_network(trained)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def _require_fit(path: Path, trained: Any, data: datasets.Dataset) -> None:
    """Raise an error that names the file if its network does not fit the data set."""
    try:
        d, *_, k = sizes_of(trained)
    except ParameterError as error:
        raise WeightsError(f"{path}: {error}") from error
    inputs = data.test.x.shape[1]
    if (d, k) != (inputs, data.classes):
        raise WeightsError(
            f"{path}: a network from {d} inputs to {k} classes, "
            f"but {data.name} has {inputs} inputs and {data.classes} classes"
        )


def _confusion_table(counts: params.Array) -> Table:
    classes = [str(k) for k in range(len(counts))]
    table = Table()
    table.add_column("", style="bold")
    for name in classes:
        table.add_column(name, justify="right")
    for k, row in enumerate(counts):
        cells = [Text(str(n), "bold") if k == j else str(n or "·") for j, n in enumerate(row)]
        table.add_row(classes[k], *cells)
    return table
