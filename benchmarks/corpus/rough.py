"""Losses with rough values: rounded to few bits, noisy, quantised; solvers that stop early.

Their derivative is that of the exact function (`Case.meant`): a sum in float32 has steps, which are
not part of the function. `resolution` plants faults at the limit of what values in double precision
show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from corpus.case import (
    INCONCLUSIVE,
    UNSEEN,
    Case,
    Loss,
    a,
    draw,
    evaluated_in,
    factor,
    in_decimals,
    instead,
    noisy,
    on_grid,
    pair,
    plus,
    stale,
    swapped,
)
from corpus.networks import MLP_START, mlp, mlp_gradient
from corpus.smooth import (
    gelu,
    gelu_gradient,
    logistic,
    logistic_gradient,
    rosenbrock,
    rosenbrock_gradient,
)
from gradlab.params import flatten, map_leaves

# The exact functions of the losses below


def bowl(x: Any) -> Any:
    return np.sum((x - 1) ** 2) + np.sum(x[1:] * x[:-1])


def bowl_gradient(x: Any) -> Any:
    g = 2 * (x - 1)
    g[1:] += x[:-1]
    g[:-1] += x[1:]
    return g


def waves(x: Any) -> Any:
    return np.sum(np.sin(x)) + 2


def log_sum_exp(x: Any) -> Any:
    return np.log(np.sum(np.exp(x)))


def softmax(x: Any) -> Any:
    return np.exp(x) / np.sum(np.exp(x))


X, Y = draw(40, 40, 4), (draw(41, 40) > 0).astype(float)
LINEAR = {"w": draw(42, 4), "b": np.array(0.4)}
BOWL = a(0.3, 1.7, -0.8, 2.1)
WAVES = a(0.4, -0.9, 2.0)


def standing_for(kind: str, name: str, meant: Loss, params: Any, truth: Any, *args: Any) -> Case:
    """Return the case of an exact function, which `roughened` then makes rough."""
    return Case(kind, name, meant, params, truth, args, meant=meant)


def roughened(case: Case, how: Any, *settings: Any) -> Case:
    return replace(case, loss=how(case.loss, *settings))


def in_single_precision(case: Case, *settings: Any) -> Case:
    return roughened(case, evaluated_in, np.float32)


# The same functions, made hard in several ways, with right gradients


FUNCTIONS: dict[str, tuple[Loss, Any, Any, tuple[Any, ...]]] = {
    "bowl": (bowl, BOWL, bowl_gradient, ()),
    "log-sum-exp": (log_sum_exp, draw(48, 6), softmax, ()),
    "Rosenbrock": (rosenbrock, draw(49, 4), rosenbrock_gradient, ()),
    "GELU": (gelu, draw(50, 5), gelu_gradient, ()),
    "logistic regression": (logistic, LINEAR, logistic_gradient, (X, Y)),
    "network": (mlp, MLP_START[0], mlp_gradient, MLP_START[1:]),
}


def shifted(loss: Loss, by: float) -> Loss:
    return lambda *point: loss(*point) + by


def stretched(loss: Loss, by: float) -> Loss:
    """Return the loss as a function of parameters that are larger by a factor."""

    def loss_of_stretched(params: Any, *args: Any) -> Any:
        leaves, structure = flatten(params, lambda leaf, path: leaf)  # also mpmath's numbers
        return loss(structure.unflatten([leaf / by for leaf in leaves]), *args)

    return loss_of_stretched


def stretched_gradient(gradient: Any, by: float) -> Any:
    def stretched(params: Any, *args: Any) -> Any:
        there = map_leaves(lambda x: x / by, params)
        return map_leaves(lambda g: g / by, gradient(there, *args))

    return stretched


def table() -> Iterator[Case]:
    for name, (loss, params, truth, args) in FUNCTIONS.items():
        for size in (1e4, 1e7):
            yield Case("offset", f"{name} + {size:g}", shifted(loss, size), params, truth, args)
        for by in (2.0**-27, 2.0**27):
            yield Case(
                "scale", f"{name} of parameters of size {by:.0e}", stretched(loss, by),
                map_leaves(lambda x, by=by: x * by, params), stretched_gradient(truth, by), args,
            )  # fmt: skip
        for kind, words, how, setting in (
            ("float32", "in float32", evaluated_in, np.float32),
            ("noise", "± 3e-9", noisy, 3e-9),
            ("quantised", "of multiples of 2⁻²³", on_grid, 2.0**-23),
        ):
            case = standing_for(kind, f"{name} {words}", loss, params, truth, *args)
            yield roughened(case, how, setting)


# Low precision


def cast(gradient: Any, dtype: Any) -> Any:
    """Return a gradient in another dtype, as a library in single precision does."""
    return lambda *point: map_leaves(lambda g: g.astype(dtype), gradient(*point))


def float32() -> Iterator[Case]:
    def case(name: str, meant: Loss, params: Any, truth: Any, *args: Any) -> Case:
        return in_single_precision(standing_for("float32", name, meant, params, truth, *args))

    yield from pair(case("a bowl", bowl, BOWL, bowl_gradient), factor(1.05, "params", 1))
    yield from pair(case("waves", waves, WAVES, np.cos), factor(-1, "params", 2))
    yield from pair(
        case("logistic regression", logistic, LINEAR, logistic_gradient, X, Y),
        factor(40),
        factor(0, "b"),
        factor(-1, "w", 1),
    )
    yield from pair(
        case("a network", mlp, *MLP_START[:1], mlp_gradient, *MLP_START[1:]),
        factor(1.5, "W2"),
    )
    yield case("log-sum-exp", log_sum_exp, draw(43, 6), softmax)
    yield from pair(
        case("an offset of 100", lambda x: bowl(x) + 100, BOWL, bowl_gradient),
        factor(1.2, "params", 2),
    )
    yield case("parameters of size 1e-8", lambda x: np.sum((1e8 * x) ** 2 + 1e8 * x),
               1e-8 * BOWL, lambda x: 2e16 * x + 1e8)  # fmt: skip
    yield case("exp(20 x)", lambda x: np.sum(np.exp(20 * x)), a(0.4, -0.1),
               lambda x: 20 * np.exp(20 * x))  # fmt: skip
    # The loss is in double precision; the gradient or the parameters are in single precision.
    exact = standing_for("float32", "a gradient of that dtype", bowl, BOWL, bowl_gradient)
    yield replace(exact, claim=cast(bowl_gradient, np.float32))
    yield replace(
        exact.with_fault(factor(1 + 1e-4)),
        claim=cast(factor(1 + 1e-4).plant(bowl_gradient), np.float32),
    )
    parameters = standing_for(
        "float32", "parameters of that dtype", bowl, BOWL.astype(np.float32), bowl_gradient
    )
    yield from pair(parameters, factor(np.float32(1.01), "params", 0))


def float16() -> Iterator[Case]:
    def case(name: str, meant: Loss, params: Any, truth: Any, *args: Any) -> Case:
        return roughened(
            standing_for("float16", name, meant, params, truth, *args), evaluated_in, np.float16
        )

    yield from pair(case("a bowl", bowl, BOWL, bowl_gradient), factor(2, "params", 3))
    yield from pair(case("waves", waves, WAVES, np.cos), factor(-1))
    yield from pair(
        case("logistic regression", logistic, LINEAR, logistic_gradient, X, Y),
        factor(-1, "b"),
    )
    yield case("log-sum-exp", log_sum_exp, draw(44, 4), softmax)
    exact = standing_for("float16", "a gradient of that dtype", waves, WAVES, np.cos)
    yield replace(exact, claim=cast(np.cos, np.float16))


# Noise


def noise() -> Iterator[Case]:
    for relative, by in ((1e-12, 1.001), (1e-10, 1.01), (1e-8, 1.1), (1e-6, 1.5), (1e-4, -1)):
        yield from pair(
            roughened(
                standing_for("noise", f"a bowl ± {relative:g}", bowl, BOWL, bowl_gradient),
                noisy,
                relative,
            ),
            factor(by, "params", 2),
        )

    def mean_of_many(x: Any, t: Any) -> Any:
        """Return the mean over ten thousand samples."""
        return np.mean((x[0] * t + x[1] - np.sin(t)) ** 2)

    def in_order(x: Any, t: Any) -> float:
        """Return the mean, with terms added one after the other in float32."""
        terms = ((x[0] * t + x[1] - np.sin(t)) ** 2).astype(np.float32)
        return float(np.cumsum(terms)[-1] / np.float32(len(t)))

    def gradient(x: Any, t: Any) -> Any:
        error = 2 * (x[0] * t + x[1] - np.sin(t)) / len(t)
        return a(np.sum(error * t), np.sum(error))

    many = Case("noise", "10,000 terms added up in float32", in_order, a(1.4, 0.6), gradient,
                (draw(45, 10_000),), meant=mean_of_many, verified_by="complex step")  # fmt: skip
    yield from pair(many, factor(1.2, "params", 0))
    yield roughened(standing_for("noise", "waves ± 1e-9", waves, WAVES, np.cos), noisy, 1e-9)


# Steps and dead zones


def quantised() -> Iterator[Case]:
    def case(name: str, meant: Loss, params: Any, truth: Any) -> Case:
        return standing_for("quantised", name, meant, params, truth)

    for spacing, by in ((1e-8, 1.01), (1e-6, 1.2), (1e-4, 2)):
        yield from pair(
            roughened(
                case(f"waves of multiples of {spacing:g}", waves, WAVES, np.cos), on_grid, spacing
            ),
            factor(by, "params", 1),
        )
    for decimals, by in ((12, 1.0001), (6, 1.5)):
        yield from pair(
            roughened(
                case(f"a bowl in {decimals} decimals", bowl, BOWL, bowl_gradient),
                in_decimals,
                decimals,
            ),
            factor(by, "params", 3),
        )

    def shrunk(x: Any) -> Any:
        """Apply a soft threshold at 1."""
        return np.sum(np.sign(x) * np.maximum(np.abs(x) - 1, 0))

    def shrunk_gradient(x: Any) -> Any:
        return (np.abs(x) > 1) * 1.0

    yield from pair(
        case("soft threshold, one entry in its dead zone", shrunk, a(0.3, 1.8), shrunk_gradient),
        instead("ones", np.ones_like),
    )
    yield from pair(
        case(
            "clipped beyond its range",
            lambda x: np.sum(np.clip(x, -1, 1)),
            a(3.0, 0.4),
            lambda x: (np.abs(x) < 1) * 1.0,
        ),
        instead("straight through", np.ones_like),
    )
    yield from pair(
        case(
            "a dead zone of a thousandth",
            lambda x: np.sum(np.maximum(np.abs(x) - 1e-3, 0)),
            a(2e-4, 0.5),
            lambda x: (np.abs(x) > 1e-3) * np.sign(x),
        ),
        plus(1.0, "params", 0),
    )
    yield case(
        "a step far away",
        lambda x: np.sum(np.where(x > 0, 1.0, 0.0) + x),
        a(0.5, -0.7),
        np.ones_like,
    )


# Solvers

MOST_ITERATIONS = 10_000


def root(f: Any, df: Any, x: Any, steps: int) -> Any:
    """Find a root by Newton's method."""
    for _ in range(steps):
        x = x - f(x) / df(x)
    return x


