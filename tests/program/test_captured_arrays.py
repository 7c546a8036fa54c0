"""Changes of arrays that a loss closes over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradlab.program import captured
from gradlab.program.captured import SAMPLED_ENTRIES, Captured


def test_every_array_has_to_be_unchanged() -> None:
    a, b = np.zeros(3), np.zeros((2, 2))
    seen = Captured([a, np.empty(0), b])
    assert seen.are_unchanged()
    for array, index in ((a, 2), (b, (1, 0))):
        array[index] = 1.0
        assert not seen.are_unchanged()
        array[index] = 0.0
        assert seen.are_unchanged()
    assert Captured().are_unchanged()


@pytest.mark.parametrize(
    "array",
    [
        np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.arange(12.0)[::2],
        np.arange(12.0).reshape(3, 4)[:, 1:3], np.array(2.0), np.array([True, False]),
        np.array([1, 2], np.int8), np.array([1.0, np.nan]),
    ],
    ids=str,
)  # fmt: skip
def test_arrays_of_every_layout(array: Any) -> None:
    seen = Captured([array])
    assert seen.are_unchanged()
    held = array.flat[-1]
    array.flat[-1] = not held if array.dtype == bool else 9
    assert not seen.are_unchanged()
    array.flat[-1] = held
    assert seen.are_unchanged()


def test_of_a_large_array_a_sample_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captured, "MAX_FULLY_COMPARED_BYTES", 16 * SAMPLED_ENTRIES)
    whole, large = np.zeros(4 * SAMPLED_ENTRIES)[::2], np.zeros(3 * SAMPLED_ENTRIES)
    seen = Captured([whole, large])
    whole[1] = 1.0
    assert not seen.are_unchanged()
    whole[1] = 0.0
    large[1] = 1.0
    assert seen.are_unchanged()  # every third entry is compared
    large[3] = 1.0
    assert not seen.are_unchanged()
