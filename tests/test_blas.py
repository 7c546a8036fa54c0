"""The number of BLAS threads, and its restoration."""

import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from gradlab import blas, fit, network


def count():
    return max((p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"), default=1)


@pytest.fixture(autouse=True)
def nobody_chose(monkeypatch):
    for name in blas.BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def several(nobody_chose):
    with threadpool_limits(limits=2, user_api="blas"):
        if count() != 2:
            pytest.skip("BLAS has one thread")
        yield


def test_small_work_has_one_thread_and_large_work_all(several):
    with blas.for_work(10**4, 10**4):
        assert (count(), blas.available()) == (1, 2)
    assert (count(), blas.available()) == (2, 2)
    with blas.for_work(10**4, 10**4 + 1):
        assert count() == 2


def test_settings_of_the_environment_take_precedence(several, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with blas.for_work(1, 1):
        assert count() == 2


def test_the_last_training_restores_the_threads(several):
    """Of two trainings in two threads, the first ends first."""
    inside, leave = threading.Event(), threading.Event()

    def first():
        with blas.one_thread():
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(60)
    with blas.one_thread(), blas.one_thread():
        leave.set()
        thread.join()
        assert (count(), blas.available()) == (1, 2)
    assert count() == 2


def test_a_training_restores_the_threads_after_an_error(several):
    seen = []

    def watch(step):
        seen.append(count())
        raise ZeroDivisionError

    start = network.init([3, 2, 2], seed=0)
    with pytest.raises(ZeroDivisionError):
        fit(network.loss, start, ([[1.0, 2.0, 3.0]], [1]), callbacks=[watch], epochs=1)
    assert seen == [1]
    assert count() == 2
