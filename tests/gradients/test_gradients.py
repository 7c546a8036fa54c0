"""Every backend keeps the laws of a backend: one table, a row a backend, every law on every row."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import mpmath
import numpy as np
import pytest
from array_api_compat import array_namespace
from counting import calls_of
from hypothesis import example, given
from hypothesis import strategies as st
from optional import is_installed, unless_missing

import gradlab
from gradlab import BACKENDS, network
from gradlab.errors import (
    BackendError,
    GradlabError,
    LossError,
    NonFiniteError,
    OptionError,
    ParameterError,
)
from gradlab.gradients import Backend, is_estimator
from gradlab.gradients.differences.steps import steps
from gradlab.gradients.estimators import directions
from gradlab.gradients.probing import Probe
from gradlab.gradients.spsa import common_step
from gradlab.params import flatten, floating, map_leaves, named_leaves, size
from gradlab.testing import (
    ClosedForm,
    Method,
    Problem,
    assert_within,
    error_bounds,
    losses,
    networks,
    parameters,
)

# The conformance table


@dataclass(frozen=True)
class Replays(gradlab.Tape):
    """The tape at its third call: recorded, compared with eager autograd, and left alone."""

    def value_and_grad(self, loss: Any) -> Any:
        f = super().value_and_grad(loss)

        def third(params: Any, *args: Any) -> Any:
            first, second = f(params, *args), f(params, *args)
            assert first[0] == second[0]
            return f(params, *args)

        return third


@dataclass(frozen=True)
class IncrementalCentral(gradlab.CentralDifference):
    """The central difference over a recording of the loss, however few its parameters are."""

    fewest = 0


@dataclass(frozen=True)
class IncrementalForward(gradlab.ForwardDifference):
    """The forward difference, likewise."""

    fewest = 0


@dataclass(frozen=True)
class IncrementalCentral4(gradlab.CentralDifference4):
    """The one of fourth order, likewise."""

    fewest = 0


@dataclass(frozen=True)
class TracedTorch(gradlab.Torch):
    """PyTorch's backend with the graph that it would compile, which takes seconds, run as it is."""

    def value_and_grad(self, loss: Any) -> Any:
        f = gradlab.Torch(compile=True).value_and_grad(loss)
        f.kernels = lambda graph: graph
        return f


@dataclass(frozen=True)
class Row:
    """A backend and what it promises."""

    backend: Backend
    method: Method  # its error law, as in `error_bounds`
    evaluations: Callable[[int], int]  # of the loss, for p parameters; at most, where adaptive
    own_precision: bool = False  # evaluates float32 parameters in float32, not in float64
    adaptive: bool = False  # evaluates as often as the loss makes it
    traced: bool = False  # evaluates the loss on boxes around all arrays, not the parameters alone
    native: bool = False  # computes in another library, which rounds in ways of its own
    directions: str = ""  # estimates, from random directions of these entries

    @property
    def exact(self) -> bool:
        return self.method in ("reverse", "complex-step") and not self.directions

    @property
    def analytic(self) -> bool:
        return self.method == "complex-step"

    @property
    def step(self) -> float | None:
        return getattr(self.backend, "step", None)

    def grad(self, loss: Any, params: Any, *args: Any) -> Any:
        return gradlab.grad(loss, self.backend)(params, *args)

    def bound(self, loss: Any, params: Any, *args: Any) -> Any:
        """How far this backend's gradient may lie from the true one."""
        if self.directions:
            return map_leaves(np.add, *law_of_estimate(self, loss, params, *args))
        return self.error(loss, params, *args)

    def error(self, loss: Any, params: Any, *args: Any) -> Any:
        """How far it may lie from its formula in theory, for the directions that it drew."""
        if self.directions:
            return law_of_estimate(self, loss, params, *args)[0]
        return error_bounds(loss, params, *args, method=self.method, step=self.step).total

    def roundoff(self, loss: Any, params: Any, *args: Any) -> Any:
        """The part of that which is round-off; for an estimator, all of it."""
        if self.directions:
            return law_of_estimate(self, loss, params, *args)[0]
        return error_bounds(loss, params, *args, method=self.method, step=self.step).roundoff


# The error laws of estimators

FALSE_ALARM = 1e-9
"""How likely it is that an entry is off by more than its bound, where directions are normal."""


