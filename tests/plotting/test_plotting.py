"""The figures show the numbers that they are given, and their axes are labelled."""

import itertools
from functools import cache

import figures
import matplotlib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gradlab import check_gradients, plotting
from gradlab.checking import Entry, GradientReport, Leaf
from gradlab.history import Epoch, History
from gradlab.plotting import checking, labels, scales

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


STEPS = np.arange(50)
SMALL = 1e-9 * (1 + STEPS % 7)
BACKENDS = ("autograd", "central", "tape", "forward", "complex-step", "jax", "torch", "spsa")
EIGHT = {name: 2.3 * np.exp(-STEPS / 20) for name in BACKENDS} | {"spsa": 2.3 * np.exp(STEPS / 10)}
LONG = History(
    losses=list(np.exp(np.sin(np.arange(6000.0)) - np.arange(6000) / 2000)),
    epochs=[Epoch(i, np.exp(-i / 3), np.exp(-i / 4), 1 - 0.5**i, 0.1) for i in range(1, 11)],
)
SHORT = History(losses=[2.0, 1.0, 0.5], epochs=[Epoch(1, 1.2, 0.7, 0.91, 0.1)])
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
    "loss_curves of eight": lambda: plotting.loss_curves(EIGHT, "autograd"),
    "training_curves of many steps": lambda: plotting.training_curves(LONG),
    "training_curves of one epoch": lambda: plotting.training_curves(SHORT),
    "gradient_differences": lambda: plotting.gradient_differences(ZEROS, "autograd"),
    "gradient_differences of seven": lambda: plotting.gradient_differences(
        {name: {"W1": SMALL, "b1": 9 * SMALL} for name in list(EIGHT)[1:]}, "autograd"
    ),
    "gradient_differences of many leaves": lambda: plotting.gradient_differences(
        {"tape": {f"W{i}": i * SMALL for i in range(20)}}, "autograd"
    ),
    "gradient_differences of nothing": lambda: plotting.gradient_differences(
        {"tape": {"W": [0.0, 0.0]}, "jax": {"W": []}}, "autograd"
    ),
    "gradient_cost": lambda: plotting.gradient_cost({"a": 1.0, "b": 1e-3}, {"a": 21.0, "b": 1.0}),
    "gradient_cost of eight": lambda: plotting.gradient_cost(
        {name: 40.0 / 9**i for i, name in enumerate(EIGHT)}, dict.fromkeys(EIGHT, 90721.0), EIGHT
    ),
    "confusion_matrix": lambda: plotting.confusion_matrix(np.array([[3, 1], [0, 5]])),
    "misclassified": lambda: plotting.misclassified(
        np.zeros((7, 4, 4)), np.arange(7), np.arange(7) + 1, np.full(7, 0.9)
    ),
    "misclassified, none": lambda: plotting.misclassified(*4 * [np.zeros((0, 4, 4))]),
    "predictions": lambda: plotting.predictions(
        np.array([0, 1]), {"right": np.array([0.2, 0.8]), "wrong": np.array([0.9, 0.1])}
    ),
    "derivative": lambda: plotting.derivative(*4 * [np.linspace(-1, 1, 5)]),
    "chain_rule": lambda: plotting.chain_rule(
        [("a = x W1", W[0], -W[0]), ("h = tanh a", W[0], W[0]), ("L = Σ h²", 1.0, 1.0)],
        {"W1": (0, W, W), "W2": (1, W[0], W[0])},
    ),
    "surface": lambda: plotting.surface(*np.meshgrid([0.0, 1.0], [0.0, 1.0]), np.ones((2, 2))),
    "descent": lambda: plotting.descent(np.array([[1.0, 2.0], [0.0, 0.0]]), lambda x: x[0] + x[1]),
}


@cache
def laid_out(name):
    """Return a figure after its layout, without drawing the strokes."""
    before = dict(matplotlib.rcParams)
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    assert dict(matplotlib.rcParams) == before
    return figure


