"""Which arrays the tape takes for the same data, and when it compares all entries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.gradients.tape.comparing import (
    MAX_FULLY_COMPARED_BYTES,
    SAMPLED_ENTRIES,
    DataSnapshot,
    agree,
    are_finite,
    seen_params,
    squared_norm,
)

LONG = MAX_FULLY_COMPARED_BYTES // 8 * 4
"""Entries of an array that is too large to be compared in full at each call."""


def test_the_same_arrays_count_as_the_same_data_without_a_comparison() -> None:
    a, b = np.zeros(LONG), np.zeros(3)
    seen = DataSnapshot([a, b])
    a[:] = 1.0
    assert seen.is_of([a, b])
    assert not seen.is_of([b, a])
    assert not seen.is_of([a])
    assert not seen.is_of([a.copy(), b])


def test_copies_are_the_same_data() -> None:
    a, b = np.arange(float(LONG)), np.zeros(3)
    seen = DataSnapshot([a, b])
    assert all(seen.is_of([a.copy(), b.copy()]) for _ in range(5))


def test_a_small_array_is_compared_in_full_at_each_call() -> None:
    a = np.zeros(MAX_FULLY_COMPARED_BYTES // 8)
    seen, other = DataSnapshot([a]), a.copy()
    other[1] = 1.0
    assert not any(seen.is_of([other]) for _ in range(5))


def test_a_large_array_is_compared_by_a_sample_and_sometimes_in_full() -> None:
    """All entries are compared at calls 1, 2, 4, 8, some 64 entries at the others."""
    a = np.zeros(LONG)
    seen, other = DataSnapshot([a]), a.copy()
    other[1] = 1.0
    assert [seen.is_of([other]) for _ in range(9)] == [
        False, False, True, False, True, True, True, False, True
    ]  # fmt: skip
    sampled = a.copy()
    sampled[LONG // SAMPLED_ENTRIES] = 1.0
    assert not any(seen.is_of([sampled]) for _ in range(9))


def test_a_deleted_array_is_compared_by_its_former_content() -> None:
    seen = DataSnapshot([np.arange(4.0)])
    assert seen.is_of([np.arange(4.0)])
    assert not seen.is_of([np.arange(1.0, 5.0)])


def test_parameters_are_identified_by_their_norm_and_an_entry_of_each_leaf() -> None:
    leaves = [np.array([3.0, 4.0]), np.empty(0), np.array(7.0)]
    assert seen_params(5.0, leaves) == [5.0, 3.0, 7.0]


def test_entries_are_finite_even_if_their_squares_overflow() -> None:
    large, bad = [np.ones(2), np.array([1e200])], [np.ones(2), np.array([1.0, np.nan])]
    with np.errstate(over="ignore"):
        assert squared_norm(large) == np.inf
    assert are_finite(large, np.inf)
    assert not are_finite(bad, np.nan)
    assert not are_finite(bad[::-1], np.nan)
    assert are_finite([np.ones(2)], 2.0)


ROOT = {np.float64: 2.0**-26, np.float32: 2.0**-11.5}
"""The square root of machine epsilon: half of the digits."""


@pytest.mark.parametrize(("share", "is_close"), [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("dtype", ROOT)
def test_gradients_agree_to_half_of_their_digits(dtype: Any, share: float, is_close: bool) -> None:
    """The error is relative to a leaf's largest entry; a value has the coarsest leaf's dtype."""
    off = share * ROOT[dtype]
    wanted = [np.array([8.0, 0.0], dtype), np.array([1e-9], np.float64)]
    one, other = wanted[0] + np.array([0, 8 * off], dtype), wanted[1] * (1 + share * 2.0**-26)
    assert agree(1.0, [one, wanted[1]], 1.0, wanted) is is_close
    assert agree(1.0, [wanted[0], other], 1.0, wanted) is is_close
    assert agree(1.0, wanted, 1.0 + off, wanted) is is_close
    assert agree(1.0, [wanted[0]], 1.0 + share * 2.0**-26, []) is is_close


def test_only_zeros_agree_with_zeros_and_nothing_with_nan() -> None:
    zeros, empty = [np.zeros(2)], [np.empty(0)]
    assert agree(0.0, zeros, 0.0, zeros)
    assert agree(1.0, empty, 1.0, empty)
    assert not agree(0.0, [np.array([0.0, 1e-300])], 0.0, zeros)
    assert not agree(np.nan, zeros, np.nan, zeros)
