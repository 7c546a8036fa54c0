"""Batch norm (Ioffe and Szegedy, 2015): a loss with running statistics as its state.

In training, `rng` is a generator, and each minibatch is normalised by its own statistics. In
evaluation, `rng` is None, and the loss uses the running statistics.
Run it with `python examples/batch_norm.py`, or `... batch_norm.py mnist`.
"""

import sys
from functools import partial

import numpy as np

import gradlab
from gradlab import network, optim

WIDTHS = [100] * 5


def logits(params, x, state, training):
    after = {}
    for i in range(1, len(WIDTHS) + 1):
        x = np.dot(x, params[f"W{i}"])
        if f"scale{i}" in params:
            mean, var = state[f"mean{i}"], state[f"var{i}"]
            if training:
                mean, var = np.mean(x, axis=0), np.var(x, axis=0)
                after[f"mean{i}"] = 0.9 * state[f"mean{i}"] + 0.1 * mean
                after[f"var{i}"] = 0.9 * state[f"var{i}"] + 0.1 * var
            x = params[f"scale{i}"] * (x - mean) / np.sqrt(var + 1e-7)
        x = np.maximum(0, x + params[f"b{i}"])
    return np.dot(x, params["W6"]) + params["b6"], after if training else state


def loss(params, x, labels, *, state, rng):
    scores, after = logits(params, x, state, rng is not None)
    return network.cross_entropy(scores, labels), after


def accuracy(scale, batch_norm, dataset, epochs):
    data = gradlab.datasets.load(dataset, subset=1000)
    params, state = network.init([data.train.x.shape[1], *WIDTHS, 10], 0, scale=scale), {}
    for i, width in enumerate(WIDTHS * batch_norm, start=1):
        params[f"scale{i}"] = np.ones(width)
        state |= {f"mean{i}": np.zeros(width), f"var{i}": np.ones(width)}
    fitted = partial(gradlab.fit, backend="tape", optimizer=optim.sgd(0.05), epochs=epochs)
    result = fitted(loss, params, data.train, state=state, has_aux=True)
    x, labels = data.test
    return np.mean(np.argmax(logits(result.params, x, result.state, False)[0], axis=1) == labels)


if __name__ == "__main__":
    for scale in (0.01, 0.05, 0.15):
        plain, normed = (accuracy(scale, on, (*sys.argv, "digits")[1], 20) for on in (False, True))
        print(f"initial scale {scale:<4}: accuracy {plain:.2%}, with batch norm {normed:.2%}")
