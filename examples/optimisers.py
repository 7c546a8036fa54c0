"""Optimisers side by side, on a network with four hidden layers.

Run it with `python examples/optimisers.py`, or `... optimisers.py mnist`.
"""

import sys

import gradlab
from gradlab import network, optim


def on_a_network(dataset, epochs):
    data = gradlab.datasets.load(dataset)
    start = network.init([data.train.x.shape[1], 100, 100, 100, 100, 10], 0, activation="relu")
    optimisers = {
        "sgd": optim.sgd(0.01),
        "momentum": optim.sgd(0.01, momentum=0.9),
        "adagrad": optim.adagrad(0.01),
        "adam": optim.adam(0.001),
    }
    for name, optimizer in optimisers.items():
        result = gradlab.fit(
            lambda params, x, y: network.loss(params, x, y, activation="relu"),
            start,
            data.train,
            backend="tape",
            optimizer=optimizer,
            epochs=epochs,
        )
        yield name, network.accuracy(result.params, *data.test, activation="relu")


if __name__ == "__main__":
    for name, accuracy in on_a_network(sys.argv[1] if sys.argv[1:] else "digits", epochs=5):
        print(f"{name:9} accuracy: {accuracy:.2%}")
