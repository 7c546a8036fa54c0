"""The complex step: the slope as an imaginary part, without a subtraction.

A loss made of analytic functions can be evaluated at complex parameters. By Taylor's theorem
f(x + i h) = f + i h f' - h²/2 f'' - ..., so that with a step so small that its square is nothing::

    f' = Im f(x + i h) / h        error ~ h² f'''/6 ~ 1e-201

Nothing cancels: the result is exact to round-off, for one complex evaluation an entry. Squire &
Trapp, *Using complex variables to estimate derivatives of real functions*, SIAM Review 40 (1998);
Martins, Sturdza & Alonso, *The complex-step derivative approximation*, ACM Transactions on
Mathematical Software 29 (2003).

The price is that a function which is not analytic gives a wrong slope without a sign of it, most
often zero: |x|, a conjugate, a cast to real numbers. Two things stand against that. The loss gets
its parameters as `Stepped` arrays, which refuse such functions by name. And because a copy of such
an array is an ordinary one, the gradient is held, at every call, to real differences of the loss
along a random direction. The real part of a number may be looked at, to decide a branch by it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np

from gradlab.arrays.leaks import Watch
from gradlab.errors import GradlabError, LossError, NonFiniteError
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.probing import Probe, size_of
from gradlab.gradients.protocol import Loss, ValueAndGrad, real_scalar
from gradlab.gradients.richardson import MARGIN, extrapolate_once
from gradlab.gradients.slopes import Bar, Slope
from gradlab.gradients.slopes import slope as measure
from gradlab.params import Array
from gradlab.seeding import generator

EPSILON = float(np.finfo(np.float64).eps)

STEP = 2.0**-333
"""Near 1e-100: its square vanishes, its products with slopes from 1e-200 to 1e200 do not.

For an entry with |x| > 1 the step is |x| times this, since slopes scale with 1/|x| there.
"""

SINGLE_STEP = 2.0**-60
"""The step of a loss that returns complex64, whose numbers end near 1e-38: about 1e-18."""

INSTEAD = "use autograd, or richardson, which takes any loss"


@dataclass(frozen=True)
class ComplexStep:
    """One evaluation an entry along the imaginary axis: exact to round-off, and no step to choose.

    The loss is written in NumPy, of analytic functions; a branch is decided by the real part, as in
    ``where(real(x) > 0, x, 0)``.
    It is evaluated in complex128, and five times in float64 to confirm the gradient. The step is
    near 1e-100, or in proportion to an entry beyond 1, so that it resolves slopes from 1e-200 to
    1e200. A gradient of less comes out as 0, and a loss that bends within 1e-100 of a tiny entry,
    as its logarithm does, is refused.

    Raises
    ------
    LossError
        By the returned function: if the loss calls something that is not analytic, or does not
        take complex numbers, the message names it; if the gradient is not confirmed.

    Examples
    --------
    >>> import numpy as np
    >>> f = ComplexStep().value_and_grad(lambda x: np.sum(np.exp(x)))
    >>> x = np.array([0.0, 1.0])
    >>> value, grads = f(x)
    >>> np.abs(grads - np.exp(x)).max() <= 4 * np.finfo(float).eps
    np.True_
    >>> ComplexStep().value_and_grad(lambda x: np.sum(abs(x)))(x)
    Traceback (most recent call last):
    gradlab.errors.LossError: complex-step: the loss calls absolute, which is not analytic: write
    where(real(x) < 0, -x, x) for it; or use autograd, or richardson, which takes any loss
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
    """A `Probe` whose parameters are complex, and whose loss may be."""

    widest = np.complex128

    def __init__(self, *args: Any) -> None:
        self.notes = Notes()
        self.step = STEP
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
        if value.dtype == np.complex64 and self.step != SINGLE_STEP:
            self.step = SINGLE_STEP
            return self._slope(leaf, i, x)
        self.is_real &= value.dtype.kind != "c"
        return type(x.real)(value.imag) / h  # h is no number of a narrower type

    def _show(self, leaf: Array) -> Array:
        return guarded(super()._show(leaf), self.notes)  # type: ignore[no-any-return]

    def _evaluate(self, place: Callable[[], str], params: Any = None) -> Any:
        try:
            value = self._loss(self._params, *self._args)
        except GradlabError:
            raise
        except np.exceptions.ComplexWarning as error:
            raise LossError(
                "complex-step: the loss casts complex numbers to real ones, which loses their "
                f"slopes; {INSTEAD}"
            ) from error
        except Exception as error:
            error.add_note(f"raised by the loss at {place()}")
            raise LossError(
                f"complex-step: the loss fails on complex numbers ({type(error).__name__}: "
                f"{error}); {INSTEAD}"
            ) from error
        value = np.asarray(value)
        for part in (value.real, value.imag):
            real_scalar(part, place())
        return value.reshape(())[()]


