"""The loss as a power series in each perturbation: changes, rows that need lanes, bounds."""

from __future__ import annotations

from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradlab import network
from gradlab.gradients.perturb import PerturbedLoss
from gradlab.gradients.perturb.changes import sigmoid
from gradlab.gradients.perturb.limits import Limits
from gradlab.gradients.perturb.plan import Plan
from gradlab.gradients.perturb.powers import Powers, elementwise, largest_feature
from gradlab.params import flatten
from gradlab.program.record import record

RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(12, 7)), RNG.integers(3, size=12)
NETWORKS = {
    activation: network.init([7, 5, 4, 3], 0, activation=activation)
    for activation in ("sigmoid", "tanh", "relu")
}
for _params in NETWORKS.values():  # no ties, also where all units of a layer are dead
    _params |= {"b2": np.full(4, 0.1), "b3": np.array([0.1, 0.0, -0.1])}
LANES = 10**9
"""A value of `min_series_lanes` with which all rows are computed in lanes."""


@pytest.fixture
def rows_in_lanes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the rows whose changes are computed in lanes, for leaves in products with rows."""
    rows: list[int] = []
    by_series = Plan._by_series

    def noting(self: Any, *args: Any) -> Any:
        left = by_series(self, *args)
        rows.extend(one.start for one in left)
        return left

    monkeypatch.setattr(Plan, "_by_series", noting)
    return rows


def changes(loss: Any, params: Any, *args: Any, step: float = 1e-6, **limits: Any) -> list[Any]:
    """Return the changes of the loss for the steps ±h of each entry of each matrix."""
    leaves, _ = flatten(params)
    perturbed = PerturbedLoss(
        record(loss, params, args), [*leaves, *args], 1, Limits(even_if_slower=True, **limits)
    )
    found = []
    for leaf, array in enumerate(leaves):
        if array.ndim == 2:
            moves = np.full(array.shape, step)
            outcome = perturbed.changes(leaf, [moves, -moves])
            assert outcome is not None
            found.append(outcome[0])
    return found


def agree(found: list[Any], expected: list[Any], loss: float) -> bool:
    """Require agreement to a few roundings of 12 rows' terms, each at most 12 times the mean."""
    room = 16 * np.finfo(float).eps * 12 * max(1.0, abs(loss))
    return all(np.abs(a - b).max() <= room for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("activation", NETWORKS)
@pytest.mark.parametrize("series", [1, 2**17])
def test_a_network_needs_no_lanes(activation: str, series: int, rows_in_lanes: list[int]) -> None:
    params = NETWORKS[activation]

    def loss(p: Any, x: Any, labels: Any) -> Any:
        return network.loss(p, x, labels, activation=activation)

    found = changes(loss, params, X, LABELS, min_series_lanes=1, series=series)
    assert not rows_in_lanes
    expected = changes(loss, params, X, LABELS, min_series_lanes=LANES)
    assert len(found) == 3
    assert agree(found, expected, loss(params, X, LABELS))


def test_only_rows_with_a_kink_are_computed_in_lanes(rows_in_lanes: list[int]) -> None:
    params, x = NETWORKS["relu"], X.copy()
    # The second unit of row 4 is at 1e-8, nearer to its kink than the step.
    x[4] -= (
        params["W1"][:, 1] * (x[4] @ params["W1"][:, 1] - 1e-8) / (params["W1"][:, 1] ** 2).sum()
    )

    def loss(p: Any, x: Any, labels: Any) -> Any:
        return network.loss(p, x, labels, activation="relu")

    found = changes(loss, params, x, LABELS, min_series_lanes=1)
    assert set(rows_in_lanes) == {4}
    assert agree(
        found, changes(loss, params, x, LABELS, min_series_lanes=LANES), loss(params, x, LABELS)
    )


def test_a_large_step_is_computed_in_lanes(rows_in_lanes: list[int]) -> None:
    params = network.init([7, 5, 3], 0)
    found = changes(network.loss, params, X, LABELS, min_series_lanes=1, step=3.0)
    assert sorted(rows_in_lanes) == sorted([*range(12)] * 2)
    expected = changes(network.loss, params, X, LABELS, min_series_lanes=LANES, step=3.0)
    assert agree(found, expected, network.loss(params, X, LABELS))


def test_each_entry_may_have_a_step_of_its_own() -> None:
    params = network.init([7, 5, 3], 0)
    leaves, _ = flatten(params)
    moves = RNG.uniform(-1e-5, 1e-5, params["W1"].shape)
    found = []
    for few in (1, LANES):
        limits = Limits(even_if_slower=True, min_series_lanes=few)
        program = record(network.loss, params, (X, LABELS))
        perturbed = PerturbedLoss(program, [*leaves, X, LABELS], 1, limits)
        outcome = perturbed.changes([*params].index("W1"), [moves, 0 * moves])
        assert outcome is not None
        found.append([outcome[0]])
    assert agree(*found, network.loss(params, X, LABELS))


def test_a_mean_of_all_entries(rows_in_lanes: list[int]) -> None:
    def loss(w: Any, x: Any) -> Any:
        return anp.mean(anp.mean(np.tanh(x @ w), axis=1, keepdims=True) - x[:, :2])

    w = RNG.normal(size=(7, 5))
    found = changes(loss, w, X, min_series_lanes=1)
    assert not rows_in_lanes
    assert agree(found, changes(loss, w, X, min_series_lanes=LANES), 1.0)


FUNCTIONS = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": sigmoid}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=20, deadline=None)
@given(
    size=st.floats(-25, -4).map(np.exp2),
    factors=st.lists(st.sampled_from([-1.0, 0.5, 1.0]), min_size=1, max_size=4),
    at=st.floats(0.25, 4.0),
)
def test_a_function_of_a_series_errs_by_less_than_the_rounding_of_its_result(
    name: str, size: float, factors: list[float], at: float
) -> None:
    """Against the function in extended precision, beside the roundings of the terms themselves."""
    function = FUNCTIONS[name]
    base = np.full((1, 1, 1, 1), at)
    coefficients = [
        np.full((1, 1, 1, 1), factor * size**n) for n, factor in enumerate(factors, start=1)
    ]
    u = np.array([1.0, -1.0, 0.3]).reshape(1, 3, 1)
    given_series = Powers(base, coefficients, u, np.ones((1, 1, 1)))
    found = elementwise(function, [given_series], function(base))
    if found is None:
        assert size > 2.0**-12
        return
    wide = [np.longdouble(array) for array in (base, u, *coefficients)]
    change = sum(c * wide[1] ** n for n, c in enumerate(wide[2:], start=1))
    one = np.longdouble(1)
    exact = {
        "exp": lambda a: np.exp(a),
        "log": lambda a: np.log(a),
        "tanh": lambda a: np.tanh(a),
        "sigmoid": lambda a: one / (one + np.exp(-a)),
    }[name]
    expected = exact(wide[0] + change) - exact(wide[0])
    # The argument of the logarithm is rounded, too; tanh(x) is 2 σ(2x) - 1.
    scale = {"exp": np.exp(at), "log": 1.0, "tanh": 2.0, "sigmoid": 1.0}[name]
    room = 2.0**-53 * scale + 64 * np.finfo(float).eps * np.abs(expected).max()
    room += 4 * float(np.finfo(np.longdouble).eps) * scale
    assert np.abs(found.change().delta - expected).max() <= room


def test_the_largest_feature_has_to_be_the_largest_in_all_lanes() -> None:
    u = np.array([1.0, -1.0]).reshape(1, 2, 1)

    def largest(gap: float, axis: int = 0, keepdims: bool = False) -> Any:
        base = np.array([[0.0, 1.0], [1.0 + gap, 0.5]]).reshape(2, 2, 1, 1, 1)
        w = np.array([[1.0, 1e-3], [2e-3, 1e-3]]).reshape(2, 2, 1, 1, 1)
        powers = Powers.rank_one(base, w, u)
        return largest_feature(powers, base.max(axis, keepdims=keepdims), (2, 2), axis, keepdims)

    found = largest(1.0)
    assert found.coefficients[0].ravel().tolist() == [2e-3, 1e-3]
    assert largest(1.0, keepdims=True).coefficients[0].shape == (1, 2, 1, 1, 1)
    assert largest(0.0) is None  # 1.0 - 2e-3 is below 0.0 + 1.0
    assert largest(1.0, axis=1) is None  # 0.0 + 1.0 is as large as 1.0 - 1e-3
