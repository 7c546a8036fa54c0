"""Losses made of random steps, and their gradients by eager autograd."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from hypothesis import assume
from hypothesis import strategies as st

from gradlab import Tape, network
from gradlab.gradients.autograd import Autograd
from gradlab.program.ir import Node

Step = tuple[str, int, int]


def fits(*arrays: Any) -> bool:
    try:
        return np.size(np.empty(np.broadcast_shapes(*map(np.shape, arrays)))) <= 64
    except ValueError:
        return False


def small(x: Any) -> Any:
    return anp.tanh(x)


UNARY: dict[str, Callable[[Any], Any]] = {
    "exp": lambda a: anp.exp(small(a)),
    "log": lambda a: anp.log(1.5 + small(a)),
    "sqrt": lambda a: anp.sqrt(1.5 + small(a)),
    "tanh": anp.tanh,
    "sin": anp.sin,
    "cos": anp.cos,
    "negative": lambda a: -a,
    "square": anp.square,
    "power 2": lambda a: small(a) ** 2,
    "power 3": lambda a: small(a) ** 3,
    "power -1": lambda a: (1.5 + small(a)) ** -1,
    "power 0.5": lambda a: (1.5 + small(a)) ** 0.5,
    "power -2.0": lambda a: (1.5 + small(a)) ** -2.0,
    "reciprocal": lambda a: 1 / (1.5 + small(a)),
    "scale": lambda a: -2.5 * a,
    "shift": lambda a: 1 - a,
    "sigmoid": lambda a: 1 / (1 + anp.exp(-a)),
    "sum": anp.sum,
    "sum 0": lambda a: anp.sum(a, axis=0) if anp.ndim(a) else a,
    "sum -1": lambda a: anp.sum(a, axis=-1, keepdims=True) if anp.ndim(a) else a,
    "mean": anp.mean,
    "mean 0": lambda a: anp.mean(a, axis=0, keepdims=True) if anp.ndim(a) else a,
    "var": lambda a: anp.var(a, axis=0) if anp.ndim(a) else a,
    "std": lambda a: anp.std(a + anp.arange(a.size).reshape(a.shape)) if a.size > 1 else a,
    "prod": lambda a: anp.prod(1.5 + small(a)),
    "cumsum": lambda a: anp.cumsum(a, axis=0) if anp.ndim(a) else a,
    "transpose": lambda a: a.T,
    "ravel": anp.ravel,
    "reshape": lambda a: anp.reshape(a, (1, -1)),
    "swapaxes": lambda a: anp.swapaxes(a, 0, -1) if anp.ndim(a) else a,
    "expand": lambda a: a[..., None],
    "squeeze": anp.squeeze,
    "row": lambda a: a[0] if anp.ndim(a) else a,
    "slice": lambda a: a[::2] if anp.ndim(a) else a,
    "backwards": lambda a: a[::-1] if anp.ndim(a) else a,
    "last": lambda a: a[..., -1] if anp.ndim(a) else a,
    "twice": lambda a: a[np.array([0, -1, 0])] if anp.ndim(a) else a,
    "flip": lambda a: anp.flipud(a) if anp.ndim(a) else a,
    "roll": lambda a: anp.roll(a, 1, axis=0) if anp.ndim(a) else a,
    "tile": lambda a: anp.tile(a, 2) if anp.ndim(a) == 1 else a,
    "repeat": lambda a: anp.repeat(a, 2, axis=0) if anp.ndim(a) else a,
    "astype": lambda a: a.astype(np.float64),
    "gram": lambda a: anp.dot(a, a.T) if anp.ndim(a) == 2 else a,
    "einsum": lambda a: anp.einsum("ij,kj->ik", a, a) if anp.ndim(a) == 2 else a,
    "solve": lambda a: (
        anp.linalg.solve(anp.dot(a, a.T) + 3 * np.eye(len(a)), a) if anp.ndim(a) == 2 else a
    ),
    "slogdet": lambda a: (
        anp.linalg.slogdet(anp.dot(a, a.T) + 3 * np.eye(len(a)))[1] if anp.ndim(a) == 2 else a
    ),
    "cholesky": lambda a: (
        anp.linalg.cholesky(anp.dot(a, a.T) + 3 * np.eye(len(a))) if anp.ndim(a) == 2 else a
    ),
    "network.softmax": lambda a: network.softmax(a) if anp.ndim(a) else a,
    "network.log_softmax": lambda a: network.log_softmax(a) if anp.ndim(a) else a,
}


KINKED: dict[str, Callable[[Any], Any]] = {
    "abs": anp.abs,
    "relu": lambda a: anp.maximum(a, 0.0),
    "where": lambda a: anp.where(a > 0, a, 0.0),
    "where sign": lambda a: anp.where(a >= 0, -a, a),
    "where both": lambda a: anp.where(a > 0, anp.exp(small(a)), 0.5 * a),
    "max": lambda a: anp.max(a, axis=-1, keepdims=True) if anp.ndim(a) else a,
    "min": anp.min,
    "clip": lambda a: anp.clip(a, -0.5, 0.5),
    "network.sigmoid": network.sigmoid,
    "network.relu": network.relu,
    "network.elu": network.elu,
    "network.softplus": network.softplus,
}


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b if fits(a, b) else a,
    "subtract": lambda a, b: a - b if fits(a, b) else a,
    "multiply": lambda a, b: a * b if fits(a, b) else a,
    "divide": lambda a, b: a / (1.5 + small(b)) if fits(a, b) else a,
    "arctan2": lambda a, b: anp.arctan2(a, 2.0 + small(b)) if fits(a, b) else a,
    "logaddexp": lambda a, b: anp.logaddexp(a, b) if fits(a, b) else a,
    "dot": lambda a, b: anp.dot(a, b) if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] else a,
    "matmul": lambda a, b: a @ b if a.ndim == b.ndim == 2 and a.shape[1] == b.shape[0] else a,
    "matvec": lambda a, b: a @ b if a.ndim == 2 and b.shape == a.shape[1:] else a,
    "outer": lambda a, b: anp.outer(a, b) if a.ndim == b.ndim == 1 and fits(a[:, None], b) else a,
    "concatenate": lambda a, b: (
        anp.concatenate([a, b], axis=-1) if a.ndim == 1 and b.ndim == 1 and a.size < 9 else a
    ),
    "stack": lambda a, b: anp.stack([a, b]) if a.shape == b.shape and a.size <= 16 else a,
    "tensordot": lambda a, b: (
        anp.tensordot(a, b, axes=1) if a.ndim and b.ndim and a.shape[-1] == b.shape[0] else a
    ),
}


KINKED_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "maximum": lambda a, b: anp.maximum(a, b) if fits(a, b) else a,
    "minimum": lambda a, b: anp.minimum(a, b) if fits(a, b) else a,
    "where greater": lambda a, b: anp.where(a > b, a + 0 * b, 2 * b + 0 * a) if fits(a, b) else a,
    "mask": lambda a, b: a * (b > 0) if fits(a, b) else a,
}


ALL = {**UNARY, **KINKED, **BINARY, **KINKED_BINARY}


def evaluate(steps: list[Step], params: Any, x: Any, counts: Any, flags: Any) -> Any:
    """Run the steps on a growing list of values, and return their sum."""
    pile = [*params.values(), x, params["W"] * x, params["b"] * counts, params["W"] + flags]
    labels = counts % 3
    pile += [params["W"][labels, counts % 4], params["W"].T[:, labels]]
    for name, i, j in steps:
        a, b = pile[-1 - i % len(pile)], pile[-1 - j % len(pile)]
        result = ALL[name](a) if name in UNARY or name in KINKED else ALL[name](a, b)
        if anp.size(result) <= 64 and anp.ndim(result) <= 3:
            pile.append(result)
    total = 0.0
    for weight, value in enumerate(pile, start=1):
        total = total + anp.sum(anp.sin(value * (1 / weight)))
    return total


def steps_from(names: Any) -> Any:
    number = st.integers(0, 30)
    return st.lists(st.tuples(st.sampled_from(sorted(names)), number, number), max_size=10)


def point(dtype: Any, seed: int) -> tuple[Any, ...]:
    """Return parameters and data in general position."""
    rng = np.random.default_rng(seed)
    params = {
        "W": rng.standard_normal((3, 4)).astype(dtype),
        "b": rng.standard_normal(4).astype(dtype),
        "c": rng.standard_normal((3, 1)).astype(dtype),
        "s": np.array(rng.standard_normal(), dtype),
    }
    x = rng.standard_normal((3, 4)).astype(dtype)
    return params, x, rng.integers(0, 5, 4), rng.random((3, 4)) > 0.5


def inputs_of(args: tuple[Any, ...]) -> list[Any]:
    params, *data = args
    return [*params.values(), *data]


def eager(loss: Any, args: tuple[Any, ...]) -> tuple[float, list[Any]]:
    value, grads = Autograd().value_and_grad(loss)(*args)
    return value, list(grads.values())


def assume_differentiable(loss: Any, args: tuple[Any, ...]) -> None:
    """Reject programs that autograd lacks rules for, such as indexing a number with ``...``."""
    try:
        eager(loss, args)
    except TypeError:
        assume(False)


def same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=True)


dtypes = st.sampled_from([np.float32, np.float64])


def input_node(shape: tuple[int, ...] = (3,), dtype: Any = float, name: str = "x") -> Node:
    return Node(None, (), {}, shape, np.dtype(dtype), name)


def assert_replay_rounds_as_eager(tape: Tape, steps: Any, dtype: Any, seed: int) -> None:
    """Require the error that a perturbation of the data by a unit in the last place causes.

    The sensitivity of a result to round-off is estimated from samples in this way: Kenney & Laub,
    *Small-sample statistical condition estimates*, 1994. Some 200 operations round, once each.
    """
    loss = partial(evaluate, steps)
    here, there = point(dtype, seed), point(dtype, seed + 100)
    assume_differentiable(loss, here)
    f = tape.value_and_grad(loss)
    f(*here), f(*there), f(*here)
    found = list(f(*there)[1].values())
    assert f.untraceable is None
    _, wanted = eager(loss, there)
    eps = np.finfo(dtype).eps
    rng = np.random.default_rng(0)
    spread = [np.zeros(leaf.shape) for leaf in wanted]
    for _ in range(4):
        moved = [
            (array * (1 + eps * rng.standard_normal(array.shape))).astype(dtype)
            for array in inputs_of(there)[:5]
        ]
        near = dict(zip(there[0], moved[:4], strict=True)), moved[4], *there[2:]
        for total, leaf, other in zip(spread, eager(loss, near)[1], wanted, strict=True):
            total += np.abs(np.subtract(leaf, other, dtype=float))
    for a, b, sensitivity in zip(found, wanted, spread, strict=True):
        allowed = 200 * (np.max(sensitivity) + eps * np.max(np.abs(b)))
        assert np.max(np.abs(a.astype(float) - b)) <= allowed


W, X = np.array([0.5, -1.0, 2.0]), np.array([1.0, 2.0, 3.0])
