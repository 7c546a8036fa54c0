"""Layers of networks: backward passes that are written by hand, with typical mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np

from corpus.case import draw, factor, instead, plus, swapped, transposed
from corpus.outputs import VectorCase, family, of_direction, of_leaf

KIND = "layers"


def dense(p: Any) -> Any:
    return np.tanh(p["x"] @ p["w"] + p["b"])


def dense_vjp(p: Any, u: Any) -> Any:
    d = u * (1 - dense(p) ** 2)
    return {"x": d @ p["w"].T, "w": p["x"].T @ d, "b": d.sum(axis=0)}


def dense_before_activation(p: Any, u: Any) -> Any:
    return {"x": u @ p["w"].T, "w": p["x"].T @ u, "b": u.sum(axis=0)}


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x.real, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_vjp(x: Any, u: Any) -> Any:
    y = softmax(x)
    return y * (u - (u * y).sum(axis=-1, keepdims=True))


def log_softmax(x: Any) -> Any:
    return np.log(softmax(x))


def log_softmax_vjp(x: Any, u: Any) -> Any:
    return u - softmax(x) * u.sum(axis=-1, keepdims=True)


def normal(x: Any, axis: int) -> tuple[Any, Any]:
    centred = x - x.mean(axis=axis, keepdims=True)
    scale = np.sqrt((centred**2).mean(axis=axis, keepdims=True) + 1e-5)
    return centred / scale, scale


def norm_layer(axis: int) -> tuple[Any, Any]:
    """Return layer norm (axis 1) or batch norm (axis 0), and its VJP."""

    def f(p: Any) -> Any:
        return p["gamma"] * normal(p["x"], axis)[0] + p["beta"]

    def vjp(p: Any, u: Any) -> Any:
        y, scale = normal(p["x"], axis)
        d = u * p["gamma"]
        mean = {"axis": axis, "keepdims": True}
        dx = (d - d.mean(**mean) - y * (d * y).mean(**mean)) / scale
        return {"x": dx, "gamma": (u * y).sum(axis=0), "beta": u.sum(axis=0)}

    return f, vjp


LAYER_NORM, BATCH_NORM = norm_layer(1), norm_layer(0)


def without_path(axis: int, path: str) -> Any:
    """Return a norm layer's VJP that treats mean, or variance, as a constant."""

    def vjp(p: Any, u: Any) -> Any:
        y, scale = normal(p["x"], axis)
        d = u * p["gamma"]
        mean = {"axis": axis, "keepdims": True}
        dx = d - (0 if path == "mean" else d.mean(**mean))
        dx = (dx - (0 if path == "variance" else y * (d * y).mean(**mean))) / scale
        return {"x": dx, "gamma": (u * y).sum(axis=0), "beta": u.sum(axis=0)}

    return vjp


def rms(x: Any) -> Any:
    return np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-6)


def rms_norm(x: Any) -> Any:
    return x / rms(x)


def rms_norm_vjp(x: Any, u: Any) -> Any:
    scale = rms(x)
    return u / scale - x * (u * x).mean(axis=-1, keepdims=True) / scale**3


def windows(n: int, k: int) -> Any:
    return np.arange(n - k + 1)[:, None] + np.arange(k)


def conv1d(p: Any) -> Any:
    return p["x"][:, windows(p["x"].shape[1], 3)] @ p["k"]


def conv1d_vjp(p: Any, u: Any) -> Any:
    at = windows(p["x"].shape[1], 3)
    dx = np.zeros(p["x"].shape)
    np.add.at(dx, (slice(None), at), u[..., None] * p["k"])
    return {"x": dx, "k": np.einsum("bi,bik->k", u, p["x"][:, at])}


def conv1d_assigned(p: Any, u: Any) -> Any:
    dx = np.zeros(p["x"].shape)
    dx[:, windows(p["x"].shape[1], 3)] = u[..., None] * p["k"]
    return {**conv1d_vjp(p, u), "x": dx}


