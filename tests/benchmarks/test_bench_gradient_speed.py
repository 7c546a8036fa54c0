"""The benchmark `gradient_speed`: its table, its figure, and what it times."""

import doctest
import json
from importlib.util import find_spec

import common
import gradient_speed
import numpy as np
import pytest
from run_script import BENCHMARKS, WITHOUT_PEERS, require_one_line, run

from gradlab import CentralDifference, ForwardDifference, network, value_and_grad
from gradlab.errors import GradlabError, OptionError
from gradlab.params import flatten, size

PEERS = {"PyTorch": "torch", "JAX": "jax"}
WITHOUT_MODULES = [name for name in gradient_speed.OWN if name not in gradient_speed.MODULES]
TINY = ("--quick", "--batch", "5", "--network", "6-4-3", "--network", "40-20-10")

MEASURE_PEERS = """
import sys
import time
import numpy as np
from gradient_speed import Effort, Problem, measure
for dtype in ("float64", "float32"):
    problem = Problem.draw((6, 4, 3), 5, np.dtype(dtype), 0)
    for result in measure(problem, sys.argv[1:], Effort(rounds=1, whole_up_to=100, sample=4)):
        if result.contender in sys.argv:
            print(dtype, result.contender, result.difference)
"""


@pytest.fixture(scope="module")
def without_peers(tmp_path_factory):
    """Run the benchmark once on tiny networks, without PyTorch and JAX."""
    folder = tmp_path_factory.mktemp("speed")
    files = ("--json", folder / "speed.json", "--plot", folder / "speed.png")
    done = run("-c", WITHOUT_PEERS, BENCHMARKS / "gradient_speed.py", *TINY, *files)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads((folder / "speed.json").read_text("utf-8")), folder


@pytest.fixture
def problem():
    return gradient_speed.Problem.draw((6, 4, 3), 5, np.dtype("float64"), 0)


# The script


@pytest.mark.slow
def test_the_table_shows_every_network_and_contender(without_peers):
    printed, _, _ = without_peers
    lines = printed.splitlines()
    for words in ("6-4-3", "40-20-10", "p = 43", "p = 1,030"):
        assert words in printed
    for name in gradient_speed.CONTENDERS:
        called = gradient_speed.CALLED.get(name, name)
        assert sum(line.strip().startswith(f"{called} ") for line in lines) >= 2
    for heads in ("batch 5", "float64"):
        assert sum(heads in line for line in lines) >= 2
    assert "…" not in printed
    assert max(map(len, lines[:-1])) <= 80


@pytest.mark.slow
def test_the_last_line_is_the_headline(without_peers):
    printed, numbers, _ = without_peers
    assert printed.splitlines()[-1] == numbers["headline"]
    assert numbers["headline"].startswith(
        "On 40-20-10, batch 5, float64, a central difference by the plain loop costs ~"
    )


@pytest.mark.slow
def test_a_missing_peer_has_a_row(without_peers):
    printed, numbers, _ = without_peers
    lines = printed.splitlines()
    for name, extra in gradient_speed.MODULES.items():
        row = [*gradient_speed.CALLED[name].split(), "not", "installed"]
        assert sum(line.split() == row for line in lines) == 2
        assert f"{name} is not installed: pip install 'gradlab[{extra}]'" in printed
        assert numbers["missing"][name] == f"pip install 'gradlab[{extra}]'"
    assert not {r["contender"] for r in numbers["results"]} & set(gradient_speed.MODULES)


@pytest.mark.slow
def test_the_json_file_has_the_context_of_the_figures(without_peers):
    _, numbers, _ = without_peers
    assert set(numbers) == {
        "benchmark", "environment", "options", "reference", "table", "results", "missing",
        "headline",
    }  # fmt: skip
    assert numbers["benchmark"] == "gradient_speed"
    assert {"python", "numpy", "autograd", "cores", "threads"} <= set(numbers["environment"])
    options = numbers["options"]
    assert options["networks"] == ["6-4-3", "40-20-10"]
    assert (options["batches"], options["dtypes"], options["threads"]) == ([5], ["float64"], 1)
    assert options["rounds"] == gradient_speed.QUICK.rounds
    assert str(BENCHMARKS.parent) not in json.dumps(numbers)


