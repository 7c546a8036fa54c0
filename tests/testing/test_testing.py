"""The bounds of `gradlab.testing` hold, are tight, and rest on true statements."""

from __future__ import annotations

import sys
from fractions import Fraction
from functools import partial
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gradlab
from gradlab import network
from gradlab.errors import GradientMismatchError, LossError, MissingDependencyError, OptionError
from gradlab.gradients.differences.richardson import extrapolate_once, ladder
from gradlab.gradients.probing import Probe
from gradlab.params import flatten, map_leaves, named_leaves
from gradlab.testing import (
    ClosedForm,
    Problem,
    assert_gradients_agree,
    assert_within,
    batches,
    error_bounds,
    losses,
    networks,
    parameters,
    rays,
    strategies,
    taylor,
)
from gradlab.testing.ray_context import FORMULAS, RayContext
from gradlab.testing.ray_rules import ELEMENTARY_ROUNDINGS, RAY_NAMESPACE

BACKENDS = {
    "central4": gradlab.CentralDifference4,
    "complex-step": gradlab.ComplexStep,
    "richardson": gradlab.Richardson,
    "central": gradlab.CentralDifference,
    "forward": gradlab.ForwardDifference,
}


def flat(params: Any) -> np.ndarray:
    leaves = [np.asarray(leaf, np.float64) for leaf in flatten(params, lambda leaf, path: leaf)[0]]
    return np.concatenate([leaf.reshape(-1) for leaf in leaves]) if leaves else np.zeros(0)


def fixed_problems(count: int, activations: list[str], seed: int = 0) -> list[Problem]:
    """Return the same networks at every run, independent of hypothesis."""
    rng = np.random.default_rng(seed)
    problems = []
    for number in range(count):
        sizes = tuple(int(width) for width in rng.integers(2, 6, size=rng.integers(2, 5)))
        activation = activations[number % len(activations)]
        params = network.init(sizes, rng, activation=activation)
        params = {
            name: leaf + (leaf.ndim == 1) * rng.standard_normal(leaf.shape)
            for name, leaf in params.items()
        }
        n = int(rng.integers(1, 5))
        x, labels = rng.standard_normal((n, sizes[0])), rng.integers(sizes[-1], size=n)
        kind: Any = ["cross_entropy", "squared_error"][number % 2]
        problems.append(Problem(sizes, activation, kind, number, params, x, labels))
    return problems


SMOOTH = ["sigmoid", "tanh", "softmax", "softplus", "silu"]


def share_of_bound(problem: Problem, method: str, step: float | None) -> np.ndarray:
    """Return |difference − reverse mode| over the bound, for each entry that is not 0."""
    options = {"step": step} if step else {}
    backend = BACKENDS[method](**options)
    found = backend.value_and_grad(problem.loss)(problem.params, *problem.args)
    exact = gradlab.grad(problem.loss)(problem.params, *problem.args)
    bound = error_bounds(problem.loss, problem.params, *problem.args, method=method, step=step)
    reverse = error_bounds(problem.loss, problem.params, *problem.args, method="reverse")
    total = flat(bound.total) + flat(reverse.total)
    return np.abs(flat(found[1]) - flat(exact)) / total


# How close the bounds are


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "step", "least"),
    [
        # Truncation dominates: nearly the error itself.
        ("central", 1e-2, 0.9),
        ("central4", 1e-1, 0.2),
        ("central4", 1e-2, 0.3),
        ("forward", 1e-4, 0.99),
        # Round-off dominates: a bound on a sum of many roundings of random signs.
        ("central", None, 1e-3),
        ("central4", None, 1e-3),
        ("complex-step", None, 5e-5),
        ("forward", None, 1e-3),
        # The bound is that of the fine steps of the extrapolation, not of its result.
        ("richardson", None, 1e-9),
    ],
)
def test_bound_is_close_to_the_error(method: str, step: float | None, least: float) -> None:
    shares = [share_of_bound(problem, method, step) for problem in fixed_problems(40, SMOOTH)]
    everything = np.concatenate(shares)
    assert everything.max() <= 1
    assert np.median(everything) > least


