"""Comparing backends: the right numbers, measured at the right points."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from gradlab import CentralDifference, ForwardDifference, network, value_and_grad
from gradlab.comparison import compare, relative_differences
from gradlab.errors import DivergenceError, LossError, OptionError


@pytest.fixture
def problem():
    rng = np.random.default_rng(5)
    x, y = rng.random((30, 4)), rng.integers(3, size=30)
    start = network.init([4, 5, 3], seed=1)
    return {"loss": network.loss, "params": start, "data": (x, y), "test": (x, y)}


def run(problem, **options):
    settings = {"iterations": 6, "batch_size": 10, "accuracy": network.accuracy, **options}
    return compare(**problem, **settings)


class Doubled:
    """A backend with a fault: its gradient is twice the right one."""

    name = "doubled"

    def value_and_grad(self, loss):
        evaluate = value_and_grad(loss)

        def faulty(params, *args):
            value, grads = evaluate(params, *args)
            return value, {path: 2 * leaf for path, leaf in grads.items()}

        return faulty


def test_evaluations_are_counted_only_for_gradients(problem):
    comparison = run(problem, backends=["central", "forward", "autograd"])
    p = comparison.parameters
    assert p == 4 * 5 + 5 + 5 * 3 + 3
    counts = [run.evaluations_per_gradient for run in comparison.runs]
    assert counts == [2 * p + 1, p + 2, 1]


def test_the_tape_replays_in_a_comparison(problem):
    """The loss is called only to record and verify; if that is impossible, there is a warning."""
    tape, _ = run(problem, backends=["tape", "autograd"], iterations=20).runs
    assert tape.evaluations_per_gradient < 0.5


def test_the_runs_come_in_the_order_asked_for_and_autograd_is_the_reference(problem):
    comparison = run(problem, backends=["autograd", "forward"])
    assert [r.backend for r in comparison.runs] == ["autograd", "forward"]
    assert comparison.reference == "autograd"
    assert run(problem, backends=["forward", "central"]).reference == "forward"


def test_a_right_gradient_stays_together_with_the_reference(problem):
    central, autograd = run(problem).runs
    assert central.together
    assert 0 < central.largest_difference < 1e-7
    assert 0 < central.largest_distance < 1e-7
    assert set(central.differences) == {"W1", "b1", "W2", "b2"}
    assert all(len(steps) == 6 for steps in central.differences.values())
    assert autograd.differences == {}
    assert autograd.largest_distance == 0


def test_a_wrong_gradient_has_its_error_as_difference(problem):
    doubled, _ = run(problem, backends=[Doubled(), "autograd"]).runs
    assert not doubled.together
    assert doubled.largest_difference == 1.0
    assert doubled.largest_distance > 0.01


def test_differences_are_taken_at_the_same_parameters(problem):
    # A gradient that is right, on a trajectory that leaves the reference's, is still right.
    coarse = CentralDifference(step=1e-5)
    fine, rough = run(problem, backends=[coarse, ForwardDifference(step=0.3)]).runs
    assert rough.largest_distance > 1e-3
    assert rough.largest_difference > 1e-2
    alone = run(problem, backends=[ForwardDifference(step=0.3), coarse]).runs[1]
    assert alone.fit.params["W1"].tobytes() == fine.fit.params["W1"].tobytes()


def test_each_backend_sees_the_same_minibatches(problem):
    central, autograd = run(problem, backends=["central", "autograd"], seed=7).runs
    again = run(problem, backends=["central", "autograd"], seed=7).runs
    assert central.fit.history.losses == again[0].fit.history.losses
    assert autograd.fit.history.losses == again[1].fit.history.losses
    assert np.allclose(central.fit.history.losses, autograd.fit.history.losses, rtol=1e-6)


def test_results_are_evaluated_on_the_test_data(problem):
    x, y = problem["data"]
    comparison = run({**problem, "test": (x[:7], y[:7])})
    reached = comparison.runs[1]
    assert reached.loss == network.loss(reached.fit.params, x[:7], y[:7])
    assert reached.accuracy == network.accuracy(reached.fit.params, x[:7], y[:7])


def test_the_slowest_backend_has_the_factor_one(problem):
    comparison = run(problem)
    speedups = [comparison.speedup(run) for run in comparison.runs]
    assert min(speedups) == 1.0
    seconds = [run.seconds_per_gradient for run in comparison.runs]
    assert speedups == [max(seconds) / s for s in seconds]


def test_a_plain_loop_takes_as_long_as_its_evaluations(problem, monkeypatch):
    """The engine makes three evaluations of a second each, the loop 167."""
    now = 0.0

    def loss(*args):
        nonlocal now
        now += 1.0
        return network.loss(*args)

    monkeypatch.setattr(
        "gradlab.comparison.metering.time", SimpleNamespace(perf_counter=lambda: now)
    )
    start = network.init([4, 10, 3], seed=1)  # enough parameters for the engine
    central, autograd = run(problem | {"loss": loss, "params": start}).runs
    assert central.seconds_per_gradient == 3.0
    assert central.seconds_by_plain_loop == central.evaluations_per_gradient == 2 * 83 + 1
    assert autograd.seconds_by_plain_loop is None


def test_the_summary_is_what_the_runs_say(problem):
    comparison = run(problem)
    summary = comparison.summary()
    assert summary["reference"] == "autograd"
    assert [r["backend"] for r in summary["runs"]] == ["central", "autograd"]
    assert summary["runs"][0]["losses"] == comparison.runs[0].fit.history.losses
    assert summary["runs"][0]["iterations"] == 6


@pytest.mark.parametrize("when", [0, 3])
def test_ctrl_c_keeps_what_was_reached(problem, when):
    calls = {"central": 0}

    class Interrupted:
        name = "central"

        def value_and_grad(self, loss):
            evaluate = CentralDifference().value_and_grad(loss)

            def interrupted(params, *args):
                calls["central"] += 1
                if calls["central"] > when:
                    raise KeyboardInterrupt
                return evaluate(params, *args)

            return interrupted

    comparison = run(problem, backends=[Interrupted(), "autograd"])
    assert comparison.interrupted
    names = [r.backend for r in comparison.runs]
    assert names == (["central", "autograd"] if when else ["autograd"])
    reached = comparison.runs[0]
    assert len(reached.fit.history.losses) == (when or 6)
    # A gradient that was cut off is not counted.
    assert reached.evaluations_per_gradient == (2 * comparison.parameters + 1 if when else 1)
    assert len(reached.distances) == (1 if when else 2)
    assert reached.largest_distance < 1e-7
    comparison.summary()


@pytest.mark.parametrize("kept", [2**27, 5 * 384, 0])
def test_an_interrupted_run_is_compared_after_as_many_steps_as_it_took(problem, monkeypatch, kept):
    monkeypatch.setattr("gradlab.comparison.comparing.MAX_KEPT_BYTES", kept)
    done, common = 11, {2**27: 11, 5 * 384: 9, 0: 9}[kept]

    class Interrupted(CentralDifference):
        name = "central"

        def value_and_grad(self, loss):
            evaluate, calls = CentralDifference().value_and_grad(loss), []

            def interrupted(params, *args):
                calls.append(None)
                if len(calls) > done:
                    raise KeyboardInterrupt
                return evaluate(params, *args)

            return interrupted

    comparison = run(problem, backends=[Interrupted(), "autograd"], iterations=30)
    central, autograd = comparison.runs
    short = run(problem, iterations=common).runs
    assert comparison.steps == comparison.summary()["compared_after_steps"] == common
    assert [central.loss, autograd.loss] == [r.loss for r in short]
    assert [central.accuracy, autograd.accuracy] == [r.accuracy for r in short]
    assert central.distances == short[0].distances
    assert central.differences == short[0].differences
    assert len(autograd.fit.history.losses) == 30
    assert "all after" in comparison._repr_html_()


def test_ctrl_c_within_the_first_epoch_is_compared_as_well(problem):
    class Interrupted:
        name = "central"

        def value_and_grad(self, loss):
            evaluate = CentralDifference().value_and_grad(loss)
            calls = []

            def interrupted(params, *args):
                calls.append(None)
                if len(calls) > 2:
                    raise KeyboardInterrupt
                return evaluate(params, *args)

            return interrupted

    reached = run(problem, backends=[Interrupted(), "autograd"]).runs[0]
    assert len(reached.fit.history.losses) == reached.steps == 2
    assert len(reached.distances) == 1
    assert reached.largest_distance < 1e-7


@pytest.mark.filterwarnings("ignore::gradlab.errors.TrainingWarning")
def test_numbers_at_the_edge_of_floating_point_are_compared(problem):
    """Squares of a distance of 1e200 overflow; the distance does not."""
    central, _ = run(problem, learning_rate=1e200).runs
    assert all(map(np.isfinite, central.distances))


def distance(found, wanted):
    """Return the distance of two sets of parameters, relative to the second, by its definition."""
    a, b = (np.concatenate([leaf.ravel() for leaf in p.values()]) for p in (found, wanted))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("iterations", [6, 7])
def test_distances_are_those_at_the_ends_of_epochs_and_of_the_training(problem, iterations):
    """They are relative to the reference's parameters, which are scaled to show this."""
    start = {name: 10 * leaf for name, leaf in problem["params"].items()}
    doubled, autograd = run(
        {**problem, "params": start}, backends=[Doubled(), "autograd"], iterations=iterations
    ).runs
    assert len(doubled.distances) == len(doubled.fit.history.epochs)
    assert doubled.distances[-1] == pytest.approx(
        distance(doubled.fit.params, autograd.fit.params), rel=1e-12
    )
    assert autograd.distances == [0.0] * len(doubled.distances)


