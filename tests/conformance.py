"""The conformance table: one row per backend, with its error law; structures of parameters."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from array_api_compat import array_namespace
from optional import is_installed, unless_missing

import gradlab
from gradlab.gradients import Backend
from gradlab.gradients.estimators import directions
from gradlab.gradients.probing import Probe
from gradlab.gradients.spsa import common_step
from gradlab.params import flatten, floating, map_leaves, named_leaves
from gradlab.testing import Method, error_bounds

# The conformance table


@dataclass(frozen=True)
class Replays(gradlab.Tape):
    """The tape at its third call, which replays, after a recording and a comparison."""

    def value_and_grad(self, loss: Any) -> Any:
        f = super().value_and_grad(loss)

        def third(params: Any, *args: Any) -> Any:
            first, second = f(params, *args), f(params, *args)
            assert first[0] == second[0]
            return f(params, *args)

        return third


@dataclass(frozen=True)
class IncrementalCentral(gradlab.CentralDifference):
    """The central difference over a recording of the loss, also with few parameters."""

    min_entries = 0


@dataclass(frozen=True)
class IncrementalForward(gradlab.ForwardDifference):
    """The forward difference over a recording."""

    min_entries = 0


@dataclass(frozen=True)
class IncrementalCentral4(gradlab.CentralDifference4):
    """The central difference of fourth order over a recording."""

    min_entries = 0


@dataclass(frozen=True)
class TracedTorch(gradlab.Torch):
    """PyTorch's backend with an uncompiled graph, because compiling takes seconds."""

    def value_and_grad(self, loss: Any) -> Any:
        f = gradlab.Torch(compile=True).value_and_grad(loss)
        f.kernels = lambda graph: graph
        return f


@dataclass(frozen=True)
class Row:
    """A backend and its guarantees."""

    backend: Backend
    method: Method  # its error law, as in `error_bounds`
    evaluations: Callable[[int], int]  # of the loss, for p parameters; a bound if adaptive
    own_precision: bool = False  # evaluates float32 parameters in float32, not in float64
    adaptive: bool = False  # the number of evaluations depends on the loss
    traced: bool = False  # evaluates the loss on boxes around all arrays, not the parameters alone
    native: bool = False  # computes in another library, which rounds differently
    directions: str = ""  # an estimator, with random directions of these entries

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
        """Return a bound on the distance of this backend's gradient from the true one."""
        if self.directions:
            return map_leaves(np.add, *law_of_estimate(self, loss, params, *args))
        return self.error(loss, params, *args)

    def error(self, loss: Any, params: Any, *args: Any) -> Any:
        """Return a bound on the distance from the formula's exact value for these directions."""
        if self.directions:
            return law_of_estimate(self, loss, params, *args)[0]
        return error_bounds(loss, params, *args, method=self.method, step=self.step).total

    def roundoff(self, loss: Any, params: Any, *args: Any) -> Any:
        """Return the round-off part of the bound; for an estimator, all of it."""
        if self.directions:
            return law_of_estimate(self, loss, params, *args)[0]
        return error_bounds(loss, params, *args, method=self.method, step=self.step).roundoff


# The error laws of estimators

FALSE_ALARM = 1e-9
"""Probability that an entry is off by more than its bound, for normal directions."""


def law_of_estimate(row: Row, loss: Any, params: Any, *args: Any) -> tuple[Any, Any]:
    """Return bounds on the error of an estimate and on its noise.

    The error is the distance of the estimate from the mean of (∇f · v) v over the drawn directions
    v; the noise is the distance of that mean from ∇f. For signs, an entry is off by at most Σ ± g_j
    over all the others. For normal directions, it is a sum of two χ² with the weights (g_i ± |g|) /
    2: Laurent & Massart, *Adaptive estimation of a quadratic functional by model selection*, 2000,
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
    """Return the mean error of the central differences along the drawn directions."""
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
# The number of evaluations does not depend on p: one of the loss itself, one on boxes for the
# recording, and one near the parameters to confirm the recording.
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
    """Return the row of a backend of another library; None if it is not installed."""
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
    """Return the leaves of the structure that the loss is called with."""
    return flatten(params, lambda leaf, path: leaf)[0]


def smooth(params: Any) -> Any:
    """Compute a smooth loss of any structure, with distinct slopes that depend on all entries."""
    total = 0.0
    for number, leaf in enumerate(leaves_of(params), start=1):
        leaf = 1.0 * leaf
        sin = array_namespace(leaf).sin
        total = total + (sin(number * leaf) + 0.01 * leaf * leaf).sum()
    return total + 0.1 * total * total


def snapshot(params: Any) -> list[tuple[bytes, tuple[int, ...], str]]:
    return [(leaf.tobytes(), leaf.strides, leaf.dtype.str) for _, leaf in named_leaves(params)]


def elementary(name: str) -> Callable[[Any], Any]:
    """Return a function of the Array API, for arrays of any library."""
    return lambda x: getattr(array_namespace(x), name)(x)
