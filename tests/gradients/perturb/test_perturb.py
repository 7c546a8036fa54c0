"""The incremental engine gives the plain loop's difference quotients, to rounding."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
import pytest
from autograd.tracer import getval
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

import gradlab
from gradlab import network
from gradlab.errors import LossError, NonFiniteError, OptionError, UntraceableWarning
from gradlab.gradients.perturb import PerturbedLoss, PointRecorder, powers, recording
from gradlab.gradients.perturb.changes import Change, change_of, expm1, tanh_half
from gradlab.gradients.perturb.limits import DEFAULT_LIMITS, Limits
from gradlab.gradients.perturb.plan import Plan
from gradlab.gradients.perturb.powers import Powers, elementwise
from gradlab.gradients.perturb.rows import RowExtents
from gradlab.gradients.perturb.threads import in_order
from gradlab.gradients.probing import Probe
from gradlab.params import flatten, map_leaves
from gradlab.program.primitives import TABLE
from gradlab.program.record import record
from gradlab.testing import Problem, networks


@dataclass(frozen=True)
class Always(gradlab.CentralDifference):
    """The engine for any number of parameters."""

    min_entries = 0


def agrees(loss: Any, params: Any, *args: Any, step: float = 2.0**-13) -> None:
    """Compare both with the quotient in extended precision, over the same step.

    The bound: the engine's error is at most four times the plain loop's largest, or 64 roundings of
    1 or of the loss, for cases where the plain loop happens to be exact.
    """
    found = gradlab.grad(loss, Always(step))(params, *args)
    plain = gradlab.grad(loss, gradlab.CentralDifference(step, incremental=False))(params, *args)
    wide = map_leaves(lambda leaf: leaf.astype(np.longdouble), params)
    backend = gradlab.CentralDifference(step, np.longdouble, incremental=False)
    exact = gradlab.grad(loss, backend)(wide, *args)
    errors = [
        max((float(np.abs(a - b).max()) for a, b in zip(of, flatten(exact)[0], strict=True)))
        for of in (flatten(found)[0], flatten(plain)[0])
    ]
    scale = max(1.0, abs(float(loss(params, *args))))
    assert errors[0] <= 4 * errors[1] + 64 * 2.0**-53 * scale / step


@contextmanager
def only(rows: bool = True, few: int = 1, block: int = 2**19, **limits: Any) -> Iterator[None]:
    """Use the engine even where it is slower, with these limits."""
    side_by_side = min(16, block)
    taken = Limits(
        block=block,
        min_series_lanes=few,
        lanes_side_by_side=side_by_side,
        rows=rows,
        even_if_slower=True,
        **limits,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "PointRecorder", partial(PointRecorder, limits=taken))
        yield


def covered(loss: Any, params: Any, *args: Any) -> list[bool]:
    """Return whether the rows are separable, for each leaf."""
    inputs = [np.asarray(leaf) for leaf in flatten(params)[0]]
    limits = Limits(even_if_slower=True)
    perturbed = PerturbedLoss(record(loss, params, args), [*inputs, *args], limits=limits)
    plans = [perturbed.plan(leaf, 2) for leaf in range(len(inputs))]
    return [plan is not None and isinstance(plan.extents, RowExtents) for plan in plans]


# Losses


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def batch_norm(z: Any) -> Any:
    centred = z - anp.mean(z, axis=0)
    return centred / anp.sqrt(anp.mean(centred**2, axis=0) + 1e-3)


def layer_norm(z: Any) -> Any:
    centred = z - anp.mean(z, axis=-1, keepdims=True)
    return centred / anp.sqrt(anp.var(z, axis=1, keepdims=True) + 1e-3)


def softmax(z: Any) -> Any:
    e = anp.exp(z - anp.max(z, axis=1, keepdims=True))
    return e / anp.sum(e, axis=1, keepdims=True)


def cut_off(z: Any) -> Any:
    return anp.where(z > 1.0, z, -1.0)


STEPS: dict[str, Callable[[Any], Any]] = {
    "sigmoid": network.sigmoid,
    "textbook sigmoid": lambda z: 1 / (1 + anp.exp(-z)),
    "tanh": anp.tanh,
    "relu": network.relu,
    "maximum": lambda z: anp.maximum(z, 0.1),
    "kept from below": lambda z: anp.where(z > -0.5, z, -0.5),
    "cut off": lambda z: cut_off(z),
    "leaky relu": network.leaky_relu,
    "elu": network.elu,
    "softplus": network.softplus,
    "silu": network.silu,
    "square": lambda z: z**2,
    "cube": lambda z: 0.1 * z**3,
    "abs": anp.abs,
    "exp": lambda z: anp.exp(0.1 * z),
    "log": lambda z: anp.log(1.0 + z * z),
    "quotient": lambda z: (z + 2.0) / (1.0 + z * z),
    "constants": lambda z: z * np.linspace(-1, 1, z.shape[1]) + np.linspace(0, 1, len(z))[:, None],
    "softmax": softmax,
    "layer norm": layer_norm,
    "batch norm": batch_norm,
    "reversed": lambda z: z[:, ::-1],
    "first": lambda z: z[:, :1] + 0.0 * z,
    "3-d": lambda z: anp.sum(anp.reshape(z, (len(z), 1, -1)) * np.ones((2, 1)), axis=1),
    "transposed twice": lambda z: (z.T * 2.0).T,
    "row sums": lambda z: z + anp.sum(z, axis=1)[:, None],
    "cumulative": lambda z: anp.cumsum(z, axis=1),
    "residual": lambda z: z + anp.tanh(z),
    "gated": lambda z: z * anp.tanh(z),
    "spread": lambda z: z / anp.sqrt(1.0 + anp.var(z)),
    "peaks": lambda z: z - anp.max(z, axis=0),
    "where all are near": lambda z: z * np.all(z > -0.3, axis=1, keepdims=True),
    "where any is far": lambda z: anp.where(np.any(z > 0.3, axis=0), z, -z),
}


def chain(names: list[str], shared: bool, penalty: bool, left: bool) -> Any:
    """Return layers with these steps: one weight in two of them, a penalty, weights on the left."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        for i, name in enumerate(names):
            W, first = params[f"W{i}"], params["W0"]
            if shared and i and W.shape in (first.shape, first.shape[::-1]):
                W = first if first.shape == W.shape else first.T
            z = (W.T @ x.T).T if left else x @ W
            x = STEPS[name](z + params[f"b{i}"])
        total = anp.sum((x - y) ** 2) / len(x)
        return total + 0.01 * anp.sum(params["W0"] ** 2) if penalty else total

    return loss


