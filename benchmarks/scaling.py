"""The cost of a gradient as the number of parameters grows from a hundred to a million.

A finite difference perturbs each parameter separately: p parameters take p or more evaluations of
the loss. Reverse mode takes one forward and one backward pass for any p: at most a few times the
cost of an evaluation (Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, chapter 4). This
script measures both laws on sigmoid networks of one shape, 4h-h-10, as h grows. gradlab's `central`
computes only what a perturbation changes, so its cost grows more slowly than p. It is the contender
"incremental", next to the plain loop.

The exponent b in ``cost ~ p^b`` is fitted by least squares on logarithms. The cost is counted in
evaluations: the seconds of a gradient divided by those of one evaluation of the same loss in NumPy,
in the same round. In theory, b is 1 for finite differences and 0 for reverse mode; the fit uses
all sizes. A second exponent describes the seconds. They include the cost of an evaluation, which is
overhead for small networks and ~ p for large ones, so this fit starts at 10,000 parameters.

The plain loop would take half an hour for a million parameters. It is timed on a sample of the
entries and extrapolated; see `common.restrict`. All others are timed on the whole gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Annotated, Any

import common
import numpy as np
import typer
from common import Ratio
from gradient_speed import PEERS, Problem, require_same
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from gradlab import network
from gradlab.errors import OptionError
from gradlab.gradients import CentralDifference, find_backend, value_and_grad
from gradlab.params import flatten, size
from gradlab.plotting.labels import at_ends
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, PHONE_WIDTH, note, styled, title

EVALUATION = "evaluation"
PLAIN = "central, plain loop"
CENTRAL = "central, incremental"
NUMERICAL = (PLAIN, CENTRAL)
REVERSE = ("autograd", "tape")
CONTENDERS = (*NUMERICAL, *REVERSE, *PEERS)
COLOUR = dict(zip(CONTENDERS, COLOURS, strict=False))
MARKER = dict(zip(CONTENDERS, "osD^vP", strict=True))
ARITHMETIC = 10_000
"""Number of parameters above which arithmetic, not overhead, dominates an evaluation."""


def widths_of(p: float) -> tuple[int, int, int]:
    """Return the widths 4h-h-10 of the network whose number of parameters is closest to p.

    Examples
    --------
    >>> widths_of(1e2), widths_of(1e6)
    ((16, 4, 10), (1996, 499, 10))
    """
    h = max(1, round((-11 + math.sqrt(121 + 16 * (p - 10))) / 8))  # 4 h² + 11 h + 10 = p
    return 4 * h, h, 10


@dataclass(frozen=True)
class Result:
    """The cost of a gradient of one network by one contender; in the JSON file, one record.

    Attributes
    ----------
    network : str
        The widths of the network.
    parameters : int
        The number p of its parameters.
    contender : str
        The contender's name.
    seconds : float
        The time of the whole gradient, the median over the rounds.
    evaluations : int
        The number of evaluations of the loss in a gradient, including incremental ones.
    cost : Ratio
        The time divided by that of one evaluation of the loss in NumPy.
    difference : float
        The largest difference from autograd, relative to the largest entry of its leaf.
    entries_sampled : int or None
        The number of entries from which the time is extrapolated; None if it is measured.
    """

    network: str
    parameters: int
    contender: str
    seconds: float
    evaluations: int
    cost: Ratio
    difference: float
    entries_sampled: int | None

    @property
    def about(self) -> str:
        """The mark before an extrapolated figure."""
        return "" if self.entries_sampled is None else "~"


@dataclass(frozen=True)
class Slope:
    """An exponent b of a cost ~ p^b, fitted by least squares on logarithms.

    Attributes
    ----------
    contender : str
        The contender's name.
    of : str
        The unit of the cost, "evaluations" or "seconds".
    exponent : float
        The exponent b.
    error : float
        The standard error of b; 0 for two points.
    factor : float
        The cost is ``factor * p**exponent``.
    smallest, largest : int
        The range of the fitted sizes p.
    """

    contender: str
    of: str
    exponent: float
    error: float
    factor: float
    smallest: int
    largest: int

    @classmethod
    def fit(cls, contender: str, of: str, sizes: Sequence[int], costs: Sequence[float]) -> Slope:
        """Fit an exponent.

        Examples
        --------
        >>> slope = Slope.fit("central", "evaluations", [10, 100, 1000], [20.0, 200.0, 2000.0])
        >>> round(slope.exponent, 9), round(slope.factor, 9), slope.error < 1e-9
        (1.0, 2.0, True)
        """
        x, y = np.log(sizes), np.log(costs)
        spread = float(np.sum((x - x.mean()) ** 2))
        exponent = float(np.sum((x - x.mean()) * (y - y.mean())) / spread)
        level = float(y.mean() - exponent * x.mean())
        rest = float(np.sum((y - level - exponent * x) ** 2))
        error = math.sqrt(rest / (len(x) - 2) / spread) if len(x) > 2 else 0.0
        return cls(contender, of, exponent, error, math.exp(level), min(sizes), max(sizes))


def measure(
    problem: Problem,
    peers: Sequence[str],
    rounds: int,
    sample: int,
    clock: Callable[[], float],
) -> list[Result]:
    """Time all contenders on a problem's gradient, in turns with an evaluation of its loss.

    Parameters
    ----------
    problem : Problem
        A problem with p parameters.
    peers : sequence of str
        Names from `gradient_speed.PEERS` that are installed.
    rounds : int
        The number of turns of each contender.
    sample : int
        The number of entries on which the plain loop is timed; all of them if there are fewer.
    clock : callable
        Returns seconds.

    Raises
    ------
    GradlabError
        If a contender's gradient differs from autograd's.
    """
    params, *batch = problem.point
    p = size(params)
    reference = flatten(value_and_grad(network.loss)(params, *batch)[1])[0]
    runs: dict[str, Callable[[], object]] = {EVALUATION: lambda: network.loss(params, *batch)}
    entries = common.sample_entries(params, min(sample, p), np.random.default_rng(0))
    loss, start = common.restrict(network.loss, params, entries)
    plain = CentralDifference(incremental=False)
    runs[PLAIN] = common.timed_evaluations(plain, loss, start, *batch, clock=clock)
    differences = {
        PLAIN: common.worst_difference(
            plain.value_and_grad(loss)(start, *batch)[1], reference, entries
        )
    }
    for name in (CENTRAL, *REVERSE):
        take = find_backend(name.split(",")[0]).value_and_grad(network.loss)
        runs[name] = lambda take=take: take(params, *batch)  # type: ignore[misc]
    for name in peers:
        runs[name] = PEERS[name][1](problem)
    for name in (CENTRAL, *REVERSE, *peers):
        # Check a later call, as it is timed: the first calls record or compile.
        outcome: Any = [runs[name]() for _ in range(1 if name == CENTRAL else 3)][-1]
        leaves = common.flat(flatten(outcome[1])[0])
        differences[name] = common.worst_difference(leaves, reference)
    for name, difference in differences.items():
        require_same(name, problem, difference)
    seconds = common.interleave(runs, rounds=rounds, clock=clock)
    made_of = 2 * p + 1
    results = []
    for name, difference in differences.items():
        whole = [lap * (made_of if name == PLAIN else 1) for lap in seconds[name]]
        results.append(
            Result(
                problem.name,
                p,
                name,
                float(np.median(whole)),
                made_of if name in NUMERICAL else 1,
                Ratio.of(whole, seconds[EVALUATION]),
                difference,
                len(entries) if name == PLAIN and len(entries) < p else None,
            )
        )
    return results


def fits(results: Sequence[Result]) -> list[Slope]:
    """Fit each contender's exponents: in evaluations, and in seconds if two sizes are large."""
    slopes = []
    for contender, line in _by_contender(results).items():
        sizes = [r.parameters for r in line]
        slopes.append(Slope.fit(contender, "evaluations", sizes, [r.cost.median for r in line]))
        large = [r for r in line if r.parameters >= 0.9 * ARITHMETIC]
        if len(large) > 1:
            sizes = [r.parameters for r in large]
            slopes.append(Slope.fit(contender, "seconds", sizes, [r.seconds for r in large]))
    return slopes


