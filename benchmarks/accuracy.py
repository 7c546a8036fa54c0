"""How wrong a numerical gradient is, for every method, step size and precision: the V-curve.

A step h has two errors. The truncation error falls with the step, as h^q for a method of order q.
The round-off error grows as ε/h, because two values of the loss are subtracted that agree in most
digits. The sum is least where both are equal, near ε^(1/(q+1)); the backends' default steps are
there. The complex step subtracts nothing, so it has almost no round-off error and no V.
Extrapolation chooses its own steps below the given one. The formulas and their sources are in
`gradlab.gradients.differences`, `complex_step` and `richardson`.

The gradient is the whole gradient of a small sigmoid network. The error is the norm of the
difference from the true gradient, relative to the norm of the true gradient. mpmath computes the
true gradient with 50 decimal digits: by central differences with step 1e-20 of a second
implementation of the loss, with a truncation error of about 1e-40. The parameters and the data are
exact in single precision, so both precisions have the same true gradient.

The lines end where a step is too small to change a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import common
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.table import Table
from rich.text import Text

from gradlab import network
from gradlab.errors import OptionError
from gradlab.gradients import (
    Backend,
    CentralDifference,
    CentralDifference4,
    ComplexStep,
    ForwardDifference,
    Richardson,
)
from gradlab.gradients.differences import complex_step, richardson
from gradlab.gradients.differences.steps import steps
from gradlab.params import Array, flatten
from gradlab.plotting.scales import logarithmic, superscript
from gradlab.plotting.style import COLOURS, PHONE_WIDTH, styled, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTHS = (6, 5, 4)
BATCH = 8
DIGITS = 50
DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Problem:
    """The network's parameters and a batch, in one precision.

    Attributes
    ----------
    params : dict of str to ndarray
        The network's parameters.
    x, labels : ndarray, shapes (n, d) and (n,)
        The batch.
    """

    params: dict[str, Array]
    x: Array
    labels: Array

    @classmethod
    def draw(cls, dtype: str, seed: int = 0) -> Problem:
        """Draw parameters and data from a seed; all numbers are exact in single precision."""
        rng = np.random.default_rng(seed)
        start = network.init(WIDTHS, rng, dtype="float32")
        moved = {k: v + 0.5 * rng.standard_normal(v.shape).astype("f4") for k, v in start.items()}
        x = rng.standard_normal((BATCH, WIDTHS[0])).astype("f4")
        return cls(
            {name: leaf.astype(dtype) for name, leaf in moved.items()},
            x.astype(dtype),
            rng.integers(WIDTHS[-1], size=BATCH),
        )

    @property
    def point(self) -> tuple[dict[str, Array], Array, Array]:
        """The arguments of the loss."""
        return self.params, self.x, self.labels


def truth(problem: Problem) -> Array:
    """Return the gradient in one vector, shape (p,), correct to the last digit of float64."""
    if not common.is_installed("mpmath"):
        raise common.NotInstalledError("mpmath is not installed: pip install 'gradlab[bench]'")
    import mpmath

    with mpmath.workdps(DIGITS):
        exact = mpmath.mpf
        leaves = flatten(problem.params)[0]
        values = [exact(float(entry)) for leaf in leaves for entry in leaf.flat]
        rows = [[exact(float(pixel)) for pixel in row] for row in problem.x]
        h = exact(10) ** -20

        def loss(values: list[Any]) -> Any:
            total = exact(0)
            for row, label in zip(rows, problem.labels, strict=True):
                rest = iter(values)
                z = list(row)
                for layer, (d, k) in enumerate(pairwise(WIDTHS)):
                    if layer:
                        z = [1 / (1 + mpmath.exp(-t)) for t in z]
                    W = [[next(rest) for _ in range(k)] for _ in range(d)]
                    z = [
                        mpmath.fdot([column[j] for column in W], z) + bias
                        for j, bias in enumerate([next(rest) for _ in range(k)])
                    ]
                total += mpmath.log(mpmath.fsum(map(mpmath.exp, z))) - z[label]
            return total / len(rows)

        def moved(i: int, step: Any) -> list[Any]:
            return [value + step * (i == j) for j, value in enumerate(values)]

        slopes = [(loss(moved(i, h)) - loss(moved(i, -h))) / (2 * h) for i in range(len(values))]
        return np.array([float(slope) for slope in slopes])


# The methods


Gradient: TypeAlias = Callable[[Problem, float | None], Array]
"""``gradient(problem, step)``, in one vector; step None is the method's default."""


