"""Options that several verbs take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer

from gradlab import datasets, network
from gradlab.gradients import BACKENDS


def one_of(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what completes the beginning of a name."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


Dataset = Annotated[
    str,
    typer.Option(
        help="digits, mnist, or the path of a file: .npz (arrays x and y), .csv, .pkl.",
        autocompletion=one_of(datasets.NAMES),
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder with the MNIST archives [default: $GRADLAB_DATA, else downloaded]."),
]
Subset = Annotated[int | None, typer.Option(help="Train on the first N samples only.")]
Backend = Annotated[
    str, typer.Option(help=f"One of {', '.join(BACKENDS)}.", autocompletion=one_of(BACKENDS))
]
Layers = Annotated[str, typer.Option(help="Widths of the hidden layers, such as 50,100.")]
Activation = Annotated[
    str,
    typer.Option(
        help=f"Activation of the hidden layers: {', '.join(network.ACTIVATIONS)}.",
        autocompletion=one_of(network.ACTIVATIONS),
    ),
]
Epochs = Annotated[int, typer.Option(help="Passes over the training data.")]
BatchSize = Annotated[
    int | None, typer.Option(help="Samples per step [default: 100, or all if fewer].")
]
Seed = Annotated[int, typer.Option(help="Seed of the initial parameters and the minibatches.")]
Output = Annotated[
    Path | None, typer.Option(help="Folder for the results [default: gradlab-runs/TIME].")
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the numbers to this file.")]
