"""The cost of a gradient in reverse mode: the tape, its peers, and their lower bound.

Two networks are measured, with batches from 1 to 1000, in float32 and float64. Their loss is the
logarithm of a softmax, or is written with log-sum-exp. All contenders compute the same gradient;
each is compared with eager autograd's before it is timed. `by hand` is a derived backward pass in
NumPy with buffers. `products` are its matrix products alone, a lower bound for all contenders that
call the same BLAS. `compiled` is the tape as machine code, which has its own products. PyTorch and
JAX use their fused cross entropy.

With one thread, the clock is the CPU time of the process: it includes helper threads, and not other
processes. With more threads, it is the wall clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import autograd.numpy as anp
import common
import numpy as np
import typer
from common import Ratio
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gradlab import network
from gradlab.errors import GradlabError
from gradlab.gradients import value_and_grad
from gradlab.gradients.tape import Tape
from gradlab.params import Array, flatten, map_leaves
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, PHONE_WIDTH, panels, styled, title

NETWORKS = {"sigmoid": (784, 50, 100, 10), "relu": (784, 200, 200, 10)}
BATCHES = (1, 10, 100, 1000)
REFERENCE = "tape"

WARM_UP = 0.7
"""Seconds of calls before JAX is timed: its first few hundred calls take three times as long."""


@dataclass(frozen=True)
class Problem:
    """The gradient that all contenders compute.

    Attributes
    ----------
    activation : str
        ``"sigmoid"`` or ``"relu"``; it also selects the network.
    form : str
        How the loss is written: ``"plain"`` or ``"lse"``.
    params : dict of str to ndarray
        The network's parameters.
    x, targets : ndarray, shapes (n, 784) and (n, 10)
        The batch, with one-hot labels.
    """

    activation: str
    form: str
    params: dict[str, Array]
    x: Array
    targets: Array

    @classmethod
    def draw(cls, activation: str, form: str, batch: int, dtype: np.dtype[Any]) -> Problem:
        """Draw the initial parameters and a batch of noise."""
        rng = np.random.default_rng(0)
        widths = NETWORKS[activation]
        params = network.init(widths, rng, activation=activation, dtype=dtype)
        x = rng.random((batch, widths[0])).astype(dtype)
        return cls(
            activation, form, params, x, np.eye(10, dtype=dtype)[rng.integers(10, size=batch)]
        )

    @property
    def name(self) -> str:
        """The problem's activation, dtype, form and batch."""
        return f"{self.activation} {self.x.dtype} {self.form} {len(self.x)}"

    @property
    def loss(self) -> Any:
        """The loss of this network; it holds no data, because the tape would compare them."""
        return partial(cross_entropy, self.activation, self.form)


def cross_entropy(activation: str, form: str, params: Any, x: Any, targets: Any) -> Any:
    """Return the mean cross entropy, written as users of autograd write it."""
    for layer in (1, 2):
        z = x @ params[f"W{layer}"] + params[f"b{layer}"]
        x = 1 / (1 + anp.exp(-z)) if activation == "sigmoid" else anp.maximum(z, 0.0)
    z = x @ params["W3"] + params["b3"]
    z = z - anp.max(z, axis=1, keepdims=True)
    if form == "plain":
        p = anp.exp(z) / anp.sum(anp.exp(z), axis=1, keepdims=True)
        return -anp.sum(targets * anp.log(p)) / len(targets)
    log_p = z - anp.log(anp.sum(anp.exp(z), axis=1, keepdims=True))
    return -anp.sum(targets * log_p) / len(targets)


Gradient = Callable[[], "tuple[Any, Sequence[Any]] | None"]
"""Returns the loss and the leaves of its gradient; `products` returns None."""


# The contenders


def by_backend(name: Any) -> Callable[[Problem], Gradient]:
    """Return the maker of a gradient by one of gradlab's backends, called as users call it."""

    def make(problem: Problem) -> Gradient:
        f = value_and_grad(problem.loss, name)

        def gradient() -> tuple[Any, list[Any]]:
            value, grads = f(problem.params, problem.x, problem.targets)
            return value, [*grads.values()]

        return gradient

    return make


def into_arrays(problem: Problem) -> Gradient:
    """Return the tape's gradient, written into given arrays."""
    f = value_and_grad(problem.loss, "tape")
    out = map_leaves(np.empty_like, problem.params)

    def gradient() -> tuple[Any, list[Any]]:
        return f(problem.params, problem.x, problem.targets, out=out)[0], [*out.values()]

    return gradient


