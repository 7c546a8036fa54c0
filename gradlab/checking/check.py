"""Do a loss and a gradient agree? The verdict follows from error bars, without a tolerance.

The numerical value of an entry is the slope of the loss with its error bar
(`gradlab.gradients.slopes`). The analytic value has the round-off of its dtype (`analytic`). If the
two values differ by more than both errors, the entry is a mismatch. Small sets of parameters are
checked entry by entry (`entries`). Large ones are checked along random directions (`directions`);
bisection finds the wrong entries under a direction that fails. Where the loss is not smooth, every
gradient that Clarke's definition admits is valid (`kinks`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from gradlab import options
from gradlab.checking.allowance import accepted, allowing, checked, difference
from gradlab.checking.analytic import Analytic, analytic_side
from gradlab.checking.causes import guess, lengths_of, repeated_in
from gradlab.checking.complex_numbers import Real, conjugated, has_complex
from gradlab.checking.directions import check_directions
from gradlab.checking.entries import check_entries, leaves_of, overall, resolution_of
from gradlab.checking.in_place import InPlace
from gradlab.checking.native import NativeProblem, as_numpy, is_native
from gradlab.checking.pairs import FirstOfPair
from gradlab.checking.report import GradientReport
from gradlab.checking.result import Outcome, notes_on_errors
from gradlab.errors import OptionError
from gradlab.gradients.protocol import Backend, Loss, require_same_value
from gradlab.gradients.slopes import FLOAT64_BITS
from gradlab.gradients.surface import Surface
from gradlab.seeding import generator

MAX_ENTRYWISE_SIZE = 1000
"""Number of entries above which "auto" measures along directions instead of every entry."""


def check_gradients(
    loss: Loss,
    params: Any,
    *args: Any,
    gradient: str | Backend | Callable[..., Any] | Any = "autograd",
    mode: Literal["auto", "entries", "directional"] = "auto",
    seed: int | np.random.Generator = 0,
    dtype: DTypeLike | None = None,
    in_place: bool = False,
    allow: float = 0.0,
    convention: Literal["jax", "torch"] | None = None,
) -> GradientReport:
    """Check a gradient against the loss that it is claimed to belong to.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args) -> scalar``, deterministic. It may also return
        ``(scalar, gradient)``; this gradient is checked if no other is given.
    params, *args
        Where to check; see `gradlab.value_and_grad`.
    gradient : str, Backend, callable or structure of arrays
        The gradient under test: a backend (by name or as an object), a function
        ``gradient(params, *args)``, or a computed gradient in the structure of `params`.
    mode : {"auto", "entries", "directional"}
        Check every entry; or measure along random directions, find the wrong entries by bisection,
        and check a sample. "auto" checks every entry if there are at most 1,000.
    seed : int or Generator
        Draws the directions and the sample.
    dtype : dtype, optional
        Dtype of the parameters that the loss gets; by default float64.
    in_place : bool
        Whether loss and gradient read the arrays `params` instead of taking them as an argument,
        like the methods of a network: ``loss(*args)``, ``gradient(*args)``. The check writes
        perturbed values into the arrays, and restores them at the end.
    allow : float
        Accepted relative error, for a gradient that is an approximation. In addition to the error
        bars, an entry may be off by this share of its size or of its leaf's root mean square,
        whichever is larger. The default is 0.
    convention : {"jax", "torch"}, optional
        Convention for the gradient by a complex parameter z = x + iy: ∂L/∂x − i ∂L/∂y as in JAX,
        or ∂L/∂x + i ∂L/∂y as in PyTorch.

    Returns
    -------
    GradientReport
        Its attribute ``ok`` says whether the gradient is right. Each checked entry has a verdict:

        - *agree*: both values lie within the error bars of each other;
        - *mismatch*: they do not;
        - *kink*: the loss is not smooth here, and the value is a valid choice (else a mismatch);
        - *inconclusive*: the loss cannot resolve the slope. This never counts as agreement.

        If the loss had the same value at all points, it does not depend on its parameters, and the
        report says so. A gradient other than zero is then a mismatch. A gradient of zero is right,
        but the verdict is inconclusive if the loss never reads the parameters that it is given.

    Raises
    ------
    ParameterError, LossError, NonFiniteError, BackendError, OptionError
        If the parameters, the loss or the gradient are invalid: a leaf is missing or has the wrong
        shape, or the loss is NaN, not a scalar, not deterministic, or writes into its parameters.

    Notes
    -----
    The check takes about 14 evaluations per entry where the loss is smooth, up to about 200 where
    it is not, and several hundred for a wrong entry. Along directions, it takes about 1,000 for a
    network of 30,000 entries, and as many again to find a wrong entry.

    Examples
    --------
    >>> def loss(p):
    ...     return np.sum(np.sin(p["w"]) * p["b"])
    >>> def gradient(p):
    ...     return {"w": np.cos(p["w"]) * p["b"], "b": np.sum(np.cos(p["w"]))}
    >>> report = check_gradients(loss, {"w": np.array([0.5, 1.0]), "b": 2.0}, gradient=gradient)
    >>> report.ok, report.verdict
    (False, 'mismatch')
    >>> [entry.name for entry in report.mismatches]
    ['b']
    """
    started = time.perf_counter()
    if mode not in ("auto", "entries", "directional"):
        raise OptionError(f"mode={mode!r}: choose auto, entries or directional")
    options.function("loss", loss)
    if not in_place and is_native(params):
        problem = as_numpy(loss, params, args, gradient, dtype)
        if problem is not None:
            return _check_native(problem, mode=mode, seed=seed, allow=allow)
    given = params
    if has_complex(params):
        real = Real(loss, params, 0.0, convention)
        loss, params, gradient = real.loss, real.params, real.claim("gradient", gradient)
        if in_place:
            raise OptionError("in_place=True: complex parameters cannot be perturbed in place")
    held = InPlace(params) if in_place else None
    if held and isinstance(gradient, Backend):
        gradient = str(gradient.name)
    asked = _Options(
        held.function(gradient) if held and callable(gradient) else gradient,
        mode,
        generator(seed),
        dtype or (held.dtype if held else None),
        checked(allow),
        in_place,
    )
    first = FirstOfPair(held.function(loss) if held else loss)
    try:
        report = _check(first, params, args, asked, started)
        clash = conjugated(report.leaves, convention) if given is not params else ""
        return replace(report, notes=(clash, *report.notes)) if clash else report
    finally:
        if held:
            held.restore()


@dataclass(frozen=True)
class _Options:
    """The validated options of `check_gradients`."""

    gradient: Any
    mode: str
    rng: np.random.Generator
    dtype: DTypeLike | None
    allow: float
    in_place: bool


def _check(
    first: FirstOfPair, params: Any, args: tuple[Any, ...], asked: _Options, started: float
) -> GradientReport:
    surface = Surface(first, params, args, asked.dtype)
    try:
        _require_steady(surface)
        loss, gradient = first if first.pair else first.loss, asked.gradient
        if isinstance(gradient, str) and (asked.in_place or first.pair):
            gradient = _returned(first, gradient, asked.in_place)
        analytic = analytic_side(gradient, loss, params, args, surface)
        large = asked.mode == "auto" and surface.size > MAX_ENTRYWISE_SIZE
        directional = asked.mode == "directional" or large
        found = _judged(surface, analytic, directional, asked)
        surface.look_again()
        _require_steady(surface)
    finally:
        surface.restore()
    return _report(surface, args, found, directional, started)


def _returned(first: FirstOfPair, gradient: str, in_place: bool) -> Any:
    """Return the gradient under test; by default the one that the loss itself returns, if any."""
    if first.pair and gradient == "autograd":
        return first.second
    if in_place:
        raise OptionError(
            f"in_place=True with gradient={gradient!r}: a backend differentiates by an argument; "
            "give the gradient that the object computes, or let the loss return (loss, gradient)"
        )
    return gradient


def _judged(surface: Surface, analytic: Analytic, directional: bool, asked: _Options) -> Outcome:
    """Judge a gradient, with an allowed relative error."""
    allow, rng = asked.allow, asked.rng
    if directional:
        return check_directions(surface, analytic, allow, rng)
    analytic = allowing(analytic, surface.spans, allow)
    entries = accepted(check_entries(surface, analytic, range(surface.size), rng), allow)
    return Outcome(
        overall(surface, entries), entries, leaves_of(surface, entries), resolution_of(entries), []
    )


def _report(
    surface: Surface, args: Any, found: Outcome, directional: bool, started: float
) -> GradientReport:
    constant = bool(surface.size) and surface.constant
    values = dict(zip(surface.structure.paths, surface.leaves, strict=True))
    causes: dict[str, str] = {}
    if not constant:
        with np.errstate(all="ignore"):  # numbers near overflow
            lengths, repeated = lengths_of(args), repeated_in(args)
            causes = guess(found.entries, found.leaves, values, lengths, repeated)
    ignored = constant and surface.ignores_parameters()
    constant = ignored or (constant and found.verdict != "inconclusive")
    unresolved = found.verdict == "agree" and (ignored or not surface.size)
    return GradientReport(
        verdict="inconclusive" if unresolved else found.verdict,
        entries=tuple(found.entries),
        leaves=tuple(replace(leaf, cause=causes.get(leaf.path, "")) for leaf in found.leaves),
        mode="directional" if directional else "entries",
        resolution=found.resolution,
        size=surface.size,
        evaluations=surface.evaluations,
        seconds=time.perf_counter() - started,
        notes=(*found.notes, *notes_on_errors(surface.refusal, found.verdict, found.entries)),
        constant=constant,
        difference=difference(found.entries),
    )


def _check_native(problem: NativeProblem, **options: Any) -> GradientReport:
    """Check a loss of PyTorch or JAX."""
    report = check_gradients(
        problem.loss, problem.params, gradient=problem.gradient, dtype=problem.dtype, **options
    )
    return replace(report, notes=(*report.notes, *problem.notes))


def _require_steady(surface: Surface) -> None:
    again = surface.value + surface.unsteadiness
    require_same_value(
        surface.value, again, 2.0**-surface.bits if surface.bits < FLOAT64_BITS else 0.0
    )