@pytest.mark.parametrize(
    ("method", "fault", "least"),
    [
        ("central", 1e-7, 0.8),
        ("central", 1e-6, 0.9),
        ("central", 1e-5, 0.98),
        ("central4", 1e-8, 0.6),
        ("complex-step", 1e-11, 0.8),
        ("complex-step", 1e-10, 0.9),
        ("forward", 1e-4, 0.75),
        ("forward", 1e-3, 0.9),
    ],
)
def test_planted_fault_violates_the_bound(method: str, fault: float, least: float) -> None:
    """A fault of this share of its leaf's largest entry exceeds the bound in most entries."""
    outside = []
    for problem in fixed_problems(40, SMOOTH):
        exact = gradlab.grad(problem.loss)(problem.params, *problem.args)
        bounds = error_bounds(problem.loss, problem.params, *problem.args, method=method)
        total = flat(bounds.total)
        scale = flat(map_leaves(lambda leaf: np.full_like(leaf, np.abs(leaf).max()), exact))
        # The result lies within `total` of the truth; a fault of twice this size is detected.
        outside.append(fault * scale > 2 * total)
    assert np.mean(np.concatenate(outside)) > least


def test_exact_quotients_have_no_truncation() -> None:
    """Central quotients are exact for parabolas, forward quotients for lines."""
    w = np.array([0.5, 3.0, -2.0])
    parabola = error_bounds(lambda w: np.sum(w**2), w, method="central")
    line = error_bounds(lambda w: np.sum(2 * w), w, method="forward")
    assert not parabola.truncation.any()
    assert not line.truncation.any()
    assert parabola.roundoff.min() > 0


@given(losses(parameters(dtypes=[np.float64], max_side=2)))
@example(ClosedForm(np.array([0.3, -0.4]), 0, lambda w: np.sin(300 * w).sum(), np.cos))  # steep
def test_bound_of_extrapolation_holds_five_errors_of_its_fine_steps(case: Any) -> None:
    """Any member of the extrapolation table lies within the bound."""
    bounds = error_bounds(case.loss, case.params, method="richardson").total
    probe = Probe(case.loss, case.params, (), None)
    for leaf, (x, bound) in enumerate(zip(probe.leaves, flatten(bounds)[0], strict=True)):
        fine = ladder(x, None)[1]
        for i in range(x.size):
            along = partial(probe.at, leaf, i)
            guard = extrapolate_once(along, x.flat[i], probe.value, fine.flat[i])
            assert bound.flat[i] >= 5 * guard.error


def test_bound_of_the_complex_step_counts_the_terms_of_a_sum() -> None:
    """A sum of a thousand equal terms, one after the other, rounds up each time."""

    def loss(w: Any) -> Any:
        return (w[np.zeros((1000, 2), int)] ** 2).sum(axis=0)[0]

    w = np.array([0.05])
    error = abs(Fraction(gradlab.grad(loss, "complex-step")(w).item()) - 2000 * Fraction(w[0]))
    assert error > 40 * np.finfo(float).eps / 2 * 100
    assert error <= error_bounds(loss, w, method="complex-step").total.item()


@pytest.mark.parametrize(("method", "backend"), [("central", "central"), ("reverse", "autograd")])
def test_bounds_of_a_larger_and_a_smaller_number(method: Any, backend: str) -> None:
    w = np.array([0.3, 1.2, -0.7])

    def loss(w: Any) -> Any:
        return np.sum(np.maximum(w, 0.5) ** 2 * np.minimum(np.exp(w), 2.0))

    true = np.array([0.25 * np.exp(0.3), 4.8, 0.25 * np.exp(-0.7)])
    error = np.abs(gradlab.grad(loss, backend=backend)(w) - true)
    bound = error_bounds(loss, w, method=method).total
    assert (error <= bound + 4 * np.finfo(float).eps * np.abs(true)).all()
    assert (bound < 1e-8).all()