@pytest.mark.slow
def test_each_result_has_seconds_ratio_evaluations_and_difference(without_peers):
    _, numbers, _ = without_peers
    results = {(r["network"], r["contender"]): r for r in numbers["results"]}
    assert len(results) == len(numbers["results"]) == 2 * len(WITHOUT_MODULES)
    for (name, contender), result in results.items():
        p = {"6-4-3": 43, "40-20-10": 1030}[name]
        assert result["parameters"] == p
        assert (result["batch"], result["dtype"]) == (5, "float64")
        if contender == "richardson":
            assert 10 * p < result["evaluations"] < 50 * p
        else:
            assert result["evaluations"] == {
                "central": 2 * p + 1, "forward": p + 2, "central4": 4 * p + 1,
                "complex-step": p + 5, "autograd-forward": p, "autograd": 1, "tape": 1,
                "spsa": 3, "forward-gradient": 1,
            }[contender]  # fmt: skip
        an_entry = (*gradient_speed.NUMERICAL, gradient_speed.FORWARD)
        sampled = contender in an_entry and p > gradient_speed.QUICK.whole_up_to
        assert result["entries_sampled"] == (gradient_speed.QUICK.sample if sampled else None)
        rounds = result["seconds_by_round"]
        assert len(rounds) == numbers["options"]["rounds"]
        assert result["seconds"] == np.median(rounds) > 0
        pairs = np.divide(rounds, results[name, "autograd"]["seconds_by_round"])
        assert result["ratio"]["median"] == pytest.approx(np.median(pairs))
        assert result["ratio"]["low"] <= result["ratio"]["median"] <= result["ratio"]["high"]
        exact = ("tape", "complex-step", "autograd-forward")
        largest = {"central": 1e-6, "forward": 1e-3, "central4": 1e-8, "richardson": 1e-8}
        largest |= {"autograd": 0, **dict.fromkeys(exact, 1e-14)}
        if contender not in gradient_speed.ESTIMATES:
            assert result["difference"] <= largest[contender]


@pytest.mark.slow
def test_extrapolated_figures_are_marked(without_peers):
    printed, _, _ = without_peers
    small, large = printed.split("40-20-10", 1)
    assert "~" not in small
    rows = [
        line
        for line in large.splitlines()
        if line.split()[:2] in (["central", "(loop)"], ["forward", "(loop)"]) and "s " in line
    ]
    assert [line.count("~") for line in rows] == [2, 2]
    assert "~ extrapolated" in printed


@pytest.mark.slow
def test_the_figure_is_written(without_peers):
    _, _, folder = without_peers
    assert (folder / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_installed_peers_agree():
    installed = [name for name, module in PEERS.items() if find_spec(module)]
    if not installed:
        pytest.skip("neither PyTorch nor JAX is installed")
    done = run("-c", MEASURE_PEERS, *installed)
    assert done.returncode == 0, done.stderr
    found = [line.split() for line in done.stdout.splitlines()]
    assert [(dtype, name) for dtype, name, _ in found] == [
        (dtype, name) for dtype in ("float64", "float32") for name in installed
    ]
    for dtype, name, difference in found:
        assert float(difference) <= 100 * np.finfo(dtype).eps, name


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--network", "3"), "--network 3"),
        (("--network", "6-0-3"), "--network 6-0-3"),
        (("--dtype", "int"), "--dtype int"),
        (("--batch", "0"), "--batch"),
        (("--json", "nowhere/x.json"), "--json nowhere"),
        (("--plot", "x.doc"), "--plot x.doc"),
        (("--oops",), "--oops"),
    ],
)
def test_a_wrong_option_is_one_line(options, named, monkeypatch, capsys):
    require_one_line("gradient_speed.py", gradient_speed.main, options, named, monkeypatch, capsys)


# What is timed


def test_a_contender_with_a_different_gradient_is_not_timed(problem, monkeypatch):
    def halved(problem):
        _, grads = value_and_grad(network.loss)(*problem.point)
        return lambda: (0.0, [0.5 * leaf for leaf in flatten(grads)[0]])

    monkeypatch.setitem(gradient_speed.PEERS, "JAX", ("jax", halved))
    with pytest.raises(
        GradlabError, match=r"JAX on 6-4-3: the gradient differs .* by 5e-01 .* not timed"
    ):
        gradient_speed.measure(problem, ["JAX"], gradient_speed.QUICK)


