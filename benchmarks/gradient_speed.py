"""The cost of a gradient by each method of differentiation, as the network grows.

All contenders compute the same gradient: of the mean cross entropy of a sigmoid network, for one
batch, at the same parameters. gradlab's backends (in lower case) differentiate
`gradlab.network.loss`. PyTorch and JAX are written as their users would write them, with their
fused losses and, for JAX, `jit`. Each gradient is compared with autograd's before it is timed; one
that differs ends the run. Estimates (SPSA, forward gradients) are not compared, and one draw of
them is timed.

The time of a numerical gradient of a large network is extrapolated: the backend differentiates a
sample of the entries (`common.restrict`), and the median time of an evaluation of the loss is
multiplied by the number of evaluations of the whole gradient. Each evaluation runs the whole
network, whichever entry is perturbed. The number is exact, except for `richardson`, whose number of
evaluations differs by entry; it is the sample's mean. Forward mode is extrapolated in the same way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import common
import numpy as np
import typer
from common import Ratio
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from gradlab import network
from gradlab.errors import GradlabError
from gradlab.gradients import (
    Backend,
    CentralDifference,
    CentralDifference4,
    ComplexStep,
    ForwardDifference,
    Richardson,
    find_backend,
    value_and_grad,
)
from gradlab.gradients.forward_mode import LossJVP
from gradlab.params import Array, flatten, size
from gradlab.plotting.labels import at_ends
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, PHONE_WIDTH, note, panels, styled, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NETWORKS = ("64-32-10", "196-50-10", "784-50-100-10")
BATCHES = (1, 10, 100, 1000)
DTYPES = ("float64", "float32")
NUMERICAL: dict[str, tuple[Backend, int | None]] = {
    # The textbook's loops; `numerical_speed.py` times the default instead.
    "central": (CentralDifference(incremental=False), 2),
    "forward": (ForwardDifference(incremental=False), 1),
    "central4": (CentralDifference4(incremental=False), 4),
    "complex-step": (ComplexStep(), 1),
    "richardson": (Richardson(), None),
}
"""Numerical backends, and their evaluations per entry; None if that depends on the entry."""
FEW = 50
"""Largest number of evaluations beyond those per entry: at the parameters, and for checks."""
FORWARD = "autograd-forward"
REFERENCE = "autograd"
REVERSE = (REFERENCE, "tape", "jax", "torch")
ESTIMATES = ("spsa", "forward-gradient")
TOLERANCE = 1e-2
"""Largest accepted difference from autograd, relative to the largest entry of a leaf."""

OWN = (*NUMERICAL, FORWARD, *REVERSE, *ESTIMATES)
MODULES = {"jax": "jax", "torch": "torch", "PyTorch": "torch", "JAX": "jax"}
CONTENDERS = (*OWN, "PyTorch", "JAX")
# Seven distinct colours, each with a full line and with a dashed one.
COLOUR = dict(zip(CONTENDERS, COLOURS * 2, strict=False))
DASHES = dict(zip(CONTENDERS, 7 * ["-"] + 7 * ["--"], strict=True))
MARKER = dict(zip(CONTENDERS, "osDv^P*XhdpH<>", strict=True))


@dataclass(frozen=True)
class Effort:
    """How much time to spend.

    Attributes
    ----------
    rounds : int
        The number of turns of each contender.
    whole_up_to : int
        The largest number of parameters for which whole numerical gradients are timed.
    sample : int
        The number of entries that are timed for larger networks.
    """

    rounds: int
    whole_up_to: int
    sample: int


FULL = Effort(rounds=9, whole_up_to=500, sample=32)
QUICK = Effort(rounds=5, whole_up_to=500, sample=16)


@dataclass(frozen=True)
class Problem:
    """The gradient that all contenders compute: of a network at its start, on a batch of noise.

    Attributes
    ----------
    widths : tuple of int
        The widths of the layers, from input to output.
    params : dict of str to ndarray
        The network's parameters, with p entries.
    x, labels : ndarray, shapes (n, d) and (n,)
        The batch.
    """

    widths: tuple[int, ...]
    params: dict[str, Array]
    x: Array
    labels: Array

    @classmethod
    def draw(cls, widths: tuple[int, ...], batch: int, dtype: np.dtype[Any], seed: int) -> Problem:
        """Draw parameters and batch from a seed."""
        rng = np.random.default_rng(seed)
        return cls(
            widths,
            network.init(widths, rng, dtype=dtype),
            rng.random((batch, widths[0])).astype(dtype),
            rng.integers(widths[-1], size=batch),
        )

    @property
    def point(self) -> tuple[dict[str, Array], Array, Array]:
        """The arguments of the loss."""
        return self.params, self.x, self.labels

    @property
    def name(self) -> str:
        """The widths as text, such as 784-50-10."""
        return "-".join(map(str, self.widths))

    @property
    def dtype(self) -> str:
        """The dtype of parameters and data."""
        return str(self.x.dtype)


@dataclass(frozen=True)
class Contender:
    """A way to compute a problem's gradient.

    Attributes
    ----------
    name : str
        The contender's name.
    run : callable
        Computes the gradient, or times evaluations of the loss for it.
    evaluations : int
        The number of evaluations of the loss for the whole gradient.
    difference : float
        The largest difference from autograd, relative to the largest entry of its leaf.
    entries_sampled : int or None
        The number of entries that are checked and timed; None for the whole gradient.
    """

    name: str
    run: Callable[[], object]
    evaluations: int
    difference: float
    entries_sampled: int | None = None


@dataclass(frozen=True)
class Result:
    """The cost of a gradient of one network by one contender; in the JSON file, one record.

    Attributes
    ----------
    network : str
        The widths of the network.
    parameters : int
        The number p of its parameters.
    batch : int
        The number of samples.
    dtype : str
        The dtype of parameters and data.
    contender : str
        The contender's name.
    seconds : float
        The time of the whole gradient, the median over the rounds.
    seconds_by_round : list of float
        The time in each round; the same index is the same round for all contenders.
    ratio : Ratio
        This time divided by autograd's in the same round.
    evaluations : int
        The number of evaluations of the loss for the whole gradient.
    difference : float
        The largest difference from autograd, relative to the largest entry of its leaf.
    entries_sampled : int or None
        The number of entries from which the time is extrapolated; None if it is measured.
    """

    network: str
    parameters: int
    batch: int
    dtype: str
    contender: str
    seconds: float
    seconds_by_round: list[float]
    ratio: Ratio
    evaluations: int
    difference: float
    entries_sampled: int | None

    @property
    def about(self) -> str:
        """The mark before an extrapolated figure."""
        return "" if self.entries_sampled is None else "~"


def measure(
    problem: Problem,
    peers: Sequence[str],
    effort: Effort,
    seed: int = 0,
) -> list[Result]:
    """Time the backends and these peers on a problem's gradient, in turns.

    Parameters
    ----------
    problem : Problem
        A problem with p parameters.
    peers : sequence of str
        Names from `MODULES` whose modules are installed.
    effort : Effort
        How much time to spend.
    seed : int
        The seed for the sample of entries.

    Raises
    ------
    GradlabError
        If a contender's gradient differs from autograd's.
    """
    p = size(problem.params)
    entries = common.sample_entries(problem.params, effort.sample, np.random.default_rng(seed))
    reference = flatten(value_and_grad(network.loss, REFERENCE)(*problem.point)[1])[0]
    some = entries if p > effort.whole_up_to else None
    contenders = [
        _forward_mode(problem, reference, some)
        if name == FORWARD and some is not None
        else _backend(name, problem, reference, some if name in NUMERICAL else None)
        for name in OWN
        if name in peers or name not in MODULES
    ] + [_peer(name, problem, reference) for name in PEERS if name in peers]
    for contender in contenders:
        if contender.name not in ESTIMATES:
            require_same(contender.name, problem, contender.difference)
    seconds = common.interleave(
        {contender.name: contender.run for contender in contenders}, rounds=effort.rounds
    )

    def result(contender: Contender) -> Result:
        scale = 1 if contender.entries_sampled is None else contender.evaluations
        whole = [scale * value for value in seconds[contender.name]]
        return Result(
            network=problem.name,
            parameters=p,
            batch=len(problem.x),
            dtype=problem.dtype,
            contender=contender.name,
            seconds=float(np.median(whole)),
            seconds_by_round=whole,
            ratio=Ratio.of(whole, seconds[REFERENCE]),
            evaluations=contender.evaluations,
            difference=contender.difference,
            entries_sampled=contender.entries_sampled,
        )

    return [result(contender) for contender in contenders]


def require_same(name: str, problem: Problem, difference: float) -> None:
    """Raise a GradlabError if a contender's gradient differs from autograd's."""
    if not difference <= TOLERANCE:
        raise GradlabError(
            f"{name} on {problem.name}: the gradient differs from {REFERENCE}'s by "
            f"{difference:.0e} of the largest entry of its leaf, so it was not timed"
        )


# gradlab's backends
def _backend(
    name: str, problem: Problem, reference: Sequence[Array], entries: common.Entries | None
) -> Contender:
    """Return one of gradlab's backends as a contender, on the whole gradient or these entries."""
    backend, an_entry = NUMERICAL[name] if name in NUMERICAL else (find_backend(name), None)
    loss: Callable[..., Any] = network.loss
    params, *batch = problem.point
    p = size(params)
    start: Any = params
    if entries is not None:
        loss, start = common.restrict(loss, params, entries)
    calls = 0

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return loss(*args)

    grads = flatten(backend.value_and_grad(counted)(start, *batch)[1])[0]
    difference = common.worst_difference(common.flat(grads), reference, entries)
    if entries is not None:
        run = common.timed_evaluations(backend, loss, start, *batch)
        evaluations = whole_evaluations(calls, len(entries), p, an_entry)
        return Contender(name, run, evaluations, difference, len(entries))
    take = backend.value_and_grad(loss)
    if name in REVERSE:  # check a later call, which is timed: the tape's first is autograd's
        grads = flatten([take(start, *batch)[1] for _ in range(3)][-1])[0]
        difference = common.worst_difference(common.flat(grads), reference)
        calls = 1
    return Contender(name, lambda: take(start, *batch), calls, difference)