def cube_root(p: Any, steps: int = 8) -> Any:
    return np.sum(root(lambda z: z**3 - p, lambda z: 3 * z**2, p / 3 + 2 / 3, steps))


def kepler(p: Any, tolerance: float = 1e-14) -> Any:
    """Return the square of the eccentric anomaly E, with E − e sin E = M, by iteration."""
    E = p["M"] + 0 * p["e"]
    for _ in range(MOST_ITERATIONS):
        following = p["M"] + p["e"] * np.sin(E)
        if abs(following - E) < tolerance:
            return following**2
        E = following
    raise ArithmeticError("the iteration does not converge")


def kepler_gradient(p: Any) -> Any:
    E = np.sqrt(kepler(p))
    slope = 2 * E / (1 - p["e"] * np.cos(E))
    return {"e": slope * np.sin(E), "M": slope}


def bisected(p: Any, width: float = 1e-10) -> Any:
    """Return the root of x³ + p₀ x = p₁ in [0, 2], by bisection."""
    low, high = 0 * p[0], 0 * p[0] + 2
    while high - low > width:  # the width must exceed the spacing of floats
        middle = (low + high) / 2
        low, high = (low, middle) if middle**3 + p[0] * middle > p[1] else (middle, high)
    return (low + high) / 2


def bisected_gradient(p: Any) -> Any:
    x = bisected(p, 1e-15)
    return a(-x, 1) / (3 * x**2 + p[0])


