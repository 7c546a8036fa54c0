"""Seeds: the same seed gives the same random numbers; other values are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlab.errors import OptionError
from gradlab.seeding import generator

seeds = st.integers(0, 2**64)


@given(seeds)
def test_the_same_seed_gives_the_same_bits(seed):
    assert generator(seed).bytes(32) == generator(seed).bytes(32)


@given(seeds, seeds)
def test_different_seeds_give_different_bits(one, other):
    assert (generator(one).bytes(32) == generator(other).bytes(32)) == (one == other)


def test_a_seed_is_that_of_numpy():
    assert generator(7).bytes(32) == np.random.default_rng(7).bytes(32)
    assert generator(np.int64(7)).bytes(32) == np.random.default_rng(7).bytes(32)


def test_a_generator_is_used_itself():
    rng = np.random.default_rng(7)
    assert generator(rng) is rng
    assert generator(rng).bytes(32) != generator(rng).bytes(32)


def test_the_global_state_of_numpy_does_not_change():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    generator(7).normal(size=10)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("seed", ["abc", "7", -1, 1.0, 1.5, None, True, (1, 2), np.array([1])])
def test_invalid_seeds_are_shown_in_the_error(seed):
    with pytest.raises(OptionError, match=r"seed=.*give an integer from 0, or a numpy"):
        generator(seed)
