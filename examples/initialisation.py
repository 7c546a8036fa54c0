"""Initial weights (too large, too small, Xavier's, He's): the activations and the training.

Run it with `python examples/initialisation.py`, or `... initialisation.py mnist`.
"""

import sys

import numpy as np

import gradlab
from gradlab import network, optim

WIDTHS = [100, 100, 100, 100]


def spread_of_activations(scale, activation):
    """Return the standard deviation of each hidden layer's outputs for random inputs."""
    params = network.init([100, *WIDTHS, 10], 0, scale=scale)
    x, spreads = np.random.default_rng(0).normal(size=(1000, 100)), []
    for i in range(1, len(WIDTHS) + 1):
        x = network.ACTIVATIONS[activation](x @ params[f"W{i}"] + params[f"b{i}"])
        spreads.append(float(np.std(x)))
    return spreads


def training_losses(scale, dataset, iterations):
    data = gradlab.datasets.load(dataset)
    start = network.init([data.train.x.shape[1], *WIDTHS, 10], 0, scale=scale)
    result = gradlab.fit(
        lambda params, x, y: network.loss(params, x, y, activation="relu"),
        start,
        data.train,
        backend="tape",
        optimizer=optim.sgd(0.1),
        iterations=iterations,
    )
    return result.history.losses


if __name__ == "__main__":
    for scale, activation in [(1.0, "tanh"), (0.01, "tanh"), ("xavier", "tanh"), ("he", "relu")]:
        spreads = spread_of_activations(scale, activation)
        print(f"{scale!s:7} {activation}: {' '.join(f'{spread:.3f}' for spread in spreads)}")
    for scale in (0.01, "xavier", "he"):
        losses = training_losses(scale, sys.argv[1] if sys.argv[1:] else "digits", 300)
        print(f"{scale!s:7} loss from {losses[0]:.3f} to {np.mean(losses[-20:]):.3f}")
