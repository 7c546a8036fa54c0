"""The engine finds the changes of the loss, in lanes and blocks of every size."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from test_what_changes import CASES, Case, network

from gradlab.gradients.perturb.engine import PerturbedLoss
from gradlab.gradients.perturb.limits import Limits
from gradlab.gradients.perturb.powers import keeps_linear
from gradlab.params import flatten
from gradlab.program.record import record

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))  # more rows than `rows_side_by_side`
LABELS = np.array([0, 1, 1, 0, 2, 2, 0, 1, 2, 0, 0, 1])
LAYERS = [RNG.normal(size=(3, 5)), RNG.normal(size=5), RNG.normal(size=(5, 2))]


def picked(w: Any, x: Any) -> Any:
    return np.sum(np.exp(x @ w)[np.arange(12), LABELS])


MORE = {
    "a label a row": Case(picked, RNG.normal(size=(3, 3)), (X,)),
    "rows of zeros": Case(network, LAYERS, (np.where(X > 0, X, 0.0),)),
    "equal factors": Case(network, LAYERS, (np.round(X),)),
    "the bias of equal rows": Case(network, LAYERS, (np.ones((12, 3)),), 1),
    "behind a sigmoid": Case(
        lambda p, x: np.mean((1 / (1 + np.exp(-(x @ p[0] + p[1])))) @ p[2]), LAYERS, (X,)
    ),
    "behind a square": Case(
        lambda p, x: np.sum(np.square(np.square(x @ p[0]) @ p[2])), LAYERS, (X,)
    ),
    "a high power": Case(lambda w, x: np.sum((x @ w / 2) ** 20), RNG.normal(size=(3, 2)), (X,)),
    "an axis in between": Case(
        lambda w, x: np.sum(np.exp((x @ w)[:, None, :])), RNG.normal(size=(3, 2)), (X,)
    ),
    "rows in blocks": Case(
        lambda w, x: np.sum(np.exp(np.reshape(x @ w, (3, 4, 2))) * np.arange(8.0).reshape(4, 2)),
        RNG.normal(size=(3, 2)), (X,),
    ),
    "axes in another order": Case(
        lambda w, x: np.sum(
            np.exp(np.swapaxes(np.reshape(x @ w, (3, 4, 2)), 1, 2)) * np.arange(8.0).reshape(2, 4)
        ),
        RNG.normal(size=(3, 2)), (X,),
    ),
    "behind exponentials": Case(
        lambda p, x: np.sum(np.log(np.exp(np.tanh(x @ p[0]) @ p[2]).sum(axis=1))), LAYERS, (X,)
    ),
    "a difference of layers": Case(
        lambda p, x: np.sum((x @ p[0] - 2 * (x @ p[0])) @ p[2] / 3 - x[:, :2]), LAYERS, (X,)
    ),
    "a weight that is used twice": Case(
        lambda w, x: np.sum(np.tanh(np.tanh(x @ w) @ w)), RNG.normal(size=(3, 3)), (X,)
    ),
    "columns of a layer": Case(
        lambda p, x: np.sum(np.tanh(x @ p[0])[:, 1:4] ** 2) + np.sum((x @ p[0])[:, 0]),
        LAYERS, (X,),
    ),
    "a mean of rows, squared": Case(
        lambda p, x: np.sum(np.mean(np.tanh(x @ p[0]), axis=1) ** 2), LAYERS, (X,)
    ),
    "the smallest of columns": Case(lambda p, x: np.sum(np.min(x @ p[0], axis=0)), LAYERS, (X,)),
}  # fmt: skip

WAYS = {
    f"{'rows' if rows else 'no rows'}, few {few}, block {block}": Limits(
        rows=rows,
        min_series_lanes=few,
        block=block,
        lanes_side_by_side=min(16, block),
        even_if_slower=True,
    )
    for rows, few, block in (
        (True, 1, 1),
        (True, 1, 2**19),
        (True, 10**6, 2**19),
        (False, 1, 1),
        (False, 10**6, 2**19),
    )
}


ALL = {name: case for name, case in (CASES | MORE).items() if "wide" not in name}
STEPS = (2.0**-3, 2.0**-17)


def engine_of(case: Case, limits: Limits) -> PerturbedLoss:
    inputs = [np.asarray(leaf, float) for leaf in flatten(case.params)[0]]
    program = record(case.loss, case.params, case.args)
    return PerturbedLoss(program, [*inputs, *case.args], limits=limits)


def exact_changes(case: Case, steps: Any) -> tuple[list[Any], list[Any]]:
    """Return perturbations of both signs, and the changes of the loss in extended precision.

    Parameters
    ----------
    case : Case
        The loss, its parameters, and the leaf that is perturbed.
    steps : ndarray
        For each entry of the leaf, the size of its perturbation.
    """
    leaves, structure = flatten(case.params)
    wide = [leaf.astype(np.longdouble) for leaf in leaves]
    args = [a.astype(np.longdouble) if a.dtype == np.float64 else a for a in case.args]
    before, x = case.loss(structure.unflatten(wide), *args), wide[case.leaf]
    found: list[Any] = [np.zeros(x.shape), np.zeros(x.shape)]
    for change, moves in zip(found, (steps, -steps), strict=True):
        for index in np.ndindex(x.shape):
            held = x[index]
            x[index] = held + moves[index]
            change[index] = case.loss(structure.unflatten(wide), *args) - before
            x[index] = held
    return [steps, -steps], found


@cache
def moves_and_changes(name: str, h: float) -> tuple[list[Any], list[Any]]:
    """Return the exact changes for steps of h, and of h/4 in every third entry."""
    case = ALL[name]
    x = flatten(case.params)[0][case.leaf]
    return exact_changes(case, np.where(np.arange(x.size).reshape(x.shape) % 3, h, h / 4))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ALL)
def test_changes_are_those_of_the_loss(name: str, way: str) -> None:
    """The bound is 64 roundings of the loss, for large and small steps of both signs.

    If the engine has no rule for a loss, it says so, and the plain loop takes over.
    """
    case = ALL[name]
    engine = engine_of(case, WAYS[way])
    if engine.plan(case.leaf, 2) is None:
        return
    for h in STEPS:
        moves, expected = moves_and_changes(name, h)
        found = engine.changes(case.leaf, moves)
        assert found is not None
        bound = 64 * 2.0**-53 * max(1.0, abs(float(engine.value)))
        np.testing.assert_allclose(found[0], expected, rtol=2.0**-30, atol=bound)


NOT_COVERED = {"an inverse", "a table of words"}


@pytest.mark.parametrize("name", ALL)
def test_the_engine_has_rules_for_all_but_two_of_these(name: str) -> None:
    plan = engine_of(ALL[name], Limits(even_if_slower=True)).plan(ALL[name].leaf, 2)
    assert (plan is None) == (name in NOT_COVERED)


@pytest.mark.parametrize(
    ("primitive", "changed", "linear"),
    [
        (np.add, [True, True], True), (np.subtract, [True, False], True),
        (np.negative, [True], True), (np.multiply, [True, False], True),
        (np.multiply, [True, True], False), (np.divide, [True, False], True),
        (np.divide, [False, True], False), (np.where, [False, True, True], True),
        (np.where, [True, False, True], False), (np.exp, [True], False),
        (np.power, [True, False], False),
    ],
)  # fmt: skip
def test_which_operations_are_linear_in_what_changes(
    primitive: Any, changed: list[bool], linear: bool
) -> None:
    assert keeps_linear(primitive, changed) is linear
