"""The figures show the numbers that they are given, with axes that say what they are."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb

from gradlab import check_gradients, plotting
from gradlab.checking import Entry, GradientReport, Leaf
from gradlab.training import Epoch, History

HISTORY = History(
    losses=[2.0, 1.0, 0.5, 0.25],
    epochs=[Epoch(1, 1.5, 1.2, 0.5, 0.1), Epoch(2, 0.4, 0.6, 0.75, 0.1)],
)
BARE = History(losses=[2.0, 1.0], epochs=[Epoch(1, 1.5, None, None, 0.1)])
ZEROS = {"central": {"W1": [1e-9, 0.0, 2e-9], "b1": [0.0, 0.0, 1e-10]}}


def square(w):
    return (w**2).sum()


def relu(w):
    return np.maximum(w, 0).sum()


W = np.arange(1.0, 7.0).reshape(2, 3)
WRONG = 2 * W * [[1, 1, -1], [1, 1, 1]]
LARGE = np.random.default_rng(0).standard_normal((60, 40))
PLANTED = 2 * LARGE * (1 - 2 * (np.arange(LARGE.size) == 90).reshape(LARGE.shape))
NOTHING = GradientReport("agree", (), (), "entries", 0.0, 0, 2, 0.0)
ENDLESS = GradientReport(
    "mismatch",
    (
        Entry("w", (0,), np.nan, 1.0, 1e-9, 1e-9, "mismatch"),
        Entry("w", (1,), 1e300, -1e-300, 1e-310, 1e-310, "mismatch"),
        Entry("w", (2,), 0.0, np.nan, np.inf, np.inf, "inconclusive"),
    ),
    (Leaf("w", (3,), "mismatch", 3),),
    "entries", 0.0, 3, 9, 0.1,
)  # fmt: skip
REPORTS = {
    "right": check_gradients(square, W),
    "one wrong sign": check_gradients(square, W, gradient=WRONG),
    "kink": check_gradients(relu, np.array([0.0, 1.0, -1.0]), gradient=np.array([0.0, 1.0, 0.0])),
    "large": check_gradients(square, LARGE, gradient=PLANTED),
    "deep": check_gradients(
        lambda p: square(p["a"]) + square(p["b"]), {"a": np.ones((2, 3, 2)), "b": 1.5}
    ),
    "many leaves": check_gradients(lambda p: sum(map(square, p)), [W] * 15),
    "no entries": NOTHING,
    "not finite": ENDLESS,
}

FIGURES = {
    **{
        f"{draw.__name__}, {name}": lambda draw=draw, report=report: draw(report)
        for draw in (plotting.gradient_agreement, plotting.gradient_map)
        for name, report in REPORTS.items()
    },
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
    [
        *("loss_curves", "training_curves", "gradient_differences", "descent", "derivative"),
        *(f"gradient_agreement, {name}" for name in REPORTS),
    ],
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


def test_saved_evaluations_are_called_equivalent():
    figure = plotting.gradient_cost({"a": 1.0, "b": 2.0}, {"a": 21.0, "b": 21.0}, {"a"})
    texts = [t.get_text().strip() for t in figure.axes[0].texts]
    assert texts == ["1 s, 21 equiv. evaluations", "2 s, 21 evaluations"]


def test_the_longest_cost_label_stays_inside_the_axes():
    figure = plotting.gradient_cost(
        {"central": 40.0, "autograd": 1e-3}, {"central": 90721.0, "autograd": 1.0}, {"central"}
    )
    figure.savefig(io.BytesIO())
    axes = figure.axes[0]
    right = axes.get_window_extent().x1
    assert all(text.get_window_extent().x1 <= right for text in axes.texts)


def test_a_gradient_is_drawn_against_the_slopes_with_their_bars():
    report = REPORTS["one wrong sign"]
    left, right = plotting.gradient_agreement(report).axes
    entries = report.entries
    sizes = {(abs(e.numerical), abs(e.analytic)) for e in entries}
    shown = {
        tuple(point)
        for dots in left.collections
        if isinstance(dots, PathCollection)
        for point in dots.get_offsets()
    }
    assert shown == sizes
    gaps = sorted(
        point[1]
        for dots in right.collections
        if isinstance(dots, PathCollection)
        for point in dots.get_offsets()
        if dots.get_label()[0].isdigit()
    )
    floor = min(gaps)
    assert gaps == sorted(max(abs(e.analytic - e.numerical), floor) for e in entries)
    lines = [end[1] for dots in right.collections if isinstance(dots, LineCollection)
             for end in dots.get_segments() for end in end[1:]]  # fmt: skip
    assert sorted(lines) == sorted(e.tolerance for e in entries)
    labels = [text.get_text() for text in right.get_legend().get_texts()]
    assert labels[:3] == ["5 agree", "1 mismatch", "hollow: the other sign"]


def test_what_has_no_value_is_counted_beside_the_figure():
    labels = plotting.gradient_agreement(ENDLESS).axes[1].get_legend().get_texts()
    assert "2 not finite,\nand not shown" in [text.get_text() for text in labels]


def test_zero_is_drawn_and_named():
    left, _ = plotting.gradient_agreement(REPORTS["kink"]).axes
    assert [text.get_text() for text in left.get_yticklabels(minor=True)] == ["0"]


@pytest.mark.parametrize(("name", "place"), [("one wrong sign", (0, 2)), ("large", (2, 10))])
def test_the_map_marks_the_wrong_entries_where_they_are(name, place):
    axes = plotting.gradient_map(REPORTS[name]).axes[0]
    (rings,) = [dots for dots in axes.collections if len(dots.get_offsets())]
    assert rings.get_offsets().tolist() == [[place[1], place[0]]]
    picture = axes.images[0].get_array()
    wrong = np.all(np.isclose(picture, to_rgb(plotting.MARKS["mismatch"].colour)), axis=-1)
    assert np.argwhere(wrong).tolist() == [list(place)]
    assert axes.get_title(loc="left") == "params: 1 wrong"


def test_the_map_says_what_is_known_of_the_rest():
    figure = plotting.gradient_map(REPORTS["large"])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["agree", "mismatch", "agree, along directions"]


def test_the_map_shows_the_worst_of_many_leaves():
    leaves = [Leaf(f"w{i}", (2,), "mismatch" if i == 14 else "agree", 0) for i in range(15)]
    report = GradientReport("mismatch", (), tuple(leaves), "directional", 0.0, 30, 9, 0.1)
    titles = [axes.get_title(loc="left") for axes in plotting.gradient_map(report, most=3).axes]
    assert [title for title in titles if title] == ["w0", "w1", "w14"]


def test_verdicts_differ_in_more_than_colour():
    marks = plotting.MARKS.values()
    assert len({mark.marker for mark in marks}) == len(marks)
    assert len({mark.colour for mark in marks}) == len(marks)


def test_pictures_have_the_resolution_of_the_style(tmp_path):
    figure = plotting.loss_curves({"a": [1.0, 0.5]})
    plotting.save(figure, tmp_path / "a.png")
    width = int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big")
    assert width == figure.get_figwidth() * plotting.STYLE["savefig.dpi"]
