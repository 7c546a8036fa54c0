"""Remarks on the data alone: constant labels and inputs, unscaled columns, guessing."""

import numpy as np
import pytest

from gradlab.training.causes import (
    chance,
    classes_of,
    constant_inputs,
    constant_labels,
    raw_columns,
    unscaled,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, 2))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 2, 1], [0, 2, 1]),
        ([0, -1], None),
        ([0.0, 1.0], None),
        ([[0, 1], [1, 0]], [1, 0]),
        ([[0.0, 1.0], [1.0, 0.0]], [1, 0]),
        ([[0, 1], [1, 1]], None),
        ([[0, 1], [0, 0]], None),
        ([[0, 1], [1, 0.5]], None),
        ([[1], [1]], None),
        ([[[0, 1]]], None),
    ],
)
def test_labels_are_integers_from_zero_or_one_hot_rows(labels, classes):
    found = classes_of(np.array(labels))
    assert (found if found is None else found.tolist()) == classes


def test_the_loss_of_guessing():
    """It is the entropy of the labels, 3/4 of which are 0, and ln 3 for three classes."""
    labels = np.array([0] * 15 + [2] * 5)
    low, high, k = chance([X, labels])
    assert low == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert (high, k) == (pytest.approx(np.log(3)), 3)
    one_hot = np.eye(4)[labels]
    assert chance([X, one_hot])[1:] == (pytest.approx(np.log(4)), 4)


@pytest.mark.parametrize(
    ("data", "known"),
    [
        ([X, np.arange(20) % 10], True),
        ([X, np.arange(20) % 11], False),  # fewer than two samples per class
        ([X[:10], np.arange(10) % 2], True),
        ([X[:9], np.arange(9) % 2], False),
        ([X, np.zeros(20, int)], False),  # one class is no guess
        ([X, X[:, 0]], False),
        ([X], False),
        ([X, np.arange(20) % 2, X], False),
    ],
)
def test_guessing_needs_labels_of_several_classes(data, known):
    assert (chance(data) is not None) == known


@pytest.mark.parametrize(
    ("labels", "value"),
    [
        (np.full(10, 3), "3"), (np.zeros(10, int), "0"), (np.full(10, 2.5), "2.5"),
        (np.eye(4)[np.full(10, 2)], "2"), (np.full((10, 2), 0.25), "0.25"),
        (np.full(9, 3), None), (np.zeros(10), None), (np.zeros((10, 2)), None),
        (np.array([3] * 9 + [4]), None), (np.full((10, 2), [0.0, 0.5]), "0"),
    ],
)  # fmt: skip
def test_constant_labels(labels, value):
    """Targets of 0.0 are not constant labels; losses of residuals have them."""
    text = constant_labels([np.ones((len(labels), 2)), labels])
    assert (text is not None) == (value is not None)
    assert text is None or text.startswith(f"all {len(labels)} labels are {value}: ")
    assert constant_labels([labels]) is None


@pytest.mark.parametrize(
    ("x", "constant"),
    [
        (np.ones((10, 2)), True), (np.ones((9, 2)), False), (np.ones(10), False),
        (np.ones((10, 2, 2)), True), (np.ones((20, 1)), True),
        (np.array([[1.0]] * 19 + [[2.0]]), False), (np.array([[2.0]] + [[1.0]] * 19), False),
    ],
)  # fmt: skip
def test_constant_inputs(x, constant):
    text = constant_inputs([x, np.arange(len(x))])
    assert (text is not None) == constant
    assert text is None or text.startswith(f"all {len(x)} samples of x are the same")
    assert constant_inputs([x]) is None


@pytest.mark.parametrize(
    ("data", "remedy"),
    [
        ([np.array([[9.0, -11.0]])], ", and scale the inputs, which reach 11"),
        ([np.array([[9.0, -10.0]])], ""),
        ([np.array([99.0])], ""),  # not a matrix: positions, or one number per sample
        ([X, np.array([-250.0])], ", and scale the targets, which reach 250"),
        ([X, np.array([250])], ""),  # labels
        ([X, np.array([[250]])], ""),
        ([X, X[:, 0], np.array([250.0])], ""),
        ([], ""),
    ],
)
def test_inputs_and_targets_beyond_ten(data, remedy):
    assert unscaled(data) == remedy


