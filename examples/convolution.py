"""A convolutional network in plain NumPy: convolution, max pooling, two dense layers.

Run it with `python examples/convolution.py` (digits), or `... convolution.py mnist`.
"""

import sys

import numpy as np

import gradlab
from gradlab import network, optim


def convolution(images, kernels):
    """Filter (n, h, w) images; the result has shape (n, h - k + 1, w - k + 1, filters)."""
    k, filters = kernels.shape[0], kernels.shape[2]
    height, width = images.shape[1] - k + 1, images.shape[2] - k + 1
    windows = [images[:, i : i + height, j : j + width] for i in range(k) for j in range(k)]
    return np.dot(np.stack(windows, axis=-1), kernels.reshape(k * k, filters))


def max_pooling(x):
    """Return the maximum of each 2 by 2 square of (n, h, w, channels)."""
    n, h, w, channels = x.shape
    return np.max(x.reshape(n, h // 2, 2, w // 2, 2, channels), axis=(2, 4))


def logits(params, images):
    x = np.maximum(0, convolution(images, params["kernels"]) + params["b1"])
    x = max_pooling(x).reshape(len(images), -1)
    x = np.maximum(0, np.dot(x, params["W2"]) + params["b2"])
    return np.dot(x, params["W3"]) + params["b3"]


def loss(params, images, labels):
    return network.cross_entropy(logits(params, images), labels)


def accuracy(dataset, epochs, filters=30):
    data, dtype = gradlab.datasets.load(dataset), np.float32
    side = data.image_shape[0]
    k = 5 if side == 28 else 3
    dense = network.init([filters * ((side - k + 1) // 2) ** 2, 100, 10], 0, scale="he")
    kernels = np.random.default_rng(0).normal(size=(k, k, filters)) * np.sqrt(2) / k
    start = {"kernels": kernels, "b1": np.zeros(filters), "W2": dense["W1"], "b2": dense["b1"]}
    start |= {"W3": dense["W2"], "b3": dense["b2"]}
    start = {name: leaf.astype(dtype) for name, leaf in start.items()}
    images = data.train.x.reshape(-1, side, side).astype(dtype)
    options = {"backend": "tape", "optimizer": optim.adam(0.001), "epochs": epochs}
    result = gradlab.fit(loss, start, (images, data.train.y), **options)
    test = data.test.x.reshape(-1, side, side).astype(dtype)
    return float(np.mean(np.argmax(logits(result.params, test), axis=1) == data.test.y))


if __name__ == "__main__":
    dataset = (*sys.argv, "digits")[1]
    print(f"accuracy {accuracy(dataset, epochs=5 if dataset == 'mnist' else 20):.2%}")