@st.composite
def chains(draw: st.DrawFn) -> tuple[Any, Any, Any, Any]:
    names = draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=3))
    widths = draw(st.lists(st.integers(1, 5), min_size=len(names) + 1, max_size=len(names) + 1))
    n = draw(st.sampled_from([1, 2, 5, 12]))
    r = rng(draw(st.integers(0, 999)))
    params = {}
    for i in range(len(names)):
        params[f"W{i}"] = r.normal(size=(widths[i], widths[i + 1]))
        params[f"b{i}"] = r.normal(size=widths[i + 1])
    params["unused"] = r.normal(size=2)
    x = r.normal(size=(n, widths[0]))
    if draw(st.booleans()):  # as in images: many zeros, few grey values
        x = np.maximum(np.round(2 * x) / 2, 0)
    loss = chain(names, draw(st.booleans()), draw(st.booleans()), draw(st.booleans()))
    return loss, params, x, r.normal(size=(n, widths[-1]))


@settings(max_examples=80)
@given(
    case=chains(),
    rows=st.booleans(),
    block=st.sampled_from([1, 64, 2**19]),
    few=st.sampled_from([1, DEFAULT_LIMITS.min_series_lanes]),
    step=st.sampled_from([2.0**-17, 1e-4, 1e-2]),
)
def test_agrees_with_the_plain_loop(
    case: Any, rows: bool, block: int, few: int, step: float
) -> None:
    with only(rows, few=few, block=block):
        agrees(*case, step=step)