@pytest.mark.parametrize("backends", [[], ["central"], ["central", "central"]])
def test_fewer_than_two_different_backends_are_refused(problem, backends):
    with pytest.raises(OptionError, match="two different backends"):
        run(problem, backends=backends)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backends": "central"}, "backends='central': name two different backends"),
        ({"backends": None}, "backends=None: name two different backends"),
        ({"accuracy": 0.9}, r"accuracy=0\.9: give a function"),
    ],
)
def test_invalid_options_are_refused(problem, options, message):
    with pytest.raises(OptionError, match=message):
        run(problem, **options)


def test_an_accuracy_that_is_not_a_number_is_named(problem):
    with pytest.raises(LossError, match="the accuracy on the test data returned None"):
        run(problem, accuracy=lambda params, x, y: None)


def test_a_training_that_diverges_says_so(problem):
    unbounded = partial(network.loss, activation="identity", kind="cross_entropy")
    with pytest.raises(DivergenceError, match="iteration"):
        run({**problem, "loss": lambda p, x, y: unbounded(p, x, y) ** 9 * 1e300}, learning_rate=1e9)


def test_differences_relative_to_a_leaf_of_zeros_are_absolute():
    found = {"a": np.array([0.5, 0.0]), "b": np.zeros(0)}
    wanted = {"a": np.zeros(2), "b": np.zeros(0)}
    assert relative_differences(found, wanted) == {"a": 0.5, "b": 0.0}
