"""The cost of a whole numerical gradient: the plain loop, the incremental engine, and the peers.

The plain loop evaluates the loss twice for each parameter. That takes minutes, so it is timed on a
sample: the median time of one evaluation of the loss, with one perturbed parameter, is multiplied
by the number of evaluations of the whole gradient. The engine computes the whole gradient. Both
take turns in one process, after their difference quotients at the sampled entries are compared.

Peers differentiate the same loss numerically as their users would, for some entries of the
parameters; their times are extrapolated to all entries. SciPy and numdifftools evaluate one point
at a time, PyTorch and JAX many at once (`vmap`). They take turns with the other two.

With one thread, the clock is the CPU time of the process, which other processes do not change. With
more threads, it is the wall clock, and the engine is also timed with one thread. The memory is the
peak of the engine's allocations in a separate run, without the data and the parameters.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import autograd.numpy as anp
import common
import numpy as np
import typer
from common import Laps, Ratio
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gradlab import network
from gradlab.datasets import load
from gradlab.errors import GradlabError
from gradlab.gradients import CentralDifference
from gradlab.gradients.probing import Probe
from gradlab.params import size
from gradlab.plotting.labels import Row, rows
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, PHONE_WIDTH, note, styled, title

AGREE = 1e-6
"""Largest accepted difference from the plain loop, relative to the sample's largest entry."""


@dataclass(frozen=True)
class Problem:
    """The gradient that all contenders compute: a loss, its parameters and its data."""

    loss: Callable[..., Any]
    params: dict[str, Any]
    args: tuple[Any, ...]


Data = Callable[[int], "tuple[Any, Any]"]


def of_network(widths: Sequence[int], activation: str, images: bool) -> Callable[..., Problem]:
    """Return the maker of a problem with gradlab's network, on MNIST or on dense noise."""

    def make(mnist: Data, batch: int) -> Problem:
        params = network.init(tuple(widths), 0, activation=activation)
        x, labels = mnist(batch)
        if not images:
            x = np.random.default_rng(0).standard_normal(x.shape)
        return Problem(partial(network.loss, activation=activation), params, (x, labels))

    return make


def batch_norm(mnist: Data, batch: int) -> Problem:
    """Normalise a hidden layer over the batch, so that its rows are not independent."""
    x, labels = mnist(batch)
    r = np.random.default_rng(0)
    params = {"W1": r.standard_normal((784, 30)) / 28, "W2": r.standard_normal((30, 10)) / 5}

    def loss(params: Any, x: Any, labels: Any) -> Any:
        z = x @ params["W1"]
        centred = z - anp.mean(z, axis=0)
        h = anp.tanh(centred / anp.sqrt(anp.mean(centred**2, axis=0) + 1e-5))
        return network.cross_entropy(h @ params["W2"], labels)

    return Problem(loss, params, (x, labels))


def tied(mnist: Data, batch: int) -> Problem:
    """Encode and decode with the same matrix."""
    x, _ = mnist(batch)
    params = {"W": np.random.default_rng(0).standard_normal((784, 30)) / 28}

    def loss(params: Any, x: Any) -> Any:
        h = anp.tanh(x @ params["W"])
        return anp.sum((h @ params["W"].T - x) ** 2) / len(x)

    return Problem(loss, params, (x,))


def convolution(mnist: Data, batch: int) -> Problem:
    """Apply a convolution of 5 by 5 with 8 channels, a maximum over 2 by 2, and a dense layer."""
    x, labels = mnist(batch)
    r = np.random.default_rng(0)
    patches = np.lib.stride_tricks.sliding_window_view(x.reshape(-1, 28, 28), (5, 5), (1, 2))
    params = {
        "K": r.standard_normal((5, 5, 8)) / 5,
        "b": np.zeros(8),
        "W": r.standard_normal((12 * 12 * 8, 10)) / 34,
    }

    def loss(params: Any, patches: Any, labels: Any) -> Any:
        z = anp.einsum("nijkl,klo->nijo", patches, params["K"], optimize=True) + params["b"]
        h = anp.max(anp.reshape(anp.maximum(z, 0), (len(z), 12, 2, 12, 2, 8)), axis=(2, 4))
        return network.cross_entropy(anp.reshape(h, (len(z), -1)) @ params["W"], labels)

    return Problem(loss, params, (np.ascontiguousarray(patches), labels))


