"""The figure of a training's norms shows each leaf's norms, including zeros, and is readable."""

import figures
import numpy as np
import pytest

from gradlab import plotting
from gradlab.history import Epoch, History


def history(norms, leaves):
    """Return a training with these norms (epochs, leaves) of the gradient, and a tenth of them."""
    epochs = [
        Epoch(i, 1.0, None, None, 0.1, tuple(row), tuple(row / 10))
        for i, row in enumerate(np.array(norms, float), start=1)
    ]
    return History([1.0] * len(epochs), epochs, leaves)


FOUR = ["W1", "b1", "W2", "b2"]
MANY = [f"{kind}{i}" for i in range(1, 16) for kind in "Wb"]
HISTORIES = {
    "four leaves": history([[4, 3, 2, 1], [3, 2, 1, 0.5], [2, 2, 2, 1e-3]], FOUR),
    "a dead layer": history([[4, 3, 2, 1], [0, 0, 1, 0.5]], FOUR),
    "one epoch": history([[4, 3, 2, 1e-9]], FOUR),
    "vanishing": history([10.0 ** np.arange(-30, 0)] * 5, MANY),
    "all zero": history([[0, 0, 0, 0]] * 3, FOUR),
    "not finite": history([[1, 2, 3, 4], [np.inf, np.nan, 3, 4]], FOUR),
    "of an older checkpoint": History([1.0], [Epoch(1, 1.0, None, None, 0.1)], FOUR),
    "before the first epoch": History([], [], FOUR),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_figure_is_readable(name):
    figure = plotting.norm_curves(HISTORIES[name])
    figure.draw_without_rendering()
    figures.require_readable(figure)
    figures.require_ticks(figure)


def test_the_figure_shows_the_norms_of_the_history():
    given = HISTORIES["a dead layer"]
    for axes, factor in zip(plotting.norm_curves(given).axes, (1.0, 0.1), strict=True):
        curves = {line.get_label(): line.get_ydata() for line in axes.lines}
        wanted = {leaf: [epoch.gradient_norms[i] for epoch in given.epochs]
                  for i, leaf in enumerate(FOUR)}  # fmt: skip
        for leaf, norms in wanted.items():
            shown = [factor * norm if norm else np.nan for norm in norms]
            np.testing.assert_allclose(curves[leaf], shown, rtol=4 * np.finfo(float).eps)
        texts = [text.get_text() for text in axes.texts]
        assert texts == ["W1: 0", "b1: 0", "W2", "b2"]
        rings = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
        assert [line.get_xdata().tolist() for line in rings] == [[2], [2]]


def test_of_many_leaves_the_first_and_the_last_are_named():
    for axes in plotting.norm_curves(HISTORIES["vanishing"]).axes:
        assert len(axes.lines) == len(MANY)
        texts = [text.get_text() for text in axes.texts]
        assert (texts[0], texts[-1]) == ("W1", "b15")
        assert len(texts) < len(MANY)
