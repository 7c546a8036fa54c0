"""Labels beside curves, and numbers beside rows.

A legend makes the reader look back and forth, and often covers data. These labels stand right of
the axes. Texts are measured after layout and moved apart until none overlap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from gradlab.plotting.scales import logarithmic
from gradlab.plotting.style import COLOURS, GREY

LABEL_GAP = 8
"""Space in points between the axes and the texts right of them, and between columns of texts."""


def at_ends(axes: Axes, ends: Iterable[tuple[float, str, str]], size: float = 10) -> None:
    """Label curves right of the axes, each at the height of its end.

    Call it last, when everything is drawn and the limits of the axes are set. For each curve,
    `ends` has the height of its end, its name, and its colour.
    """
    line = {"arrowstyle": "-", "lw": 0.6, "shrinkA": 0, "shrinkB": 0, "relpos": (0, 0.5)}
    texts = [
        _beside(axes, text, height, va="center", color=colour, fontsize=size,
                arrowprops={**line, "color": colour})
        for height, text, colour in ends
    ]  # fmt: skip
    if not texts:
        return
    _lay_out(axes)
    points = 72 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    heights = np.array([_height(axes, text) for text in texts]) * points
    tall = max(text.get_window_extent().height for text in texts) * points
    low, high = (end * points for end in (axes.bbox.y0, axes.bbox.y1))
    for text, height, place in zip(texts, heights, spread(heights, tall, low, high), strict=True):
        text.xyann = (LABEL_GAP, place - height)


def spread(wanted: Any, gap: float, low: float, high: float) -> Any:
    """Move points on a line apart, in order, with the least sum of squared moves.

    This is isotonic regression by pooling adjacent violators (Ayer et al. 1955). Two points are at
    least `gap` apart. Points that do not fit extend beyond the upper end of the line.

    Examples
    --------
    >>> spread([1.0, 1.0, 5.0], 1.0, 0.0, 10.0)
    array([0.5, 1.5, 5. ])
    """
    wanted = np.asarray(wanted, dtype=float)
    order = np.argsort(wanted, kind="stable")
    steps = gap * np.arange(len(wanted))
    pools: list[tuple[float, int]] = []  # means, and their numbers of points
    for value in wanted[order] - steps:
        mean, count = float(value), 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean, count = (mean * count + before * more) / (count + more), count + more
        pools.append((mean, count))
    placed = np.concatenate([np.full(count, mean) for mean, count in pools] or [np.zeros(0)])
    placed = np.maximum(np.minimum(placed, high - steps[-1:]), low) + steps
    result = np.empty_like(placed)
    result[order] = placed
    return result


@dataclass(frozen=True)
class Row:
    """A row of `rows`."""

    name: str  # the text left of it
    value: float  # the length of its bar; NaN for a row with texts only
    cells: tuple[str, ...] = ()  # the texts right of it, one per column
    colour: str = COLOURS[0]  # of the bar
    hollow: bool = False  # whether it was extrapolated rather than measured


def rows(axes: Axes, shown: Sequence[Row], *, heads: Sequence[str] = (), log: bool = False) -> None:
    """Draw rows from the top down: a bar each, with its name on the left and numbers on the right.

    A logarithmic axis has no zero for a bar to start from, so it shows points at the ends of thin
    lines. The heads are the titles of the text columns.
    """
    values = np.array([row.value for row in shown])
    if log:
        logarithmic(axes.xaxis, float(np.nanmin(values)), float(np.nanmax(values)), most=4)
        left = axes.get_xlim()[0]
        axes.hlines(range(len(shown)), left, values, colors=[row.colour for row in shown], lw=1.2)
        for i, row in enumerate(shown):
            face = "white" if row.hollow else row.colour
            axes.plot([row.value], [i], "o", ms=8, color=row.colour, mfc=face, mew=1.5, zorder=3)
    else:
        colours = [row.colour for row in shown]
        faces = ["white" if row.hollow else row.colour for row in shown]
        axes.barh(range(len(shown)), values, 0.7, color=faces, edgecolor=colours)
        axes.set_xlim(0, 1.02 * float(np.nanmax(values, initial=0)) or 1)
    axes.set_yticks(range(len(shown)), [row.name for row in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    _columns(axes, [row.cells for row in shown], heads)


def _columns(axes: Axes, cells: Sequence[tuple[str, ...]], heads: Sequence[str]) -> None:
    """Write columns of texts right of the axes, each as wide as its widest text."""
    count = max([len(heads), *map(len, cells)], default=0)
    write = partial(_beside, axes, ha="right", fontsize=10)
    columns: list[list[Annotation]] = [[] for _ in range(count)]
    for column, head in zip(columns, heads, strict=False):
        column.append(write(head, -0.6, va="bottom", color=GREY))
    for i, texts in enumerate(cells):
        for column, cell in zip(columns, texts, strict=False):
            column.append(write(cell, i, va="center"))
    if not count:
        return
    _lay_out(axes)
    points = 72 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    right = 0.0
    for column in columns:
        right += LABEL_GAP + max(text.get_window_extent().width for text in column) * points
        for text in column:
            text.xyann = (right, 0)


def _beside(axes: Axes, text: str, height: float, **style: Any) -> Annotation:
    """Write a text right of the axes, at a height in data coordinates."""
    return axes.annotate(
        text, (1, height), xycoords=("axes fraction", "data"), xytext=(LABEL_GAP, 0),
        textcoords="offset points", annotation_clip=False, **style,
    )  # fmt: skip


def _lay_out(axes: Axes) -> None:
    figure = axes.get_figure(root=True)
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()


def _height(axes: Axes, text: Annotation) -> float:
    return float(axes.transData.transform((axes.get_xlim()[1], text.xy[1]))[1])