@dataclass(frozen=True)
class Method:
    """A numerical method.

    Attributes
    ----------
    gradient : Gradient
        The gradient by this method.
    truncation, round_off : int or None
        The slopes of the error over the step in theory, on logarithmic axes. None if the method
        has no such error, or chooses its own orders.
    default : callable
        ``default(dtype)``, the default step for parameters of order 1.
    """

    gradient: Gradient
    truncation: int | None
    round_off: int | None
    default: Callable[[str], float]


def by_backend(make: Callable[..., Backend]) -> Gradient:
    """Return the gradient by one of gradlab's backends, in the problem's precision."""

    def gradient(problem: Problem, step: float | None) -> Array:
        backend = make(step=step, dtype=problem.x.dtype)
        grads = backend.value_and_grad(network.loss)(*problem.point)[1]
        return common.flat(flatten(grads)[0]).astype(np.float64)

    return gradient


def by_complex_step(problem: Problem, step: float | None) -> Array:
    """Return Im f(x + ih) / h in the complex type of the problem's precision.

    The backend has a fixed step and computes in complex128. This function computes the other steps.
    """
    if step is None:
        grads = ComplexStep().value_and_grad(network.loss)(*problem.point)[1]
        return common.flat(flatten(grads)[0]).astype(np.float64)
    kind = np.result_type(problem.x.dtype, np.complex64)
    params = {name: leaf.astype(kind) for name, leaf in problem.params.items()}
    slopes = []
    for leaf in params.values():
        flat = leaf.reshape(-1)
        for i, held in enumerate(flat.copy()):
            flat[i] = held + 1j * step
            value: Any = network.loss(params, problem.x, problem.labels)
            slopes.append(value.imag / step)
            flat[i] = held
    return np.array(slopes, dtype=np.float64)


def balanced(order: int) -> Callable[[str], float]:
    """Return the default step of a difference of this order, for parameters up to 1."""
    return lambda dtype: float(steps(np.ones(1, dtype), None, order)[0])


METHODS: dict[str, Method] = {
    "forward": Method(by_backend(ForwardDifference), 1, -1, balanced(1)),
    "central": Method(by_backend(CentralDifference), 2, -1, balanced(2)),
    "central4": Method(by_backend(CentralDifference4), 4, -1, balanced(4)),
    "complex-step": Method(by_complex_step, 2, None, lambda dtype: complex_step.DEFAULT_STEP),
    "richardson": Method(by_backend(Richardson), None, None, lambda dtype: richardson.LARGEST_STEP),
}
COLOUR = dict(zip(METHODS, COLOURS, strict=False))
MARKER = dict(zip(METHODS, "osD^v", strict=True))


@dataclass(frozen=True)
class Side:
    """One side of a V-curve, where one of the two errors dominates.

    Attributes
    ----------
    slope : float
        The slope of the error over the step, by least squares on logarithms.
    theory : int
        The slope in theory.
    factor : float
        The error is ``factor * h**theory`` in the middle of the side.
    smallest, largest : float
        The range of the steps h.
    """

    slope: float
    theory: int
    factor: float
    smallest: float
    largest: float

    @classmethod
    def fit(cls, h: Array, error: Array, theory: int | None) -> Side | None:
        """Fit a side; return None without a theory, or for fewer than three steps."""
        if theory is None or len(h) < 3:
            return None
        slope = float(np.polyfit(np.log(h), np.log(error), 1)[0])
        factor = float(np.median(error / h**theory))
        return cls(slope, theory, factor, float(h.min()), float(h.max()))


