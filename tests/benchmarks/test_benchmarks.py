"""The benchmarks and what they share: timing in turns, tables, files. No test asserts a time."""

import ast
import json
import sys
import time

import common
import functions
import memory
import numerical_speed
import numpy as np
import parallel_speed
import pytest
import tape_speed
import training
from matplotlib.figure import Figure
from optional import LIBRARIES
from rich.table import Table
from rich.text import Text
from run_script import BENCHMARKS

from gradlab import CentralDifference, network
from gradlab.bench import scripts
from gradlab.errors import GradlabError, OptionError
from gradlab.params import size

# How it is timed


class Clock:
    """A clock that advances only when a contender works, with a record of the contenders."""

    def __init__(self):
        self.now = 0.0
        self.worked = []

    def __call__(self):
        return self.now

    def worker(self, name, seconds):
        def work():
            self.now += seconds
            self.worked.append(name)

        return work


def test_contenders_take_turns():
    clock = Clock()
    contenders = {"A": clock.worker("A", 1.0), "B": clock.worker("B", 0.25)}
    seconds = common.interleave(contenders, rounds=3, turn=0.5, clock=clock)
    assert clock.worked == list("A" + "BB" + 3 * "ABB")  # the warm-up and three rounds
    assert seconds == {"A": [1.0] * 3, "B": [0.25] * 3}


def test_a_turn_counts_as_its_median():
    clock = Clock()
    durations = iter([1.0] * 5 + [1.0, 50.0, 1.0, 1.0, 3.0])

    def work():
        clock.now += next(durations)

    assert common.interleave({"A": work}, rounds=1, turn=5.0, clock=clock) == {"A": [1.0]}


def test_a_contender_with_the_clock_counts_laps():
    clock = Clock()

    def laps():
        clock.now += 8.0
        return common.Laps([1.0, 2.0, 9.0])

    assert common.interleave({"A": laps}, rounds=2, turn=1.0, clock=clock) == {"A": [2.0, 2.0]}


def test_a_lap_is_an_evaluation_with_what_the_backend_does_for_it():
    clock = Clock()

    def loss(x):
        clock.now += 1.0
        return float(np.sum(x))

    run = common.timed_evaluations(CentralDifference(), loss, np.ones(3), clock=clock)
    assert run() == run() == [1.0] * 6


def test_threads_are_unknown_without_threadpoolctl(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.delitem(sys.modules, "jax", raising=False)
    assert common.threads() == {}
    assert common.environment_line(common.describe()).endswith(
        "threads: BLAS not known (pip install threadpoolctl)"
    )


# Words and figures


def test_every_figure_is_drawn_in_the_one_style():
    for path in BENCHMARKS.glob("*.py"):
        source = path.read_text("utf-8")
        assert source.count("Figure(figsize") == source.count("@styled"), path.name
        assert "savefig" not in source


# The tape's


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
@pytest.mark.parametrize("form", ["plain", "lse"])
def test_the_contenders_take_the_tapes_gradient(activation, form):
    """`measure` fails if a contender, such as handwritten NumPy, has another gradient."""
    problem = tape_speed.Problem.draw(activation, form, 5, np.dtype("float64"))
    names = ["tape", "tape, out=", "autograd", "by hand", "products"]
    results = tape_speed.measure(problem, names, 1, time.process_time)
    assert [result.contender for result in results] == names
    assert all(result.difference < 1e-12 for result in results)
    assert results[0].ratio.median == 1
    assert "by hand" in tape_speed.headline(results) or "by hand." in tape_speed.headline(results)
    assert tape_speed.table(results, names, "").row_count == 1
    assert len(tape_speed.figure(results, names).axes) == 1


def test_a_contender_with_a_different_gradient_is_not_timed(monkeypatch):
    def doubled(problem):
        gradient = tape_speed.by_hand(problem)
        return lambda: (0.0, [2 * leaf for leaf in gradient()[1]])

    monkeypatch.setitem(tape_speed.CONTENDERS, "by hand", doubled)
    problem = tape_speed.Problem.draw("sigmoid", "lse", 5, np.dtype("float64"))
    with pytest.raises(GradlabError, match="by hand on sigmoid float64 lse 5: off by 1e"):
        tape_speed.measure(problem, ["tape", "by hand"], 1, time.process_time)


@pytest.mark.parametrize("name", functions.PROBLEMS)
def test_functions_are_replayed(name):
    result = functions.measure(name, 1)
    assert result.difference < 1e-12
    assert result.operations <= 1.2 * result.recorded


def test_epochs_reach_the_same_loss(monkeypatch):
    names = [training.REFERENCE, "fit, tape, first time", "fit, autograd", "own loop, tape"]
    contenders = {name: training.CONTENDERS[name] for name in names}
    monkeypatch.setattr(training, "CONTENDERS", contenders)
    task = training.Task.draw(300, np.dtype("float64"))
    results = training.measure(task, 1, time.process_time)
    assert [result.contender for result in results] == list(contenders)
    assert len({round(result.loss, 6) for result in results}) == 1
    assert training.table(results, "").row_count == 4
    assert "fit, autograd" in training.headline(results)
    assert len(training.figure(results).axes) == 1


@pytest.mark.slow
def test_several_processes_have_the_gradient_of_one():
    results = parallel_speed.measure("waits", 5, 0.001, 2, 1)
    assert [result.contender for result in results][1:3] == ["workers=1", "workers=2"]
    assert results[1].speedup.median == 1
    assert parallel_speed.table(results, "", "").row_count == len(results) == 4
    told = parallel_speed.headline(results, 5, 0.001, 2)
    assert f"{results[2].speedup.median:.2f} times as fast as one if the loss waits" in told
    (axes,) = parallel_speed.figure(results).axes
    assert len(axes.patches) == 4


@pytest.mark.parametrize("script", [tape_speed, training, functions, parallel_speed])
def test_their_options_are_explained(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script.__name__, "--help"])
    with pytest.raises(SystemExit) as ended:
        common.run(script.main)
    assert ended.value.code == 0
    assert "--quick" in capsys.readouterr().out