def left(mnist: Data, batch: int) -> Problem:
    """Multiply the data by weights on the left; samples are columns."""
    x, labels = mnist(batch)
    r = np.random.default_rng(0)
    params = {
        "W1": r.standard_normal((50, 784)) / 28,
        "b1": np.zeros((50, 1)),
        "W2": r.standard_normal((10, 50)) / 7,
    }

    def loss(params: Any, x: Any, labels: Any) -> Any:
        h = network.sigmoid(params["W1"] @ x + params["b1"])
        return network.cross_entropy((params["W2"] @ h).T, labels)

    return Problem(loss, params, (np.ascontiguousarray(x.T), labels))


def single(mnist: Data, batch: int) -> Problem:
    """Apply the notebook's network to one image without a batch axis."""
    x, labels = mnist(batch)
    return Problem(network.loss, network.init((784, 50, 100, 10), 0), (x[0], labels[0]))


def no_rule(mnist: Data, batch: int) -> Problem:
    """Use an operation without a rule, to measure the engine's cost where it does not help."""
    x, labels = mnist(batch)
    params = {"W": np.random.default_rng(0).standard_normal((784, 10)) / 28}

    def loss(params: Any, x: Any, labels: Any) -> Any:
        return network.cross_entropy(anp.cumsum(x @ params["W"], axis=0), labels)

    return Problem(loss, params, (x, labels))


PROBLEMS: dict[str, Callable[[Data, int], Problem]] = {
    "sigmoid": of_network((784, 50, 100, 10), "sigmoid", images=True),
    "dense": of_network((784, 50, 100, 10), "sigmoid", images=False),
    "relu": of_network((784, 200, 200, 10), "relu", images=True),
    "batch-norm": batch_norm,
    "tied": tied,
    "convolution": convolution,
    "left": left,
    "single": single,
    "no-rule": no_rule,
}
"""The notebook's network on MNIST and on noise, a wider one, and some that are hard."""


@dataclass(frozen=True)
class Result:
    """The cost of a whole gradient by one contender; in the JSON file, one record.

    Attributes
    ----------
    problem : str
        The name of the problem.
    parameters : int
        The number of entries of the gradient.
    contender : str
        The contender's name.
    seconds : float or None
        The time of a gradient, the median over the rounds; extrapolated except for the engine. None
        for a peer that is not installed.
    ratio : Ratio or None
        The plain loop's time divided by this time.
    difference : float or None
        The largest difference from the plain loop, relative to the largest sampled entry.
    megabytes : float or None
        The peak memory of the engine.
    missing : str
        How to install a missing peer.
    """

    problem: str
    parameters: int
    contender: str
    seconds: float | None = None
    ratio: Ratio | None = None
    difference: float | None = None
    megabytes: float | None = None
    missing: str = ""


PLAIN = "plain loop"
ENGINE = "engine"


@dataclass(frozen=True)
class Sample:
    """Some entries of a problem's parameters, for contenders that are too slow for all of them.

    Attributes
    ----------
    problem : Problem
        The problem.
    entries : ndarray of int
        Indices into the vector of all leaves.
    step : float
        The step of the difference.
    """

    problem: Problem
    entries: Any
    step: float

    def first(self, count: int) -> Sample:
        """Return a sample of at most `count` of these entries, spread over all of them."""
        spread = np.linspace(0, len(self.entries) - 1, min(count, len(self.entries)))
        return Sample(self.problem, self.entries[spread.astype(int)], self.step)

    def restricted(self) -> tuple[Callable[[Any], Any], Any]:
        """Return the loss as a function of these entries, and their values."""
        loss, values = common.restrict(self.problem.loss, self.problem.params, self.entries)
        return lambda moved: loss(moved, *self.problem.args), values


# Peers: each returns a function that computes derivatives by entries of a sample, and these entries

Peer = Callable[[], Any]


def scipy_peer(sample: Sample) -> tuple[Peer, Any]:
    """Return SciPy's ``approx_derivative`` with three points: two evaluations per entry."""
    from scipy.optimize._numdiff import approx_derivative

    loss, values = sample.restricted()
    return lambda: approx_derivative(loss, values, "3-point", abs_step=sample.step), sample.entries


def numdifftools_peer(sample: Sample) -> tuple[Peer, Any]:
    """Return numdifftools' ``Gradient``, which by default takes many steps for each entry."""
    import numdifftools

    sample = sample.first(4)
    loss, values = sample.restricted()
    gradient = numdifftools.Gradient(loss)
    return lambda: gradient(values), sample.entries


CHUNK = 64
"""Number of points in one call: the fastest of 16, 64 and 256 for both libraries."""