@pytest.mark.parametrize("name", FIGURES)
def test_texts_lie_in_the_figure_and_overlap_nothing(name):
    figures.require_readable(laid_out(name))


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_is_wider_than_a_page_and_logarithmic_axes_have_ticks(name):
    assert laid_out(name).get_figwidth() <= 10
    figures.require_ticks(laid_out(name))


@given(
    low=st.floats(-300, 300).map(lambda e: 10.0**e), span=st.floats(1e-3, 300).map(lambda e: 10**e)
)
def test_any_logarithmic_axis_has_some_ticks(low, span):
    assume(low * span < 1e307)
    low, high = low / max(span**0.06, 1.15), low * span * max(span**0.06, 1.15)
    places = scales.ticks(low, high)
    assert 2 <= len(places) <= 7
    assert all(low <= place <= high for place in places)
    assert sorted(set(places)) == places


@given(st.lists(st.floats(-50, 150), max_size=12), st.floats(0.1, 8))
def test_names_are_spread_apart_in_their_order(wanted, gap):
    placed = labels.spread(wanted, gap, 0.0, 100.0)
    order = np.argsort(wanted, kind="stable")
    assert np.all(np.diff(placed[order]) >= gap - 1e-9)
    assert np.all((placed >= 0) & (placed <= 100))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=6), st.floats(0.1, 5))
def test_names_are_moved_as_little_as_possible(wanted, gap):
    """The reference tries every way to divide the names into groups that touch each other."""
    steps = gap * np.arange(len(wanted))
    level = np.sort(wanted) - steps
    ways = []
    for cuts in itertools.product((False, True), repeat=len(wanted) - 1):
        groups = np.split(level, np.flatnonzero(cuts) + 1)
        way = np.concatenate([np.full(len(group), group.mean()) for group in groups])
        if np.all(np.diff(way) >= 0):
            ways.append(np.sum((way - level) ** 2))
    placed = labels.spread(wanted, gap, -1e6, 1e6)
    assert np.sum((placed - wanted) ** 2) == pytest.approx(min(ways), abs=1e-9)


@pytest.mark.parametrize(
    "name",
    [
        *("loss_curves", "training_curves", "gradient_differences", "descent", "derivative"),
        *(f"gradient_agreement, {name}" for name in REPORTS),
    ],
)
def test_axes_are_labelled(name):
    figure = laid_out(name)
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert axes.get_title(loc="left") or figure.get_suptitle()


def beside(axes):
    """Return the texts to the right of the axes, row by row."""
    return [text.get_text().strip() for text in axes.texts]


def test_each_of_many_trainings_has_a_panel_and_the_reference_is_in_all():
    shown = plotting.loss_curves(EIGHT, "autograd").axes
    panels = {axes.get_title(loc="left"): axes for axes in shown if axes.axison}
    assert list(panels) == list(BACKENDS[1:])
    for name, axes in panels.items():
        below, above = axes.lines
        assert np.array_equal(below.get_ydata(), EIGHT["autograd"])
        assert np.array_equal(above.get_ydata(), EIGHT[name])
        assert axes.get_title(loc="right") == ("" if name == "spsa" else "same curve")


def test_many_steps_are_drawn_as_their_mean_in_a_band_of_eight_of_ten():
    axes = plotting.training_curves(LONG).axes[0]
    groups = np.split(np.array(LONG.losses), 100)
    assert np.allclose(axes.lines[0].get_ydata(), [group.mean() for group in groups])
    band = axes.collections[0].get_paths()[0].vertices
    inside = [
        np.mean((group >= band[1 + i, 1]) & (group <= band[-2 - i, 1]))
        for i, group in enumerate(groups)
    ]
    assert np.allclose(inside, 0.8, atol=0.04)
    assert [text.split("\n")[0] for text in beside(axes)] == [
        "mean of 60 minibatches,", "mean of the epoch", "validation",
    ]  # fmt: skip


def test_many_leaves_are_drawn_as_their_range():
    axes = FIGURES["gradient_differences of many leaves"]().axes[0]
    assert np.array_equal(axes.lines[0].get_ydata(), 19 * SMALL)
    assert beside(axes) == ["the worst of\n20 arrays"]


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