@dataclass(frozen=True)
class Result:
    """The errors of one method in one precision; in the JSON file, one record.

    Attributes
    ----------
    method, dtype : str
        The method, and the precision of parameters and data.
    default_step, default_error : float
        The default step for parameters of order 1, and the error of a gradient in which each
        entry has its own default step.
    best_step, best_error : float
        The step with the least error among those that were tried, and this error.
    truncation, round_off : Side or None
        The sides above and below the best step.
    steps, errors : list of float
        The curve.
    """

    method: str
    dtype: str
    default_step: float
    default_error: float
    best_step: float
    best_error: float
    truncation: Side | None
    round_off: Side | None
    steps: list[float]
    errors: list[float]


def measure(name: str, dtype: str, grid: Sequence[float], reference: Array) -> Result:
    """Measure the error of a method over the steps.

    Parameters
    ----------
    name : str
        From `METHODS`.
    dtype : str
        The precision of parameters and data.
    grid : sequence of float
        The steps, in falling order.
    reference : ndarray, shape (p,)
        The true gradient.
    """
    method, problem = METHODS[name], Problem.draw(dtype)

    def error(step: float | None) -> float:
        wrong = method.gradient(problem, step) - reference
        return float(np.linalg.norm(wrong) / np.linalg.norm(reference))

    curve: dict[float, float] = {}
    for step in grid:
        with suppress(OptionError):  # the step is too small to change a parameter
            curve[step] = error(step)
    best = min(curve, key=lambda step: curve[step])
    above, below = sides(curve, method)
    return Result(
        name, dtype, method.default(dtype), error(None), best, curve[best],
        above, below, list(curve), list(curve.values()),
    )  # fmt: skip


def sides(curve: Mapping[float, float], method: Method) -> tuple[Side | None, Side | None]:
    """Fit the two sides of a V-curve, where one error dominates.

    These are the steps with an error of at least ten times the least error and at most 0.1. The
    leading term of the theory does not describe larger errors.

    Examples
    --------
    >>> curve = {h: h**2 + 1e-16 / h for h in np.logspace(-1, -12, 45).tolist()}
    >>> above, below = sides(curve, METHODS["central"])
    >>> f"{above.slope:.2f} {below.slope:.2f}"
    '2.00 -1.00'
    """
    h, error = np.array(list(curve)), np.array(list(curve.values()))
    alone = (error <= 0.1) & (error >= 10 * error.min())
    right, left = alone & (h > h[error.argmin()]), alone & (h < h[error.argmin()])
    return (
        Side.fit(h[right], error[right], method.truncation),
        Side.fit(h[left], error[left], method.round_off),
    )


# From results to a table, a headline, a figure


def table(results: Sequence[Result], caption: str) -> Table:
    """Return the results as a table: a section per precision, a row per method."""
    shown = common.new_table(
        "The relative error of a numerical gradient",
        caption,
        ("default step", "error", "best step", "error", "slope above", "slope below"),
    )
    for dtype in dict.fromkeys(result.dtype for result in results):
        shown.add_row(Text(dtype, style="bold"), *6 * [""])
        for r in results:
            if r.dtype == dtype:
                shown.add_row(
                    f"  {r.method}",
                    f"{r.default_step:.0e}",
                    f"{r.default_error:.0e}",
                    f"{r.best_step:.0e}",
                    f"{r.best_error:.0e}",
                    _slopes(r.truncation, METHODS[r.method].truncation),
                    _slopes(r.round_off, METHODS[r.method].round_off),
                )
        shown.add_section()
    return shown


def _slopes(side: Side | None, theory: int | None) -> str:
    """Write the measured slope, and that of the theory in brackets."""
    if theory is None:
        return "–"
    return f"{side.slope:.2f} ({theory})" if side else f"too short ({theory})"


def headline(results: Sequence[Result]) -> str:
    """Return the result in one line, for the first precision."""
    first = results[0].dtype
    errors = ", ".join(f"{r.method} {r.default_error:.0e}" for r in results if r.dtype == first)
    return f"Relative errors at the default steps, in {first}: {errors}."