def conv2d(p: Any) -> Any:
    x, k = p["x"], p["k"]
    out = np.zeros((x.shape[0] - 1, x.shape[1] - 1), np.result_type(x, k))
    for i in range(2):
        for j in range(2):
            out = out + k[i, j] * x[i : i + out.shape[0], j : j + out.shape[1]]
    return out


def conv2d_vjp(p: Any, u: Any) -> Any:
    x, k = p["x"], p["k"]
    dx, dk = np.zeros(x.shape), np.zeros(k.shape)
    m, n = u.shape
    for i in range(2):
        for j in range(2):
            dx[i : i + m, j : j + n] += k[i, j] * u
            dk[i, j] = np.sum(u * x[i : i + m, j : j + n])
    return {"x": dx, "k": dk}


def max_pool(x: Any) -> Any:
    pairs = x.reshape(len(x), -1, 2)
    return np.take_along_axis(pairs, np.argmax(pairs.real, axis=2)[..., None], axis=2)[..., 0]


def max_pool_vjp(x: Any, u: Any) -> Any:
    pairs = x.reshape(len(x), -1, 2)
    return (u[..., None] * (pairs == pairs.max(axis=2, keepdims=True))).reshape(x.shape)


def mean_pool(x: Any) -> Any:
    return x.reshape(len(x), -1, 2).mean(axis=2)


def mean_pool_vjp(x: Any, u: Any) -> Any:
    return np.repeat(u / 2, 2, axis=1)


def attention(p: Any) -> Any:
    return softmax(p["q"] @ p["k"].T / np.sqrt(p["q"].shape[1])) @ p["v"]


def attention_vjp(p: Any, u: Any) -> Any:
    root = np.sqrt(p["q"].shape[1])
    a = softmax(p["q"] @ p["k"].T / root)
    d = u @ p["v"].T
    d = a * (d - (d * a).sum(axis=1, keepdims=True)) / root
    return {"q": d @ p["k"], "k": d.T @ p["q"], "v": a.T @ u}


def attention_unscaled(p: Any, u: Any) -> Any:
    found = attention_vjp(p, u)
    root = np.sqrt(p["q"].shape[1])
    return {"q": found["q"] * root, "k": found["k"] * root, "v": found["v"]}


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def lstm(p: Any) -> Any:
    i, f, o, g = np.split(p["x"] @ p["w"], 4, axis=1)
    c = sigmoid(f) * p["c"] + sigmoid(i) * np.tanh(g)
    return {"h": sigmoid(o) * np.tanh(c), "c": c}


def lstm_vjp(p: Any, u: Any, missing: str = "") -> Any:
    i, f, o, g = np.split(p["x"] @ p["w"], 4, axis=1)
    i, f, o, g = sigmoid(i), sigmoid(f), sigmoid(o), np.tanh(g)
    t = np.tanh(f * p["c"] + i * g)
    dc = u["h"] * o * (1 - t**2) + (0 if missing == "c" else u["c"])
    d = np.hstack(
        [
            dc * g * i * (1 - i),
            dc * p["c"] * f * (1 if missing == "f" else 1 - f),
            u["h"] * t * o * (1 - o),
            dc * i * (1 - g**2),
        ]
    )
    return {"x": d @ p["w"].T, "w": p["x"].T @ d, "c": dc * f}


INDEX = np.array([2, 0, 2, 1, 2])


def embedding(table: Any) -> Any:
    return table[INDEX] ** 2


def embedding_vjp(table: Any, u: Any) -> Any:
    found = np.zeros(table.shape)
    np.add.at(found, INDEX, 2 * table[INDEX] * u)
    return found


def embedding_assigned(table: Any, u: Any) -> Any:
    found = np.zeros(table.shape)
    found[INDEX] += 2 * table[INDEX] * u  # a repeated index counts once
    return found


