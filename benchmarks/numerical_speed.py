"""What a whole numerical gradient costs: the plain loop, and the incremental engine.

The plain loop evaluates the loss twice for each parameter. It takes minutes, so that it is timed on
a sample: a lap is one evaluation, on the whole loss, with an entry of the parameters moved; its
median is multiplied by the evaluations of the whole gradient. The engine computes the whole. Both
take turns in one process, and their quotients are compared at the sampled entries first.

With one thread, the clock is the CPU time of the process: neighbours do not count in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import autograd.numpy as anp
import common
import numpy as np
import typer
from common import Laps, Ratio
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gradlab import network
from gradlab.datasets import load
from gradlab.errors import GradlabError, OptionError
from gradlab.gradients import CentralDifference
from gradlab.gradients.finite_differences import Probe
from gradlab.params import size
from gradlab.plotting import STYLE

AGREE = 1e-6
"""A larger difference of the two, relative to the largest entry of the sample, is other work."""


@dataclass(frozen=True)
class Problem:
    """A gradient to take: a loss, its parameters and its data."""

    loss: Callable[..., Any]
    params: dict[str, Any]
    args: tuple[Any, ...]


Data = Callable[[int], "tuple[Any, Any]"]


def of_network(widths: Sequence[int], activation: str, images: bool) -> Callable[..., Problem]:
    """Make a network of the library, on MNIST or on dense noise."""

    def make(mnist: Data, batch: int) -> Problem:
        params = network.init(tuple(widths), 0, activation=activation)
        x, labels = mnist(batch)
        if not images:
            x = np.random.default_rng(0).standard_normal(x.shape)
        return Problem(partial(network.loss, activation=activation), params, (x, labels))

    return make


def batch_norm(mnist: Data, batch: int) -> Problem:
    """Make a hidden layer that is normalised over the batch: its rows are not independent."""
    x, labels = mnist(batch)
    r = np.random.default_rng(0)
    params = {"W1": r.standard_normal((784, 30)) / 28, "W2": r.standard_normal((30, 10)) / 5}

    def loss(params: Any, x: Any, labels: Any) -> Any:
        z = x @ params["W1"]
        centred = z - anp.mean(z, axis=0)
        h = anp.tanh(centred / anp.sqrt(anp.mean(centred**2, axis=0) + 1e-5))
        return network.cross_entropy(h @ params["W2"], labels)

    return Problem(loss, params, (x, labels))


def no_rule(mnist: Data, batch: int) -> Problem:
    """Make a loss for which there is no rule: what the engine costs where it does not help."""
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
    "no-rule": no_rule,
}
"""The notebook's network on MNIST and on noise, a wider one, and two that are hard."""


@dataclass(frozen=True)
class Result:
    """What was measured on one problem.

    Attributes
    ----------
    problem : str
        Its name.
    parameters : int
        How many entries the gradient has.
    plain, incremental : float
        Seconds a gradient, the medians; the plain loop's extrapolated.
    ratio : Ratio
        How many times faster the engine is.
    difference : float
        The worst between the two, relative to the largest sampled entry of the gradient.
    """

    problem: str
    parameters: int
    plain: float
    incremental: float
    ratio: Ratio
    difference: float


def measure(
    name: str,
    problem: Problem,
    sample: int,
    rounds: int,
    step: float,
    clock: Callable[[], float],
) -> Result:
    """Time both on one problem, in turns, after they are found to agree."""
    p = size(problem.params)
    backend = CentralDifference(step)
    evaluations = backend.equivalent_evaluations(p)
    take = backend.value_and_grad(problem.loss)
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

    found = common.flat([*take(problem.params, *problem.args)[1].values()])[entries]
    wanted = np.array(quotients()[1])
    difference = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    if not difference <= AGREE:
        raise GradlabError(f"{name}: the engine is {difference:.0e} from the plain loop: not timed")
    runs: dict[str, Callable[[], object]] = {
        "plain": lambda: quotients()[0],
        "incremental": lambda: take(problem.params, *problem.args),
    }
    seconds = common.interleave(runs, rounds=rounds, turn=0, clock=clock)
    plain = [evaluations * lap for lap in seconds["plain"]]
    return Result(
        name,
        p,
        float(np.median(plain)),
        float(np.median(seconds["incremental"])),
        Ratio.of(plain, seconds["incremental"]),
        difference,
    )