# What the bounds are derived from


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_derivatives_are_those_of_nested_reverse_mode(activation: str, kind: str) -> None:
    """Taylor arithmetic agrees with grad of grad for up to five derivatives along a coordinate."""
    formula = FORMULAS["central4"]
    problem = fixed_problems(3, [activation])[2]
    loss = partial(network.loss, activation=activation, kind=kind)
    leaf = problem.params["b1"]
    run = RayContext(RAY_NAMESPACE, formula, leaf.dtype, leaf.dtype, leaf.size)
    inputs = {name: rays.constant(run, value) for name, value in problem.params.items()}
    these = np.arange(leaf.size)
    inputs["b1"] = rays.along(run, leaf, these, np.array([leaf] * 5))
    coefficients = loss(inputs, *problem.args).taylor[:, : leaf.size]
    unit = np.eye(leaf.size)
    for i in range(leaf.size):

        def along(t: Any, i: int = i) -> Any:
            return loss({**problem.params, "b1": leaf + t * unit[i]}, *problem.args)

        derivative, factorial = along, 1
        for order in range(1, 6 if i == 0 else 4):
            derivative, factorial = gradlab.grad(derivative), factorial * order
            found = coefficients[order, i] * factorial
            wanted = derivative(0.0)
            # Both are sums of fewer than a thousand products of terms of order one.
            assert abs(found - wanted) <= 1000 * np.finfo(float).eps * (1 + abs(wanted))


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "sqrt"])
def test_series_are_those_of_fifty_digits(name: str) -> None:
    """The eight Taylor coefficients of each function agree with its differential equation."""
    for x in (0.3, 1.7, 5.0):
        found = getattr(taylor, name)(np.array([x]), 8)
        with mpmath.workdps(50):
            wanted = mpmath.taylor(getattr(mpmath, name), x, 7)
        largest = max(abs(c) for c in wanted)
        for a, b in zip(found, wanted, strict=True):
            # A few operations; terms that cancel in tanh have the size of the largest.
            assert abs(a[0] - b) <= 100 * np.finfo(float).eps * (abs(b) + largest)


@pytest.mark.parametrize("p", [0, 1, 2, 3, 5, -1, -2, 0.5, -1.5])
@pytest.mark.parametrize("x", [0.0, 0.4, 3.0])
def test_series_of_powers_are_binomial(p: float, x: float) -> None:
    if x == 0 and (p < 0 or p != int(p)):
        return
    found = taylor.power(np.array([x]), 8, p)
    for k, a in enumerate(found):
        wanted = mpmath.binomial(p, k) * (mpmath.mpf(x) ** (p - k) if k <= p or x else 0)
        assert abs(a[0] - wanted) <= 50 * np.finfo(float).eps * abs(wanted)


@given(seed=st.integers(0, 99), terms=st.integers(2, 7))
def test_composition_is_that_of_polynomials(seed: int, terms: int) -> None:
    """φ(u(t)) of small integers is exact, and agrees with multiplication."""
    rng = np.random.default_rng(seed)
    local, u = rng.integers(-4, 5, terms), rng.integers(-4, 5, terms)
    moved = np.polynomial.Polynomial([0, *u[1:]])
    wanted = np.zeros(terms * terms)
    for i, c in enumerate(local):
        power = (c * moved**i).coef
        wanted[: len(power)] += power
    found = taylor.compose(list(local.astype(float)), u.astype(float))
    assert np.array_equal(found, wanted[:terms])