def recurrent(p: Any) -> Any:
    h = p["h"]
    states = []
    for _ in range(3):
        h = np.tanh(p["w"] @ h)
        states.append(h)
    return np.array(states)


def recurrent_vjp(p: Any, u: Any, steps: int = 3) -> Any:
    states = [p["h"], *recurrent(p)]
    d, dw = np.zeros(len(p["h"])), np.zeros(p["w"].shape)
    for step in range(2, 2 - steps, -1):
        inner = (d + u[step]) * (1 - states[step + 1] ** 2)
        dw += np.outer(inner, states[step])
        d = p["w"].T @ inner
    return {"h": d, "w": dw}


def residual(p: Any) -> Any:
    return p["x"] + sigmoid(p["x"] @ p["w"])


def residual_vjp(p: Any, u: Any) -> Any:
    s = sigmoid(p["x"] @ p["w"])
    d = u * s * (1 - s)
    return {"x": u + d @ p["w"].T, "w": p["x"].T @ d}


def residual_without_skip(p: Any, u: Any) -> Any:
    found = residual_vjp(p, u)
    return {**found, "x": found["x"] - u}


def bilinear(p: Any) -> Any:
    return np.einsum("bi,oij,bj->bo", p["x"], p["w"], p["y"])


def bilinear_vjp(p: Any, u: Any) -> Any:
    return {
        "x": np.einsum("bo,oij,bj->bi", u, p["w"], p["y"]),
        "w": np.einsum("bo,bi,bj->oij", u, p["x"], p["y"]),
        "y": np.einsum("bo,oij,bi->bj", u, p["w"], p["x"]),
    }


def leaky(x: Any) -> Any:
    return np.where(x.real > 0, x, 0.1 * x)


def leaky_vjp(x: Any, u: Any) -> Any:
    return u * np.where(x > 0, 1, 0.1)


MASK = np.array([[1.0, 0, 1], [0, 1, 1]]) / 0.75


def dropout(x: Any) -> Any:
    return x * MASK


def dropout_vjp(x: Any, u: Any) -> Any:
    return u * MASK


P = {"x": draw(1, 3, 4), "w": draw(2, 4, 2), "b": draw(3, 2)}
NORM = {"x": draw(4, 4, 3), "gamma": 1 + draw(5, 3, scale=0.2), "beta": draw(6, 3)}
CONV = {"x": draw(7, 2, 6), "k": draw(8, 3)}
IMAGE = {"x": draw(9, 3, 4), "k": draw(10, 2, 2)}
QKV = {"q": draw(11, 3, 2), "k": draw(12, 4, 2), "v": draw(13, 4, 2)}
LSTM = {"x": draw(14, 2, 2), "w": draw(15, 2, 8), "c": draw(16, 2, 2)}
RNN = {"h": draw(17, 3), "w": draw(18, 3, 3, scale=0.7)}
SKIP = {"x": draw(19, 2, 3), "w": draw(20, 3, 3)}
BILINEAR = {"x": draw(21, 2, 2), "w": draw(22, 2, 2, 2), "y": draw(23, 2, 2)}
ROWS = draw(24, 2, 4)

