"""Losses with kinks: at the kink, a billionth next to it, and away from it.

A loss has no gradient at a kink, but reverse mode returns one. It counts as right if it is a
subgradient in Clarke's sense: in the convex hull of the limits of nearby gradients (Clarke,
*Optimization and Nonsmooth Analysis*, 1983, theorem 2.5.1). For relu at 0, this is any number from
0 to 1; at a tie of two maxima it is (t, 1 − t) with t from 0 to 1, and never (1, 1).

`Case.truth` is the gradient everywhere except at the kinks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from corpus.case import (
    KINK,
    MISMATCH,
    Case,
    Loss,
    Move,
    a,
    about,
    draw,
    factor,
    instead,
    pair,
    plus,
    scaled,
    together,
)
from gradlab.params import Array

# Functions with kinks and their gradients; `at_zero` is the slope of a relu at 0


def relu(x: Any) -> Any:
    return np.maximum(x, 0)


def step(x: Any, at_zero: float = 0.0) -> Any:
    return np.where(x == 0, at_zero, (x > 0) * 1.0)


def leaky(x: Any) -> Any:
    return np.where(x > 0, x, 0.01 * x)


def length(x: Any) -> Any:
    return np.sqrt(np.sum(x**2))


def length_gradient(x: Any) -> Any:
    return x / (length(x) or 1)


def total(function: Any) -> Loss:
    return lambda x: np.sum(function(x))


def largest(x: Any) -> Any:
    return np.max(x)


def largest_gradient(x: Any) -> Any:
    return (np.arange(len(x)) == np.argmax(x)) * 1.0


def pooled(x: Any) -> Any:
    """Return a weighted sum of the maxima of windows of two by two."""
    windows = [x[i : i + 2, j : j + 2] for i in (0, 2) for j in (0, 2)]
    return sum(
        weight * np.max(window) for weight, window in zip((1, 2, -1, 3), windows, strict=True)
    )


def pooled_gradient(x: Any) -> Any:
    g = np.zeros((4, 4))
    for weight, (i, j) in zip((1, 2, -1, 3), ((0, 0), (0, 2), (2, 0), (2, 2)), strict=True):
        row, column = np.unravel_index(np.argmax(x[i : i + 2, j : j + 2]), (2, 2))
        g[i + row, j + column] = weight
    return g


def hinge(w: Any, X: Array, y: Array) -> Any:
    return np.mean(relu(1 - y * (X @ w)))


def hinge_gradient(w: Any, X: Array, y: Array, at_zero: float = 0.0) -> Any:
    return X.T @ (-y * step(1 - y * (X @ w), at_zero)) / len(y)


def absolute_error(w: Any, X: Array, y: Array) -> Any:
    return np.mean(np.abs(X @ w - y))


def absolute_error_gradient(w: Any, X: Array, y: Array) -> Any:
    return X.T @ np.sign(X @ w - y) / len(y)


def huber(x: Any) -> Any:
    return np.sum(np.where(np.abs(x) <= 1, x**2 / 2, np.abs(x) - 0.5))


def relu_network(params: Any, x: Array, y: Array) -> Any:
    h = relu(x @ params["W1"] + params["b1"])
    return np.mean((h @ params["W2"] - y) ** 2)


def relu_network_gradient(params: Any, x: Array, y: Array, at_zero: float = 0.0) -> Any:
    z = x @ params["W1"] + params["b1"]
    above = 2 * (relu(z) @ params["W2"] - y) / y.size
    below = above @ params["W2"].T * step(z, at_zero)
    return {"W1": x.T @ below, "b1": below.sum(0), "W2": relu(z).T @ above}


def hidden(seed: int, bias: float = 0.1) -> dict[str, Array]:
    return {"W1": draw(seed, 2, 3), "b1": draw(seed + 1, 3, scale=bias), "W2": draw(seed + 2, 3, 1)}


def with_unit_at(value: float, seed: int = 90) -> dict[str, Array]:
    """Return a network whose first hidden unit has this value for every sample."""
    params = hidden(seed)
    params["W1"][:, 0] = 0
    params["b1"][0] = value
    return params


BATCH = draw(93, 6, 2), draw(94, 6, 1)

# At the kink


def judged(
    name: str,
    loss: Loss,
    params: Any,
    truth: Any,
    valid: Sequence[Any],
    invalid: Sequence[Any],
    args: tuple[Any, ...] = (),
    move: Move = scaled,
) -> Iterator[Case]:
    """Yield a case for each claim, which is an array, or a name and a function."""
    for right, claims in ((True, valid), (False, invalid)):
        for claim in claims:
            if isinstance(claim, tuple):
                words, function = claim
            else:
                words = np.array2string(np.asarray(claim), separator=", ")
                function = partial(_constant, np.asarray(claim, dtype=np.float64))
            yield Case(
                "kink",
                f"{name}, claiming {words}",
                loss,
                params,
                truth,
                args,
                claim=function,
                right=right,
                accepted=KINK if right else (*MISMATCH, "kink"),
                fault="" if right else "no subgradient",
                verified_by="nearby gradients",
                move=move,
            )


def _constant(value: Array, *point: Any) -> Array:
    return value.copy()


def along_margin(w: Any, rng: np.random.Generator, by: float) -> Any:
    """Move the weights of a hinge by exact steps that keep 2 w₀ + w₁ − w₂."""
    return w + rng.choice([-1, 1]) * np.ldexp(rng.integers(1, 8), -8) * a(1, -1, 1)


def at_kinks() -> Iterator[Case]:
    nothing = a(0.0)
    yield from judged(
        "|x| at 0", total(np.abs), nothing, np.sign, [a(0), a(1), a(0.3)], [a(1.2), a(-3)]
    )
    yield from judged("−|x| at 0", total(lambda x: -np.abs(x)), nothing, lambda x: -np.sign(x),
                      [a(0), a(-1)], [a(-1.5)])  # fmt: skip
    for size in (1e-8, 1e8):
        yield from judged(
            f"{size:g} |x| at 0", lambda x, s=size: s * np.sum(np.abs(x)), nothing,
            lambda x, s=size: s * np.sign(x), [a(size)], [a(1.3 * size)],
        )  # fmt: skip
    yield from judged("relu at 0", total(relu), nothing, step, [a(0), a(1), a(0.5)],
                      [a(-0.1), a(1.1), a(2)])  # fmt: skip
    yield from judged("leaky relu at 0", total(leaky), nothing, lambda x: np.where(x > 0, 1, 0.01),
                      [a(0.01), a(1)], [a(0), a(-1)])  # fmt: skip
    yield from judged("relu(x) − relu(−x) at 0, which is x", total(lambda x: relu(x) - relu(-x)),
                      nothing, np.ones_like, [a(1)], [a(0), a(0.5)])  # fmt: skip
    yield from judged("a tie of two", largest, a(0.7, 0.7), largest_gradient,
                      [a(1, 0), a(0, 1), a(0.5, 0.5)], [a(1, 1), a(0, 0), a(0.7, 0.7)],
                      move=together)  # fmt: skip
    yield from judged("a tie of three among four", largest, a(2, -1, 2, 2), largest_gradient,
                      [a(1, 0, 0, 0), a(1, 0, 1, 1) / 3], [a(1, 0, 1, 1), a(0, 1, 0, 0)],
                      move=together)  # fmt: skip
    yield from judged(
        "max-pooling of equal pixels", pooled, np.full((4, 4), 0.3), pooled_gradient,
        [("the first of each window", pooled_gradient),
         ("shares", lambda x: np.kron([[1, 2], [-1, 3]], np.full((2, 2), 0.25)))],
        [("all of each window", lambda x: np.kron([[1.0, 2], [-1, 3]], np.ones((2, 2))))],
        move=together,
    )  # fmt: skip
    yield from judged("|x₀| x₁ + x₁ at (0, 1)", lambda x: np.abs(x[0]) * x[1] + x[1], a(0, 1),
                      lambda x: a(np.sign(x[0]) * x[1], abs(x[0]) + 1), [a(0, 1)],
                      [a(0, 1.2), a(-0.4, 0.8)])  # fmt: skip
    yield from judged(
        "|x − 3| at 3",
        lambda x: np.sum(np.abs(x - 3)),
        a(3),
        lambda x: np.sign(x - 3),
        [a(0), a(-1)],
        [a(1.5)],
        move=about(3.0),
    )
    yield from judged("the larger of x and x² at 1", total(lambda x: np.maximum(x, x**2)), a(1),
                      lambda x: np.where((x > 0) & (x < 1), 1, 2 * x), [a(1), a(2), a(1.5)],
                      [a(0.9), a(2.2), a(0)], move=about(1.0))  # fmt: skip
    yield from judged("clipped at its edge", lambda x: np.sum(np.clip(x, -1, 1)), a(1, 0.2),
                      lambda x: (np.abs(x) < 1) * 1.0, [a(0, 1), a(1, 1)], [a(-0.2, 1), a(1, 0)],
                      move=about(a(1, 0)))  # fmt: skip
    yield from judged("the sum of |x| at 0", total(np.abs), a(0, 0, 0), np.sign,
                      [a(0, 0, 0), a(1, -1, 1)], [a(1, 1.2, 0)])  # fmt: skip
    yield from judged(
        "the length of x at 0",
        length,
        a(0, 0),
        length_gradient,
        [a(0, 0), a(0.6, 0.6)],
        [a(0.9, 0.9), a(1, 1)],
    )
    # Along b alone, both one-sided slopes are 1, but the gradient is 0 where both units are dead.
    yield from judged(
        "relu(w + b) − relu(w − b) at 0", lambda x: relu(x[0] + x[1]) - relu(x[0] - x[1]), a(0, 0),
        lambda x: step(x[0] + x[1]) * a(1, 1) - step(x[0] - x[1]) * a(1, -1),
        [a(0, 0), a(0, 1), a(0, 2)], [a(0, -0.5), a(2, 0), a(0, 3)],
    )  # fmt: skip
    X, y = a(2, 1, -1).reshape(1, 3), a(1)
    yield from judged(
        "hinge at its margin", hinge, a(0.25, 0.75, 0.25), hinge_gradient,
        [("0", hinge_gradient), ("the slope", partial(hinge_gradient, at_zero=1.0))],
        [("its opposite", partial(hinge_gradient, at_zero=-1.0)),
         ("twice the slope", partial(hinge_gradient, at_zero=2.0))],
        (X, y), move=along_margin,
    )  # fmt: skip
    empty = BATCH[0] * (np.arange(6) != 2)[:, None], BATCH[1]
    for name, params, batch in (
        ("a network with a unit at 0", with_unit_at(0.0), BATCH),
        ("a network at 0", hidden(90, 0.0) | {"W1": np.zeros((2, 3))}, BATCH),
        ("an empty sample before any bias is learnt", hidden(90, 0.0), empty),
    ):
        yield from judged(
            name, relu_network, params, relu_network_gradient,
            [("0", relu_network_gradient), ("1", partial(relu_network_gradient, at_zero=1.0)),
             ("½", partial(relu_network_gradient, at_zero=0.5))],
            [("2", partial(relu_network_gradient, at_zero=2.0)),
             ("−1", partial(relu_network_gradient, at_zero=-1.0))],
            batch,
        )  # fmt: skip
    alive = Case(
        "kink",
        "a network with a unit at 0, the others alive",
        relu_network,
        with_unit_at(0.0),
        relu_network_gradient,
        BATCH,
        verified_by="nearby gradients",
    )
    yield alive.with_fault(factor(1.2))


# Next to the kink


def near_kinks() -> Iterator[Case]:
    def case(name: str, loss: Loss, params: Any, truth: Any, *args: Any, **options: Any) -> Case:
        return Case("near kink", name, loss, params, truth, args, **options)

    yield from pair(
        case("|x| at 1e-9", total(np.abs), a(1e-9, 0.5), np.sign),
        factor(-1, "params", 0),
        factor(0, "params", 0),
    )
    yield from pair(case("|x| at −1e-12", total(np.abs), a(-1e-12), np.sign), factor(-1))
    yield from pair(case("relu at 1e-9", total(relu), a(1e-9), step), factor(0))
    yield from pair(case("relu at −1e-9", total(relu), a(-1e-9, 2), step), plus(1, "params", 0))
    yield case("leaky relu at −1e-9", total(leaky), a(-1e-9), lambda x: np.where(x > 0, 1, 0.01))
    for gap in (1e-9, 1e-7):
        yield from pair(
            case(f"two maxima {gap:g} apart", largest, a(gap, 0), largest_gradient),
            instead("shares", lambda x: np.full(2, 0.5)),
        )
    yield from pair(
        case(
            "two maxima near 1, 1e-9 apart",
            largest,
            a(1 + 1e-9, 1),
            largest_gradient,
            move=lambda params, rng, by: params * 2.0 ** rng.integers(1, 4),
        ),
        instead("the other one", lambda x: a(0, 1)),
    )
    yield from pair(
        case(
            "the larger of x and x², at 1 + 1e-9",
            total(lambda x: np.maximum(x, x**2)),
            a(1 + 1e-9),
            lambda x: np.where((x > 0) & (x < 1), 1, 2 * x),
            move=about(1.0),
        ),
        instead("of x", np.ones_like),
    )
    yield from pair(
        case(
            "|x − 3| at 3 − 1e-9",
            lambda x: np.sum(np.abs(x - 3)),
            a(3 - 1e-9),
            lambda x: np.sign(x - 3),
            move=about(3.0),
        ),
        factor(0),
    )
    yield case("hinge 1e-9 within its margin", hinge, a(0.25, 0.75, 0.25 + 1e-9), hinge_gradient,
               a(2, 1, -1).reshape(1, 3), a(1), move=along_margin)  # fmt: skip
    for value in (1e-9, -1e-9):
        yield case(f"a network with a unit at {value:g}", relu_network, with_unit_at(value),
                   relu_network_gradient, *BATCH)  # fmt: skip
    yield case("the length of x at 1e-9", length, a(1e-9, -2e-9), length_gradient)
    yield from pair(
        case(
            "x |x| at 0, which is smooth once",
            total(lambda x: x * np.abs(x)),
            a(0.0),
            lambda x: 2 * np.abs(x),
            accepted=KINK,
        ),
        plus(0.05, "params", 0),
    )
    yield from pair(
        case(
            "Huber's loss where its parts meet",
            huber,
            a(1.0, 0.3),
            lambda x: np.clip(x, -1, 1),
            move=about(a(1, 0)),
            accepted=KINK,
        ),
        factor(2, "params", 0),
    )


# Away from the kink


def off_kinks() -> Iterator[Case]:
    def case(name: str, loss: Loss, params: Any, truth: Any, *args: Any) -> Case:
        return Case("off kink", name, loss, params, truth, args)

    yield from pair(
        case("relu at ±0.7", total(relu), a(0.7, -0.7), step), instead("ones", np.ones_like)
    )
    yield from pair(case("|x|", total(np.abs), draw(95, 5), np.sign), factor(1.0001, "params", 3))
    yield from pair(
        case("max-pooling", pooled, draw(96, 4, 4), pooled_gradient),
        instead("to the first of each window", lambda x: pooled_gradient(0 * x)),
    )
    X, y = draw(97, 15, 3), np.sign(draw(98, 15))
    yield from pair(case("hinge over a batch", hinge, draw(99, 3), hinge_gradient, X, y),
                    factor(-1), factor(15))  # fmt: skip
    yield from pair(
        case("absolute error", absolute_error, draw(100, 3), absolute_error_gradient, X, y),
        instead("of the squared error", lambda w, X, y: X.T @ (X @ w - y) / len(y)),
    )
    yield from pair(
        case("a relu network", relu_network, hidden(101), relu_network_gradient, *BATCH),
        factor(2, "W2"),
        instead("without the relu", _linear_gradient),
    )
    yield case("Huber's loss", huber, a(0.3, -2, 1.5), lambda x: np.clip(x, -1, 1))
    yield case(
        "the median of five",
        lambda x: np.sort(x)[2],
        draw(102, 5),
        lambda x: (np.argsort(np.argsort(x)) == 2) * 1.0,
    )


def _linear_gradient(params: Any, x: Array, y: Array) -> Any:
    z = x @ params["W1"] + params["b1"]
    above = 2 * (relu(z) @ params["W2"] - y) / y.size
    below = above @ params["W2"].T
    return {"W1": x.T @ below, "b1": below.sum(0), "W2": relu(z).T @ above}


CASES = [*at_kinks(), *near_kinks(), *off_kinks()]
