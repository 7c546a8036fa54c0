"""Random losses that mutate, branch, and convert under ``try``, on every backend that records.

Each call is compared with the loss on plain arrays, by central differences: the backend gives this
value and gradient, or refuses the loss.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import unless_missing

import gradlab
from gradlab.errors import GradlabError

EPS = np.finfo(float).eps
H = EPS ** (1 / 3)

Step = Callable[[Any, Any, Any, Any], Any]
"""From a value so far, the parameters, the data, and captured state to the next value."""


def converted(make: Callable[[Any], Any]) -> Callable[[Any, float], Any]:
    def convert(x: Any, otherwise: float) -> Any:
        try:
            return make(x)
        except Exception:
            return otherwise

    return convert


CONVERTS = [
    converted(make)
    for make in (
        lambda x: float(x.sum()) / 8,
        lambda x: int(abs(x[0]) + 2.5),
        lambda x: abs(x).max().item(),
        lambda x: sum(x.tolist()) / 8,
        lambda x: len(x.tobytes()) / 16,
        lambda x: [0.5, 1.5, 2.5][int(x.argmax())],
        lambda x: 2.0 if x.flags.c_contiguous else 3.0,
        lambda x: 2.0 if hasattr(x, "strides") else 3.0,
        lambda x: 2.0 if isinstance(x, np.ndarray) else 3.0,
        lambda x: 2.0 if type(x) is np.ndarray else 3.0,
        lambda x: np.asarray(x, dtype=float)[0] / 4,
        lambda x: float(f"{x[0]:.1f}") / 4,
        lambda x: len(range(int(abs(x[0]) * 2))) + 1.0,
        lambda x: np.frombuffer(x.tobytes())[1] / 4,
        lambda x: complex(x[0]).real / 4,
    )
]


def on_data(rng: np.random.Generator) -> Step:
    convert = CONVERTS[rng.integers(len(CONVERTS))]
    return lambda v, w, x, a: v * convert(x, 7.0)


def on_captured(rng: np.random.Generator) -> Step:
    convert = CONVERTS[rng.integers(len(CONVERTS))]
    return lambda v, w, x, a: v * convert(a, 7.0)


def branch_on_data(rng: np.random.Generator) -> Step:
    i = rng.integers(3)
    return lambda v, w, x, a: v + (w * x if x[i] > 0 else np.sin(w) * x)


def branch_on_captured(rng: np.random.Generator) -> Step:
    i = rng.integers(3)
    return lambda v, w, x, a: v * a if a[i] > 1 else v + a


def branch_on_state(rng: np.random.Generator) -> Step:
    i = rng.integers(3)
    return lambda v, w, x, a: np.where(x > a, v, w * x) + (w if a.sum() > x[i] else 0.5 * w)


def in_place(rng: np.random.Generator) -> Step:
    i = rng.integers(3)

    def step(v: Any, w: Any, x: Any, a: Any) -> Any:
        new = v * 1.0
        new[i] = w[i] * a[i]
        new += x
        return new

    return step


def filled(rng: np.random.Generator) -> Step:
    def step(v: Any, w: Any, x: Any, a: Any) -> Any:
        new = np.zeros(3)
        for i in range(3):
            new[i] = v[i] * a[2 - i]
        return new

    return step


def centred(rng: np.random.Generator) -> Step:
    def step(v: Any, w: Any, x: Any, a: Any) -> Any:
        x -= x.mean()  # the caller's own
        return v * x

    return step


def centred_copy(rng: np.random.Generator) -> Step:
    def step(v: Any, w: Any, x: Any, a: Any) -> Any:
        x = x.copy()
        x -= x.mean()
        return v * x

    return step


def powers(rng: np.random.Generator) -> Step:
    return lambda v, w, x, a: v + (w * w + 1) ** a + abs(a) ** w


def angles(rng: np.random.Generator) -> Step:
    return lambda v, w, x, a: np.arctan2(v, 2 + abs(a)) + np.stack([w, a])[1] * w


def derived(rng: np.random.Generator) -> Step:
    return lambda v, w, x, a: v * np.sort(2 * a)[::-1] + a.sum() * w


STEPS = [
    on_data, on_data, on_captured, branch_on_data, branch_on_captured, branch_on_state, in_place,
    filled, centred_copy, powers, angles, derived,
]  # fmt: skip


class Case:
    """A loss, and calls of it; between them, the array that it closes over changes."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        steps = [STEPS[rng.integers(len(STEPS))](rng) for _ in range(rng.integers(1, 4))]
        if rng.random() < 0.1:
            steps.append(centred(rng))
        self.captured = captured = rng.uniform(0.5, 2.5, 3)
        self.rng = rng

        def loss(w: Any, x: Any) -> Any:
            value = w * x
            for step in steps:
                value = step(value, w, x, captured)
            return np.sum(np.tanh(value / 4))

        self.loss = loss

    def points(self) -> Any:
        """Yield parameters and data."""
        rng = self.rng
        w, x = rng.uniform(0.5, 2.0, 3), rng.uniform(-2, 4, 3)
        yield w, x
        yield w, x
        for kind in rng.integers(4, size=7):
            if kind == 0:
                w = rng.uniform(0.5, 2.0, 3)
            elif kind == 1:
                x = rng.uniform(-2, 4, 3)
            elif kind == 2:
                self.captured[:] = rng.uniform(0.5, 2.5, 3)
            elif kind == 3:
                self.captured[rng.integers(3)] += 1.0
            yield w, x

    def truth(self, w: Any, x: Any) -> tuple[float, Any]:
        """Return value and gradient on plain copies."""

        def at(w: Any) -> float:
            return float(self.loss(w, x.copy()))

        slopes = [(at(w + e) - at(w - e)) / (2 * H) for e in H * np.eye(3)]
        return at(w), np.array(slopes)


