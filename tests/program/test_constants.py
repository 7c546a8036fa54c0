"""Arrays that a loss uses and then writes into are detected, and programs share their values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from gradlab.errors import UntraceableError
from gradlab.program.constants import Constants
from gradlab.program.ir import Node, reachable
from gradlab.program.rewrite import _is_uniform


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: [1.0, (a,)], lambda a: (a, "x")])
def test_a_write_after_the_use_is_refused(wrap: Callable[[Any], Any]) -> None:
    """The first contents count; afterwards, everything is forgotten."""
    array, other, constants = np.zeros(3), np.ones(2), Constants()
    for operand in (wrap(array), other, 2.0, None, Node(None)):
        constants.store(operand, ("loss.py", 7))
    array[0] = 1.0
    constants.store(array, ("loss.py", 9))
    with pytest.raises(UntraceableError, match=r"writes into an array .*loss\.py.*7"):
        constants.require_unchanged()
    constants.require_unchanged()


def test_arrays_that_do_not_change_are_accepted() -> None:
    array, constants = np.zeros(3), Constants()
    constants.store([array, array], None)
    constants.require_unchanged()
    array[0] = 1.0
    constants.require_unchanged()


def test_a_value_that_others_share_is_visited_once() -> None:
    """A chain of doublings has 2^100 paths to its start."""
    start = node = Node(None, name="x")
    for _ in range(100):
        node = Node(np.add, (node, node))
    order = reachable([start], [node])
    assert len(order) == 100
    assert order[-1] is node
    assert all(later.operands[0] is earlier for earlier, later in pairwise(order))


def test_an_array_is_uniform_if_its_bits_are() -> None:
    """NaN equals itself, and 0 does not equal -0, which 1/x distinguishes."""
    assert _is_uniform(np.full(3, np.nan))
    assert not _is_uniform(np.array([0.0, -0.0]))
    assert _is_uniform(np.arange(8.0).reshape(2, 4)[:, ::4][:1])
    assert not _is_uniform(np.arange(8.0)[::2])