def high_precision_loss(problem: Problem) -> Any:
    """Compute the network in fifty digits by the textbook's formulas, and (d/dW1[0, 0]) of it."""
    activate = {
        "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
        "tanh": mpmath.tanh,
        "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
        "silu": lambda z: z / (1 + mpmath.exp(-z)),
        "relu": lambda z: max(z, mpmath.mpf(0)),
        "elu": lambda z: z if z > 0 else mpmath.exp(z) - 1,
    }[problem.activation]
    layers = [(W.tolist(), b.tolist()) for W, b in network.layers(problem.params)]

    def loss(w: Any) -> Any:
        total = mpmath.mpf(0)
        for row, label in zip(problem.x.tolist(), problem.labels.tolist(), strict=True):
            a = [mpmath.mpf(value) for value in row]
            for number, (W, b) in enumerate(layers):
                z = [mpmath.mpf(value) for value in b]
                for i, value in enumerate(a):
                    for j in range(len(z)):
                        weight = w if (number, i, j) == (0, 0, 0) else W[i][j]
                        z[j] += value * weight
                a = z if number == len(layers) - 1 else [activate(value) for value in z]
            exps = [mpmath.exp(value) for value in a]
            p = [value / mpmath.fsum(exps) for value in exps]
            if problem.kind == "cross_entropy":
                total -= mpmath.log(p[label])
            else:
                total += mpmath.fsum((q - (k == label)) ** 2 for k, q in enumerate(p)) / 2
        return total / len(problem.x)

    return loss


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "softplus", "silu", "relu", "elu"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_evaluation_and_sweep_back_round_within_their_bounds(activation: str, dtype: Any) -> None:
    """The bounds are δ and the error of reverse mode, compared with fifty digits."""
    for problem in fixed_problems(4, [activation], seed=1):
        params = {name: leaf.astype(dtype) for name, leaf in problem.params.items()}
        problem = Problem(
            *(problem.sizes, activation, problem.kind, 0),
            params,
            problem.x.astype(dtype),
            problem.labels,
        )
        with mpmath.workdps(50):
            high = high_precision_loss(problem)
            w = mpmath.mpf(float(params["W1"][0, 0]))
            value, slope = high(w), mpmath.diff(high, w)
        run = RayContext(RAY_NAMESPACE, FORMULAS["reverse"], np.dtype(dtype), np.dtype(dtype), 1)
        inputs = {name: rays.constant(run, leaf) for name, leaf in params.items()}
        δ = float(problem.loss(inputs, *problem.args).error[0])
        computed = problem.loss(params, *problem.args)
        assert abs(mpmath.mpf(float(computed)) - value) <= δ
        assert δ < 1000 * np.finfo(dtype).eps * max(1, float(computed))
        found = gradlab.grad(problem.loss)(params, *problem.args)["W1"][0, 0]
        bounds = error_bounds(problem.loss, params, *problem.args, method="reverse")
        assert abs(mpmath.mpf(float(found)) - slope) <= bounds.total["W1"][0, 0]


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "tanh", "sin", "cos", "sqrt"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_elementary_functions_round_as_assumed(name: str, dtype: Any) -> None:
    """The bound is 4 units in the last place, at 500 points of the usual range."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal(500) * 3).astype(dtype)
    if name in ("log", "log1p", "sqrt"):
        x = np.abs(x)
    found = getattr(np, name)(x)
    with mpmath.workdps(40):
        for argument, value in zip(x.tolist(), found.tolist(), strict=True):
            argument = mpmath.mpf(argument)
            wanted = getattr(mpmath, name)(argument)
            allowed = ELEMENTARY_ROUNDINGS * np.finfo(dtype).eps / 2 * abs(wanted)
            assert abs(mpmath.mpf(value) - wanted) <= allowed, argument


@pytest.mark.parametrize("rule", sorted(RAY_NAMESPACE.__dict__))
def test_ufunc_and_namespace_agree(rule: str) -> None:
    """NumPy's functions are understood on rays wherever the namespace has them."""
    ufunc = getattr(np, rule, None)
    if not isinstance(ufunc, np.ufunc):
        return
    x = np.array([[1.5, 2.5], [0.5, 3.0]])
    run = RayContext(RAY_NAMESPACE, FORMULAS["central"], x.dtype, x.dtype, 1)
    ray = rays.constant(run, x)
    operands: list[tuple[Any, ...]] = [(ray, x + 1), (x + 1, ray), (ray, ray)]
    if ufunc.nin == 1:
        operands = [(ray,)]
    elif rule == "power":
        operands = [(ray, 2), (ray, 0.5), (ray, -1)]
    for these in operands:
        result = ufunc(*these)
        wanted = ufunc(*(x if operand is ray else operand for operand in these))
        if isinstance(result, rays.Mask):
            assert np.array_equal(result.data[0], wanted)
        else:
            assert (np.abs(result.value[0] - wanted) <= result.error[0]).all()


# Kinks


def test_bound_holds_on_a_kink_and_is_about_its_jump() -> None:
    """At relu's kink, the quotient is 1/2 and reverse mode gives 0: half the jump of the slope."""

    def loss(w: Any) -> Any:
        return np.sum(network.relu(w))

    w = np.array([0.0, 1e-9, -1e-9, 0.5, -0.5])
    found = gradlab.grad(loss, "central")(w)
    exact = gradlab.grad(loss)(w)
    bounds = error_bounds(loss, w, method="central")
    assert_within(found, exact, bounds.total)
    assert np.array_equal(bounds.truncation, [1, 1, 1, 0, 0])


