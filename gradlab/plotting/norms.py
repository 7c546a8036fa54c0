"""The figure of a training's norms: how large the gradient and the step of each leaf were."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gradlab.history import History
from gradlab.params import Array
from gradlab.plotting.labels import at_ends
from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, note, panels, styled

MAX_LABELLED_CURVES = 12
"""Largest number of curves with a label each; the labels of more would not fit beside a panel."""

COLORMAP_FOR_MANY = "viridis_r"
"""Colours of more leaves than the palette has: from the first one, pale, to the last one, dark."""


@styled
def norm_curves(history: History) -> Figure:
    """Draw the norms of each leaf's gradient and of its change, in the last step of each epoch.

    A leaf whose gradient is much smaller than that of later leaves shows a vanishing gradient. A
    norm of exactly 0, as in a dead layer, is a ring at the lower edge.

    Parameters
    ----------
    history : History
        The record of a training.

    Examples
    --------
    >>> from gradlab import fit
    >>> result = fit(lambda p: (p["a"] ** 2).sum() + p["b"] ** 2, {"a": np.ones(3), "b": 1.0})
    >>> [axes.get_title(loc="left") for axes in norm_curves(result.history).axes]
    ['Norm of the gradient', 'Norm of the step']
    """
    known = [epoch for epoch in history.epochs if epoch.gradient_norms]
    numbers = [epoch.epoch for epoch in known]
    figure = Figure(
        figsize=(10, max(4, 0.25 * min(MAX_LABELLED_CURVES, len(history.leaves)) + 1.5))
    )
    axes_of = panels(figure, 2, 2, xlabel="epoch")
    gradients, updates = (
        np.array(norms, float).reshape(len(known), len(history.leaves))
        for norms in ([e.gradient_norms for e in known], [e.update_norms for e in known])
    )
    labels = []
    for axes, norms in zip(axes_of, (gradients, updates), strict=True):
        axes.set(xlim=(0, 1.02 * max(numbers, default=1)))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
        labels.append(_curves(axes, numbers, norms, history.leaves))
    axes_of[0].set(title="Norm of the gradient", ylabel="of all entries of a leaf")
    axes_of[1].set(title="Norm of the step")
    for axes, ends in zip(axes_of, labels, strict=True):
        at_ends(axes, ends, size=9)
    zeros = not (gradients.all() and updates.all())
    ring = " A ring at the lower edge: exactly 0." * zeros
    note(figure, f"In the last step of each epoch.{ring}")
    return figure


def _curves(
    axes: Axes, numbers: Sequence[int], norms: Array, leaves: Sequence[str]
) -> list[tuple[float, str, str]]:
    """Draw a curve per leaf over the epochs, on a logarithmic axis."""
    positive = norms[(norms > 0) & np.isfinite(norms)]
    if not len(positive):
        axes.set_yticks([])
        axes.text(0.5, 0.5, "all are 0" if norms.size else "not recorded", ha="center",
                  transform=axes.transAxes)  # fmt: skip
        return []
    logarithmic(axes.yaxis, float(positive.min()), float(positive.max()))
    bottom = axes.get_ylim()[0]
    few = len(leaves) <= len(COLOURS)
    places = np.linspace(0.15, 1, len(leaves))
    shades = COLOURS if few else [to_hex(colormaps[COLORMAP_FOR_MANY](place)) for place in places]
    named = {*np.linspace(0, len(leaves) - 1, MAX_LABELLED_CURVES).round().astype(int).tolist()}
    ends = []
    for i, (leaf, values) in enumerate(zip(leaves, norms.T, strict=True)):
        zero = values == 0
        line = np.where(zero, np.nan, values)
        axes.plot(numbers, line, "o-", markersize=3, linewidth=1.4, color=shades[i], label=leaf)
        if zero.any():  # an empty line that is not clipped would break the layout
            axes.plot(np.array(numbers)[zero], np.full(zero.sum(), bottom), "o", markersize=6,
                      mfc="none", color=shades[i], clip_on=False)  # fmt: skip
        if i in named or len(leaves) <= MAX_LABELLED_CURVES:
            ends.append((*_end(leaf, float(values[-1]), axes.get_ylim()), shades[i]))
    return ends


def _end(leaf: str, last: float, limits: tuple[float, float]) -> tuple[float, str]:
    """Return where the label of a curve stands, and its text; an axis ends at its limits."""
    if last == 0:
        return limits[0], f"{leaf}: 0"
    return (last, leaf) if math.isfinite(last) else (limits[1], f"{leaf}: {last}")
