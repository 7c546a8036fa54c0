"""Parts of comparisons: how much is kept, after which steps runs are compared, defaults."""

from types import SimpleNamespace

import numpy as np
import pytest

from gradlab import compare
from gradlab.comparison import comparing
from gradlab.comparison.comparing import _common_steps
from gradlab.comparison.results import Run
from gradlab.comparison.trials import Trials


def test_runs_are_compared_after_the_last_steps_that_all_have():
    def run(*points):
        return SimpleNamespace(watch=SimpleNamespace(points=dict.fromkeys(points), done=points[-1]))

    assert _common_steps({}) == 0
    assert _common_steps({"a": run(2, 4, 6), "b": run(2, 4, 5)}) == 4
    short = {"a": run(2, 4), "b": run(1)}
    assert _common_steps(short) == 4
    assert list(short) == ["a"]


@pytest.mark.parametrize(("kept", "rooms"), [(2 * 2 * 24, [2, 2]), (2 * 24 - 1, [0, 0])])
def test_the_memory_of_all_runs_is_shared(monkeypatch, kept, rooms):
    """Each point has three numbers of 8 bytes."""
    seen = []

    class Follower(comparing.Follower):
        def __init__(self, reference, room):
            seen.append(room)
            super().__init__(reference, room)

    monkeypatch.setattr(comparing, "MAX_KEPT_BYTES", kept)
    monkeypatch.setattr(comparing, "Follower", Follower)
    data = (np.ones((4, 3)),)
    compare(
        lambda w, x: np.mean((x @ w - 1) ** 2), np.zeros(3), data, test=data,
        backends=["autograd", "central"], iterations=2,
    )  # fmt: skip
    assert seen == rooms


def test_trials_are_complete_unless_ctrl_c_came():
    found = Trials((), "rate", ("low", "high"))
    assert not found.interrupted
    assert found.judged_on == "test"
    assert found.headline() == "Nothing was trained."
    assert "interrupted" not in found._repr_html_()
    assert "interrupted" in Trials((), "rate", ("low",), interrupted=True)._repr_html_()


def test_values_that_were_not_trained_have_no_row():
    assert Trials((), "rate", ("low", "high")).table()[1] == []


def test_the_largest_difference_is_taken_over_all_leaves_and_steps():
    def differing(differences):
        return Run("central", None, 0.0, None, 0.0, 0.0, differences=differences)

    assert differing({"W": [1e-9, 3e-9], "b": [2e-9], "unused": []}).largest_difference == 3e-9
    assert differing({}).largest_difference == 0.0
