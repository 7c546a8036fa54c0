"""Which calls machine code answers without a key, and which need their key first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.gradients.tape.comparing import DataSnapshot, seen_params
from gradlab.gradients.tape.direct import DirectCalls
from gradlab.gradients.tape.recorded import UNLIMITED_CALLS, Replayable

A, B, X = np.array([3.0, 4.0]), np.array(12.0), np.ones(2)
NORM = 13.0**2


def tape_of(params: Any, **facts: Any) -> Any:
    """Return a tape whose machine code returns 7 and the squared norm of the parameters."""
    tape = {
        "structure": SimpleNamespace(template=params), "native": object(), "has_answered": True,
        "replays": 2, "params_seen": None, "data_seen": None, "is_due": False,
        "results": lambda: ["out"], "given": lambda outs: ("given", outs), "value": 7.0,
    } | facts  # fmt: skip
    made = SimpleNamespace(**tape)
    made.ran = []
    made.norm = NORM

    def run_natively(arrays: Any) -> tuple[float, float]:
        made.ran.append(arrays)
        return made.value, made.norm

    made.run_natively = run_natively
    return made


def answer(tape: Any, params: Any, verify: int | None = None, key: Any = None) -> Any:
    keys = iter(["before", key or "before", "before", "before", "before"])
    surroundings: Any = SimpleNamespace(key=lambda: next(keys))
    return DirectCalls(tape, surroundings, verify).answer(params, (X,))


BOTH = {"a": A, "b": B}


def test_a_call_is_answered_with_the_arrays_in_order() -> None:
    for params, leaves in ((BOTH, (A, B)), (A, (A,))):
        tape = tape_of(params)
        assert answer(tape, params) == (7.0, ("given", ["out"]))
        [arrays] = tape.ran
        assert all(one is other for one, other in zip(arrays, (*leaves, X, "out"), strict=True))
        assert tape.replays == 3


@pytest.mark.parametrize(
    ("params", "facts", "options"),
    [
        ({"b": B, "a": A}, {}, {}),
        ([A, B], {}, {}),
        ({"a": A}, {}, {}),
        (BOTH, {"native": None}, {}),
        (BOTH, {}, {"verify": 3}),
        (BOTH, {}, {"key": "after"}),
        (BOTH, {"value": np.nan}, {}),
        (BOTH, {"value": np.inf}, {}),
        (BOTH, {"params_seen": seen_params(1.0, [A, B])}, {}),
        (BOTH, {"data_seen": DataSnapshot([np.zeros(2)])}, {}),
    ],
)
def test_other_calls_need_their_key(params: Any, facts: Any, options: Any) -> None:
    """The cases are other names, a due comparison, new surroundings, infinite values, new data."""
    tape = tape_of(BOTH, **facts)
    assert answer(tape, params, **options) is None
    assert tape.replays == 2
    assert tape.is_due is ("data_seen" in facts)
    assert tape.data_seen is None
    for verify in (2, 4):
        assert answer(tape_of(BOTH), BOTH, verify=verify) is not None


def test_parameters_with_another_norm_are_new() -> None:
    """The sum of squares is computed once, and compared with the norm that machine code returns."""
    tape = tape_of(BOTH, params_seen=seen_params(NORM, [A, B]), data_seen=DataSnapshot([X]))
    surroundings: Any = SimpleNamespace(key=lambda: "before")
    direct = DirectCalls(tape, surroundings, None)
    for _ in range(2):
        assert direct.answer(BOTH, (X,)) is not None
    tape.norm = NORM + 1
    assert direct.answer(BOTH, (X,)) is None


@pytest.mark.parametrize(
    ("params", "args", "facts", "is_direct"),
    [
        (BOTH, (X,), {}, True),
        (A, (), {}, True),
        (A, (1.0,), {}, False),
        ([A], (), {}, False),
        ({"a": A, "b": 1.0}, (), {}, False),
        ({"a": A, 1: B}, (), {}, False),
        (BOTH, (X,), {"native": None}, False),
        (BOTH, (X,), {"has_answered": False}, False),
        (BOTH, (X,), {"replays": 1}, False),
    ],
)
def test_arrays_alone_are_for_direct_calls(
    params: Any, args: Any, facts: Any, is_direct: bool
) -> None:
    assert DirectCalls.is_for(tape_of(params, **facts), params, args) is is_direct


# Many calls at once


@pytest.mark.parametrize(
    ("facts", "every", "calls"),
    [
        ({}, None, UNLIMITED_CALLS),
        ({}, 10, 7),
        ({"replays": 9}, 10, 0),
        ({"replays": 10}, 10, 9),
        ({"replays": 1}, 10, 0),
        ({"has_answered": False}, 10, 0),
        ({"is_due": True}, 10, 0),
        ({"native": None}, 10, 0),
        ({"params_seen": [1.0]}, 10, 0),
        ({"data_seen": DataSnapshot([X])}, 10, 0),
    ],
)
def test_calls_are_answered_at_once_up_to_the_next_comparison(
    facts: Any, every: int | None, calls: int
) -> None:
    """Every tenth call is compared. No call is answered after new data or before a first one."""
    assert Replayable.calls_ahead(tape_of(BOTH, **facts), every) == calls


def test_a_gradient_gets_the_arrays_that_another_thread_leaves() -> None:
    """There are none here, as the thread takes them between the count and the access."""

    class Taken(list[Any]):
        def pop(self, *position: Any) -> Any:
            raise IndexError

    recorded = SimpleNamespace(inputs=[A, B, X])
    structure = SimpleNamespace(paths=["a", "b"])
    tape: Any = SimpleNamespace(_kept=Taken([[A]]), recorded=recorded, structure=structure)
    assert [array.shape for array in Replayable.results(tape)] == [(2,), ()]
