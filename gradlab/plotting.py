"""Figures: one function a figure, each returning a matplotlib `Figure` that the caller saves.

All share one style. The colours are Okabe & Ito's, which colour-blind readers can tell apart, and
curves that may lie on top of each other differ in width and dashes as well. No global state of
matplotlib is touched.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gradlab import outputs
from gradlab.checking import GradientReport
from gradlab.checking.result import VERDICTS, Verdict
from gradlab.params import Array
from gradlab.training import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


class Mark(NamedTuple):
    """How the entries of one verdict are drawn."""

    colour: str
    marker: str
    size: float


MARKS: dict[Verdict, Mark] = {
    "agree": Mark("#56B4E9", "o", 14),
    "kink": Mark("#009E73", "D", 22),
    "inconclusive": Mark("#F0E442", "s", 26),
    "mismatch": Mark("#D55E00", "X", 46),
}
"""The worst last, so that nothing lies upon it."""

PALE: dict[Verdict | None, str] = {
    "agree": "#dceefa",
    "kink": "#cfeee4",
    "inconclusive": "#fbf8d0",
    "mismatch": "#f7dccc",
    None: "#f2f2f2",
}
"""For entries of which a leaf's directions say so, or of which nothing is known."""

STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": f"cycler('color', {list(COLOURS)})",
    "grid.color": "#e5e5e5",
    "legend.frameon": False,
    "savefig.dpi": 150,
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "image.cmap": "gray_r",
}

P = ParamSpec("P")


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        # Whatever the numbers, also those near the largest float, a figure of them is no error.
        with rc_context(STYLE), np.errstate(over="ignore"):
            return draw(*args, **kwargs)

    return styled


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to a file, by the resolution of the style.

    Parameters
    ----------
    figure : Figure
        From any function of this module.
    path : str or path
        It ends in .png, .svg or .pdf.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(loss_curves({"central": [2.3, 1.9, 1.6]}), f"{folder}/losses.png")
    """
    data = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(data, format=Path(path).suffix.lstrip(".").lower() or None)
    outputs.write(Path(path), data.getvalue())


# Training


@_styled
def loss_curves(losses: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the loss of each step, one curve a name, made to be seen where they coincide.

    Parameters
    ----------
    losses : mapping of str to sequence of float
        The loss of each step's minibatch; the first is drawn broad, the others thin upon it.

    Examples
    --------
    >>> figure = loss_curves({"central": [2.3, 1.9, 1.6], "autograd": [2.3, 1.9, 1.6]})
    >>> figure.axes[0].get_ylabel()
    'loss of the minibatch'
    """
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    for i, (name, values) in enumerate(losses.items()):
        width, dashes, alpha = (6, "-", 0.35) if i == 0 else (1.6, ("-", "--", ":")[i % 3], 1)
        axes.plot(values, dashes, linewidth=width, alpha=alpha, label=name, color=_colour(i))
    axes.set(
        title="The same network, the same minibatches",
        xlabel="iteration",
        ylabel="loss of the minibatch",
    )
    _count_along_x(axes)
    axes.legend()
    return figure


