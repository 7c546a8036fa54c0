"""The memory that a gradient takes by each method of differentiation, in copies of the parameters.

The loss is Σ (w x)², with as many data x as parameters w. The figure includes the loss's own two
arrays and the returned gradient. tracemalloc records what NumPy and Python allocate during the
call. The result is the peak, minus the memory before the call, divided by the size of the
parameters. The first call of a function may record the loss; the second figure is from the third
call. JAX and PyTorch are left out: tracemalloc does not see their allocators.

Backends with one or more evaluations per entry are measured with fewer parameters.
"""

from __future__ import annotations

import tracemalloc
import warnings
from dataclasses import dataclass
from typing import Annotated, Any

import common
import numpy as np
import typer
from matplotlib.figure import Figure
from rich.table import Table

import gradlab
from gradlab.gradients import Backend
from gradlab.plotting.labels import Row, rows
from gradlab.plotting.style import PHONE_WIDTH, styled, title

AT_ONCE: dict[str, Backend] = {
    "autograd": gradlab.Autograd(),
    "tape": gradlab.Tape(),
    "spsa": gradlab.SPSA(),
    "forward-gradient": gradlab.ForwardGradient(),
}
"""Backends with a fixed number of evaluations."""
BY_ENTRY: dict[str, Backend] = {
    "central": gradlab.CentralDifference(incremental=False),
    "central4": gradlab.CentralDifference4(incremental=False),
    "forward": gradlab.ForwardDifference(incremental=False),
    "central, incremental": gradlab.CentralDifference(threads=1),
    "richardson": gradlab.Richardson(),
    "complex-step": gradlab.ComplexStep(),
    "autograd-forward": gradlab.AutogradForward(),
}
"""Backends whose number of evaluations is proportional to the number of entries."""


@dataclass(frozen=True)
class Result:
    """The peak memory of a backend in its first and third call, in copies of the parameters."""

    backend: str
    dtype: str
    entries: int
    first: float
    later: float


def loss(w: Any, x: Any) -> Any:
    """Return Σ (w x)²."""
    return ((w * x) ** 2).sum()


def measure(name: str, backend: Backend, entries: int, dtype: str) -> Result:
    """Measure the first and the third call of a gradient."""
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((2, entries)).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peak(gradlab.grad(loss, backend), w[:99], x[:99])  # fills caches and imports modules
        gradient = gradlab.grad(loss, backend)
        first, _, later = [peak(gradient, w, x) for _ in range(3)]
    return Result(name, dtype, entries, first / w.nbytes, later / w.nbytes)


def peak(function: Any, *args: Any) -> int:
    """Return the peak of allocated bytes during a call of a function."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        function(*args)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def table(results: list[Result], caption: str) -> Table:
    """Return the results as a table."""
    shown = common.new_table(
        "Memory beyond the parameters, in copies of the parameters",
        caption,
        ("dtype", "parameters", "first call", "later"),
        first="backend",
    )
    for result in results:
        multiples = (f"{multiple:.1f}" for multiple in (result.first, result.later))
        shown.add_row(result.backend, result.dtype, f"{result.entries:,}", *multiples)
    return shown


@styled
def figure(results: list[Result]) -> Figure:
    """Draw the memory of the first call: a panel per dtype, the least first."""
    dtypes = list(dict.fromkeys(result.dtype for result in results))
    drawn = Figure(figsize=(PHONE_WIDTH, 1.2 + 0.6 * len(dtypes) + 0.26 * len(results)))
    panels = drawn.subplots(len(dtypes), 1, sharex=True, squeeze=False)[:, 0]
    for axes, dtype in zip(panels, dtypes, strict=True):
        own = sorted((r for r in results if r.dtype == dtype), key=lambda result: result.first)
        rows(axes, [Row(r.backend, r.first, (f"{r.first:.1f}",)) for r in own])
        axes.set_title(dtype)
    panels[-1].set_xlim(0, 1.02 * max(result.first for result in results))
    panels[-1].set_xlabel("copies of the parameters")
    title(drawn, "Peak memory of a first gradient, beyond its parameters")
    return drawn


def headline(results: list[Result]) -> str:
    """Name the backends that take least and most, in one line."""
    double = [result for result in results if result.dtype == "float64"]
    least, most = (pick(double, key=lambda r: r.first) for pick in (min, max))
    return (
        f"Beyond the parameters, a gradient takes {least.first:.1f} ({least.backend}) to "
        f"{most.first:.1f} ({most.backend}) copies of them, including two of the loss itself."
    )


@common.main("memory")
def main(
    entries: Annotated[
        int, typer.Option(min=1000, help="Parameters, for backends with few evaluations.")
    ] = 10**6,
    few: Annotated[
        int, typer.Option(min=1000, help="Parameters, for backends with an evaluation per entry.")
    ] = 10**4,
    quick: common.Quick = False,
) -> common.Findings:
    """Measure how much memory a gradient takes with each backend."""
    if quick:
        entries, few = min(entries, 10**5), min(few, 4000)
    results = []
    for dtype in ("float64", "float32"):
        for count, backends in ((entries, AT_ONCE), (few, BY_ENTRY)):
            for name, backend in backends.items():
                common.say(f"measuring {name} in {dtype} ...")
                results.append(measure(name, backend, count, dtype))
    return common.Findings(
        options={"entries": entries, "few": few, "quick": quick},
        table=lambda environment: table(results, environment),
        results=results,
        headline=headline(results),
        figure=lambda: figure(results),
    )


if __name__ == "__main__":
    common.run(main)