# Numerical gradients


def small(mnist, batch):
    params = network.init((20, 8, 4), seed=0)
    x = np.random.default_rng(0).standard_normal((batch, 20))
    return numerical_speed.Problem(network.loss, params, (x, np.arange(batch) % 4))


def test_numerical_speed_extrapolates_the_plain_loop_and_the_peers(monkeypatch):
    pytest.importorskip("numdifftools", reason="numdifftools is not installed")

    def interleave(contenders, *, rounds, turn, clock):
        assert len(contenders["plain loop"]()) == 2 * 10  # one lap per evaluation
        assert len(contenders["SciPy 3-point"]()) == 10
        assert len(contenders["numdifftools"]()) == 4
        contenders["engine, 2 threads"]()
        return {who: [2.0 + 2.0 * who.startswith("engine")] * rounds for who in contenders}

    monkeypatch.setattr(common, "interleave", interleave)
    problem = small(None, 6)
    p = size(problem.params)
    peers = ["SciPy 3-point", "numdifftools"]
    results = numerical_speed.measure("small", problem, 10, 3, 1e-4, time.perf_counter, 2, peers)
    by = {result.contender: result for result in results}
    assert by["plain loop"].seconds == 2.0 * (2 * p + 1)
    assert by["engine, 1 thread"].ratio.median == (2 * p + 1) / 2.0
    assert by["SciPy 3-point"].seconds == 2.0 * p / 10
    assert by["numdifftools"].seconds == 2.0 * p / 4
    assert all(result.difference < 1e-8 for who, result in by.items() if who != "plain loop")
    assert 0 < by["engine, 1 thread"].megabytes < 10
    told = numerical_speed.headline(results)
    assert "(small); than the best peer, SciPy 3-point: " in told
    missing = numerical_speed.Result("small", p, "JAX jit(vmap)", missing="pip install jax")
    assert numerical_speed.table([*results, missing], "").row_count == 6
    (axes,) = numerical_speed.figure([*results, missing]).axes
    assert len(axes.lines) == 5


@pytest.mark.parametrize("peer", ["PyTorch vmap", "JAX jit(vmap)"])
def test_numerical_speed_sets_peers_on_the_same_network(peer):
    package, make = numerical_speed.PEERS[peer]
    state = np.random.get_state()  # noqa: NPY002
    # JAX draws from NumPy's global generator when it is imported.
    pytest.importorskip(package, reason=f"{LIBRARIES[package]} is not installed")
    np.random.set_state(state)  # noqa: NPY002
    problem = small(None, 6)
    gradient = CentralDifference(1e-4).value_and_grad(problem.loss)(problem.params, *problem.args)[
        1
    ]
    entries = np.arange(0, 200, 2)
    run, at = make(numerical_speed.Sample(problem, entries, 1e-4))
    exact = common.flat([*gradient.values()])[at]
    assert np.abs(run() - exact).max() < 1e-8


