"""The number of steps in one call: within an epoch, of one size, within a fiftieth of a second."""

from types import SimpleNamespace

import numpy as np
import pytest

from gradlab.training import strides as module
from gradlab.training.schedule import Minibatch
from gradlab.training.strides import MAX_CALL_SECONDS, strides


class Loop:
    """A loop that takes the requested steps, and records the first row of each minibatch."""

    def __init__(self, at_once=3, taken=()):
        self.at_once, self.taken = at_once, list(taken)
        self.calls = []

    def steps_at_once(self):
        return self.at_once

    def take_steps(self, rows):
        count = min(self.taken.pop(0) if self.taken else len(rows), len(rows))
        self.calls.append([int(one[0]) for one in rows[:count]])
        return 1.0, "gradient", ["seen"], count

    def step(self, batch):
        self.calls.append(int(batch[0][0]))
        return 2.0, SimpleNamespace(leaves=["leaf"])


def epochs(*sizes):
    """Return the minibatches of epochs with these sizes; each begins with its own number."""
    found, number = [], 0
    for own in sizes:
        for k, size in enumerate(own):
            rows = np.full(size, number)
            found.append(Minibatch(rows, list(own) if k == len(own) - 1 else None, {}))
            number += 1
    return found


def taken(monkeypatch, minibatches, loop, seconds=1e-6, largest=4):
    """Return the steps of each call; each takes the same time."""
    now = iter(np.arange(10_000) * seconds)
    monkeypatch.setattr(module.time, "perf_counter", lambda: float(next(now)))
    batches = SimpleNamespace(largest=largest, take=lambda rows: (rows,))
    found = list(strides(loop, batches, minibatches))
    assert sum(stride.steps for stride in found) == len(minibatches)
    last = 0
    for stride, call in zip(found, [c for c in loop.calls if c != []], strict=True):
        assert stride.steps == (len(call) if isinstance(call, list) else 1)
        last += stride.steps
        assert stride.minibatch is minibatches[last - 1]
        if isinstance(call, list):
            assert (stride.value, stride.batch, stride.seen) == (1.0, (), ["seen"])
        else:
            assert (stride.value, stride.seen) == (2.0, ["leaf"])
            assert stride.batch[0] is stride.minibatch.rows
    return loop.calls


def test_the_first_step_is_single_and_its_time_is_measured(monkeypatch):
    assert taken(monkeypatch, epochs([4] * 8), Loop()) == [0, [1, 2, 3], [4, 5, 6], 7]
    assert taken(monkeypatch, epochs([4] * 4), Loop(at_once=0)) == [0, 1, 2, 3]
    assert taken(monkeypatch, epochs([4] * 4), Loop(at_once=1)) == [0, 1, 2, 3]


def test_a_run_ends_with_its_epoch_and_with_minibatches_of_another_size(monkeypatch):
    calls = taken(monkeypatch, epochs([4, 4, 4, 2], [4, 4, 4, 2], [4, 4]), Loop(at_once=9))
    assert calls == [0, [1, 2], 3, [4, 5, 6], 7, [8, 9]]
    assert taken(monkeypatch, epochs([2, 2, 2]), Loop()) == [0, 1, 2]  # not the largest


@pytest.mark.parametrize(("share", "most"), [(0.9, 1), (0.45, 2), (0.3, 3), (0.19, 5)])
def test_a_call_takes_a_fiftieth_of_a_second_at_most(monkeypatch, share, most):
    """The fastest step counts: several steps in one call take as long as one here."""
    calls = taken(monkeypatch, epochs([4] * 7), Loop(at_once=99), seconds=share * MAX_CALL_SECONDS)
    assert calls[0] == 0
    assert (len(calls[1]) if isinstance(calls[1], list) else 1) == most
    assert MAX_CALL_SECONDS == 0.02


def test_steps_that_were_not_taken_come_next(monkeypatch):
    calls = taken(monkeypatch, epochs([4] * 8), Loop(at_once=4, taken=[2, 1, 4]))
    assert calls == [0, [1, 2], [3], [4, 5, 6, 7]]
    calls = taken(monkeypatch, epochs([4] * 5), Loop(at_once=3, taken=[0, 3]))
    assert calls == [0, [], 1, [2, 3, 4]]


@pytest.mark.parametrize("seed", range(5))
def test_every_minibatch_is_taken_once_in_order(monkeypatch, seed):
    rng = np.random.default_rng(seed)
    sizes = [[4] * int(rng.integers(1, 9)) + [2] * int(rng.integers(2)) for _ in range(5)]
    loop = Loop(at_once=4, taken=rng.integers(0, 5, 40))
    calls = taken(monkeypatch, epochs(*sizes), loop)
    flat = [k for call in calls for k in (call if isinstance(call, list) else [call])]
    assert flat == list(range(sum(map(len, sizes))))
