"""Figures of a diagnosis: what other learning rates reach, and the loss along a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlab.diagnosis import Section, Trained
from gradlab.params import Array
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, GREY, PHONE_WIDTH, note, panels, styled

UPPER_EDGE_HEIGHT = 1.5
"""Height of a figure's upper edge above the loss at the start. What lies above it is drawn there:
by how much a step makes the loss worse matters less than that it does."""


@styled
def rate_sweep(sweep: Sequence[Trained], rate: float, start: float, steps: int) -> Figure:
    """Draw the loss that short trainings reach, over their learning rates.

    Parameters
    ----------
    sweep : sequence of Trained
        From `gradlab.diagnose`.
    rate : float
        The learning rate that was used.
    start : float
        The loss before the first step.
    steps : int
        The number of steps of each training.

    Examples
    --------
    >>> tried = [Trained(0.01, 2.0), Trained(0.1, 0.5), Trained(1.0, np.inf)]
    >>> rate_sweep(tried, 0.1, 2.3, 100).axes[0].get_xlabel()
    'learning rate'
    """
    figure = Figure(figsize=(7, 4))
    axes = figure.subplots()
    rates, losses = (np.array([getattr(t, name) for t in sweep]) for name in ("rate", "loss"))
    logarithmic(axes.xaxis, float(rates.min()), float(rates.max()))
    _losses(axes, rates, losses, start)
    i = int(np.argmin(losses))
    axes.plot(rates[i], losses[i], "o", markersize=9, color=COLOURS[2], zorder=3)
    _mark(axes, rate)
    title = f"The loss after {steps} step{'s' * (steps != 1)}, by learning rate"
    axes.set(title=f"{title}\nLowest with {rates[i]:.2g}", xlabel="learning rate", ylabel="loss")
    _explain(figure, losses, "the training diverged, or its loss is higher")
    return figure


@styled
def loss_sections(sections: Mapping[str, Section]) -> Figure:
    """Draw the loss after a step with any learning rate: a panel per place, with the tangent.

    Parameters
    ----------
    sections : mapping of str to Section
        From `gradlab.diagnose`: at the start, and at the end.

    Examples
    --------
    >>> found = Section(0.1, 1.0, 0.8, 0.25, (0.01, 0.1, 1.0), (0.97, 0.8, 3.0))
    >>> [axes.get_title(loc="left") for axes in loss_sections({"start": found}).axes]
    ['At the start']
    """
    count = max(1, len(sections))
    figure = Figure(figsize=(5 * count, 4) if count > 1 else (PHONE_WIDTH, 4))
    shown = panels(figure, count, 2, xlabel="learning rate of one step")
    for axes, (where, found) in zip(shown, sections.items(), strict=False):
        rates, losses = np.array(found.rates), np.array(found.losses)
        logarithmic(axes.xaxis, float(rates.min()), float(rates.max()), most=5)
        _losses(axes, rates, losses, found.loss, marks="-")
        promised = found.loss - found.promise * rates / found.rate
        low, high = axes.get_ylim()
        axes.plot(rates, promised, "--", lw=1.2, color=COLOURS[1], label="what the gradient says")
        axes.set_ylim(low, high)
        _mark(axes, found.rate)
        axes.set_title(f"At the {where}")
        axes.legend(loc="lower left", fontsize=9)
    shown[0].set_ylabel("loss after the step")
    _explain(figure, np.concatenate([found.losses for found in sections.values()]), "")
    return figure


def _losses(axes: Axes, rates: Array, losses: Array, start: float, marks: str = "o-") -> None:
    """Draw losses between the lowest one and somewhat above the start."""
    lowest = min(float(np.min(losses, initial=start)), start)
    span = (start - lowest) or abs(start) or 1.0
    top = start + (UPPER_EDGE_HEIGHT - 1) * span
    above = ~(losses <= top)
    # A curve leaves the figure at its upper edge; infinities have no place on it.
    drawn = np.where(np.isfinite(losses), np.minimum(losses, top + 10 * span), np.nan)
    axes.plot(rates, drawn, marks, markersize=4, color=COLOURS[0], label="the loss")
    axes.axhline(start, color=GREY, lw=0.8, ls=":")
    if marks == "o-" and above.any():
        axes.plot(rates[above], np.full(above.sum(), top), "^", color=COLOURS[1], markersize=7)
    axes.set_ylim(lowest - 0.08 * span, top + 0.08 * span)


def _mark(axes: Axes, rate: float) -> None:
    """Mark the learning rate that was used."""
    axes.axvline(rate, color=COLOURS[3], lw=1.2)
    axes.set_title(f"used: {rate:g}", loc="right", color=COLOURS[3], fontsize=10)


def _explain(figure: Figure, losses: Array, above: str) -> None:
    told = "Dotted: the loss at the start."
    note(figure, f"{told} A triangle: {above}." if above else told)