@settings(max_examples=40)
@given(
    problem=networks(),
    few=st.sampled_from([1, DEFAULT_LIMITS.min_series_lanes]),
    rows=st.booleans(),
)
def test_agrees_on_networks(problem: Problem, few: int, rows: bool) -> None:
    with only(rows, few=few):
        wide = map_leaves(lambda leaf: leaf.astype(float), problem.params)
        agrees(problem.loss, wide, *problem.args)


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
@pytest.mark.parametrize("kind", ["cross_entropy", "squared_error"])
def test_networks_are_covered(activation: Any, kind: Any) -> None:
    """Each leaf is perturbed by rules, in blocks of one and of many rows, without a fallback."""
    params = network.init((16, 9, 5), seed=0, activation=activation)
    x = np.maximum(np.round(rng().normal(size=(20, 16))), 0)
    args = x, np.arange(20) % 5
    loss = partial(network.loss, activation=activation, kind=kind)
    assert covered(loss, params, *args) == [True] * 4
    for block in (1, 2**10, 2**18):
        with only(few=DEFAULT_LIMITS.min_series_lanes, block=block):
            agrees(loss, params, *args)


@pytest.mark.parametrize("scale", [1.0, 3.0, 100.0])
def test_steps_of_many_sizes(scale: float) -> None:
    """Default steps grow with the weights: movements of different sizes are not one lane."""
    params = {"W": scale * rng().normal(size=(12, 5)), "b": np.zeros(5)}
    x = np.maximum(np.round(rng(1).normal(size=(30, 12))), 0)
    with only(few=DEFAULT_LIMITS.min_series_lanes, block=1):
        found, plain = (
            gradlab.grad(lambda p, x: anp.sum(anp.tanh(x @ p["W"] / scale + p["b"])), backend)
            for backend in (Always(), gradlab.CentralDifference(incremental=False))
        )
        for name, exact in plain(params, x).items():  # the round-off of a sum of 150 terms, over h
            assert np.abs(found(params, x)[name] - exact).max() < 150 * 2.0**-52 / 2.0**-17


@pytest.mark.parametrize(
    ("loss", "rules"),
    [
        (lambda p, x: anp.sum(batch_norm(x @ p)), False),
        (lambda p, x: anp.sum(anp.tanh(x @ p - anp.mean(x @ p, axis=0, keepdims=True))), False),
        (lambda p, x: anp.sum(anp.sum(anp.tanh(x @ p), axis=0) ** 2), False),
        (lambda p, x: anp.sum(anp.tanh(anp.tanh(x @ p) @ p)), False),
        (lambda p, x: anp.sum(anp.cumsum(x @ p, axis=0)), False),
        (lambda p, x: anp.sum((x @ p).T @ x), False),
        (lambda p, x: anp.max(x @ p), False),
        (lambda p, x: anp.sum((x @ p)[:, :, None] + x), True),
        (lambda p, x: anp.sum(anp.sort(x @ p, axis=0)), False),
        (lambda p, x: anp.sum(anp.sin(p + x)) + anp.sum(anp.exp(p[0])), True),
        (lambda p, x: anp.sum(anp.tanh(x @ p.T)) / anp.sum(p * p), True),
        (lambda p, x: anp.log(anp.mean(anp.exp(x @ p))), True),
        (lambda p, x: anp.sum(anp.tanh(x @ p)) + anp.mean(anp.sin(p)), True),
        (lambda p, x: anp.sum(anp.sin(p[[0, 0, 2]])), False),
        (lambda p, x: anp.sum(anp.tanh(x @ p[:, [0, 1, 1, 3]])), False),
        (lambda p, x: anp.sum((x @ p)[np.arange(4), [0, 3, 1, 1]]), True),
        (lambda p, x: anp.sum(anp.tanh((x @ p)[np.arange(4), np.arange(4)])), True),
        (lambda p, x: anp.sum(cut_off(x @ p)), True),
        (lambda p, x: anp.sum(anp.tanh(anp.tanh(x @ p) + x @ p.T)), False),
        (lambda p, x: anp.sum((x.T @ anp.tanh(anp.tanh(x @ p) @ x)) ** 2), False),
    ],
)
def test_rules_hold_or_are_not_used(loss: Any, rules: bool) -> None:
    """The arrays are square, so confused axes do not show in the shapes."""
    p, x = rng().normal(size=(4, 4)), rng(1).normal(size=(4, 4))
    assert covered(loss, p, x) == [rules]
    for with_rows in (True, False):
        with only(with_rows):
            agrees(loss, p, x)