def torch_peer(sample: Sample) -> tuple[Peer, Any]:
    """Return PyTorch's ``vmap`` of the loss over perturbed copies of all parameters."""
    import torch

    flat, x, labels, shapes = _parts(sample.problem)
    start, x, labels = torch.tensor(flat), torch.tensor(x), torch.tensor(labels)
    moves = torch.zeros((len(sample.entries), len(flat)), dtype=start.dtype)
    moves[range(len(sample.entries)), torch.tensor(sample.entries)] = sample.step

    def loss(point: Any) -> Any:
        z, at = x, 0
        for i, shape in enumerate(shapes):
            part = point[at : at + np.prod(shape)].reshape(shape)
            at += int(np.prod(shape))
            z = z @ part if len(shape) == 2 else z + part
            z = torch.sigmoid(z) if i % 2 and i < len(shapes) - 1 else z
        return torch.nn.functional.cross_entropy(z, labels)

    many = torch.func.vmap(loss)

    def gradient() -> Any:
        with torch.no_grad():
            quotients = [
                (many(start + part) - many(start - part)) / (2 * sample.step)
                for part in moves.split(CHUNK)
            ]
        return torch.cat(quotients).numpy()

    return gradient, sample.entries


def jax_peer(sample: Sample) -> tuple[Peer, Any]:
    """Return JAX's ``jit(vmap)`` of the loss over perturbed copies of all parameters."""
    import jax

    flat, x, labels, shapes = _parts(sample.problem)
    with common.jax_in_float64():
        start, x, labels = (jax.numpy.asarray(value) for value in (flat, x, labels))

    def loss(point: Any) -> Any:
        z, at = x, 0
        for i, shape in enumerate(shapes):
            part = point[at : at + np.prod(shape)].reshape(shape)
            at += int(np.prod(shape))
            z = z @ part if len(shape) == 2 else z + part
            z = jax.nn.sigmoid(z) if i % 2 and i < len(shapes) - 1 else z
        terms = jax.nn.log_softmax(z)
        return -jax.numpy.mean(jax.numpy.take_along_axis(terms, labels[:, None], 1))

    def quotients(entries: Any) -> Any:
        moves = jax.numpy.zeros((len(entries), len(start)))
        moves = moves.at[jax.numpy.arange(len(entries)), entries].set(sample.step)
        many = jax.vmap(loss)
        return (many(start + moves) - many(start - moves)) / (2 * sample.step)

    taken = jax.jit(quotients)
    chunks = [sample.entries[i : i + CHUNK] for i in range(0, len(sample.entries), CHUNK)]

    def gradient() -> Any:
        with common.jax_in_float64():
            return np.concatenate([taken(chunk) for chunk in chunks])

    return gradient, sample.entries


def _parts(problem: Problem) -> tuple[Any, Any, Any, list[tuple[int, ...]]]:
    """Return the parameters in one vector, the data, and the shapes of the layers."""
    x, labels = problem.args
    leaves = list(problem.params.values())
    return common.flat(leaves), x, np.asarray(labels, np.int64), [leaf.shape for leaf in leaves]


PEERS: dict[str, tuple[str, Callable[[Sample], tuple[Peer, Any]]]] = {
    "SciPy 3-point": ("scipy", scipy_peer),
    "numdifftools": ("numdifftools", numdifftools_peer),
    "PyTorch vmap": ("torch", torch_peer),
    "JAX jit(vmap)": ("jax", jax_peer),
}
"""The module of each peer, and the function that builds the peer for a sample of entries."""

WITH_PEERS = "sigmoid"


