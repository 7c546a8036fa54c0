"""Figures of a gradient check: gradient against measured slopes, and where wrong entries lie."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from gradlab.checking import Entry, GradientReport, Leaf
from gradlab.checking.result import VERDICTS, Verdict
from gradlab.params import Array
from gradlab.plotting.scales import logarithmic, power
from gradlab.plotting.style import GREY, styled, title


class Mark(NamedTuple):
    """How entries with one verdict are drawn."""

    colour: str
    marker: str
    size: float

    @property
    def edge(self) -> str:
        """A darker version of its colour, if that is too pale on white."""
        return "#8a8000" if self.marker == "s" else self.colour


MARKS: dict[Verdict, Mark] = {
    "agree": Mark("#56B4E9", "o", 14),
    "kink": Mark("#009E73", "D", 22),
    "inconclusive": Mark("#F0E442", "s", 26),
    "mismatch": Mark("#D55E00", "X", 46),
}
"""The worst verdict last, so that nothing covers it."""

PALE_COLOURS: dict[Verdict | None, str] = {
    "agree": "#dceefa",
    "kink": "#cfeee4",
    "inconclusive": "#fbf8d0",
    "mismatch": "#f7dccc",
    None: "#f2f2f2",
}
"""For entries judged only along directions, or not at all."""


@styled
def gradient_agreement(report: GradientReport) -> Figure:
    """Draw a gradient against the measured slopes of the loss, and their differences.

    Left: magnitudes; an entry of the wrong sign is hollow. Right: the differences, each with a line
    to the size that the error bars allow. Zeros lie in a separate strip.

    Parameters
    ----------
    report : GradientReport
        The result of `gradlab.check_gradients`.

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
    sizes, distances = _Scale.of(slopes, gradients), _Scale.of(gaps, bars)
    x, y = sizes.place(slopes), sizes.place(gradients)
    z, allowed = distances.place(gaps), distances.place(bars)

    figure = Figure(figsize=(9, 5))
    left, right = figure.subplots(1, 2)
    ends = [sizes.low, sizes.high]
    left.plot(ends, ends, color="#888888", linewidth=0.8, zorder=0)
    for verdict, mark in MARKS.items():
        these = np.array([e.verdict == verdict for e in known], dtype=bool)
        bar = [np.minimum(errors, x - sizes.low)[these], errors[these]]
        left.errorbar(x[these], y[these], xerr=bar, fmt="none", ecolor=mark.colour, alpha=0.4)
        line: Any = {"color": mark.edge, "alpha": 0.5, "linewidth": 0.8}
        right.vlines(x[these], z[these], allowed[these], **line)
        style: Any = {"edgecolors": mark.edge, "marker": mark.marker, "s": mark.size}
        for mask, face in ((these & ~opposite, mark.colour), (these & opposite, "none")):
            left.scatter(x[mask], y[mask], c=face, **style)
        label = f"{np.count_nonzero(these):,} {verdict}" if these.any() else None
        right.scatter(x[these], z[these], c=mark.colour, label=label, **style)
    left.set(title="Gradient and slope", ylabel="|gradient|")
    right.set(title="Difference, and what is allowed", ylabel="|difference|")
    if opposite.any():
        right.scatter([], [], c="none", edgecolors="black", label="hollow: the other sign")
    right.plot(
        [], [], color="#888888", linewidth=0.8, label="line: from the difference to what is allowed"
    )
    if missing := len(report.entries) - len(known):
        right.plot([], [], " ", label=f"{missing:,} not finite, and not shown")
    handles, labels = right.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2)
    for axes in (left, right):
        axes.set_xlabel("|slope of the loss|")
        sizes.set(axes.xaxis)
    sizes.set(left.yaxis)
    distances.set(right.yaxis)
    checked = f"{len(report.entries):,} of {report.size:,} entries, one by one"
    title(figure, f"Verdict: {report.verdict} ({checked})")
    return figure


class _Scale(NamedTuple):
    """A logarithmic axis with a strip for zero below its smallest power of ten."""

    zero: float | None  # where zero is drawn; None if no value is zero
    # The powers of ten between which all other values lie.
    edge: float
    high: float

    @classmethod
    def of(cls, *sizes: Array) -> _Scale:
        values = np.concatenate(sizes)
        largest = float(values.max(initial=0.0)) or 1.0
        # Values smaller than this share of the largest are drawn as zero, too.
        shown = values[values > 1e-18 * largest]
        edge = 10.0 ** np.floor(np.log10(shown.min(initial=largest)))
        high = float(min(10.0 ** np.ceil(np.log10(largest) + 0.01), 1e308))
        strip = max((high / edge) ** 0.12, 2.0)
        return cls(edge / strip if len(shown) < len(values) else None, float(edge), high)

    @property
    def low(self) -> float:
        return self.edge if self.zero is None else self.zero

    def place(self, values: Array) -> Array:
        """Return the positions at which values are drawn."""
        return np.where(values < self.edge, self.low, values)

    def set(self, axis: Any) -> None:
        """Give an axis its limits and ticks; zero stands apart from the powers of ten."""
        logarithmic(axis, self.edge, self.high, power)
        if self.zero is not None:
            line = axis.axes.axvline if axis.axis_name == "x" else axis.axes.axhline
            line(np.sqrt(self.zero) * np.sqrt(self.edge), color="#888888", lw=0.8, ls=":", zorder=0)
            axis.axes.set(**{f"{axis.axis_name}lim": (self.zero / 1.6, None)})
            axis.set_ticks([tick for tick in axis.get_majorticklocs() if tick >= self.edge])
            axis.set_ticks([self.zero], labels=["0"], minor=True)


