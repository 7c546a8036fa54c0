"""The gradient of a loss, and how far it may be off, by NumPy alone.

Every slope is measured twice. Central differences with halving steps, extrapolated to step 0
(Richardson), come with an error bar: how far neighbours in the extrapolation table lie apart, and
the round-off of the loss divided by the step. The complex step (Im f(x + ih) / h, h = 1e-30) is
exact to round-off, but only for a loss that is analytic as it is written. It counts where it agrees
with the extrapolation along random directions, which see every entry; elsewhere the extrapolation
itself is the reference, entry by entry.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .registry import Case

ROUNDINGS = 1e4
"""Operations on the longest way through any loss here: a count that none exceeds."""

TINY_STEP = 1e-30
"""The complex step: its square is lost beside any number."""


def leaves(params: Any) -> list[Any]:
    """The arrays and numbers of a structure, in the order of its keys and indices."""
    if isinstance(params, dict):
        return [leaf for key in sorted(params) for leaf in leaves(params[key])]
    if isinstance(params, list | tuple):
        return [leaf for part in params for leaf in leaves(part)]
    return [params]


def to_vector(params: Any) -> np.ndarray:
    """All entries in a row, in float64."""
    return np.concatenate([np.asarray(leaf, dtype=np.float64).ravel() for leaf in leaves(params)])


def to_structure(vector: np.ndarray, like: Any) -> Any:
    """Put a vector back into the structure; numbers stay numbers."""
    rest = list(np.split(vector, np.cumsum([np.size(leaf) for leaf in leaves(like)])[:-1]))

    def build(part: Any) -> Any:
        if isinstance(part, dict):
            built = {key: build(part[key]) for key in sorted(part)}
            return {key: built[key] for key in part}
        if isinstance(part, list | tuple):
            return type(part)(build(item) for item in part)
        piece = rest.pop(0)
        return piece.reshape(np.shape(part)).copy() if isinstance(part, np.ndarray) else piece[0]

    return build(like)


@dataclass(frozen=True)
class Truth:
    """Value and gradient of a loss at one point.

    Attributes
    ----------
    value : float
        The loss.
    gradient, error : ndarray
        One number an entry of the parameters; how far each may be off.
    rounding : float
        How far a gradient may be off that is exact but for round-off: ROUNDINGS times eps times
        how much it changes if each parameter changes by its own size, or the gradient's size.
    rounding_of_value : float
        The same for the value.
    truncation : ndarray
        Error of the central difference of step eps**(1/3), measured at a longer step.
    noise : float
        Round-off of the loss divided by that step.
    analytic : bool
        Whether the reference is the complex step.
    """

    value: float
    gradient: np.ndarray
    error: np.ndarray
    rounding: float
    rounding_of_value: float
    truncation: np.ndarray
    noise: float
    analytic: bool


def along(case: Case, draw: int) -> tuple[Callable[[np.ndarray], Any], np.ndarray]:
    """The loss as a function of one vector, and the vector."""
    params, args = case.at(draw)

    def f(vector: np.ndarray) -> Any:
        return case.loss()(to_structure(vector, params), *copy.deepcopy(args))

    return f, to_vector(params)


def extrapolated(
    f: Callable[[float], Any], start: float, noise: float, levels: int = 9
) -> tuple[float, float]:
    """The slope of f at 0 from central differences with steps start, start / 2, ..., and its error.

    Only levels whose values are finite count: a long step may leave the domain of the loss.

    A kink nearer than every step bends the loss by as much at each of them, and hides from central
    differences: (f(h) - 2 f(0) + f(-h)) / 2h, which halves with h for a smooth loss, stays as it is.
    It is a bound on the error then.
    """
    best, bar, above = np.nan, np.inf, []
    bends = []
    for level in range(levels):
        h = start / 2**level
        with np.errstate(all="ignore"):
            try:
                ahead, behind = float(f(h)), float(f(-h))
                row = [(ahead - behind) / (2 * h)]
                bends.append(abs(ahead - 2 * float(f(0.0)) + behind) / (2 * h))
            except (ValueError, ArithmeticError, np.linalg.LinAlgError):
                row = [np.nan]
        if not np.isfinite(row[0]):
            above = []
            continue
        for order, previous in enumerate(above, start=1):
            row.append(row[-1] + (row[-1] - previous) / (4**order - 1))
            estimate = max(abs(row[-1] - row[-2]), abs(row[-1] - previous)) + 2 * noise / h
            if estimate < bar:
                best, bar = row[-1], estimate
        above = row
    if len(bends) > 1 and bends[-1] > 0.75 * bends[-2] + 4 * noise / h:
        bar = max(bar, bends[-1])
    return best, bar


def complex_gradient(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray | None:
    """The complex step, or None if the loss does not take complex numbers."""
    result = np.empty(x.size)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error")
        try:
            for i in range(x.size):
                moved = x.astype(complex)
                moved[i] += 1j * TINY_STEP
                value = f(moved)
                if not np.iscomplexobj(value):
                    return None
                result[i] = np.imag(value) / TINY_STEP
        except Exception:  # a loss may raise any error on numbers that it was not written for
            return None
    return result if np.isfinite(result).all() else None


def reference(case: Case, draw: int, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Gradient, error, and whether it is the complex step's."""
    f, _ = along(case, draw)
    eps = np.finfo(np.float32 if case.single else np.float64).eps
    noise = 8 * float(eps) * abs(float(f(x)))
    exact = complex_gradient(f, x)
    if exact is not None:
        rng = np.random.default_rng(draw)
        for _ in range(3):
            way = rng.normal(size=x.size) * np.maximum(np.abs(x), 0.1) / np.sqrt(x.size)
            terms = exact * way
            slope, bar = extrapolated(lambda t, way=way: f(x + t * way), 0.1, noise)
            if not abs(slope - terms.sum()) <= bar + ROUNDINGS * eps * np.abs(terms).sum():
                break
        else:
            return exact, np.zeros_like(exact), True
    rows = []
    for i in range(x.size):
        unit = np.zeros(x.size)
        unit[i] = 1.0
        start = 0.1 * max(abs(x[i]), 0.5)
        rows.append(extrapolated(lambda t, unit=unit: f(x + t * unit), start, noise))
    gradient, error = np.array(rows).T
    return gradient, error, False


