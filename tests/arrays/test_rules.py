"""The derivative rules in `gradlab.arrays.rules`: each against a derivative computed without them.

A rule is tested inside a loss, Σ Re(w y) + ½ Σ |y|² of the results y of a function: in reverse and
forward mode, replayed by the tape, and differentiated twice. The reference depends on it:

- `polynomial`: the loss has degree 2 at most in each entry of the parameters. A central difference
  of step 1 is then exact.
- `analytic`: the complex step, of the function or of a twin of it that is analytic. Its truncation
  error of h² is far below round-off at h = 1e-30.
- `precise`: central differences of the function in mpmath, at 50 digits with h = 1e-18, for
  decompositions. Truncation error, about h², and round-off, about 1e-50 / h, are below 1e-30.
- `measured`: `gradlab.derivative_with_error`, which evaluates the loss in plain NumPy alone and has
  error bars. What is only known to some digits is compared to these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
from rule_cases import CASES, NAMES, TALL, A, Case, linalg

import gradlab
from gradlab import derivative_with_error
from gradlab.gradients.slopes import slope as measured_slope

EPS = np.finfo(float).eps


# The loss around a function


def weights(i: int, shape: tuple[int, ...], is_complex: bool) -> np.ndarray:
    w = np.cos(1.0 + i + np.arange(np.prod(shape, dtype=int))).reshape(shape)
    return w + 1j * np.sin(2.0 * w) if is_complex else w


def loss_of(function: Callable[..., Any]) -> Callable[[Any], Any]:
    def loss(params: Any) -> Any:
        found = function(*params)
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        total = 0.0
        for i, y in enumerate(outputs):
            w = weights(i, np.shape(y), np.iscomplexobj(y))
            square = np.real(y) ** 2 + np.imag(y) ** 2 if np.iscomplexobj(y) else y * y
            total = total + np.sum(np.real(w * y)) + np.sum(square) / 2
        return total

    return loss


def analytic_loss_of(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return the loss without `np.real`, for complex parameters."""

    def loss(params: Any) -> Any:
        found = function(*params)
        outputs = found if isinstance(found, (tuple, list)) else (found,)
        return sum(
            np.sum(weights(i, np.shape(y), False) * y) + np.sum(y * y) / 2
            for i, y in enumerate(outputs)
        )

    return loss


# Derivatives without rules


def moved(params: Any, leaf: int, entry: int, step: Any) -> list[Any]:
    made = [np.array(p, np.result_type(p, step)) for p in params]
    made[leaf].flat[entry] += step
    return made


def each_entry(params: Any, slope: Callable[[int, int], float]) -> list[np.ndarray]:
    return [np.reshape([slope(i, k) for k in range(p.size)], p.shape) for i, p in enumerate(params)]


def true_gradient(case: Case) -> tuple[list[np.ndarray], float]:
    """Return the gradient, and the largest of its error bars, relative to its largest entry."""
    if case.kind == "measured":
        found, error = derivative_with_error(loss_of(case.function), list(case.params))
        scale = max(1.0, *[np.max(np.abs(leaf)) for leaf in found])
        return found, max(np.max(leaf) for leaf in error) / scale
    return computed_gradient(case), 0.0


def computed_gradient(case: Case) -> list[np.ndarray]:
    if case.kind == "polynomial":
        loss = loss_of(case.reference)

        def difference(i: int, k: int) -> float:
            up, down = (loss(moved(case.params, i, k, h)) for h in (1.0, -1.0))
            return (up - down) / 2

        return each_entry(case.params, difference)
    if case.kind == "analytic":
        loss, h = analytic_loss_of(case.reference), 1e-30
        return each_entry(
            case.params, lambda i, k: np.imag(loss(moved(case.params, i, k, 1j * h))) / h
        )
    return precise_gradient(case)