def columns(ratio, count=50):
    """Return columns of ±1 and ±ratio."""
    signs = np.where(np.arange(count) % 2, 1.0, -1.0)
    return np.stack([signs, ratio * signs], axis=1)


def ratio_of(x, gradient, steps=100):
    text = raw_columns([x, x[:, 0]], gradient, steps)
    return text and text.split(":")[0]


STEEP = [np.array([1.0, 1e9])]


@pytest.mark.parametrize(
    ("steps", "ratio", "named"),
    [(100, 10.1, True), (100, 9.9, False), (1, 10.1, True), (1, 9.9, False),
     (10_000, 101, True), (10_000, 99, False)],
)  # fmt: skip
def test_columns_that_need_more_steps_than_there_are(steps, ratio, named):
    """They need the square of the ratio, and at least a hundred."""
    assert bool(ratio_of(columns(ratio), STEEP, steps)) == named


def test_the_scaled_columns_are_named():
    assert ratio_of(columns(1e3, 10), STEEP)
    text = "column 1 of x is 1,000 times as large as column 0"
    assert ratio_of(columns(1e3), STEEP) == text
    assert ratio_of(columns(1e3)[:, ::-1], [np.array([1e9, 1.0])]) == (
        "column 0 of x is 1,000 times as large as column 1"
    )
    zeros = np.stack([np.zeros(50), *columns(1e3).T], axis=1)
    assert ratio_of(zeros, [np.array([0.0, 1.0, 1e9])]) == (
        "column 2 of x is 1,000 times as large as column 1"
    )
    for factor in (1e100, 1e-100):
        assert ratio_of(factor * columns(1e3), STEEP) == text
    assert ratio_of(1e300 * columns(1e3), STEEP) is None  # squares overflow


@pytest.mark.parametrize(
    ("gradient", "shown"),
    [
        ([1.0, 101.0], True),  # a tenth of the ratio
        ([1.0, 99.0], False),
        ([1.0, -101.0], True),
        ([0.0, 0.0], False),
        ([0.0, 1e-9], True),
        ([[1.0, 0.5], [101.0, 0.5]], True),
        ([[1.0, 101.0], [0.5, 0.5]], True),
        ([[0.5, 1.0], [0.5, 1.0], [0.5, 101.0]], True),
        ([[[1.0, 101.0], [1.0, 101.0]]], False),
        (1.0, False),
    ],
)
def test_the_gradient_has_to_show_the_ratio(gradient, shown):
    found = ratio_of(columns(1e3), [np.zeros(3), np.array(gradient)])
    assert (found is not None) == shown


@pytest.mark.parametrize(
    "x",
    [columns(1e3, 9), columns(1e3)[:, :1], columns(1e3)[:, 0], columns(1e3)[None]],
)
def test_no_judgement_of_few_samples_or_of_no_matrix(x):
    assert raw_columns([x], STEEP, 100) is None
    assert raw_columns([], STEEP, 100) is None
    assert raw_columns([columns(1e3) > 0], STEEP, 100) is None


def test_columns_that_are_mostly_zero_are_left_out():
    for present, named in ((26, True), (25, False)):
        x = columns(1e3)
        x[present:, 1] = 0.0
        assert bool(ratio_of(x, STEEP)) == named


def test_a_sample_of_rows_gives_the_scale():
    """At most 256 rows are read: every third of 600."""
    x = columns(1.0, 600)
    x[::3, 1] *= 1e3
    assert ratio_of(x, STEEP) == "column 1 of x is 1,000 times as large as column 0"
    x = columns(1.0, 256)
    x[::2, 1] *= 1e3
    assert ratio_of(x, STEEP) == "column 1 of x is 707 times as large as column 0"
