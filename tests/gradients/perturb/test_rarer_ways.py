"""The engine's changes are those of the loss, also on its rarer ways.

Steps are large, or small and of many sizes. Each loss is tried with and without rows, with and
without series, in one block and in many.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from more_losses import LOSSES, REFUSED
from test_changes_of_the_loss import WAYS, engine_of, exact_changes

from gradlab.gradients.perturb.limits import Limits
from gradlab.params import flatten

KINDS = ("large", "small, of many sizes")


def steps(kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "large":
        return np.full(shape, 2.0**-3)
    return 2.0**-12 * np.random.default_rng(0).uniform(0.5, 1, shape)


@cache
def moves_and_changes(name: str, kind: str) -> tuple[list[Any], list[Any]]:
    """Return the exact changes for steps of a kind."""
    case = LOSSES[name]
    return exact_changes(case, steps(kind, flatten(case.params)[0][case.leaf].shape))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", LOSSES)
def test_changes_are_those_of_the_loss(name: str, way: str) -> None:
    """The bound is 64 roundings of the loss, or of the largest change."""
    case = LOSSES[name]
    engine = engine_of(case, WAYS[way])
    if engine.plan(case.leaf, 2) is None:
        return
    for kind in KINDS:
        moves, expected = moves_and_changes(name, kind)
        found = engine.changes(case.leaf, moves)
        assert found is not None
        bound = 64 * 2.0**-53 * max(1.0, abs(float(engine.value)))
        np.testing.assert_allclose(found[0], expected, rtol=2.0**-30, atol=bound)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("way", WAYS)
def test_what_has_no_rule_is_left_to_the_plain_loop(name: str, way: str) -> None:
    assert engine_of(REFUSED[name], WAYS[way]).plan(0, 2) is None


def test_einsum_has_rules_as_the_product_that_it_is() -> None:
    """Without a rule, the plain loop would evaluate the whole loss for each entry."""
    for name, case in LOSSES.items():
        if "einsum" in name:
            assert engine_of(case, Limits(even_if_slower=True)).plan(0, 2) is not None, name