def by_hand(problem: Problem) -> Gradient:
    """Return the gradient derived by hand, in NumPy with buffers."""
    x, targets = problem.x, problem.targets
    W1, b1, W2, b2, W3, b3 = problem.params.values()
    n, dtype = len(x), x.dtype
    is_sigmoid = problem.activation == "sigmoid"
    h1, h2, z = (np.empty((n, len(b)), dtype) for b in (b1, b2, b3))
    d1, d2, e1, e2 = (np.empty_like(h) for h in (h1, h2, h1, h2))
    column = np.empty((n, 1), dtype)
    grads = [np.empty_like(leaf) for leaf in problem.params.values()]
    scale = dtype.type(1 / n)

    def activate(h: Array) -> None:
        if is_sigmoid:
            np.negative(h, h)
            np.exp(h, h)
            np.add(h, dtype.type(1), h)
            np.reciprocal(h, h)
        else:
            np.maximum(h, dtype.type(0), out=h)

    def activate_back(d: Array, h: Array, e: Array) -> None:
        if is_sigmoid:
            np.subtract(dtype.type(1), h, e)
            np.multiply(e, h, e)
            np.multiply(d, e, d)
        else:
            np.multiply(d, h > 0, d)

    def gradient() -> tuple[Any, list[Any]]:
        np.dot(x, W1, h1)
        np.add(h1, b1, h1)
        activate(h1)
        np.dot(h1, W2, h2)
        np.add(h2, b2, h2)
        activate(h2)
        np.dot(h2, W3, z)
        np.add(z, b3, z)
        np.maximum.reduce(z, 1, None, column, True)
        np.subtract(z, column, z)
        p = np.exp(z)
        np.add.reduce(p, 1, None, column, True)
        loss = float(np.log(column).sum() - np.vdot(targets, z)) / n
        np.divide(p, column, p)
        np.subtract(p, targets, p)
        np.multiply(p, scale, p)
        np.dot(h2.T, p, grads[4])
        np.add.reduce(p, 0, None, grads[5])
        np.dot(p, W3.T, d2)
        activate_back(d2, h2, e2)
        np.dot(h1.T, d2, grads[2])
        np.add.reduce(d2, 0, None, grads[3])
        np.dot(d2, W2.T, d1)
        activate_back(d1, h1, e1)
        np.dot(x.T, d1, grads[0])
        np.add.reduce(d1, 0, None, grads[1])
        return loss, grads

    return gradient


def products(problem: Problem) -> Gradient:
    """Return a function that computes only the eight matrix products of the gradient."""
    W1, b1, W2, b2, W3, b3 = problem.params.values()
    x = problem.x
    n, dtype = len(x), x.dtype
    h1, h2, z = (np.ones((n, len(b)), dtype) for b in (b1, b2, b3))
    d1, d2 = np.empty_like(h1), np.empty_like(h2)
    g1, g2, g3 = map(np.empty_like, (W1, W2, W3))

    def gradient() -> None:
        np.dot(x, W1, h1)
        np.dot(h1, W2, h2)
        np.dot(h2, W3, z)
        np.dot(h2.T, z, g3)
        np.dot(z, W3.T, d2)
        np.dot(h1.T, d2, g2)
        np.dot(d2, W2.T, d1)
        np.dot(x.T, d1, g1)

    return gradient


def by_torch(problem: Problem, compiled: bool = False) -> Gradient:
    """Return PyTorch's gradient: plain tensors, its fused cross entropy."""
    import torch

    leaves = [torch.tensor(leaf, requires_grad=True) for leaf in problem.params.values()]
    x, labels = torch.tensor(problem.x), torch.tensor(problem.targets.argmax(1))
    activate: Any = torch.sigmoid if problem.activation == "sigmoid" else torch.relu

    def loss(W1: Any, b1: Any, W2: Any, b2: Any, W3: Any, b3: Any) -> Any:
        h = activate(torch.addmm(b2, activate(torch.addmm(b1, x, W1)), W2))
        return torch.nn.functional.cross_entropy(torch.addmm(b3, h, W3), labels)

    function = torch.compile(loss) if compiled else loss

    def gradient() -> tuple[Any, list[Any]]:
        value = function(*leaves)
        return value.item(), list(torch.autograd.grad(value, leaves))

    return gradient