def law_of_estimate(row: Row, loss: Any, params: Any, *args: Any) -> tuple[Any, Any]:
    """The error of an estimate, and its noise.

    The error is how far it may lie from the mean of (∇f · v) v over the directions v that it drew;
    the noise is how far that may lie from ∇f. For signs, an entry is off by Σ ± g_j over all the
    others, at most. For normal directions it is a sum of two χ² with the weights (g_i ± |g|) / 2:
    Laurent & Massart, *Adaptive estimation of a quadratic functional by model selection*, 2000,
    lemma 1, for the upper and the lower tail of both.
    """
    backend: Any = row.backend
    wide = map_leaves(lambda leaf: np.asarray(leaf, np.float64), params)
    g, structure = flatten(gradlab.grad(loss, gradlab.Autograd())(wide, *args))
    reverse = error_bounds(loss, params, *args, method="reverse").total
    off = sum(float(leaf.sum()) for _, leaf in named_leaves(reverse))  # of g, or of a slope
    one = sum(float(np.abs(leaf).sum()) for leaf in g) + off
    two = float(np.sqrt(sum(float((leaf**2).sum()) for leaf in g))) + off
    if row.directions == "signs":
        largest = 1.0
        noise = [one - np.abs(leaf) + off for leaf in g]
    else:
        largest = 8.0  # the rest has a probability of 1e-15
        t = np.log(4 / FALSE_ALARM) / backend.draws
        noise = [2 * two * np.sqrt(t) + (np.abs(leaf) + off + two) * t for leaf in g]
    is_numerical = isinstance(backend, gradlab.SPSA)
    slope = error_of_slopes(backend, loss, params, *args) if is_numerical else largest * off
    size = largest**2 * one + largest * slope

    def error(leaf: Any) -> Any:
        # A product, a sum and a quotient by the draws; then the cast to the leaf's dtype.
        cast = np.finfo(floating(leaf).dtype)
        rounded = ((backend.draws + 3) * np.finfo(float).eps + float(cast.eps)) * size
        return np.full(leaf.shape, largest * slope + rounded + float(cast.tiny))

    errors = [error(leaf) for _, leaf in named_leaves(params)]
    return structure.unflatten(errors), structure.unflatten(noise)


def error_of_slopes(backend: gradlab.SPSA, loss: Any, params: Any, *args: Any) -> float:
    """The mean error of the central differences along the directions that were drawn."""
    leaves, structure = Probe(loss, params, args, None).leaves, flatten(params)[1]
    structure = replace(structure, scalars=frozenset())
    step = common_step(leaves, backend.step)
    errors = [
        error_bounds(
            lambda t, v=v: loss(
                structure.unflatten([x + t * d for x, d in zip(leaves, v, strict=True)]), *args
            ),
            0.0,
            method="central",
            step=step,
        ).total
        for v in directions(leaves, backend.draws, backend.entropy(), "signs")
    ]
    return float(np.mean(errors))


# The rows

AUTOGRAD = Row(gradlab.Autograd(), "reverse", lambda p: 1, own_precision=True)
CENTRAL = Row(gradlab.CentralDifference(incremental=False), "central", lambda p: 2 * p + 1)
CENTRAL4 = Row(gradlab.CentralDifference4(incremental=False), "central4", lambda p: 4 * p + 1)
COMPLEX = Row(gradlab.ComplexStep(), "complex-step", lambda p: p + 5)
FORWARD = Row(gradlab.ForwardDifference(incremental=False), "forward", lambda p: p + 2 if p else 1)
TAPE = replace(AUTOGRAD, backend=gradlab.Tape(), evaluations=lambda p: 2, traced=True)
REPLAY = replace(TAPE, backend=Replays(), evaluations=lambda p: 3)
NOTEBOOK = replace(CENTRAL, backend=gradlab.CentralDifference(step=1e-4, incremental=False))
# Nothing is evaluated for each entry: the loss itself once, once on boxes to record it, and once
# beside the parameters to confirm the recording.
INCREMENTAL = replace(CENTRAL, backend=IncrementalCentral(), evaluations=lambda p: 3, traced=True)
INCREMENTAL4 = replace(INCREMENTAL, backend=IncrementalCentral4(), method="central4")
INCREMENTAL_FORWARD = replace(INCREMENTAL, backend=IncrementalForward(), method="forward")
SHARED = replace(CENTRAL, backend=gradlab.CentralDifference(workers=map, incremental=False))
RICHARDSON = Row(gradlab.Richardson(), "richardson", lambda p: 86 * p + 1, adaptive=True)
ALONG_ENTRIES = replace(
    AUTOGRAD, backend=gradlab.AutogradForward(), evaluations=lambda p: max(p, 1)
)
SPSA = Row(gradlab.SPSA(draws=3), "central", lambda p: 2 * 3 + 1, directions="signs")
FORWARD_GRADIENT = Row(
    gradlab.ForwardGradient(draws=4),
    "reverse",
    lambda p: 4,
    own_precision=True,
    directions="normal",
)


