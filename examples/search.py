"""A random search for the learning rate and the weight decay, judged on validation data.

Run it with `python examples/search.py` (digits), or `... search.py mnist`.
"""

import sys

import numpy as np

import gradlab
from gradlab import network, optim


def trials(dataset, count, epochs):
    """Return (validation accuracy, learning rate, weight decay) of each trial, best first."""
    train = gradlab.datasets.load(dataset, subset=500).train
    fitted, held_out = (train.x[:400], train.y[:400]), (train.x[400:], train.y[400:])
    start = network.init([train.x.shape[1], *[100] * 6, 10], 0, activation="relu")
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        rate, decay = 10 ** rng.uniform(-4, -1), 10 ** rng.uniform(-4, 0)  # logarithmic scales
        result = gradlab.fit(
            lambda params, x, y: network.loss(params, x, y, activation="relu"),
            start,
            fitted,
            backend="tape",
            optimizer=optim.sgd(rate, momentum=0.9, weight_decay=decay),
            epochs=epochs,
        )
        found.append((network.accuracy(result.params, *held_out, activation="relu"), rate, decay))
    return sorted(found, reverse=True)


if __name__ == "__main__":
    for accuracy, rate, decay in trials((*sys.argv, "digits")[1], count=20, epochs=50)[:5]:
        print(f"accuracy {accuracy:.0%} with learning rate {rate:.4f}, weight decay {decay:.4f}")
