"""Small networks with gradients derived by hand, and typical mistakes in them.

`mlp_gradient` is the backward pass of two layers with tanh, squared error and weight decay. Each
mistake is a branch that replaces a right line by a wrong one.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from corpus.case import (
    Case,
    averaged,
    draw,
    factor,
    instead,
    pair,
    partly,
    plus,
    rolled,
    stale,
    swapped,
    transposed,
)
from gradlab.params import Array

DECAY = 1e-4


def mlp(params: Any, x: Array, y: Array) -> Any:
    """Return the mean of (tanh(x W1 + b1) W2 + b2 − y)²/2, plus weight decay."""
    h = np.tanh(x @ params["W1"] + params["b1"])
    error = h @ params["W2"] + params["b2"] - y
    decay = np.sum(params["W1"] ** 2) + np.sum(params["W2"] ** 2)
    return np.sum(error**2) / (2 * len(x)) + DECAY / 2 * decay


def mlp_gradient(params: Any, x: Array, y: Array, wrong: str = "") -> Any:
    n = 1 if wrong == "missing 1/batch" else len(x)
    if wrong == "labels off by one":
        y = np.roll(y, 1, 0)
    z = x @ params["W1"] + params["b1"]
    h = np.tanh(z)
    above = (h @ params["W2"] + params["b2"] - y) / n
    if wrong == "without the first sample":
        above[0] = 0
    if wrong == "broadcast error":
        above = np.broadcast_to(above.mean(1, keepdims=True), above.shape)
    back = above @ (params["W2"] if wrong == "W2 not transposed" else params["W2"].T)
    slope = 1 - h**2
    if wrong == "missing activation derivative":
        slope = 1
    if wrong == "derivative of the activation at its value":
        slope = 1 - np.tanh(h) ** 2
    if wrong == "derivative of a sigmoid":
        slope = h * (1 - h)
    below = back * slope
    decay = 0 if wrong == "missing weight decay" else DECAY
    if wrong == "twice the weight decay":
        decay *= 2
    axis = 1 if wrong == "summed over the wrong axis" else 0
    return {
        "W1": x.T @ below + decay * params["W1"],
        "b1": below.sum(axis),
        "W2": (z if wrong == "stale activations" else h).T @ above + decay * params["W2"],
        "b2": above.sum(0),
    }


MISTAKES = (
    "missing 1/batch",
    "labels off by one",
    "without the first sample",
    "broadcast error",
    "W2 not transposed",
    "missing activation derivative",
    "derivative of the activation at its value",
    "derivative of a sigmoid",
    "missing weight decay",
    "twice the weight decay",
    "summed over the wrong axis",
    "stale activations",
)

MLP_START: tuple[Any, ...] = (
    # All sizes are four, so transposed matrices and sums over the wrong axis have the right shape.
    {"W1": draw(60, 4, 4), "b1": draw(61, 4), "W2": draw(62, 4, 4), "b2": draw(63, 4)},
    draw(64, 4, 4),
    draw(65, 4, 4),
)


def planted() -> Iterator[Case]:
    right = Case("planted", "a network", mlp, MLP_START[0], mlp_gradient, MLP_START[1:])
    yield right
    for wrong in MISTAKES:
        yield right.with_fault(instead(wrong, partial(mlp_gradient, wrong=wrong)))
    for fault in (
        factor(-1),
        factor(-1, "W1", (2, 3)),
        factor(0, "b1"),
        transposed("W1"),
        swapped("W1", "W2"),
        swapped("b1", "b2"),
        rolled("W1", 1),
        averaged("b1", 0),
        stale(0.01),
        plus(1e-3, "b2", 2),
    ):
        yield right.with_fault(fault)
    for exponent, fault in (
        (1, factor(2, "W1")),
        (2, transposed("W2")),
        (3, swapped("b1", "b2")),
        (4, factor(0, "b2")),
        (5, factor(-1, "W2", (0, 0))),
        (6, factor(2, "b1")),
    ):
        yield right.with_fault(partly(fault, 10.0**-exponent))


# Other networks


def softmax_network(params: Any, x: Array, labels: Array) -> Any:
    h = 1 / (1 + np.exp(-(x @ params["W1"] + params["b1"])))
    z = h @ params["W2"] + params["b2"]
    chosen = np.sum(z * np.eye(len(params["b2"]))[labels])
    return (np.sum(np.log(np.sum(np.exp(z), axis=1))) - chosen) / len(x)


def softmax_network_gradient(params: Any, x: Array, labels: Array) -> Any:
    h = 1 / (1 + np.exp(-(x @ params["W1"] + params["b1"])))
    p = np.exp(h @ params["W2"] + params["b2"])
    p = p / p.sum(1, keepdims=True)
    above = (p - np.eye(len(params["b2"]))[labels]) / len(x)
    below = above @ params["W2"].T * h * (1 - h)
    return {"W1": x.T @ below, "b1": below.sum(0), "W2": h.T @ above, "b2": above.sum(0)}


def recurrent(params: Any, x: Array) -> Any:
    h = params["start"]
    for step in x:
        h = np.tanh(params["W"] @ h + step)
    return np.sum(h**2)


def recurrent_gradient(params: Any, x: Array, since: int = 0) -> Any:
    """Return the gradient by backpropagation through time, from the end to step `since`."""
    states = [params["start"]]
    for step in x:
        states.append(np.tanh(params["W"] @ states[-1] + step))
    above, W = 2 * states[-1], np.zeros_like(params["W"])
    for before, after in reversed(list(pairwise(states))[since:]):
        above = above * (1 - after**2)
        W += np.outer(above, before)
        above = params["W"].T @ above
    return {"W": W, "start": above}


def normalised(params: Any, x: Array) -> Any:
    """Return the mean of sines of a normalised batch."""
    centred = x - np.mean(x, axis=0)
    z = centred / np.sqrt(np.mean(centred**2, axis=0) + 1e-5)
    return np.mean(np.sin(params["gain"] * z + params["shift"]))


def normalised_gradient(params: Any, x: Array) -> Any:
    centred = x - x.mean(0)
    z = centred / np.sqrt((centred**2).mean(0) + 1e-5)
    above = np.cos(params["gain"] * z + params["shift"]) / x.size
    return {"gain": (above * z).sum(0), "shift": above.sum(0)}


def convolution(params: Any, x: Array) -> Any:
    """Return the mean square of tanh of a signal after a filter of width three."""
    k = params["kernel"]
    return np.mean(np.tanh(k[0] * x[:-2] + k[1] * x[1:-1] + k[2] * x[2:] + params["bias"]) ** 2)


def convolution_gradient(params: Any, x: Array) -> Any:
    views = np.stack([x[:-2], x[1:-1], x[2:]])
    t = np.tanh(params["kernel"] @ views + params["bias"])
    above = 2 * t * (1 - t**2) / len(t)
    return {"kernel": views @ above, "bias": above.sum()}


def weights(*widths: int, seed: int = 66) -> dict[str, Array]:
    """Draw the parameters of two layers."""
    d, hidden, k = widths
    W1, W2 = draw(seed, d, hidden) / np.sqrt(d), draw(seed + 1, hidden, k) / np.sqrt(hidden)
    return {"W1": W1, "b1": 0.1 * draw(seed, hidden), "W2": W2, "b2": 0.1 * draw(seed, k)}


def network() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any, *args: Any) -> Case:
        return Case("network", name, loss, params, truth, args)

    labels = np.array([0, 2, 1, 1, 0, 2])
    classify = case(
        "sigmoid, softmax, cross entropy", softmax_network, weights(3, 5, 3),
        softmax_network_gradient, draw(70, 6, 3), labels,
    )  # fmt: skip
    yield from pair(classify, factor(6, "W1"), factor(1 + 1e-6, "b2"))
    sequence = case(
        "recurrent", recurrent, {"W": draw(71, 3, 3), "start": draw(72, 3)},
        recurrent_gradient, draw(73, 6, 3),
    )  # fmt: skip
    yield from pair(
        sequence,
        instead("truncated after three steps", partial(recurrent_gradient, since=3)),
        transposed("W"),
    )
    batch_norm = case(
        "batch normalisation", normalised, {"gain": draw(74, 3), "shift": draw(75, 3)},
        normalised_gradient, draw(76, 8, 3),
    )  # fmt: skip
    yield from pair(batch_norm, swapped("gain", "shift"))
    filtered = case(
        "convolution", convolution, {"kernel": draw(77, 3), "bias": np.array(0.2)},
        convolution_gradient, draw(78, 12),
    )  # fmt: skip
    yield from pair(filtered, factor(-1), rolled("kernel"))
    yield case("two layers", mlp, weights(3, 4, 2), mlp_gradient, draw(79, 7, 3), draw(80, 7, 2))
    yield case("one sample", mlp, weights(3, 4, 2), mlp_gradient, draw(81, 1, 3), draw(82, 1, 2))
    saturated = {name: 5 * leaf for name, leaf in weights(3, 4, 2).items()}
    yield case("saturated", mlp, saturated, mlp_gradient, draw(83, 7, 3), draw(84, 7, 2))


CASES = [*network(), *planted()]
