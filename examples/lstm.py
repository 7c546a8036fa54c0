"""An LSTM (Hochreiter and Schmidhuber, 1997) in plain NumPy that reads a picture row by row.

Run it with `python examples/lstm.py` (digits), or `... lstm.py mnist`.
"""

import sys

import numpy as np

import gradlab
from gradlab import network, optim


def sigmoid(x):
    return 0.5 * (1 + np.tanh(x / 2))  # 1 / (1 + exp(-x)), without overflow


def lstm(params, x):
    """Return the last hidden state for sequences x of shape (n, steps, features): (n, units)."""
    units = params["Wh"].shape[0]
    hidden = cell = np.zeros((len(x), units), x.dtype)
    for step in range(x.shape[1]):
        z = np.dot(x[:, step], params["Wx"]) + np.dot(hidden, params["Wh"]) + params["b"]
        forget, write, output = (sigmoid(z[:, i * units : (i + 1) * units]) for i in range(3))
        cell = forget * cell + write * np.tanh(z[:, 3 * units :])
        hidden = output * np.tanh(cell)
    return hidden


def logits(params, x):
    return np.dot(lstm(params, x), params["W"]) + params["c"]


def loss(params, x, labels):
    return network.cross_entropy(logits(params, x), labels)


def init(features, units, classes):
    rng = np.random.default_rng(0)
    shapes = {"Wx": (features, 4 * units), "Wh": (units, 4 * units), "W": (units, classes)}
    params = {name: rng.normal(size=s) / np.sqrt(s[0]) for name, s in shapes.items()}
    bias = np.repeat([1.0, 0.0], [units, 3 * units])  # at first, the cells forget little
    return params | {"b": bias, "c": np.zeros(classes)}


def accuracy(dataset, epochs, units=64):
    data = gradlab.datasets.load(dataset, dtype=np.float32)
    x, test = (part.x.reshape(-1, *data.image_shape) for part in (data.train, data.test))
    start = {name: leaf.astype(x.dtype) for name, leaf in init(x.shape[2], units, 10).items()}
    options = {"backend": "tape", "optimizer": optim.adam(0.003), "epochs": epochs}
    result = gradlab.fit(loss, start, (x, data.train.y), **options)
    return float(np.mean(np.argmax(logits(result.params, test), axis=1) == data.test.y))


if __name__ == "__main__":
    x, labels = np.random.default_rng(1).normal(size=(2, 5, 4)), np.array([0, 2])
    print("gradient right:", gradlab.check_gradients(loss, init(4, 6, 3), x, labels).ok)
    dataset = (*sys.argv, "digits")[1]
    print(f"accuracy {accuracy(dataset, epochs=3 if dataset == 'mnist' else 30):.2%}")