def unnormalised(p: Any, x: Any) -> Any:
    return anp.sum(anp.tanh(x @ (p["W"] / anp.sqrt(anp.sum(p["W"] ** 2, axis=0)))))


def convolved(p: Any, x: Any) -> Any:
    """Compute a convolution, a bias of each channel, a maximum over 2 by 2, and a dense layer."""
    z = anp.einsum("nijkl,klo->nijo", x, p["K"]) + p["b"]
    h = anp.max(anp.reshape(anp.tanh(z), (len(x), 2, 2, 2, 2, 2)), axis=(2, 4))
    return anp.sum((anp.reshape(h, (len(x), -1)) @ p["V"]) ** 2)


def by_channel(p: Any, x: Any) -> Any:
    return anp.sum(anp.tanh(anp.einsum("nijkl,ikl->ni", x, p["K"])))


def of_one_sample(p: Any, x: Any) -> Any:
    return anp.sum(anp.tanh(anp.tanh(x @ p["W"] + p["b"]) @ p["V"]) ** 2)


def from_the_left(p: Any, x: Any) -> Any:
    return anp.sum(anp.tanh(p["V"] @ anp.tanh(p["W"] @ x + p["b"][:, None])))


def tied(p: Any, x: Any) -> Any:
    return anp.sum((anp.tanh(x @ p["W"]) @ p["W"].T - x) ** 2)


def recurrent(p: Any, x: Any) -> Any:
    h = anp.zeros((len(x), 3))
    for t in range(3):
        h = anp.tanh(x[:, 2 * t : 2 * t + 2] @ p["W"] + h @ p["U"])
    return anp.sum(h**2)


def correlated(p: Any, x: Any) -> Any:
    z = anp.tanh(x @ p["W"])
    return anp.sum((z.T @ z) ** 2)


def normal(*shape: int) -> Any:
    return rng(sum(shape)).normal(size=shape)


@pytest.mark.parametrize("few", [1, 2**9])
@pytest.mark.parametrize(
    ("loss", "params", "x"),
    [
        (unnormalised, {"W": normal(9, 5)}, normal(12, 9)),
        (convolved, {"K": normal(3, 3, 2), "b": normal(2), "V": normal(8, 3)}, None),
        (by_channel, {"K": normal(4, 3, 3)}, None),
        (of_one_sample, {"W": normal(9, 5), "b": normal(5), "V": normal(5, 3)}, normal(9)),
        (from_the_left, {"W": normal(5, 9), "b": normal(5), "V": normal(3, 5)}, normal(9, 12)),
        (tied, {"W": normal(9, 5)}, normal(12, 9)),
        (recurrent, {"W": normal(2, 3), "U": normal(3, 3)}, normal(12, 6)),
        (correlated, {"W": normal(9, 5)}, normal(12, 9)),
        (
            lambda p, x: anp.sum(anp.tanh(p["s"] * x + p["t"])),
            {"s": normal(), "t": normal(4)},
            normal(5, 4),
        ),
        (
            lambda p, x: anp.sum(x[:, :3] @ p["W"][:3] @ p["W"][3:]),
            {"W": normal(6, 3)},
            normal(5, 6),
        ),
    ],
)
def test_losses_without_separable_rows(loss: Any, params: Any, x: Any, few: int) -> None:
    """Each leaf is perturbed by rules, in one block and in blocks of few lanes."""
    x = normal(4, 4, 4, 3, 3) if x is None else x
    for block in (2**8, 2**19):
        with only(rows=False, few=few, block=block), pytest.MonkeyPatch.context() as patch:
            patch.setattr(Probe, "at", lambda *_: pytest.fail("plain loop"))
            gradlab.grad(loss, Always())(params, x)
        with only(rows=False, few=few, block=block):
            agrees(loss, params, x)


