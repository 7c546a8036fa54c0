"""The complex step: the slope as an imaginary part, without a subtraction.

A loss made of analytic functions can be evaluated at complex parameters. By Taylor's theorem,
f(x + i h) = f + i h f' - h²/2 f'' - ..., so that for a step whose square is negligible::

    f' = Im f(x + i h) / h        error ~ h² f'''/6 ~ 1e-201

Nothing cancels: the result is exact to round-off, for one complex evaluation per entry. Squire &
Trapp, *Using complex variables to estimate derivatives of real functions*, SIAM Review 40 (1998);
Martins, Sturdza & Alonso, *The complex-step derivative approximation*, ACM Transactions on
Mathematical Software 29 (2003).

Not all of NumPy's functions of complex numbers are continuations of the real ones: the absolute
value is the modulus, and ``max`` compares imaginary parts if real parts are equal. There are two
safeguards. First, the loss gets its parameters as `gradlab.arrays.stepped` arrays, for which the
real parts decide: |x| is -x where x < 0, and the largest entry is the one with the largest real
part. Second, a copy of such an array may be an ordinary array, so that every call compares the
gradient with real differences of the loss along a random direction.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradlab.arrays import stepped_rules as stepped_rules  # registers them
from gradlab.arrays.leaks import Watch
from gradlab.arrays.places import place_of
from gradlab.arrays.rewriting import following_rewrites
from gradlab.arrays.stepped import COMPLEX_STEP_ADVICE, Notes, guarded
from gradlab.arrays.tracing import run_traced
from gradlab.errors import GradlabError, LossError, NonFiniteError
from gradlab.gradients.differences.richardson import ERROR_MARGIN, extrapolate_once
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.probing import Probe, size_of
from gradlab.gradients.protocol import Loss, ValueAndGrad, real_scalar
from gradlab.gradients.slopes import Bar, Slope
from gradlab.gradients.slopes import slope as measure
from gradlab.params import Array
from gradlab.seeding import generator

EPSILON = float(np.finfo(np.float64).eps)

DEFAULT_STEP = 2.0**-333
"""Step near 1e-100: its square underflows, its products with slopes from 1e-200 to 1e200 do not.

For an entry with |x| > 1, the step is |x| times this, because slopes there scale with 1/|x|.
"""

SINGLE_STEP = 2.0**-60
"""Step for a loss that computes in complex64: about 1e-18, as its smallest number is near 1e-38."""


@dataclass(frozen=True)
class ComplexStep:
    """One evaluation per entry along the imaginary axis: exact to round-off, no step to choose.

    The loss is written in NumPy. For piecewise analytic functions such as ``abs``, ``max``,
    ``sort`` and comparisons, the real parts decide; equal entries share the derivative of a
    maximum. A loss with complex numbers of its own, such as the absolute value of a Fourier
    transform, is refused.
    It is evaluated in complex128, and five times in float64 to confirm the gradient. The step is
    near 1e-100, or proportional to an entry beyond 1, so that it resolves slopes from 1e-200 to
    1e200. A smaller gradient comes out as 0. A loss that curves within 1e-100 of a tiny entry, as
    the logarithm does, is refused. A loss that computes in float32 computes in complex64 here, with
    steps near 1e-18: its gradient is exact to float32's round-off.

    Raises
    ------
    UntraceableError, LossError
        By the returned function: if the loss calls a function that has no derivative here, or that
        does not take complex numbers (the message names it); or if the gradient is not confirmed.

    Examples
    --------
    >>> import numpy as np
    >>> f = ComplexStep().value_and_grad(lambda x: np.sum(np.exp(x)))
    >>> x = np.array([0.0, 1.0])
    >>> value, grads = f(x)
    >>> np.abs(grads - np.exp(x)).max() <= 4 * np.finfo(float).eps
    np.True_
    >>> ComplexStep().value_and_grad(lambda x: np.max(abs(x - 3)))(x)
    (3.0, array([-1.,  0.]))
    """

    name = "complex-step"

    @passing_keywords
    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            probe = Probe(loss, params, args, None)
            value = float(probe.value)
            stepped = SteppedProbe(loss, params, args, None)
            with probe.restoring():
                with warnings.catch_warnings():
                    warnings.simplefilter("error", np.exceptions.ComplexWarning)
                    gradients = [stepped.slopes(leaf) for leaf in range(len(stepped.leaves))]
                confirm(probe, gradients, stepped)
                watch = Watch([stepped.notes])
                del stepped
                watch.replace(loss, args)
                return value, probe.finish(gradients)

        return value_and_grad


class SteppedProbe(Probe):
    """A `Probe` with complex parameters, whose loss may return a complex number."""

    widest = np.complex128

    def __init__(self, *args: Any) -> None:
        self.notes = Notes()
        self.step = DEFAULT_STEP
        self.is_real = True  # until the loss has returned a complex number
        super().__init__(*args)

    def slopes(self, leaf: int) -> Array:
        """Return the derivative with respect to each entry of a leaf, in the leaf's shape."""
        x = self.leaves[leaf]
        found = (self._slope(leaf, i, there) for i, there in enumerate(x.flat))
        return np.fromiter(found, x.real.dtype, x.size).reshape(x.shape)

    def _slope(self, leaf: int, i: int, x: Any) -> Any:
        h = math.ldexp(self.step, max(0, math.frexp(x.real)[1]))
        value = self.at(leaf, i, x + 1j * h)
        self.notes.single |= bool(value.dtype == np.complex64)
        if self.notes.single and self.step != SINGLE_STEP:
            self.step = SINGLE_STEP
            return self._slope(leaf, i, x)
        self.is_real &= value.dtype.kind != "c"
        return type(x.real)(value.imag) / h  # a narrower type cannot hold h

    def _show(self, leaf: Array) -> Array:
        return guarded(super()._show(leaf), self.notes)  # type: ignore[no-any-return]

    def _evaluate(self, place: Callable[[], str], params: Any = None) -> Any:
        value = self.complex_value(place, self._params if params is None else params)
        for part in (value.real, value.imag):
            real_scalar(part, place())
        return value.reshape(())[()]

    def complex_value(self, place: Callable[[], str], params: Any) -> Array:
        """Return the result of the loss at complex parameters, in any shape."""
        try:
            value = following_rewrites(lambda: run_traced(self._loss, params, self._args))
        except GradlabError:
            raise
        except np.exceptions.ComplexWarning as error:
            raise LossError(
                "complex-step: the loss casts complex numbers to real ones "
                f"({place_of(error.__traceback__)}), which loses their slopes; "
                f"{COMPLEX_STEP_ADVICE}"
            ) from error
        except Exception as error:
            error.add_note(f"raised by the loss at {place()}")
            raise LossError(
                f"complex-step: the loss fails on complex numbers ({type(error).__name__}: "
                f"{error}; {place_of(error.__traceback__)}); {COMPLEX_STEP_ADVICE}"
            ) from error
        return np.asarray(value)