def whole_evaluations(calls: int, m: int, p: int, an_entry: int | None) -> int:
    """Return the number of evaluations for p entries, given the number of calls for m entries.

    Examples
    --------
    >>> whole_evaluations(2 * 32 + 1, 32, 45_360, 2)  # central
    90721
    >>> whole_evaluations(32 + 5, 32, 45_360, 1)  # complex-step
    45365
    >>> whole_evaluations(16 * 32 + 1, 32, 45_360, None)  # richardson
    725761
    """
    if an_entry is None:
        return 1 + round((calls - 1) * p / m)
    once = calls - an_entry * m
    if not 1 <= once <= FEW:
        raise ValueError(f"{calls} evaluations for {m} entries: not {an_entry} for each")
    return once + an_entry * p


def _forward_mode(
    problem: Problem, reference: Sequence[Array], entries: common.Entries
) -> Contender:
    """Return forward mode as a contender: its slopes along these entries, one by one."""
    leaves, structure = flatten(problem.params)
    line = LossJVP(network.loss, leaves, structure, problem.point[1:])
    direction = [np.zeros_like(leaf) for leaf in leaves]
    starts = np.cumsum([0, *(leaf.size for leaf in leaves)])
    numbers = np.searchsorted(starts, entries, side="right") - 1
    pairs = zip(numbers, entries, strict=True)
    places = [(direction[n].reshape(-1), int(e - starts[n])) for n, e in pairs]
    slopes: list[Any] = []

    def run() -> common.Laps:
        slopes.clear()
        laps = common.Laps()
        for along, i in places:
            along[i] = 1.0
            started = time.perf_counter()
            slopes.append(line.slope(direction)[1])
            laps.append(time.perf_counter() - started)
            along[i] = 0.0
        return laps

    run()
    difference = common.worst_difference(np.array(slopes), reference, entries)
    return Contender(FORWARD, run, size(problem.params), difference, len(entries))