def native(backend: str, build: Callable[..., Backend], **settings: Any) -> Any:
    """The row of a backend of another library, or the reason why there is none here."""
    if not is_installed(backend):
        return None
    # Once on the library's arrays, and once on NumPy's, to compare the values.
    return replace(TAPE, backend=build(**settings), native=True, evaluations=lambda p: 2)


LIBRARIES = {
    "jax": ("jax", native("jax", gradlab.Jax)),
    "torch": ("torch", native("torch", gradlab.Torch)),
    "torch traced": ("torch", native("torch", TracedTorch, compile=True)),
}

ROWS = {
    "autograd": AUTOGRAD,
    "autograd-forward": ALONG_ENTRIES,
    "central": CENTRAL,
    "central4": CENTRAL4,
    "complex-step": COMPLEX,
    "forward": FORWARD,
    "forward-gradient": FORWARD_GRADIENT,
    "incremental central": INCREMENTAL,
    "incremental central4": INCREMENTAL4,
    "incremental forward": INCREMENTAL_FORWARD,
    "notebook": NOTEBOOK,
    "richardson": RICHARDSON,
    "shared out": SHARED,
    "spsa": SPSA,
    "tape": TAPE,
    "tape replayed": REPLAY,
}

every_row = pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=name) for name, row in ROWS.items()]
    + [unless_missing(backend, row, name) for name, (backend, row) in LIBRARIES.items()],
)
every_difference = pytest.mark.parametrize(
    "row",
    [row for row in ROWS.values() if not row.exact and not row.directions],
    ids=lambda row: repr(row.backend),
)


def test_every_backend_has_a_row() -> None:
    of_rows = {row.backend.name for row in ROWS.values()}
    assert of_rows | {backend for backend, _ in LIBRARIES.values()} == set(BACKENDS)


def test_estimators_are_told_apart() -> None:
    """Every row says whether its backend estimates, and so does the backend."""
    for row in ROWS.values():
        assert is_estimator(row.backend) == bool(row.directions)
    assert not is_estimator(object())


# Structures to differentiate at

Layer = namedtuple("Layer", "W b")


def read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