@given(networks(activations=["relu", "leaky_relu", "elu"], max_width=3), st.data())
def test_bound_holds_with_a_sum_exactly_on_a_kink(problem: Problem, data: Any) -> None:
    unit = data.draw(st.integers(0, problem.params["b1"].size - 1))
    params = {name: leaf.copy() for name, leaf in problem.params.items()}
    params["W1"][:, unit] = 0.0
    params["b1"][unit] = 0.0
    found = gradlab.grad(problem.loss, "central")(params, *problem.args)
    exact = gradlab.grad(problem.loss)(params, *problem.args)
    bounds = error_bounds(problem.loss, params, *problem.args).total
    reverse = error_bounds(problem.loss, params, *problem.args, method="reverse").total
    assert_within(found, exact, map_leaves(np.add, bounds, reverse))


# The strategies


@given(networks())
def test_networks_can_be_evaluated(problem: Problem) -> None:
    assert np.isfinite(problem.loss(problem.params, *problem.args))
    assert network.layers(problem.params)
    assert problem.x.shape[-1] == problem.sizes[0]


@given(networks(dtypes=[np.float32]))
def test_networks_keep_to_their_dtype(problem: Problem) -> None:
    assert {leaf.dtype for leaf in (*problem.params.values(), problem.x)} == {np.dtype("f4")}


@given(batches(inputs=2, classes=4, max_samples=3, dtype=np.float32))
def test_batches_fit_each_other(batch: tuple[np.ndarray, np.ndarray]) -> None:
    x, labels = batch
    assert x.shape in [(2,), (1, 2), (2, 2), (3, 2)]
    assert x.dtype == np.float32
    assert labels.shape in [x.shape[:-1], (*x.shape[:-1], 4)]


@given(st.data())
def test_equal_draws_are_equal_bits(data: Any) -> None:
    case = data.draw(losses())
    again, _ = strategies._closed_form(case.params, case.seed)
    assert case.loss(case.params) == again(case.params)


def test_parameters_reach_every_kind_of_leaf() -> None:
    seen = set()

    @settings(max_examples=400, derandomize=True, database=None, deadline=None)
    @given(parameters(dtypes=[np.float64, np.float32, np.float16, np.int64, np.uint8]))
    def look(params: Any) -> None:
        seen.add(type(params).__name__)
        flatten(params, lambda leaf, path: seen.add(type(leaf).__name__))
        for _, leaf in named_leaves(params):
            seen.add(leaf.dtype.name)
            seen.add("empty" if leaf.size == 0 else f"{leaf.ndim}-d")
            seen.add("writable" if leaf.flags.writeable else "read-only")
            seen.add("contiguous" if leaf.flags.contiguous else "strided")
            if leaf.size > 1 and 0 in leaf.strides:
                seen.add("broadcast")
            if leaf.flags.fnc:
                seen.add("fortran")

    look()
    assert seen >= {
        *("dict", "list", "tuple", "ndarray", "float", "int"),
        *("float64", "float32", "float16", "int64", "uint8"),
        *("empty", "0-d", "1-d", "2-d", "3-d"),
        *("writable", "read-only", "contiguous", "strided", "broadcast", "fortran"),
    }


@given(losses(parameters(dtypes=[np.float64])))
def test_closed_form_is_the_gradient(case: Any) -> None:
    found = gradlab.grad(case.loss)(case.params)
    bounds = error_bounds(case.loss, case.params, method="reverse")
    assert_within(found, case.gradient(case.params), bounds.total)


# Errors


def test_missing_hypothesis_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis.strategies", None)
    for strategy in (networks, parameters, batches, losses):
        with pytest.raises(MissingDependencyError, match=r'pip install "gradlab\[test\]"'):
            strategy()


def test_unknown_options_are_errors() -> None:
    with pytest.raises(OptionError, match="zigzag"):
        parameters(layouts=["zigzag"])
    with pytest.raises(OptionError, match="method='sideways'"):
        error_bounds(np.sum, np.ones(2), method="sideways")  # type: ignore[arg-type]


def test_sums_in_place_are_sums() -> None:
    def in_place(x: Any) -> Any:
        total = np.sin(x)
        total += x * x
        total -= 1.0
        return np.sum(total)

    x = np.array([0.5, 2.0])
    found, wanted = (
        error_bounds(loss, x).total for loss in (in_place, lambda x: np.sum(np.sin(x) + x * x - 1))
    )
    np.testing.assert_array_equal(found, wanted)