def measure(
    name: str,
    problem: Problem,
    sample: int,
    rounds: int,
    step: float,
    clock: Callable[[], float],
    threads: int = 1,
    peers: Sequence[str] = (),
) -> list[Result]:
    """Time all contenders on one problem, in turns, after a comparison of their derivatives.

    Raises
    ------
    GradlabError
        If the engine or a peer differs from the plain loop.
    """
    p = size(problem.params)
    engines = {
        f"{ENGINE}, {count} thread{'s' * (count > 1)}": CentralDifference(step, threads=count)
        for count in sorted({1, threads})
    }
    evaluations = CentralDifference(step).equivalent_evaluations(p)
    probe = Probe(problem.loss, problem.params, problem.args, None)
    entries = common.sample_entries(problem.params, sample, np.random.default_rng(0))
    starts = np.cumsum([0, *[leaf.size for leaf in probe.leaves]])
    places = [
        (leaf, int(entry - starts[leaf]))
        for entry in entries
        for leaf in [int(np.searchsorted(starts, entry, side="right")) - 1]
    ]

    def quotients() -> tuple[Laps, list[float]]:
        laps, found = Laps(), []
        for leaf, i in places:
            x = probe.leaves[leaf].flat[i]
            values = []
            for moved in (x + step, x - step):
                started = clock()
                values.append(probe.at(leaf, i, moved))
                laps.append(clock() - started)
            found.append((values[0] - values[1]) / ((x + step) - (x - step)))
        return laps, found

    wanted = dict(zip(entries.tolist(), quotients()[1], strict=True))
    largest = max(map(abs, wanted.values()))
    differences: dict[str, float] = {}
    runs: dict[str, Callable[[], object]] = {PLAIN: lambda: quotients()[0]}
    scale = {PLAIN: float(evaluations)}

    def add(who: str, run: Callable[[], object], found: Any, at: Any) -> None:
        exact = np.array([wanted[entry] for entry in np.asarray(at).tolist()])
        differences[who] = float(np.abs(found - exact).max() / largest)
        if not differences[who] <= AGREE:
            raise GradlabError(
                f"{name}: the {who} differs from the plain loop by {differences[who]:.0e}, "
                "so it was not timed"
            )
        runs[who], scale[who] = run, p / len(at) if who in PEERS else 1.0

    memory: dict[str, float] = {}
    for who, backend in engines.items():
        take = backend.value_and_grad(problem.loss)
        run = partial(take, problem.params, *problem.args)
        found = common.flat([*run()[1].values()])[entries]
        memory[who] = peak(run)
        add(who, run, found, entries)
    for who in peers:
        run, at = PEERS[who][1](Sample(problem, entries, step))
        add(who, run, run(), at)
    seconds = common.interleave(runs, rounds=rounds, turn=0, clock=clock)
    whole = {who: [scale[who] * lap for lap in laps] for who, laps in seconds.items()}
    return [
        Result(
            name,
            p,
            who,
            float(np.median(laps)),
            Ratio.of(whole[PLAIN], laps),
            differences.get(who),
            memory.get(who),
        )
        for who, laps in whole.items()
    ]