def by_jax(problem: Problem) -> Gradient:
    """Return JAX's gradient: ``jit(value_and_grad)`` with its log-softmax."""
    import jax

    if problem.x.dtype == np.float64:
        jax.config.update("jax_enable_x64", True)
    activate = jax.nn.sigmoid if problem.activation == "sigmoid" else jax.nn.relu

    def loss(leaves: Any, x: Any, labels: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = leaves
        log_p = jax.nn.log_softmax(activate(activate(x @ W1 + b1) @ W2 + b2) @ W3 + b3)
        return -jax.numpy.take_along_axis(log_p, labels[:, None], axis=1).mean()

    compiled = jax.jit(jax.value_and_grad(loss))
    given = jax.tree.map(
        jax.numpy.asarray, ([*problem.params.values()], problem.x, problem.targets.argmax(1))
    )

    def gradient() -> tuple[Any, list[Any]]:
        value, grads = jax.block_until_ready(compiled(*given))
        return value, grads

    return gradient


CONTENDERS: dict[str, Callable[[Problem], Gradient]] = {
    "tape": by_backend("tape"),
    "tape, out=": into_arrays,
    "compiled": by_backend(Tape(compile=True)),
    "autograd": by_backend("autograd"),
    "by hand": by_hand,
    "products": products,
    "PyTorch": by_torch,
    "torch.compile": lambda problem: by_torch(problem, compiled=True),
    "JAX": by_jax,
}
# The style has seven colours for nine lines: the compiled tape is brown, the lower bound grey.
COLOUR = dict(
    zip(CONTENDERS, (*COLOURS[:2], "#8C564B", *COLOURS[2:4], "#777777", *COLOURS[4:]), strict=True)
)
MARKER = dict(zip(CONTENDERS, "os*Dv.^XP", strict=True))
MODULES = {"compiled": "llvmlite", "PyTorch": "torch", "torch.compile": "torch", "JAX": "jax"}


@dataclass(frozen=True)
class Result:
    """The cost of a gradient of one problem by one contender; in the JSON file, one record.

    Attributes
    ----------
    problem, contender : str
        The names of the problem and of the contender.
    seconds : float
        The time of a gradient, the median over the rounds.
    ratio : Ratio
        The time of the reference (by default the tape) divided by this time.
    difference : float
        The largest difference from eager autograd, relative to the largest entry of its leaf.
    """

    problem: str
    contender: str
    seconds: float
    ratio: Ratio
    difference: float


def measure(
    problem: Problem, names: Sequence[str], rounds: int, clock: Callable[[], float]
) -> list[Result]:
    """Time the contenders on a problem's gradient, in turns."""
    reference = flatten(value_and_grad(problem.loss)(problem.params, problem.x, problem.targets)[1])
    runs: dict[str, Gradient] = {}
    differences: dict[str, float] = {}
    for name in names:
        runs[name] = CONTENDERS[name](problem)
        outcomes = [runs[name]() for _ in range(4)]  # the tape records, is compared, and replays
        started = time.perf_counter()
        while name == "JAX" and time.perf_counter() - started < WARM_UP:
            runs[name]()
        difference = 0.0
        if outcomes[-1] is not None:
            difference = common.worst_difference(common.flat(outcomes[-1][1]), reference[0])
        if not difference < 1e-3:
            raise GradlabError(f"{name} on {problem.name}: off by {difference:.0e}, not timed")
        differences[name] = difference
    seconds = common.interleave(runs, rounds=rounds, turn=0.02, clock=clock)
    return [
        Result(
            problem.name,
            name,
            float(np.median(seconds[name])),
            Ratio.of(seconds[names[0]], seconds[name]),
            differences[name],
        )
        for name in names
    ]


# From results to a table, a headline, a figure


def table(results: Sequence[Result], names: Sequence[str], caption: str) -> Table:
    """Return the results as a table: a row per problem, a column per contender."""
    shown = Table(
        title=f"The time of {names[0]} as a share of each contender's: below 1, it is faster",
        title_justify="left",
        caption=Text(caption),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    shown.add_column("network, dtype, loss, batch", no_wrap=True)
    shown.add_column(names[0], justify="right")
    for name in names[1:]:
        shown.add_column(name, justify="right")
    for problem in dict.fromkeys(result.problem for result in results):
        of = {result.contender: result for result in results if result.problem == problem}
        ratios = [f"{of[name].ratio.median:.2f}" for name in names[1:]]
        shown.add_row(problem, common.duration(of[names[0]].seconds), *ratios)
    return shown


def headline(results: Sequence[Result]) -> str:
    """Return the result in one line."""
    who = {results[0].contender: results[0].contender, "tape": "The tape"}[results[0].contender]
    shares = []
    for name, called in (("autograd", "eager autograd's time"), ("by hand", "NumPy's by hand")):
        if found := [result.ratio.median for result in results if result.contender == name]:
            shares.append(f"{min(found):.2f} to {max(found):.2f} of {called}")
    return f"{who} takes {', and '.join(shares) or f'{results[0].seconds:.2g} s'}."


CALLED = {
    "tape": "tape",
    "tape, out=": "tape, into given arrays",
    "compiled": "tape, compiled",
    "autograd": "autograd",
    "by hand": "NumPy, derived by hand",
    "products": "its matrix products alone",
}
"""The labels of the contenders in the figure."""

FORMS = {"lse": "log-sum-exp", "plain": "log of softmax"}


@styled
def figure(results: Sequence[Result], names: Sequence[str]) -> Figure:
    """Draw the time of each contender over the batch, a panel per network, dtype and loss."""
    kinds = list(dict.fromkeys(result.problem.rsplit(" ", 1)[0] for result in results))
    drawn = Figure(figsize=(PHONE_WIDTH, 1.6 + 2.1 * -(-len(kinds) // 2)))
    shown = panels(drawn, len(kinds), 2, xlabel="samples per batch", sharex=True, sharey=True)
    batches = sorted({int(result.problem.rsplit(" ", 1)[1]) for result in results})
    seconds = [result.seconds for result in results]
    for axes, kind in zip(shown, kinds, strict=False):
        for name in names:
            own = [r for r in results if r.contender == name and r.problem.startswith(f"{kind} ")]
            width = 2.5 if name == names[0] else 1.2
            style: Any = {"color": COLOUR[name], "marker": MARKER[name], "ms": 5, "lw": width}
            at = [int(result.problem.rsplit(" ", 1)[1]) for result in own]
            axes.plot(at, [r.seconds for r in own], label=CALLED.get(name, name), **style)
        activation, dtype, form = kind.split(" ")
        axes.set_title(f"{activation}, {dtype},\n{FORMS[form]}", fontsize=10)
        logarithmic(axes.xaxis, batches[0], batches[-1])
        axes.set_xticks(batches)
        logarithmic(axes.yaxis, min(seconds), max(seconds), lambda s: common.duration(s, 1))
    title(drawn, "Time of a gradient")
    drawn.legend(*shown[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return drawn


@common.main("tape_speed")
def main(
    activation: Annotated[
        list[str] | None, typer.Option("--network", help="sigmoid or relu [default: both].")
    ] = None,
    form: Annotated[
        list[str] | None, typer.Option("--loss", help="plain or lse [default: both].")
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Samples per gradient [default: 1, 10, 100, 1000]."),
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="float32 or float64 [default: both].")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A contender to leave out, such as torch.compile.")
    ] = None,
    reference: Annotated[
        str, typer.Option(help="The contender that the others are compared with.")
    ] = REFERENCE,
    threads: common.Threads = 1,
    quick: common.Quick = False,
) -> common.Findings:
    """Time one gradient by the tape, eager autograd, NumPy by hand, PyTorch and JAX."""
    common.require_known("--network", activation, NETWORKS)
    common.require_known("--loss", form, ("plain", "lse"))
    common.require_known("--without", without, CONTENDERS)
    common.require_known("--reference", [reference], CONTENDERS)
    common.limit_threads(threads)
    left_out = {*(without or ()), *(["torch.compile"] if quick else [])}
    names = [
        name
        for name in CONTENDERS
        if name == reference
        or (name not in left_out and common.is_installed(MODULES.get(name, "numpy")))
    ]
    names.sort(key=lambda name: name != reference)
    rounds = 3 if quick else 9
    clock, clocked = common.clock_for(threads)
    results: list[Result] = []
    for kind in dict.fromkeys(map(common.parse_dtype, dtype or ("float32", "float64"))):
        for net in activation or NETWORKS:
            for written in form or (("lse",) if quick else ("plain", "lse")):
                for n in batch or ((1, 100) if quick else BATCHES):
                    problem = Problem.draw(net, written, n, kind)
                    common.say(f"timing {problem.name} ...")
                    results += measure(problem, names, rounds, clock)
    missing = common.missing(MODULES)
    caption = (
        "lse: the loss by log-sum-exp; plain: by the logarithm of a softmax. products: only the "
        "matrix products of the gradient, which all contenders compute.\n"
        f"{common.missing_notes(missing)}{clocked}, {rounds} rounds; "
    )
    return common.Findings(
        options={"rounds": rounds, "threads": threads, "quick": quick},
        table=lambda environment: table(results, names, f"{caption}{environment}"),
        results=results,
        headline=headline(results),
        figure=lambda: figure(results, names),
        more={"reference": reference, "missing": missing},
    )


if __name__ == "__main__":
    common.run(main)
