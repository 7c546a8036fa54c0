"""The cost in a report, and clues from the arguments of a loss and the results of a layer."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

import gradlab
from gradlab.checking.allowance import accepted, checked, difference, root_mean_square
from gradlab.checking.causes import lengths_of, repeated_in
from gradlab.checking.claims import _rounded
from gradlab.checking.in_place import InPlace
from gradlab.checking.result import Difference, Entry, Verdict
from gradlab.errors import OptionError, ParameterError

W, X = np.array([[0.5, -1.0], [2.0, 0.25]]), np.array([[1.0, 2.0]])


def forward(x: Any, w: Any) -> Any:
    return np.tanh(x @ w), (x, w)


def backward(dout: Any, cache: Any) -> Any:
    x, w = cache
    grad = dout * (1 - np.tanh(x @ w) ** 2)
    return grad @ w.T, x.T @ grad


@pytest.mark.parametrize(
    "check",
    [
        lambda: gradlab.check_gradients(lambda w: np.sum(w**2), W, gradient=lambda w: 2 * w),
        lambda: gradlab.check_derivatives(lambda w: w**2, W, jvp=lambda w, v: 2 * w * v),
        lambda: gradlab.check_layer(forward, backward, X, W),
    ],
)
def test_a_report_says_how_long_the_check_took(check: Any) -> None:
    """The time is positive, and at most that of a clock around the check."""
    started = time.perf_counter()
    report = check()
    assert 0 < report.seconds <= time.perf_counter() - started
    assert report.ok


def test_lengths_are_those_of_axes_and_arrays_except_one() -> None:
    assert lengths_of([np.zeros((1, 5)), {"x": np.zeros((4, 3))}, "mean", 9]) == {3, 4, 5, 12}


def test_repeated_integers_are_those_of_one_array() -> None:
    assert repeated_in([np.array([1, 2, 1, 3, 3]), np.array([7]), np.array([7])]) == {1, 3}
    assert repeated_in([np.array([0.5, 0.5])]) == set()


def test_a_layer_returns_its_output_and_a_cache() -> None:
    with pytest.raises(ParameterError, match=r"a tuple of one item; expected \(out, cache\)"):
        gradlab.check_layer(lambda x, w: (x @ w,), backward, X, W)
    with pytest.raises(OptionError, match="backward"):
        gradlab.check_layer(forward, None, X, W)


def entry(
    analytic: float, verdict: Verdict = "agree", error: float = 0.01, tolerance: float = 0.1,
    path: str = "w", numerical: float = 1.0,
) -> Entry:  # fmt: skip
    return Entry(path, (), analytic, numerical, error, tolerance, verdict, "note")


def test_an_allowed_error_is_at_most_a_tenth() -> None:
    assert checked(0) == 0.0
    assert checked(0.1) == 0.1
    for wrong in (0.11, -1e-9, True, "0.1", np.nan):
        with pytest.raises(OptionError, match="allow="):
            checked(wrong)


def test_a_root_mean_square_does_not_overflow() -> None:
    assert root_mean_square(np.array([3.0, -4.0])) == pytest.approx(np.sqrt(12.5))
    assert root_mean_square(np.array([3e300, 4e300])) == pytest.approx(np.sqrt(12.5) * 1e300)
    assert root_mean_square(np.zeros(2)) == root_mean_square(np.empty(0)) == 0.0


def test_an_entry_is_accepted_if_only_the_allowance_makes_it_inconclusive() -> None:
    def verdict(allow: float = 0.1, **options: Any) -> str:
        made: dict[str, Any] = {"analytic": 1.05, "verdict": "inconclusive"} | options
        [found] = accepted([entry(**made)], allow)
        assert (found.note == "") == (found.verdict == "agree" != made["verdict"])
        return found.verdict

    assert verdict() == "agree"
    assert verdict(allow=0.0) == "inconclusive"
    assert verdict(analytic=1.2) == "inconclusive"  # beyond the tolerance
    assert verdict(error=0.52) == "agree"  # half of 1.05 is resolved
    assert verdict(error=0.54) == "inconclusive"
    assert verdict(verdict="mismatch") == "mismatch"


def test_the_largest_error_is_relative_to_an_entry_or_to_its_leaf() -> None:
    some = [
        entry(1.5, numerical=1.0), entry(0.3, numerical=0.0),
        entry(9.0, "kink"), entry(np.inf, "mismatch"), entry(10.1, numerical=10.0, path="b"),
    ]  # fmt: skip
    # The root mean square of w's known slopes, 1 and 0, is 0.71: 0.3 of that is 0.42.
    assert difference(some) == Difference(0.5, "w")
    small = [entry(1.1), entry(0.3, numerical=0.0)]
    found = difference(small)
    assert found is not None
    assert found.relative == pytest.approx(0.3 / np.sqrt(0.5))
    assert difference([entry(0.05, numerical=0.0)]) == Difference(0.0, "w")
    assert difference([entry(0.2, numerical=0.0)]) == Difference(np.inf, "w")
    assert difference([entry(1.0, "kink")]) is None


def test_the_round_off_of_claimed_numbers_is_that_of_their_dtype() -> None:
    assert _rounded([np.ones(2), np.ones(2, np.float32)]).epsilon == 2.0**-23
    assert _rounded([np.ones(2)]).epsilon == 2.0**-52
    assert _rounded([np.ones(2, int)]).epsilon == 2.0**-52
    assert _rounded([]).epsilon == 2.0**-52


def test_parameters_that_a_network_keeps_are_as_precise_as_the_least_precise() -> None:
    wide, narrow = np.ones(2), np.ones(2, np.float32)
    assert InPlace({"a": wide, "b": narrow}).dtype == np.float32
    assert InPlace({"a": wide}).dtype == np.float64
    assert InPlace({}).dtype is None