def precise_gradient(case: Case) -> list[np.ndarray]:
    """Return central differences of a function of one matrix, in 50 digits."""
    with mpmath.workdps(50):
        h = mpmath.mpf(10) ** -18
        signs = [np.asarray(y) for y in as_tuple(case.function(*case.params))]

        def loss(matrix: Any) -> Any:
            total = mpmath.mpf(0)
            for i, (y, like) in enumerate(
                zip(as_tuple(case.reference(matrix, signs)), signs, strict=True)
            ):
                entries = list(y)
                w = weights(i, like.shape, False).ravel()
                assert len(entries) == like.size
                total += sum(
                    mpmath.mpf(float(a)) * b + b * b / 2 for a, b in zip(w, entries, strict=True)
                )
            return total

        def slope(i: int, k: int) -> float:
            values = []
            for step in (h, -h):
                matrix = mpmath.matrix(case.params[0].tolist())
                matrix[divmod(k, case.params[0].shape[1])] += step
                values.append(loss(matrix))
            return float((values[0] - values[1]) / (2 * h))

        return each_entry(case.params, slope)


def as_tuple(found: Any) -> tuple[Any, ...]:
    return tuple(found) if isinstance(found, (tuple, list)) else (found,)


def gap(found: Any, true: Any) -> float:
    """Return the largest difference, relative to the largest entry of all leaves."""
    scale = max(1.0, *[np.max(np.abs(leaf), initial=0.0) for leaf in true])
    return max(np.max(np.abs(a - b), initial=0.0) for a, b in zip(found, true, strict=True)) / scale


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_rules(case: Case) -> None:
    loss, params = loss_of(case.function), list(case.params)
    true, error = true_gradient(case)
    assert error <= 1e-6  # otherwise, the comparison shows nothing
    for backend in ("autograd", "autograd-forward", "tape"):
        function = gradlab.value_and_grad(loss, backend=backend)
        if backend == "tape":  # a replay, recorded at other parameters
            function([1.01 * p for p in params])
        value, found = function(params)
        np.testing.assert_allclose(value, loss(params), rtol=case.roundings * EPS)
        assert gap(found, true) <= error + case.roundings * EPS, backend


# What has no derivative


@pytest.mark.parametrize("backend", ["autograd", "autograd-forward", "tape"])
@pytest.mark.parametrize(
    ("function", "matrix"),
    [
        (lambda a: linalg.eigh(a)[1], np.eye(3)),
        (lambda a: linalg.eig(a)[1], np.eye(3)),
        (lambda a: linalg.svd(a)[0], np.eye(3)),
        (lambda a: linalg.svd(a)[0], TALL),
        (lambda a: linalg.svd(a)[2], TALL.T.copy()),
        (lambda a: linalg.qr(a)[0], TALL.T.copy()),
        (lambda a: linalg.qr(a, mode="complete")[0], TALL),
        (lambda a: np.abs(linalg.qr(a + 1j * a @ a)[0]), A),
    ],
    ids="eigh eig svd complement-u complement-v qr-wide qr-complete qr-complex".split(),
)
def test_vectors_that_are_not_unique_are_refused(
    function: Any, matrix: np.ndarray, backend: str
) -> None:
    with pytest.raises(gradlab.GradlabError):
        gradlab.grad(loss_of(function), backend=backend)([matrix])


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if c.twice], ids=lambda case: case.name)
def test_rules_of_rules(case: Case) -> None:
    """The slope of the gradient along a direction agrees with a measured one, within its bars."""
    loss = loss_of(case.function)
    directions = [
        np.sin(1.0 + 3 * i + np.arange(p.size)).reshape(p.shape) for i, p in enumerate(case.params)
    ]

    def slope(params: Any) -> Any:
        found = gradlab.grad(loss)(params)
        return sum(np.sum(v * g) for v, g in zip(directions, found, strict=True))

    hessian_v = gradlab.grad(slope)(list(case.params))
    found = sum(np.sum(v * g) for v, g in zip(directions, hessian_v, strict=True))

    def along(t: Any) -> Any:
        return slope([p + t * v for p, v in zip(case.params, directions, strict=True)])

    measured = measured_slope(lambda t: (t, along(t)))
    true, error = measured.value, measured.error
    size = sum(np.sum(np.abs(v * g)) for v, g in zip(directions, hessian_v, strict=True))
    assert abs(found - true) <= error + case.roundings * EPS * max(1.0, size)
    assert error <= 1e-5 * max(1.0, size)  # otherwise, the comparison shows nothing
