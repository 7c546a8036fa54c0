"""A network with one hidden layer: check its gradient, then train it by gradient descent.

Run it with `python examples/two_layers.py` (digits), or `... two_layers.py mnist`.
"""

import sys

import numpy as np

import gradlab


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logits(params, x):
    hidden = sigmoid(np.dot(x, params["W1"]) + params["b1"])
    return np.dot(hidden, params["W2"]) + params["b2"]


def loss(params, x, labels):
    scores = logits(params, x)
    scores = scores - np.max(scores, axis=1, keepdims=True)
    log_p = scores - np.log(np.sum(np.exp(scores), axis=1, keepdims=True))
    return -np.mean(log_p[np.arange(len(labels)), labels])


def init(inputs, hidden=50, outputs=10):
    rng = np.random.default_rng(0)
    return {
        "W1": 0.01 * rng.normal(size=(inputs, hidden)),
        "b1": np.zeros(hidden),
        "W2": 0.01 * rng.normal(size=(hidden, outputs)),
        "b2": np.zeros(outputs),
    }


def accuracy(params, x, labels):
    return float(np.mean(np.argmax(logits(params, x), axis=1) == labels))


def trained(dataset, epochs):
    """Return the fitted parameters, and the accuracy on the training data and on the test data."""
    data = gradlab.datasets.load(dataset)
    options = {"backend": "tape", "learning_rate": 0.1, "batch_size": 100, "epochs": epochs}
    params = gradlab.fit(loss, init(data.train.x.shape[1]), data.train, **options).params
    return params, accuracy(params, *data.train), accuracy(params, *data.test)


if __name__ == "__main__":
    x, labels = np.random.default_rng(1).random((3, 8)), np.array([0, 3, 9])
    print("gradient right:", gradlab.check_gradients(loss, init(8), x, labels).ok)
    dataset = (*sys.argv, "digits")[1]
    _, train, test = trained(dataset, epochs=17 if dataset == "mnist" else 200)
    print(f"accuracy: training {train:.2%}, test {test:.2%}")