class Notes(set[str]):
    """What was taken of a loss's numbers; alive as long as some of them are."""


class Stepped(np.ndarray):
    """A complex array that refuses, by name, what is not an analytic function of it.

    Attributes
    ----------
    notes : Notes
        What was taken of it that may or may not be: its real part decides branches.
    """

    notes: Notes

    def __array_finalize__(self, source: Any) -> None:
        notes = getattr(source, "notes", None)
        self.notes = Notes() if notes is None else notes

    def detached(self) -> Any:
        """Return the numbers without the step; see `gradlab.detach`."""
        return _plain(self).real.copy()

    kept_value = detached

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Evaluate on plain arrays; every number on the way stays guarded."""
        refuse_unless_analytic(ufunc.__name__)
        if "out" in options:
            options["out"] = tuple(map(_plain, options["out"]))
        return guarded(getattr(ufunc, method)(*map(_plain, inputs), **options), self.notes)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Let NumPy's functions through that are not refused."""
        refuse_unless_analytic(function.__name__)
        return guarded(super().__array_function__(function, types, args, kwargs), self.notes)

    def __getitem__(self, key: Any) -> Any:
        """Keep a single entry an array."""
        return guarded(super().__getitem__(key), self.notes)

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Cast to another complex type."""
        if np.dtype(dtype).kind != "c":
            refuse(f"astype({np.dtype(dtype)})")
        return super().astype(dtype, *args, **kwargs)

    @property  # type: ignore[misc]
    def real(self) -> Any:
        """The real part, to decide a branch by."""
        self.notes.add("the real part")
        return _plain(self).real

    @property  # type: ignore[misc]
    def imag(self) -> Any:
        """The imaginary part."""
        self.notes.add("the imaginary part")
        return _plain(self).imag

    def item(self, *args: Any) -> Any:
        """Return a Python number."""
        self.notes.add("item()")
        return super().item(*args)

    def tolist(self) -> Any:
        """Return Python numbers."""
        self.notes.add("tolist()")
        return super().tolist()


def guarded(value: Any, notes: Notes) -> Any:
    """Make complex results `Stepped` again, numbers, too, and those inside of tuples and lists."""
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(guarded(item, notes) for item in value)
    if isinstance(value, (tuple, list)):
        return type(value)(guarded(item, notes) for item in value)
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind == "c":
        view = np.asarray(value).view(Stepped)
        view.notes = notes
        return view
    return value


def _plain(value: Any) -> Any:
    return value.view(np.ndarray) if isinstance(value, Stepped) else value


# What is refused

_BRANCH = "decide by the real part, as in where(real(a) > real(b), a, b)"
_ORDER = """
    maximum minimum fmax fmin max min amax amin nanmax nanmin clip ptp median nanmedian percentile
    nanpercentile quantile nanquantile sort argsort argmax argmin nanargmax nanargmin partition
    argpartition lexsort searchsorted unique greater greater_equal less less_equal equal not_equal
    isclose allclose array_equal array_equiv logical_and logical_or logical_xor logical_not
    any all nonzero flatnonzero count_nonzero heaviside __bool__
