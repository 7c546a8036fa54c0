"""Smooth functions, each hard for one reason: scale, offset, zeros, ripples, edges.

A case lists a loss in plain NumPy, its parameters, its gradient, and faults to plant into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from corpus.case import (
    UNSEEN,
    Case,
    a,
    about,
    draw,
    factor,
    instead,
    pair,
    partly,
    plus,
    rolled,
    stale,
    swapped,
    together,
    transposed,
)
from gradlab.params import Array

# Everyday losses


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def logistic(params: Any, X: Array, y: Array) -> Any:
    z = X @ params["w"] + params["b"]
    return np.mean(np.log(1 + np.exp(z)) - y * z)


def logistic_gradient(params: Any, X: Array, y: Array) -> Any:
    error = (sigmoid(X @ params["w"] + params["b"]) - y) / len(y)
    return {"w": X.T @ error, "b": error.sum()}


def gaussian(params: Any, x: Array) -> Any:
    """Return the negative log likelihood of a normal distribution, up to a constant."""
    return np.mean((x - params["mean"]) ** 2 / 2 * np.exp(-2 * params["log_sd"])) + params["log_sd"]


def gaussian_gradient(params: Any, x: Array) -> Any:
    z = (x - params["mean"]) * np.exp(-params["log_sd"])
    return {"mean": -np.mean(z) * np.exp(-params["log_sd"]), "log_sd": 1 - np.mean(z**2)}


def attention(params: Any, keys: Array, values: Array) -> Any:
    """Return the attention of one query, times a readout vector."""
    weights = np.exp(keys @ params["query"])
    return (weights @ values) @ params["readout"] / np.sum(weights)


def attention_gradient(params: Any, keys: Array, values: Array) -> Any:
    weights = np.exp(keys @ params["query"])
    weights = weights / np.sum(weights)
    mean = weights @ values
    above = (values - mean) @ params["readout"]
    return {"query": keys.T @ (weights * above), "readout": mean}


def rosenbrock(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x: Any) -> Any:
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def bilinear(params: Any, u: Array, v: Array) -> Any:
    return np.sin(u @ params["M"] @ v) + np.sum(params["M"] ** 2) / 10


def bilinear_gradient(params: Any, u: Array, v: Array) -> Any:
    return {"M": np.cos(u @ params["M"] @ v) * np.outer(u, v) + params["M"] / 5}


def nested(params: Any) -> Any:
    (W, c), s = params["encoder"], params["scale"]
    return s[0] * np.sum(np.tanh(W @ c)) + s[1] ** 3


def nested_gradient(params: Any) -> Any:
    (W, c), s = params["encoder"], params["scale"]
    h = np.tanh(W @ c)
    above = s[0] * (1 - h**2)
    return {
        "encoder": [np.outer(above, c), W.T @ above],
        "scale": (np.sum(h), 3 * s[1] ** 2),
    }


GELU = np.sqrt(2 / np.pi)


def gelu(x: Any, c: float = GELU) -> Any:
    return np.sum(x / 2 * (1 + np.tanh(c * (x + 0.044715 * x**3))))


def gelu_gradient(x: Any, c: float = GELU, d: float = 0.044715) -> Any:
    t = np.tanh(c * (x + d * x**3))
    return (1 + t) / 2 + x / 2 * (1 - t**2) * c * (1 + 3 * d * x**2)


A = draw(1, 5, 5)
SAMPLES = draw(2, 30, 4), (draw(3, 30) > 0).astype(float)


def smooth() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any, *args: Any) -> Case:
        return Case("smooth", name, loss, params, truth, args)

    yield from pair(
        case("quadratic form", lambda x: x @ A @ x / 2, draw(4, 5), lambda x: (A + A.T) @ x / 2),
        instead("as if it were symmetric", lambda x: A @ x),
    )
    yield from pair(
        case("Rosenbrock", rosenbrock, draw(5, 6), rosenbrock_gradient),
        rolled("params"),
        partly(rolled("params"), 1e-5),
    )
    yield from pair(
        case(
            "log-sum-exp",
            lambda x: np.log(np.sum(np.exp(x))),
            draw(6, 7),
            lambda x: np.exp(x) / np.sum(np.exp(x)),
        ),
        instead("not normalised", np.exp),
        factor(1 + 1e-6, "params", 2),
    )
    start = {"w": draw(7, 4), "b": np.array(0.3)}
    yield from pair(
        case("logistic regression", logistic, start, logistic_gradient, *SAMPLES),
        factor(30.0),
        factor(0, "b"),
        stale(1e-4),
    )
    yield from pair(
        case(
            "Poisson regression",
            lambda w, X, y: np.mean(np.exp(X @ w) - y * (X @ w)),
            draw(8, 4, scale=0.3),
            lambda w, X, y: X.T @ (np.exp(X @ w) - y) / len(y),
            *SAMPLES,
        ),
    )
    start = {"mean": np.array(0.2), "log_sd": np.array(-0.4)}
    yield from pair(
        case("normal likelihood", gaussian, start, gaussian_gradient, draw(9, 12)),
        swapped("mean", "log_sd"),
    )
    start = {"query": draw(10, 3), "readout": draw(11, 2)}
    yield from pair(
        case("attention", attention, start, attention_gradient, draw(12, 5, 3), draw(13, 5, 2)),
        factor(-1, "query"),
    )
    yield from pair(
        case(
            "bilinear form",
            bilinear,
            {"M": draw(14, 3, 3)},
            bilinear_gradient,
            a(1, 2, 3),
            A[0, :3],
        ),
        transposed("M"),
        partly(transposed("M"), 1e-4),
    )
    start = {"encoder": [draw(15, 2, 3), draw(16, 3)], "scale": (np.array(0.7), 1.5)}
    yield from pair(case("nested structure", nested, start, nested_gradient), factor(2, "scale[1]"))
    yield from pair(
        case("GELU", gelu, draw(17, 6), gelu_gradient),
        instead("0.7979 for √(2/π)", lambda x: gelu_gradient(x, c=0.7979)),
        instead("0.0447 for 0.044715", lambda x: gelu_gradient(x, d=0.0447)),
    )
    yield case("product of all", np.prod, draw(18, 5) + 2, lambda x: np.prod(x) / x)
    yield case("a number", lambda x: x**3 - x, 1.5, lambda x: 3 * x**2 - 1)
    yield case(
        "Cauchy likelihood",
        lambda x: np.sum(np.log1p(x**2)),
        draw(19, 8),
        lambda x: 2 * x / (1 + x**2),
    )
    yield case("linear", lambda x: 3 * x[0] - 2 * x[1], a(0.4, 0.9), lambda x: a(3, -2))
    yield from pair(
        case(
            "outer differences",
            lambda x: np.sum(np.sin(x[:, None] - 2 * x[None, :])),
            draw(20, 4),
            lambda x: np.cos(x[:, None] - 2 * x).sum(1) - 2 * np.cos(x[:, None] - 2 * x).sum(0),
        ),
        instead("summed over the wrong axis", lambda x: -np.cos(x[:, None] - 2 * x).sum(0)),
    )


# Sizes of parameters


def scale() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any, **options: Any) -> Case:
        return Case("scale", name, loss, params, truth, **options)

    for s in (1e-30, 1e-8, 1e8, 1e30):
        yield from pair(
            case(
                f"sin and square of parameters of size {s:g}",
                lambda x, s=s: np.sum(np.sin(x / s) + (x / s) ** 2),
                s * a(0.7, -1.3, 2.1),
                lambda x, s=s: (np.cos(x / s) + 2 * x / s) / s,
            ),
            factor(1.01, "params", 1),
        )
    yield from pair(
        case(
            "1e-8, 1 and 1e8 in one leaf",
            lambda x: np.sum(np.log(x) ** 2),
            a(1e-8, 2, 1e8),
            lambda x: 2 * np.log(x) / x,
        ),
        factor(1.1, "params", 0),
        factor(0.9, "params", 2),
    )
    sizes = a(1e-8, 1, 1e8)
    yield from pair(
        case(
            "tanh of mixed sizes",
            lambda x: np.sum(np.tanh(x / sizes)),
            sizes * a(0.3, -0.6, 0.9),
            lambda x: 1 / np.cosh(x / sizes) ** 2 / sizes,
        ),
        factor(-1, "params", 1),
    )
    start = {"small": 1e-8 * draw(21, 3), "large": 1e8 * draw(22, 3)}
    yield from pair(
        case(
            "a small and a large leaf",
            lambda p: np.sum(np.cos(p["small"] * p["large"]) + p["small"] * 1e8),
            start,
            lambda p: {
                "small": 1e8 - np.sin(p["small"] * p["large"]) * p["large"],
                "large": -np.sin(p["small"] * p["large"]) * p["small"],
            },
        ),
        factor(1.05, "large"),
        factor(0, "large"),
    )
    yield from pair(
        case("tiny parameters, slow function", lambda x: np.sum(np.exp(x)), a(1e-8, -3e-8), np.exp),
        factor(0.9),
    )
    yield from pair(
        case(
            "a zero among entries of size 1e-8",
            lambda x: np.sum(np.sin(1e8 * x + 1)),
            a(1e-8, 0, -2e-8),
            lambda x: 1e8 * np.cos(1e8 * x + 1),
        ),
        factor(1.05, "params", 1),
    )
    yield from pair(
        case(
            "a small slope beside a large one",
            lambda x: 1e4 * x[0] ** 2 + 1e-2 * np.sin(x[1]),
            a(1.1, 0.4),
            lambda x: a(2e4 * x[0], 1e-2 * np.cos(x[1])),
        ),
        factor(1.05, "params", 1),
    )
    for s in (1e-8, 1e8):
        yield from pair(
            case(
                f"a loss of size {s:g}",
                lambda x, s=s: s * np.sum(np.sin(x)),
                a(0.5, 2.5),
                lambda x, s=s: s * np.cos(x),
            ),
            factor(1.001, "params", 0),
        )
    yield case(
        "a large parameter that hardly matters",
        lambda x: np.sum(np.log(x)),
        a(1e8, 3e12),
        lambda x: 1 / x,
    )
    yield case(
        "a radius in kilometres, an angle in micrometres",
        lambda x: x[0] * np.cos(x[1] * 1e6),
        a(6371.0, 0.7e-6),
        lambda x: a(np.cos(x[1] * 1e6), -1e6 * x[0] * np.sin(x[1] * 1e6)),
    )


def offset() -> Iterator[Case]:
    for size, by in ((1e3, 1 + 1e-6), (1e6, 1.0001), (1e9, 0.95), (1e12, 2)):
        yield from pair(
            Case(
                "offset",
                f"sin x + {size:g}",
                lambda x, size=size: np.sum(np.sin(x)) + size,
                a(0.6, -1.2),
                np.cos,
            ),
            factor(by),
        )
        yield Case(
            "offset",
            f"x² + {size:g}",
            lambda x, size=size: np.sum(x**2) + size,
            a(1.3, -0.6, 2.2),
            lambda x: 2 * x,
        )
    yield from pair(
        Case(
            "offset",
            "regression of samples around 1e6",
            lambda p, t, y: np.mean((p["slope"] * t + p["level"] - y) ** 2) + 1e5,
            {"slope": np.array(0.7), "level": np.array(3.0)},
            lambda p, t, y: {
                "slope": 2 * np.mean((p["slope"] * t + p["level"] - y) * t),
                "level": 2 * np.mean(p["slope"] * t + p["level"] - y),
            },
            (draw(23, 10), 2 + draw(24, 10)),
        ),
        factor(1.01, "level"),
    )
    yield Case(
        "offset",
        "a difference of large numbers",
        lambda x: np.sum((x + 1e7) ** 2 - x**2 - 1e14),
        a(0.5, 1.5),
        lambda x: np.full_like(x, 2e7),
    )


# Gradients that vanish


def zero() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any, *args: Any, **options: Any) -> Case:
        return Case("zero", name, loss, params, truth, args, **options)

    nothing = a(0.0, 0.0)
    yield from pair(
        case("x² at 0", lambda x: np.sum(x**2), nothing, lambda x: 2 * x), plus(1e-3, "params", 1)
    )
    yield from pair(
        case("x⁴ at 0", lambda x: np.sum(x**4), nothing, lambda x: 4 * x**3),
        plus(1e-2, "params", 0),
    )
    yield from pair(
        case("cos at 0", lambda x: np.sum(np.cos(x)), nothing, lambda x: -np.sin(x)),
        instead("the cosine", np.cos),
    )
    yield from pair(
        case("a constant", lambda x: 5.0 + 0 * np.sum(x), a(0.3, 2.0), np.zeros_like),
        plus(0.5, "params", 0),
    )
    start = {"used": a(0.4, 0.8), "unused": a(0.1, 0.2, 0.3)}
    yield from pair(
        case(
            "a leaf that is not used",
            lambda p: np.sum(np.exp(p["used"])),
            start,
            lambda p: {"used": np.exp(p["used"]), "unused": np.zeros(3)},
        ),
        plus(1e-3, "unused", 2),
    )
    yield from pair(
        case(
            "every second entry",
            lambda x: np.sum(np.sin(x[::2])),
            draw(25, 6),
            lambda x: np.where(np.arange(6) % 2, 0, np.cos(x)),
        ),
        rolled("params"),
    )
    X, y = draw(26, 20, 3), draw(27, 20)
    yield from pair(
        case(
            "next to the least squares",
            lambda w: np.mean((X @ w - y) ** 2) / 2,
            np.linalg.lstsq(X, y)[0] + 1e-3,
            lambda w: X.T @ (X @ w - y) / 20,
            move=about(np.linalg.lstsq(X, y)[0]),
        ),
        factor(-1),
    )
    yield from pair(
        case(
            "exp(−x²) far out",
            lambda x: np.exp(-np.sum(x**2)),
            a(8.0, 9.0),
            lambda x: -2 * x * np.exp(-np.sum(x**2)),
        ),
        factor(1.5, "params", 0),
    )
    yield from pair(
        case(
            "softplus of −40",
            lambda x: np.sum(np.log1p(np.exp(x))),
            a(-40.0, -35.0),
            lambda x: np.exp(x) / (1 + np.exp(x)),
        ),
        factor(2, "params", 0),
    )
    yield case(
        "a saturated sigmoid",
        lambda x: np.sum(1 / (1 + np.exp(-x))),
        a(40.0, 45.0),
        lambda x: np.exp(-x) / (1 + np.exp(-x)) ** 2,
        accepted=UNSEEN,
    )
    yield case(
        "terms that cancel",
        lambda x: np.sum(np.sin(x)) - np.sum(np.sin(x[::-1])),
        draw(28, 5),
        np.zeros_like,
    )
    yield case(
        "a softmax's shift",
        lambda p: np.log(np.sum(np.exp(LOGITS + p["shift"]))) - p["shift"],
        {"shift": np.array(0.7)},
        lambda p: {"shift": np.zeros(())},
    )
    yield case(
        "a scale-free loss",
        lambda w: (w[0] * w[1]) / (w[0] ** 2 + w[1] ** 2),
        a(0.6, 0.6),
        lambda w: a(w[1], -w[0]) * (w[1] ** 2 - w[0] ** 2) / (w[0] ** 2 + w[1] ** 2) ** 2,
        move=together,
    )


LOGITS = a(0.3, -0.2, 1.5)


def saddle() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any) -> Case:
        return Case("saddle", name, loss, params, truth)

    yield from pair(
        case("xy at 0", lambda x: x[0] * x[1], a(0, 0), lambda x: x[::-1].copy()),
        plus(1e-3, "params", 0),
    )
    yield from pair(
        case(
            "x² − y² at 0",
            lambda x: x[0] ** 2 - x[1] ** 2,
            a(0, 0),
            lambda x: a(2 * x[0], -2 * x[1]),
        ),
        instead("ones", np.ones_like),
    )

    def monkey(x: Any) -> Any:
        return x[0] ** 3 - 3 * x[0] * x[1] ** 2

    def monkey_gradient(x: Any) -> Any:
        return a(3 * x[0] ** 2 - 3 * x[1] ** 2, -6 * x[0] * x[1])

    yield case("monkey saddle at 0", monkey, a(0, 0), monkey_gradient)
    yield from pair(
        case("monkey saddle next to 0", monkey, a(1e-3, 2e-3), monkey_gradient),
        factor(-1, "params", 1),
    )
    yield from pair(
        case("x³ at 0", lambda x: np.sum(x**3), a(0), lambda x: 3 * x**2),
        plus(1e-2, "params", 0),
    )
    yield case(
        "next to a saddle",
        lambda x: 1 + x[0] * x[1],
        a(1e-6, -1e-6),
        lambda x: x[::-1].copy(),
    )
    yield from pair(
        case(
            "two linear layers at 0",
            lambda p: np.sum((p["W2"] @ p["W1"] - 1) ** 2),
            {"W1": np.zeros((2, 2)), "W2": np.zeros((2, 2))},
            lambda p: {
                "W1": 2 * p["W2"].T @ (p["W2"] @ p["W1"] - 1),
                "W2": 2 * (p["W2"] @ p["W1"] - 1) @ p["W1"].T,
            },
        ),
        plus(0.01, "W1", (0, 1)),
    )
    yield case(
        "sin x sin y at a saddle",
        lambda x: np.sin(x[0]) * np.sin(x[1]),
        a(0, 0),
        lambda x: a(np.cos(x[0]) * np.sin(x[1]), np.sin(x[0]) * np.cos(x[1])),
    )


# Fast functions


def oscillatory() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any) -> Case:
        return Case("oscillatory", name, loss, params, truth)

    for height, rate in ((1e-4, 1e4), (1e-3, 1e3), (1e-8, 1e5)):
        yield from pair(
            case(
                f"x² + {height:g} sin({rate:g} x)",
                lambda x, h=height, r=rate: np.sum(x**2 + h * np.sin(r * x)),
                a(0.7, -1.1),
                lambda x, h=height, r=rate: 2 * x + h * r * np.cos(r * x),
            ),
            instead("without its ripple", lambda x: 2 * x),
        )
    yield from pair(
        case(
            "sin(1000 x)",
            lambda x: np.sum(np.sin(1000 * x)),
            a(0.3, 1.7),
            lambda x: 1000 * np.cos(1000 * x),
        ),
        factor(1.01, "params", 1),
        factor(-1),
    )
    yield from pair(
        case(
            "a chirp",
            lambda x: np.sum(np.sin(x**2)),
            a(30.0, 47.0),
            lambda x: 2 * x * np.cos(x**2),
        ),
        factor(0.5),
    )
    yield from pair(
        case(
            "a damped wave",
            lambda x: np.sum(np.exp(-x) * np.sin(100 * x)),
            a(0.2, 1.9),
            lambda x: np.exp(-x) * (100 * np.cos(100 * x) - np.sin(100 * x)),
        ),
        instead("without the damping's part", lambda x: 100 * np.exp(-x) * np.cos(100 * x)),
    )
    yield from pair(
        case(
            "x sin(1/x) next to 0",
            lambda x: np.sum(x * np.sin(1 / x)),
            a(0.01, -0.013),
            lambda x: np.sin(1 / x) - np.cos(1 / x) / x,
        ),
        factor(1.02, "params", 0),
    )
    yield case(
        "waves of three lengths",
        lambda x: np.sum(np.sin(x) + 0.1 * np.sin(31 * x) + 0.01 * np.sin(997 * x)),
        a(0.4, 2.3, -1.6),
        lambda x: np.cos(x) + 3.1 * np.cos(31 * x) + 9.97 * np.cos(997 * x),
    )
    yield case(
        "a Rastrigin function",
        lambda x: np.sum(x**2 - 10 * np.cos(2 * np.pi * x)),
        draw(29, 6),
        lambda x: 2 * x + 20 * np.pi * np.sin(2 * np.pi * x),
    )
    yield case(
        "sin(2²⁰ x)",
        lambda x: np.sum(np.sin(2.0**20 * x)),
        a(0.5001),
        lambda x: 2.0**20 * np.cos(2.0**20 * x),
    )


def steep() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any) -> Case:
        return Case("steep", name, loss, params, truth)

    yield from pair(
        case(
            "exp(50 x)",
            lambda x: np.sum(np.exp(50 * x)),
            a(0.9, 1.1),
            lambda x: 50 * np.exp(50 * x),
        ),
        factor(1 + 1e-5, "params", 1),
    )
    yield from pair(
        case("1/x at 1e-6", lambda x: np.sum(1 / x), a(1e-6, -2e-6), lambda x: -1 / x**2),
        factor(1.001),
    )
    yield from pair(
        case("x²⁰", lambda x: np.sum(x**20), a(0.5, 1.5), lambda x: 20 * x**19),
        instead("20 x²⁰", lambda x: 20 * x**20),
    )
    yield from pair(
        case(
            "a sigmoid of 1000 x",
            lambda x: np.sum(sigmoid(1000 * x)),
            a(0.001, -0.002),
            lambda x: 1000 * sigmoid(1000 * x) * sigmoid(-1000 * x),
        ),
        factor(1.02, "params", 0),
    )
    yield from pair(
        case("tan next to π/2", lambda x: np.sum(np.tan(x)), a(1.57), lambda x: 1 / np.cos(x) ** 2),
        factor(0.99),
    )
    yield from pair(
        case(
            "exp(−1/x²) next to 0",
            lambda x: np.sum(np.exp(-1 / x**2)),
            a(0.05, 0.2),
            lambda x: 2 / x**3 * np.exp(-1 / x**2),
        ),
        factor(1.1, "params", 1),
    )
    yield from pair(
        case("x⁻¹²", lambda x: np.sum(x**-12.0), a(0.1, 0.3), lambda x: -12 * x**-13.0),
        factor(-1, "params", 1),
    )
    yield case(
        "cosh(30 x)", lambda x: np.sum(np.cosh(30 * x)), a(0.4), lambda x: 30 * np.sinh(30 * x)
    )
    yield case("2 ** (100 x)", lambda x: np.sum(2 ** (100 * x)), a(-0.3, 0.3),
               lambda x: 100 * np.log(2) * 2 ** (100 * x))  # fmt: skip
    yield case(
        "a narrow resonance",
        lambda x: np.sum(1 / ((x - 1) ** 2 + 1e-6)),
        a(1.0005),
        lambda x: -2 * (x - 1) / ((x - 1) ** 2 + 1e-6) ** 2,
    )
    yield Case(
        "steep",
        "1/(1 − x)³ next to 1",
        lambda x: np.sum((1 - x) ** -3.0),
        a(0.999),
        lambda x: 3 * (1 - x) ** -4.0,
        move=about(1.0),
    )


# Edges of domains


def refused_below(edge: float, loss: Any) -> Any:
    """Return a loss that raises an exception below an edge."""

    def guarded(x: Any) -> Any:
        if np.any(x < edge):
            raise ValueError(f"negative: {x}")
        return loss(x)

    return guarded


def nowhere_above(edge: float, loss: Any, value: float) -> Any:
    """Return a loss that is NaN or infinity above an edge."""
    return lambda x: value if np.any(x >= edge) else loss(x)


def edge() -> Iterator[Case]:
    def case(name: str, loss: Any, params: Any, truth: Any, **options: Any) -> Case:
        return Case("edge", name, quiet(loss), params, truth, **options)

    yield from pair(
        case("log at 1e-9", lambda x: np.sum(np.log(x)), a(1e-9, 2.0), lambda x: 1 / x),
        instead("1/(x + 1e-10)", lambda x: 1 / (x + 1e-10)),
    )
    yield from pair(
        case(
            "√ at 1e-12", lambda x: np.sum(np.sqrt(x)), a(1e-12, 3e-12), lambda x: 0.5 / np.sqrt(x)
        ),
        instead("without the half", lambda x: 1 / np.sqrt(x)),
    )
    yield case("log at 1e-30", lambda x: np.sum(np.log(x)), a(1e-30), lambda x: 1 / x)
    yield from pair(
        case(
            "arcsin at 1 − 1e-9",
            lambda x: np.sum(np.arcsin(x)),
            a(1 - 1e-9),
            lambda x: 1 / np.sqrt((1 - x) * (1 + x)),
            move=about(1.0),
        ),
        factor(1.1),
    )
    yield from pair(
        case(
            "arccos at −1 + 1e-6",
            lambda x: np.sum(np.arccos(x)),
            a(-1 + 1e-6),
            lambda x: -1 / np.sqrt((1 - x) * (1 + x)),
            move=about(-1.0),
        ),
        factor(-1),
    )
    yield from pair(
        case(
            "artanh at 1 − 1e-7",
            lambda x: np.sum(np.arctanh(x)),
            a(1 - 1e-7),
            lambda x: 1 / ((1 - x) * (1 + x)),
            move=about(1.0),
        ),
        factor(0.9),
    )
    yield from pair(
        case(
            "entropy with a tiny share",
            lambda x: -np.sum(x * np.log(x)),
            a(1e-12, 0.3, 0.6),
            lambda x: -np.log(x) - 1,
        ),
        instead("without its −1", lambda x: -np.log(x)),
    )
    yield from pair(
        case(
            "an exception below 0, at 0",
            refused_below(0.0, lambda x: np.sum(3 * x + x**2)),
            a(0.0, 1.0),
            lambda x: 3 + 2 * x,
            meant=lambda x: np.sum(3 * x + x**2),
        ),
        factor(0.9, "params", 0),
        factor(-1, "params", 0),
    )
    yield case(
        "an exception below 0, at 1e-9",
        refused_below(0.0, lambda x: np.sum(np.exp(x))),
        a(1e-9, 1.0),
        np.exp,
    )
    yield from pair(
        case(
            "NaN above 2, at 2 − 1e-8",
            nowhere_above(2.0, lambda x: np.sum(np.sin(x)), np.nan),
            a(2 - 1e-8, 0.5),
            np.cos,
            move=about(a(2.0, 0.0)),
        ),
        factor(1.05, "params", 0),
    )
    yield from pair(
        case(
            "a barrier of infinity, at 1e-6 from it",
            nowhere_above(1.0, lambda x: -np.sum(np.log(1 - x)), np.inf),
            a(1 - 1e-6),
            lambda x: 1 / (1 - x),
            move=about(1.0),
        ),
        factor(1.5),
    )
    yield from pair(
        case(
            "x² √x at 0, NaN below",
            lambda x: np.sum(x**2 * np.sqrt(x)),
            a(0.0),
            lambda x: 2.5 * x * np.sqrt(x),
            meant=lambda x: np.sum(x**2 * np.sqrt(abs(x))),
        ),
        plus(0.1, "params", 0),
    )
    yield from pair(
        case(
            "exp next to its overflow",
            lambda x: np.sum(np.exp(x)),
            a(709.7),
            np.exp,
            move=lambda params, rng, by: params - by * rng.random(1),
        ),
        factor(0.9),
    )
    yield case(
        "a logit of 1e-10",
        lambda x: np.sum(np.log(x / (1 - x))),
        a(1e-10, 0.5),
        lambda x: 1 / (x * (1 - x)),
    )
    yield case(
        "x ** x at 1e-6",
        lambda x: np.sum(x**x),
        a(1e-6, 0.9),
        lambda x: x**x * (np.log(x) + 1),
    )
    yield case(
        "arcosh at 1 + 1e-8",
        lambda x: np.sum(np.arccosh(x)),
        a(1 + 1e-8),
        lambda x: 1 / np.sqrt((x - 1) * (x + 1)),
        move=about(1.0),
    )


def quiet(loss: Any) -> Any:
    """Return a loss that computes NaN and infinity without a warning."""

    def silent(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return loss(x)

    return silent


CASES = [
    case
    for kind in (smooth, scale, offset, zero, saddle, oscillatory, steep, edge)
    for case in kind()
]
