"""Which arrays the tape takes for the same data, and when it looks at all of them."""

from __future__ import annotations

import numpy as np

from gradlab.gradients.tape.comparing import SAMPLE, WHOLE, Seen, seen_params

LONG = WHOLE // 8 * 4
"""Entries of an array that is too large to be compared in full at each call."""


def test_the_same_arrays_are_the_same_data_and_are_not_looked_at() -> None:
    a, b = np.zeros(LONG), np.zeros(3)
    seen = Seen([a, b])
    a[:] = 1.0
    assert seen.is_of([a, b])
    assert not seen.is_of([b, a])
    assert not seen.is_of([a])
    assert not seen.is_of([a.copy(), b])


def test_copies_are_the_same_data() -> None:
    a, b = np.arange(float(LONG)), np.zeros(3)
    seen = Seen([a, b])
    assert all(seen.is_of([a.copy(), b.copy()]) for _ in range(5))


def test_a_small_array_is_compared_in_full_at_each_call() -> None:
    a = np.zeros(WHOLE // 8)
    seen, other = Seen([a]), a.copy()
    other[1] = 1.0
    assert not any(seen.is_of([other]) for _ in range(5))


def test_of_a_large_array_a_sample_is_compared_at_each_call_and_sometimes_all() -> None:
    """All of it at calls 1, 2, 4, 8; some 64 entries at the others."""
    a = np.zeros(LONG)
    seen, other = Seen([a]), a.copy()
    other[1] = 1.0
    assert [seen.is_of([other]) for _ in range(9)] == [
        False, False, True, False, True, True, True, False, True
    ]  # fmt: skip
    sampled = a.copy()
    sampled[LONG // SAMPLE] = 1.0
    assert not any(seen.is_of([sampled]) for _ in range(9))


def test_an_array_that_is_gone_is_compared_by_what_was_in_it() -> None:
    seen = Seen([np.arange(4.0)])
    assert seen.is_of([np.arange(4.0)])
    assert not seen.is_of([np.arange(1.0, 5.0)])


def test_parameters_are_told_by_their_norm_and_an_entry_of_each_leaf() -> None:
    leaves = [np.array([3.0, 4.0]), np.empty(0), np.array(7.0)]
    assert seen_params(5.0, leaves) == [5.0, 3.0, 7.0]