def test_a_wide_series_is_patched_where_a_weight_is_used_again() -> None:
    """The series is not filled in; only its coefficients are as wide as the output."""
    W, x = rng().normal(size=(60, 4)), rng(1).normal(size=(20, 60))
    widest = []
    into = powers.into

    def noted(ufunc: Any, *operands: Any) -> Any:
        widest.append(np.broadcast(*operands).size)
        return into(ufunc, *operands)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(powers, "into", noted)
        gradlab.grad(tied, gradlab.CentralDifference(1e-4))({"W": W}, x)
    assert 0 < max(widest) <= 20 * 2 * 60  # rows, signs, entries of a column


def meeting(p: Any, x: Any) -> Any:
    """Two series of one leaf meet: tanh(z) changes by one number in each lane, z by another."""
    z = x @ p["W"]
    h = (anp.tanh(z) @ p["A"] + z @ p["B"]) / 10
    return anp.sum(anp.exp(h) @ np.ones(8))


def test_series_of_different_products_are_not_added() -> None:
    params = {"W": normal(40, 6) / 6, "A": normal(6, 8), "B": normal(6, 8)}
    agrees(meeting, params, normal(20, 40))


# Rules


def with_a(fact: str) -> list[Any]:
    return [f for f, row in TABLE.items() if getattr(row, fact) is not None]


@pytest.mark.parametrize("primitive", with_a("change"), ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [1e-9, 1e-5, 1e-2, 3.0])
def test_rules_are_identities(primitive: Any, size: float) -> None:
    """The reference is the operation itself in extended precision."""
    r = rng()
    a, b = (r.uniform(0.5, 2.0, (6, 1, 1, 1)) for _ in range(2))
    da, db = (size * r.uniform(-0.1, 1.0, (6, 5, 4, 3)) for _ in range(2))
    wide = [np.longdouble(v) for v in (a, b, da, db)]

    def operands(a: Any, b: Any) -> list[Any]:
        if primitive is np.where:
            return [np.arange(6).reshape(6, 1, 1, 1) % 2 == 0, a, b]
        if primitive in (np.power, np.maximum):
            return [a, 2 if primitive is np.power else 1.0]
        return [a, b][: 2 if primitive in (np.add, np.subtract, np.multiply, np.divide) else 1]

    base = np.asarray(primitive(*operands(a, b)))
    found = change_of(primitive, operands(Change(a, da), Change(b, db)), base).delta
    exact = primitive(*operands(wide[0] + wide[2], wide[1] + wide[3])) - primitive(
        *operands(*wide[:2])
    )
    scale = np.abs(base) + np.abs(exact)
    assert (np.abs(found - exact) <= 8 * np.finfo(float).eps * scale).all()


@pytest.mark.parametrize("axes", [0, 1])
@pytest.mark.parametrize("base", [[-1.0, 2.0], [1.0, 2.0], [-1.0, 1e-7], [1.0, 1e-7], [1e-7]])
def test_a_maximum_is_exact_on_both_sides_of_its_kink(axes: int, base: list[float]) -> None:
    """Operands have three or four axes, features first; a single base stands for all features."""
    a = np.array(base).reshape(-1, *[1] * (2 + axes))
    d = 2.0**-20 * np.array([-1.0, -0.25, 0.5, 1.0]).reshape(*[1] * (1 + axes), 4, 1)
    d = np.concatenate([d, -d])
    found = change_of(np.maximum, [Change(a, d), 0.0], np.maximum(a, 0.0)).delta
    exact = np.maximum(a + d, 0.0) - np.maximum(a, 0.0)
    assert np.abs(found - exact).max() <= 2.0**-52


