"""The minibatches of a training, the memory of its parameters, and its result in a line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradlab
from gradlab.errors import OptionError
from gradlab.history import History
from gradlab.training.results import Fit
from gradlab.training.schedule import Batches, Schedule
from gradlab.training.vectors import Vector, order_of


def of(samples: int, batch: Any = None, epochs: Any = None, iterations: Any = None) -> Schedule:
    return Schedule.of(samples, batch, epochs, iterations)


def test_by_default_ten_epochs_of_minibatches_of_a_hundred() -> None:
    assert of(250).sizes == [[100, 100, 50]] * 10
    assert of(99).sizes == [[99]] * 10
    assert Schedule.of(250, None, 2, None, whole=True).sizes == [[250], [250]]


def test_epochs_visit_every_sample_once_and_iterations_draw_some() -> None:
    by_epochs = of(7, 3, epochs=2)
    assert (by_epochs.steps, by_epochs.epochs, by_epochs.batch_size) == (6, 2, 3)
    batches = list(by_epochs.minibatches(np.random.default_rng(0)))
    for epoch in (batches[:3], batches[3:]):
        assert sorted(int(i) for batch in epoch for i in batch.rows) == list(range(7))
        assert [batch.epoch_sizes for batch in epoch] == [None, None, [3, 3, 1]]
    drawn = list(of(7, 3, iterations=4).minibatches(np.random.default_rng(0)))
    assert [len(batch.rows) for batch in drawn] == [3, 3, 3, 3]
    assert [batch.epoch_sizes for batch in drawn] == [None, None, [3, 3, 3], [3]]
    assert any(len(set(map(int, batch.rows))) < 3 for batch in drawn)


@pytest.mark.parametrize("steps", range(7))
def test_a_training_continues_after_any_step(steps: int) -> None:
    """The generator has the state that it had at the start of the last epoch."""
    schedule = of(7, 3, epochs=2)
    every = list(schedule.minibatches(np.random.default_rng(0)))
    rng = np.random.default_rng(1)
    rng.bit_generator.state = every[max(steps - 1, 0)].epoch_start
    left = list(schedule.minibatches(rng, steps))
    assert [batch.rows.tolist() for batch in left] == [b.rows.tolist() for b in every[steps:]]
    epoch, within = schedule.place(steps)
    assert 3 * epoch + within == steps
    assert within <= 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 8}, "there are only 7 samples"), ({"batch": 0}, "batch_size"),
        ({"epochs": 0}, "from 1 to 10,000,000"), ({"iterations": 10**7 + 1}, "from 1 to"),
        ({"epochs": 1, "iterations": 1}, "exclude each other"),
    ],
)  # fmt: skip
def test_invalid_schedules_are_refused(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        of(7, **options)
    assert of(7, 7, epochs=1).sizes == [[7]]


def test_optimisers_that_take_all_samples_in_each_step() -> None:
    with pytest.raises(OptionError, match="batch_size"):
        Schedule.of(7, 3, 2, None, whole=True)
    with pytest.raises(OptionError, match="iterations"):
        Schedule.of(7, None, None, 2, whole=True)


@pytest.mark.parametrize("reuse", [True, False])
def test_batches_are_rows_of_the_data(reuse: bool) -> None:
    data = [np.arange(12.0).reshape(6, 2), np.arange(6)]
    batches = Batches(data, 3, reuse=reuse)
    first = batches.take(np.array([5, 0, 5]))
    assert first[0].tolist() == [[10, 11], [0, 1], [10, 11]]
    assert first[1].tolist() == [5, 0, 5]
    second = batches.take(np.array([1]))
    assert second[1].tolist() == [1]
    assert np.shares_memory(first[0], second[0]) is reuse


LEAVES = [
    np.ones((3, 2)), np.float32([1.0, 2.0]), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.full((), 7.0),
]  # fmt: skip


def test_leaves_lie_side_by_side_at_multiples_of_64_bytes() -> None:
    vector = Vector.of(LEAVES)
    for mine, leaf in zip(vector.leaves, LEAVES, strict=True):
        np.testing.assert_array_equal(mine, leaf)
        assert mine.dtype == leaf.dtype
        assert order_of(mine) == order_of(leaf)
        block = next(b for b in vector.blocks if b.dtype == mine.dtype)
        assert (mine.ctypes.data - block.ctypes.data) % 64 == 0
    assert [(b.dtype, b.size) for b in vector.blocks] == [(np.float64, 24), (np.float32, 16)]
    empty = vector.another()
    assert not any(leaf.any() for leaf in empty.leaves)
    assert [leaf.shape for leaf in empty.leaves] == [leaf.shape for leaf in LEAVES]


def test_orders_of_memory() -> None:
    assert order_of(np.ones((2, 3))) == order_of(np.ones(3)) == order_of(np.ones((1, 3))) == "C"
    assert order_of(np.ones((2, 3), order="F")) == "F"


@pytest.mark.parametrize(
    ("value", "finite"), [(1.0, True), (1e300, True), (np.nan, False), (-np.inf, False)]
)
def test_a_vector_is_finite_even_where_its_norm_overflows(value: float, finite: bool) -> None:
    vector = Vector.of(LEAVES)
    vector.leaves[2][1, 2] = value
    assert vector.is_finite() is finite


def test_a_result_in_a_line_says_whether_it_was_interrupted() -> None:
    history = History()
    history.losses.append(0.5)
    line = history.headline()
    assert Fit(1.0, history).headline() == line
    assert Fit(1.0, history, interrupted=True).headline() == f"interrupted, {line}"
    assert line in Fit(1.0, history)._repr_html_()


def test_plain_descent_takes_a_hundred_steps_of_a_tenth_of_the_gradient() -> None:
    path = gradlab.descend(lambda x: x**2, 1.0)
    assert len(path) == 101
    np.testing.assert_allclose(np.array(path, float), 0.8 ** np.arange(101.0))
    with pytest.raises(OptionError, match="iterations"):
        gradlab.descend(lambda x: x**2, 1.0, iterations=0)
