"""Figures of trainings: the loss at each step, alone or compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gradlab.history import History, coincide
from gradlab.params import Array
from gradlab.plotting.labels import at_ends
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, GREY, colour, panels, styled, title

MAX_MINIBATCHES_DRAWN = 1000
"""Largest number of minibatches drawn individually; the scatter of more would fill the figure."""

CURVE_POINTS = 100
"""Number of points of the curve for more minibatches than that."""


@styled
def loss_curves(losses: Mapping[str, Sequence[float]], reference: str | None = None) -> Figure:
    """Draw the loss of each step: two trainings in one panel, more in a panel each.

    Parameters
    ----------
    losses : mapping of str to sequence of float
        For each training, the loss of each step's minibatch.
    reference : str, optional
        The training that is drawn broad and pale behind the others; by default autograd's if there
        is one, else the first.

    Examples
    --------
    >>> figure = loss_curves({"central": [2.3, 1.9, 1.6], "autograd": [2.3, 1.9, 1.6]})
    >>> figure.axes[0].get_ylabel()
    'loss of the minibatch'
    """
    if reference is None:
        reference = "autograd" if "autograd" in losses else next(iter(losses), "")
    others = [name for name in losses if name != reference]
    grid = len(others) > 1
    figure = Figure(figsize=(7, 0.9 + 1.9 * -(-len(others) // 3)) if grid else (7, 4.2))
    count = max(len(others), 1)
    shown = panels(figure, count, 3, xlabel="iteration", sharex=True, sharey=True)
    for i, axes in enumerate(shown):
        if reference in losses:
            style: Any = {"color": COLOURS[0], "linewidth": 6, "alpha": 0.35}
            axes.plot(losses[reference], label=reference, **style)
        if others:
            name, values = others[i], losses[others[i]]
            axes.plot(values, "-" if grid else "--", lw=1.6, label=name, color=COLOURS[1])
        _count_along_x(axes)
        if grid:
            axes.set_title(name, fontsize=11)
            if coincide(values, losses.get(reference, ())):
                axes.set_title("same curve", loc="right", fontsize=9, color=GREY)
        else:
            axes.set_ylabel("loss of the minibatch")
            axes.set_title("The same start, the same minibatches")
            axes.legend()
    _loss_axis(shown[0], losses.values())
    if grid:
        title(figure, f"The same start and minibatches (broad and pale: {reference})")
        figure.supylabel("loss of the minibatch", fontsize=11)
    return figure


@styled
def loss_bands(losses: Mapping[str, Sequence[Sequence[float]]], over: str = "") -> Figure:
    """Draw trainings with several seeds: for each value, the mean loss, and the range of the seeds.

    Many minibatches are drawn as means of groups. Where a training ended early, as one that
    diverged, the curve of its value ends.

    Parameters
    ----------
    losses : mapping of str to sequence of sequence of float
        For each value and seed, the loss of each step's minibatch.
    over : str
        What the values are.

    Examples
    --------
    >>> figure = loss_bands({"sgd": [[2.3, 1.9], [2.2, 1.8]], "adam": [[2.3, 1.5], [2.2, 1.6]]})
    >>> figure.axes[0].get_xlabel()
    'iteration'
    """
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    ends, seeds, shown = [], 1, []
    for i, (name, runs) in enumerate(losses.items()):
        curves = np.array([run[: min(map(len, runs))] for run in runs], float)
        steps, curves = _grouped(curves)
        if not len(steps):
            continue
        low, mean, high = curves.min(0), curves.mean(0), curves.max(0)
        axes.plot(steps, mean, color=colour(i), lw=1.6, label=name)
        if len(runs) > 1:
            axes.fill_between(steps, low, high, color=colour(i), alpha=0.18, linewidth=0)
        ends.append((float(mean[-1]), name, colour(i)))
        shown += [low, high]
        seeds = max(seeds, len(runs))
    band = f"mean of {seeds} seeds; the band is their range" if seeds > 1 else ""
    axes.set(title="\n".join(filter(None, [f"Loss by {over}" * bool(over), band])))
    axes.set(xlabel="iteration", ylabel="loss of the minibatch")
    _loss_axis(axes, shown)
    _count_along_x(axes)
    axes.set_xlim(left=0)
    at_ends(axes, ends)
    return figure


def _grouped(curves: Array) -> tuple[Array, Array]:
    """Return the steps at which curves are drawn, and their means in groups around these."""
    groups = min(CURVE_POINTS, curves.shape[1])
    if not groups:
        return np.zeros(0), curves
    steps = np.array_split(np.arange(curves.shape[1]), groups)
    with np.errstate(invalid="ignore"):
        means = np.stack([curves[:, part].mean(axis=1) for part in steps], axis=1)
    return np.array([part.mean() for part in steps]), means


def _loss_axis(axes: Axes, curves: Iterable[Sequence[float]]) -> None:
    """Make the axis of the loss logarithmic, where its values are positive and far apart."""
    values = np.concatenate([np.zeros(0), *curves])
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 20 * values.min():
        logarithmic(axes.yaxis, values.min(), values.max())


@styled
def training_curves(history: History) -> Figure:
    """Draw a training: the loss of its steps and epochs, and the accuracy if it was recorded.

    Many minibatches are drawn as means of groups, in a band that contains eight of ten.
    """
    epochs = history.epochs
    with_accuracy = [epoch for epoch in epochs if epoch.accuracy is not None]
    figure = Figure(figsize=(10 if with_accuracy else 6, 4))
    axes, *rest = panels(figure, 2 if with_accuracy else 1, 2)
    numbers = [epoch.epoch for epoch in epochs]
    ends = _minibatches(axes, history)
    curves: list[tuple[str, str, Sequence[Any]]] = [
        ("mean of the epoch", "o-", [e.loss for e in epochs]),
        ("validation", "s--", [e.validation_loss for e in epochs]),
    ]
    for i, (name, marks, values) in enumerate(curves):
        if values and values[0] is not None:
            axes.plot(numbers, values, marks, markersize=4, label=name, color=COLOURS[i])
            ends.append((float(values[-1]), f"{name}\n{values[-1]:.3g}", COLOURS[i]))
    axes.set(title="Loss", xlabel="epoch")
    _loss_axis(axes, [np.array(axes.dataLim.intervaly)])  # type: ignore[list-item]
    _count_along_x(axes)
    axes.set_xlim(0, max(len(epochs), 1))
    for axes_of_accuracy in rest:
        _accuracy(axes_of_accuracy, with_accuracy)
    at_ends(axes, ends)
    return figure


def _minibatches(axes: Axes, history: History) -> list[tuple[float, str, str]]:
    """Draw the losses of the steps; return the label for the end of the curve."""
    losses = np.array(history.losses)
    steps = np.arange(1, len(losses) + 1) * max(len(history.epochs), 1) / max(len(losses), 1)
    if not len(losses):
        return []
    pale = "#a8a8a8"
    if len(losses) <= MAX_MINIBATCHES_DRAWN:
        axes.plot(steps, losses, color=pale, linewidth=0.8, label="minibatch")
        return [(float(losses[-1]), "minibatch", GREY)]
    groups = np.array_split(losses, CURVE_POINTS)
    middle = [float(part.mean()) for part in np.array_split(steps, CURVE_POINTS)]
    low, high = (np.array([np.quantile(group, q) for group in groups]) for q in (0.1, 0.9))
    mean = np.array([group.mean() for group in groups])
    axes.fill_between(middle, low, high, color="#e2e2e2", linewidth=0)
    axes.plot(middle, mean, color=pale, linewidth=1.2, label="minibatches")
    return [(float(mean[-1]), f"mean of {len(groups[0])} minibatches,\n8 of 10 in the band", GREY)]


def _accuracy(axes: Axes, epochs: Sequence[Any]) -> None:
    shares: Array = np.array([epoch.accuracy for epoch in epochs])
    axes.plot([epoch.epoch for epoch in epochs], shares, "o-", markersize=4, color=COLOURS[2])
    axes.set(
        title=f"Accuracy: {shares[-1]:.2%} in the end",
        xlabel="epoch",
        ylabel="share classified right",
        xlim=(0, epochs[-1].epoch * 1.02),
    )
    if len(epochs) == 1:  # nothing to compare it with but 0 and 1
        axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    _count_along_x(axes)


def _count_along_x(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
