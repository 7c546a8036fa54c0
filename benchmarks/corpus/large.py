"""Gradients with 20,000 entries or more, of which none, one, a few or all are wrong.

A check of each entry would take 40,000 or more evaluations of the loss.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from corpus.case import KINK, Case, draw, evaluated_in, factor, pair, swapped
from corpus.networks import mlp, mlp_gradient, weights
from gradlab.params import Array


def softmax_regression(params: Any, X: Array, Y: Array) -> Any:
    """Return the cross entropy for one-hot labels."""
    z = X @ params["W"] + params["b"]
    return (np.sum(np.log(np.sum(np.exp(z), axis=1))) - np.sum(z * Y)) / len(X)


def softmax_regression_gradient(params: Any, X: Array, Y: Array) -> Any:
    p = np.exp(X @ params["W"] + params["b"])
    above = (p / p.sum(1, keepdims=True) - Y) / len(X)
    return {"W": X.T @ above, "b": above.sum(0)}


def separate(x: Any, size: Array) -> Any:
    """Return Σ size (sin x + x²/2), in which the entries are independent."""
    return np.sum(size * (np.sin(x) + x**2 / 2))


def separate_gradient(x: Any, size: Array) -> Any:
    return size * (np.cos(x) + x)


def relu_layers(params: Any, x: Array, y: Array) -> Any:
    h = np.where(np.real(x @ params["W1"] + params["b1"]) > 0, x @ params["W1"] + params["b1"], 0)
    return np.sum((h @ params["W2"] + params["b2"] - y) ** 2) / len(x)


def relu_layers_gradient(params: Any, x: Array, y: Array) -> Any:
    z = x @ params["W1"] + params["b1"]
    h = np.maximum(z, 0)
    above = 2 * (h @ params["W2"] + params["b2"] - y) / len(x)
    below = above @ params["W2"].T * (z > 0)
    return {"W1": x.T @ below, "b1": below.sum(0), "W2": h.T @ above, "b2": above.sum(0)}


def large() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any, *args: Any) -> Case:
        return Case("large", name, loss, params, truth, args, verified_by="complex step")

    n = 12
    net = case(
        "a network of 20,280", mlp, weights(120, 140, 22), mlp_gradient,
        draw(120, n, 120), draw(121, n, 22),
    )  # fmt: skip
    yield from pair(
        net,
        factor(-1, "W1", (57, 31)),
        factor(1.5, "W2", (139, 21)),
        factor(n, "b1"),
        factor(-1),
        factor(1.5, "W1", *[(17 * i, 13 * i) for i in range(6)]),
    )
    labels = np.eye(100)[np.arange(n) * 7]
    regression = case(
        "softmax regression of 20,100", softmax_regression,
        {"W": draw(122, 200, 100) / 15, "b": draw(123, 100)}, softmax_regression_gradient,
        draw(124, n, 200), labels,
    )  # fmt: skip
    yield from pair(regression, factor(0, "b"), factor(n))
    six = [3, 4_000, 8_191, 12_345, 16_384, 19_999]
    size = np.ones(20_000)
    size[six] = 1e-6
    tiny = case(
        "20,000 of which six matter a millionth",
        separate,
        draw(125, 20_000),
        separate_gradient,
        size,
    )
    yield from pair(tiny, factor(-1, "params", *six))
    yield from pair(
        case(
            "a relu network of 20,280",
            relu_layers,
            weights(120, 140, 22, seed=126),
            relu_layers_gradient,
            draw(127, n, 120),
            draw(128, n, 22),
        ),
        factor(1.5, "W1"),
    )
    empty = draw(127, n, 120)
    empty[3] = 0
    start = weights(120, 140, 22, seed=126) | {"b1": np.zeros(140)}
    padded = case("a relu network of 20,280 with an empty sample, before any bias is learnt",
                  relu_layers, start, relu_layers_gradient, empty, draw(128, n, 22))  # fmt: skip
    yield from pair(replace(padded, accepted=KINK), factor(-1, "W2", (3, 4)))
    mixed = 10.0 ** (np.arange(24_000) % 9 - 4)
    yield case("24,000 of nine sizes", separate, draw(129, 24_000), separate_gradient, mixed)
    single = case("a network of 20,280 in float32", evaluated_in(mlp, np.float32), *net.point[:1],
                  mlp_gradient, *net.args)  # fmt: skip
    yield from pair(replace(single, meant=mlp), factor(n, "b1"))
    yield from pair(
        case("30,000", separate, draw(130, 30_000), separate_gradient, np.ones(30_000)),
        factor(-1, "params", 12_321),
    )
    yield from pair(
        case("a million", separate, draw(131, 1_000_000), separate_gradient, np.ones(1_000_000)),
        factor(1.5, "params", 765_432),
    )
    two = {"left": draw(132, 100, 110), "right": draw(133, 100, 110)}
    yield case(
        "22,000 in two leaves", lambda p: np.sum(np.sin(p["left"]) * p["right"]), two,
        lambda p: {"left": np.cos(p["left"]) * p["right"], "right": np.sin(p["left"])},
    ).with_fault(swapped("left", "right"))  # fmt: skip


CASES = list(large())
