"""gradlab's network from the command's options, and messages about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gradlab import datasets, network, params, weights
from gradlab.errors import OptionError, ParameterError, WeightsError
from gradlab.history import History
from gradlab.training.optimisers import lower

DIVERGENCE_RATIO = 100.0
"""Multiple of the initial loss above which a training counts as diverged. An untrained network has
about the loss of a uniform guess."""


def new_network(
    data: datasets.Dataset, hidden: Sequence[int], seed: int, activation: str, scale: Any = None
) -> dict[str, params.Array]:
    """Return the initial parameters of a network with these hidden layers for a data set."""
    sizes = [data.train.x.shape[1], *hidden, data.classes]
    return network.init(sizes, seed, activation=activation, scale=scale)


def widths_of(option: str, text: str, example: str) -> list[int]:
    """Return the layer widths that an option lists."""
    words = [word.strip() for word in text.split(",")] if text.strip() else []
    if not all(word.isdecimal() and len(word) < 10 and int(word) for word in words):
        raise OptionError(f"{option} {text}: give widths such as {example}")
    return [int(word) for word in words]


def sizes_of(start: dict[str, params.Array]) -> list[int]:
    """Return the width of each layer of a network, inputs first."""
    pairs = network.layers(start)
    return [pairs[0][0].shape[0], *(W.shape[1] for W, _ in pairs)]


def name_of(data: datasets.Dataset, start: dict[str, params.Array]) -> str:
    """Return a title: the data set and the network's widths."""
    return f"{data.name}, {'-'.join(map(str, sizes_of(start)))}"


def outputs_of(network_params: Any, x: params.Array, activation: str) -> list[params.Array]:
    """Return the outputs of a network's hidden layers."""
    activate, found = network.find_activation(activation), []
    with np.errstate(over="ignore", invalid="ignore"):
        for W, b in network.layers(network_params)[:-1]:
            x = activate(x @ W + b)
            found.append(x)
    return found


def read_network(path: Path) -> dict[str, params.Array]:
    """Read a network, whatever the names of its arrays."""
    trained = weights.load(path)
    try:
        return weights.as_network(trained)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None


def require_fit(path: Path, trained: Any, data: datasets.Dataset) -> None:
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


def has_diverged(history: History) -> bool:
    """Tell whether a training ended far above where it started."""
    losses = history.losses
    return bool(losses) and losses[-1] > DIVERGENCE_RATIO * max(losses[0], 1.0)


def divergence(what: str, learning_rate: float) -> str:
    """Return a message about a diverged training, with advice."""
    return (
        f"{what}: the training diverged, its loss ended more than {DIVERGENCE_RATIO:g} times above "
        f"its start; lower --learning-rate {learning_rate:g} to {lower(learning_rate)}"
    )
