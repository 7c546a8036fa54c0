"""Overfitting with few samples and many layers, and the effect of weight decay.

Run it with `python examples/weight_decay.py`, or `... weight_decay.py mnist`.
"""

import sys

import gradlab
from gradlab import network, optim


def accuracies(weight_decay, dataset, epochs):
    """Return the accuracy on the training data and on the test data."""
    data = gradlab.datasets.load(dataset, subset=300)
    start = network.init([data.train.x.shape[1], *[100] * 6, 10], 0, activation="relu")
    result = gradlab.fit(
        lambda params, x, y: network.loss(params, x, y, activation="relu"),
        start,
        data.train,
        backend="tape",
        optimizer=optim.sgd(0.01, momentum=0.9, weight_decay=weight_decay),
        epochs=epochs,
    )
    return [
        network.accuracy(result.params, *part, activation="relu")
        for part in (data.train, data.test)
    ]


if __name__ == "__main__":
    for weight_decay in (0.0, 0.02, 0.1):
        train, test = accuracies(weight_decay, sys.argv[1] if sys.argv[1:] else "digits", 100)
        print(f"weight decay {weight_decay:<4}: training {train:.2%}, test {test:.2%}")
