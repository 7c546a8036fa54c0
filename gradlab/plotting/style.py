"""What all figures share: colours, style, sizes, and how they are saved.

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
"""For what explains the data: the palest grey that is still read as text on white (4.5 to 1)."""

PHONE = 5.2
"""Width in inches of a figure that a phone shows too: scaled to 360 pixels, its text has 10."""

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


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Let a function draw in the style of this package."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        # A figure can be drawn of any numbers, also of those near the largest float.
        with rc_context(STYLE), np.errstate(over="ignore"):
            return draw(*args, **kwargs)

    return drawn


def save(figure: Figure, path: str | PathLike[str]) -> None:
    """Write a figure to a file, in the resolution of the style.

    Parameters
    ----------
    figure : Figure
        From any function of this module.
    path : str or path
        It ends in .png, .svg or .pdf.

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
    """Return the i-th colour, over and over."""
    return COLOURS[i % len(COLOURS)]


def duration(seconds: float) -> str:
    """Write seconds with a unit that suits them.

    Examples
    --------
    >>> duration(2.5), duration(0.0123), duration(4.2e-5)
    ('2.5 s', '12.3 ms', '42 µs')
    """
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if seconds * factor >= 0.9995:  # what rounds to 1000 of the next unit
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def times(factor: float) -> str:
    """Write a factor with two digits or more.

    Examples
    --------
    >>> times(0.0412), times(2.52), times(1234.5)
    ('0.041', '2.5', '1,234')
    """
    if factor < 1:
        return f"{factor:.2g}"
    return f"{factor:,.1f}" if factor < 9.95 else f"{factor:,.0f}"


def panels(
    figure: FigureBase, count: int, columns: int, *, xlabel: str = "", **how: Any
) -> list[Axes]:
    """Return so many panels, in rows of so many.

    Parameters
    ----------
    figure : Figure
        Empty.
    count, columns : int
        How many panels, and how many of them stand beside each other.
    xlabel : str
        What stands below those panels that have no other below them.
    **how
        ``sharex``, ``sharey``.
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
    """Write a title above the whole figure, from its left edge, in as many lines as it takes."""
    figure.suptitle(_wrapped(figure, text, 12), x=0.01, ha="left", fontsize=12)


def note(figure: Figure, text: str) -> None:
    """Explain something below the whole figure, in as many lines as it takes."""
    figure.supxlabel(_wrapped(figure, text, 9), x=0.01, ha="left", fontsize=9, color=GREY)


def _wrapped(figure: Figure, text: str, size: float) -> str:
    """Break lines where they would leave the figure: a letter is 0.55 of its height wide."""
    columns = int(72 * figure.get_figwidth() / (0.55 * size))
    return "\n".join(fill(line, columns) for line in text.splitlines())