@_styled
def training_curves(history: History) -> Figure:
    """Draw a training: the loss of its steps and epochs, and the accuracy where it was taken."""
    epochs = history.epochs
    with_accuracy = [epoch for epoch in epochs if epoch.accuracy is not None]
    figure = Figure(figsize=(10 if with_accuracy else 6, 4))
    panels = figure.subplots(1, 2 if with_accuracy else 1, squeeze=False)[0]
    steps = np.arange(1, len(history.losses) + 1) * len(epochs) / max(len(history.losses), 1)
    axes = panels[0]
    axes.plot(steps, history.losses, color="#bbbbbb", linewidth=0.6, label="minibatch")
    numbers = [epoch.epoch for epoch in epochs]
    axes.plot(numbers, [e.loss for e in epochs], "o-", markersize=4, label="mean of the epoch")
    if epochs and epochs[0].validation_loss is not None:
        validation: list[Any] = [epoch.validation_loss for epoch in epochs]
        axes.plot(numbers, validation, "s--", markersize=4, label="validation")
    axes.set(title="Loss", xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend()
    if with_accuracy:
        axes = panels[1]
        shares: list[Any] = [epoch.accuracy for epoch in with_accuracy]
        axes.plot([epoch.epoch for epoch in with_accuracy], shares, "o-", markersize=4)
        axes.set(
            title=f"Accuracy: {shares[-1]:.2%} in the end",
            xlabel="epoch",
            ylabel="share classified right",
        )
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    for axes in panels:
        _count_along_x(axes)
    return figure


# Comparing backends


@_styled
def gradient_differences(
    differences: Mapping[str, Mapping[str, Sequence[float]]], reference: str
) -> Figure:
    """Draw how far gradients lie from the reference's, a panel a backend, a curve a leaf.

    Parameters
    ----------
    differences : mapping of str to mapping of str to sequence of float
        For each backend and leaf, the relative difference at each step.
    reference : str
        The backend that they are held against.
    """
    figure = Figure(figsize=(1 + 5.5 * max(len(differences), 1), 4.2))
    panels = figure.subplots(1, max(len(differences), 1), squeeze=False, sharey=True)[0]
    for axes, (name, leaves) in zip(panels, differences.items(), strict=False):
        for i, (path, values) in enumerate(leaves.items()):
            # A difference of exactly zero has no place on a logarithmic axis.
            shown = [value or np.nan for value in values]
            axes.plot(shown, ("-", "--", ":")[i // len(COLOURS) % 3], label=path, color=_colour(i))
        axes.set(title=f"{name} against {reference}", xlabel="iteration", yscale="log")
        _count_along_x(axes)
    if differences:  # the leaves are the same in all panels, and so are their colours
        rows = max(map(len, differences.values()))
        panels[-1].legend(ncols=1 + rows // 7, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[0].set_ylabel("largest difference in a leaf,\nrelative to its largest entry")
    return figure


@_styled
def gradient_cost(
    seconds: Mapping[str, float],
    evaluations: Mapping[str, float],
    equivalent: Collection[str] = (),
) -> Figure:
    """Draw what one gradient costs with each backend, in seconds and evaluations of the loss.

    Parameters
    ----------
    seconds, evaluations : mapping of str to float
        By the names of the backends.
    equivalent : collection of str
        Those of which the evaluations are what the gradient is made of, not what was done.
    """
    figure = Figure(figsize=(7, 1.5 + 0.6 * len(seconds)))
    axes = figure.subplots()
    names = list(seconds)
    # Points, not bars: a logarithmic axis has no zero for the length of a bar to start from.
    axes.plot([seconds[name] for name in names], names, "o", markersize=9)
    for position, name in enumerate(names):
        count = evaluations[name]
        plural = "" if count == 1 else "s"
        shown = f"{count:,.0f}" if count >= 1 else f"{count:.2g}"  # one that records calls it once
        kind = "equiv. " if name in equivalent else ""
        label = f"   {_duration(seconds[name])}, {shown} {kind}evaluation{plural}"
        axes.text(seconds[name], position, label, va="center")
    low, high = min(seconds.values()), max(seconds.values())
    axes.set(
        title="The cost of one gradient",
        xlabel="seconds (logarithmic)",
        xscale="log",
        # Room on the right for the label of the costliest.
        xlim=(low / 3, low / 3 * (3 * high / low) ** 2.2),
        ylim=(len(names) - 0.4, -0.6),
    )
    axes.grid(axis="y", visible=False)
    return figure


# Checking


@_styled
def gradient_agreement(report: GradientReport) -> Figure:
    """Draw a gradient against the slopes of the loss, and how far both lie apart.

    On the left, sizes; an entry of the wrong sign is hollow. On the right, the difference between
    both, and from it a line to what the error bars allow. What is zero lies on the axes' edge.

    Parameters
    ----------
    report : GradientReport
        Of `gradlab.check_gradients`.

    Examples
    --------
    >>> from gradlab import check_gradients
    >>> figure = gradient_agreement(check_gradients(lambda w: (w**2).sum(), np.array([1.0, 2.0])))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['|gradient|', '|difference|']
    """
    known = [e for e in report.entries if np.isfinite([e.analytic, e.numerical, e.tolerance]).all()]
    slopes = np.abs([e.numerical for e in known])
    gradients = np.abs([e.analytic for e in known])
    gaps = np.abs([e.analytic - e.numerical for e in known])
    bars = np.array([e.tolerance for e in known])
    errors = np.array([e.error for e in known])
    opposite = np.array([e.analytic * e.numerical < 0 for e in known], dtype=bool)
    least, least_gap = _floor(slopes, gradients), _floor(gaps, bars)
    x, y = np.maximum(slopes, least), np.maximum(gradients, least)
    z, allowed = np.maximum(gaps, least_gap), np.maximum(bars, least_gap)

    figure = Figure(figsize=(10, 4.6))
    left, right = figure.subplots(1, 2)
    ends = [least, max(x.max(initial=least), y.max(initial=least))]
    left.plot(ends, ends, color="#888888", linewidth=0.8, zorder=0)
    for verdict, (colour, marker, size) in MARKS.items():
        these = np.array([e.verdict == verdict for e in known], dtype=bool)
        bar = [np.minimum(errors, x - least)[these], errors[these]]
        left.errorbar(x[these], y[these], xerr=bar, fmt="none", ecolor=colour, alpha=0.4)
        right.vlines(x[these], z[these], allowed[these], color=colour, alpha=0.3, linewidth=0.8)
        style: Any = {"edgecolors": colour, "marker": marker, "s": size}
        for mask, face in ((these & ~opposite, colour), (these & opposite, "none")):
            left.scatter(x[mask], y[mask], c=face, **style)
        label = f"{np.count_nonzero(these):,} {verdict}" if these.any() else None
        right.scatter(x[these], z[these], c=colour, label=label, **style)
    left.set(title=f"{report.verdict}: gradient and slope", ylabel="|gradient|")
    right.set(title="How far apart, and what is allowed", ylabel="|difference|")
    if opposite.any():
        right.scatter([], [], c="none", edgecolors="black", label="hollow: the other sign")
    right.plot([], [], color="#888888", linewidth=0.8, label="line: up or down to\nwhat is allowed")
    if missing := len(report.entries) - len(known):
        right.plot([], [], " ", label=f"{missing:,} not finite,\nand not shown")
    right.legend(loc="upper left", bbox_to_anchor=(1, 1))
    for axes in (left, right):
        axes.set(xlabel="|slope of the loss|", xscale="log", yscale="log")
        _logarithmic(axes.xaxis, least, x)
    _logarithmic(left.yaxis, least, y)
    _logarithmic(right.yaxis, least_gap, np.concatenate([z, allowed]))
    return figure


@_styled
def gradient_map(report: GradientReport, most: int = 12) -> Figure:
    """Draw each leaf with the verdicts of its entries, the wrong ones ringed where they are few.

    An entry that was not looked at by itself is pale, in the colour of what directions say of it.
    Leaves of more than two axes are laid out as matrices.

    Parameters
    ----------
    report : GradientReport
        Of `gradlab.check_gradients`.
    most : int
        Largest number of leaves to draw: the worst, in their own order.
    """
    worst_first = sorted(report.leaves, key=lambda leaf: VERDICTS.index(leaf.verdict))[:most]
    leaves = [leaf for leaf in report.leaves if leaf in worst_first and 0 not in leaf.shape]
    columns = min(4, max(len(leaves), 1))
    rows = max(-(-len(leaves) // columns), 1)
    figure = Figure(figsize=(0.6 + 3 * columns, 0.9 + 2.4 * rows))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels[len(leaves) :]:
        axes.set_axis_off()
    shown: set[str] = set()
    for axes, leaf in zip(panels, leaves, strict=False):
        own = [entry for entry in report.entries if entry.path == leaf.path]
        height, width = _as_matrix(leaf.shape)
        picture = np.tile(to_rgb(PALE[leaf.rest]), (height * width, 1))
        places = np.array([_place(entry.index, leaf.shape) for entry in own], dtype=int)
        if own:
            picture[places] = [to_rgb(MARKS[entry.verdict].colour) for entry in own]
        axes.imshow(picture.reshape(height, width, 3), aspect="auto", interpolation="nearest")
        wrong = places[[entry.verdict == "mismatch" for entry in own]]
        small = max(height, width) <= 32
        rings: Any = {"marker": "x", "s": 25} if small else {"s": 60, "facecolors": "none"}
        if small or len(wrong) <= 50:  # more are seen without
            axes.scatter(wrong % width, wrong // width, color="black", linewidth=1, **rings)
        axes.set_title(f"{leaf.path}: {len(wrong):,} wrong" if len(wrong) else leaf.path)
        axes.set_box_aspect(min(max(height / width, 0.1), 1.2) if leaf.shape else 0.25)
        axes.grid(visible=False)
        if small:  # the edges of the cells
            axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
            axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
            axes.tick_params(which="minor", length=0)
            axes.grid(visible=True, which="minor", color="white", linewidth=0.8)
            axes.set_axisbelow(False)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        if len(leaf.shape) < 2:
            axes.set_yticks([])
        if not leaf.shape:
            axes.set_xticks([])
        shown |= {entry.verdict for entry in own}
        if len(own) < height * width:
            shown.add(f"{leaf.rest}, along directions" if leaf.rest else "not looked at")
    colours: dict[str, str] = {verdict: mark.colour for verdict, mark in MARKS.items()}
    colours |= {f"{verdict}, along directions": PALE[verdict] for verdict in MARKS}
    colours["not looked at"] = PALE[None]
    handles = [
        Patch(facecolor=colour, edgecolor="#888888", linewidth=0.5, label=name)
        for name, colour in colours.items()
        if name in shown
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=max(len(handles), 1))
    return figure


def _floor(*sizes: Array) -> float:
    """Return a size below all others that are not zero, for zero to be drawn at."""
    known = np.concatenate(sizes)
    largest = known.max(initial=0.0) or 1.0
    return float(known[known > 1e-18 * largest].min(initial=largest) / 3)


def _logarithmic(axis: Any, least: float, shown: Array) -> None:
    """Let an axis reach over a decade at least, and name the place where zero is drawn."""
    highest = max(3 * float(shown.max(initial=least)), 30 * least)
    axis.axes.set(**{f"{axis.axis_name}lim": (least / 1.5, highest)})
    zero = bool((shown == least).any())
    axis.set_ticks([least] if zero else [], labels=["0"] if zero else [], minor=True)


def _as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Lay a leaf out in rows: a vector in one, more axes than two in those of the first.

    Examples
    --------
    >>> _as_matrix(()), _as_matrix((5,)), _as_matrix((5, 3)), _as_matrix((5, 3, 2))
    ((1, 1), (1, 5), (5, 3), (5, 6))
    """
    first = shape[0] if len(shape) > 1 else 1
    return first, int(np.prod(shape)) // first


def _place(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(index, shape)) if shape else 0


# Classifying


@_styled
def confusion_matrix(counts: Array) -> Figure:
    """Draw how often each class (row) was taken for each other (column).

    Parameters
    ----------
    counts : ndarray, shape (k, k)
        Integers; the diagonal was classified right.
    """
    k = len(counts)
    figure = Figure(figsize=(1.2 + 0.5 * k, 1.2 + 0.5 * k))
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    axes.set(
        title=f"{np.trace(counts):,} of {counts.sum():,} right",
        xlabel="classified as",
        ylabel="is",
        xticks=range(k),
        yticks=range(k),
    )
    axes.grid(visible=False)
    return figure


@_styled
def misclassified(images: Array, labels: Array, predicted: Array, confidence: Array) -> Figure:
    """Draw pictures that were classified wrong, each under what it is and was taken for.

    Parameters
    ----------
    images : ndarray, shape (n, height, width)
        The pictures, dark where large.
    labels, predicted : ndarray, shape (n,)
        The true and the predicted classes.
    confidence : ndarray, shape (n,)
        The probability given to the predicted class.
    """
    columns = min(6, max(len(images), 1))
    rows = max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(1.6 * columns, 1.95 * rows + 0.4))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    entries = zip(panels, images, labels, predicted, confidence, strict=False)
    for axes, image, label, guess, probability in entries:
        axes.imshow(image)
        axes.set_title(
            f"{label}, seen as {guess}\n({probability:.0%} sure)", loc="center", fontsize=10
        )
    figure.suptitle("The surest mistakes" if len(images) else "Nothing was classified wrong")
    return figure


# The notebook's story


@_styled
def predictions(labels: Array, guesses: Mapping[str, Array]) -> Figure:
    """Draw predicted probabilities as bars, a panel a prediction, the true class marked."""
    figure = Figure(figsize=(4.5 * len(guesses), 3.4))
    panels = figure.subplots(1, len(guesses), squeeze=False, sharey=True)[0]
    for axes, (name, probabilities) in zip(panels, guesses.items(), strict=True):
        truth = int(np.argmax(labels))
        colours = [COLOURS[1] if k == truth else "#aaaaaa" for k in range(len(probabilities))]
        axes.bar(range(len(probabilities)), probabilities, color=colours)
        axes.set(title=name, xlabel=f"class ({truth} is right)", xticks=range(len(probabilities)))
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel("probability")
    return figure


@_styled
def derivative(x: Array, value: Array, by_hand: Array, numerical: Array) -> Figure:
    """Draw a function, its derivative by hand and its numerical one on top of it."""
    figure = Figure(figsize=(6.5, 4.2))
    axes = figure.subplots()
    axes.plot(x, value, color=COLOURS[0], label="x²")
    axes.plot(x, by_hand, color=COLOURS[2], linewidth=6, alpha=0.35, label="2x, by hand")
    axes.plot(x, numerical, "--", color="black", label="central difference, h = 1e-4")
    axes.plot(0, 0, "o", color=COLOURS[1], label="minimum: the slope is 0")
    axes.set(title="x² and its derivative", xlabel="x", ylabel="value")
    axes.legend(loc="upper center")
    return figure


@_styled
def surface(x0: Array, x1: Array, height: Array) -> Figure:
    """Draw a function of two variables as a surface."""
    figure = Figure(figsize=(6, 5))
    axes: Any = figure.add_subplot(projection="3d")
    axes.plot_surface(x0, x1, height, cmap="viridis", linewidth=0.1, edgecolor="#33333344")
    axes.set(title="x₀² + x₁²", xlabel="x₀", ylabel="x₁", zlabel="f(x₀, x₁)")
    return figure


@_styled
def descent(path: Array, height: Callable[[Array], Array]) -> Figure:
    """Draw the way of gradient descent over the contours of a function of two variables.

    Parameters
    ----------
    path : ndarray, shape (steps + 1, 2)
        The points that descent came through.
    height : callable
        The function, of an array of shape (2, ...).
    """
    figure = Figure(figsize=(5.6, 5.2))
    axes: Axes = figure.subplots()
    x0, x1 = np.meshgrid(*2 * [np.linspace(-5, 5, 101)])
    axes.contour(x0, x1, height(np.stack([x0, x1])), levels=12, colors="#bbbbbb", linewidths=0.8)
    axes.plot(*path.T, "o-", color=COLOURS[0], markersize=4, linewidth=0.8)
    axes.plot(*path[0], "o", color=COLOURS[1], label="start")
    axes.plot(*path[-1], "*", color=COLOURS[2], markersize=14, label=f"after {len(path) - 1} steps")
    axes.set(title="Gradient descent, rate 0.1", xlabel="x₀", ylabel="x₁", aspect="equal")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=2)
    return figure


def _count_along_x(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _colour(i: int) -> str:
    return COLOURS[i % len(COLOURS)]


def _duration(seconds: float) -> str:
    """Write seconds with a unit that suits them.

    Examples
    --------
    >>> _duration(2.5), _duration(0.0123), _duration(4.2e-5)
    ('2.5 s', '12.3 ms', '42 µs')
    """
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if seconds * factor >= 0.9995:  # what rounds to 1000 of the next unit
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"