def table(results: Sequence[Result], caption: str) -> Table:
    """Show what was measured."""
    shown = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
    shown.add_column("problem")
    for name in ("parameters", "plain loop", "engine", "times faster", "middle half", "difference"):
        shown.add_column(name, justify="right")
    for r in results:
        shown.add_row(
            r.problem,
            f"{r.parameters:,}",
            f"~{common.duration(r.plain)}",
            common.duration(r.incremental),
            common.digits(r.ratio.median),
            f"{common.digits(r.ratio.low)}–{common.digits(r.ratio.high)}",
            f"{r.difference:.0e}",
        )
    return shown


def headline(results: Sequence[Result]) -> str:
    """Say the result in one line."""
    told = ", ".join(f"{common.digits(r.ratio.median)} ({r.problem})" for r in results)
    return f"Times faster than the plain loop: {told}."


def figure(results: Sequence[Result]) -> Figure:
    """Draw the ratios."""
    with rc_context(STYLE):
        drawn = Figure(figsize=(7, 3.5))
        axes = drawn.subplots()
        axes.barh([r.problem for r in results], [r.ratio.median for r in results])
        axes.set_xscale("log")
        axes.set_xlabel("times faster than the plain loop")
        axes.invert_yaxis()
        drawn.tight_layout()
        return drawn


def main(
    data: Annotated[
        Path | None, typer.Option(help="The folder with MNIST; by default, noise like it.")
    ] = None,
    problem: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(PROBLEMS)} [default: all].")
    ] = None,
    batch: common.Batch = 100,
    step: Annotated[float, typer.Option(help="Of the difference, for all entries.")] = 1e-4,
    threads: common.Threads = 1,
    quick: common.Quick = False,
    json_file: common.Json = None,
    plot_file: common.Plot = None,
) -> None:
    """Time a whole central difference by the incremental engine against the plain loop."""
    if wrong := [name for name in problem or () if name not in PROBLEMS]:
        raise OptionError(f"--problem {wrong[0]}: choose from {', '.join(PROBLEMS)}")
    common.check_outputs(json_file, plot_file)
    common.limit_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    rounds, sample = (1, 40) if quick else (7, 200)

    def mnist(n: int) -> tuple[Any, Any]:
        if data is not None:
            train = load("mnist", data_dir=data, subset=n).train
            return train.x, train.y
        r = np.random.default_rng(0)  # a fifth of the pixels, of 64 grey values
        grey = r.integers(1, 65, (n, 784)) / 64
        return np.where(r.random((n, 784)) < 0.2, grey, 0.0), r.integers(10, size=n)

    results = []
    for name in problem or (("sigmoid",) if quick else PROBLEMS):
        common.say(f"timing {name} ...")
        made = PROBLEMS[name](mnist, batch)
        results.append(measure(name, made, sample, rounds, step, clock))
    described = common.describe()
    clocked = "CPU time" if threads == 1 else "wall time"
    images = "MNIST" if data is not None else "noise in place of MNIST"
    caption = (
        f"{clocked}, {images}, float64, batch {batch}, step {step:g}, {rounds} rounds, "
        f"~ extrapolated from {2 * sample} evaluations; {common.environment_line(described)}"
    )
    shown = table(results, caption)
    common.out.print(shown, soft_wrap=True)
    told = headline(results)
    numbers = {
        "benchmark": "numerical_speed",
        "environment": described,
        "options": {"rounds": rounds, "threads": threads, "quick": quick, "batch": batch},
        "images": images,
        "table": common.record(shown),
        "results": [asdict(result) for result in results],
        "headline": told,
    }
    common.write_outputs(numbers, lambda: figure(results), json_file, plot_file)
    common.out.print(told, soft_wrap=True)


if __name__ == "__main__":
    common.run(main)