def test_losses_whose_error_is_unknown_are_refused() -> None:
    with pytest.raises(LossError, match="arctan"):
        error_bounds(lambda w: np.sum(np.arctan(w)), np.ones(2))
    with pytest.raises(LossError, match=r"x \*\* ndarray"):
        error_bounds(lambda w: np.sum(w ** np.ones(2)), np.ones(2))
    with pytest.raises(LossError, match="the error of equal"):
        error_bounds(lambda x: np.sum(np.where(x == 1.0, x, 2 * x)), np.ones(2))
    with pytest.raises(LossError, match="the error of add"):
        error_bounds(lambda x: np.sum(np.add(x, x, out=2 * x)), np.ones(2))
    with pytest.raises(LossError, match=r"shape \(2,\)"):
        error_bounds(lambda w: 2 * w, np.ones(2))


# Assertions


@given(losses(parameters(dtypes=[np.float64], layouts=["plain"])), st.data())
def test_assert_gradients_agree(case: Any, data: Any) -> None:
    """It accepts right gradients in every form, and names the one wrong entry."""
    right = case.gradient(case.params)
    leaves, structure = flatten(right)
    sizes = [leaf.size for leaf in leaves]
    if not sum(sizes):
        with pytest.raises(AssertionError, match="no entries"):
            assert_gradients_agree(case.loss, case.params, gradient=right)
        return
    for gradient in (case.gradient, right, "autograd", gradlab.Autograd()):
        assert_gradients_agree(case.loss, case.params, gradient=gradient)
    number = data.draw(st.integers(0, sum(sizes) - 1))
    leaf = int(np.searchsorted(np.cumsum(sizes), number, side="right"))
    wrong = [np.array(leaf) for leaf in leaves]
    wrong[leaf].reshape(-1)[number - sum(sizes[:leaf])] += 1.0
    with pytest.raises(GradientMismatchError, match=r"^mismatch: ") as raised:
        assert_gradients_agree(case.loss, case.params, gradient=structure.unflatten(wrong))
    assert isinstance(raised.value, AssertionError)
    (entry,) = raised.value.report.mismatches
    assert entry.path == structure.paths[leaf]
    assert entry.name in str(raised.value)


def test_an_inconclusive_check_fails_unless_allowed() -> None:
    def loss(w: Any) -> Any:
        return 1e15 + np.sum(w * w)

    w = np.array([0.3, 0.2])
    with pytest.raises(AssertionError, match=r"^inconclusive: (.|\n)*allow_inconclusive=True"):
        assert_gradients_agree(loss, w, gradient=2 * w)
    assert_gradients_agree(loss, w, gradient=2 * w, allow_inconclusive=True)
    with pytest.raises(GradientMismatchError):
        assert_gradients_agree(loss, w, gradient=2e3 * w, allow_inconclusive=True)


def test_assert_gradients_agree_passes_its_options_on() -> None:
    def loss(w: Any) -> Any:
        return np.sum(w * w)

    w = np.arange(1.0, 5.0)
    with pytest.raises(OptionError, match="mode='sideways'"):
        assert_gradients_agree(loss, w, gradient=2 * w, mode="sideways")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="seed"):
        assert_gradients_agree(loss, w, gradient=2 * w, seed=-1)
    with pytest.raises(GradientMismatchError) as raised:
        assert_gradients_agree(loss, w, gradient=w, mode="directional")
    assert raised.value.report.mode == "directional"
    seen: set[Any] = set()
    assert_gradients_agree(
        lambda w: seen.add(w.dtype) or loss(w), w, gradient=2 * w, dtype=np.float32
    )
    assert seen == {np.dtype(np.float32)}


def test_assert_within() -> None:
    params = {"w": np.array([[1.0, 2.0]]), "b": 3.0}
    bound = {"w": np.array([[0.1, 0.1]]), "b": 0.0}
    assert_within(params, params, bound)
    assert_within({"b": 3.0, "w": np.array([[1.05, 1.95]])}, params, bound)
    assert_within({"w": np.array([[9.0, 2.0]]), "b": 3.0}, params, {**bound, "w": np.inf})
    with pytest.raises(AssertionError, match=r"w\[0, 1\] is 3.0; expected 2.0 ± 0.1 .* 10 times"):
        assert_within({"w": np.array([[1.2, 3.0]]), "b": 3.0}, params, bound)
    with pytest.raises(AssertionError, match=r"b is 3\.5"):
        assert_within({**params, "b": 3.5}, params, bound)
    with pytest.raises(OptionError, match="the bound has"):
        assert_within(params, params, {"w": np.ones(2)})
