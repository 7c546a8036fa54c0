"""The cost of a gradient, by each way to differentiate, as the network grows.

All contenders take the same gradient: of the mean cross entropy of a sigmoid network, over one
batch, at the same parameters. gradlab's backends differentiate `gradlab.network.loss`; the peers
are written as their own users would, with their fused losses and, for JAX, `jit`. Before the clock
starts, each contender's gradient is held against autograd's, and one that differs ends the run.

A numerical gradient of a large network is extrapolated: the backend is set on a sample of the
entries (`common.restrict`), an evaluation of the loss is timed in its hands, and the median is
multiplied by the evaluations that the whole gradient takes, an exact count. That is fair, as each
evaluation runs the whole network, whichever entry was moved.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Annotated, Any, TypeAlias

import common
import numpy as np
import typer
from common import Ratio
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gradlab import network
from gradlab.errors import GradlabError
from gradlab.gradients import (
    CentralDifference,
    ForwardDifference,
    find_backend,
    value_and_grad,
)
from gradlab.params import Array, flatten, size
from gradlab.plotting import COLOURS, STYLE

NETWORKS = ("64-32-10", "196-50-10", "784-50-100-10")
NUMERICAL = {
    # The textbook's loops; `numerical_speed.py` has what is computed instead.
    "central": CentralDifference(incremental=False),
    "forward": ForwardDifference(incremental=False),
}
REFERENCE = "autograd"
REVERSE = (REFERENCE, "tape")
TOLERANCE = 1e-2
"""A larger difference from autograd, relative to a leaf's largest entry, is other work."""

CONTENDERS = ("central", "forward", "autograd", "PyTorch", "JAX", "tape")
COLOUR = dict(zip(CONTENDERS, COLOURS, strict=False))
MARKER = dict(zip(COLOUR, "osDv^P", strict=True))


@dataclass(frozen=True)
class Effort:
    """How much time to spend.

    Attributes
    ----------
    rounds : int
        How many turns each contender gets.
    whole_up_to : int
        The largest number of parameters for which numerical gradients are timed as a whole.
    sample : int
        On how many entries they are checked and timed where there are more.
    """

    rounds: int
    whole_up_to: int
    sample: int


FULL = Effort(rounds=15, whole_up_to=3_000, sample=32)
QUICK = Effort(rounds=5, whole_up_to=500, sample=16)