"""
_CONJUGATE = "conj conjugate vdot vecdot vecmat cov corrcoef"
_ROUNDING = "rint round around fix trunc floor ceil sign nan_to_num real_if_close"
_PARTS = "angle arctan2 hypot slogdet svd svdvals qr cholesky eigh eigvalsh pinv lstsq cond"
_CASTS = "__float__ __int__ __index__"

ADVICE: dict[str, str] = {
    **dict.fromkeys(("absolute", "abs", "fabs"), "write where(real(x) < 0, -x, x) for it"),
    **dict.fromkeys(("norm", "vector_norm", "matrix_norm"), "write sqrt(sum(x**2)) for it"),
    **dict.fromkeys(("var", "nanvar"), "write mean((x - mean(x))**2) for it"),
    **dict.fromkeys(("std", "nanstd"), "write sqrt(mean((x - mean(x))**2)) for it"),
    **dict.fromkeys(_ORDER.split(), _BRANCH),
    **dict.fromkeys(_CONJUGATE.split(), "leave the conjugate out"),
    **dict.fromkeys(_ROUNDING.split(), "it has no slope"),
    **dict.fromkeys(_PARTS.split(), "it takes a number's absolute value or conjugate"),
    **dict.fromkeys(_CASTS.split(), "it loses the slope"),
}
"""What NumPy offers for complex numbers that is not analytic, and what to do instead."""


def refuse_unless_analytic(name: str) -> None:
    """Raise a LossError if a function, method or ufunc of this name is not analytic."""
    if name in ADVICE:
        refuse(name.strip("_"), ADVICE[name])


def refuse(what: str, advice: str = "it loses the slope") -> NoReturn:
    """Raise the LossError that names an operation."""
    raise LossError(
        f"complex-step: the loss calls {what}, which is not analytic: {advice}; or {INSTEAD}"
    )


def _refuse_methods() -> None:
    """Refuse those methods of arrays that go past NumPy's functions."""

    def refusing(name: str) -> Callable[..., Any]:
        return lambda self, *args, **kwargs: refuse_unless_analytic(name)

    for name in ADVICE:
        if hasattr(np.ndarray, name):
            setattr(Stepped, name, refusing(name))


_refuse_methods()


# What is confirmed

DIRECTIONS = 5
"""Number of random directions. The gradient is called wrong only if all of them disagree, since
noise may spoil a single one."""

LADDER = (2.0**-17, 2.0**-24, 2.0**-31, 2.0**-38)
"""Steps along a direction, in proportion to the entries; the finer are for steep losses."""


UNSURE = 2.0**-10
"""Error of the real differences, beside the slope, above which the loss is looked into."""


def confirm(probe: Probe, gradients: Sequence[Array], stepped: SteppedProbe) -> None:
    """Hold a gradient to real differences of the loss along a random direction.

    Raises
    ------
    LossError
        If it is wrong by more than these can be; or the loss is not deterministic.
    NonFiniteError
        If the loss is not finite on both sides of the parameters.
    """
    for seed in range(DIRECTIONS):
        rng = generator(seed)
        direction = [size_of(leaf) * rng.standard_normal(leaf.shape) for leaf in probe.leaves]
        products = [g * d for g, d in zip(gradients, direction, strict=True)]
        claimed = sum((float(product.sum()) for product in products), 0.0)
        # Moving the parameters rounds them, which moves the loss by as much.
        size = sum((float(np.abs(product).sum()) for product in products), 0.0)
        try:
            with np.errstate(all="ignore"):  # what is not finite is reported
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
                f"complex-step cannot confirm its gradient: {error}; {INSTEAD}"
            ) from error
        if against is None:
            return
        wrong = LossError(
            f"complex-step: its slope along a random direction is {claimed:.12g}, but real "
            f"differences have {against.value:.12g} ± {against.error:.1g}: "
            f"{_reason(stepped, claimed)}; {INSTEAD}"
        )
        probe.require_steady()
    raise wrong


def _reason(stepped: SteppedProbe, claimed: float) -> str:
    """Say what is likely to be wrong with a loss."""
    suspects = f" (it takes {', '.join(sorted(stepped.notes))})" if stepped.notes else ""
    if stepped.is_real:
        return (
            "the loss returns a real number for complex parameters, so that it drops the imaginary "
            f"part, and is not analytic as it is written{suspects}"
        )
    also = ", casts to single precision" if claimed == 0 else ""
    return f"the loss is not analytic as it is written{also}, or has slopes beyond 1e±200{suspects}"


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

    A finer step refutes a coarser one that it disagrees with: the loss is too steep for that. One
    that is merely less certain does not. Where they are uncertain, `doubt` is called, and the slope
    is measured with larger steps, too.
    """
    against: list[Bar] = []
    for h in LADDER:
        slope, error = extrapolate_once(f, 0.0, centre, h)
        found = Bar(slope, error + 2 * EPSILON * size / h)
        if found.error > UNSURE * max(abs(claimed), abs(found.value), size / 64):
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
    return bool(abs(a.value - b.value) > MARGIN * (a.error + b.error))