def _by_contender(results: Sequence[Result]) -> dict[str, list[Result]]:
    ordered = sorted(results, key=lambda r: (CONTENDERS.index(r.contender), r.parameters))
    return {name: list(line) for name, line in groupby(ordered, key=lambda r: r.contender)}


# From results to a table, a headline, a figure


def table(
    results: Sequence[Result], slopes: Sequence[Slope], missing: Mapping[str, str], caption: str
) -> Table:
    """Return the results as a table: a section per contender, a row per size."""
    shown = common.new_table(
        "The cost of one gradient, as the number of parameters grows",
        caption,
        ("seconds", "in evaluations", "middle half", "difference"),
    )
    for contender, line in _by_contender(results).items():
        shown.add_row(Text(contender, style="bold"), "", "", "", "")
        for r in line:
            shown.add_row(
                f"  p = {r.parameters:,}",
                r.about + common.duration(r.seconds),
                r.about + common.digits(r.cost.median),
                f"{common.digits(r.cost.low, 2)}–{common.digits(r.cost.high, 2)}",
                f"{r.difference:.0e}",
            )
        power = {s.of: f"p^{s.exponent:.2f} ± {s.error:.2f}" for s in slopes
                 if s.contender == contender}  # fmt: skip
        shown.add_row("  fit", power.get("seconds", ""), power["evaluations"], "", "")
        shown.add_section()
    for contender in missing:
        shown.add_row(contender, "not installed", "", "", "", style="dim")
    return shown