def judged(backend: Any, seed: int) -> str:
    """Return the outcome of a backend on a case: right, refused, or a description of the error."""
    case, outcome = Case(seed), "right"
    f = gradlab.value_and_grad(case.loss, backend)
    for n, (w, x) in enumerate(case.points()):
        held = x.copy(), case.captured.copy(), w.copy()
        answer = None
        try:
            answer = f(w, x)
        except GradlabError:
            outcome = "refused"
        if not all(map(np.array_equal, (x, case.captured, w), held)):
            return f"wrong: writes into what it was given, at call {n}"
        if answer is None:
            continue
        value, grads = answer
        wanted, slopes = case.truth(w, x)
        # h² f'''/6 and ε f/h with h = ε^⅓, derivatives up to some hundred times the value.
        off = np.abs(grads - slopes).max()
        if not abs(value - wanted) <= 1e3 * EPS * max(1, abs(wanted)):
            return f"wrong: {value} for {wanted}, at call {n}"
        if not off <= 1e3 * H**2 * max(1.0, np.abs(slopes).max()):
            return f"wrong: {grads} for {slopes}, at call {n}"
    return outcome


RECORDING = [
    unless_missing("tape"),
    unless_missing("tape", gradlab.Tape(exact=True), "exact tape"),
    unless_missing("central"),
    unless_missing("central", gradlab.CentralDifference(incremental=False), "central, plain"),
    unless_missing("autograd"),
    unless_missing("autograd-forward"),
    unless_missing("torch"),
]


@pytest.mark.slow
@pytest.mark.parametrize("backend", RECORDING)
def test_random_losses(backend: Any) -> None:
    sweep(backend, range(300), least=150)


@pytest.mark.slow
@pytest.mark.parametrize("backend", [unless_missing("jax")])
def test_random_losses_that_are_compiled(backend: Any) -> None:
    """There are fewer of them, because each is compiled."""
    sweep(backend, range(25), least=5)


def test_some_random_losses() -> None:
    sweep("tape", range(12), least=6)


def sweep(backend: Any, seeds: Any, least: int) -> None:
    """Judge losses; most are differentiated, and not refused."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = {seed: judged(backend, seed) for seed in seeds}
    wrong = {seed: what for seed, what in found.items() if what.startswith("wrong")}
    assert not wrong
    assert list(found.values()).count("right") >= least