STRUCTURES: dict[str, Any] = {
    "dict": {"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([0.5, -0.5])},
    "nested": {"encoder": [{"W": np.ones((2, 1))}, np.ones(3)], "scale": (np.array(2.0), 1.5)},
    "list": [np.ones(2), np.zeros((1, 2))],
    "tuple": (np.ones(2), np.zeros(1)),
    "namedtuple": Layer(np.ones((2, 2)), np.zeros(2)),
    "bare": np.array([1.0, 2.0, 3.0]),
    "0-d": np.array(1.5),
    "float": 1.5,
    "int": 3,
    "numpy scalar": np.float32(1.5),
    "scalars": {"slope": 1, "offset": 2.0},
    "no entries": {"W": np.zeros((0, 3)), "b": np.ones(2)},
    "no leaves": {},
    "int64": np.array([3, 4]),
    "uint8": np.array([250, 0], dtype=np.uint8),
    "float32": np.array([0.1, 0.2], dtype=np.float32),
    "float16": np.array([0.5, 0.25], dtype=np.float16),
    "mixed": {"a": np.ones(2, np.float32), "b": np.ones(2), "c": np.arange(2)},
    "strided": np.arange(8.0)[::2],
    "reversed": np.arange(4.0)[::-1],
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "read-only": {"W": read_only(np.ones((2, 2)))},
    "broadcast": np.broadcast_to(np.array([1.0, 2.0]), (3, 2)),
    "big-endian": np.array([1.0, 2.0], dtype=">f8"),
}
every_structure = pytest.mark.parametrize("params", STRUCTURES.values(), ids=STRUCTURES)


def leaves_of(params: Any) -> list[Any]:
    """The leaves as the loss sees them."""
    return flatten(params, lambda leaf, path: leaf)[0]


def smooth(params: Any) -> Any:
    """Of any structure: every entry has its own slope, and each depends on the others."""
    total = 0.0
    for number, leaf in enumerate(leaves_of(params), start=1):
        leaf = 1.0 * leaf
        sin = array_namespace(leaf).sin
        total = total + (sin(number * leaf) + 0.01 * leaf * leaf).sum()
    return total + 0.1 * total * total


def snapshot(params: Any) -> list[tuple[bytes, tuple[int, ...], str]]:
    return [(leaf.tobytes(), leaf.strides, leaf.dtype.str) for _, leaf in named_leaves(params)]


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
    """Against nested closed forms: each entry's own formula, in float64."""
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
def test_result_is_no_alias_of_the_data(row: Row) -> None:
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
@given(case=losses(parameters(dtypes=[np.float64])), scale=st.floats(-4, 4), seed=st.integers(0, 9))
def test_linear_in_the_loss(row: Row, case: ClosedForm, scale: float, seed: int) -> None:
    """∇(c f + g) = c ∇f + ∇g, within what the three bounds allow."""

    def other(params: Any) -> Any:
        return smooth(params) + float(seed)

    def combined(params: Any) -> Any:
        return scale * case.loss(params) + other(params)

    def weigh(f: Any, g: Any) -> Any:
        return map_leaves(lambda a, b: scale * a + b, f, g)

    found = row.grad(combined, case.params)
    wanted = weigh(row.grad(case.loss, case.params), row.grad(other, case.params))
    allowed = map_leaves(
        # The weighing itself rounds twice.
        lambda a, b, c, w: a + abs(scale) * b + c + np.finfo(float).eps * (np.abs(w) + a),
        *(row.error(loss, case.params) for loss in (combined, case.loss, other)),
        wanted,
    )
    # `wanted` may be the small difference of two large terms, whose roundings count.
    large = map_leaves(
        lambda a, b: np.finfo(float).eps * (np.abs(scale * a) + np.abs(b)),
        row.grad(case.loss, case.params),
        row.grad(other, case.params),
    )
    assert_within(found, wanted, map_leaves(np.add, allowed, large))


@every_row
@given(problem=networks(), seed=st.integers(0, 100))
def test_order_of_the_batch_is_free(row: Row, problem: Problem, seed: int) -> None:
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
    """One returned function, several shapes and dtypes; the same input gives the same bits."""
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
        # Its step is in proportion to an entry: of 250, too wide for a sine, and it looks again.
        assert len(calls) > most
    else:
        assert len(calls) == most or (row.adaptive and len(calls) < most)


# Agreement: the heart of the matter


@every_row
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(data=st.data())
def test_agrees_with_reverse_mode_on_networks(row: Row, dtype: Any, data: Any) -> None:
    """Entry by entry, for any depth, widths, activation, loss and batch."""
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


def elementary(name: str) -> Callable[[Any], Any]:
    """A function of the Array API, whichever library's array it is given."""
    return lambda x: getattr(array_namespace(x), name)(x)


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
    """A backend whose gradient is off by a part in 1e3 in its largest entry breaks the law."""
    params = network.init((3, 4, 2), seed=1)
    x, labels = np.random.default_rng(2).standard_normal((5, 3)), np.array([0, 1, 1, 0, 1])
    grads = row.grad(network.loss, params, x, labels)
    exact = AUTOGRAD.grad(network.loss, params, x, labels)
    bound = row.bound(network.loss, params, x, labels)
    assert_within(grads, exact, map_leaves(lambda a: 1.01 * a, bound))
    largest = np.unravel_index(np.argmax(np.abs(grads["W1"])), grads["W1"].shape)
    # The noise of an estimate hides a part in 1e3; a few of its bounds it cannot.
    fault = 3 * bound["W1"][largest] if row.directions else 1e-3 * grads["W1"][largest]
    grads["W1"][largest] += fault
    with pytest.raises(AssertionError, match=r"W1\["):
        assert_within(grads, exact, map_leaves(lambda a: 1.01 * a, bound))


# The notebook


def test_step_reproduces_the_notebook() -> None:
    """numerical_gradient(f2, ...) of the notebook: its values, and its formula to the last bit."""

    def f2(x: Any) -> Any:
        return np.sum(x**2, axis=0)

    def numerical_gradient(f: Any, x: Any) -> Any:
        h = 1e-4
        slopes = np.zeros_like(x)
        for i in range(x.size):
            held = x[i]
            x[i] = held + h
            above = f(x)
            x[i] = held - h
            below = f(x)
            slopes[i] = (above - below) / (2 * h)
            x[i] = held
        return slopes

    for point, printed in [([3, 4], [6, 8]), ([0, 2], [0, 4]), ([3, 0], [6, 0])]:
        x = np.array(point, dtype=float)
        found = NOTEBOOK.grad(f2, x)
        assert np.array_equal(found.round(8), printed)
        notebook = numerical_gradient(f2, x)
        # It divides by 2h, where the points lie (x + h) - (x - h) apart: a rounding of x each.
        apart = np.abs(notebook) * 2 * np.spacing(np.abs(x) + 1e-4) / 2e-4
        bound = error_bounds(f2, x, method="central", step=1e-4).total
        assert_within(found, notebook, apart + bound)
        assert_within(found, 2 * x, bound)


@every_row
def test_matrices_are_differentiated(row: Row) -> None:
    """The notebook's numerical gradient could not index one."""
    W = np.arange(6.0).reshape(2, 3)
    assert_within(row.grad(lambda W: (W**2).sum(), W), 2 * W, row.bound(lambda W: (W**2).sum(), W))


@every_row
def test_integers_are_not_truncated(row: Row) -> None:
    """The notebook's step vanished in an array of integers."""
    grads = row.grad(lambda x: (x**2).sum(), np.array([3, 4]))
    assert grads.dtype == np.float64
    assert_within(grads, np.array([6.0, 8.0]), row.bound(lambda x: (x**2).sum(), np.array([3, 4])))


def test_textbook_formulas() -> None:
    """The quotients as in the module's docstring, for a step that is exact."""
    f, x, h = np.exp, 0.5, 2.0**-10
    central = gradlab.grad(f, gradlab.CentralDifference(step=h))(x)
    fourth = gradlab.grad(f, gradlab.CentralDifference4(step=h))(x)
    forward = gradlab.grad(f, gradlab.ForwardDifference(step=h))(x)
    assert central == (f(x + h) - f(x - h)) / (2 * h)
    assert forward == (f(x + h) - f(x)) / h
    rise = 8 * f(x + h) - 8 * f(x - h) - f(x + 2 * h) + f(x - 2 * h)
    # Each of the five terms of the sum rounds three times at most.
    assert abs(fourth - rise / (12 * h)) <= 18 * 3 * np.finfo(float).eps * f(x + 2 * h) / (12 * h)


# Steps


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@given(seed=st.integers(0, 2**16), exponent=st.integers(-8, 8))
def test_default_steps(order: int, dtype: Any, seed: int, exponent: int) -> None:
    x = np.random.default_rng(seed).standard_normal(200).astype(dtype) * dtype(10.0) ** exponent
    h = steps(x, None, order)
    assert h.dtype == dtype
    mantissa, _ = np.frexp(h)
    assert np.all(mantissa == 0.5)  # a power of two
    # Nearest, on the scale of exponents, to ε^(1/(order+1)) max(1, |x|).
    ideal = np.finfo(dtype).eps ** (1 / (order + 1)) * np.maximum(1, np.abs(x.astype(float)))
    assert np.all(np.abs(np.log2(h / ideal)) <= 0.5 + 1e-5)


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e8])
def test_default_steps_are_exact_beside_ordinary_numbers(scale: float) -> None:
    """x ± h is exact unless the sum has an exponent more than x, or x is small against h."""
    x = np.random.default_rng(0).standard_normal(2000) * scale
    h = steps(x, None, 2)
    exact = ((x + h) - x == h) & (x - (x - h) == h)
    assert exact.mean() > 0.99


