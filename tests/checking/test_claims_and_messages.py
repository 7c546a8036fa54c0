"""What the checker accepts as a claim, and what it says of a wrong one."""

from __future__ import annotations

import numpy as np
import pytest
from rich.text import Text

import gradlab
from gradlab.checking.causes import guess
from gradlab.checking.matrices import joined
from gradlab.checking.result import Entry, Leaf
from gradlab.checking.tables import MAX_SHOWN, _capped
from gradlab.errors import ParameterError

RNG = np.random.default_rng(0)
X, W = RNG.normal(size=(5, 3)), RNG.normal(size=(3, 2))


# Likely causes


def causes_of(**leaves):
    """Return the likely causes for leaves, each given as its claimed and its measured gradient."""
    entries, found = [], []
    for path, (claimed, measured) in leaves.items():
        wrong = claimed != measured
        for index in np.ndindex(measured.shape):
            verdict = "mismatch" if wrong[index] else "agree"
            a, n = float(claimed[index]), float(measured[index])
            entries.append(Entry(path, index, a, n, 1e-10, 2e-10, verdict))
        verdict = "mismatch" if wrong.any() else "agree"
        found.append(Leaf(path, measured.shape, verdict, measured.size))
    return guess(entries, found, None, ())


@pytest.mark.parametrize(("error", "is_near"), [(0.25, True), (1.0, False)])
def test_a_gradient_within_half_its_length_is_not_far_from_right(error, is_near):
    right, other = RNG.normal(size=(2, 4, 5))
    other *= np.linalg.norm(right) / np.linalg.norm(other)
    causes = causes_of(w=(right + error * other, right))
    assert ("not far from right" in causes.get("w", "")) == is_near


def test_a_single_wrong_leaf_before_a_layer_says_nothing_of_an_activation():
    wrong, right = RNG.normal(size=(2, 4, 5))
    single = causes_of(W1=(wrong, right), W2=(right, right))
    assert "activation" not in single.get("W1", "")
    both = causes_of(W1=(wrong, right), b1=(wrong[0], right[0]), W2=(right, right))
    assert "activation" in both["W1"]


# Claims


def test_the_backward_pass_of_a_layer_with_one_output_gets_an_array():
    def backward(dout, cache):
        assert type(dout) is np.ndarray
        return dout @ W.T, X.T @ dout

    assert gradlab.check_layer(lambda x, w: (x @ w, None), backward, X, W).ok


def test_a_gradient_of_nan_is_deterministic():
    """NaN differs from itself; such a gradient is wrong, but not different at each call."""
    report = gradlab.check_gradients(
        lambda w: np.sum(w**2), W, gradient=lambda w: np.where(w > 0, np.nan, 2 * w)
    )
    assert report.verdict == "mismatch"


def test_a_real_parameter_takes_a_complex_gradient_without_an_imaginary_part():
    params = {"a": np.array([1.0, 2.0]), "z": np.array([1.0 + 2.0j])}

    def loss(p):
        return np.sum(p["a"] ** 2) + np.sum(np.abs(p["z"]) ** 2)

    def gradient(p):
        return {"a": 2 * p["a"] + 0j, "z": 2 * p["z"]}

    assert gradlab.check_gradients(loss, params, gradient=gradient, convention="torch").ok


def test_the_entry_that_is_not_real_is_named():
    params = {"a": np.array([1.0, 2.0]), "z": np.array([1.0 + 2.0j])}
    with pytest.raises(ParameterError, match=r"a\[1\] is \(?4\+1j\)?, of a real parameter"):
        gradlab.check_gradients(
            lambda p: np.sum(p["a"] ** 2) + np.sum(np.abs(p["z"]) ** 2),
            params,
            gradient=lambda p: {"a": 2 * p["a"] + np.array([0, 1j]), "z": 2 * p["z"]},
            convention="torch",
        )


@pytest.mark.parametrize(
    ("given", "expected"), [(np.int64, np.float64), (np.float32, np.float32), (bool, np.float64)]
)
def test_a_claimed_matrix_has_floats_of_its_own_precision(given, expected):
    assert joined([[np.ones((1, 2), given)]]).dtype == expected


def test_a_list_of_the_wrong_length_is_described():
    with pytest.raises(ParameterError, match=r"has 1 items.*expected one item for each of 2"):
        gradlab.check_derivatives(lambda x: [np.sin(x), x**2], X[0], jacobian=lambda x: [np.cos(x)])


def test_an_error_inside_of_a_function_says_where_it_was_called():
    def function(x):
        raise ValueError("no such luck")

    with pytest.raises(ValueError, match="no such luck") as caught:
        gradlab.check_derivatives(function, X[0], jacobian=lambda x: x)
    assert any("the function at the parameters" in note for note in caught.value.__notes__)


# Reports


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_hidden_lines_are_counted(more):
    lines = [Text(str(k)) for k in range(MAX_SHOWN + more)]
    shown = [str(line) for line in _capped(lines, "others")]
    assert shown[:MAX_SHOWN] == [str(line) for line in lines[:MAX_SHOWN]]
    assert shown[MAX_SHOWN:] == ["… and 1 others"] * (more > 0)


def test_a_loss_that_is_constant_around_its_parameters_is_reported():
    """Whether the loss never reads them (no verdict), or reads them without effect."""
    for loss, verdict in ((lambda w: 0.0 * np.sum(w), "agree"), (lambda w: 1.0, "inconclusive")):
        report = gradlab.check_gradients(loss, W, gradient=np.zeros_like)
        assert (report.verdict, report.constant) == (verdict, True)
    report = gradlab.check_gradients(lambda w: np.sum(w), W, gradient=np.ones_like)
    assert (report.verdict, report.constant) == ("agree", False)


@pytest.mark.parametrize(("share", "verdict"), [(0.0, "kink"), (0.5, "kink"), (2.0, "mismatch")])
def test_a_gradient_at_a_kink_is_judged_along_directions_too(share, verdict):
    """The slopes of |x| at 0 reach from -1 to 1."""

    def gradient(p):
        return {"a": np.full(40, share), "b": 2 * p["b"]}

    report = gradlab.check_gradients(
        lambda p: np.sum(np.abs(p["a"])) + np.sum(p["b"] ** 2),
        {"a": np.zeros(40), "b": np.ones(30)},
        gradient=gradient,
        mode="directional",
    )
    assert report.verdict == verdict
