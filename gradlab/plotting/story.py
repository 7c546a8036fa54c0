"""Figures of `gradlab demo`: losses, a derivative, a surface and the descent on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gradlab.params import Array
from gradlab.plotting.labels import at_ends
from gradlab.plotting.style import COLOURS, panels, styled


@styled
def predictions(labels: Array, guesses: Mapping[str, Array]) -> Figure:
    """Draw predicted probabilities as bars, one panel per prediction; the true class is marked."""
    count = max(len(guesses), 1)
    figure = Figure(figsize=(4.5 * min(count, 2), 3.4 * -(-count // 2)))
    truth = int(np.argmax(labels))
    shown = panels(figure, len(guesses), 2, xlabel=f"class ({truth} is right)", sharey=True)
    for axes, (name, probabilities) in zip(shown, guesses.items(), strict=True):
        colours = [COLOURS[1] if k == truth else "#aaaaaa" for k in range(len(probabilities))]
        bars = axes.bar(range(len(probabilities)), probabilities, color=colours)
        labelled = [f"{p:.2f}".removeprefix("0") if p >= 0.005 else "" for p in probabilities]
        axes.bar_label(bars, labelled, fontsize=9)
        axes.set(title=name, xticks=range(len(probabilities)))
        axes.margins(y=0.12)
        axes.grid(axis="x", visible=False)
    shown[0].set_ylabel("probability")
    return figure


@styled
def derivative(x: Array, value: Array, by_hand: Array, numerical: Array) -> Figure:
    """Draw a function, its derivative by hand, and the numerical derivative on top."""
    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    axes.plot(x, value, color=COLOURS[0])
    axes.plot(x, by_hand, color=COLOURS[2], linewidth=6, alpha=0.35)
    axes.plot(x, numerical, "--", color="black")
    axes.plot(0, 0, "o", color=COLOURS[1])
    low = axes.get_ylim()[0]
    axes.annotate(
        "the minimum:\nthe slope is 0", (0, 0), (0.3, low * 0.6), color=COLOURS[1],
        arrowprops={"arrowstyle": "-", "color": COLOURS[1], "lw": 0.8},
    )  # fmt: skip
    axes.set(title="x² and its derivative", xlabel="x", ylabel="value")
    axes.set_xlim(x.min(), x.max())
    ends = [
        (float(value[-1]), "x²", COLOURS[0]),
        (float(by_hand[-1]), "2x, by hand (broad)", "#00714f"),
        (float(numerical[-1]), "central difference,\nh = 1e-4 (dashed)", "black"),
    ]
    at_ends(axes, ends)
    return figure


@styled
def surface(x0: Array, x1: Array, height: Array) -> Figure:
    """Draw a function of two variables as a surface."""
    figure = Figure(figsize=(6, 5))
    axes: Any = figure.add_subplot(projection="3d")
    axes.plot_surface(x0, x1, height, cmap="viridis", linewidth=0.1, edgecolor="#33333344")
    axes.set(title="x₀² + x₁²", xlabel="x₀", ylabel="x₁", zlabel="f(x₀, x₁)")
    return figure


@styled
def descent(path: Array, height: Callable[[Array], Array]) -> Figure:
    """Draw the path of gradient descent over the contours of a function of two variables.

    Parameters
    ----------
    path : ndarray, shape (steps + 1, 2)
        The points of the path.
    height : callable
        The function, of an array of shape (2, ...).
    """
    figure = Figure(figsize=(5.6, 5.2))
    axes: Axes = figure.subplots()
    x0, x1 = np.meshgrid(*2 * [np.linspace(-5, 5, 101)])
    axes.contour(x0, x1, height(np.stack([x0, x1])), levels=12, colors="#bbbbbb", linewidths=0.8)
    axes.plot(*path.T, "o-", color=COLOURS[0], markersize=4, linewidth=0.8)
    named = ((path[0], "o", 6, "start"), (path[-1], "*", 14, f"after {len(path) - 1} steps"))
    for i, (point, marker, size, text) in enumerate(named):
        axes.plot(*point, marker, color=COLOURS[1 + i], markersize=size)
        ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        axes.annotate(text, point, (9, 0), textcoords="offset points", va="center", bbox=ground)
    axes.set(title="Gradient descent, rate 0.1", xlabel="x₀", ylabel="x₁", aspect="equal")
    axes.grid(visible=False)
    return figure


@styled
def chain_rule(
    steps: Sequence[tuple[str, Any, Any]], parameters: Mapping[str, tuple[int, Any, Any]]
) -> Figure:
    """Draw the steps of a computation, with values forward and cotangents backward.

    Parameters
    ----------
    steps : sequence of (str, array, array)
        For each step, what it computes, its value, and the derivative of the last step's value by
        it: its cotangent.
    parameters : mapping of str to (int, array, array)
        For each parameter, the number of the step that uses it, its value and its cotangent.

    Examples
    --------
    >>> figure = chain_rule([("y = w x", 6.0, 1.0)], {"w": (0, 3.0, 2.0)})
    >>> [text.get_text() for text in figure.axes[0].texts if text.get_text()]
    ['y = w x', '6.00', '1.00', 'w', '3.00', '2.00']
    """
    forward, backward, width = COLOURS[0], COLOURS[1], 2.0
    figure = Figure(figsize=(max(1.75 * len(steps) + 1, 4), 3.2))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(-1.9, width * (len(steps) - 1) + 0.9), ylim=(-2.7, 0.9))

    def write(at: tuple[float, float], text: str, colour: str) -> None:
        axes.text(*at, text, color=colour, ha="center", va="center", fontsize=9)

    def draw(at: tuple[float, float], name: str, face: str) -> None:
        box = {"boxstyle": "round,pad=0.4", "facecolor": face, "edgecolor": "#888888"}
        axes.text(*at, name, ha="center", va="center", bbox=box)

    def lead(start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
        arrow = {"arrowstyle": "->", "color": colour, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", end, start, arrowprops=arrow)

    for i, (name, value, cotangent) in enumerate(steps):
        draw((width * i, 0), name, "#eef5fb")
        write((width * i, 0.55), _numbers(value), forward)
        write((width * i, -0.55), _numbers(cotangent), backward)
        if i:
            left, right = width * i - 1.22, width * i - 0.78
            lead((left, 0.1), (right, 0.1), forward)
            lead((right, -0.1), (left, -0.1), backward)
    for name, (i, value, cotangent) in parameters.items():
        left, right = width * i - 1.05, width * i - 0.62
        draw((left, -1.3), name, "#f4f4f4")
        write((left, -1.8), _numbers(value), forward)
        write((left, -2.35), _numbers(cotangent), backward)
        lead((left - 0.08, -0.98), (right - 0.08, -0.25), forward)
        lead((right + 0.08, -0.3), (left + 0.08, -1.0), backward)
    axes.set_title("Values forward (blue), cotangents backward (red)")
    return figure


def _numbers(value: Any) -> str:
    """Format a number, a vector or a small matrix with two digits.

    Examples
    --------
    >>> _numbers(0.1234), _numbers(np.array([1.0, -0.26]))
    ('0.12', '[1.00, −0.26]')
    """
    rows = [", ".join(f"{v:.2f}" for v in row) for row in np.atleast_2d(value)]
    text = "\n".join(rows if np.ndim(value) == 0 else [f"[{row}]" for row in rows])
    return text.replace("-", "−")
