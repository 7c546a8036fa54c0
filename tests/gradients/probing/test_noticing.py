"""Properties that numerical backends detect: precision, small entries, randomness, kept arrays."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from autograd.tracer import getval
from hypothesis import given
from hypothesis import strategies as st

import gradlab
from gradlab import network
from gradlab.errors import (
    LossError,
    OptionError,
    ParameterError,
    ReadOnlyError,
    UntraceableWarning,
    ZeroGradientWarning,
)
from gradlab.gradients.noise import relative_noise
from gradlab.gradients.probing import CoarseLoss
from gradlab.gradients.workers.task import Task

DIFFERENCES = ("central", "central4", "forward", "richardson")
NUMERICAL = (*DIFFERENCES, "spsa", "complex-step")

rng = np.random.default_rng(0)
X, Y, W = rng.normal(size=(20, 6)), rng.normal(size=20), rng.normal(size=6)
SLOPES = 2 * X.T @ (X @ W - Y) / len(Y)
X4, Y4 = X.astype(np.float32), Y.astype(np.float32)


def squares(w: Any) -> Any:
    return np.mean((X @ w - Y) ** 2)


# Precision

NARROW: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "returned": (lambda w: np.mean((X4 @ w.astype(np.float32) - Y4) ** 2), SLOPES),
    "returned as float": (lambda w: float(np.mean((X4 @ w.astype(np.float32) - Y4) ** 2)), SLOPES),
    "inside": (lambda w: np.mean(((X @ w).astype(np.float32).astype(float) - Y) ** 2), SLOPES),
    "in a part": (lambda w: squares(w) + float(np.float32(np.sum(w**2))), SLOPES + 2 * W),
}


@pytest.mark.parametrize("backend", DIFFERENCES)
@pytest.mark.parametrize("how", NARROW)
def test_float32_is_detected(how: str, backend: str) -> None:
    """The bound is the error of the best step, ε^(q/(q+1)), for the forward difference."""
    loss, wanted = NARROW[how]
    found = gradlab.grad(loss, backend)(W)
    assert np.abs(found - wanted).max() <= 16 * 2.0**-12 * np.abs(wanted).max()


@pytest.mark.parametrize("backend", DIFFERENCES)
def test_float16_is_detected(backend: str) -> None:
    def loss(w: Any) -> Any:
        return np.mean(((X @ w).astype(np.float16).astype(float) - Y) ** 2)

    found = gradlab.grad(loss, backend)(W)
    assert np.abs(found - SLOPES).max() <= 4 * 2.0**-5.5 * np.abs(SLOPES).max()


@pytest.mark.parametrize("method", [gradlab.CentralDifference, gradlab.ForwardDifference])
@pytest.mark.parametrize("how", NARROW)
def test_workers_detect_the_same_precision_to_the_bit(how: str, method: Any) -> None:
    loss, _ = NARROW[how]
    plain = gradlab.grad(loss, method())(W)
    assert gradlab.grad(loss, method(workers=map))(W).tobytes() == plain.tobytes()


def test_a_given_step_that_is_lost_is_refused() -> None:
    with pytest.raises(OptionError, match=r"step=1e-09 is lost in a loss that returns float32"):
        gradlab.grad(NARROW["returned"][0], gradlab.CentralDifference(step=1e-9))(W)


def test_kinks_and_ripples_are_not_noise() -> None:
    for seed in range(20):
        a, b = np.random.default_rng(seed).normal(size=(2, 50))

        def kinked(t: float) -> float:
            return float(np.abs(a + t * b).sum())  # noqa: B023

        def rippled(t: float) -> float:
            return 1 + t + 1e-4 * float(np.sin(1e4 * t * a[0]))  # noqa: B023

        assert relative_noise(kinked, kinked(0.0)) < 1e-14
        assert relative_noise(rippled, 1.0) < 1e-14


# Small entries


@pytest.mark.parametrize("backend", ["central", "central4", "richardson"])
@pytest.mark.parametrize("x", [1e-3, 1e-5, 3e-7, 1e-10, 1e-30])
def test_small_entries(x: float, backend: str) -> None:
    """The slopes of 1/x have six digits; a step for entries of size 1 gives none."""
    assert gradlab.grad(lambda v: 1 / v, backend)(x) == pytest.approx(-1 / x**2, rel=1e-6)
    assert gradlab.grad(lambda v: v**3 + v, backend)(x) == pytest.approx(1 + 3 * x**2, rel=1e-9)


@pytest.mark.parametrize("backend", ["central", "central4", "richardson"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_small_entries_near_the_edge_of_a_domain(backend: str) -> None:
    for x in (1e-4, 1e-6, 1e-10):
        assert gradlab.grad(np.log, backend)(x) == pytest.approx(1 / x, rel=1e-6)


@given(exponent=st.floats(-5, 0))
def test_small_entries_among_others(exponent: float) -> None:
    x = np.array([10.0**exponent, 1.0, -0.5])
    for many in (1, 40):  # by the loop, and from a recording
        at = np.tile(x, many)
        found = gradlab.grad(lambda v: np.sum(1 / v), "central")(at)
        roundoff = 8 * 2.0**-52 * np.abs(1 / at).sum() / 2.0**-17
        np.testing.assert_allclose(found, -1 / at**2, rtol=2e-5, atol=roundoff)


def test_tiny_weights_keep_their_digits() -> None:
    """Their steps are not made smaller without need, which would lose digits to round-off."""
    for size in (1e-12, 1e-8, 1e-4):
        w = size * W
        found = gradlab.grad(lambda w: np.sum(np.tanh(X @ w) ** 2), "central")(w)
        t = np.tanh(X @ w)
        np.testing.assert_allclose(found, 2 * X.T @ (t * (1 - t**2)), atol=1e-9, rtol=1e-8)


def test_a_loss_that_jumps_is_refused() -> None:
    with pytest.raises(LossError, match=r"cannot resolve the slope of the loss at params\[1\]"):
        gradlab.grad(lambda x: np.sum(np.where(x > 0.5, 1.0, 0.0)) + x[0], "central")(
            np.array([0.2, 0.5])
        )


@pytest.mark.parametrize("backend", ["forward", "central", "central4", "richardson"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("size", [5, 80])
def test_a_gradient_that_is_zero_within_its_error_is_accepted(
    backend: str, scale: float, size: int
) -> None:
    """At a fit without residuals: these round, and their squares are 1e-30 of the data's.

    The bound is the error of one residual, from sums of `size` products, times its slope. That of a
    difference of squares is as large; 64 covers the finer steps. The forward difference adds its
    truncation: h f''/2, with h up to twice the root of epsilon.
    """
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=(2 * size, size)), scale * rng.normal(size=size)
    y = a @ x
    found = gradlab.grad(lambda x: np.sum((a @ x - y) ** 2), backend)(x)
    error = np.finfo(float).eps * size * (np.abs(a) @ np.abs(x))
    bound = 64 * np.abs(a).T @ error
    if backend == "forward":
        h = 2 * np.sqrt(np.finfo(float).eps) * np.maximum(1, np.abs(x))
        bound += 2 * h * np.sum(a**2, axis=0)
    assert np.all(np.abs(found) <= bound)


@pytest.mark.parametrize("backend", ["forward", "central", "central4"])
@pytest.mark.parametrize(
    "loss",
    [
        lambda x: np.sin(1e20 * np.sum(x)) ** 2,
        lambda x: np.maximum(x[0] - 0.3, 0.0) ** 0.3 + (x[1] - 0.7) ** 2,
        lambda x: np.sum((x - 0.3) ** 2) + np.where(x[0] > 0.3, 1e-9, 0.0),
    ],
    ids=["as noise", "cusp", "jump"],
)
def test_a_minimum_with_jumps_is_refused(backend: str, loss: Any) -> None:
    with pytest.raises(LossError):
        gradlab.grad(loss, backend)(np.array([0.3, 0.7]))


def test_an_optimiser_gets_a_gradient_where_the_fit_is_exact() -> None:
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is not installed")
    t = np.linspace(0, 3, 20)

    def loss(p: Any) -> Any:
        return np.sum((p[0] * np.exp(-p[1] * t) - 2.0 * np.exp(-0.5 * t)) ** 2)

    both = gradlab.value_and_grad(loss, "central")
    found = optimize.minimize(both, [2.0, 0.5], jac=True, tol=0.0)
    np.testing.assert_allclose(found.x, [2.0, 0.5], rtol=1e-12)


# Steps for each leaf or entry


@pytest.mark.parametrize(
    "method",
    [
        gradlab.CentralDifference,
        gradlab.CentralDifference4,
        gradlab.ForwardDifference,
        gradlab.Richardson,
    ],
)
def test_steps_may_be_a_structure(method: Any) -> None:
    params = {"w": np.array([1.0, -2.0]), "b": 0.5}

    def loss(p: Any) -> Any:
        return np.sum(p["w"] ** 3) * p["b"] ** 2

    one = gradlab.grad(loss, method(step=2.0**-10))(params)
    for steps in (
        {"w": 2.0**-10, "b": 2.0**-10},
        {"w": np.full(2, 2.0**-10), "b": 2.0**-10},
    ):
        for options in ({}, {"workers": map}):
            found = gradlab.grad(loss, method(step=steps, **options))(params)
            assert found["w"].tobytes() == one["w"].tobytes()
            assert found["b"] == one["b"]
    other = gradlab.grad(loss, method(step={"w": np.array([2.0**-10, 2.0**-4]), "b": 2.0**-10}))
    assert other(params)["w"][0] == one["w"][0]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"w": 1e-3}, "step has w; the parameters have w, b"),
        ({"w": np.ones(3), "b": 1.0}, r"step of w has shape \(3,\); expected \(2,\), or a number"),
    ],
)
def test_steps_of_another_structure_are_refused(step: Any, message: str) -> None:
    backend = gradlab.CentralDifference(step=step)
    with pytest.raises(OptionError, match=message):
        gradlab.grad(lambda p: p["w"].sum() + p["b"], backend)({"w": np.ones(2), "b": 1.0})


@pytest.mark.parametrize("step", [{"w": 0.0}, {"w": -1.0}, [np.array([1.0, np.nan])], {"w": "x"}])
def test_steps_are_positive(step: Any) -> None:
    with pytest.raises(OptionError, match="step="):
        gradlab.CentralDifference(step=step)


# Randomness


@pytest.mark.parametrize("backend", [*NUMERICAL, gradlab.CentralDifference(workers=map)])
@pytest.mark.parametrize("p", [3, 100])
@pytest.mark.parametrize("kind", ["dropout", "state"])
@pytest.mark.filterwarnings("ignore::gradlab.errors.UntraceableWarning")
def test_a_random_loss_is_refused(kind: str, p: int, backend: Any) -> None:
    draw, calls = np.random.default_rng(0), []
    x, w = np.random.default_rng(1).normal(size=(9, p)), np.random.default_rng(2).normal(size=p)

    def loss(w: Any) -> Any:
        calls.append(None)
        mask = draw.random(x.shape) > 0.5 if kind == "dropout" else 1.0
        return np.mean(((x * mask) @ w) ** 2) + 1e-3 * len(calls)

    with pytest.raises(LossError, match="not deterministic"):
        gradlab.grad(loss, backend)(w)
    assert len(calls) < 2 * p + 40  # found out early


# Detached values


@pytest.mark.parametrize("backend", ["central", "forward", "central4"])
def test_a_recording_is_compared_with_the_loss_at_perturbed_parameters(backend: str) -> None:
    x = np.random.default_rng(0).normal(size=100)
    with pytest.warns(UntraceableWarning, match="beside the parameters it differs"):
        found = gradlab.grad(lambda x: np.sum(x * getval(x)), backend)(x)
    np.testing.assert_allclose(found, 2 * x, atol=2e-6)


# The caller's arrays


class Keeps:
    """A network that copies its arguments into its own arrays."""

    def __init__(self) -> None:
        self.params = {"w": np.array([1.0, 2.0, 3.0])}

    def loss(self, p: Any) -> float:
        for key in p:
            self.params[key][...] = p[key]
        return float(np.sum(self.params["w"] ** 2))


@pytest.mark.parametrize("backend", ["central", "central4", "forward", "richardson", "spsa"])
def test_a_network_that_keeps_its_parameters(backend: str) -> None:
    net, pure = Keeps(), {"w": np.array([1.0, 2.0, 3.0])}
    found = gradlab.grad(net.loss, backend)(net.params)["w"]
    wanted = gradlab.grad(lambda p: float(np.sum(p["w"] ** 2)), backend)(pure)["w"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert net.params["w"].tolist() == [1.0, 2.0, 3.0]


def test_a_check_of_such_a_network() -> None:
    net = Keeps()
    report = gradlab.check_gradients(net.loss, net.params, gradient=lambda p: {"w": 2 * p["w"]})
    assert report.verdict == "agree"
    assert net.params["w"].tolist() == [1.0, 2.0, 3.0]
    gradlab.derivative_with_error(net.loss, net.params)
    assert net.params["w"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("backend", NUMERICAL)
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: [x], lambda x: {"x": (x,)}])
def test_arguments_are_read_only(wrap: Any, backend: str) -> None:
    x = np.ones(3)

    def loss(w: Any, data: Any) -> Any:
        inner = data
        while not isinstance(inner, np.ndarray):
            inner = inner["x"] if isinstance(inner, dict) else inner[0]
        inner *= 2
        return np.sum(w * inner)

    with pytest.raises(ReadOnlyError, match="writes into its parameters or arguments") as caught:
        gradlab.grad(loss, backend)(np.ones(3), wrap(x))
    assert isinstance(caught.value, ValueError)
    assert x.tolist() == [1.0] * 3
    with pytest.raises(ReadOnlyError):
        gradlab.check_gradients(loss, np.ones(3), wrap(x), gradient=np.ones(3))


@pytest.mark.parametrize("backend", [*NUMERICAL, "autograd", "tape", "forward-gradient"])
def test_masked_parameters_are_refused(backend: str) -> None:
    with pytest.raises(ParameterError, match="masked array"):
        gradlab.grad(lambda p: p["w"].sum(), backend)({"w": np.ma.array([1.0, 2.0], mask=[0, 1])})


# Complex step

DROPPED: dict[str, Callable[[Any], Any]] = {
    "real, in float32": lambda w: squares(np.asarray(w).real.astype(np.float32).astype(float)),
    "float of the real part": lambda w: float(squares(np.asarray(w)).real),
    "real of a part": lambda w: squares(w) + np.sum(np.asarray(w)[:1].real ** 2),
    "absolute values of a copy": lambda w: np.mean(np.abs(X @ np.array(w) - Y) ** 2),
}


@pytest.mark.parametrize("how", DROPPED)
def test_a_dropped_imaginary_part_is_kept(how: str) -> None:
    """The real part is the array itself, also in single precision."""
    found, wanted = (
        gradlab.grad(DROPPED[how], backend)(W) for backend in ("complex-step", "autograd")
    )
    digits = 1e-6 if "float32" in how else 1e-13
    np.testing.assert_allclose(found, wanted, atol=digits * np.abs(wanted).max())


def test_complex_step_of_a_loss_in_complex64() -> None:
    def loss(w: Any) -> Any:
        if np.iscomplexobj(w):
            return np.asarray(squares(np.asarray(w)), np.complex64)
        return np.float32(squares(w))

    found = gradlab.grad(loss, "complex-step")(W)
    np.testing.assert_allclose(found, SLOPES, atol=1e-6 * np.abs(SLOPES).max())


# Losses that do not depend on their parameters


def test_a_check_says_that_a_loss_is_constant() -> None:
    own = W.copy()
    wrong = gradlab.check_gradients(lambda w: squares(own), W, gradient=SLOPES)
    assert wrong.verdict == "mismatch"
    zero = gradlab.check_gradients(lambda w: squares(own), W, gradient=np.zeros(6))
    assert zero.verdict == "inconclusive"
    for report in (wrong, zero):
        assert "does not depend on its parameters" in str(report)
        assert report.constant
        assert not any(leaf.cause for leaf in report.leaves)
    assert not gradlab.check_gradients(squares, W, gradient=SLOPES).constant


@pytest.mark.parametrize("params", [{}, [], np.zeros(0), {"w": np.zeros((0, 3))}])
def test_a_check_without_a_verdict_is_not_ok(params: Any) -> None:
    report = gradlab.check_gradients(lambda p: 1.0, params, gradient=params)
    assert not report.ok
    assert "no entries" in str(report)


@pytest.mark.parametrize("backend", ["autograd", "central", "forward", "richardson"])
def test_fit_warns_of_a_gradient_that_is_zero(backend: str) -> None:
    own = {"w": np.ones(3)}

    def loss(p: Any, x: Any) -> Any:
        return np.mean((x @ own["w"]) ** 2)

    with pytest.warns(ZeroGradientWarning, match="does not depend on its parameters") as caught:
        gradlab.fit(loss, {"w": np.ones(3)}, (X[:, :3],), backend=backend, epochs=3)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradlab.fit(lambda p, x: np.mean((x @ p["w"]) ** 2), own, (X[:, :3],), epochs=1)


def test_a_loss_that_is_infinite_at_the_start_does_not_blame_the_learning_rate() -> None:
    with pytest.raises(gradlab.GradlabError, match="before the first step") as caught:
        gradlab.fit(lambda p, x: p.sum() * x.sum() + np.inf, W, (X,), epochs=1)
    assert "learning rate" not in str(caught.value)


# Error bars and checks of losses that compute in float32 inside


def test_error_bars_reach_slopes_of_partial_stairs() -> None:
    """Sums of float32 numbers in float64: smooth, flat or too steep close by."""
    for seed in range(100):
        r = np.random.default_rng(seed)
        a, c, o, w = r.normal(size=5), r.normal(size=5), r.normal(size=5), float(r.normal())

        def loss(w: Any) -> float:
            return float(c @ np.tanh(a * w + o).astype("f").astype(float))  # noqa: B023

        value, error = gradlab.derivative_with_error(loss, w)
        assert abs(value - c @ (a * (1 - np.tanh(a * w + o) ** 2))) <= error


def test_slopes_below_the_rounding_are_not_called_wrong() -> None:
    p = {"w": np.array([0.5, -1.0, 2.0]), "b": np.array([0.3])}

    def loss(p: Any) -> float:
        return float(np.float32(np.sum(p["w"] ** 2) + 1e-8 * p["b"][0]))

    report = gradlab.check_gradients(
        loss, p, gradient=lambda p: {"w": 2 * p["w"], "b": np.array([1e-8])}
    )
    assert report.verdict != "mismatch"
    wrong = gradlab.check_gradients(
        loss, p, gradient=lambda p: {"w": 2.02 * p["w"], "b": np.array([1e-8])}
    )
    assert wrong.verdict == "mismatch"


def test_a_wrong_entry_in_float32_is_found() -> None:
    report = gradlab.check_gradients(
        lambda w: np.sum(w**2),
        np.array([0.5, -1, 2]),
        gradient=lambda w: 2 * w + 0.01,
        dtype=np.float32,
    )
    assert report.verdict == "mismatch"


# A resumed gradient


class Interrupted:
    """A loss that is interrupted after a number of calls; its state is no part of its identity."""

    calls, last = 0, -1


def interrupted(w: Any) -> Any:
    Interrupted.calls += 1
    if Interrupted.calls == Interrupted.last:
        raise KeyboardInterrupt
    return NARROW["inside"][0](w)


def test_a_resumed_gradient_takes_the_steps_of_its_file(tmp_path: Any) -> None:
    path = tmp_path / "partial"
    Interrupted.calls, Interrupted.last = 0, -1
    wanted = gradlab.grad(interrupted, gradlab.CentralDifference(workers=map))(W)
    total, Interrupted.calls, Interrupted.last = Interrupted.calls, 0, Interrupted.calls - 3
    backend = gradlab.CentralDifference(workers=map, resume=path)
    with pytest.raises(KeyboardInterrupt):
        gradlab.grad(interrupted, backend)(W)
    assert path.exists()
    Interrupted.calls, Interrupted.last = 0, -1
    assert gradlab.grad(interrupted, backend)(W).tobytes() == wanted.tobytes()
    assert Interrupted.calls < total
    assert not path.exists()


def test_sent_tasks_have_the_precision() -> None:
    task = Task(gradlab.CentralDifference(), squares, W, (), squares(W), 2.0**-20, True)
    probe = task.probe()
    assert (probe.precision, probe.closely) == (2.0**-20, True)
    assert CoarseLoss(0.5, True).args == (0.5, True)


def test_noise_of_finer_steps_does_not_spoil_a_good_one():
    """Terms cancel in float32: below steps of 1e-3, the slopes differ by their noise."""
    params = {
        "W1": np.array([[1.4638793], [0.7341882], [0.36014166]], np.float32),
        "b1": np.array([-0.10691471], np.float32),
        "W2": np.array([[0.0703612, 4.4495363]], np.float32),
        "b2": np.array([-0.50941396, -0.58714736], np.float32),
    }
    x = np.array([[-0.8453463, 0.07336707, -1.2070984]], np.float32)

    def loss(params):
        return network.loss(params, x, np.array([0]), activation="identity", kind="squared_error")

    exact = gradlab.grad(loss)({name: leaf.astype(float) for name, leaf in params.items()})
    found = gradlab.grad(loss, gradlab.CentralDifference4(dtype=np.float32))(params)
    assert np.allclose(found["W2"], exact["W2"], rtol=1e-2)
