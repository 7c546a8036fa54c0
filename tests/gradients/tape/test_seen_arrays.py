"""Which arrays the tape takes for the same data, and when it looks at all of them."""

from __future__ import annotations

import numpy as np

from gradlab.gradients.tape.comparing import SAMPLE, WHOLE, Seen, seen_params

LONG = WHOLE // 8 * 4
"""Entries of an array that is too large to be compared in full at each call."""


def test_the_same_arrays_count_as_the_same_data_without_a_comparison() -> None:
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


def test_a_large_array_is_compared_by_a_sample_and_sometimes_in_full() -> None:
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


def test_a_deleted_array_is_compared_by_its_former_content() -> None:
    seen = Seen([np.arange(4.0)])
    assert seen.is_of([np.arange(4.0)])
    assert not seen.is_of([np.arange(1.0, 5.0)])


def test_parameters_are_identified_by_their_norm_and_an_entry_of_each_leaf() -> None:
    leaves = [np.array([3.0, 4.0]), np.empty(0), np.array(7.0)]
    assert seen_params(5.0, leaves) == [5.0, 3.0, 7.0]
