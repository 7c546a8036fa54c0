"""The tape compared with eager autograd on functions other than plain networks.

They are written as users of autograd write them: a convolution, a recurrent network, a Gaussian
process, a logistic regression, a physics residual, a mixture of Gaussians, a spring chain, a matrix
factorisation. Before the timing, each gradient is compared with eager autograd's, at parameters
other than those of the recording.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import common
import numpy as np
from common import Ratio
from matplotlib.figure import Figure
from rich.table import Table

from gradlab.errors import GradlabError
from gradlab.gradients import value_and_grad
from gradlab.params import flatten, map_leaves
from gradlab.plotting.labels import Row, rows
from gradlab.plotting.style import PHONE_WIDTH, styled, title

RNG = np.random.default_rng(0)
Problem = tuple[Callable[..., Any], Any, tuple[Any, ...]]
"""A loss, its parameters and its other arguments."""


def logistic_regression() -> Problem:
    """Classify 500 samples with 20 features and binary labels."""
    x, y = RNG.standard_normal((500, 20)), RNG.choice([-1.0, 1.0], 500)

    def loss(p: Any, x: Any, y: Any) -> Any:
        margin = y * (x @ p["w"] + p["b"])
        return anp.mean(anp.logaddexp(0.0, -margin)) + 0.01 * anp.sum(p["w"] ** 2)

    return loss, {"w": 0.1 * RNG.standard_normal(20), "b": np.array(0.5)}, (x, y)


def convolution() -> Problem:
    """Apply eight 5 x 5 filters to 32 images, as a sum over shifted slices, and a linear layer."""
    images, labels = RNG.random((32, 20, 20)), np.eye(10)[RNG.integers(10, size=32)]

    def loss(p: Any, images: Any, labels: Any) -> Any:
        features = 0.0
        for i in range(5):
            for j in range(5):
                shifted = images[:, None, i : i + 16, j : j + 16]
                features = features + shifted * p["filters"][:, i, j][None, :, None, None]
        hidden = anp.maximum(features, 0.0).reshape((32, -1))
        z = hidden @ p["W"]
        z = z - anp.max(z, axis=1, keepdims=True)
        return -anp.sum(labels * (z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True)))) / 32

    params = {
        "filters": RNG.standard_normal((8, 5, 5)),
        "W": 0.01 * RNG.standard_normal((2048, 10)),
    }
    return loss, params, (images, labels)


def convolution_by_einsum() -> Problem:
    """Filter the patches of images, which are gathered beforehand."""
    images = RNG.random((32, 20, 20))
    patches = np.lib.stride_tricks.sliding_window_view(images, (5, 5), axis=(1, 2)).copy()

    def loss(filters: Any, patches: Any) -> Any:
        features = anp.einsum("nxyij,kij->nkxy", patches, filters)
        return anp.mean(anp.tanh(features) ** 2)

    return loss, 0.1 * RNG.standard_normal((8, 5, 5)), (patches,)


def recurrent_network() -> Problem:
    """Run 50 steps of a recurrent network with 32 hidden units on 20 sequences."""
    x, y = RNG.standard_normal((50, 20, 8)), RNG.standard_normal((20, 3))

    def loss(p: Any, x: Any, y: Any) -> Any:
        h = anp.zeros((20, 32))
        for t in range(50):
            h = anp.tanh(anp.dot(x[t], p["Wx"]) + anp.dot(h, p["Wh"]) + p["b"])
        return anp.mean((anp.dot(h, p["Wo"]) - y) ** 2)

    shapes = {"Wx": (8, 32), "Wh": (32, 32), "b": (32,), "Wo": (32, 3)}
    return loss, {name: 0.1 * RNG.standard_normal(s) for name, s in shapes.items()}, (x, y)


def gaussian_process() -> Problem:
    """Evaluate the marginal likelihood of 60 points by Cholesky, `solve` and `slogdet`."""
    x, y = np.sort(RNG.random(60)), RNG.standard_normal(60)

    def loss(p: Any, x: Any, y: Any) -> Any:
        distance = (x[:, None] - x[None, :]) / anp.exp(p["length"])
        K = anp.exp(p["scale"]) * anp.exp(-0.5 * distance**2) + anp.exp(p["noise"]) * np.eye(60)
        half = anp.linalg.solve(anp.linalg.cholesky(K), y)
        _, logdet = anp.linalg.slogdet(K)
        return 0.5 * anp.dot(half, half) + 0.5 * logdet

    start = {"length": np.array(-1.0), "scale": np.array(0.0), "noise": np.array(-1.0)}
    return loss, start, (x, y)


def physics_residual() -> Problem:
    """Solve a heat equation with a source on part of the rod: `where`, slices, `concatenate`."""
    grid = np.linspace(0, 1, 400)

    def loss(p: Any, grid: Any) -> Any:
        u = anp.concatenate([np.zeros(1), p["u"], np.zeros(1)])
        bend = (u[2:] - 2 * u[1:-1] + u[:-2]) * 399**2
        conduct = anp.where(grid[1:-1] < p["edge"], 1.0, 0.0) + anp.exp(p["k"])
        source = anp.where(grid[1:-1] > 0.5, 1.0, 0.0)
        residual = conduct * bend + source
        return anp.mean(residual**2) + 10 * (u[200] - 0.1) ** 2

    start = {"u": 0.01 * RNG.random(398), "k": np.array(0.1), "edge": np.array(0.3)}
    return loss, start, (grid,)


def mixture_of_gaussians() -> Problem:
    """Evaluate the likelihood of 300 points in the plane under five components."""
    points = RNG.standard_normal((300, 2))

    def loss(p: Any, points: Any) -> Any:
        offset = (points[:, None, :] - p["means"][None]) / anp.exp(p["scales"])[None]
        log_p = -0.5 * anp.sum(offset**2, axis=2) - anp.sum(p["scales"], axis=1) + p["weights"]
        largest = anp.max(log_p, axis=1, keepdims=True)
        inner = anp.sum(anp.exp(log_p - largest), axis=1)
        norm = anp.log(anp.sum(anp.exp(p["weights"])))
        return -anp.mean(anp.log(inner) + largest[:, 0]) + norm

    shapes = {"means": (5, 2), "scales": (5, 2), "weights": (5,)}
    return loss, {name: RNG.standard_normal(s) for name, s in shapes.items()}, (points,)


def spring_chain() -> Problem:
    """Push a chain of masses so that it reaches a target after 100 time steps."""

    def loss(push: Any, target: Any) -> Any:
        place, speed = anp.zeros(30), push
        for _ in range(100):
            left = anp.concatenate([place[:1], place[:-1]])
            right = anp.concatenate([place[1:], place[-1:]])
            speed = speed + 0.05 * (left + right - 2 * place - 0.1 * place**3)
            place = place + 0.05 * speed
        return anp.sum((place - target) ** 2)

    return loss, 0.1 * RNG.standard_normal(30), (RNG.standard_normal(30),)


def matrix_factorisation() -> Problem:
    """Find ten factors of a 200 x 100 table, from half of its entries."""
    table, known = RNG.standard_normal((200, 100)), RNG.random((200, 100)) > 0.5

    def loss(p: Any, table: Any, known: Any) -> Any:
        error = anp.where(known, anp.dot(p["U"], p["V"].T) - table, 0.0)
        return anp.sum(error**2) + 0.1 * (anp.sum(p["U"] ** 2) + anp.sum(p["V"] ** 2))

    params = {"U": RNG.standard_normal((200, 10)), "V": RNG.standard_normal((100, 10))}
    return loss, params, (table, known)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    make.__name__.replace("_", " "): make
    for make in (
        logistic_regression,
        convolution,
        convolution_by_einsum,
        recurrent_network,
        gaussian_process,
        physics_residual,
        mixture_of_gaussians,
        spring_chain,
        matrix_factorisation,
    )
}


@dataclass(frozen=True)
class Result:
    """The cost of a gradient of one function; in the JSON file, one record.

    Attributes
    ----------
    problem : str
        The name of the function.
    seconds, eager_seconds : float
        The time of a gradient by the tape and by eager autograd, medians over the rounds.
    ratio : Ratio
        The tape's time divided by eager autograd's.
    recording : float
        The time of the first call, in eager gradients.
    operations, recorded : int
        The number of operations in the program that is replayed, and in the recorded one.
    difference : float
        The largest difference from eager autograd, relative to the largest entry of its leaf.
    """

    problem: str
    seconds: float
    eager_seconds: float
    ratio: Ratio
    recording: float
    operations: int
    recorded: int
    difference: float


def measure(name: str, rounds: int, clock: Callable[[], float] = time.process_time) -> Result:
    """Time the tape and eager autograd in turns, after a comparison of their gradients."""
    loss, params, args = PROBLEMS[name]()
    eager, taped = value_and_grad(loss), value_and_grad(loss, "tape")
    eager(params, *args)
    started = clock()
    taped(params, *args)
    first = clock() - started
    elsewhere = map_leaves(lambda leaf: 1.01 * leaf + 0.001, params)
    for point in (params, elsewhere, params):
        taped(point, *args)
    found, wanted = (flatten(f(elsewhere, *args)[1])[0] for f in (taped, eager))
    difference = common.worst_difference(common.flat(found), wanted)
    if taped.untraceable or not difference < 1e-8:
        raise GradlabError(f"{name}: off by {difference:.0e}; {taped.untraceable or 'recorded'}")
    seconds = common.interleave(
        {"tape": lambda: taped(params, *args), "autograd": lambda: eager(params, *args)},
        rounds=rounds,
        clock=clock,
    )
    eager_seconds = float(np.median(seconds["autograd"]))
    return Result(
        name,
        float(np.median(seconds["tape"])),
        eager_seconds,
        Ratio.of(seconds["tape"], seconds["autograd"]),
        first / eager_seconds,
        len(taped.program.nodes),
        int(taped.explain().split()[1]),
        difference,
    )


def table(results: Sequence[Result], caption: str) -> Table:
    """Return the results as a table, a row per function."""
    shown = common.new_table(
        "A gradient by the tape, and by eager autograd",
        caption,
        ("tape", "autograd", "tape / autograd", "first call", "operations", "difference"),
    )
    for result in results:
        shown.add_row(
            result.problem,
            common.duration(result.seconds),
            common.duration(result.eager_seconds),
            f"{result.ratio.median:.2f}",
            f"{result.recording:.1f} ×",
            f"{result.operations} of {result.recorded}",
            f"{result.difference:.0e}",
        )
    return shown


def headline(results: Sequence[Result]) -> str:
    """Return the result in one line."""
    ratios = [result.ratio.median for result in results]
    return f"The tape takes {min(ratios):.2f} to {max(ratios):.2f} of eager autograd's time."


@styled
def figure(results: Sequence[Result]) -> Figure:
    """Draw the ratios: a bar per function, the lowest first."""
    drawn = Figure(figsize=(PHONE_WIDTH, 1.5 + 0.3 * len(results)))
    axes = drawn.subplots()
    ordered = sorted(results, key=lambda result: result.ratio.median)
    rows(axes, [Row(r.problem, r.ratio.median, (f"{r.ratio.median:.2f}",)) for r in ordered])
    axes.set_xlim(0, max(1.05, axes.get_xlim()[1]))
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xlabel("time of a gradient, tape / autograd")
    title(drawn, "Time of a gradient by the tape, in units of autograd's")
    return drawn


@common.main("functions")
def main(quick: common.Quick = False) -> common.Findings:
    """Time the tape against eager autograd on functions other than plain networks. CPU time."""
    common.limit_threads(1)
    rounds = 3 if quick else 9
    results = []
    for name in PROBLEMS:
        common.say(f"timing {name} ...")
        results.append(measure(name, rounds))
    caption = (
        "first call: the time to record, compile and compute one gradient, in eager gradients.\n"
        f"CPU time, {rounds} rounds; "
    )
    return common.Findings(
        options={"rounds": rounds, "quick": quick},
        table=lambda environment: table(results, f"{caption}{environment}"),
        results=results,
        headline=headline(results),
        figure=lambda: figure(results),
        more={"reference": "autograd"},
    )


if __name__ == "__main__":
    common.run(main)