@dataclass(frozen=True)
class Problem:
    """One gradient to be taken by all: a network, at its start, on a batch of noise.

    Attributes
    ----------
    widths : tuple of int
        Of the layers, from input to output.
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
        """Draw everything from a seed."""
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
        """The widths in one word."""
        return "-".join(map(str, self.widths))


@dataclass(frozen=True)
class Contender:
    """A way to take a problem's gradient, found to be right and ready to be timed.

    Attributes
    ----------
    name : str
        Who it is.
    run : callable
        Takes the gradient, or times evaluations of the loss for it.
    evaluations : int
        Of the loss, for the whole gradient.
    difference : float
        The largest from autograd's gradient, relative to the largest entry of its leaf.
    entries_sampled : int or None
        On how many entries it was checked and timed, where not on the whole.
    """

    name: str
    run: Callable[[], object]
    evaluations: int
    difference: float
    entries_sampled: int | None = None


@dataclass(frozen=True)
class Result:
    """What one contender's gradient of one network costs; in the JSON file, one record.

    Attributes
    ----------
    network : str
        Its widths.
    parameters : int
        Its entries, p.
    contender : str
        Who took the gradient.
    seconds : float
        For the whole gradient, the median over the rounds.
    seconds_by_round : list of float
        The rounds, in order: the same place is the same moment for all contenders of a network.
    ratio : Ratio
        To autograd's time, from the two turns of each round.
    evaluations : int
        Of the loss, for the whole gradient.
    difference : float
        The worst from autograd's gradient, relative to the largest entry of its leaf.
    entries_sampled : int or None
        Where the seconds are extrapolated, on how many entries it was checked and timed.
    """

    network: str
    parameters: int
    contender: str
    seconds: float
    seconds_by_round: list[float]
    ratio: Ratio
    evaluations: int
    difference: float
    entries_sampled: int | None

    @property
    def about(self) -> str:
        """What stands before a figure that is extrapolated."""
        return "" if self.entries_sampled is None else "~"


def measure(
    problem: Problem,
    peers: Sequence[str],
    effort: Effort,
    seed: int = 0,
) -> list[Result]:
    """Let the backends and these peers take a problem's gradient in turns.

    Parameters
    ----------
    problem : Problem
        With p parameters.
    peers : sequence of str
        Names from `PEERS` that are installed.
    effort : Effort
        How much time to spend.
    seed : int
        Decides which entries.

    Raises
    ------
    GradlabError
        If a contender's gradient is not autograd's.
    """
    p = size(problem.params)
    entries = common.sample_entries(problem.params, effort.sample, np.random.default_rng(seed))
    reference = flatten(value_and_grad(network.loss, REFERENCE)(*problem.point)[1])[0]
    contenders = [
        _backend(
            name,
            problem,
            reference,
            entries if name in NUMERICAL and p > effort.whole_up_to else None,
        )
        for name in (*NUMERICAL, *REVERSE)
    ] + [_peer(name, problem, reference) for name in peers]
    for contender in contenders:
        if not contender.difference <= TOLERANCE:
            raise GradlabError(
                f"{contender.name} on {problem.name}: the gradient is {contender.difference:.0e} "
                f"of its leaf's largest entry away from {REFERENCE}'s, so it was not timed"
            )
    seconds = common.interleave(
        {contender.name: contender.run for contender in contenders}, rounds=effort.rounds
    )

    def result(contender: Contender) -> Result:
        scale = 1 if contender.entries_sampled is None else contender.evaluations
        whole = [scale * value for value in seconds[contender.name]]
        return Result(
            network=problem.name,
            parameters=p,
            contender=contender.name,
            seconds=float(np.median(whole)),
            seconds_by_round=whole,
            ratio=Ratio.of(whole, seconds[REFERENCE]),
            evaluations=contender.evaluations,
            difference=contender.difference,
            entries_sampled=contender.entries_sampled,
        )

    return [result(contender) for contender in contenders]


# gradlab's backends


def _backend(
    name: str, problem: Problem, reference: Sequence[Array], entries: common.Entries | None
) -> Contender:
    """Set a backend on the whole gradient, or on these entries of it."""
    backend = NUMERICAL.get(name) or find_backend(name)
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
        evaluations = whole_evaluations(calls, len(entries), p)
        return Contender(name, run, evaluations, difference, len(entries))
    take = backend.value_and_grad(loss)
    if name in REVERSE:  # what is timed, as the first call of the tape is autograd's own
        grads = flatten([take(start, *batch)[1] for _ in range(3)][-1])[0]
        difference = common.worst_difference(common.flat(grads), reference)
    return Contender(name, lambda: take(start, *batch), calls, difference)


def whole_evaluations(calls: int, m: int, p: int) -> int:
    """Return how many evaluations p entries take where m took `calls`: one, and so many an entry.

    Examples
    --------
    >>> whole_evaluations(2 * 32 + 1, 32, 45_360)  # central
    90721
    >>> whole_evaluations(33, 32, 45_360)  # forward
    45361
    """
    an_entry, rest = divmod(calls - 1, m)
    if rest:
        raise ValueError(f"{calls} evaluations for {m} entries: not the same number for each")
    return 1 + an_entry * p


# The peers, each on its own arrays, which it is given before the clock starts

Peer: TypeAlias = Callable[[], tuple[Any, list[Any]]]
"""Returns the loss and the leaves of its gradient, in its library's own types."""