@pytest.mark.parametrize("name", numerical_speed.PROBLEMS)
def test_numerical_speed_makes_problems_of_images(name):
    def noise(n):
        r = np.random.default_rng(0)
        return np.maximum(r.standard_normal((n, 784)), 0), r.integers(10, size=n)

    problem = numerical_speed.PROBLEMS[name](noise, 2)
    assert np.isfinite(problem.loss(problem.params, *problem.args))


def test_numerical_speed_refuses_other_work(monkeypatch):
    monkeypatch.setattr(numerical_speed, "AGREE", 0.0)
    with pytest.raises(
        GradlabError, match=r"small: the engine, 1 thread differs from the plain loop by"
    ):
        numerical_speed.measure("small", small(None, 6), 10, 1, 1e-4, time.perf_counter)


# The protocol of `gradlab bench`


@pytest.mark.parametrize("path", sorted(BENCHMARKS.glob("*.py")), ids=lambda path: path.stem)
def test_each_benchmark_keeps_to_the_protocol(path):
    """The findings are given, because a run takes minutes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (main,) = [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == "main"]
    (decorator,) = main.decorator_list
    assert ast.unparse(decorator) == f"common.main({path.stem!r})"
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {"common.Findings", "common.run"} <= called
    assert "quick" in {argument.arg for argument in main.args.args}


def findings(**changes):
    parts = {"options": {"n": 1}, "table": lambda environment: Table("x", caption=environment)}
    parts |= {"results": [{"n": 1}], "headline": "One is one.", "figure": plot_of_nothing}
    return common.Findings(**(parts | changes))


@pytest.fixture
def no_pools(monkeypatch):
    monkeypatch.setattr(common.machine, "threads", dict)


def plot_of_nothing():
    figure = Figure()
    figure.subplots()
    return figure


def test_a_benchmark_shows_and_writes_what_it_found(tmp_path, capsys, no_pools):
    @common.main("counting")
    def command(count: int = 2, quick: common.Quick = False) -> common.Findings:
        rows = [common.Ratio(count, quick, 3.0), {"n": count}]
        return findings(results=rows, more={"missing": {}}, below=[Table("below"), Text("aside")])

    files = (tmp_path / "numbers.json", [tmp_path / "a.png", tmp_path / "a.svg"])
    command(5, True, *files)
    printed = capsys.readouterr().out
    numbers = json.loads(files[0].read_text("utf-8"))
    assert set(scripts.REQUIRED_KEYS) | {"options", "missing"} == set(numbers)
    assert numbers["benchmark"] == "counting"
    assert numbers["results"] == [{"median": 5, "low": True, "high": 3.0}, {"n": 5}]
    assert numbers["table"]["notes"] == common.environment_line(numbers["environment"])
    assert printed.index(" x ") < printed.index("below") < printed.index("aside")
    assert printed.splitlines()[-1] == numbers["headline"] == "One is one."
    assert all(path.stat().st_size for path in files[1])


def test_files_that_cannot_be_written_are_refused_before_the_work(tmp_path):
    @common.main("counting")
    def command() -> common.Findings:
        raise AssertionError("it was measured")

    with pytest.raises(OptionError, match=r"--json .*: there is no folder"):
        command(json_file=tmp_path / "nowhere" / "numbers.json")
    with pytest.raises(OptionError, match=r"--plot .*: name a file that ends in"):
        command(plot_file=[tmp_path / "figure.doc"])


@pytest.mark.parametrize("part", scripts.REQUIRED_KEYS)
def test_numbers_that_lack_a_part_are_not_written(part, tmp_path):
    numbers = {name: [] for name in scripts.REQUIRED_KEYS} | {"table": common.record(Table("x"))}
    del numbers[part]
    with pytest.raises(GradlabError, match=f"lack {part}"):
        common.write_outputs(numbers, list, tmp_path / "numbers.json", None)
    assert not (tmp_path / "numbers.json").exists()


# Memory


def test_memory_follows_the_protocol_of_bench(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "AT_ONCE", {"autograd": memory.AT_ONCE["autograd"]})
    monkeypatch.setattr(memory, "BY_ENTRY", {"central": memory.BY_ENTRY["central"]})
    memory.main(entries=1000, few=1000, json_file=tmp_path / "memory.json")
    numbers = json.loads((tmp_path / "memory.json").read_text(encoding="utf-8"))
    assert [row[0] for row in numbers["table"]["rows"]] == ["autograd", "central"] * 2
    assert "autograd" in numbers["headline"]
