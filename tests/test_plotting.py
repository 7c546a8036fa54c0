"""The figures show the numbers that they are given, with axes that say what they are."""

import io

import matplotlib
import numpy as np
import pytest

from gradlab import plotting
from gradlab.training import Epoch, History

HISTORY = History(
    losses=[2.0, 1.0, 0.5, 0.25],
    epochs=[Epoch(1, 1.5, 1.2, 0.5, 0.1), Epoch(2, 0.4, 0.6, 0.75, 0.1)],
)
BARE = History(losses=[2.0, 1.0], epochs=[Epoch(1, 1.5, None, None, 0.1)])
ZEROS = {"central": {"W1": [1e-9, 0.0, 2e-9], "b1": [0.0, 0.0, 1e-10]}}

FIGURES = {
    "loss_curves": lambda: plotting.loss_curves({"a": [2.0, 1.0], "b": [2.0, 1.1], "c": [2.0]}),
    "training_curves": lambda: plotting.training_curves(HISTORY),
    "training_curves without validation": lambda: plotting.training_curves(BARE),
    "gradient_differences": lambda: plotting.gradient_differences(ZEROS, "autograd"),
    "gradient_cost": lambda: plotting.gradient_cost({"a": 1.0, "b": 1e-3}, {"a": 21.0, "b": 1.0}),
    "confusion_matrix": lambda: plotting.confusion_matrix(np.array([[3, 1], [0, 5]])),
    "misclassified": lambda: plotting.misclassified(
        np.zeros((7, 4, 4)), np.arange(7), np.arange(7) + 1, np.full(7, 0.9)
    ),
    "misclassified, none": lambda: plotting.misclassified(*4 * [np.zeros((0, 4, 4))]),
    "predictions": lambda: plotting.predictions(
        np.array([0, 1]), {"right": np.array([0.2, 0.8]), "wrong": np.array([0.9, 0.1])}
    ),
    "derivative": lambda: plotting.derivative(*4 * [np.linspace(-1, 1, 5)]),
    "surface": lambda: plotting.surface(*np.meshgrid([0.0, 1.0], [0.0, 1.0]), np.ones((2, 2))),
    "descent": lambda: plotting.descent(np.array([[1.0, 2.0], [0.0, 0.0]]), lambda x: x[0] + x[1]),
}


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES.keys())
def test_every_figure_can_be_saved_and_leaves_no_trace(draw):
    before = dict(matplotlib.rcParams)
    figure = draw()
    for form in ("png", "svg"):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=form)
        assert buffer.tell() > 1000
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    "name",
    ["loss_curves", "training_curves", "gradient_differences", "descent", "derivative"],
)
def test_axes_are_labelled_and_curves_named(name):
    for axes in FIGURES[name]().axes:
        assert axes.get_xlabel()
        assert axes.get_title(loc="left")
        named = [line for line in axes.lines if not line.get_label().startswith("_")]
        assert len(named) < 2 or axes.get_legend()


def test_curves_show_the_numbers_given():
    lines = plotting.loss_curves({"a": [2.0, 1.0], "b": [2.0, 1.1]}).axes[0].lines
    assert [list(line.get_ydata()) for line in lines] == [[2.0, 1.0], [2.0, 1.1]]
    assert lines[0].get_linewidth() > lines[1].get_linewidth()
    loss, accuracy = plotting.training_curves(HISTORY).axes
    assert list(loss.lines[0].get_ydata()) == HISTORY.losses
    assert [list(line.get_ydata()) for line in loss.lines[1:]] == [[1.5, 0.4], [1.2, 0.6]]
    assert list(accuracy.lines[0].get_ydata()) == [0.5, 0.75]


def test_differences_of_zero_leave_a_gap_on_the_logarithmic_axis():
    line = plotting.gradient_differences(ZEROS, "autograd").axes[0].lines[0]
    assert np.array_equal(line.get_ydata(), [1e-9, np.nan, 2e-9], equal_nan=True)


def test_costs_are_written_out():
    texts = [t.get_text().strip() for t in FIGURES["gradient_cost"]().axes[0].texts]
    assert texts == ["1 s, 21 evaluations", "1 ms, 1 evaluation"]


def test_the_longest_cost_label_stays_inside_the_axes():
    figure = plotting.gradient_cost(
        {"central": 40.0, "autograd": 1e-3}, {"central": 90721.0, "autograd": 1.0}
    )
    figure.savefig(io.BytesIO())
    axes = figure.axes[0]
    right = axes.get_window_extent().x1
    assert all(text.get_window_extent().x1 <= right for text in axes.texts)