@styled
def gradient_map(report: GradientReport, most: int = 12) -> Figure:
    """Draw a map of each leaf with the verdicts of its entries; tiny entries get marks.

    Entries that were not measured individually are pale, in the colour of the verdict along
    directions. Leaves with more than two axes are laid out as matrices; vectors and numbers lie
    below them.

    Parameters
    ----------
    report : GradientReport
        The result of `gradlab.check_gradients`.
    most : int
        Largest number of leaves to draw: the worst ones, in their original order.
    """
    worst_first = sorted(report.leaves, key=lambda leaf: VERDICTS.index(leaf.verdict))[:most]
    leaves = [leaf for leaf in report.leaves if leaf in worst_first and 0 not in leaf.shape]
    matrices = [leaf for leaf in leaves if len(leaf.shape) > 1]
    vectors = [leaf for leaf in leaves if len(leaf.shape) < 2]
    columns = min(3, max(len(matrices), 1))
    heights = [2.6] * -(-len(matrices) // columns) + [0.75] * -(-len(vectors) // 2)
    figure = Figure(figsize=(2.4 + 2.2 * columns, 1.2 + sum(heights)))
    grid = figure.add_gridspec(len(heights) or 1, 2 * columns, height_ratios=heights or [1])
    shown: set[str] = set()
    places = []
    for row, column in (divmod(i, columns) for i in range(len(matrices))):
        places.append(grid[row, 2 * column : 2 * column + 2])
    for row, column in (divmod(i, 2) for i in range(len(vectors))):
        below = -(-len(matrices) // columns) + row
        places.append(grid[below, column * columns : (column + 1) * columns])
    for place, leaf in zip(places, [*matrices, *vectors], strict=True):
        own = [entry for entry in report.entries if entry.path == leaf.path]
        shown |= _draw_leaf(figure.add_subplot(place), leaf, own)
    colours: dict[str, str] = {verdict: mark.colour for verdict, mark in MARKS.items()}
    colours |= {f"{verdict}, along directions": PALE_COLOURS[verdict] for verdict in MARKS}
    colours["not looked at"] = PALE_COLOURS[None]
    handles = [
        Patch(facecolor=colour, edgecolor="#888888", linewidth=0.5, label=name)
        for name, colour in colours.items()
        if name in shown
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=min(columns + 1, 3))
    left_out = len(report.leaves) - len(leaves)
    more = f"; {left_out:,} leaves are not shown" if left_out else ""
    title(figure, f"Verdict: {report.verdict}, entry by entry{more}")
    return figure


MIN_ENTRIES_PER_MARK = 20
"""Share of a large leaf's entries, one in this many, below which each entry gets a mark."""


def _draw_leaf(axes: Axes, leaf: Leaf, own: list[Entry]) -> set[str]:
    """Draw a leaf; return the names of the verdicts in it."""
    height, width = _as_matrix(leaf.shape)
    picture = np.tile(to_rgb(PALE_COLOURS[leaf.rest]), (height * width, 1))
    places = np.array([_place(entry.index, leaf.shape) for entry in own], dtype=int)
    if own:
        picture[places] = [to_rgb(MARKS[entry.verdict].colour) for entry in own]
    axes.imshow(picture.reshape(height, width, 3), aspect="auto", interpolation="nearest")
    small = max(height, width) <= 32
    for verdict, mark in MARKS.items():
        these = places[[entry.verdict == verdict for entry in own]]
        x, y = these % width, these // width
        if small and verdict == "mismatch":
            axes.scatter(x, y, marker="x", s=25, color="black", linewidth=1)
        elif not small and MIN_ENTRIES_PER_MARK * len(these) <= height * width:
            axes.scatter(
                x, y, marker=mark.marker, s=mark.size, c=mark.colour,
                edgecolors="black" if verdict == "mismatch" else mark.edge, linewidth=0.8,
            )  # fmt: skip
    wrong = sum(entry.verdict == "mismatch" for entry in own)
    shape = " × ".join(map(str, leaf.shape))
    axes.set_title(f"{leaf.path}: {wrong:,} wrong" if wrong else leaf.path, fontsize=11)
    axes.set_title(shape, loc="right", fontsize=9, color=GREY)
    axes.grid(visible=False)
    if small:  # the edges of the cells
        axes.set_xticks(np.arange(width + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(height + 1) - 0.5, minor=True)
        axes.tick_params(which="minor", length=0)
        axes.grid(visible=True, which="minor", color="white", linewidth=0.8)
        axes.set_axisbelow(False)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    if len(leaf.shape) < 2:
        axes.set_yticks([])
    if not leaf.shape:
        axes.set_xticks([])
    seen: set[str] = {entry.verdict for entry in own}
    if len(own) < height * width:
        seen.add(f"{leaf.rest}, along directions" if leaf.rest else "not looked at")
    return seen


def _as_matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the shape of a leaf as a matrix: a vector is one row; further axes extend the columns.

    Examples
    --------
    >>> _as_matrix(()), _as_matrix((5,)), _as_matrix((5, 3)), _as_matrix((5, 3, 2))
    ((1, 1), (1, 5), (5, 3), (5, 6))
    """
    first = shape[0] if len(shape) > 1 else 1
    return first, int(np.prod(shape)) // first


def _place(index: tuple[int, ...], shape: tuple[int, ...]) -> int:
    return int(np.ravel_multi_index(index, shape)) if shape else 0