def headline(results: Sequence[Result], slopes: Sequence[Slope]) -> str:
    """Return the result in one line."""
    of = {slope.contender: slope for slope in slopes if slope.of == "evaluations"}
    largest = max(results, key=lambda r: r.parameters)
    last = {r.contender: r for r in results if r.parameters == largest.parameters}
    plain, tape = last[PLAIN], last["tape"]
    times = common.digits(plain.seconds / tape.seconds, 2)
    return (
        f"In evaluations of the loss, a central difference costs ~ p^{of[PLAIN].exponent:.2f}, "
        f"reverse mode ~ p^{of['autograd'].exponent:.2f} (autograd) and "
        f"p^{of['tape'].exponent:.2f} (tape); at {largest.parameters:,} parameters the plain loop "
        f"takes {plain.about}{times} times as long as the tape."
    )


@styled
def figure(results: Sequence[Result], slopes: Sequence[Slope], heading: str) -> Figure:
    """Draw seconds and evaluations over the number of parameters.

    Hollow marks are extrapolated; the lines are the fits.
    """
    drawn = Figure(figsize=(PHONE_WIDTH, 8))
    panels = dict(zip(("seconds", "evaluations"), drawn.subplots(2, 1, sharex=True), strict=True))
    panels["seconds"].set_title("Time of a gradient")
    panels["evaluations"].set_title("The same, in evaluations of the loss")
    panels["evaluations"].set_xlabel("parameters, p")
    title(drawn, heading)
    note(
        drawn,
        f"lines: fits, those of seconds from {ARITHMETIC:,} parameters on; hollow: extrapolated "
        "from a sample of the entries",
    )
    of = {(slope.contender, slope.of): slope for slope in slopes}
    lines = _by_contender(results)
    sizes = [result.parameters for result in results]
    for kind, axes in panels.items():
        ends = []
        costs = {who: [_cost(r, kind) for r in line] for who, line in lines.items()}
        logarithmic(axes.xaxis, min(sizes), max(sizes))
        known = [cost for each in costs.values() for cost in each]
        show = common.duration if kind == "seconds" else common.digits
        logarithmic(axes.yaxis, min(known), max(known), lambda v, show=show: show(v, 1))
        for who, line in lines.items():
            style: Any = {"color": COLOUR[who], "marker": MARKER[who], "ms": 6, "lw": 0}
            axes.plot([r.parameters for r in line], costs[who], **style)
            hollow = [i for i, r in enumerate(line) if r.about]
            at = [line[i].parameters for i in hollow]
            axes.plot(at, [costs[who][i] for i in hollow], mfc="white", **style)
            power = ""
            if slope := of.get((who, kind)):
                reach = np.array([slope.smallest, slope.largest])
                fitted = slope.factor * reach**slope.exponent
                axes.plot(reach, fitted, lw=1.2, color=COLOUR[who])
                power = f" ~ p^{slope.exponent:.2f}"
            ends.append((costs[who][-1], who.replace(", ", ",\n") + power, COLOUR[who]))
        at_ends(axes, ends)
    return drawn