MATRIX = draw(46, 4, 4) / 8


def jacobi(b: Any, tolerance: float = 1e-13) -> Any:
    """Return |x|² for the solution of x = M x + b, by iteration."""
    x = b
    for _ in range(MOST_ITERATIONS):
        following = MATRIX @ x + b
        if np.max(np.abs(following - x)) < tolerance:
            return np.sum(following**2)
        x = following
    raise ArithmeticError("the iteration does not converge")


def jacobi_gradient(b: Any) -> Any:
    inverse = np.linalg.inv(np.eye(4) - MATRIX)
    return 2 * inverse.T @ inverse @ b


def descended(p: Any) -> Any:
    """Return the loss after ten steps of gradient descent on p₁ x²/2, from 1, with rate p₀."""
    x = 1.0
    for _ in range(10):
        x = x - p[0] * p[1] * x
    return x**2


def descended_gradient(p: Any) -> Any:
    return -20 * (1 - p[0] * p[1]) ** 19 * p[::-1]


def logistic_map(x: Any) -> Any:
    for _ in range(8):
        x = 3.7 * x * (1 - x)
    return np.sum(x)


def logistic_map_gradient(x: Any) -> Any:
    slope = np.ones_like(x)
    for _ in range(8):
        slope = slope * 3.7 * (1 - 2 * x)
        x = 3.7 * x * (1 - x)
    return slope


