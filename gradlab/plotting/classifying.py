"""Figures of a classifier's confusions and mistakes."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from gradlab.params import Array
from gradlab.plotting.style import styled

Blues, Oranges = colormaps["Blues"], colormaps["Oranges"]


@styled
def confusion_matrix(counts: Array) -> Figure:
    """Draw a confusion matrix: true classes in rows, predicted ones in columns.

    Parameters
    ----------
    counts : ndarray, shape (k, k)
        Counts; the diagonal is correct.
    """
    k = len(counts)
    figure = Figure(figsize=(1.4 + 0.5 * k, 1.4 + 0.5 * k))
    axes = figure.subplots()
    right = np.eye(k, dtype=bool)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # A good network makes few mistakes, so they have their own scale.
    mistakes = np.where(right, 0, shares)
    depth = np.where(right, 0.25 + 0.6 * shares, 0.9 * mistakes / (mistakes.max() or 1))
    picture = np.where(right[..., None], Blues(depth), Oranges(depth * (mistakes > 0)))
    picture[(counts == 0) & ~right] = 1  # white
    axes.imshow(picture)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "white" if depth[row, column] > 0.6 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
    axes.set(
        title=f"{np.trace(counts):,} of {counts.sum():,} right (blue)",
        xlabel="classified as",
        ylabel="is",
        xticks=range(k),
        yticks=range(k),
    )
    axes.grid(visible=False)
    return figure


@styled
def misclassified(images: Array, labels: Array, predicted: Array, confidence: Array) -> Figure:
    """Draw misclassified pictures, each with its true and its predicted class.

    Parameters
    ----------
    images : ndarray, shape (n, height, width)
        The pictures; large values are dark.
    labels, predicted : ndarray, shape (n,)
        The true and the predicted classes.
    confidence : ndarray, shape (n,)
        The probability given to the predicted class.
    """
    columns = min(6, max(len(images), 1))
    rows = max(-(-len(images) // columns), 1)
    figure = Figure(figsize=(max(1.6 * columns, 3.5), 1.95 * rows + 0.4))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    entries = zip(panels, images, labels, predicted, confidence, strict=False)
    for axes, image, label, guess, probability in entries:
        axes.imshow(image)
        axes.set_title(
            f"{label}, seen as {guess}\n({probability:.0%} sure)", loc="center", fontsize=10
        )
    figure.suptitle("The surest mistakes" if len(images) else "Nothing was classified wrong")
    return figure
