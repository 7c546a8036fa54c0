"""The benchmark of accuracy: its reference values are exact, its slopes follow the theory."""

import doctest
import json
from dataclasses import asdict

import accuracy
import common
import numpy as np
import pytest

from gradlab import network, value_and_grad
from gradlab.errors import GradlabError
from gradlab.params import flatten

GRID = np.logspace(-1, -14, 40).tolist()


@pytest.fixture(scope="module")
def reference():
    return accuracy.truth(accuracy.Problem.draw("float64"))


@pytest.fixture(scope="module")
def results(reference):
    return [
        accuracy.measure(name, dtype, GRID, reference)
        for dtype in accuracy.DTYPES
        for name in accuracy.METHODS
    ]


def test_the_truth_is_that_of_reverse_mode(reference):
    """The gradient in 50 digits agrees with reverse mode to round-off."""
    problem = accuracy.Problem.draw("float64")
    found = common.flat(flatten(value_and_grad(network.loss)(*problem.point)[1])[0])
    assert np.abs(found - reference).max() < 1e-15 * len(reference)


def test_both_precisions_have_one_truth(reference):
    single, double = map(accuracy.Problem.draw, ("float32", "float64"))
    for a, b in zip(flatten(single.point)[0], flatten(double.point)[0], strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(accuracy.truth(single), reference)


def test_the_slopes_are_those_of_theory(results):
    seen = 0
    for result in results:
        for side in (result.truncation, result.round_off):
            if side:
                assert side.slope == pytest.approx(side.theory, abs=0.25), result.method
                seen += 1
    assert seen >= 10
    of = {(result.method, result.dtype): result for result in results}
    assert of["central4", "float64"].truncation.theory == 4
    assert of["complex-step", "float64"].round_off is None
    assert of["richardson", "float64"].truncation is None


def test_the_default_steps_are_near_the_best(results):
    """The error of a default step is at most a hundred times the least error of any step."""
    for result in results:
        assert result.default_error < 100 * result.best_error, (result.method, result.dtype)


def test_a_step_that_vanishes_has_no_error(results):
    for result in results:
        assert len(result.steps) == len(result.errors)
        assert np.isfinite(result.errors).all()
        cut = result.dtype == "float32" and result.method != "complex-step"
        assert (result.steps[-1] > 1e-8) == cut, result.method


def test_the_table_and_the_figure_show_every_method(results):
    table = common.record(accuracy.table(results, "caption"))
    names = [row[0].strip() for row in table["rows"]]
    assert names == [
        word for dtype in accuracy.DTYPES for word in (dtype, *accuracy.METHODS)
    ]  # fmt: skip
    drawn = accuracy.figure(results, "title")
    for axes in drawn.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        assert axes.get_ylabel() == "relative error"
    shown = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert shown[: len(accuracy.METHODS)] == list(accuracy.METHODS)
    assert "complex-step" in accuracy.headline(results)
    json.dumps([asdict(result) for result in results], allow_nan=False)


def test_without_mpmath_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(common, "is_installed", lambda module: module != "mpmath")
    with pytest.raises(GradlabError, match=r"mpmath is not installed: pip install 'gradlab\[bench"):
        accuracy.truth(accuracy.Problem.draw("float64"))


def test_docstrings_run():
    outcome = doctest.testmod(accuracy)
    assert outcome.attempted > 0
    assert outcome.failed == 0
