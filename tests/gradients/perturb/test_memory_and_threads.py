"""Memory that the perturbation engine uses again, and the order of what its threads compute."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import count, islice

import numpy as np
import pytest

from gradlab.gradients.perturb import scratch
from gradlab.gradients.perturb import threads as module
from gradlab.gradients.perturb.engine import PerturbedLoss
from gradlab.gradients.perturb.limits import Limits
from gradlab.gradients.perturb.scratch import MIN_ENTRIES, into, release, take
from gradlab.gradients.perturb.threads import in_order
from gradlab.program.record import record


@pytest.fixture(autouse=True)
def no_memory_is_left() -> Iterator[None]:
    release()
    yield
    release()


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


def test_memory_of_released_arrays_is_reused() -> None:
    first = take((MIN_ENTRIES,))
    where = address(first)
    other = take((MIN_ENTRIES,))
    assert address(other) != where
    del first
    again = take((2, MIN_ENTRIES // 2))
    assert address(again) == where
    assert again.shape == (2, MIN_ENTRIES // 2)
    assert again.dtype == np.float64


def test_memory_with_a_view_is_not_reused() -> None:
    view = take((MIN_ENTRIES,))[1:]
    assert not np.shares_memory(view, take((MIN_ENTRIES,)))


def test_larger_memory_serves_a_smaller_array_and_not_the_other_way_round() -> None:
    large = take((2 * MIN_ENTRIES,))
    where = address(large)
    del large
    small = take((MIN_ENTRIES,))
    assert address(small) == where
    assert small.size == MIN_ENTRIES
    del small
    release()
    small = take((MIN_ENTRIES,))
    where = address(small)
    del small
    assert address(take((MIN_ENTRIES + 1,))) != where


def test_small_arrays_have_memory_of_their_own() -> None:
    assert take((MIN_ENTRIES - 1,)).base is None
    assert take((MIN_ENTRIES,)).base is not None


def test_a_thread_has_memory_of_its_own() -> None:
    first = take((MIN_ENTRIES,))
    where = address(first)
    del first
    found: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: found.append(take((MIN_ENTRIES,))))
    thread.start()
    thread.join()
    assert address(found[0]) != where


@pytest.mark.parametrize("size", [3, MIN_ENTRIES])
def test_a_ufunc_writes_into_reused_memory(size: int) -> None:
    x = np.arange(float(size))
    np.testing.assert_array_equal(into(np.multiply, x, 2.0), 2 * x)
    assert (into(np.multiply, x, 2.0).base is None) == (size < MIN_ENTRIES)
    assert into(np.add, x[:, None], np.ones((1, 2))).shape == (size, 2)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_results_come_in_order_with_a_few_items_taken_ahead(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in count():
            taken.append(item)
            yield item

    results = in_order(lambda item: item**2, items(), threads)
    assert list(islice(results, 3)) == [0, 1, 4]
    # Two for each thread wait, and one more is at work.
    assert len(taken) == (3 if threads == 1 else 3 + 2 * threads)
    results.close()  # type: ignore[attr-defined]


def test_one_thread_is_the_callers_own() -> None:
    own = threading.current_thread()
    assert list(in_order(lambda _: threading.current_thread(), range(2), 1)) == [own, own]
    assert own not in in_order(lambda _: threading.current_thread(), range(4), 2)


@pytest.mark.parametrize("threads", [1, 2])
def test_floating_point_errors_are_ignored_in_each_thread(threads: int) -> None:
    with np.errstate(all="raise"):
        found = list(in_order(lambda x: np.float64(x) / 0.0, [1.0, 2.0], threads))
    assert found == [np.inf, np.inf]


def test_items_that_wait_are_dropped_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five items that are begun on two threads, two are at work when the first has failed."""
    go, begun = threading.Event(), list[int]()

    class Pool(module.ThreadPoolExecutor):
        def shutdown(self, *args: object, **options: object) -> None:
            go.set()  # the others may end once nothing else can begin
            super().shutdown()

    def work(item: int) -> None:
        if item == 0:
            raise ValueError("no value")
        begun.append(item)
        go.wait()

    monkeypatch.setattr(module, "ThreadPoolExecutor", Pool)
    with pytest.raises(ValueError, match="no value"):
        list(in_order(work, range(5), 2))
    assert set(begun) <= {1, 2}


def test_memory_is_released_after_the_changes_of_a_leaf() -> None:
    x = np.linspace(0, 1, 3 * MIN_ENTRIES).reshape(-1, 3)
    w = np.ones((3, 2))
    program = record(lambda w, x: np.sum(np.tanh(x @ w)), w, (x,))
    assert PerturbedLoss(program, [w, x], threads=1).changes(0, [0.1 * w, -0.1 * w]) is not None
    assert not getattr(scratch._local, "buffers", [])


def test_steps_are_rounded_with_the_point_unless_it_enters_linearly() -> None:
    """Then x + h is never formed."""
    x, h = np.array([0.7, 1e3]), np.full(2, 1e-5 / 3)
    for loss, is_linear in (
        (lambda w: np.sum(np.ones(2) @ w), True),
        (lambda w: np.sum(w * w), False),
    ):
        found = PerturbedLoss(record(loss, x), [x], limits=Limits(even_if_slower=True)).changes(
            0, [h]
        )
        assert found is not None
        np.testing.assert_array_equal(found[1][0], h if is_linear else (x + h) - x)
