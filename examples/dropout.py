"""Dropout: a loss that draws a mask for each hidden layer.

The loss draws the mask from `rng`. In evaluation, `rng` is None, and nothing is dropped. Run it
with `python examples/dropout.py`, or `... dropout.py mnist`.
"""

import sys
from functools import partial

import numpy as np

import gradlab
from gradlab import network, optim


def logits(params, x, drop, rng):
    layers = len(params) // 2
    for i in range(1, layers):
        x = np.maximum(0, np.dot(x, params[f"W{i}"]) + params[f"b{i}"])
        if rng is not None and drop:
            x = x * (rng.random(x.shape) >= drop) / (1 - drop)
    return np.dot(x, params[f"W{layers}"]) + params[f"b{layers}"]


def loss(params, x, labels, *, drop, state, rng):
    return network.cross_entropy(logits(params, x, drop, rng), labels), state


def accuracies(drop, dataset, epochs):
    """Return the accuracy on the training data and on the test data."""
    data = gradlab.datasets.load(dataset, subset=300)
    start = network.init([data.train.x.shape[1], *[100] * 6, 10], 0, activation="relu")
    result = gradlab.fit(
        partial(loss, drop=drop),
        start,
        data.train,
        has_aux=True,
        backend="tape",
        optimizer=optim.sgd(0.01, momentum=0.9),
        epochs=epochs,
    )
    return [
        float(np.mean(np.argmax(logits(result.params, x, drop, None), axis=1) == labels))
        for x, labels in (data.train, data.test)
    ]


if __name__ == "__main__":
    for drop in (0.0, 0.15):
        train, test = accuracies(drop, sys.argv[1] if sys.argv[1:] else "digits", 100)
        print(f"dropout {drop:<4}: training {train:.2%}, test {test:.2%}")