@pytest.mark.parametrize("size", [1e-9, 5e-6, 1e-5, 1e-4, 5e-4, 1e-2, 1.0])
def test_series_end_below_rounding(size: float) -> None:
    d = size * rng().uniform(-1, 1, 1000)
    wide = d.astype(np.longdouble)
    for found, exact in (
        (expm1(d), np.expm1(wide)),
        (tanh_half(d), 2 * np.tanh(wide / 2)),
    ):
        assert np.abs(found - exact).max() <= 2.0**-53 * (1 + 4 * np.abs(exact).max())


@pytest.mark.parametrize("primitive", with_a("series"), ids=lambda f: f.__name__)
@pytest.mark.parametrize("size", [1e-9, 1e-6, 1e-4, 2e-3, 0.2, 1.0])
def test_power_series_end_below_rounding(primitive: Any, size: float) -> None:
    """The bound is half an ulp of the operation in extended precision, and a few of the change."""
    a = np.linspace(1 if primitive is np.log else -6, 6, 60).reshape(-1, 1, 1, 1)
    w = rng().uniform(-1, 1, (60, 3, 1, 1))
    u = size * rng(1).uniform(-1, 1, (3, 20, 1))
    base = primitive(a)
    found = elementwise(primitive, [Powers.rank_one(a, w, u)], base)
    if size >= 0.2 and primitive is not np.square:  # which is a polynomial
        assert found is None
        return
    assert isinstance(found, Powers)
    wide = [np.longdouble(v) for v in (a, w, u)]
    exact = primitive(wide[0] + wide[1] * wide[2]) - primitive(wide[0])
    # The argument of the logarithm is rounded, too.
    of_one = 1.0 if primitive in (np.tanh, np.log) else np.abs(base)
    of_one = of_one + (w * u) ** 2 if primitive is np.square else of_one
    error = np.abs(found.change().delta - exact)
    assert (error <= 2.0**-53 * of_one + 2.0**-50 * np.abs(exact)).all()


def test_a_kink_ends_a_power_series() -> None:
    base = np.array([-1.0, -1e-7, 2.0]).reshape(3, 1, 1, 1)
    u = 1e-6 * np.array([-1.0, 0.5, 1.0]).reshape(1, 3, 1)
    powers = Powers.rank_one(base, np.ones((3, 1, 1, 1)), u)
    far = Powers.rank_one(base[::2], np.ones((2, 1, 1, 1)), u)
    for primitive in (np.maximum, np.greater):
        assert elementwise(primitive, [powers, 0.0], primitive(base, 0.0)) is None
    kept = elementwise(np.maximum, [far, 0.0], np.maximum(base[::2], 0.0))
    assert isinstance(kept, Powers)
    assert kept.change().delta.tolist() == [[[[0.0]] * 3], u.tolist()]


def test_a_number_that_scales_a_matrix_of_its_leaf_has_no_separable_rows() -> None:
    def loss(p: Any, x: Any) -> Any:
        return anp.sum(anp.tanh(x @ (p["s"] * anp.ones((3, 2)))))

    assert covered(loss, {"s": np.array(0.5)}, normal(4, 3)) == [False]
    with only():
        agrees(loss, {"s": np.array(0.5)}, normal(4, 3))


# Losses that the plain loop evaluates


def loss_of_floats(params: Any, x: Any) -> float:
    total = np.sum(np.tanh(x @ np.array(params)))
    return math.tanh(total) + math.floor(total)


def random_loss(params: Any) -> Any:
    return anp.sum(params**2) * random_loss.rng.normal()  # type: ignore[attr-defined]