def peak(run: Callable[[], object]) -> float:
    """Return the peak of allocated memory in megabytes."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def table(results: Sequence[Result], caption: str) -> Table:
    """Return the results as a table."""
    shown = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    shown.add_column("problem")
    shown.add_column("by")
    for name in ("time", "times faster", "middle half", "difference", "MB"):
        shown.add_column(name, justify="right")
    before = ""
    for r in results:
        first = f"{r.problem}, {r.parameters:,}" if r.problem != before else ""
        before = r.problem
        if r.seconds is None or r.ratio is None:
            shown.add_row(first, r.contender, r.missing, "", "", "", "")
            continue
        is_engine = r.contender.startswith(ENGINE)
        ratio = r.ratio
        shown.add_row(
            first,
            r.contender,
            f"{'' if is_engine else '~'}{common.duration(r.seconds)}",
            "" if r.contender == PLAIN else common.digits(ratio.median),
            ""
            if r.contender == PLAIN
            else f"{common.digits(ratio.low)}–{common.digits(ratio.high)}",
            "" if r.difference is None else f"{r.difference:.0e}",
            "" if r.megabytes is None else f"{r.megabytes:.0f}",
        )
    return shown


def headline(results: Sequence[Result]) -> str:
    """Return the result in one line."""
    fastest = {
        r.problem: r.ratio
        for r in results
        if r.ratio is not None and r.contender.startswith(ENGINE)
    }
    ratios = ", ".join(f"{common.digits(ratio.median)} ({who})" for who, ratio in fastest.items())
    peers = [r for r in results if r.contender in PEERS and r.seconds is not None]
    if not peers:
        return f"Times faster than the plain loop: {ratios}."
    best = min(peers, key=lambda r: r.seconds or 0.0)
    engine = min(
        r.seconds or 0.0
        for r in results
        if r.problem == best.problem and r.contender.startswith(ENGINE)
    )
    times = common.digits((best.seconds or 0.0) / engine)
    return (
        f"Times faster than the plain loop: {ratios}; than the best peer, {best.contender}: "
        f"{times}."
    )


MARKS = (("D", COLOURS[1]), ("o", COLOURS[0]), ("s", COLOURS[2]))
"""Marks and colours of the plain loop, the engine, and peers."""


CALLED = {
    "sigmoid": "784-50-100-10, sigmoid, MNIST",
    "dense": "the same on inputs without zeros",
    "relu": "784-200-200-10, relu, MNIST",
    "batch-norm": "a layer normalised over its batch",
    "tied": "an autoencoder of one matrix",
    "convolution": "a convolution and a maximum",
    "left": "weights on the left of the data",
    "single": "one image without a batch axis",
    "no-rule": "a loss without a rule",
}
"""The labels of the problems in the figure."""


@styled
def figure(results: Sequence[Result]) -> Figure:
    """Draw the times: a panel per problem, a row per contender; hollow marks are extrapolated."""
    shown = [(r, r.seconds, r.ratio) for r in results if r.seconds is not None and r.ratio]
    problems = list(dict.fromkeys(result.problem for result, *_ in shown))
    counts = [sum(r.problem == problem for r, *_ in shown) for problem in problems]
    height = 1.2 + sum(0.9 + 0.3 * count for count in counts)
    drawn = Figure(figsize=(PHONE_WIDTH, height))
    options: dict[str, Any] = {"squeeze": False, "height_ratios": [0.9 + 0.3 * n for n in counts]}
    panels = drawn.subplots(len(problems), 1, sharex=True, **options)[:, 0]
    for axes, problem in zip(panels, problems, strict=True):
        own = sorted((r for r in shown if r[0].problem == problem), key=lambda each: each[1])
        lines = [
            Row(
                r.contender.replace(ENGINE, "incremental"),
                seconds,
                (common.duration(seconds), f"× {common.digits(ratio.median)}"),
                COLOURS[0 if r.contender.startswith(ENGINE) else 1],
                hollow=not r.contender.startswith(ENGINE),
            )
            for r, seconds, ratio in own
        ]
        rows(axes, lines, log=True)
        axes.set_title(CALLED.get(problem, problem), fontsize=11)
    known = [seconds for _, seconds, _ in shown]
    for axes in panels:
        logarithmic(axes.xaxis, min(known), max(known), lambda s: common.duration(s, 1), most=3)
    panels[-1].set_xlabel("time of a gradient, logarithmic")
    title(drawn, "A central difference")
    note(
        drawn,
        "×: times as fast as the plain loop, which evaluates the whole loss each time; hollow: "
        "extrapolated; incremental: computes only what a perturbed entry changes",
    )
    return drawn


@common.main("numerical_speed")
def main(
    data: Annotated[
        Path | None, typer.Option(help="The folder with MNIST; by default, similar noise.")
    ] = None,
    problem: Annotated[
        list[str] | None,
        typer.Option(help=f"Repeatable: {', '.join(PROBLEMS)} [default: all]."),
    ] = None,
    batch: common.Batch = 100,
    step: Annotated[float, typer.Option(help="The step for all entries.")] = 1e-4,
    peers: Annotated[
        bool, typer.Option("--peers/--no-peers", help=f"Also time peers, on {WITH_PEERS}.")
    ] = True,
    threads: common.Threads = 1,
    quick: common.Quick = False,
) -> common.Findings:
    """Time a whole central difference by the incremental engine, the plain loop, and peers."""
    common.require_known("--problem", problem, PROBLEMS)
    common.limit_threads(threads)
    clock, clocked = common.clock_for(threads)
    rounds, sample = (1, 40) if quick else (7, 200)

    def mnist(n: int) -> tuple[Any, Any]:
        if data is not None:
            train = load("mnist", data_dir=data, subset=n).train
            return train.x, train.y
        r = np.random.default_rng(0)  # a fifth of the pixels are not 0, with 64 grey values
        grey = r.integers(1, 65, (n, 784)) / 64
        return np.where(r.random((n, 784)) < 0.2, grey, 0.0), r.integers(10, size=n)

    results: list[Result] = []
    for name in problem or (("sigmoid",) if quick else PROBLEMS):
        common.say(f"timing {name} ...")
        made = PROBLEMS[name](mnist, batch)
        with_peers = peers and not quick and name == WITH_PEERS
        there = [who for who in PEERS if with_peers and common.is_installed(PEERS[who][0])]
        results += measure(name, made, sample, rounds, step, clock, threads, there)
        if with_peers:
            results += [
                Result(name, size(made.params), who, missing=f"pip install {package}")
                for who, (package, _) in PEERS.items()
                if who not in there
            ]
    images = "MNIST" if data is not None else "noise in place of MNIST"
    caption = (
        f"{clocked}, {images}, float64, batch {batch}, step {step:g}, {rounds} rounds, "
        f"~ extrapolated from {sample} entries; "
    )
    return common.Findings(
        options={"rounds": rounds, "threads": threads, "quick": quick, "batch": batch},
        table=lambda environment: table(results, f"{caption}{environment}"),
        results=results,
        headline=headline(results),
        figure=lambda: figure(results),
        more={"images": images},
    )


if __name__ == "__main__":
    common.run(main)