# The peers, each on arrays of its library, which are made before the clock starts

Peer: TypeAlias = Callable[[], tuple[Any, list[Any]]]
"""Returns the loss and the leaves of its gradient, in the library's types."""


def torch_gradient(problem: Problem) -> Peer:
    """Return PyTorch's gradient: plain tensors, its fused cross entropy, its reverse mode."""
    import torch

    leaves = [torch.tensor(leaf, requires_grad=True) for leaf in flatten(problem.params)[0]]
    x, labels = torch.tensor(problem.x), torch.tensor(problem.labels)
    *hidden, (W_last, b_last) = zip(leaves[::2], leaves[1::2], strict=True)

    def gradient() -> tuple[Any, list[Any]]:
        z = x
        for W, b in hidden:
            z = torch.sigmoid(torch.addmm(b, z, W))
        loss = torch.nn.functional.cross_entropy(torch.addmm(b_last, z, W_last), labels)
        return loss.item(), list(torch.autograd.grad(loss, leaves))

    return gradient


def jax_gradient(problem: Problem) -> Peer:
    """Return JAX's gradient: ``jit(value_and_grad)`` with its log-softmax."""
    import jax

    double = problem.x.dtype == np.float64

    def loss(leaves: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (W_last, b_last) = zip(leaves[::2], leaves[1::2], strict=True)
        for W, b in hidden:
            x = jax.nn.sigmoid(x @ W + b)
        log_p = jax.nn.log_softmax(x @ W_last + b_last)
        return -jax.numpy.take_along_axis(log_p, labels[:, None], axis=1).mean()

    compiled = jax.jit(jax.value_and_grad(loss))
    with common.jax_in_float64(double):
        leaves, x, labels = jax.tree.map(
            jax.numpy.asarray, (flatten(problem.params)[0], problem.x, problem.labels)
        )

    def gradient() -> tuple[Any, list[Any]]:
        with common.jax_in_float64(double):  # takes less than a microsecond
            value, grads = jax.block_until_ready(compiled(leaves, x, labels))
        return value, grads

    return gradient


PEERS: dict[str, tuple[str, Callable[[Problem], Peer]]] = {
    "PyTorch": ("torch", torch_gradient),
    "JAX": ("jax", jax_gradient),
}
"""The module of each peer (also the extra that installs it), and the function that builds it."""


def _peer(name: str, problem: Problem, reference: Sequence[Array]) -> Contender:
    """Return a peer as a contender, on the whole gradient."""
    run = PEERS[name][1](problem)
    difference = common.worst_difference(common.flat(run()[1]), reference)
    return Contender(name, run, evaluations=1, difference=difference)


# From results to a table, a headline, a figure


def table(results: Sequence[Result], missing: Mapping[str, str], caption: str) -> Table:
    """Return the results as a table: a section per network, a row per contender.

    Contenders that are not installed have rows, too.
    """
    shown = common.new_table(
        "The cost of one gradient",
        caption,
        ("seconds", f"× {REFERENCE}", "middle half", "evaluations", "difference"),
        collapse_padding=True,
        show_edge=False,
    )
    for _, group in groupby(results, key=setting):
        rows = list(group)
        first = rows[0]
        heads = (
            first.network,
            f"batch {first.batch}",
            first.dtype,
            "",
            f"p = {first.parameters:,}",
        )
        shown.add_row(*(Text(head, style="bold") for head in heads), "")
        for result in rows:
            shown.add_row(f"  {CALLED.get(result.contender, result.contender)}", *_cells(result))
        for contender in missing:
            shown.add_row(
                f"  {CALLED.get(contender, contender)}", "", "", "not installed", style="dim"
            )
        shown.add_section()
    return shown


def setting(result: Result) -> str:
    """Return the network, batch and dtype of a result as text."""
    return f"{result.network}, batch {result.batch}, {result.dtype}"


def _cells(result: Result) -> list[str]:
    evaluations = f"{result.evaluations:,}"
    if result.contender == REFERENCE:
        return [common.duration(result.seconds), "1", "", evaluations, "reference"]
    ratio = result.ratio
    return [
        result.about + common.duration(result.seconds),
        result.about + common.digits(ratio.median),
        f"{_short(ratio.low)}–{_short(ratio.high)}",
        evaluations,
        "estimate" if result.contender in ESTIMATES else f"{result.difference:.0e}",
    ]


def _short(number: float) -> str:
    """Write a number with two digits; from 10,000 on, in thousands.

    Examples
    --------
    >>> _short(0.4321), _short(161_234.0)
    ('0.43', '160k')
    """
    if number < 10_000:
        return common.digits(number, 2)
    return f"{common.digits(number / 1000, 2)}k"


def footnotes(results: Sequence[Result], missing: Mapping[str, str]) -> str:
    """Return the notes below the table."""
    lines = [
        "(loop): the plain loop, which evaluates the whole loss for each entry "
        "(incremental=False). By default, these backends compute only what an entry changes: "
        "see numerical_speed.py.",
        "gradlab's: the same NumPy source, run by that library; itself: written for that library.",
        f"× {REFERENCE}: the time divided by {REFERENCE}'s, the median over the rounds; "
        "half of the rounds lie in the middle half.",
        f"evaluations: of the loss. difference: the largest from {REFERENCE}, relative to "
        "the largest entry of its leaf.",
    ]
    if samples := [r.entries_sampled for r in results if r.entries_sampled is not None]:
        lines.append(
            "~ extrapolated: the median time of an evaluation, times the evaluations of a whole "
            f"gradient; timed and checked on {max(samples)} random entries from all leaves."
        )
    if any(result.dtype == "float32" for result in results):
        lines.append("Numerical backends evaluate a float32 loss at float64 parameters.")
    lines += [f"{name} is not installed: {remedy}" for name, remedy in missing.items()]
    return "\n".join(lines)


def headline(results: Sequence[Result]) -> str:
    """Return the result in one line, for the largest network and its largest batch."""
    largest = max(results, key=lambda result: (result.parameters, result.batch))
    of = {r.contender: r for r in results if setting(r) == setting(largest)}
    peers = [f"{name} {common.digits(of[name].ratio.median, 2)}" for name in PEERS if name in of]
    line = (
        f"On {setting(largest)}, a central difference by the plain loop costs {of['central'].about}"
        f"{common.digits(of['central'].ratio.median)} {REFERENCE} gradients"
    )
    return f"{line}; {' and '.join(peers)}." if peers else f"{line}."


CALLED = {
    **{name: f"{name} (loop)" for name in ("central", "forward", "central4")},
    "jax": "gradlab's jax",
    "torch": "gradlab's torch",
    "JAX": "JAX itself",
    "PyTorch": "PyTorch itself",
}
"""Labels of contenders whose names are ambiguous."""


@styled
def figure(results: Sequence[Result], heading: str) -> Figure:
    """Draw the time of a gradient over the size of the network, a panel per batch and dtype.

    Labels stand beside the first panel, which is the largest. Hollow marks are extrapolated.
    """
    settings = list(dict.fromkeys((result.batch, result.dtype) for result in results))
    rest = len(settings) - 1
    below = 2.1 * -(-rest // 2)
    drawn = Figure(figsize=(PHONE_WIDTH, 6 + below))
    networks = {result.network: result.parameters for result in results}
    title(drawn, heading)
    note(
        drawn,
        f"×: time divided by {REFERENCE}'s, on the largest network; loop: one evaluation of the "
        "whole loss after the other; hollow: extrapolated; itself: written for that library. "
        f"The networks are {', '.join(networks)}.",
    )
    parts = drawn.subfigures(2 if rest else 1, 1, height_ratios=[6, below][: 1 + bool(rest)])
    top, *bottom = parts if rest else [parts]
    shown = [top.subplots()]
    if bottom:
        named = {"xlabel": "parameters of the network", "sharex": True, "sharey": True}
        shown += panels(bottom[0], rest, 2, **named)
    seconds = [result.seconds for result in results]
    for i, (axes, (batch, dtype)) in enumerate(zip(shown, settings, strict=True)):
        logarithmic(axes.xaxis, min(networks.values()), max(networks.values()), most=3)
        logarithmic(axes.yaxis, min(seconds), max(seconds), lambda s: common.duration(s, 1))
        axes.set_title(f"batch {batch}, {dtype}", fontsize=10 if i else 12)
    shown[0].set_xlabel("parameters of the network")
    for i, (axes, (batch, dtype)) in reversed(list(enumerate(zip(shown, settings, strict=True)))):
        _draw(axes, [r for r in results if (r.batch, r.dtype) == (batch, dtype)], named=i == 0)
    return drawn


def _draw(axes: Axes, results: Sequence[Result], named: bool) -> None:
    """Draw a line per contender, with labels in a `named` panel."""
    ordered = sorted(results, key=lambda result: result.parameters)
    largest = {result.contender: result for result in ordered}
    ends = []
    for name in largest:
        line = [result for result in ordered if result.contender == name]
        at, seconds = [r.parameters for r in line], [r.seconds for r in line]
        style: Any = {"marker": MARKER[name], "color": COLOUR[name], "ms": 6 if named else 3.5}
        axes.plot(at, seconds, ls=DASHES[name], lw=1.3, **style)
        hollow = [r for r in line if r.about]
        at, seconds = [r.parameters for r in hollow], [r.seconds for r in hollow]
        axes.plot(at, seconds, lw=0, mfc="white", **style)
        ratio = f"{largest[name].about}{common.digits(largest[name].ratio.median, 2)} ×"
        label = CALLED.get(name, name) + ("" if name == REFERENCE else f", {ratio}")
        ends.append((largest[name].seconds, label, COLOUR[name]))
    if named:
        at_ends(axes, ends)


@common.main("gradient_speed")
def main(
    networks: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help=f"Widths of the layers; repeatable [default: {', '.join(NETWORKS)}].",
        ),
    ] = None,
    batches: Annotated[
        list[int] | None,
        typer.Option(
            "--batch", min=1, help="Samples per gradient; repeatable [default: 1, 10, 100, 1000]."
        ),
    ] = None,
    dtypes: Annotated[
        list[str] | None,
        typer.Option("--dtype", help="float64 or float32; repeatable [default: both]."),
    ] = None,
    threads: common.Threads = 1,
    seed: common.Seed = 0,
    quick: common.Quick = False,
) -> common.Findings:
    """Time one gradient of sigmoid networks by all backends, PyTorch and JAX.

    The result is the ratios to autograd; seconds depend on the machine and its load. By default, a
    quick run measures only batch 100 in float64.
    """
    kinds = dict.fromkeys(map(common.parse_dtype, dtypes or DTYPES[: 1 if quick else None]))
    widths = dict.fromkeys(common.parse_widths(text) for text in networks or NETWORKS)
    sizes = dict.fromkeys(batches or ((100,) if quick else BATCHES))
    common.limit_threads(threads)
    missing = common.missing(MODULES)
    installed = [name for name in MODULES if name not in missing]
    effort = QUICK if quick else FULL
    results: list[Result] = []
    for batch in sizes:
        for kind in kinds:
            for each in widths:
                problem = Problem.draw(each, batch, kind, seed)
                common.say(f"timing {problem.name}, batch {batch}, {kind} ...")
                results += measure(problem, installed, effort, seed)
    caption = f"{footnotes(results, missing)}\n{effort.rounds} rounds; "
    title = f"The cost of one gradient: sigmoid networks, {threads} thread{'s' * (threads > 1)}"
    return common.Findings(
        options={
            "networks": ["-".join(map(str, each)) for each in widths],
            "batches": list(sizes),
            "dtypes": list(map(str, kinds)),
            "seed": seed,
            "threads": threads,
            "quick": quick,
            **asdict(effort),
        },
        table=lambda environment: table(results, missing, f"{caption}{environment}"),
        results=results,
        headline=headline(results),
        figure=lambda: figure(results, title),
        more={"reference": REFERENCE, "missing": missing},
    )


if __name__ == "__main__":
    common.run(main)