CASES: list[VectorCase] = [
    *family(
        KIND, "a dense layer", dense, P, "vjp", dense_vjp,
        factor(0.25, "b"), factor(-1, "x"), plus(1e-3, "w", (1, 1)),
        instead("the derivative of tanh is missing", dense_before_activation),
        of_leaf("b", "the first sample alone, spread", lambda g: g * 0 + g[0]),
        of_direction("only positive cotangents pass", lambda u: np.maximum(u, 0)),
    ),
    *family(
        KIND, "softmax", softmax, ROWS, "vjp", softmax_vjp,
        instead("the diagonal alone", lambda x, u: softmax(x) * (1 - softmax(x)) * u),
        instead("the sum is missing", lambda x, u: softmax(x) * u),
        of_leaf("params", "mean for sum", lambda g: g / 4),
    ),
    *family(
        KIND, "log softmax", log_softmax, ROWS, "vjp", log_softmax_vjp,
        instead("the sum of cotangents is missing", lambda x, u: u - softmax(x)),
        instead("of softmax", softmax_vjp),
    ),
    *family(
        KIND, "layer norm", *(LAYER_NORM[0], NORM), "vjp", LAYER_NORM[1],
        instead("the mean is a constant", without_path(1, "mean")),
        instead("the variance is a constant", without_path(1, "variance")),
        swapped("gamma", "beta"),
    ),
    *family(
        KIND, "batch norm", BATCH_NORM[0], NORM, "vjp", BATCH_NORM[1],
        instead("the mean is a constant", without_path(0, "mean")),
        instead("the variance is a constant", without_path(0, "variance")),
        factor(0.25, "beta"),
    ),
    *family(
        KIND, "RMS norm", rms_norm, ROWS, "vjp", rms_norm_vjp,
        factor(1.001),
        instead("the scale is a constant", lambda x, u: u / rms(x)),
    ),
    *family(
        KIND, "a convolution of signals", conv1d, CONV, "vjp", conv1d_vjp,
        instead("overlaps are assigned", conv1d_assigned),
        of_leaf("k", "flipped", np.flip), plus(1e-4, "x", (1, 3)),
    ),
    *family(
        KIND, "a convolution of images", conv2d, IMAGE, "vjp", conv2d_vjp,
        transposed("k"), of_leaf("k", "flipped", np.flip), factor(0, "x", (0, 0)),
    ),
    *family(
        KIND, "max pooling", max_pool, ROWS, "vjp", max_pool_vjp,
        instead("spread evenly", mean_pool_vjp),
        of_leaf("params", "reversed", lambda g: g[:, ::-1]),
    ),
    *family(
        KIND, "mean pooling", mean_pool, ROWS, "vjp", mean_pool_vjp,
        factor(2), instead("of max pooling", max_pool_vjp),
    ),
    *family(
        KIND, "attention", attention, QKV, "vjp", attention_vjp,
        instead("unscaled", attention_unscaled), swapped("k", "v"), factor(0, "q"),
    ),
    *family(
        KIND, "a step of an LSTM", lstm, LSTM, "vjp", lstm_vjp,
        instead("the cell's cotangent is missing", lambda p, u: lstm_vjp(p, u, "c")),
        instead("the gate's derivative is missing", lambda p, u: lstm_vjp(p, u, "f")),
        factor(-1, "w", (slice(None), 5)),
    ),
    *family(
        KIND, "an embedding", embedding, draw(25, 3, 2), "vjp", embedding_vjp,
        instead("repeated indices are assigned", embedding_assigned), factor(0.5),
    ),
    *family(
        KIND, "a recurrent network", recurrent, RNN, "vjp", recurrent_vjp,
        instead("cut off after two steps", lambda p, u: recurrent_vjp(p, u, 2)), transposed("w"),
    ),
    *family(
        KIND, "a residual block", residual, SKIP, "vjp", residual_vjp,
        instead("without the skip", residual_without_skip), transposed("w"),
    ),
    *family(
        KIND, "a bilinear layer", bilinear, BILINEAR, "vjp", bilinear_vjp,
        of_leaf("w", "transposed in each output", lambda g: g.swapaxes(1, 2)), swapped("x", "y"),
    ),
    *family(
        KIND, "leaky relu", leaky, ROWS, "vjp", leaky_vjp,
        instead("of relu", lambda x, u: u * (x > 0)),
        instead("by the cotangent's sign", lambda x, u: u * np.where(u > 0, 1, 0.1)),
    ),
    *family(
        KIND, "dropout", dropout, draw(26, 2, 3), "vjp", dropout_vjp,
        instead("without the mask", lambda x, u: u / 0.75),
        instead("not rescaled", lambda x, u: u * (MASK > 0)),
    ),
]  # fmt: skip