@every_difference
def test_steps_are_scaled_to_large_entries(row: Row) -> None:
    if row.step is None:
        x = np.array([1e8, -1e8, 1.0])
        bound = row.bound(lambda x: np.sum(x * x), x)
        found = row.grad(lambda x: np.sum(x * x), x)
        assert_within(found, 2 * x, bound)
        # Central: ε|f|/h relative to f' = 2x; forward: its own h/2 f''.
        assert np.abs(found / (2 * x) - 1)[:2].max() < 1e-7


@every_difference
def test_step_that_vanishes_is_an_error(row: Row) -> None:
    backend = replace(row.backend, step=1e-9)  # type: ignore[type-var]
    params = {"w": [np.ones(2), np.array([[1.0, 1e8]])]}
    with pytest.raises(OptionError, match=r"w\[1\]\[0, 1\] = 100000000.0: give a larger step"):
        gradlab.grad(smooth, backend)(params)


@every_difference
@pytest.mark.parametrize("step", [0.0, -1e-4, np.nan, np.inf, True, "small", 1e-4j])
def test_useless_steps_are_refused(row: Row, step: Any) -> None:
    with pytest.raises(OptionError, match="step="):
        replace(row.backend, step=step)  # type: ignore[type-var]


@every_difference
@pytest.mark.parametrize("dtype", [np.int64, np.complex128, bool, "precise"])
def test_useless_dtypes_are_refused(row: Row, dtype: Any) -> None:
    with pytest.raises(OptionError, match="dtype="):
        replace(row.backend, dtype=dtype)  # type: ignore[type-var]


