"""Threads on other processors."""

from __future__ import annotations

import os
import threading

import pytest

from gradlab import affinity


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs the affinity of a thread")
def test_a_thread_is_kept_on_processors_that_this_one_does_not_run_on() -> None:
    here = os.sched_getaffinity(0)
    one = min(here)
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        affinity.keep_on([None, thread.native_id], {one})
        assert os.sched_getaffinity(thread.native_id) == {one}
        os.sched_setaffinity(0, {one})
        assert affinity.elsewhere() == frozenset()
        os.sched_setaffinity(0, here)
        elsewhere = affinity.elsewhere()
        assert elsewhere is not None
        assert elsewhere < here
        assert len(elsewhere) == len(here) - 1
    finally:
        os.sched_setaffinity(0, here)
        over.set()
        thread.join()
    affinity.keep_on([thread.native_id], here)  # it has ended


def test_a_system_may_not_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    affinity._current.cache_clear()
    try:
        assert affinity.elsewhere() is None
    finally:
        affinity._current.cache_clear()
