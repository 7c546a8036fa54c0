"""Every backend keeps the laws of a backend: each law runs on each row of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from conformance import (
    AUTOGRAD,
    LIBRARIES,
    ROWS,
    Row,
    elementary,
    every_row,
    every_structure,
    leaves_of,
    smooth,
    snapshot,
)
from counting import calls_of
from drawing import times
from hypothesis import example, given
from hypothesis import strategies as st

import gradlab
from gradlab import BACKENDS, network
from gradlab.gradients import is_estimator
from gradlab.params import flatten, floating, map_leaves, named_leaves, size
from gradlab.testing import (
    ClosedForm,
    Problem,
    assert_within,
    error_bounds,
    losses,
    networks,
    parameters,
)

# The rows


def test_every_backend_has_a_row() -> None:
    of_rows = {row.backend.name for row in ROWS.values()}
    assert of_rows | {backend for backend, _ in LIBRARIES.values()} == set(BACKENDS)


def test_estimators_are_marked() -> None:
    """Every row says whether its backend is an estimator, and the backend agrees."""
    for row in ROWS.values():
        assert is_estimator(row.backend) == bool(row.directions)
    assert not is_estimator(object())


# The laws


@every_row
@every_structure
def test_value_and_structure(row: Row, params: Any) -> None:
    value, grads = gradlab.value_and_grad(smooth, row.backend)(params)
    assert type(value) is float
    wide = map_leaves(lambda leaf: np.asarray(leaf, dtype=np.float64), params)
    expected = float(smooth(map_leaves(floating, params) if row.own_precision else wide))
    assert value == expected or (
        # The slope by a factor of the loss is the loss.
        row.native
        and abs(value - expected)
        <= 2
        * error_bounds(
            lambda p: p["factor"] * smooth(p["params"]),
            {"factor": 1.0, "params": params},
            method="reverse",
        ).total["factor"]
    )

    leaves, structure = flatten(params)
    found, found_structure = flatten(grads)
    assert found_structure == structure
    assert type(grads) is type(params) or structure.scalars
    for leaf, gradient in zip(leaves, found, strict=True):
        assert gradient.shape == leaf.shape
        assert gradient.dtype == (leaf.dtype if leaf.dtype.kind == "f" else np.float64)
    for number in structure.scalars:
        assert isinstance(leaves_of(grads)[number], np.floating)


@every_row
@every_structure
def test_gradient_is_within_the_bound(row: Row, params: Any) -> None:
    """The references are nested closed forms: each entry's own formula, in float64."""
    found = row.grad(smooth, params)
    own = [1.0 * np.asarray(leaf, np.float64) for _, leaf in named_leaves(params)]
    inner = sum(np.sum(np.sin(k * w) + 0.01 * w * w) for k, w in enumerate(own, start=1))
    wanted = flatten(params)[1].unflatten(
        [
            np.asarray((1 + 0.2 * inner) * (k * np.cos(k * w) + 0.02 * w))
            for k, w in enumerate(own, start=1)
        ]
    )
    assert_within(found, wanted, row.bound(smooth, params))


@every_row
@every_structure
def test_nothing_is_mutated(row: Row, params: Any) -> None:
    data = np.arange(3.0)
    before, bytes_before = snapshot(params), data.tobytes()
    row.grad(lambda params, x: smooth(params) * x.sum(), params, data)
    assert snapshot(params) == before
    assert data.tobytes() == bytes_before


@every_row
@every_structure
def test_result_belongs_to_the_caller(row: Row, params: Any) -> None:
    gradient = gradlab.grad(lambda p: sum((leaf * 2.0).sum() for leaf in leaves_of(p)), row.backend)
    first, second = gradient(params), gradient(params)
    arrays = [leaf for leaf in leaves_of(first) if isinstance(leaf, np.ndarray)]
    others = [*leaves_of(second), *leaves_of(params)]
    for number, leaf in enumerate(arrays):
        assert leaf.flags.writeable
        assert leaf.flags.owndata or leaf.base is None
        for other in [*arrays[number + 1 :], *others]:
            assert not np.shares_memory(leaf, other)
        leaf[...] = np.nan
    assert all(np.isfinite(leaf).all() for leaf in leaves_of(second))
    assert all(np.isfinite(leaf).all() for leaf in leaves_of(gradient(params)))


@every_row
def test_result_is_not_an_alias_of_the_data(row: Row) -> None:
    """The gradient of Σ w x is x itself, and that of Σ (u + v) x is x twice."""
    x = np.array([1.0, 2.0, 3.0])
    grads = row.grad(lambda p, x: ((p["u"] + p["v"]) * x).sum(), {"u": np.ones(3), "v": x}, x)
    assert not np.shares_memory(grads["u"], x)
    assert not np.shares_memory(grads["u"], grads["v"])
    before = grads["v"].tolist()
    grads["u"][:] = np.nan
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert grads["v"].tolist() == before