# The precision of the evaluation


@every_row
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64, np.uint8])
def test_precision_of_the_evaluation(row: Row, dtype: Any) -> None:
    seen = set()

    def loss(w: Any) -> Any:
        seen.add(np.dtype(str(w.dtype).removeprefix("torch.")))
        return (w * w).sum()

    row.grad(loss, np.ones(2, dtype))
    own = np.dtype(dtype) if np.dtype(dtype).kind == "f" else np.dtype(np.float64)
    complex_, wide = np.dtype(np.complex128), np.dtype(np.float64)
    assert seen == {own if row.own_precision else wide} | ({complex_} if row.analytic else set())


@every_difference
@given(problem=networks(dtypes=[np.float32], max_layers=2))
def test_evaluates_in_float32_when_told(row: Row, problem: Problem) -> None:
    if row.step is not None:
        row = replace(row, backend=replace(row.backend, step=2.0**-7))  # type: ignore[type-var]
    seen = set()

    def loss(params: Any, *args: Any) -> Any:
        value = problem.loss(params, *args)
        if isinstance(value, np.generic):
            seen.add(value.dtype)
        return value

    backend = replace(row.backend, dtype=np.float32)  # type: ignore[type-var]
    found = gradlab.grad(loss, backend)(problem.params, *problem.args)
    assert seen == {np.dtype(np.float32)}
    wide = map_leaves(lambda leaf: leaf.astype(np.float64), problem.params)
    exact = AUTOGRAD.grad(problem.loss, wide, *problem.args)
    bound = error_bounds(
        problem.loss,
        problem.params,
        *problem.args,
        method=row.method,
        step=row.step,
        dtype=np.float32,
    ).total
    reverse = AUTOGRAD.bound(problem.loss, wide, *problem.args)
    assert_within(found, exact, map_leaves(np.add, bound, reverse))


# Errors


@every_row
@pytest.mark.parametrize(
    ("leaf", "error", "message"),
    [
        ("text", ParameterError, "net.w is 'text'; parameters are arrays of real numbers"),
        (None, ParameterError, "net.w is None"),
        (True, ParameterError, "net.w is True"),
        (np.array([True]), ParameterError, "net.w is an array of dtype bool"),
        (np.array([object()]), ParameterError, "net.w is an array of dtype object"),
        (np.array(["a"]), ParameterError, "net.w is an array of dtype <U1"),
        (np.array([1 + 1j]), ParameterError, "net.w is complex"),
        (1j, ParameterError, "net.w is complex"),
        (np.array([[0.0, np.nan]]), NonFiniteError, r"net\.w\[0, 1\] is nan"),
        (np.array([np.inf]), NonFiniteError, r"net\.w\[0\] is inf"),
        (float("-inf"), NonFiniteError, "net.w is -inf"),
    ],
)
def test_unusable_parameters_are_named(row: Row, leaf: Any, error: Any, message: str) -> None:
    if "complex" in message and row.backend.name in ("autograd", "tape"):
        return  # autograd differentiates by complex numbers
    with pytest.raises(error, match=message) as caught:
        row.grad(lambda p: 0.0, {"first": np.ones(2), "net": {"w": leaf}})
    assert isinstance(caught.value, GradlabError)