@functools.cache
def truth(case: Case, draw: int) -> Truth:
    """Value, gradient, and every bound on them."""
    f, x = along(case, draw)
    eps = float(np.finfo(np.float32 if case.single else np.float64).eps)
    value = float(f(x))
    gradient, error, analytic = reference(case, draw, x)
    # Round-off changes a gradient like a perturbation of the parameters by a few eps.
    change = 1e-2 if case.single else 1e-4
    moved, _, _ = reference(case, draw, x * (1 + change))
    curved = np.nan_to_num(np.abs(moved - gradient).max() / change, posinf=0.0)
    size = np.abs(gradient).max()
    weight = abs(value) + float(np.abs(gradient * x).sum())

    step, longer = eps ** (1 / 3), 1e-3 if not case.single else 3e-2
    truncation = np.empty(x.size)
    for i in range(x.size):
        h = longer * max(1.0, abs(x[i]))
        ahead, behind = x.copy(), x.copy()
        ahead[i] += h
        behind[i] -= h
        with np.errstate(all="ignore"):
            slope = float((f(ahead) - f(behind)) / (2 * h))
        truncation[i] = 4 * abs(slope - gradient[i]) * (step / longer) ** 2
    return Truth(
        value,
        gradient,
        error,
        ROUNDINGS * eps * (size + curved),
        ROUNDINGS * eps * weight,
        np.nan_to_num(truncation, nan=0.0),
        64 * eps * weight / step,
        analytic,
    )
