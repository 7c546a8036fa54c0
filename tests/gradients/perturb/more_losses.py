"""Losses for `test_rarer_ways`, which take the rarer ways of the engine.

Each is small, and named after its special feature: a series that meets another operation, a value
that no perturbation changes after all, an operation without a rule.
"""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
from test_what_changes import Case

RNG = np.random.default_rng(1)
X, Y = RNG.normal(size=(12, 3)), RNG.normal(size=(12, 4))
LAYERS = [RNG.normal(size=shape) for shape in ((3, 5), (5, 4), (4, 2))]
SQUARE, WEIGHTS, BIAS = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=4)
CUBE = RNG.normal(size=(5, 2, 3))


def hidden(p: Any, x: Any) -> Any:
    """Compute two layers: in the second, the change of a weight of the first is a series."""
    return np.tanh(x @ p[0]) @ p[1]


def stable_sigmoid(z: Any) -> Any:
    e = np.exp(np.where(z >= 0, -z, z))
    return np.where(z >= 0, 1.0, e) / (1.0 + e)


def swapped_sigmoid(z: Any) -> Any:
    return 1 / (np.exp(-z) + 1)


def near_sigmoid(z: Any) -> Any:
    """Compute a function with the parts of a sigmoid in other places."""
    return 2 / (1 + np.exp(-z)) + 1 / (2 + np.exp(-z)) + 1 / (1 + np.exp(z))


BEHIND: dict[str, Any] = {
    "a product": lambda h: np.sum((np.tanh(h) @ LAYERS[2]) ** 2),
    "a product with each row": lambda h: np.sum(h * Y),
    "a product of linear layers": lambda h: np.sum((h * 2 - 1) @ LAYERS[2] @ np.ones((2, 3))),
    "a product from the left": lambda h: np.sum((np.ones((2, 12)) @ np.tanh(h)) ** 2),
    "a product with a vector": lambda h: np.sum(np.tanh(h) @ np.arange(4.0)),
    "a reversal": lambda h: np.sum(np.tanh(h)[:, ::-1] * Y),
    "a reversal, squared": lambda h: np.sum(h[:, ::-1] ** 2),
    "every second column": lambda h: np.sum(np.exp(h)[:, ::2]),
    "a transposition": lambda h: np.sum(np.exp(h.T)),
    "a mean of columns": lambda h: np.sum(np.mean(np.tanh(h), axis=1) ** 2),
    "a sum that keeps its axis": lambda h: np.sum(h / np.sum(h**2, axis=1, keepdims=True)),
    "autograd's mean of columns": lambda h: np.sum(anp.mean(np.tanh(h), axis=1) ** 2),
    "autograd's mean of a series": lambda h: np.sum(anp.mean(h, axis=1) ** 2),
    "autograd's mean of all": lambda h: anp.mean(np.tanh(h)),
    "a mean of rows": lambda h: np.sum(np.mean(h, axis=0) ** 2),
    "the largest of columns": lambda h: np.sum(np.max(h, axis=1)),
    "a leaky relu": lambda h: np.sum(np.where(h > 0, h, 0.125 * h) * Y),
    "a relu with a bound": lambda h: np.sum(np.minimum(np.maximum(h, 0.0), 1.0)),
    "a relu of two layers": lambda h: np.sum(np.maximum(h, h * 0.5)),
    "a mask": lambda h: np.sum(np.where(Y > 0, h, 0.0)),
    "a mask of its own": lambda h: np.sum((h > 0) * 2.0) + np.sum(h),
    "a negative": lambda h: np.sum(np.exp(-h)),
    "a difference from data": lambda h: np.mean((Y - h) ** 2),
    "a difference to data": lambda h: np.mean((h - Y) ** 2),
    "a quotient": lambda h: np.sum(1 / (2 + h**2)),
    "a quotient of layers": lambda h: np.sum(h / (2 + np.tanh(h))),
    "a square root": lambda h: np.sum(np.sqrt(1 + h**2)),
    "a power": lambda h: np.sum(h**3),
    "an exponential, twice": lambda h: np.sum(np.exp(-np.exp(h))),
    "a logarithm of softmax": lambda h: np.sum(h - np.log(np.exp(h).sum(1, keepdims=True))),
    "a sigmoid": lambda h: np.sum(1 / (1 + np.exp(-h)) * Y),
    "a swapped sigmoid": lambda h: np.sum(swapped_sigmoid(h) * Y),
    "a stable sigmoid": lambda h: np.sum(stable_sigmoid(h) * Y),
    "what is nearly a sigmoid": lambda h: np.sum(near_sigmoid(h)),
}