@every_row
@pytest.mark.parametrize(
    ("result", "error", "message"),
    [
        (np.ones(3), LossError, r"an array of shape \(3,\)"),
        (np.ones((2, 1)), LossError, r"an array of shape \(2, 1\)"),
        ("text", LossError, "returned 'text'"),
        (None, LossError, "returned None"),
        (True, LossError, "returned True"),
        (object(), LossError, "returned <object object"),
        (2j, LossError, "complex number"),
        (np.complex128(1), LossError, "complex number"),
        (float("nan"), NonFiniteError, "the loss is nan"),
        (np.float64("inf"), NonFiniteError, "the loss is inf"),
    ],
)
def test_unusable_losses_are_errors(row: Row, result: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        row.grad(lambda w: result, np.ones(2))


@every_row
def test_vector_that_depends_on_the_parameters_is_an_error(row: Row) -> None:
    with pytest.raises(LossError, match=r"an array of shape \(2,\)"):
        row.grad(lambda w: 2 * w, np.ones(2))


@every_row
def test_complex_loss_that_depends_on_the_parameters_is_an_error(row: Row) -> None:
    with pytest.raises(LossError, match="complex"):
        row.grad(lambda w: (w * (1 + 1j)).sum(), np.ones(2))


@every_row
def test_infinite_gradient_is_an_error(row: Row) -> None:
    """√x at 0 has none; overflow of a float32 gradient has none either."""
    if row.exact:
        message = r"gradient is inf at w\[1\]"
        if row.analytic:  # it finds a slope of 1e50 there, and a loss that has no values beside it
            message = "cannot confirm"
        if row is ALONG_ENTRIES:  # 0 · ∞, along the first one already
            message = r"gradient is nan at w\[0\]"
        with np.errstate(divide="ignore"), pytest.raises(NonFiniteError, match=message):
            row.grad(lambda p: elementary("sqrt")(p["w"]).sum(), {"w": np.array([1.0, 0.0])})
    steep = {"w": np.array([0.0, 1.0], np.float32)}
    with (
        pytest.raises(NonFiniteError, match=r"gradient is inf at w\[0\]"),
        np.errstate(all="ignore"),
    ):
        row.grad(lambda p, x: (p["w"] * x).sum(), steep, np.array([1e42, 1.0]))


@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@every_difference
def test_nan_beside_the_point_names_the_entry(row: Row) -> None:
    def loss(p: Any) -> Any:
        return np.float64(np.nan) if p["w"][1] > 2.0 else p["w"].sum()

    with pytest.raises(NonFiniteError, match=r"the loss is nan at w\[1\] = 2.0 moved to 2\.0"):
        row.grad(loss, {"w": np.array([1.0, 2.0])})


@every_row
def test_exception_of_the_loss_carries_a_note(row: Row) -> None:
    def loss(w: Any) -> Any:
        raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own") as caught:
        row.grad(loss, np.ones(2))
    notes = [note for note in caught.value.__notes__ if note.startswith("raised by the loss")]
    assert len(notes) == 1  # JAX adds one on its own affairs


@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
@every_difference
def test_exception_beside_the_point_names_the_entry(row: Row) -> None:
    def loss(p: Any) -> Any:
        if p[0][0, 1] != 2.0:
            raise ZeroDivisionError("the user's own")
        return p[0].sum()

    with pytest.raises(ZeroDivisionError) as caught:
        row.grad(loss, [np.array([[1.0, 2.0]])])
    assert caught.value.__notes__[0].startswith("raised by the loss at [0][0, 1] = 2.0 moved to 2")


@every_row
@every_structure
def test_loss_that_writes_into_its_parameters_fails(row: Row, params: Any) -> None:
    """It raises, or it wrote into a number of its own; the caller's arrays stay as they were."""

    def loss(params: Any) -> Any:
        for leaf in leaves_of(params):
            leaf[...] = 0.0
        return smooth(params)

    before = snapshot(params)
    if size(params):
        with pytest.raises((ValueError, TypeError)) as caught:
            row.grad(loss, params)
        assert isinstance(caught.value, GradlabError) or caught.value.__notes__
    assert snapshot(params) == before


@every_difference
def test_loss_that_adds_in_place_fails(row: Row) -> None:
    def loss(p: Any) -> Any:
        p["w"] += 1.0
        return p["w"].sum()

    with pytest.raises(ValueError, match="read-only"):
        row.grad(loss, {"w": np.ones(2)})


# The lookup


@pytest.mark.parametrize("name", [unless_missing(name) for name in BACKENDS])
def test_lookup_by_name(name: str) -> None:
    backend = gradlab.find_backend(name)
    assert backend.name == name
    assert isinstance(backend, Backend)
    if name != "forward-gradient":  # 6 χ²
        assert gradlab.grad(lambda x: x * x, name)(3.0) == pytest.approx(6.0)
    assert gradlab.find_backend(backend) is backend
    assert hash(backend) == hash(gradlab.find_backend(name))  # frozen


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(BackendError, match="unknown backend 'centrall': did you mean 'central'"):
        gradlab.grad(smooth, "centrall")
    with pytest.raises(BackendError, match="unknown backend 'magic': choose from autograd, "):
        gradlab.grad(smooth, "magic")


@pytest.mark.parametrize("backend", [None, 3, object(), gradlab.Autograd, np.gradient])
def test_objects_that_are_no_backends_are_refused(backend: Any) -> None:
    with pytest.raises(BackendError, match="is not a backend"):
        gradlab.value_and_grad(smooth, backend)


def test_backend_of_the_users_own() -> None:
    class Mine:
        name = "mine"

        def value_and_grad(self, loss: Any) -> Any:
            return lambda params, *args: (float(loss(params, *args)), "a gradient")

    assert gradlab.value_and_grad(lambda x, y: x + y, Mine())(1, 2) == (3.0, "a gradient")
    assert gradlab.grad(lambda x: x, Mine())(1) == "a gradient"


# Differentiating again


def test_hessian_by_reverse_mode_twice() -> None:
    """Of Rosenbrock's function, in closed form."""

    def rosenbrock(x: Any) -> Any:
        return 100.0 * (x[1] - x[0] ** 2) ** 2 + (1.0 - x[0]) ** 2

    gradient = gradlab.grad(rosenbrock)
    x = np.array([-1.5, 2.0])
    hessian = [gradlab.grad(lambda x, i=i: gradient(x)[i])(x) for i in range(2)]
    wanted = [[1200 * x[0] ** 2 - 400 * x[1] + 2, -400 * x[0]], [-400 * x[0], 200]]
    assert hessian[0].tolist() == wanted[0]  # small integers and halves: exact
    assert hessian[1].tolist() == wanted[1]


def test_third_derivative_by_reverse_mode() -> None:
    third = gradlab.grad(gradlab.grad(gradlab.grad(np.sin)))
    assert third(0.5) == pytest.approx(-np.cos(0.5), rel=8 * np.finfo(float).eps)


@every_difference
def test_difference_of_a_gradient(row: Row) -> None:
    """A difference quotient of reverse mode's slope: the second derivative."""
    slope = gradlab.grad(np.exp)
    found = row.grad(lambda x: slope(x), 0.5)
    # f' = f here, whose error is below that of exp alone four times over.
    assert abs(found - np.exp(0.5)) <= 4 * row.bound(np.exp, 0.5)


def test_second_derivative_through_a_structure() -> None:
    """∂/∂s of the gradient norm: inner and outer parameters in one loss."""

    def loss(p: Any, s: Any) -> Any:
        return (s * p["w"] ** 2).sum() + p["b"] * s

    def outer(s: Any) -> Any:
        grads = gradlab.grad(loss)({"w": np.array([1.0, 2.0]), "b": 3.0}, s)
        return (grads["w"] ** 2).sum() + grads["b"] ** 2

    # Σ (2 s w)² + s² = 21 s²
    assert gradlab.grad(outer)(0.5) == 21.0


# One source


@given(problem=networks(activations=["sigmoid", "tanh", "softplus", "silu", "softmax", "identity"]))
def test_network_runs_on_complex_arrays(problem: Problem) -> None:
    """The same source, a step of 1e-200 along the imaginary axis: the slope without subtraction."""
    x, labels = problem.args
    exact = AUTOGRAD.grad(problem.loss, problem.params, x, labels)
    bound = AUTOGRAD.bound(problem.loss, problem.params, x, labels)
    h = 1e-200
    W = problem.params["W1"].astype(complex)
    W[0, 0] += 1j * h
    slope = problem.loss({**problem.params, "W1": W}, x, labels).imag / h
    # Complex products round as two real ones and a sum do: Higham, lemma 3.5.
    assert abs(slope - exact["W1"][0, 0]) <= (1 + 2 * np.sqrt(2)) * bound["W1"][0, 0]


@given(problem=networks(max_layers=2))
def test_network_runs_on_autograds_own_functions(problem: Problem) -> None:
    """gradlab's reverse mode and autograd's public one give the same gradient."""
    import autograd

    x, labels = problem.args
    found = AUTOGRAD.grad(problem.loss, problem.params, x, labels)

    def loss(*leaves: Any) -> Any:
        return problem.loss(dict(zip(problem.params, leaves, strict=True)), x, labels)

    leaves = tuple(problem.params.values())
    peers = autograd.grad(loss, argnum=tuple(range(len(leaves))))(*leaves)
    peer = dict(zip(problem.params, peers, strict=True))
    twice = map_leaves(lambda a: 2 * a, AUTOGRAD.bound(problem.loss, problem.params, x, labels))
    assert_within(found, peer, twice)
