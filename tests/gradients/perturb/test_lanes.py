"""How perturbations are sorted into lanes: by size, so that equal ones are computed once."""

from __future__ import annotations

import numpy as np
import pytest

from gradlab.gradients.perturb.blocks import _groups, parts

H = 2.0**-17


def deltas(*sizes: float, signs: int = 2) -> np.ndarray:
    """Return perturbations of two rows and as many columns as there are sizes, of both signs."""
    ahead = np.array([sizes, sizes])
    return np.stack([ahead, -ahead][:signs], axis=-1)


def test_perturbations_of_the_same_size_are_one_group_without_a_mask() -> None:
    [(size, mask)] = _groups(deltas(H, H, H), most=8)
    assert size is not None
    assert size.tolist() == [H, -H]
    assert mask is None


def test_perturbations_of_few_sizes_are_one_group_per_size() -> None:
    found = _groups(deltas(H, 4 * H, H), most=8)
    assert [size.tolist() for size, _ in found if size is not None] == [[H, -H], [4 * H, -4 * H]]
    masks = [mask.tolist() for _, mask in found if mask is not None]
    assert masks == [[[True, False, True]] * 2, [[False, True, False]] * 2]


def test_perturbations_of_too_many_sizes_are_not_sorted() -> None:
    assert len(_groups(deltas(1.0, 2.0, 3.0), most=3)) == 3
    assert _groups(deltas(1.0, 2.0, 3.0), most=2) == [(None, None)]


def test_perturbations_that_differ_in_their_second_sign_are_not_sorted() -> None:
    """As where x − h is rounded and x + h is not."""
    mixed = deltas(H, H)
    mixed[1, 0, 1] *= 0.5
    assert _groups(mixed, most=8) == [(None, None)]


@pytest.mark.parametrize(("length", "each"), [(5, 3), (6, 3), (1, 3), (0, 3), (5, 5), (5, 1)])
def test_parts_cover_a_length(length: int, each: int) -> None:
    found = list(parts(length, each))
    assert [i for part in found for i in range(length)[part]] == list(range(length))
    assert all(0 < part.stop - part.start <= each for part in found)
    assert len(found) == -(-length // each)
