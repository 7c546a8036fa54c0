"""The numbers of a comparison: distances, differences, the points that are kept, and the table."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.comparison.following import (
    Follower,
    distance,
    relative_differences,
)
from gradlab.comparison.metering import Meter
from gradlab.comparison.results import Comparison, Run
from gradlab.history import coincide, times


def run(backend: str = "central", **options: Any) -> Run:
    fit: Any = SimpleNamespace(history=SimpleNamespace(losses=[1.0, 0.5]))
    return Run(backend, fit, 0.25, 0.9375, 0.001, 3.0, **options)


def rows(*runs: Run) -> dict[str, list[str]]:
    sections = Comparison(runs, "autograd", 12).sections()
    assert [len(section) for section in sections] == [2, len(sections[1]), 3]
    return {name: cells for section in sections for name, *cells in section}


def test_the_table_says_what_each_run_reached_and_cost() -> None:
    differences = {"w": [1e-9, 2e-9], "b": []}
    found = rows(
        run("autograd"),
        run(differences=differences, distances=[1e-12, 3e-11], together=False),
        run("spsa", estimate=True),
    )
    assert found == {
        "test loss": ["0.2500"] * 3,
        "test accuracy": ["93.75%"] * 3,
        "seconds per gradient": ["0.001"] * 3,
        "times faster": ["1.0"] * 3,
        "evaluations per gradient": ["3"] * 3,
        "largest gradient difference": ["reference", "2.0e-09", "0.0e+00"],
        "largest parameter distance": ["reference", "3.0e-11", "–"],
        "trainings stayed together": ["reference", "no", "estimate"],
    }


def test_an_equivalent_number_of_evaluations_says_so() -> None:
    found = rows(run("autograd"), run(equivalent=True, seconds_by_plain_loop=1.25))
    assert found["evaluations per gradient"] == ["3", "equiv. 3"]
    assert found["seconds by the plain loop"] == ["–", "~1.25"]


@pytest.mark.parametrize(
    ("factor", "shown"), [(1.0, "1.0"), (9.94, "9.9"), (10.0, "10"), (1234.5, "1,234")]
)
def test_a_factor_has_two_digits_or_more(factor: float, shown: str) -> None:
    assert times(factor) == shown


def test_fewer_evaluations_than_one_are_written_as_a_fraction() -> None:
    replayed = Run("tape", run().fit, 0.25, 0.9, 0.001, 0.125)
    whole = Run("tape", run().fit, 0.25, 0.9, 0.001, 1.0)
    assert rows(replayed, whole)["evaluations per gradient"] == ["0.12", "1"]


def test_a_comparison_without_runs_has_no_steps() -> None:
    assert Comparison((), "autograd", 12).steps == 0
    assert Comparison((run(steps=7),), "autograd", 12).steps == 7
    assert (
        "interrupted: all after 7 steps"
        in Comparison((run(steps=7),), "autograd", 12, interrupted=True)._repr_html_()
    )


def test_a_run_is_exact_and_plain_by_default() -> None:
    plain = run()
    assert (plain.equivalent, plain.estimate, plain.together, plain.steps) == (
        False, False, True, 0
    )  # fmt: skip
    assert plain.largest_difference == 0.0
    assert plain.largest_distance is None


def test_distances_are_relative_to_the_reference() -> None:
    a, b = {"w": np.array([3.0, 0.0]), "b": 1.0}, {"w": np.array([3.0, 4.0]), "b": 1.0}
    assert distance(a, b) == pytest.approx(4.0 / np.sqrt(26.0))
    assert distance(b, a) == pytest.approx(4.0 / np.sqrt(10.0))
    assert distance(b, b) == 0.0
    assert distance({"w": 2.0}, {"w": 0.0}) == 1.0  # in units of the larger one
    assert distance({"w": np.array([1e300, 0.0])}, {"w": np.array([0.0, 1e300])}) == pytest.approx(
        np.sqrt(2)
    )
    assert distance({"w": np.array([5e-324])}, {"w": np.array([1e-323])}) == pytest.approx(0.5)


def test_differences_are_relative_to_a_leafs_largest_entry() -> None:
    found = relative_differences(
        {"w": np.array([1.0, 4.0]), "b": 0.5}, {"w": np.array([2.0, -8.0]), "b": 0.0}
    )
    assert found == {"w": 12.0 / 8.0, "b": 0.5}


@pytest.mark.parametrize(("share", "together"), [(0.9, True), (1.1, False)])
def test_curves_are_together_within_a_thousandth_of_their_range(
    share: float, together: bool
) -> None:
    reference = [5.0, 3.0, 1.0]
    assert coincide([5.0, 3.0 + 4 * 1e-3 * share, 1.0], reference) is together
    assert coincide([7.0, 7.0 - 7 * 1e-3 * share], [7.0, 7.0]) is together


def steps(follower: Follower, count: int, ends: tuple[int, ...] = ()) -> None:
    for iteration in range(count):
        epoch = object() if iteration + 1 in ends else None
        follower(SimpleNamespace(iteration=iteration, updated=iteration + 1, epoch=epoch))  # type: ignore[arg-type]


def test_a_follower_keeps_the_last_point_the_ends_of_epochs_and_some_between() -> None:
    all_of_them = Follower(None, room=100)
    steps(all_of_them, 7, ends=(3, 6))
    assert sorted(all_of_them.points) == [1, 2, 3, 4, 5, 6, 7]
    assert all_of_them.ends == {3, 6}
    assert all_of_them.done == 7
    few = Follower(None, room=3)
    steps(few, 4)
    assert sorted(few.points) == [2, 4]  # one too many: every other one stays
    steps(few := Follower(None, room=3), 7)
    assert sorted(few.points) == [4, 7]  # one too many again
    steps(few := Follower(None, room=3), 13, ends=(5, 10))
    assert {5, 10, 13} <= set(few.points)
    assert all(point % 4 == 0 or point in (5, 10, 13) for point in few.points)
    assert all(few.points[point] == point for point in few.points)


def test_a_follower_compares_gradients_at_the_same_parameters() -> None:
    seen = []

    def reference(params: Any, *batch: Any) -> tuple[float, Any]:
        seen.append((params, batch))
        return 0.0, {"w": np.array([2.0])}

    follower = Follower(reference, room=1)
    for iteration in range(2):
        step: Any = SimpleNamespace(
            iteration=iteration, updated=0, epoch=None, params=iteration, batch=(10, 20),
            grads={"w": np.array([2.0 + iteration])},
        )  # fmt: skip
        follower(step)
    assert seen == [(0, (10, 20)), (1, (10, 20))]
    assert follower.differences == {"w": [0.0, 0.5]}


class Backend:
    """A backend that evaluates the loss a given number of times."""

    name = "counting"

    def __init__(self, calls: int, worth: int = 0) -> None:
        self.calls = calls
        if worth:
            self.equivalent_evaluations = lambda size: worth * size

    def value_and_grad(self, loss: Any) -> Any:
        def f(params: Any, *args: Any) -> tuple[float, Any]:
            values = [loss(params, *args) for _ in range(self.calls)]
            return values[0], params

        return f


@pytest.mark.parametrize(
    ("calls", "worth", "evaluations", "equivalent"),
    [(3, 0, 3, False), (3, 10, 20, True), (30, 10, 30, False), (20, 10, 20, False)],
)
def test_a_meter_counts_evaluations_or_their_equivalent(
    calls: int, worth: int, evaluations: int, equivalent: bool
) -> None:
    meter = Meter(Backend(calls, worth))  # type: ignore[arg-type]
    f = meter.value_and_grad(lambda w, x: float(w.sum() * x))
    for _ in range(2):
        assert f(np.ones(2), 3.0)[0] == 6.0
    assert meter.evaluations == [evaluations] * 2
    assert len(meter.seconds) == 2
    assert meter.equivalent is equivalent
    assert (meter.seconds_by_plain_loop is not None) is equivalent
    assert not meter.estimate


def test_a_plain_loop_is_timed_by_the_fastest_first_evaluation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr("gradlab.comparison.metering.time", clock)
    durations = iter([5.0, 1.0, 2.0, 1.0])  # of two gradients, of two evaluations each

    def loss(w: Any) -> float:
        now[0] += next(durations)
        return 1.0

    meter = Meter(Backend(2, worth=10))  # type: ignore[arg-type]
    f = meter.value_and_grad(loss)
    for _ in range(2):
        f(np.ones(3))
    assert meter.seconds == [6.0, 3.0]
    assert meter.seconds_by_plain_loop == 2.0 * 30
