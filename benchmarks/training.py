"""The cost of an epoch of training: `gradlab.fit`, and loops that users of other libraries write.

All contenders train the same network from the same start for one epoch, on the same images in the
same order, and must reach the same mean loss. Only scikit-learn draws its own order. `raw tensors`
is PyTorch without modules, data loader or optimiser. `lax.scan` is JAX with the whole epoch in one
compiled function. The times exclude compilation, and the tape's recording except in `first time`.
The two contenders with Adam reach another loss; PyTorch's is `torch.optim.Adam`, fused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import common
import numpy as np
import typer
from common import Ratio
from matplotlib.figure import Figure
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from gradlab import fit, network, optim
from gradlab.errors import GradlabError
from gradlab.gradients import Tape, value_and_grad
from gradlab.params import Array
from gradlab.plotting.labels import Row, rows
from gradlab.plotting.style import COLOURS, PHONE_WIDTH, styled, title

WIDTHS = (784, 50, 100, 10)
BATCH = 100
RATE = 0.1
REFERENCE = "fit, tape"
COMPILED = "fit, compiled tape"
SCAN = "JAX, lax.scan"
ADAM = "fit, tape, Adam"
TORCH_ADAM = "PyTorch, Adam"
ADAM_RATE = 0.001


@dataclass(frozen=True)
class Task:
    """The training that all contenders do.

    Attributes
    ----------
    params : dict of str to ndarray
        The initial parameters.
    x, labels : ndarray, shapes (n, 784) and (n,)
        Images: noise around one pattern per class.
    order : ndarray of int, shape (n,)
        The order in which `fit` takes the images with seed 0.
    """

    params: dict[str, Array]
    x: Array
    labels: Array
    order: Array

    @classmethod
    def draw(cls, n: int, dtype: np.dtype[Any]) -> Task:
        """Draw parameters and images."""
        rng = np.random.default_rng(0)
        labels = rng.integers(10, size=n)
        x = 0.5 * rng.random((10, WIDTHS[0]))[labels] + 0.5 * rng.random((n, WIDTHS[0]))
        return cls(
            network.init(WIDTHS, rng, dtype=dtype),
            x.astype(dtype),
            labels,
            np.random.default_rng(0).permutation(n),
        )


Epoch = Callable[[], float]
"""Trains one epoch from the start, and returns the mean loss of its batches."""


@dataclass(frozen=True)
class Recorded:
    """A backend that returns a given function, which may have recorded the loss already."""

    function: Any
    name: str = "recorded"

    def value_and_grad(self, loss: Any) -> Any:
        """Return the given function."""
        return self.function


def by_fit(backend: Any, recorded: bool = False, optimizer: Any = None) -> Callable[[Task], Epoch]:
    """Return the maker of an epoch by `gradlab.fit`; `recorded` keeps the recording of the loss."""
    optimizer = optimizer or optim.sgd(RATE)

    def make(task: Task) -> Epoch:
        function = value_and_grad(network.loss, backend)
        chosen = Recorded(function) if recorded else backend

        def epoch() -> float:
            result = fit(
                network.loss,
                task.params,
                (task.x, task.labels),
                backend=chosen,
                optimizer=optimizer,
                batch_size=BATCH,
                epochs=1,
                progress=False,
            )
            return result.history.epochs[0].loss

        return epoch

    return make


def by_loop(task: Task) -> Epoch:
    """Return an epoch by a loop around the tape's gradient, which keeps its recording."""
    f = value_and_grad(network.loss, "tape")

    def epoch() -> float:
        params, total = dict(task.params), 0.0
        for start in range(0, len(task.x), BATCH):
            rows = task.order[start : start + BATCH]
            value, grads = f(params, task.x[rows], task.labels[rows])
            params = {name: p - RATE * grads[name] for name, p in params.items()}
            total += value * len(rows)
        return total / len(task.x)

    return epoch