def _cost(result: Result, kind: str) -> float:
    return result.seconds if kind == "seconds" else result.cost.median


@common.main("scaling")
def main(
    sizes: Annotated[
        list[int] | None,
        typer.Option(
            "--parameters",
            min=20,
            help="About this many parameters; give it twice or more [default: 100 to a million].",
        ),
    ] = None,
    batch: common.Batch = 10,
    dtype: common.Dtype = "float64",
    threads: common.Threads = 1,
    quick: common.Quick = False,
) -> common.Findings:
    """Time one gradient for growing numbers of parameters, and fit the exponent of its cost."""
    kind = common.parse_dtype(dtype)
    decades = np.arange(2, 6.1, 1 if quick else 0.5)
    widths = list(dict.fromkeys(map(widths_of, sizes or [10.0**decade for decade in decades])))
    if len(widths) < 2:
        raise OptionError("--parameters: give at least two different sizes")
    common.limit_threads(threads)
    missing = common.missing({name: module for name, (module, _) in PEERS.items()})
    rounds, sample = (3, 16) if quick else (9, 32)
    clock, clocked = common.clock_for(threads)
    results: list[Result] = []
    for each in widths:
        problem = Problem.draw(each, batch, kind, 0)
        common.say(f"timing {problem.name}, {size(problem.params):,} parameters ...")
        results += measure(problem, [n for n in PEERS if n not in missing], rounds, sample, clock)
    slopes = fits(results)
    caption = "\n".join(
        [
            "in evaluations: the seconds, divided by those of one evaluation of the loss in NumPy; "
            "the median over the rounds; half of the rounds lie in the middle half.",
            "fit: least squares on logarithms; of seconds, from 10,000 parameters on. ± one "
            "standard error.",
            f"~ extrapolated: the median time of an evaluation, for {sample} random entries, times "
            "the 2 p + 1 evaluations of a whole gradient.",
            "difference: the largest from autograd, relative to the largest entry of its leaf.",
            *(f"{name} is not installed: {remedy}" for name, remedy in missing.items()),
            f"batch {batch}, {dtype}, {clocked}, {rounds} rounds; ",
        ]
    )
    title = f"Sigmoid networks 4h-h-10, batch {batch}, {dtype}"
    return common.Findings(
        options={
            "batch": batch,
            "dtype": dtype,
            "threads": threads,
            "quick": quick,
            "rounds": rounds,
            "sample": sample,
        },
        table=lambda environment: table(results, slopes, missing, f"{caption}{environment}"),
        results=results,
        headline=headline(results, slopes),
        figure=lambda: figure(results, slopes, title),
        more={"slopes": [asdict(slope) for slope in slopes], "missing": missing},
    )


if __name__ == "__main__":
    common.run(main)