@pytest.mark.parametrize("name", ["central", "forward", "central4", "complex-step"])
def test_a_sample_gives_the_exact_number_of_evaluations(name, problem):
    reference = flatten(value_and_grad(network.loss)(*problem.point)[1])[0]
    p = size(problem.params)
    whole = gradient_speed._backend(name, problem, reference, None)
    for m in (4, 7, p):
        entries = common.sample_entries(problem.params, m, np.random.default_rng(m))
        sampled = gradient_speed._backend(name, problem, reference, entries)
        assert sampled.evaluations == whole.evaluations
        an_entry, once = {
            "central": (2, 1), "forward": (1, 2), "central4": (4, 1), "complex-step": (1, 5),
        }[name]  # fmt: skip
        assert whole.evaluations == an_entry * p + once
        # One lap per evaluation, except for the last one.
        assert len(sampled.run()) == an_entry * m + once - 1


@pytest.mark.parametrize(("whole_up_to", "central"), [(43, 2.0), (42, 2.0 * 87)])
def test_laps_are_multiplied_and_whole_gradients_are_not(
    whole_up_to, central, problem, monkeypatch
):
    def interleave(contenders, *, rounds):
        return {name: [2.0] * rounds for name in contenders}

    monkeypatch.setattr(common, "interleave", interleave)
    effort = gradient_speed.Effort(rounds=3, whole_up_to=whole_up_to, sample=6)
    result = gradient_speed.measure(problem, [], effort)[0]
    assert (result.contender, result.seconds, result.ratio.median) == (
        "central", central, central / 2.0,
    )  # fmt: skip


def test_evaluations_are_extrapolated_only_if_each_entry_takes_equally_many():
    for calls in (8, 7, 8 + gradient_speed.FEW + 1):
        with pytest.raises(ValueError, match=f"{calls} evaluations for 4 entries: not 2 for each"):
            gradient_speed.whole_evaluations(calls, 4, 100, 2)


@pytest.mark.parametrize(
    "backend", [CentralDifference(incremental=False), ForwardDifference(incremental=False)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_restricted_loss_has_the_entries_of_the_whole_gradient(backend, dtype):
    params, x, labels = gradient_speed.Problem.draw((6, 4, 3), 5, np.dtype(dtype), 1).point
    value, grads = backend.value_and_grad(network.loss)(params, x, labels)
    entries = common.sample_entries(params, 12, np.random.default_rng(0))
    loss, start = common.restrict(network.loss, params, entries)
    for _ in range(2):  # the second time from the copy of the first
        found_value, found = backend.value_and_grad(loss)(start, x, labels)
        assert found_value == pytest.approx(value, rel=1e-14)
        assert found.dtype == dtype
        np.testing.assert_allclose(
            found, common.flat(flatten(grads)[0])[entries], rtol=1e-5, atol=1e-7
        )


def test_a_sample_has_entries_of_every_leaf_and_none_twice():
    params = network.init((30, 20, 10))
    for seed in range(20):
        entries = common.sample_entries(params, 8, np.random.default_rng(seed))
        assert len(set(entries)) == 8
        ends = np.cumsum([leaf.size for leaf in flatten(params)[0]])
        assert set(np.searchsorted(ends, entries, side="right")) == {0, 1, 2, 3}


# Words and figures


def test_the_figure_names_its_axes_networks_and_contenders(problem):
    larger = gradient_speed.Problem.draw((8, 4, 3), 5, np.dtype("float64"), 0)
    effort = gradient_speed.Effort(rounds=1, whole_up_to=45, sample=6)
    results = [
        result for each in (problem, larger) for result in gradient_speed.measure(each, [], effort)
    ]
    drawn = gradient_speed.figure(results, "title")
    (axes,) = drawn.axes
    assert axes.get_title(loc="left") == "batch 5, float64"
    assert axes.get_xlabel() == "parameters of the network"
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert "The networks are 6-4-3, 8-4-3." in drawn.get_supxlabel().replace("\n", " ")
    shown = {text.get_text().split(",")[0] for text in axes.texts}
    assert shown == {gradient_speed.CALLED.get(name, name) for name in WITHOUT_MODULES}


def test_bad_options_in_python_raise():
    with pytest.raises(OptionError, match="widths"):
        common.parse_widths("64--10")


def test_docstrings_run():
    shared = (common.entries, common.files, common.machine, common.running, common.texts)
    for module in (*shared, common.timing, gradient_speed):
        outcome = doctest.testmod(module)
        assert outcome.attempted > 0
        assert outcome.failed == 0