def torch_gradient(problem: Problem) -> Peer:
    """PyTorch: raw tensors, its fused cross entropy, autograd backwards."""
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
    """JAX: ``jit(value_and_grad)`` with its own log-softmax, waited for."""
    import jax

    precision: Any = jax.enable_x64 if hasattr(jax, "enable_x64") else _old_enable_x64()
    double = problem.x.dtype == np.float64

    def loss(leaves: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (W_last, b_last) = zip(leaves[::2], leaves[1::2], strict=True)
        for W, b in hidden:
            x = jax.nn.sigmoid(x @ W + b)
        log_p = jax.nn.log_softmax(x @ W_last + b_last)
        return -jax.numpy.take_along_axis(log_p, labels[:, None], axis=1).mean()

    compiled = jax.jit(jax.value_and_grad(loss))
    with precision(double):
        leaves, x, labels = jax.tree.map(
            jax.numpy.asarray, (flatten(problem.params)[0], problem.x, problem.labels)
        )

    def gradient() -> tuple[Any, list[Any]]:
        with precision(double):  # less than a microsecond
            value, grads = jax.block_until_ready(compiled(leaves, x, labels))
        return value, grads

    return gradient


def _old_enable_x64() -> Any:
    from jax.experimental import enable_x64

    return enable_x64


PEERS: dict[str, tuple[str, Callable[[Problem], Peer]]] = {
    "PyTorch": ("torch", torch_gradient),
    "JAX": ("jax", jax_gradient),
}
"""Name, then the module (which is also the extra that installs it), and what builds it."""


def _peer(name: str, problem: Problem, reference: Sequence[Array]) -> Contender:
    """Set a peer on the whole gradient: one pass forwards, one backwards."""
    run = PEERS[name][1](problem)
    difference = common.worst_difference(common.flat(run()[1]), reference)
    return Contender(name, run, evaluations=1, difference=difference)


# From results to a table, a headline, a figure


def table(results: Sequence[Result], missing: Mapping[str, str], caption: str) -> Table:
    """Lay the results out, a section a network, a row a contender, those missing among them."""
    shown = Table(
        title="The cost of one gradient",
        title_justify="left",
        caption=Text(caption),  # not markup: it has brackets
        caption_justify="left",
        box=SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    shown.add_column("", no_wrap=True)
    for name in ("seconds", f"× {REFERENCE}", "middle half", "evaluations", "difference"):
        shown.add_column(name, justify="right")
    for name, group in groupby(results, key=lambda result: result.network):
        rows = list(group)
        shown.add_row(f"[bold]{name}[/]", "", "", "", f"[bold]p = {rows[0].parameters:,}[/]", "")
        for result in rows:
            shown.add_row(f"  {result.contender}", *_cells(result))
        for contender in missing:
            shown.add_row(f"  {contender}", "[dim]not installed[/]", style="dim")
        shown.add_section()
    return shown


def _cells(result: Result) -> list[str]:
    evaluations = f"{result.evaluations:,}"
    if result.contender == REFERENCE:
        return [common.duration(result.seconds), "1", "", evaluations, "reference"]
    ratio = result.ratio
    return [
        result.about + common.duration(result.seconds),
        result.about + common.digits(ratio.median),
        f"{common.digits(ratio.low, 2)}–{common.digits(ratio.high, 2)}",
        evaluations,
        f"{result.difference:.0e}",
    ]


def footnotes(results: Sequence[Result], missing: Mapping[str, str], dtype: np.dtype[Any]) -> str:
    """Say how the table is to be read."""
    lines = [
        f"× {REFERENCE}: how many times as long as {REFERENCE}, the median over the rounds; "
        "half of the rounds lie in the middle half.",
        f"evaluations: of the loss. difference: the worst from {REFERENCE}'s gradient, relative to "
        "the largest entry of its leaf.",
    ]
    if samples := [r.entries_sampled for r in results if r.entries_sampled is not None]:
        lines.append(
            "~ extrapolated: the median evaluation, times the evaluations of a whole gradient; "
            f"timed and checked on {max(samples)} entries, drawn at random from all leaves."
        )
    if dtype == np.float32:
        lines.append(f"{' and '.join(NUMERICAL)} evaluate the loss in float64, as always.")
    lines += [f"{name} is not installed: {remedy}" for name, remedy in missing.items()]
    return "\n".join(lines)


def headline(results: Sequence[Result]) -> str:
    """Say in one line what came out, for the largest network."""
    largest = max(results, key=lambda result: result.parameters)
    of = {result.contender: result for result in results if result.network == largest.network}
    peers = [f"{name} {common.digits(of[name].ratio.median, 2)}" for name in PEERS if name in of]
    line = (
        f"On {largest.network}, a central difference costs {of['central'].about}"
        f"{common.digits(of['central'].ratio.median)} {REFERENCE} gradients"
    )
    return f"{line}; {' and '.join(peers)}." if peers else f"{line}."


def figure(results: Sequence[Result], title: str) -> Figure:
    """Draw seconds a gradient against the size of the network, a line a contender.

    Hollow marks are extrapolated. The legend stands in the order in which the lines end.
    """
    ordered = sorted(results, key=lambda result: result.parameters)
    networks = {result.parameters: result.network for result in ordered}
    largest = {result.contender: result for result in ordered}
    with rc_context(STYLE):
        drawn = Figure(figsize=(8.5, 5))
        axes = drawn.subplots()
        for name in sorted(largest, key=lambda name: -largest[name].seconds):
            line = [result for result in ordered if result.contender == name]
            at, seconds = [r.parameters for r in line], [r.seconds for r in line]
            ratio = common.digits(largest[name].ratio.median, 2)
            label = name if name == REFERENCE else f"{name}, {largest[name].about}{ratio} ×"
            axes.plot(at, seconds, MARKER[name], ls="-", lw=1.8, color=COLOUR[name], label=label)
            hollow = [(r.parameters, r.seconds) for r in line if r.about]
            if hollow:
                axes.plot(*zip(*hollow, strict=True), MARKER[name], color=COLOUR[name], mfc="white")
        axes.set(title=title, xlabel="parameters of the network", ylabel="seconds a gradient")
        axes.set(xscale="log", yscale="log", xticks=list(networks))
        axes.set_xticklabels(_tick_labels(networks))
        axes.minorticks_off()
        axes.margins(x=0.12, y=0.08)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: common.duration(value, 1)))
        axes.legend(
            title=f"× {REFERENCE} on the largest;\nhollow: extrapolated",
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            alignment="left",
            labelspacing=1,
        )
    return drawn