@every_row
def test_one_leaf_in_two_places_is_two_parameters(row: Row) -> None:
    w = np.array([2.0])
    grads = row.grad(lambda p: (p[0] * p[0] * p[1]).sum(), [w, w])
    bound = row.bound(lambda p: (p[0] * p[0] * p[1]).sum(), [w, w])
    assert_within(grads, [np.array([8.0]), np.array([4.0])], bound)
    assert not np.shares_memory(grads[0], grads[1])


@every_row
def test_first_argument_alone_is_differentiated(row: Row) -> None:
    seen = []

    def loss(w: Any, x: Any, *rest: Any) -> Any:
        seen.append((type(x), rest))
        return (w * x).sum()

    x = np.array([3.0, 4.0])
    grads = row.grad(loss, np.ones(2), x, {"an": "option"}, None)
    assert grads.shape == (2,)
    assert {kind for kind, _ in seen} == {np.ndarray} or row.traced
    assert all(rest == ({"an": "option"}, None) for _, rest in seen)


@every_row
@pytest.mark.parametrize("constant", [1.5, 2, np.float32(1.5), np.array(1.5)], ids=repr)
def test_constant_loss_has_gradient_zero(row: Row, constant: Any) -> None:
    value, grads = gradlab.value_and_grad(lambda p: constant, row.backend)({"w": np.ones((2, 2))})
    assert value == float(constant)
    assert type(value) is float
    assert grads["w"].tolist() == [[0.0, 0.0], [0.0, 0.0]]


@every_row
def test_unused_leaves_have_gradient_zero(row: Row) -> None:
    params = {"used": np.ones(2), "unused": np.ones((2, 1)), "rest": [3, np.float32(1)]}
    grads = row.grad(lambda p: (p["used"] ** 2).sum(), params)
    assert grads["used"].all()
    if row.directions:  # which get a share of the others' slopes, of mean zero
        wanted = map_leaves(np.zeros_like, params) | {"used": 2 * params["used"]}
        assert_within(grads, wanted, row.bound(lambda p: (p["used"] ** 2).sum(), params))
    else:
        assert grads["unused"].tolist() == [[0.0], [0.0]]
        assert grads["rest"] == [0.0, 0.0]


@every_row
@times(0.5)
@given(case=losses(parameters(dtypes=[np.float64])), scale=st.floats(-4, 4), seed=st.integers(0, 9))
def test_linear_in_the_loss(row: Row, case: ClosedForm, scale: float, seed: int) -> None:
    """The identity ∇(c f + g) = c ∇f + ∇g holds within the three bounds."""

    def other(params: Any) -> Any:
        return smooth(params) + float(seed)

    def combined(params: Any) -> Any:
        return scale * case.loss(params) + other(params)

    def weigh(f: Any, g: Any) -> Any:
        return map_leaves(lambda a, b: scale * a + b, f, g)

    found = row.grad(combined, case.params)
    both = row.grad(case.loss, case.params), row.grad(other, case.params)
    wanted = weigh(*both)
    allowed = map_leaves(
        # The weighing itself rounds twice.
        lambda a, b, c, w: a + abs(scale) * b + c + np.finfo(float).eps * (np.abs(w) + a),
        *(row.error(loss, case.params) for loss in (combined, case.loss, other)),
        wanted,
    )
    # `wanted` may be the small difference of two large terms, whose roundings count.
    large = map_leaves(lambda a, b: np.finfo(float).eps * (np.abs(scale * a) + np.abs(b)), *both)
    assert_within(found, wanted, map_leaves(np.add, allowed, large))


@every_row
@times(0.5)
@given(problem=networks(), seed=st.integers(0, 100))
def test_order_of_the_batch_does_not_matter(row: Row, problem: Problem, seed: int) -> None:
    x, labels = problem.args
    if x.ndim == 1:
        x, labels = x[None], labels[None]
    order = np.random.default_rng(seed).permutation(len(x))
    # The truncation is the same for both orders; only their round-off differs.
    both = [
        row.roundoff(problem.loss, problem.params, *args)
        for args in ((x, labels), (x[order], labels[order]))
    ]
    assert_within(
        row.grad(problem.loss, problem.params, x, labels),
        row.grad(problem.loss, problem.params, x[order], labels[order]),
        map_leaves(np.add, *both),
    )


@every_row
@times(0.5)
@given(problem=networks(max_layers=2))
def test_names_do_not_matter(row: Row, problem: Problem) -> None:
    """The same leaves under other names, in other containers, give the same bits."""
    found = row.grad(problem.loss, problem.params, *problem.args)
    names = list(problem.params)

    def renamed(params: Any, *args: Any) -> Any:
        return problem.loss(dict(zip(names, params["net"], strict=True)), *args)

    again = row.grad(renamed, {"net": tuple(problem.params.values())}, *problem.args)
    for a, b in zip(found.values(), again["net"], strict=True):
        assert a.tobytes() == b.tobytes()