@styled
def figure(results: Sequence[Result], heading: str) -> Figure:
    """Draw the V-curves, a panel per precision; stars are defaults, dashed lines the theory."""
    dtypes = list(dict.fromkeys(result.dtype for result in results))
    steps = [step for result in results for step in result.steps]
    drawn = Figure(figsize=(PHONE_WIDTH, 8.4))
    shown = drawn.subplots(len(dtypes), 1, sharex=True, squeeze=False)[:, 0]
    for axes, dtype in zip(shown, dtypes, strict=True):
        own = [result for result in results if result.dtype == dtype]
        errors = [error for result in own for error in (*result.errors, result.default_error)]
        logarithmic(axes.xaxis, min(steps) / 10, 1)
        logarithmic(axes.yaxis, min(e for e in errors if e > 0), max(errors))
        named: set[int] = set()
        for result in own:
            _draw(axes, result, min(steps), named)
        axes.set(title=dtype, ylabel="relative error")
    shown[-1].set_xlabel("step h (richardson: the first, largest step)")
    title(drawn, heading)
    grey: Any = {"color": "#777777", "mec": "black", "mfc": "white"}
    handles = [
        *(
            Line2D([], [], color=COLOUR[name], marker=MARKER[name], label=name)
            for name in dict.fromkeys(result.method for result in results)
        ),
        Line2D([], [], ls="", marker="*", ms=13, label="default step", **grey),
        Line2D([], [], ls="", marker="<", ms=9, label="default step, 1e-100", **grey),
        Line2D([], [], ls="--", lw=0.8, color="black", label="theory: hⁿ, ε/h"),
    ]
    drawn.legend(handles=handles, loc="outside lower left", ncols=2)
    return drawn


def _draw(axes: Axes, result: Result, least: float, named: set[int]) -> None:
    """Draw one curve, its theory, and its default step; label each power of the theory once."""
    colour, marker = COLOUR[result.method], MARKER[result.method]
    every = 1 + len(result.steps) // 30
    axes.plot(
        result.steps, result.errors, marker=marker, ms=3.5, lw=0.8, color=colour, markevery=every
    )
    for side in (result.truncation, result.round_off):
        if side:
            h = np.array([side.smallest / 4, side.largest * 4])
            error = side.factor * h**side.theory
            axes.plot(h, error, "--", lw=0.8, color="black", zorder=3)
            if side.theory > 0 and side.theory not in named:
                power = f"h{superscript(side.theory)}" if side.theory > 1 else "h"
                axes.annotate(
                    power, (h[1], error[1]), (4, 0), textcoords="offset points", va="center"
                )
                named.add(side.theory)
    inside = result.default_step >= least  # otherwise, the mark is at the edge
    mark: Any = {"marker": "*", "ms": 13} if inside else {"marker": "<", "ms": 9}
    at = result.default_step if inside else least / 5
    axes.plot(at, result.default_error, color=colour, mec="black", mew=0.8, zorder=4, **mark)


@common.main("accuracy")
def main(quick: common.Quick = False) -> common.Findings:
    """Measure the error of every numerical method over step sizes from 1e-1 to 1e-16."""
    common.limit_threads(1)
    common.say("computing the true gradient ...")
    reference = truth(Problem.draw("float64"))
    grid = np.logspace(-1, -16, 61 if quick else 151).tolist()
    results = []
    for dtype in DTYPES:
        for name in METHODS:
            common.say(f"{name}, {dtype} ...")
            results.append(measure(name, dtype, grid, reference))
    widths = "-".join(map(str, WIDTHS))
    caption = "\n".join(
        [
            f"All {len(reference)} entries of the gradient of the network {widths} on {BATCH} "
            f"samples; the true gradient by mpmath, {DIGITS} digits.",
            "error: the norm of the difference from the true gradient, divided by the norm of the "
            "true gradient. The default steps are those for parameters up to 1; they grow in "
            "proportion to larger parameters.",
            "slopes: of the error over the step, on logarithmic axes, above and below the best "
            "step; in brackets, in theory. –: the theory has no slope.",
            "complex-step: the backend, in complex128, for the default step; the formula in the "
            "precision's complex type for other steps.",
            f"{len(grid)} steps from 1e-1 to 1e-16; ",
        ]
    )
    title = f"The error of a numerical gradient over the step, network {widths}"
    return common.Findings(
        options={"network": widths, "batch": BATCH, "digits": DIGITS, "quick": quick},
        table=lambda environment: table(results, f"{caption}{environment}"),
        results=results,
        headline=headline(results),
        figure=lambda: figure(results, title),
    )


if __name__ == "__main__":
    common.run(main)
