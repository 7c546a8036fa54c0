"""Figures that compare backends, by their gradients, or networks, by what their layers give."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradlab.history import times
from gradlab.params import Array
from gradlab.plotting.labels import Row, at_ends, rows
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import (
    COLOURS,
    GREY,
    PHONE_WIDTH,
    colour,
    duration,
    note,
    panels,
    styled,
    title,
)


@styled
def gradient_differences(
    differences: Mapping[str, Mapping[str, Sequence[float]]], reference: str
) -> Figure:
    """Draw the differences of gradients from a reference: a panel per backend, a curve per leaf.

    If there are more leaves than colours, the range that they span is drawn.

    Parameters
    ----------
    differences : mapping of str to mapping of str to sequence of float
        For each backend and leaf, the relative difference at each step.
    reference : str
        The backend that they are compared with.
    """
    grid = len(differences) > 1
    figure = Figure(figsize=(7, 1.3 + 1.9 * -(-len(differences) // 3)) if grid else (7, 4.2))
    shown = panels(
        figure, max(len(differences), 1), 3, xlabel="iteration", sharex=True, sharey=True
    )
    known = [v for leaves in differences.values() for vs in leaves.values() for v in vs if v > 0]
    finite = np.array(known)[np.isfinite(known)]
    for axes, (name, leaves) in zip(shown, differences.items(), strict=False):
        ends = _draw_leaves(axes, leaves)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        if len(finite):
            logarithmic(axes.yaxis, float(finite.min()), float(finite.max()))
        if not any(any(values) for values in leaves.values()):
            style: Any = {"transform": axes.transAxes, "ha": "center", "color": GREY}
            axes.text(0.5, 0.5, "no difference", **style)
        if grid:
            axes.set_title(name, fontsize=11)
        else:
            axes.set_xlim(0, max(max(map(len, leaves.values()), default=1) - 1, 1))
            at_ends(axes, ends)
    if grid:
        handles, labels = shown[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
    whose = "Gradients" if grid else f"The gradients of {''.join(differences) or 'nothing'}"
    title(figure, f"{whose} against those of {reference}")
    figure.supylabel("largest difference in an array,\nrelative to its largest entry", fontsize=11)
    return figure


def _draw_leaves(axes: Axes, leaves: Mapping[str, Sequence[float]]) -> list[tuple[float, str, str]]:
    """Draw a curve per leaf, or their range; return the labels for the ends."""
    # A difference of exactly zero cannot be drawn on a logarithmic axis.
    curves = {path: np.array([v or np.nan for v in values]) for path, values in leaves.items()}
    if len(curves) > len(COLOURS):
        both = np.array(list(curves.values()))
        missing = np.isnan(both)
        low, high = np.where(missing, np.inf, both).min(0), np.where(missing, -np.inf, both).max(0)
        low[missing.all(0)] = high[missing.all(0)] = np.nan
        axes.fill_between(range(len(low)), low, high, color="#cfe3f1", linewidth=0)
        axes.plot(high, color=COLOURS[0], lw=1.4, label=f"the worst of {len(curves)} arrays")
        curves = {f"the worst of\n{len(curves)} arrays": high}
    else:
        for i, (path, values) in enumerate(curves.items()):
            axes.plot(values, label=path, color=colour(i), lw=1.4)
    return [
        (float(known[-1]), path, colour(i))
        for i, (path, values) in enumerate(curves.items())
        if len(known := values[~np.isnan(values)])
    ]


@styled
def activation_histograms(
    outputs: Mapping[str, Sequence[Array]], when: str = "before training"
) -> Figure:
    """Draw how the outputs of a network's layers are distributed: a row per network.

    Of more than six layers, six are drawn, at equal intervals.

    Parameters
    ----------
    outputs : mapping of str to sequence of array
        For each network, the outputs of its hidden layers, inputs first.
    when : str
        For the title: at which time.

    Examples
    --------
    >>> figure = activation_histograms({"he": [np.array([0.0, 0.5]), np.array([0.0, 0.2])]})
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['layer 1: 0.25', 'layer 2: 0.1']
    """
    depth = max(map(len, outputs.values()), default=1)
    columns = np.unique(np.linspace(0, depth - 1, 6).round().astype(int)).tolist()
    figure = Figure(figsize=(max(PHONE_WIDTH, 1.9 * len(columns)), 0.9 + 1.6 * len(outputs)))
    grid = figure.subplots(len(outputs), len(columns), squeeze=False)
    for i, (line, (name, layers)) in enumerate(zip(grid, outputs.items(), strict=True)):
        line[0].set_ylabel(name)
        for axes, j in zip(line, columns, strict=True):
            _histogram(axes, f"layer {j + 1}", np.ravel(layers[j]), colour(i))
    title(figure, f"Outputs of the hidden layers {when}, and their standard deviations")
    return figure


def _histogram(axes: Axes, name: str, values: Array, shade: str) -> None:
    """Draw values between their least and largest; nothing if that is no finite range."""
    low, high = float(np.min(values)), float(np.max(values))
    axes.set_yticks([])
    if not np.isfinite(high - low):
        axes.set_xticks([])
        axes.set_title(f"{name}: not finite", fontsize=10)
        return
    axes.set_title(f"{name}: {np.std(values):.2g}", fontsize=10)
    if low == high:
        axes.bar([0], [len(values)], 0.1, color=shade)
        axes.set_xticks([0], [f"{low:.2g}"], fontsize=9)
        axes.set_xlim(-1, 1)
        return
    counts, edges = np.histogram((values - low) / (high - low), bins=30, range=(0, 1))
    axes.bar(edges[:-1], counts, 1 / 30, align="edge", color=shade)
    axes.set_xticks([0, 1], [f"{low:.2g}", f"{high:.2g}"], fontsize=9)
    left, right = axes.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
    axes.set_xlim(0, 1)


@styled
def gradient_cost(
    seconds: Mapping[str, float],
    evaluations: Mapping[str, float],
    equivalent: Collection[str] = (),
) -> Figure:
    """Draw the cost of one gradient with each backend, in seconds and evaluations of the loss.

    Parameters
    ----------
    seconds, evaluations : mapping of str to float
        By backend name.
    equivalent : collection of str
        Backends whose evaluations are those of the formula, not the number performed.
    """
    figure = Figure(figsize=(7, 1.4 + 0.34 * len(seconds)))
    slowest = max(seconds.values())
    shown = []
    for name in sorted(seconds, key=lambda name: seconds[name]):
        count = evaluations[name]
        calls = f"{count:,.0f}" if count >= 1 else f"{count:.2g}"  # a recording is one
        calls += " *" if name in equivalent else "  " * bool(equivalent)
        shown.append(
            Row(
                name,
                seconds[name],
                (duration(seconds[name]), times(slowest / seconds[name]), calls),
            )
        )
    axes = figure.subplots()
    rows(axes, shown, heads=("seconds", "times faster", "evaluations"), log=True)
    axes.xaxis.set_major_formatter(lambda value, _: duration(value))
    axes.set_xlabel("time of one gradient, logarithmic")
    title(figure, "The cost of one gradient")
    if equivalent:
        note(figure, "* by the formula; each one recomputes only what the perturbed entry affects")
    return figure