# Confirmation of the gradient

RANDOM_DIRECTIONS = 5
"""Number of random directions. The gradient counts as wrong only if all of them disagree, because
noise can falsify a single one."""

REAL_STEPS = (2.0**-17, 2.0**-24, 2.0**-31, 2.0**-38)
"""Steps along a direction, relative to the entries; the finer ones are for steep losses."""


DOUBTFUL_REAL_ERROR = 2.0**-10
"""Relative error of the real differences above which the noise of the loss is measured."""


def confirm(probe: Probe, gradients: Sequence[Array], stepped: SteppedProbe) -> None:
    """Compare a gradient with real differences of the loss along a random direction.

    Raise a LossError if it differs from them by more than their error or the loss is not
    deterministic, a NonFiniteError if the loss is not finite on both sides of the parameters.
    """
    for seed in range(RANDOM_DIRECTIONS):
        rng = generator(seed)
        direction = [size_of(leaf) * rng.standard_normal(leaf.shape) for leaf in probe.leaves]
        products = [g * d for g, d in zip(gradients, direction, strict=True)]
        claimed = sum((float(product.sum()) for product in products), 0.0)
        # A perturbation rounds the parameters, which changes the loss by up to this size times ε.
        size = sum((float(np.abs(product).sum()) for product in products), 0.0)
        try:
            with np.errstate(all="ignore"):  # non-finite values are reported
                against = contradiction(
                    partial(probe.along, direction),
                    probe.value,
                    claimed,
                    size,
                    precision=probe.precision,
                    doubt=probe.require_steady,
                )
        except NonFiniteError as error:
            raise NonFiniteError(
                f"complex-step cannot confirm its gradient: {error}; {COMPLEX_STEP_ADVICE}"
            ) from error
        if against is None:
            return
        wrong = LossError(
            f"complex-step: its slope along a random direction is {claimed:.12g}, but real "
            f"differences have {against.value:.12g} ± {against.error:.1g}: "
            f"{reason(stepped)}; {COMPLEX_STEP_ADVICE}"
        )
        probe.require_steady()
    raise wrong


def reason(stepped: SteppedProbe) -> str:
    """Describe the likely error in a loss."""
    suspects = f" (it takes {', '.join(sorted(stepped.notes))})" if stepped.notes else ""
    if stepped.is_real:
        return (
            "the loss returns a real number for complex parameters, so that it drops the imaginary "
            f"part, and is not analytic as it is written{suspects}"
        )
    return f"the loss is not analytic as it is written, or has slopes beyond 1e±200{suspects}"


def contradiction(
    f: Callable[[float], Any],
    centre: Any,
    claimed: float,
    size: float,
    *,
    precision: float = EPSILON,
    doubt: Callable[[], object] = lambda: None,
) -> Bar | None:
    """Return the differences that contradict a slope of f at 0, or None.

    A finer step refutes a coarser one that disagrees with it: the loss is too steep for the coarser
    step. A finer step that is only less certain does not. If the differences are uncertain, `doubt`
    is called, and the slope is also measured with larger steps.
    """
    against: list[Bar] = []
    for h in REAL_STEPS:
        slope, error = extrapolate_once(f, 0.0, centre, h)
        found = Bar(slope, error + 2 * EPSILON * size / h)
        if found.error > DOUBTFUL_REAL_ERROR * max(abs(claimed), abs(found.value), size / 64):
            doubt()
            wide = measured(f, precision)
            if wide.kind == "smooth" and wide.error < found.error:
                decided = Bar(wide.value, wide.error + 2 * EPSILON * size)
                return decided if _apart(decided, Bar(claimed, 0.0)) else None
        against = [other for other in against if not _apart(other, found)]
        if _apart(found, Bar(claimed, 0.0)):
            against.append(found)
        if not against:
            return None
    return against[0]


def measured(f: Callable[[float], Any], precision: float) -> Slope:
    """Return the slope of f at 0, from steps of all sizes."""

    def line(t: float) -> tuple[float, float]:
        try:
            return t, float(f(t))
        except Exception:  # at the edge of its domain
            return t, np.nan

    return measure(line, bits=round(-math.log2(precision)))


def _apart(a: Bar, b: Bar) -> bool:
    return bool(abs(a.value - b.value) > ERROR_MARGIN * (a.error + b.error))
