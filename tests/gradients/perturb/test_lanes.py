"""The sorting of perturbations into lanes by size, so that equal ones are computed once."""

from __future__ import annotations

from itertools import chain
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gradlab.gradients.perturb.blocks import (
    _groups,
    entry_blocks,
    parts,
    row_blocks,
    rows_at_once,
)
from gradlab.gradients.perturb.extents import All, Slice
from gradlab.gradients.perturb.limits import Limits
from gradlab.gradients.perturb.rows import Lift
from gradlab.program.ir import Node

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
    """For example, x − h may be rounded while x + h is exact."""
    mixed = deltas(H, H)
    mixed[1, 0, 1] *= 0.5
    assert _groups(mixed, most=8) == [(None, None)]


@pytest.mark.parametrize(("length", "each"), [(5, 3), (6, 3), (1, 3), (0, 3), (5, 5), (5, 1)])
def test_parts_cover_a_length(length: int, each: int) -> None:
    found = list(parts(length, each))
    assert [i for part in found for i in range(length)[part]] == list(range(length))
    assert all(0 < part.stop - part.start <= each for part in found)
    assert len(found) == -(-length // each)


# Blocks

ROWS = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 2.0], [3.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
LIFTED, FACTOR = Node(np.matmul), Node(None)
PRODUCT = Lift(LIFTED, np.arange(6).reshape(3, 2), ROWS, FACTOR)
SUM = Lift(FACTOR, np.arange(6).reshape(3, 2), np.ones((4, 3)), FACTOR)


@pytest.mark.parametrize("lift", [PRODUCT, SUM])
@pytest.mark.parametrize("sizes", [(H, H), (H, 4 * H), (H, 3.0)])
@pytest.mark.parametrize("block", [1, 4, 16, 64, 2**19])
@pytest.mark.parametrize("side_by_side", [1, 2, 8])
def test_blocks_of_rows_hold_every_perturbation_once(
    lift: Lift, sizes: tuple[float, float], block: int, side_by_side: int
) -> None:
    """Their changes add up to the sum over the rows, for any blocks."""
    delta = np.concatenate([deltas(*sizes), deltas(*sizes)[:1]])
    limits = Limits(block=block, rows_side_by_side=side_by_side, sizes=2)
    total = np.zeros_like(delta)
    for made in row_blocks(lift, delta, 2, limits):
        kept = np.arange(made.lanes[0])
        found = made.change.reshape(made.lanes)
        for column in kept:  # also if other columns are idle
            made.add_to_total(total, kept[[column]], found[[column]])
    np.testing.assert_allclose(total, lift.rows.sum(0)[:, None, None] * delta)


def test_rows_lie_side_by_side_where_enough_fit_into_a_block() -> None:
    """Otherwise, each row of a product is a block without zeros; rows of a sum have none."""
    delta = deltas(H, H, signs=2)[[0, 0, 0]]
    for lift, limits, heights in (
        (PRODUCT, Limits(rows_side_by_side=4), [4]),
        (PRODUCT, Limits(rows_side_by_side=5), [1, 1, 1]),
        (PRODUCT, Limits(block=2 * 12 * 3, rows_side_by_side=3), [3, 1]),
        (SUM, Limits(rows_side_by_side=5), [1, 1, 1, 1]),
    ):
        made = list(row_blocks(lift, delta, 2, limits))
        assert [block.change.shape[-1] for block in made] == heights
    assert rows_at_once(SUM, 0, 2, Limits(rows_side_by_side=1)) == 4


def entries_of(hit: Any, p: int, **limits: int) -> list[list[int]]:
    """Return the entries in each block, each of which changes the slice `hit`."""
    of = {"x": All(), "y": Slice(-1, hit)} if hit is not None else {"x": All()}
    extents: Any = SimpleNamespace(limits=Limits(**limits), p=p, signs=2, of=of)
    return [block.entries.tolist() for block in entry_blocks(extents, widest=1)]


def test_many_entries_of_a_slice_have_blocks_of_their_own() -> None:
    """The limit is 64 lanes of one slice: 32 entries with two signs."""
    for many, is_apart in ((32, True), (31, False)):
        hit = np.array([0, *[1] * many, 0, 2])
        order = [[0, many + 1], [*range(1, many + 1)], [many + 2]]
        assert entries_of(hit, len(hit)) == (order if is_apart else [[*chain(*order)]])
    assert entries_of(None, 5) == [[0, 1, 2, 3, 4]]
    assert entries_of(None, 5, block=1, lanes_side_by_side=4) == [[0, 1], [2, 3], [4]]
    assert entries_of(None, 5, block=1, lanes_side_by_side=1) == [[0], [1], [2], [3], [4]]
