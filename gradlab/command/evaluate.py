"""``gradlab evaluate``: what a trained network gets right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from gradlab import datasets, network, params, weights
from gradlab.command.arguments import DataDir, Dataset, Json, Output, one_of
from gradlab.command.console import out, show, table
from gradlab.command.networks import read_network, require_fit
from gradlab.command.results import Folder

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
            help="Activation of the hidden layers [default: the one in the file, else sigmoid].",
            autocompletion=one_of(network.ACTIVATIONS),
        ),
    ] = None,
    output: Output = None,
    json_file: Json = None,
) -> None:
    """Classify the test data with saved weights.

    Shows the accuracy and the confusion matrix, and draws misclassified digits.
    """
    trained = read_network(weights_file)
    given = activation or weights.load_metadata(weights_file).get("activation")
    activation = given or "sigmoid"
    data = datasets.load(dataset, data_dir=data_dir)
    x, labels = data.test
    require_fit(weights_file, trained, data)
    logits = network.logits(trained, x, activation=activation)
    predicted = np.argmax(logits, axis=1)
    right = predicted == labels
    accuracy = float(np.mean(right))
    counts = np.zeros((data.classes, data.classes), int)
    np.add.at(counts, (labels, predicted), 1)
    with Folder(output, json_file, spare=[weights_file, Path(dataset)]) as folder:
        numbers = {
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
        folder.write("evaluate", numbers, _figures(data, logits, predicted, counts))
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


def _confusion_table(counts: params.Array) -> Table:
    classes = [str(k) for k in range(len(counts))]
    rows = [
        [Text(classes[k], "bold")]
        + [Text(str(n), "bold") if k == j else Text(str(n or "·")) for j, n in enumerate(row)]
        for k, row in enumerate(counts)
    ]
    return table(["", *classes], rows, named=True)
