"""How much faster several processes compute a numerical gradient of a slow loss.

The loss stands for a simulator that only returns a value. It either computes for about 20 ms, or
waits for 20 ms, as if for a program on another machine. The second kind shows gradlab's overhead
even on a busy machine. The same central difference is computed in this process, by one and by two
worker processes, and by the `map` of a permanent pool (concurrent.futures). All must return the
same bits.

The clock is the wall clock. Each round computes one gradient with each contender. The processes of
`workers=` start and end with each gradient, and this time is included. It does not depend on the
number of parameters; the table also shows it separately.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Annotated, Any

import common
import numpy as np
import typer
from common import Ratio
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table

from gradlab import CentralDifference, grad
from gradlab.errors import GradlabError
from gradlab.params import Array
from gradlab.plotting.labels import Row, rows
from gradlab.plotting.style import PHONE_WIDTH, note, styled, title

REFERENCE = "workers=1"


@dataclass(frozen=True)
class Result:
    """One contender: seconds per gradient, and how many times as fast it is as one worker."""

    loss: str
    contender: str
    seconds: float
    speedup: Ratio


def computes(x: Array, terms: int) -> Any:
    """Return a smooth function of a vector, after a sum of this many terms."""
    total = 0.0
    for k in range(terms):
        total += 1.0 / (1.0 + k * k)
    return total * np.sin(x @ np.linspace(1, 2, x.size))


def waits(x: Array, seconds: float) -> Any:
    """Return a smooth function of a vector, after a pause of this many seconds."""
    time.sleep(seconds)
    return np.sin(x @ np.linspace(1, 2, x.size))


LOSSES = {"computes": computes, "waits": waits}


def calibrate(seconds: float) -> int:
    """Return the number of terms with which `computes` takes this many seconds."""
    terms = 10_000
    x = np.ones(2)
    laps = []
    for _ in range(9):
        started = time.perf_counter()
        computes(x, terms)
        laps.append(time.perf_counter() - started)
    return max(1, round(terms * seconds / float(np.median(laps))))


def measure(kind: str, entries: int, seconds: float, workers: int, rounds: int) -> list[Result]:
    """Time all contenders on one gradient.

    Raises
    ------
    GradlabError
        If two gradients differ in a bit.
    """
    loss, effort = LOSSES[kind], calibrate(seconds) if kind == "computes" else seconds
    x = np.random.default_rng(0).normal(size=entries) / entries
    times: dict[str, list[float]] = defaultdict(list)
    found: dict[str, bytes] = {}
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        backends = {
            "this process": CentralDifference(incremental=False),
            REFERENCE: CentralDifference(workers=1),
            f"workers={workers}": CentralDifference(workers=workers),
            f"a permanent pool of {workers}": CentralDifference(workers=pool.map),
        }
        # The first call starts the processes of the pool.
        grad(computes, backends[f"a permanent pool of {workers}"])(np.ones(9), 1)
        for _ in range(rounds):
            for name, backend in backends.items():
                started = time.perf_counter()
                found[name] = grad(loss, backend)(x, effort).tobytes()
                times[name].append(time.perf_counter() - started)
                if found[name] != found["this process"]:
                    raise GradlabError(f"{name}: the gradient differs from this process's")
    return [
        Result(kind, name, float(np.median(laps)), Ratio.of(times[REFERENCE], laps))
        for name, laps in times.items()
    ]


def starting(workers: int) -> float:
    """Return the seconds in which worker processes start and end."""
    laps = []
    for _ in range(3):
        started = time.perf_counter()
        grad(computes, CentralDifference(workers=workers))(np.ones(4 * workers), 1)
        laps.append(time.perf_counter() - started)
    return float(np.median(laps))


def table(results: list[Result], title: str, caption: str) -> Table:
    """Return seconds and speedups as a table."""
    shown = Table(title=title, caption=caption, box=SIMPLE_HEAD, title_justify="left")
    shown.add_column("loss")
    shown.add_column("by")
    shown.add_column("time", justify="right")
    shown.add_column(f"times as fast as {REFERENCE}", justify="right")
    for result in results:
        ratio = result.speedup
        spread = "" if result.contender == REFERENCE else f"  ({ratio.low:.2f} to {ratio.high:.2f})"
        shown.add_row(
            result.loss,
            result.contender,
            common.duration(result.seconds),
            f"{ratio.median:.2f}{spread}",
        )
    return shown


KINDS = {"computes": "A loss that computes", "waits": "A loss that waits, as for a simulator"}


@styled
def figure(results: list[Result]) -> Figure:
    """Draw the seconds, a panel per loss, with the speedup over one worker."""
    kinds = list(dict.fromkeys(result.loss for result in results))
    drawn = Figure(figsize=(PHONE_WIDTH, 1 + 0.8 * len(kinds) + 0.32 * len(results)))
    panels = drawn.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    for axes, kind in zip(panels, kinds, strict=True):
        own = sorted((r for r in results if r.loss == kind), key=lambda result: result.seconds)
        shown = [
            Row(
                r.contender,
                r.seconds,
                (common.duration(r.seconds), f"× {r.speedup.median:.2f}"),
            )
            for r in own
        ]
        rows(axes, shown)
        axes.set_title(KINDS[kind])
    panels[-1].set_xlim(0, 1.02 * max(result.seconds for result in results))
    panels[-1].set_xlabel("seconds per gradient")
    title(drawn, "One numerical gradient, by several processes")
    note(drawn, f"×: times as fast as {REFERENCE}")
    return drawn


def headline(results: list[Result], entries: int, seconds: float, workers: int) -> str:
    """Return the speedup in one line."""
    speedups = " and ".join(
        f"{result.speedup.median:.2f} times as fast as one if the loss {result.loss}"
        for result in results
        if result.contender == f"workers={workers}"
    )
    return (
        f"A central difference of {entries:,} parameters, {common.duration(seconds, 2)} per "
        f"evaluation: {workers} processes are {speedups}."
    )


@common.main("parallel_speed")
def main(
    loss: Annotated[
        list[str] | None, typer.Option(help="computes or waits [default: both].")
    ] = None,
    entries: Annotated[int, typer.Option(min=1, help="Parameters of the loss.")] = 500,
    milliseconds: Annotated[float, typer.Option(min=0.01, help="Time of one evaluation.")] = 20.0,
    workers: Annotated[int, typer.Option(min=2, help="Processes to compare with one.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Gradients by each contender.")] = 3,
    quick: common.Quick = False,
) -> common.Findings:
    """Time a numerical gradient of a slow loss with one process and with several."""
    common.require_known("--loss", loss, LOSSES)
    if quick:
        entries, rounds = min(entries, 40), 1
    seconds = milliseconds / 1e3
    started = starting(workers)
    results = []
    for kind in loss or LOSSES:
        common.say(f"timing a loss that {kind} ...")
        results += measure(kind, entries, seconds, workers, rounds)
    load = f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    title = f"{entries:,} parameters, {common.duration(seconds, 2)} per evaluation"
    caption = (
        f"wall time, {rounds} rounds{load}; {workers} processes start and end in "
        f"{common.duration(started, 2)}; "
    )
    return common.Findings(
        options={"entries": entries, "seconds": seconds, "rounds": rounds, "quick": quick},
        table=lambda environment: table(results, title, f"{caption}{environment}"),
        results=results,
        headline=headline(results, entries, seconds, workers),
        figure=lambda: figure(results),
        more={"reference": REFERENCE, "starting": started},
    )


if __name__ == "__main__":
    common.run(main)
