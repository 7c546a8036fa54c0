"""The complex step: exact for analytic losses; others get the right gradient or an error."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import array_api_compat
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradlab
from gradlab import network
from gradlab.arrays.stepped import Stepped
from gradlab.errors import GradlabError, LossError, NonFiniteError
from gradlab.gradients.differences.complex_step import contradiction
from gradlab.gradients.differences.richardson import extrapolate_once
from gradlab.params import map_leaves
from gradlab.testing import Problem, networks
from gradlab.testing.ray_rules import ELEMENTARY_ROUNDINGS
from gradlab.testing.taylor import REAL_FUNCTIONS_PER_COMPLEX as COMPLEX_UNITS

EPS = np.finfo(float).eps
COMPLEX = gradlab.ComplexStep()

# Analytic functions

ANALYTIC: dict[str, tuple[float, float]] = {
    **dict.fromkeys(["exp", "exp2", "expm1", "sin", "cos", "sinh", "cosh", "tanh"], (-3, 3)),
    **dict.fromkeys(["arctan", "arcsinh", "square"], (-3, 3)),
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], (-0.9, 0.9)),
    **dict.fromkeys(["log", "log2", "log10", "sqrt", "reciprocal"], (0.1, 5)),
    "log1p": (-0.5, 5),
    "tan": (-1.2, 1.2),
    "arccosh": (1.1, 5),
}
HIGH: dict[str, Callable[[Any], Any]] = {
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    **{f"arc{name}": getattr(mpmath, f"a{name}") for name in ("sin", "cos", "tan")},
    **{f"arc{name}": getattr(mpmath, f"a{name}") for name in ("sinh", "cosh", "tanh")},
}


@pytest.mark.parametrize("name", ANALYTIC)
def test_numpys_analytic_functions_have_exact_slopes(name: str) -> None:
    """The slopes lie within the round-off that `error_bounds` states."""
    x = np.random.default_rng(0).uniform(*ANALYTIC[name], 60)
    found = gradlab.grad(lambda x: getattr(np, name)(x).sum(), COMPLEX)(x)
    high = HIGH.get(name) or getattr(mpmath, name)
    with mpmath.workdps(50):
        for argument, value in zip(x.tolist(), found.tolist(), strict=True):
            wanted = mpmath.diff(high, mpmath.mpf(argument))
            assert abs(value - wanted) <= COMPLEX_UNITS * ELEMENTARY_ROUNDINGS * EPS / 2 * abs(
                wanted
            )


@pytest.mark.parametrize("p", [2, 3, 7, -1, -2, 0.5, 1.5, -0.3])
@pytest.mark.parametrize("x", [0.3, 2.0, 17.0])
def test_powers(p: float, x: float) -> None:
    with mpmath.workdps(50):
        wanted = p * mpmath.mpf(x) ** (mpmath.mpf(p) - 1)
    found = gradlab.grad(lambda w: w**p, COMPLEX)(x)
    assert abs(found - wanted) <= (32 + 2 * abs(p) + 4 * abs(p * math.log(x))) * EPS * abs(wanted)


def test_linear_algebra_is_analytic() -> None:
    """The gradients of bᵀ A⁻¹ b and of log det A, in closed form."""
    rng = np.random.default_rng(3)
    A, b = rng.standard_normal((4, 4)) + 4 * np.eye(4), rng.standard_normal(4)
    inverse = np.linalg.inv(A)
    # The error is of order κ ε, and that of the reference, too.
    allowed = 100 * np.linalg.cond(A) * EPS
    found = gradlab.grad(lambda A: b @ np.linalg.solve(A, b), COMPLEX)(A)
    assert np.abs(found + np.outer(inverse.T @ b, inverse @ b)).max() <= allowed
    found = gradlab.grad(lambda A: np.log(np.linalg.det(A)), COMPLEX)(A)
    assert np.abs(found - inverse.T).max() <= allowed


def pieces(p: Any) -> Any:
    """Split an array and join it again with many functions of NumPy."""
    w, s = p["w"], p["s"]
    parts = [w[0], *w[1:], np.dot(w, w), np.einsum("i->", w), w.mean(), np.linalg.det(np.diag(w))]
    whole = np.concatenate([np.stack(parts), np.where([True, False, True], w, s), w[:0:-1]])
    copy = whole.copy().reshape(2, -1).T.ravel()
    copy[1:3] *= 2.0
    return (
        sum(value * value for value in copy)
        + np.prod(w) * s
        + np.cumsum(w)[-1]
        + np.trace(w * w[:, None])
    )


def test_arrays_stay_guarded_on_every_way() -> None:
    params = {"w": np.array([0.5, -1.5, 2.0]), "s": 1.25}
    found = gradlab.grad(pieces, COMPLEX)(params)
    wanted = gradlab.grad(pieces, "richardson")(params)
    assert np.abs(found["w"] - wanted["w"]).max() <= 1e-10
    guard = np.ones(3, complex).view(Stepped)
    kinds = [
        guard[0],
        guard.sum(),
        np.dot(guard, guard),
        np.stack([guard, guard]),
        next(iter(guard)),
    ]
    kinds += [np.where([True] * 3, guard, 0), np.linalg.inv(np.diag(guard)), *np.split(guard, 3)]
    kinds += [
        np.linalg.eig(np.diag(guard)).eigenvalues,
        guard * 2.0,
        guard.copy(),
        guard.reshape(3, 1),
    ]
    assert {type(kind) for kind in kinds} == {Stepped}


@given(problem=networks())
def test_branches_by_the_real_part_are_right(problem: Problem) -> None:
    """This includes all activations; relu meets its kink at sums of exactly 0."""
    W, b = problem.params["W1"].copy(), problem.params["b1"].copy()
    W[:, 0] = b[0] = 0.0
    params = {**problem.params, "W1": W, "b1": b}
    found = gradlab.grad(problem.loss, COMPLEX)(params, *problem.args)
    wanted = gradlab.grad(problem.loss)(params, *problem.args)
    reach = max(np.abs(leaf).max() for leaf in wanted.values()) + 1
    assert all(np.abs(found[name] - wanted[name]).max() <= 1e-12 * reach for name in wanted)


# Analytic piece by piece

PIECES: dict[str, Callable[[Any], Any]] = {
    "abs": lambda w: abs(w).sum(),
    "np.abs": lambda w: np.abs(w).sum(),
    "fabs": lambda w: np.fabs(w).sum(),
    "xp.abs": lambda w: array_api_compat.array_namespace(w).abs(w).sum(),
    "maximum": lambda w: np.maximum(w, 0.1).sum(),
    "minimum": lambda w: np.minimum(w, w[::-1]).sum(),
    "fmax": lambda w: np.fmax(w, [np.nan, 0.1, 3.0]).sum(),
    "fmin": lambda w: np.fmin(w, [np.nan, 0.1, 3.0]).sum(),
    "accumulate": lambda w: np.maximum.accumulate(w[::-1]) @ [1.0, 2.0, 3.0],
    "reduce": lambda w: np.minimum.reduce(np.outer(w, w), axis=1).sum(),
    "max": lambda w: w.max() * w.min(),
    "np.max": lambda w: np.max(np.outer(w, w), axis=(0, 1)) + np.min(w, initial=0.7),
    "where=": lambda w: np.max(np.outer(w, w), axis=0, where=w > 1, initial=-9.0).sum(),
    "built-in max": lambda w: max(w) + min(w),
    "sorted": lambda w: sorted(w)[1],
    "sort": lambda w: np.sort(w) @ [1.0, 2.0, 3.0],
    "in place": lambda w: sorted_in_place(w) @ [1.0, 2.0, 3.0],
    "argmax": lambda w: w[w.argmax()] + w[np.argmin(w)] + w[np.argsort(w)[1]],
    "median": lambda w: np.median(w) + np.quantile(w, 0.3) + np.percentile(w, 80),
    "clip": lambda w: w.clip(0, 1).sum() + np.clip(w, -1, 1.7).sum(),
    "comparison": lambda w: np.where(w > 0, w, 0).sum(),
    "truth": lambda w: w[0] if w[0] else 0.0,
    "closeness": lambda w: w[0] if np.isclose(w[0], 0.5) else 0.0,
    "conj": lambda w: (w * w.conj() * np.conj(w)).sum(),
    "vdot": lambda w: np.vdot(w, w) * np.linalg.vecdot(w, w),
    "norm": lambda w: np.linalg.norm(w) + np.linalg.norm(w, 1) + np.linalg.norm(w, np.inf),
    "norms": lambda w: np.linalg.norm(np.outer(w, w) + np.eye(3), 2),
    "nuclear": lambda w: np.linalg.norm(np.outer(w, w) + np.diag(w), "nuc"),
    "var": lambda w: w.var() + np.std(w) + np.ptp(w),
    "cov": lambda w: np.sum(np.cov(np.outer(w, w) + np.eye(3))),
    "correlate": lambda w: np.correlate(w, w[:2]).sum() + np.convolve(w, w).max(),
    "round": lambda w: (w.round() * w + np.rint(w / 3) * w + np.floor(w) * w).sum(),
    "int": lambda w: int(w[0]) * w[0] + w[2] * w.astype(int)[1],
    "sign": lambda w: (np.sign(w) * w + np.heaviside(w, 0.5) * w).sum(),
    "hypot": lambda w: np.hypot(w[0], w[1]),
    "arctan2": lambda w: sum(np.arctan2(a, b) for a in (w[0], -w[0]) for b in (w[2], -w[1])),
    "cbrt": lambda w: np.cbrt(w).sum() + np.copysign(w, -1.0).sum(),
    "mod": lambda w: (w % 0.3).sum() + np.fmod(w, w[0]).sum() + divmod(w[1], 0.4)[1] * w[1],
    "degrees": lambda w: np.degrees(w).sum() + np.deg2rad(w).sum(),
    "interp": lambda w: np.interp(w[0], [0, 1], [0, 1]) + np.interp(0.4, [0, 1], w[:2]),
    "logaddexp": lambda w: np.logaddexp(w[0], w[1]) + np.logaddexp2(w[2], -40.0),
    "logaddexp.reduce": lambda w: np.logaddexp.reduce(w),
    "cholesky": lambda w: np.linalg.cholesky(np.outer(w, w) + np.eye(3)).sum(),
    "one triangle": lambda w: np.linalg.cholesky(np.diag(w) + 9 * np.eye(3)
                                                 + np.outer(w, [1, 0, 2])).sum(),
    "slogdet": lambda w: np.linalg.slogdet(np.outer(w, w) + np.diag(w))[1],
    "eigvalsh": lambda w: np.linalg.eigvalsh(np.outer(w, w) + np.diag(w)) @ [1.0, 2.0, 3.0],
    "eigh": lambda w: np.linalg.eigh(np.outer(w, w) + np.diag(w))[1][:, 0] ** 2 @ [1.0, 2.0, 3.0],
    "pinv": lambda w: np.linalg.pinv(np.outer(w, w) + np.eye(3)[:, :1] * w).sum(),
    "lstsq": lambda w: np.linalg.lstsq(np.vander(w, 2), w**3, rcond=None)[0].sum(),
    "nan": lambda w: np.nanmean(np.where(w > 1, w, np.nan)) + np.nansum(w),
    "domain": lambda w: np.nansum(quiet(lambda: np.sqrt(w - 1) + np.log(w - 1) + (w - 1) ** 0.5)),
    "isnan": lambda w: w.sum() if np.isnan(quiet(lambda: np.log(w - 1))).any() else 0 * w.sum(),
    "real": lambda w: (w.real**2).sum() + (np.real(w) ** 3).sum(),
    "a copy": lambda w: abs(np.array(w)).sum() + (np.asarray(w, dtype=float) ** 2).sum(),
    "astype": lambda w: (w.astype(float) ** 2).sum(),
    "vectorize": lambda w: np.vectorize(abs)(w).sum(),
    "assignment": lambda w: filled(w).sum(),
    "float": lambda w: float(w[0]) ** 2 + float(w @ w),
    "math": lambda w: math.exp(w[0]) * math.hypot(w[1], w[2]),
}  # fmt: skip
"""Losses of w = (0.5, 1.5, 2), none of which is at a kink."""


def quiet(f: Callable[[], Any]) -> Any:
    with np.errstate(invalid="ignore"):
        return f()


def sorted_in_place(w: Any) -> Any:
    w = w.copy()
    w[0] = 5.0 * w[1]
    w.sort()
    return w


def filled(w: Any) -> Any:
    """Return a loss that fills an array."""
    array = np.zeros(3)
    array[:] = w
    array[0] = w[1] * 2
    return array**2


@pytest.mark.parametrize("loss", PIECES.values(), ids=PIECES)
def test_functions_that_real_parts_decide_are_right(loss: Any) -> None:
    w = np.array([0.5, 1.5, 2.0]) + 1e-3
    wanted = gradlab.grad(loss, "richardson")(w)
    assert np.abs(gradlab.grad(loss, COMPLEX)(w) - wanted).max() <= 1e-8 * (1 + abs(wanted).max())


def stepped(real: Any, derivative: Any) -> Any:
    return (np.asarray(real) + 1e-100j * np.asarray(derivative)).view(Stepped)


@given(
    x=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=4, max_size=4),
    t=st.lists(st.sampled_from([-3.0, 1.0, 2.0]), min_size=4, max_size=4),
    others=st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=4, max_size=4),
)
def test_equal_entries_share_the_derivative(x: Any, t: Any, others: Any) -> None:
    """NumPy itself would compare the derivatives of equal numbers, and take the larger."""
    a, b = stepped(x, t), np.array(others)
    x, t = np.array(x), np.array(t)
    for ufunc in (np.maximum, np.minimum, np.fmax, np.fmin):
        found, real = ufunc(a, b), ufunc(x, b)
        assert np.array_equal(found.view(np.ndarray).real, real)
        share = np.where(x == b, 0.5, np.where(real == x, 1.0, 0.0))
        assert np.allclose(found.imag, 1e-100 * share * t, rtol=4 * EPS, atol=0)
    for of_all in (np.max, np.min):
        found, real = of_all(a), of_all(x)
        assert found.view(np.ndarray).real == real
        assert np.isclose(found.imag, 1e-100 * np.mean(t[x == real]), rtol=4 * EPS, atol=0)
    assert np.array_equal(np.abs(a).imag, 1e-100 * np.sign(x) * t)
    assert np.array_equal(a > b, x > b)
    assert np.array_equal(a == b, x == b)
    assert np.argmax(a) == np.argmax(x)
    assert np.array_equal(np.argsort(a, kind="stable"), np.argsort(x, kind="stable"))


def test_a_maximum_of_equal_numbers_of_equal_derivatives_is_right() -> None:
    def loss(w: Any) -> Any:
        return np.max(np.stack([w, w]), axis=0).sum() + np.maximum(w, w).sum()

    assert np.array_equal(gradlab.grad(loss, COMPLEX)(np.array([1.0, -2.0])), [2.0, 2.0])


def test_a_kink_of_three_entries_is_shared() -> None:
    found = gradlab.grad(lambda w: np.max(w), COMPLEX)(np.ones(3))
    assert np.allclose(found, gradlab.grad(np.max)(np.ones(3)), rtol=4 * EPS, atol=0)


# Refused, by name

REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "angle": (lambda w: np.angle(w).sum(), "no derivative of np.angle"),
    "qr": (lambda w: np.linalg.qr(np.diag(w))[1].sum(), r"no derivative of np\.linalg\.qr"),
    "svd": (lambda w: np.linalg.svd(np.diag(w))[0].sum(), r"no derivative of np\.linalg\.svd"),
    "spectrum": (lambda w: abs(np.fft.fft(w)).sum(), "np.absolute of complex numbers"),
    "own": (lambda w: abs(1j * w + 1).sum(), "np.absolute of complex numbers"),
    "phase": (lambda w: np.maximum(np.exp(1j * w), 0).real.sum(), "np.maximum of complex numbers"),
    "floor": (lambda w: math.floor(w[0]) * w[1], "makes a Python number"),
    "np.float32": (lambda w: sum(map(np.float32, w)), "casts complex numbers"),
    "into data": (lambda w: np.add(DATA, w, out=DATA).sum(), "fails on complex numbers"),
}  # fmt: skip
DATA = np.zeros(3)


def test_a_function_of_scipy_without_a_rule_is_refused() -> None:
    special = pytest.importorskip("scipy.special", reason="SciPy is not installed")
    with pytest.raises(GradlabError, match="no derivative of gammainc"):
        gradlab.grad(lambda w: special.gammainc(2, w).sum(), "complex-step")(np.ones(3))


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_functions_that_are_not_analytic_are_refused_by_name(case: Any) -> None:
    loss, message = case
    with pytest.raises(GradlabError, match=message) as caught:
        gradlab.grad(loss, COMPLEX)(np.array([0.5, 1.5, 2.0]))
    assert "use autograd" in str(caught.value) or "use backend=" in str(caught.value)
    assert "test_complex_step.py, line" in str(caught.value)


def test_a_cast_to_float64_keeps_the_imaginary_part() -> None:
    gradient = gradlab.grad(lambda w: np.float64(w[0]) ** 2, COMPLEX)(np.array([0.5, 1.5]))
    np.testing.assert_allclose(gradient, [1.0, 0.0], rtol=1e-15)


# In single precision

SINGLE: dict[str, Callable[[Any], Any]] = {
    "throughout": lambda w: (w.astype(np.float32) ** 2).sum(),
    "inside": lambda w: (w.astype(np.float32) ** 2).sum().astype(float),
    "one term": lambda w: (w.astype(np.float32)[:1] ** 2).sum() + (w[1:] ** 2).sum(),
    "then a maximum": lambda w: np.maximum(w.astype(np.float32).astype(float) ** 2, 0).sum(),
    "then abs": lambda w: np.abs(1.0 * w.astype(np.float32)) @ np.abs(w),
}


@pytest.mark.parametrize("loss", SINGLE.values(), ids=SINGLE)
def test_a_loss_that_computes_in_single_precision_gets_its_gradient(loss: Any) -> None:
    """For Σ w², a cast, a square, and a product of the derivative round to float32."""
    w = np.array([0.1, -1.7, 2.3])
    found = gradlab.grad(loss, COMPLEX)(w)
    np.testing.assert_allclose(found, 2 * w, rtol=4 * np.finfo(np.float32).eps, atol=0)


def test_a_cast_that_drops_the_step_is_refused() -> None:
    def loss(w: Any) -> Any:
        return (w.view(np.ndarray).real.astype(np.float32) ** 2).sum() + w.sum()

    with pytest.raises(LossError, match="not analytic"):
        gradlab.grad(loss, COMPLEX)(np.array([0.1, -1.7, 2.3]))


# Not seen, but found out

HIDDEN: dict[str, Callable[[Any], Any]] = {
    "real of a view": lambda w: (w.view(np.ndarray).real ** 2).sum(),
    "abs of a view": lambda w: abs(w.view(np.ndarray)).sum(),
    "abs of numbers": lambda w: sum(abs(value) for value in w.tolist()),
    "abs of one": lambda w: abs(w[0].item()) + w[1],
    "view": lambda w: w.view(float)[::2].sum() if w.dtype == complex else w.sum(),
    "bytes": lambda w: np.frombuffer(w.tobytes(), dtype=w.dtype).real.sum(),
    "text": lambda w: sum(complex(str(value)).real for value in w.tolist()),
}


@pytest.mark.parametrize("loss", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("share", [1.0, 1e-3, 1e-6])
def test_lost_slopes_are_detected(loss: Any, share: float) -> None:
    """The lost slope is the whole gradient, or a small part of one that is otherwise right."""

    def whole(w: Any) -> Any:
        return share * loss(w) + (np.sin(w).sum() if share < 1 else 0.0)

    with pytest.raises(LossError, match=r"slope along a random direction .*not analytic"):
        gradlab.grad(whole, COMPLEX)(np.array([0.5, 1.5, -2.0]))


@pytest.mark.parametrize(("rest", "is_real"), [(np.sin, False), (lambda x: 0.0, True)])
def test_an_error_tells_whether_the_loss_returns_real_numbers(rest: Any, is_real: bool) -> None:
    with pytest.raises(LossError, match="not analytic as it is written") as caught:
        gradlab.grad(lambda w: abs(w[0].item()) + rest(w[1]), COMPLEX)(np.array([0.5, 1.5]))
    assert ("drops the imaginary part" in str(caught.value)) is is_real


def test_the_real_part_is_named_as_a_likely_cause() -> None:
    with pytest.raises(LossError, match=r"\(it takes item\(\), the real part\); use autograd"):
        gradlab.grad(lambda w: (1j * w).real.sum() + w[0].item().real, COMPLEX)(np.ones(2))


@given(seed=st.integers(0, 2**16), exponent=st.integers(-6, 6))
def test_one_lost_entry_among_many_is_detected(seed: int, exponent: int) -> None:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(300) * 10.0**exponent
    lost = int(rng.integers(300))
    mask = np.arange(300) == lost

    def loss(w: Any) -> Any:
        kept = np.where(mask, w.view(np.ndarray).real, w)
        return (kept * kept).sum()

    with pytest.raises(LossError, match="not analytic"):
        gradlab.grad(loss, COMPLEX)(w)


# No false alarm


@pytest.mark.parametrize("kind", ["offset", "cancelling", "steep", "chaotic", "small", "mixed"])
def test_right_gradients_are_confirmed(kind: str) -> None:
    """The losses are hard for differences: noisy, steep, badly scaled."""
    rng = np.random.default_rng(5)
    for _ in range(150):
        a, offset = rng.standard_normal(5), 10.0 ** rng.integers(0, 11)
        w = rng.uniform(0.1, 0.9, 5)
        if kind == "small":
            w = w * 1e-8
        elif kind == "mixed":
            w = w * 10.0 ** rng.integers(-8, 8, 5)
        losses: dict[str, Callable[[Any], Any]] = {
            "offset": lambda w: offset + np.sin(a * w).sum(),  # noqa: B023
            "cancelling": lambda w: ((offset + np.sin(a * w)) - offset).sum(),  # noqa: B023
            "steep": lambda w: np.sin(1e5 * w).sum() + np.exp(300 * np.tanh(w)).sum(),
            "chaotic": lambda w: logistic(w, 30).sum(),
            "small": lambda w: np.log(w).sum() + (a * w).sum(),  # noqa: B023
            "mixed": lambda w: np.log1p(w * w).sum() + (a * w).sum(),  # noqa: B023
        }
        found = gradlab.grad(losses[kind], COMPLEX)(w)
        wanted = gradlab.grad(losses[kind])(w)
        assert np.all(np.abs(found - wanted) <= 1e-6 * np.abs(wanted).max())


def test_rounding_of_the_parameters_is_not_a_contradiction() -> None:
    """The sum cancels, so its round-off is far below that of its terms."""
    rng = np.random.default_rng(0)
    for _ in range(300):
        w, a = 1e3 * rng.standard_normal(20), rng.standard_normal(20)
        offset, calls = -(a @ w), []

        def loss(w: Any) -> Any:
            calls.append(w)  # noqa: B023
            return (a * w).sum() + offset  # noqa: B023

        gradlab.grad(loss, COMPLEX)(w)
        assert len(calls) == 20 + 5  # confirmed along the first direction, by the first step


def logistic(x: Any, times: int) -> Any:
    for _ in range(times):
        x = 3.9 * x * (1 - x)
    return x


def test_slopes_below_the_range_are_not_lost_silently() -> None:
    """The entries are as small as the step itself."""
    with pytest.raises(LossError, match="slope along a random direction"):
        gradlab.grad(lambda w: (w**3).sum(), COMPLEX)(np.array([1e-100, 2e-100]))


def test_an_edge_of_the_domain_is_an_error() -> None:
    with pytest.raises(NonFiniteError, match=r"cannot confirm .* the loss is nan .*use autograd"):
        gradlab.grad(lambda w: (w**1.5).sum(), COMPLEX)(np.array([0.0, 1.0]))


def test_a_finer_step_refutes_but_a_coarser_one_does_not() -> None:
    assert contradiction(np.sin, 0.0, 1.0, 1.0) is None
    assert contradiction(np.sin, 0.0, 1 + 1e-8, 1.0) is not None

    # The coarsest step misses this ripple; a finer one shows it.
    def ripple(t: float) -> Any:
        return np.sin(2 * np.pi * 2.0**17 * t)

    assert extrapolate_once(ripple, 0.0, 0.0, 2.0**-17).value == pytest.approx(0, abs=1e-3)
    assert contradiction(ripple, 0.0, 2 * np.pi * 2.0**17, 1.0) is None


@given(jump=st.floats(0.1, 10), where=st.floats(-3, 3))
def test_error_of_the_differences_covers_kinks(jump: float, where: float) -> None:
    """The kink is on either side, between, at, or beyond the four points."""
    h = 2.0**-10
    kink = where * h

    def f(t: float) -> float:
        return t + jump * max(t - kink, 0.0)

    right = 1.0 + jump * (kink < 0)
    found = extrapolate_once(f, 0.0, f(0.0), h)
    assert abs(found.value - right) <= found.error


# The calls


def test_the_number_of_evaluations() -> None:
    """There are p complex evaluations, and five real ones: the centre and the confirmation."""
    seen = []

    def loss(p: Any) -> Any:
        seen.append(p["w"].dtype.kind)
        return (p["w"] ** 2).sum() * p["s"]

    gradlab.grad(loss, COMPLEX)({"w": np.ones(4, np.float32), "s": 2})
    assert seen == ["f", *"ccccc", *"ffff"]


def test_extended_precision_is_kept() -> None:
    x = np.array([0.5], np.longdouble)
    found = gradlab.grad(lambda x: np.exp(x).sum(), COMPLEX)(x)
    assert found.dtype == np.longdouble
    assert abs(found[0] - np.exp(x[0])) <= 16 * np.finfo(np.longdouble).eps * np.exp(x[0])


def test_exact_where_differences_lose_digits() -> None:
    """The example of Squire & Trapp has the value of their table, to the last digits."""

    def f(x: Any) -> Any:
        return np.exp(x) / (np.sin(x) ** 3 + np.cos(x) ** 3)

    with mpmath.workdps(40):
        high = mpmath.diff(
            lambda x: mpmath.exp(x) / (mpmath.sin(x) ** 3 + mpmath.cos(x) ** 3), mpmath.mpf(1.5)
        )
    assert abs(gradlab.grad(f, COMPLEX)(1.5) - high) <= 8 * EPS * high
    assert abs(gradlab.grad(f, "central")(1.5) - high) > 1000 * EPS * high


def test_network_of_the_digits_agrees_with_reverse_mode() -> None:
    params = network.init((8, 6, 3), 0, activation="relu")
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((20, 8)), rng.integers(3, size=20)
    loss = partial(network.loss, activation="relu")
    found = gradlab.grad(loss, COMPLEX)(params, x, labels)
    wanted = gradlab.grad(loss)(params, x, labels)
    apart = map_leaves(lambda a, b: np.abs(a - b).max(), found, wanted)
    assert max(apart.values()) <= 1e-15


def test_a_loss_of_one_entry_is_a_number():
    gradient = gradlab.grad(lambda w: np.sum(np.exp(w)).reshape(1), backend="complex-step")
    np.testing.assert_allclose(gradient(np.array([0.0, 1.0])), np.exp([0.0, 1.0]), rtol=4 * EPS)