def by_torch(task: Task, adam: bool = False) -> Epoch:
    """Return an epoch by PyTorch: plain tensors, updated in place, or its fastest (fused) Adam."""
    import torch

    x, labels = torch.tensor(task.x), torch.tensor(task.labels)
    order = torch.tensor(task.order)

    def epoch() -> float:
        leaves = [torch.tensor(leaf, requires_grad=True) for leaf in task.params.values()]
        W1, b1, W2, b2, W3, b3 = leaves
        rule = torch.optim.Adam(leaves, lr=ADAM_RATE, fused=True) if adam else None
        total = 0.0
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            h = torch.sigmoid(torch.addmm(b1, x[rows], W1))
            h = torch.sigmoid(torch.addmm(b2, h, W2))
            loss = torch.nn.functional.cross_entropy(torch.addmm(b3, h, W3), labels[rows])
            grads = torch.autograd.grad(loss, leaves)
            if rule:
                for leaf, grad in zip(leaves, grads, strict=True):
                    leaf.grad = grad
                rule.step()
            else:
                with torch.no_grad():
                    torch._foreach_add_(leaves, grads, alpha=-RATE)
            total += loss.item() * len(rows)
        return total / len(x)

    return epoch


def by_scan(task: Task) -> Epoch:
    """Return an epoch by JAX: ``lax.scan`` over the batches, compiled as a whole."""
    import jax

    if task.x.dtype == np.float64:
        jax.config.update("jax_enable_x64", True)
    steps = len(task.x) // BATCH

    def loss(leaves: Any, x: Any, labels: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = leaves
        h = jax.nn.sigmoid(x @ W1 + b1)
        log_p = jax.nn.log_softmax(jax.nn.sigmoid(h @ W2 + b2) @ W3 + b3)
        return -jax.numpy.take_along_axis(log_p, labels[:, None], axis=1).mean()

    def step(leaves: Any, rows: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(leaves, x[rows], labels[rows])
        return [leaf - RATE * grad for leaf, grad in zip(leaves, grads, strict=True)], value

    x, labels = jax.numpy.asarray(task.x), jax.numpy.asarray(task.labels)
    order = jax.numpy.asarray(task.order.reshape(steps, BATCH))
    start = [jax.numpy.asarray(leaf) for leaf in task.params.values()]
    run = jax.jit(lambda leaves, order: jax.lax.scan(step, leaves, order))

    def epoch() -> float:
        _, values = jax.block_until_ready(run(start, order))
        return float(values.mean())

    return epoch


def by_sklearn(task: Task) -> Epoch:
    """Return an epoch by scikit-learn: one iteration of MLPClassifier."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    def epoch() -> float:
        model = MLPClassifier(
            WIDTHS[1:-1], activation="logistic", solver="sgd", alpha=0.0, batch_size=BATCH,
            learning_rate_init=RATE, momentum=0.0, max_iter=1, random_state=0,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return float(model.fit(task.x, task.labels).loss_)

    return epoch


CONTENDERS: dict[str, tuple[str, Callable[[Task], Epoch]]] = {
    REFERENCE: ("numpy", by_fit("tape", recorded=True)),
    COMPILED: ("llvmlite", by_fit(Tape(compile=True), recorded=True)),
    "fit, tape, first time": ("numpy", by_fit("tape")),
    "fit, autograd": ("numpy", by_fit("autograd")),
    "own loop, tape": ("numpy", by_loop),
    "PyTorch, raw tensors": ("torch", by_torch),
    SCAN: ("jax", by_scan),
    "scikit-learn": ("sklearn", by_sklearn),
    ADAM: ("numpy", by_fit("tape", recorded=True, optimizer=optim.adam(ADAM_RATE))),
    TORCH_ADAM: ("torch", partial(by_torch, adam=True)),
}


@dataclass(frozen=True)
class Result:
    """The cost of an epoch by one contender; in the JSON file, one record.

    Attributes
    ----------
    contender : str
        The contender's name.
    seconds : float
        The time of an epoch, the median over the rounds.
    ratio : Ratio
        The time of `fit` with the tape (for PyTorch's Adam: `fit` with Adam) divided by this time.
    loss : float
        The mean loss of the epoch's batches.
    """

    contender: str
    seconds: float
    ratio: Ratio
    loss: float


def measure(task: Task, rounds: int, clock: Callable[[], float]) -> list[Result]:
    """Time the contenders that are installed, in turns."""
    runs = {
        name: make(task)
        for name, (module, make) in CONTENDERS.items()
        if common.is_installed(module)
    }
    losses = {name: run() for name, run in runs.items()}
    for name, loss in losses.items():
        wanted = losses[ADAM if name in (ADAM, TORCH_ADAM) else REFERENCE]
        if name != "scikit-learn" and not abs(loss - wanted) < 1e-3:
            raise GradlabError(f"{name} reached the loss {loss}, not {wanted}")
    seconds = common.interleave(runs, rounds=rounds, clock=clock)
    return [
        Result(
            name,
            float(np.median(seconds[name])),
            Ratio.of(seconds[ADAM if name == TORCH_ADAM else REFERENCE], seconds[name]),
            losses[name],
        )
        for name in runs
    ]


def table(results: Sequence[Result], caption: str, missing: Collection[str] = ()) -> Table:
    """Return the results as a table: a row per contender, with those that are not installed."""
    shown = Table(
        title="One epoch of training",
        title_justify="left",
        caption=Text(caption),
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    shown.add_column("", no_wrap=True)
    for name in ("seconds", f"{REFERENCE} / this", "middle half", "loss"):
        shown.add_column(name, justify="right")
    for result in results:
        ratio = result.ratio
        own = result.contender == REFERENCE
        shown.add_row(
            result.contender,
            common.duration(result.seconds),
            "1" if own else f"{ratio.median:.2f}",
            "" if own else f"{ratio.low:.2f}–{ratio.high:.2f}",
            f"{result.loss:.4f}",
        )
    for contender in missing:
        shown.add_row(contender, "not installed", style="dim")
    return shown


def headline(results: Sequence[Result]) -> str:
    """Return the result in one line."""
    shares = [
        f"{'with Adam, ' * (result.contender == TORCH_ADAM)}{result.ratio.median:.2f} of "
        f"{result.contender}"
        for result in results
        if result.contender != REFERENCE
    ]
    return f"An epoch of fit by the tape takes {'; '.join(shares)}."


NAMES = {
    "fit, tape": "gradlab's fit, tape",
    COMPILED: "gradlab's fit, compiled tape",
    "fit, tape, first time": "gradlab's fit, tape, with recording",
    "fit, autograd": "gradlab's fit, autograd",
    "own loop, tape": "a handwritten loop, tape",
    "PyTorch, raw tensors": "a handwritten loop, PyTorch",
    SCAN: "a compiled loop (lax.scan), JAX",
    "scikit-learn": "scikit-learn's MLPClassifier",
    ADAM: "gradlab's fit with Adam, tape",
    TORCH_ADAM: "a loop with PyTorch's Adam",
}
"""The labels of the contenders in the figure."""


@styled
def figure(results: Sequence[Result]) -> Figure:
    """Draw a bar per contender, the fastest first; gradlab's bars are blue."""
    drawn = Figure(figsize=(PHONE_WIDTH, 1.5 + 0.32 * len(results)))
    axes = drawn.subplots()
    fastest_first = sorted(results, key=lambda result: result.seconds)
    shown = [
        Row(
            NAMES.get(r.contender, r.contender),
            1e3 * r.seconds,
            (common.duration(r.seconds),),
            COLOURS[0] if "tape" in r.contender or "fit" in r.contender else "#999999",
        )
        for r in fastest_first
    ]
    rows(axes, shown)
    axes.set_xlabel("milliseconds")
    title(drawn, "One epoch of training (blue: gradlab)")
    return drawn


@common.main("training")
def main(
    samples: Annotated[int, typer.Option(min=BATCH, help="Images per epoch.")] = 10_000,
    dtype: common.Dtype = "float32",
    threads: common.Threads = 1,
    quick: common.Quick = False,
) -> common.Findings:
    """Time one epoch of training by gradlab, PyTorch, JAX and scikit-learn."""
    kind = common.parse_dtype(dtype)
    common.limit_threads(threads)
    samples = (min(samples, 2_000) if quick else samples) // BATCH * BATCH
    rounds = 3 if quick else 9
    clock, clocked = common.clock_for(threads)
    results = measure(Task.draw(samples, kind), rounds, clock)
    missing = common.missing({name: module for name, (module, _) in CONTENDERS.items()})
    caption = (
        f"{common.missing_notes(missing)}"
        f"{samples:,} images, batch {BATCH}, {dtype}, {clocked}, {rounds} rounds;\n"
    )
    return common.Findings(
        options={"samples": samples, "dtype": dtype, "threads": threads, "rounds": rounds},
        table=lambda environment: table(results, f"{caption}{environment}", missing),
        results=results,
        headline=headline(results),
        figure=lambda: figure(results),
        more={"reference": REFERENCE, "missing": missing},
    )


if __name__ == "__main__":
    common.run(main)
