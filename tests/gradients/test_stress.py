"""Numbers at the edges of floating point: right within the bound, or an error in one line."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import warnings
from dataclasses import dataclass
from typing import Any

import memory
import numpy as np
import pytest
from conformance import AUTOGRAD, CENTRAL, INCREMENTAL, ROWS, Row, elementary, every_row
from optional import unless_missing

import gradlab
from gradlab import network
from gradlab.errors import (
    DivergenceError,
    GradlabError,
    NonFiniteError,
    OptionError,
    ParameterError,
)
from gradlab.params import flatten, map_leaves
from gradlab.testing import assert_within

LARGEST = float(np.finfo(np.float64).max)

# Losses and parameters at the edges of floating point


@dataclass(frozen=True)
class Case:
    """A loss, a point, and its gradient there in closed form."""

    loss: Any
    params: Any
    gradient: Any
    by_all: bool = False  # by numerical differentiation, too, with the default steps


def case(loss: Any, at: Any, gradient: Any, dtype: Any = np.float64, **options: Any) -> Case:
    return Case(loss, np.array(at, dtype), np.array(gradient), **options)


exp, log, sin = map(elementary, ("exp", "log", "sin"))
BIG = np.float32(3e38)

CASES = {
    "1e300": case(lambda w: (w * 1e-300).sum(), [1e300, -2e300], [1e-300, 1e-300], by_all=True),
    "log 1e300": case(lambda w: log(w).sum(), [1e300, 2e300], [1e-300, 5e-301], by_all=True),
    "1e-300": case(lambda w: (w * 1e300).sum(), [1e-300, 2e-300], [1e300, 1e300], by_all=True),
    "log 1e-300": case(lambda w: log(w).sum(), [1e-300, 2e-300], [1e300, 5e299]),
    "sin 1e-300": case(
        lambda w: sin(w * 1e300).sum(), [1e-300, 2e-300], 1e300 * np.cos([1.0, 2.0])
    ),
    "square 1e-300": case(lambda w: ((w * 1e300) ** 2).sum(), [1e-300, 2e-300], [2e300, 4e300]),
    "square that underflows": case(
        lambda w: (w * w).sum(), [1e-300, -1e-300], [2e-300, -2e-300], by_all=True
    ),
    "denormal": case(lambda w: (3 * w).sum(), [5e-324, 1e-310], [3.0, 3.0], by_all=True),
    "square of denormals": case(
        lambda w: ((w * 1e300) ** 2).sum(),
        [1e-310, 3e-310],
        [2e300 * (1e-310 * 1e300), 2e300 * (3e-310 * 1e300)],  # of few digits themselves
    ),
    "near overflow": case(lambda w: 1e308 * w.sum(), [0.5, 1.2], [1e308, 1e308]),
    "at overflow": case(lambda w: (w * LARGEST).sum(), [1.0], [LARGEST]),
    "exp 709.7": case(lambda w: exp(w).sum(), [709.7, 1.0], np.exp([709.7, 1.0])),
    "near underflow": case(lambda w: 1e-310 * (w * w).sum(), [0.5, 1.2], [1e-310, 2.4e-310]),
    "underflow": case(
        lambda w: (w * w).sum() * 1e-200 * 1e-200, [0.5, 1.2], [0.0, 0.0], by_all=True
    ),
    "exp -740": case(lambda w: exp(w).sum(), [-740.0, -744.0], np.exp([-740.0, -744.0])),
    "float32 near overflow": case(lambda w: (BIG * w).sum(), [0.5, 0.5], [BIG, BIG], np.float32),
    "float32 denormal": case(
        lambda w: (w * 2).sum(), [1e-40, 1e-45], [2.0, 2.0], np.float32, by_all=True
    ),
    "float32 square": case(
        lambda w: (w * w).sum(), [1e-40, 1e-30], [2e-40, 2e-30], np.float32, by_all=True
    ),
}

# XLA folds constants and rounds denormal numbers to 0; the complex step refuses what it cannot
# confirm by real differences.
MUST_ANSWER = [name for name in ROWS if ROWS[name].exact and not ROWS[name].analytic]


def answer(row: Row, loss: Any, params: Any, *args: Any) -> Any:
    """Return the gradient, or an error in one line that names the problem."""
    # NumPy's warnings of an overflow come from the loss, and are not an answer.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        try:
            return row.grad(loss, params, *args)
        except GradlabError as error:
            return error


@every_row
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_right_or_refused_at_the_edges(row: Row, case: Case) -> None:
    found = answer(row, lambda p: case.loss(p["w"]), {"w": case.params})
    if isinstance(found, GradlabError):
        told = str(found)
        assert "\n" not in told
        assert "w[" in told or "the loss" in told or "slope" in told
        refuses = row.backend.name in ("spsa", "jax", "complex-step") or bool(row.directions)
        assert refuses or not row.exact
        # A step of 1e-4 does not change 1e300, which is another error.
        assert not case.by_all or row.step is not None or row.backend.name == "jax"
        return
    assert found["w"].dtype == case.params.dtype
    assert np.isfinite(found["w"]).all()
    with np.errstate(all="ignore"):
        try:
            bound = row.bound(lambda p: case.loss(p["w"]), {"w": case.params})
        except NonFiniteError:  # of an estimator's noise, which has no bound in floating point
            assert row.directions
            return
    wanted = {"w": case.gradient.astype(np.float64)}
    with np.errstate(over="ignore"):
        assert_within(found, wanted, bound)


@pytest.mark.parametrize("name", MUST_ANSWER)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_reverse_and_forward_mode_answer_at_every_edge(name: str, case: Case) -> None:
    """The gradient is right up to round-off, without a warning."""
    found = ROWS[name].grad(case.loss, case.params)
    eps, tiny = np.finfo(case.params.dtype).eps, np.finfo(case.params.dtype).tiny
    np.testing.assert_allclose(found, case.gradient, rtol=4 * eps, atol=tiny)


def test_steps_become_as_small_as_an_entry_of_1e_minus_300() -> None:
    """Default steps suit entries of order 1 or more; a small entry gets a step of its own scale."""
    seen = CASES["sin 1e-300"]
    found = CENTRAL.grad(seen.loss, seen.params)
    np.testing.assert_allclose(found, seen.gradient, rtol=1e-9)
    with np.errstate(all="ignore"):
        assert gradlab.check_gradients(seen.loss, seen.params, gradient=seen.gradient).ok
    own = gradlab.CentralDifference(step=2.0**-1010, incremental=False)
    np.testing.assert_allclose(gradlab.grad(seen.loss, own)(seen.params), seen.gradient, rtol=1e-3)


@pytest.mark.parametrize("factor", [1.0, 1.5])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_checker_judges_or_is_inconclusive(case: Case, factor: float) -> None:
    """A fault of a half is found, unless the report states a coarser resolution."""
    with np.errstate(all="ignore"):
        claimed = factor * case.gradient.astype(np.float64)
        claimed = np.clip(claimed, -LARGEST, LARGEST).astype(case.params.dtype)
        report = gradlab.check_gradients(case.loss, case.params, gradient=claimed)
    if report.verdict == "inconclusive":
        return
    is_right = factor == 1.0 or not case.gradient.any()
    assert report.ok == is_right or report.resolution > 0.5, str(report)
    if case.by_all and not is_right and case.gradient.min() > 1e-290:
        assert report.verdict == "mismatch"


def test_large_changes_in_the_incremental_engine_are_infinities_not_errors() -> None:
    params = {name: 1e150 * leaf for name, leaf in network.init((3, 4, 2), seed=0).items()}
    x, labels = np.random.default_rng(0).standard_normal((3, 3)), np.array([0, 1, 1])
    found = INCREMENTAL.grad(network.loss, params, x, labels)
    exact = AUTOGRAD.grad(network.loss, params, x, labels)
    for name, leaf in exact.items():  # saturated, and linear in the last layer
        np.testing.assert_allclose(found[name], leaf, rtol=1e-6, atol=1e-6)


# One of each, and many

SHAPES = {"one class": (3, 1), "one of all": (1, 1), "one layer": (3, 2), "a narrow one": (3, 1, 2)}


@every_row
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sizes", SHAPES.values(), ids=SHAPES)
def test_one_sample_one_class_one_layer(row: Row, sizes: tuple[int, ...], dtype: Any) -> None:
    params = network.init(sizes, seed=1, dtype=dtype)
    x, labels = np.ones((1, sizes[0]), dtype), np.zeros(1, int)
    found = row.grad(network.loss, params, x, labels)
    wide = map_leaves(lambda leaf: leaf.astype(np.float64), params)
    exact = AUTOGRAD.grad(network.loss, wide, x, labels)
    bound = row.bound(network.loss, params, x, labels)
    assert_within(found, exact, map_leaves(lambda b: 1.01 * b + 1e-300, bound))
    if sizes[-1] == 1:  # the class is certain
        assert not any(leaf.any() for leaf in found.values())


@pytest.mark.parametrize("sizes", [(3, 0, 2), (0, 2), (3, 0), (3,), ()])
def test_empty_layers_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="sizes="):
        network.init(sizes)


@every_row
def test_empty_hidden_layers_are_refused_in_parameters(row: Row) -> None:
    empty = {"W1": np.zeros((3, 0)), "b1": np.zeros(0), "W2": np.zeros((0, 2)), "b2": np.zeros(2)}
    with pytest.raises(ParameterError, match=r"W1 has shape \(3, 0\); expected .* none of them 0"):
        row.grad(network.loss, empty, np.ones((1, 3)), np.zeros(1, int))


def deep(layers: int) -> tuple[Any, Any, Any]:
    """Return a chain of tanh, and its weights, whose gradient is a product of all of them."""

    def loss(w: Any) -> Any:
        tanh = elementary("tanh")
        y = 1.0 + 0.0 * w[0]
        for i in range(layers):
            y = tanh(w[i] * y)
        return y

    w = 1.5 + 0.001 * np.arange(layers)
    values = [1.0]
    for weight in w:
        values.append(float(np.tanh(weight * values[-1])))
    slopes = 1 - np.array(values[1:]) ** 2
    behind = np.cumprod((slopes * w)[::-1])[::-1] / w  # from the loss down to each layer
    return loss, w, behind * np.array(values[:-1])


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=name, marks=[pytest.mark.slow] * (name == "autograd-forward"))
        for name, row in ROWS.items()
        if not row.directions and not row.adaptive
    ],
)
def test_two_hundred_layers(row: Row) -> None:
    """Exact backends are exact, the others close."""
    loss, w, wanted = deep(200)
    found = row.grad(loss, w)
    largest = np.abs(wanted).max()
    digits = 1e-12 if row.exact else 1e-6
    np.testing.assert_allclose(found, wanted, rtol=0, atol=digits * largest)


@pytest.mark.parametrize("name", ["autograd", "tape", "forward-gradient"])
def test_recursion_is_not_what_limits_depth(name: str) -> None:
    """A chain of over 1,200 operations is deeper than Python's limit on recursion."""
    loss, w, wanted = deep(600)
    found = ROWS[name].grad(loss, w)
    if not ROWS[name].directions:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())
    assert np.isfinite(found).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the gradient of W1.* vanishes:gradlab.errors.TrainingWarning")
