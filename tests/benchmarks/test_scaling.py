"""The benchmark of scaling: what it fits and extrapolates. No test asserts a time."""

import doctest
import json
import time

import common
import numpy as np
import pytest
import scaling
from gradient_speed import Problem

from gradlab.errors import GradlabError, OptionError
from gradlab.params import size

OWN = [name for name in scaling.CONTENDERS if name not in scaling.PEERS]


@pytest.fixture
def problem():
    return Problem.draw(scaling.widths_of(100), 5, np.dtype("float64"), 0)


def results_of(costs, seconds=1e-4):
    """Return results of contenders whose costs in evaluations are functions of p."""
    return [
        scaling.Result(
            "", p, name, seconds * cost(p), 1, scaling.Ratio(cost(p), 0, 0), 0.0,
            32 if name == scaling.PLAIN else None,
        )
        for name, cost in costs.items()
        for p in (100, 1_000, 10_000, 100_000)
    ]  # fmt: skip


COSTS = {
    scaling.PLAIN: lambda p: 2.0 * p,
    scaling.CENTRAL: lambda p: p**0.5,
    "autograd": lambda p: 8.0,
    "tape": lambda p: 2.0,
}


@pytest.mark.parametrize("exponent", range(2, 7))
def test_the_networks_have_as_many_parameters_as_asked_for(exponent):
    widths = scaling.widths_of(10**exponent)
    d, h, k = widths
    p = d * h + h + h * k + k
    assert d == 4 * h
    assert p == pytest.approx(10**exponent, rel=0.2)
    if p < 1e5:
        assert size(Problem.draw(widths, 1, np.dtype("float64"), 0).params) == p


def test_exponents_are_recovered():
    slopes = {(s.contender, s.of): s for s in scaling.fits(results_of(COSTS))}
    for name, exponent in ((scaling.PLAIN, 1), (scaling.CENTRAL, 0.5), ("tape", 0)):
        fitted = slopes[name, "evaluations"]
        assert fitted.exponent == pytest.approx(exponent, abs=1e-9)
        assert (fitted.smallest, fitted.largest) == (100, 100_000)
        assert slopes[name, "seconds"].smallest == 10_000
    assert slopes[scaling.PLAIN, "evaluations"].factor == pytest.approx(2)


def test_a_standard_error_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    sizes = np.logspace(2, 6, 9)
    x, y = np.log(sizes), 0.7 * np.log(sizes) + 0.1 * rng.standard_normal(9)
    fitted = scaling.Slope.fit("", "", sizes.tolist(), np.exp(y).tolist())
    coefficients, covariance = np.polyfit(x, y, 1, cov=True)
    assert fitted.exponent == pytest.approx(coefficients[0])
    assert fitted.error == pytest.approx(np.sqrt(covariance[0, 0]))


def test_only_the_plain_loop_is_extrapolated(problem, monkeypatch):
    def interleave(contenders, *, rounds, clock):
        assert len(contenders[scaling.PLAIN]()) == 2 * 8  # one lap per evaluation
        return {name: [3.0 if name == scaling.EVALUATION else 6.0] * rounds for name in contenders}

    monkeypatch.setattr(common, "interleave", interleave)
    p = size(problem.params)
    results = scaling.measure(problem, [], 3, 8, time.process_time)
    assert [result.contender for result in results] == OWN
    for result in results:
        times = 2 * p + 1 if result.contender == scaling.PLAIN else 1
        assert (result.seconds, result.cost.median) == (6.0 * times, 2.0 * times)
        assert (result.entries_sampled, result.about) == (
            (8, "~") if result.contender == scaling.PLAIN else (None, "")
        )
        assert result.difference < 1e-6


def test_a_contender_with_a_different_gradient_is_not_timed(problem, monkeypatch):
    def zero(problem):
        return lambda: (0.0, [0 * leaf for leaf in problem.params.values()])

    monkeypatch.setitem(scaling.PEERS, "JAX", ("jax", zero))
    with pytest.raises(
        GradlabError, match=r"JAX on 16-4-10: the gradient differs .* by 1e.00 .* not timed"
    ):
        scaling.measure(problem, ["JAX"], 1, 8, time.process_time)


def test_the_figure_marks_what_is_extrapolated_and_draws_the_fits():
    results = results_of(COSTS)
    drawn = scaling.figure(results, scaling.fits(results), "title")
    for axes in drawn.axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
        assert sum(len(line.get_xdata()) > 0 for line in hollow) == 1
        assert len([line for line in axes.lines if line.get_linestyle() == "-"]) >= len(COSTS)
    assert drawn.axes[-1].get_xlabel() == "parameters, p"
    shown = " ".join(text.get_text() for axes in drawn.axes for text in axes.texts)
    assert "p^1.00" in shown


@pytest.mark.slow
def test_the_script_says_what_it_fitted(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(common, "limit_threads", lambda count: None)
    monkeypatch.setattr(common, "missing", lambda modules: dict.fromkeys(modules, "get it"))
    files = (tmp_path / "s.json", [tmp_path / "s.png", tmp_path / "s.svg"])
    scaling.main([40, 150], 5, "float64", 1, True, *files)
    printed = capsys.readouterr().out
    numbers = json.loads(files[0].read_text("utf-8"))
    assert printed.splitlines()[-1] == numbers["headline"]
    assert {result["contender"] for result in numbers["results"]} == set(OWN)
    assert len(numbers["slopes"]) == len(OWN)  # only evaluations, because the sizes are small
    absent = [row for row in numbers["table"]["rows"] if "not installed" in row]
    assert [row[0] for row in absent] == list(scaling.PEERS)
    assert all(path.stat().st_size for path in files[1])


def test_one_size_has_no_slope(monkeypatch):
    monkeypatch.setattr(common, "limit_threads", lambda count: None)
    with pytest.raises(OptionError, match="--parameters: give at least two"):
        scaling.main([100, 101])


def test_docstrings_run():
    outcome = doctest.testmod(scaling)
    assert outcome.attempted > 0
    assert outcome.failed == 0