def solver() -> Iterator[Case]:
    def case(name: str, loss: Loss, params: Any, truth: Any, meant: Loss | None = None) -> Case:
        return Case("solver", name, loss, params, truth, meant=meant)

    yield from pair(
        case(
            "a cube root by Newton",
            cube_root,
            a(2.0, 0.4),
            lambda p: p ** (-2 / 3) / 3,
            lambda p: cube_root(p, 14),
        ),
        instead("of the square root", lambda p: p ** (-1 / 2) / 2),
    )
    start = {"e": np.array(0.4), "M": np.array(0.9)}
    exactly = (lambda p: kepler(p, 1e-45),)
    yield from pair(
        case("Kepler's equation by iteration", kepler, start, kepler_gradient, *exactly),
        instead(
            "without the implicit part",
            lambda p: {
                "e": 2 * np.sqrt(kepler(p)) * np.sin(np.sqrt(kepler(p))),
                "M": 2 * np.sqrt(kepler(p)),
            },
        ),
        swapped("e", "M"),
    )
    yield from pair(
        case(
            "Kepler's equation to 1e-14",
            lambda p: kepler(p, 1e-14),
            start,
            kepler_gradient,
            *exactly,
        ),
        factor(1.1, "e"),
    )
    for width, by in ((1e-10, 1.01), (1e-6, -1)):
        yield from pair(
            case(
                f"a cubic by bisection to {width:g}",
                lambda p, w=width: bisected(p, w),
                a(0.7, 2.5),
                bisected_gradient,
                lambda p: bisected(p, 1e-60),
            ),
            factor(by, "params", 0),
        )
    yield from pair(
        case(
            "a linear system by iteration",
            jacobi,
            draw(47, 4),
            jacobi_gradient,
            lambda b: jacobi(b, 1e-45),
        ),
        instead("without the matrix", lambda b: 2 * b),
    )
    yield from pair(
        case("ten steps of descent", descended, a(0.1, 1.7), descended_gradient),
        stale(1e-3),
    )
    yield case("eight steps of a chaotic map", logistic_map, a(0.13), logistic_map_gradient)


# The limit of what values show


def resolution() -> Iterator[Case]:
    """Yield each loss with a fault that its values show, and with one that rounding hides."""

    def limits(
        name: str, loss: Loss, x: Any, truth: Any, above: float, below: float, **meant: Any
    ) -> Iterator[Case]:
        case = Case("resolution", name, loss, x, truth, **meant)
        yield case.with_fault(factor(1 + above))
        yield case.with_fault(factor(1 + below), accepted=UNSEEN, resolvable=False)

    x = a(0.8, 0.5)
    yield from limits("sin", lambda x: np.sum(np.sin(x)), x, np.cos, 1e-9, 1e-16)
    yield from limits("exp", lambda x: np.sum(np.exp(x)), x, np.exp, 1e-9, 1e-15)
    for size, above, below in (
        (1e3, 1e-7, 1e-15),
        (1e6, 1e-5, 1e-12),
        (1e9, 1e-2, 1e-9),
        (1e12, 2, 1e-6),
    ):
        yield from limits(
            f"sin x + {size:g}", lambda x, c=size: np.sum(np.sin(x)) + c, x, np.cos, above, below
        )
    for dtype, above, below in ((np.float32, 0.02, 1e-7), (np.float16, 1.0, 1e-4)):
        yield from limits(
            f"sin in {dtype.__name__}", evaluated_in(waves, dtype), x, np.cos, above, below,
            meant=waves,
        )  # fmt: skip
    yield from limits("sin ± 1e-6", noisy(waves, 1e-6), x, np.cos, 1e-2, 1e-8, meant=waves)
    for size in (1e18, 1e25):
        yield Case(
            "resolution",
            f"sin x + {size:g}",
            lambda x, c=size: np.sum(np.sin(x)) + c,
            x,
            np.cos,
            accepted=INCONCLUSIVE,
            resolvable=False,
        )


CASES = [
    case
    for kind in (table, float32, float16, noise, quantised, solver, resolution)
    for case in kind()
]