LOSSES: dict[str, Case] = {
    f"{name}, behind {'two layers' if leaf == 0 else 'its own layer'}": Case(
        lambda p, x, loss=loss: loss(hidden(p, x)), LAYERS[:2], (X,), leaf
    )
    for name, loss in BEHIND.items()
    for leaf in (0, 1)
}
LOSSES |= {
    "a layer that is used before and after": Case(
        lambda w, x: np.sum(np.tanh(x @ w) @ w * (x @ w)), SQUARE, (X,)
    ),
    "a weight that is used three times": Case(
        lambda w, x: np.sum(np.tanh(np.tanh(np.tanh(x @ w) @ w) @ w)), SQUARE, (X,)
    ),
    "rows of a weight that is used twice": Case(
        lambda w, x: np.sum((np.tanh(x @ w) @ w).sum(axis=0) ** 2), SQUARE, (X,)
    ),
    "steps": Case(lambda w, x: np.sum((x @ w > 0) * 2.0) + np.sum(x @ w), SQUARE, (X,)),
    "a product of steps": Case(
        lambda w, x: np.sum(((x @ w > 0) * 1.0) @ SQUARE) + np.sum(w), SQUARE, (X,)
    ),
    "columns of steps": Case(
        lambda w, x: np.sum(((x @ w > 0) * 1.0)[:, ::-1] * 3.0) + np.sum(w), SQUARE, (X,)
    ),
    "einsum": Case(lambda w, x: np.sum(np.einsum("ij,jk->ki", x, w) ** 2), SQUARE, (X,)),
    "einsum of letters in another order": Case(
        lambda w, x: np.sum(np.einsum("zb, ba -> az", x, w) ** 2), SQUARE, (X,)
    ),
    "einsum without an arrow": Case(
        lambda w, x: np.sum(np.einsum("ij,jk", x, w) ** 2), SQUARE, (X,)
    ),
    "einsum of a diagonal": Case(
        lambda w, x: np.sum(np.einsum("ii,jk->jk", w, x) ** 2), SQUARE, (X,)
    ),
    "einsum of two layers": Case(
        lambda w, x: np.sum(np.einsum("ij,jk->ik", np.tanh(np.einsum("ij,jk->ik", x, w)), w) ** 2),
        SQUARE, (X,),
    ),
    "einsum of an outer product": Case(
        lambda w, x: np.sum(np.einsum("i,j->ij", x[0], w) ** 2), BIAS, (X,)
    ),
    "einsum of three axes": Case(
        lambda w, x: np.sum(np.tanh(np.einsum("ijk,lk->ijl", w, x))), CUBE, (X,)
    ),
    "the largest of rows, transposed": Case(
        lambda w, x: np.sum(np.max(w.T @ x.T, axis=1) ** 2), SQUARE, (X,)
    ),
    "a product with a number": Case(lambda w: np.sum(np.dot(2.0, w) ** 2), BIAS),
    "a total times an entry": Case(
        lambda w, x: np.sum(np.tanh(x @ w)) * w[0, 0], SQUARE, (X,)
    ),
    "a total times a number": Case(lambda w, x: np.tanh(np.sum(x @ w)) ** 2 / 3, SQUARE, (X,)),
    "two totals": Case(
        lambda w, x: np.sum(np.tanh(x @ w)) / (9 + np.sum((x @ w) ** 2)), SQUARE, (X,)
    ),
    "three axes": Case(lambda w, x: np.sum(np.tanh(w @ x.T)), CUBE, (X,)),
    "a matrix and a vector": Case(lambda w, x: np.sum(np.tanh(x @ w)), SQUARE[0], (X,)),
    "a vector and a matrix": Case(lambda w, x: np.sum(np.tanh(w @ x.T)), SQUARE[0], (X,)),
    "a rearrangement": Case(
        lambda w, x: np.sum(np.exp((x @ w).reshape(12, 2, 2).transpose(0, 2, 1)) * np.arange(2.0)),
        WEIGHTS, (X,),
    ),
    "entries that occur twice": Case(lambda w: np.sum(np.exp(w[np.array([0, 0, 1])])), BIAS),
    "entries beside their sum": Case(lambda w: np.sum(w / np.sum(w**2)), BIAS),
    "entries of two parts": Case(lambda w: np.sum(np.exp(w[:2] * w[2:])), BIAS),
    "no effect at all": Case(lambda p, x: np.sum(x @ p[0]), [SQUARE, BIAS], (X,), 1),
}  # fmt: skip

REFUSED: dict[str, Case] = {
    "einsum of three factors": Case(
        lambda w, x: np.sum(np.einsum("ij,jk,kl->il", x, w, w)), SQUARE, (X,)
    ),
    "an index that depends on the parameters": Case(
        lambda w: np.sum(w[np.argsort(w)] * np.arange(4.0)), BIAS
    ),
    "a single number": Case(lambda w: np.sum(np.sort(w) ** 2), BIAS),
}  # fmt: skip