@pytest.mark.parametrize(
    "backend", ["autograd", "tape", "spsa", unless_missing("jax"), unless_missing("torch")]
)
def test_a_network_of_two_hundred_layers_trains(backend: str) -> None:
    params = network.init((2,) * 201, seed=0, activation="tanh")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 2))
    data = x, (x[:, 0] > 0).astype(int)

    def loss(params: Any, *args: Any) -> Any:
        return network.loss(params, *args, activation="tanh")

    result = gradlab.fit(
        loss, params, data, backend=backend, learning_rate=0.01, epochs=2, batch_size=5
    )
    assert all(np.isfinite(leaf).all() for leaf in result.params.values())


# The trainer

START = network.init((3, 4, 2), seed=0, dtype=np.float32)


def data(dtype: Any = np.float32, n: int = 20, scale: float = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return (scale * rng.standard_normal((n, 3))).astype(dtype), rng.integers(2, size=n)


@pytest.mark.parametrize("backend", [unless_missing(name) for name in gradlab.BACKENDS])
def test_a_training_in_float32_computes_in_float32(backend: str) -> None:
    """This holds for parameters and momentum, and for losses that are evaluated in float32."""
    seen = set()

    def loss(params: Any, x: Any, labels: Any) -> Any:
        outputs = network.logits(params, x)
        seen.add(str(outputs.dtype).removeprefix("torch."))
        return network.cross_entropy(outputs, labels)

    result = gradlab.fit(
        loss, START, data(), backend=backend, learning_rate=0.1, momentum=0.9, epochs=1,
        batch_size=7,
    )  # fmt: skip
    assert {leaf.dtype for leaf in flatten(result.params)[0]} == {np.dtype(np.float32)}
    numerical = {"central", "central4", "complex-step", "forward", "richardson", "spsa"}
    if backend in numerical:
        assert seen <= {"float64", "complex128", "float32"}
        assert "float64" in seen
    else:
        assert seen == {"float32"}


@pytest.mark.parametrize("backend", ["autograd", "tape", "central", "spsa", "forward-gradient"])
@pytest.mark.parametrize(
    ("rate", "dtype"), [(1e300, np.float64), (1e39, np.float32)], ids=["float64", "float32"]
)
def test_training_that_overflows_is_reported(backend: str, rate: float, dtype: Any) -> None:
    params = {"w": np.array([1.0, 2.0], dtype)}
    with np.errstate(all="ignore"), pytest.raises(DivergenceError, match="iteration 1: "):
        gradlab.fit(
            lambda p, x: (p["w"] * p["w"]).sum() + 0 * x.sum(), params, (np.ones((4, 1), dtype),),
            backend=backend, learning_rate=rate, epochs=5, batch_size=2,
        )  # fmt: skip
    assert params["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("backend", ["autograd", "tape", "central"])
@pytest.mark.parametrize("scale", [1e-310, 1e-30, 1e300])
@pytest.mark.filterwarnings("ignore::gradlab.errors.TrainingWarning")
def test_training_on_data_of_any_size(backend: str, scale: float) -> None:
    params = network.init((3, 4, 2), seed=0)
    result = gradlab.fit(
        network.loss, params, data(np.float64, scale=scale), backend=backend,
        learning_rate=0.1, epochs=2, batch_size=5,
    )  # fmt: skip
    assert np.isfinite(result.history.losses).all()
    assert all(np.isfinite(leaf).all() for leaf in result.params.values())


@pytest.mark.filterwarnings("ignore::gradlab.errors.ZeroGradientWarning")  # one class: no slope
@pytest.mark.parametrize("backend", ["autograd", "tape", "central", "spsa"])
@pytest.mark.parametrize("sizes", [(3, 2), (3, 1), (3, 4, 2)])
def test_training_on_one_sample(backend: str, sizes: tuple[int, ...]) -> None:
    x, labels = data(np.float64, n=1)
    result = gradlab.fit(
        network.loss, network.init(sizes, seed=0), (x, labels % sizes[-1]), backend=backend,
        learning_rate=0.1, epochs=20,
    )  # fmt: skip
    losses = result.history.losses
    assert losses[-1] < losses[0] or sizes[-1] == 1


# Threads


@pytest.mark.parametrize("backend", ["autograd", gradlab.Tape(exact=True), "spsa"], ids=str)
def test_threads_of_blas_change_no_more_than_rounding(backend: Any) -> None:
    """The same number of threads gives the same bits, another number a few roundings."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    rng = np.random.default_rng(0)
    params = network.init((200, 150, 10), seed=0)  # large enough for BLAS to use several threads
    x, labels = rng.standard_normal((150, 200)), rng.integers(10, size=150)

    def differentiate(threads: int) -> tuple[float, dict[str, Any]]:
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            return gradlab.value_and_grad(network.loss, backend)(params, x, labels)

    one, two = (differentiate(threads) for threads in (1, 2))
    for threads, (value, grads) in ((1, one), (2, two)):
        again, grads_again = differentiate(threads)
        assert again == value
        assert all(grads[name].tobytes() == grads_again[name].tobytes() for name in grads)
    rounding = 64 * np.finfo(float).eps * (2.0**17 if backend == "spsa" else 1)  # over its step
    for name, leaf in one[1].items():
        largest = max(np.abs(leaf).max(), abs(one[0]) if backend == "spsa" else 0)
        assert np.abs(leaf - two[1][name]).max() <= rounding * largest


# Memory

STATED = {
    "autograd": (4, 4),
    "tape": (8, 1),
    "spsa": (5, 5),
    "forward-gradient": (7, 7),
    "central": (5, 5),
    "central4": (6, 6),
    "forward": (5, 5),
    "richardson": (7, 7),
    "complex-step": (9, 9),
    "autograd-forward": (8, 8),
}
"""Copies of float64 parameters, at the first call and at later ones, as CONTRIBUTING states."""


SLOW = ("richardson", "complex-step", "autograd-forward")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in STATED]
)
def test_memory_is_within_the_stated_multiple(name: str) -> None:
    at_once = name in memory.AT_ONCE
    backend = (memory.AT_ONCE | memory.BY_ENTRY)[name]
    entries = 100_000 if at_once else 2000
    found = memory.measure(name, backend, entries, "float64")
    fixed = 0.25 if at_once else 1.5  # some 200 kB for a recording, 24 kB for a call
    first, later = STATED[name]
    assert later - 1 < found.later <= later + fixed
    if at_once:  # otherwise, one-off look-ups would dominate
        assert first - 1 < found.first <= first + fixed


TEN_MILLION = """
    import sys
    import numpy as np
    import gradlab

    def loss(w, x):
        return ((w * x) ** 2).sum()

    w, x = np.full(10**7, 0.5), np.ones(10**7)
    value, grads = gradlab.value_and_grad(loss, sys.argv[1])(w, x)
    assert value == 0.25e7, value
    if sys.argv[1] in ("spsa", "forward-gradient"):  # a slope along a direction, times it
        assert np.isfinite(grads).all() and grads.any()
    else:
        assert np.array_equal(grads, np.ones(10**7))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend",
    [
        "autograd",
        "tape",
        "spsa",
        "forward-gradient",
        unless_missing("jax"),
        unless_missing("torch"),
    ],
)
def test_ten_million_parameters(backend: str) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(TEN_MILLION), backend], check=True)