def _tick_labels(networks: Mapping[int, str]) -> list[str]:
    """Write sizes and names, a line lower where the label before would be in the way."""
    room = 0.2 * math.log(max(networks) / min(networks))
    labels: list[str] = []
    previous = 0.0
    for p, name in networks.items():
        crowded = previous > 0 and math.log(p / previous) < room
        lower = crowded and not labels[-1].startswith("\n")
        labels.append(f"\n\n{p:,}\n{name}" if lower else f"{p:,}\n{name}")
        previous = p
    return labels


def main(
    networks: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            help=f"Widths of the layers; give it once or more [default: {', '.join(NETWORKS)}].",
        ),
    ] = None,
    batch: common.Batch = 100,
    dtype: common.Dtype = "float64",
    threads: common.Threads = 1,
    seed: common.Seed = 0,
    quick: common.Quick = False,
    json_file: common.Json = None,
    plot_file: common.Plot = None,
) -> None:
    """Time one gradient of sigmoid networks: numerical, autograd, tape, PyTorch, JAX.

    Seconds depend on the machine and its neighbours; the ratios to autograd are the result.
    """
    kind = common.parse_dtype(dtype)
    widths = [common.parse_widths(text) for text in networks or NETWORKS]
    common.check_outputs(json_file, plot_file)
    common.limit_threads(threads)
    missing = common.missing({name: module for name, (module, _) in PEERS.items()})
    effort = QUICK if quick else FULL
    results: list[Result] = []
    for each in dict.fromkeys(widths):
        problem = Problem.draw(each, batch, kind, seed)
        common.say(f"timing {problem.name} ...")
        results += measure(problem, [n for n in PEERS if n not in missing], effort, seed)
    described = common.describe()
    setting = f"batch {batch}, {dtype}, {effort.rounds} rounds"
    caption = (
        f"{footnotes(results, missing, kind)}\n{setting}; {common.environment_line(described)}"
    )
    shown = table(results, missing, caption)
    common.out.print(shown)
    told = headline(results)
    numbers = {
        "benchmark": "gradient_speed",
        "environment": described,
        "options": {
            "networks": list(dict.fromkeys(result.network for result in results)),
            "batch": batch,
            "dtype": dtype,
            "seed": seed,
            "threads": threads,
            "quick": quick,
            **asdict(effort),
        },
        "reference": REFERENCE,
        "table": common.record(shown),
        "results": [asdict(result) for result in results],
        "missing": missing,
        "headline": told,
    }
    title = (
        f"The cost of one gradient: sigmoid networks, batch {batch}, {dtype}, "
        f"{threads} thread{'s' if threads > 1 else ''}"
    )
    common.write_outputs(numbers, lambda: figure(results, title), json_file, plot_file)
    common.out.print(told, soft_wrap=True)


if __name__ == "__main__":
    common.run(main)
