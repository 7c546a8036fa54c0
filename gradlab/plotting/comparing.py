"""Figures that compare backends: differences and cost of their gradients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradlab.plotting.labels import Row, at_ends, rows
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import (
    COLOURS,
    GREY,
    colour,
    duration,
    note,
    panels,
    styled,
    times,
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