def test_a_loss_that_cannot_be_recorded_is_noted_once() -> None:
    params, x = rng().normal(size=(8, 8)), rng(1).normal(size=(5, 8))
    f = gradlab.value_and_grad(loss_of_floats, "central")
    with pytest.warns(UntraceableWarning, match="makes a Python number") as caught:
        _, first = f(params, x)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, again = f(params, x)
        plain = gradlab.CentralDifference(incremental=False)
        wanted = gradlab.grad(loss_of_floats, plain)(params, x)
    assert first.tolist() == again.tolist() == wanted.tolist()


def test_a_random_loss_is_refused() -> None:
    random_loss.rng = rng()  # type: ignore[attr-defined]
    with pytest.raises(LossError, match="not deterministic"):
        gradlab.grad(random_loss, "central")(np.ones(100))


def test_few_entries_are_not_worth_a_recording() -> None:
    calls = []

    def loss(w: Any) -> Any:
        calls.append(type(w))
        return (w**2).sum()

    gradlab.grad(loss, "central")(np.ones(10))
    assert calls == [np.ndarray] * 21
    calls.clear()
    gradlab.grad(loss, "central")(np.ones(1000))
    assert len(calls) == 3
    calls.clear()
    gradlab.grad(loss, gradlab.CentralDifference(incremental=False))(np.ones(1000))
    assert len(calls) == 2001


def test_infinity_is_named_by_the_plain_loop() -> None:
    w = np.ones(100)
    w[7] = 709.7827
    with (
        pytest.raises(NonFiniteError, match=r"\[7\] = 709.7827 moved to"),
        np.errstate(all="ignore"),
    ):
        gradlab.grad(lambda w: np.exp(w).sum(), gradlab.CentralDifference(step=0.1))(w)


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_the_number_of_threads_changes_no_bit(activation: Any) -> None:
    params = network.init((30, 20, 7), seed=0, activation=activation)
    x, y = rng().normal(size=(40, 30)), np.arange(40) % 7
    loss = partial(network.loss, activation=activation)
    names: set[str] = set()
    run = Plan._run_block

    def noted(*args: Any) -> Any:
        names.add(threading.current_thread().name)
        pools = [pool for pool in threadpool_info() if "numpy" in pool["filepath"]]
        assert {pool["num_threads"] for pool in pools} == {1}
        return run(*args)

    with pytest.MonkeyPatch.context() as patch:
        limits = Limits(block=2**12, worth_a_thread=0)
        patch.setattr(recording, "PointRecorder", partial(PointRecorder, limits=limits))
        patch.setattr(Plan, "_run_block", noted)
        found = [
            flatten(gradlab.grad(loss, gradlab.CentralDifference(threads=threads))(params, x, y))[0]
            for threads in (1, 2, 5)
        ]
    assert len(names) > 2
    for other in found[1:]:
        assert [leaf.tobytes() for leaf in other] == [leaf.tobytes() for leaf in found[0]]


def test_an_error_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda x: 1 // x, range(-5, 5), threads=2))


def test_threads_must_be_a_number() -> None:
    with pytest.raises(OptionError, match="threads=0"):
        gradlab.CentralDifference(threads=0)


def test_incremental_must_be_a_bool() -> None:
    with pytest.raises(OptionError, match="incremental='yes': give True or False"):
        replace(gradlab.CentralDifference(), incremental="yes")  # type: ignore[arg-type]


def test_a_part_outside_the_trace_is_detected_before_the_gradient_is_wrong() -> None:
    """Its share of the loss grows from less than a rounding of the difference to 1e-5."""
    w = rng().normal(size=200)
    total = np.sum(w * w)
    noticed = []
    for share in 10.0 ** np.arange(-12, -4, 0.25):

        def loss(w: Any, share: float = share) -> Any:
            squares = anp.sum(w * w)
            return squares * (1 + share * float(getval(squares)) / total)

        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = gradlab.grad(loss, "central")(w)
        noticed.append(bool(told))
        assert told or np.abs(found - 2 * w * (1 + 2 * share)).max() < 1e-6 * np.abs(2 * w).max()
    assert not noticed[0]
    assert noticed[-1]