def test_costs_are_sorted_and_written_out():
    axes = FIGURES["gradient_cost"]().axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b", "a"]
    assert beside(axes) == [
        *("seconds", "times faster", "evaluations"), *("1 ms", "1,000", "1"), *("1 s", "1.0", "21"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["a$b_$", "c^{$\\frac$", "$"])
def test_a_dollar_sign_in_a_name_is_drawn(name):
    report = check_gradients(lambda p: square(p[name]), {name: W}, gradient={name: WRONG})
    curves = {name: [1e-9, 2e-9]}
    for figure in (
        plotting.gradient_map(report),
        plotting.gradient_agreement(report),
        plotting.gradient_differences({name: curves}, "autograd"),
        plotting.loss_curves({name: [2.0, 1.0], "b": [2.0, 1.5], "c": [1.0, 3.0]}),
        plotting.gradient_cost({name: 1.0, "b": 2.0}, {name: 1.0, "b": 2.0}),
    ):
        figures.require_readable(figure)
    title = plotting.gradient_map(report).axes[0].get_title(loc="left")
    assert title == f"{report.leaves[0].path}: 1 wrong"


def test_extrapolated_evaluations_are_marked_and_explained():
    figure = plotting.gradient_cost({"a": 1.0, "b": 2.0}, {"a": 21.0, "b": 21.0}, {"a"})
    assert beside(figure.axes[0])[-4:] == ["21 *", *("2 s", "1.0", "21")]
    assert figure.get_supxlabel().startswith("* by the formula")


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
    labels = [text.get_text() for text in right.figure.legends[0].get_texts()]
    assert labels[:3] == ["5 agree", "1 mismatch", "hollow: the other sign"]


def test_entries_without_a_value_are_counted_beside_the_figure():
    labels = plotting.gradient_agreement(ENDLESS).legends[0].get_texts()
    assert "2 not finite, and not shown" in [text.get_text() for text in labels]


def test_zero_is_drawn_and_named():
    left, _ = plotting.gradient_agreement(REPORTS["kink"]).axes
    assert [text.get_text() for text in left.get_yticklabels(minor=True)] == ["0"]


@settings(max_examples=20)
@given(st.lists(st.floats(1e-200, 1e200), min_size=1, max_size=3), st.floats(1, 10))
def test_zero_is_separate_from_all_other_values(sizes, factor):
    sizes = np.array([0.0, *sizes])
    scale = checking._Scale.of(sizes, sizes * factor)
    shown = sizes[sizes > 1e-18 * sizes.max() * factor]
    axes = Figure().subplots()
    scale.set(axes.xaxis)
    low, high = np.log(axes.get_xlim())
    nearest = min([*axes.get_xticks(), *shown])
    assert scale.place(np.zeros(1)) == scale.zero
    assert np.log(nearest / scale.zero) > 0.08 * (high - low)
    assert np.all(scale.place(shown) == shown)


@pytest.mark.parametrize(("name", "place"), [("one wrong sign", (0, 2)), ("large", (2, 10))])
def test_the_map_marks_the_wrong_entries_where_they_are(name, place):
    axes = plotting.gradient_map(REPORTS[name]).axes[0]
    *_, rings = [dots for dots in axes.collections if len(dots.get_offsets())]
    assert rings.get_offsets().tolist() == [[place[1], place[0]]]
    picture = axes.images[0].get_array()
    wrong = np.all(np.isclose(picture, to_rgb(plotting.MARKS["mismatch"].colour)), axis=-1)
    assert np.argwhere(wrong).tolist() == [list(place)]
    assert axes.get_title(loc="left") == "params: 1 wrong"


def test_the_map_says_what_is_known_of_other_entries():
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
    plotting.save(figure, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").stat().st_size > 1000
    plotting.save(figure, tmp_path / "a.png")
    width = int.from_bytes((tmp_path / "a.png").read_bytes()[16:20], "big")
    assert width == figure.get_figwidth() * plotting.STYLE["savefig.dpi"]
