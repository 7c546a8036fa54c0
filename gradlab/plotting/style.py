"""Common parts of all figures: colours, style, sizes, and saving.

The colours are Okabe and Ito's, which colour-blind readers can tell apart
(https://jfly.uni-koeln.de/color/). No global state of matplotlib is touched.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from os import PathLike
from pathlib import Path
from textwrap import fill
from typing import Any, ParamSpec

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from gradlab import outputs

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

GREY = "#767676"
"""Colour of explanations: the palest grey that is readable on white (contrast 4.5 to 1)."""

PHONE_WIDTH = 5.2
"""Width in inches of a figure that also fits a phone: at 360 pixels, its text is 10 pixels high."""

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
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "savefig.dpi": 150,
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "image.cmap": "gray_r",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in the style of this package."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        # Any numbers can be drawn, also those near the largest float.
        with rc_context(STYLE), np.errstate(over="ignore"):
            return draw(*args, **kwargs)

    return drawn


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to a file, in the resolution of the style.

    Parameters
    ----------
    figure : Figure
        A figure from any function of this package.
    path : str or path
        A file name that ends in .png, .svg or .pdf.

    Examples
    --------
    >>> import tempfile
    >>> from gradlab.plotting import loss_curves
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(loss_curves({"central": [2.3, 1.9, 1.6]}), f"{folder}/losses.png")
    """
    data = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(data, format=Path(path).suffix.lstrip(".").lower() or None)
    outputs.write(Path(path), data.getvalue())


def colour(i: int) -> str:
    """Return the i-th colour, in a cycle."""
    return COLOURS[i % len(COLOURS)]


def duration(seconds: float) -> str:
    """Format seconds with a suitable unit.

    Examples
    --------
    >>> duration(2.5), duration(0.0123), duration(4.2e-5)
    ('2.5 s', '12.3 ms', '42 µs')
    """
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if seconds * factor >= 0.9995:  # 1000 of a unit is written as 1 of the next
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def panels(
    figure: FigureBase, count: int, columns: int, *, xlabel: str = "", **how: Any
) -> list[Axes]:
    """Return `count` panels in rows of `columns`; the lowest have the label.

    Further keywords are those of `Figure.subplots`: ``sharex``, ``sharey``.
    """
    columns = min(columns, max(count, 1))
    rows = max(-(-count // columns), 1)
    grid: list[Axes] = list(figure.subplots(rows, columns, squeeze=False, **how).ravel())
    for axes in grid[count:]:
        axes.set_axis_off()
    for axes in grid[max(count - columns, 0) : count]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel(xlabel)
    return grid[:count]


def title(figure: Figure, text: str) -> None:
    """Write a title above the whole figure, from its left edge, wrapped as needed."""
    figure.suptitle(_wrapped(figure, text, 12), x=0.01, ha="left", fontsize=12)


def note(figure: Figure, text: str) -> None:
    """Write a note below the whole figure, wrapped as needed."""
    figure.supxlabel(_wrapped(figure, text, 9), x=0.01, ha="left", fontsize=9, color=GREY)


def _wrapped(figure: Figure, text: str, size: float) -> str:
    """Wrap lines to the width of the figure; a letter is 0.55 times as wide as high."""
    columns = int(72 * figure.get_figwidth() / (0.55 * size))
    return "\n".join(fill(line, columns) for line in text.splitlines())