@every_row
def test_calls_are_independent(row: Row) -> None:
    """One returned function takes several shapes and dtypes; the same input gives the same bits."""
    f = gradlab.value_and_grad(smooth, row.backend)
    first = f(np.array([1.0, 2.0]))
    f({"w": np.ones((2, 2), np.float32)})
    f(3)
    again = f(np.array([1.0, 2.0]))
    assert first[0] == again[0]
    assert first[1].tobytes() == again[1].tobytes()


@every_row
@every_structure
def test_evaluations_are_counted(row: Row, params: Any) -> None:
    with calls_of(smooth) as calls:
        row.grad(smooth, params)
    most = row.evaluations(size(params))
    largest = max((np.abs(leaf).max(initial=0) for leaf in leaves_of(params)), default=0)
    if row.backend.name == "central4" and largest > 100 and not row.traced:
        # Its step is in proportion to an entry; for 250, it is too wide for a sine, and is refined.
        assert len(calls) > most
    else:
        assert len(calls) == most or (row.adaptive and len(calls) < most)


# Agreement


@every_row
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@times(0.5)
@given(data=st.data())
def test_agrees_with_reverse_mode_on_networks(row: Row, dtype: Any, data: Any) -> None:
    """Each entry agrees, for any depth, widths, activation, loss and batch."""
    problem = data.draw(networks(dtypes=[dtype]))
    wide = map_leaves(lambda leaf: leaf.astype(np.float64), problem.params)
    found = row.grad(problem.loss, problem.params, *problem.args)
    exact = AUTOGRAD.grad(problem.loss, wide, *problem.args)
    allowed = map_leaves(
        np.add,
        row.bound(problem.loss, problem.params, *problem.args),
        AUTOGRAD.bound(problem.loss, wide, *problem.args),
    )
    assert_within(found, exact, allowed)


@every_row
@given(case=losses())
@example(case=ClosedForm(np.array([3, 4]), 0, lambda w: (w * w).sum(), lambda w: 2.0 * w))
def test_agrees_with_closed_forms_on_any_structure(row: Row, case: ClosedForm) -> None:
    found = row.grad(case.loss, case.params)
    bound = row.bound(case.loss, case.params)
    # The closed form is itself evaluated in float64.
    wide = map_leaves(lambda leaf: np.asarray(leaf, np.float64), case.params)
    formula = error_bounds(case.loss, wide, method="reverse").total
    assert_within(found, case.gradient(case.params), map_leaves(np.add, bound, formula))


FORMULAS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], float]] = {
    "exp": (elementary("exp"), mpmath.exp, 0.7),
    "log": (elementary("log"), mpmath.log, 0.3),
    "tanh": (elementary("tanh"), mpmath.tanh, -0.4),
    "sqrt": (elementary("sqrt"), mpmath.sqrt, 2.0),
    "cubic": (lambda x: x**3 - 2.0 * x, lambda x: x**3 - 2 * x, 1.25),
    "reciprocal": (lambda x: 1.0 / x, lambda x: 1 / x, -3.0),
    "sigmoid": (network.sigmoid, lambda x: 1 / (1 + mpmath.exp(-x)), 1.0),
    "softplus": (network.softplus, lambda x: mpmath.log(1 + mpmath.exp(x)), -2.0),
    "silu": (network.silu, lambda x: x / (1 + mpmath.exp(-x)), 0.5),
    "elu": (network.elu, lambda x: mpmath.exp(x) - 1, -0.5),
    "large": (lambda x: x * x, lambda x: x * x, 1e8),
    "small": (lambda x: elementary("sin")(1e6 * x), lambda x: mpmath.sin(10**6 * x), 1e-7),
}


@every_row
@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_agrees_with_fifty_digits(row: Row, formula: Any) -> None:
    loss, high, x = formula
    with mpmath.workdps(50):
        wanted = mpmath.diff(high, mpmath.mpf(x))
        found = mpmath.mpf(float(row.grad(loss, x)))
        assert abs(found - wanted) <= float(row.bound(loss, x))


@every_row
def test_planted_fault_is_seen(row: Row) -> None:
    """A gradient with an error of 1e-3 in its largest entry breaks the law."""
    params = network.init((3, 4, 2), seed=1)
    x, labels = np.random.default_rng(2).standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])
    grads = row.grad(network.loss, params, x, labels)
    exact = AUTOGRAD.grad(network.loss, params, x, labels)
    bound = row.bound(network.loss, params, x, labels)
    assert_within(grads, exact, map_leaves(lambda a: 1.01 * a, bound))
    largest = np.unravel_index(np.argmax(np.abs(grads["W1"])), grads["W1"].shape)
    # The noise of an estimate hides 1e-3 of an entry, but not a few times its bound.
    fault = 3 * bound["W1"][largest] if row.directions else 1e-3 * grads["W1"][largest]
    grads["W1"][largest] += fault
    with pytest.raises(AssertionError, match=r"W1\["):
        assert_within(grads, exact, map_leaves(lambda a: 1.01 * a, bound))
