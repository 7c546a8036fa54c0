"""Check VJPs, JVPs, Jacobians and Hessians of a function against measured slopes.

First, every claim is tested for consistency with itself and the other claims (`consistency`). This
needs no measurement. Then the claims are compared with the function's slopes: entry by entry if
there are few entries (`jacobian`), along random directions if there are many
(`jacobian_directions`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from gradlab import derivatives, options
from gradlab.arrays.read_only import read_only
from gradlab.checking.allowance import checked, difference
from gradlab.checking.claims import Claim, claim_of, require_same_claim
from gradlab.checking.complex_numbers import Real, conjugated, has_complex
from gradlab.checking.consistency import contradictions
from gradlab.checking.entries import resolution_of
from gradlab.checking.functions import Function
from gradlab.checking.jacobian import Subject, blocks_of, check_matrix
from gradlab.checking.jacobian_causes import causes_of
from gradlab.checking.jacobian_directions import check_large
from gradlab.checking.native_torch import is_torch
from gradlab.checking.report import DerivativeReport
from gradlab.checking.result import Outcome, notes_on_errors, worst
from gradlab.errors import OptionError
from gradlab.gradients import value_and_grad
from gradlab.gradients.protocol import Backend, note_origin
from gradlab.params import BARE, flatten
from gradlab.seeding import generator

TENSOR_ADVICE = (
    "f was called with NumPy arrays: to check a function of PyTorch's tensors, use "
    "gradlab.interop.torch.gradcheck"
)

MAX_ENTRYWISE_SIZE = 1000
"""Number of entries of the Jacobian above which "auto" measures along directions."""

SECOND_ORDER_KINDS = ("hessian", "hvp")
"""Kinds of claims about second derivatives of a loss, measured as slopes of its gradient."""


def check_derivatives(
    f: Callable[..., Any],
    params: Any,
    *args: Any,
    vjp: str | Backend | Callable[..., Any] | None = None,
    jvp: str | Backend | Callable[..., Any] | None = None,
    jacobian: Any = None,
    hessian: Any = None,
    hvp: str | Backend | Callable[..., Any] | None = None,
    gradient: str | Backend | Callable[..., Any] = "autograd",
    mode: Literal["auto", "entries", "directional"] = "auto",
    seed: int | np.random.Generator = 0,
    dtype: DTypeLike | None = None,
    allow: float = 0.0,
    convention: Literal["jax", "torch"] | None = None,
) -> DerivativeReport:
    """Check derivatives of a function with many outputs against its measured slopes.

    Parameters
    ----------
    f : callable
        ``f(params, *args) -> outputs``, an array or a structure of arrays; for `hessian` and
        `hvp` a loss, ``f(params, *args) -> scalar``. Deterministic.
    params, *args
        Where to check; see `gradlab.value_and_grad`.
    vjp : callable, str or Backend, optional
        ``vjp(params, *args, cotangent)`` returns Jᵀu in the structure of `params`; the cotangent u
        has the structure and shapes of the outputs. The name of a backend in place of any of
        these functions checks what `gradlab.vjp` and its siblings compute with that backend.
    jvp : callable, str or Backend, optional
        ``jvp(params, *args, tangent)`` returns Jv in the structure of the outputs; the tangent v
        has the structure and shapes of `params`.
    jacobian : callable or structure, optional
        ``jacobian(params, *args)``, or its result: the structure of the outputs, in which each
        output is replaced by its derivatives by `params`, in their structure. Each derivative has
        the output's shape followed by the parameter's. A matrix of shape (q, p), with entries in
        the order of the leaves, is accepted as well.
    hessian : callable or structure, optional
        The second derivatives of a loss: the Jacobian of its gradient, in the same form.
    hvp : callable, optional
        ``hvp(params, *args, vector)`` returns Hv in the structure of `params`.
    gradient : str, Backend or callable
        For `hessian` and `hvp`: the gradient whose slopes are measured, a backend or
        ``gradient(params, *args)``. It should be exact to round-off; check it with
        `check_gradients` first.
    mode : {"auto", "entries", "directional"}
        Check every entry of the Jacobian; or measure along random directions, find the wrong
        entries by bisection, and check a sample. "auto" checks every entry if there are at most
        1,000.
    seed : int or Generator
        Draws cotangents, directions and the sample.
    dtype : dtype, optional
        Dtype of the parameters that the function gets; by default float64.
    allow : float
        Accepted relative error; see `check_gradients`.
    convention : {"jax", "torch"}, optional
        Convention for complex numbers in a `vjp`, and in the `jacobian` of a real output by a
        complex parameter z = x + iy: ∂L/∂x − i ∂L/∂y as in JAX, with cotangents likewise, or
        ∂L/∂x + i ∂L/∂y as in PyTorch. A `jvp`, and the `jacobian` of a complex output, need no
        convention. The `jacobian` of a complex output by a complex parameter exists only for
        holomorphic functions.

    Returns
    -------
    DerivativeReport
        Like a `GradientReport`; each entry names an output and a parameter. Several claims are
        checked in one report, and against each other.

    Raises
    ------
    OptionError
        If there is nothing to check, or first and second derivatives are mixed.
    ParameterError, LossError, NonFiniteError
        If parameters, function or claim are invalid: a leaf is missing or has the wrong shape, or
        outputs are NaN, not numbers, or not deterministic.

    Notes
    -----
    The check takes about 14 evaluations per parameter where the function is smooth, for any number
    of outputs, and one call of a `vjp` per output, or of a `jvp` per parameter. Along
    directions, it takes about 200 evaluations for two leaves of any size; one wrong entry of 1,000
    outputs by 10,000 parameters takes about 700 more.

    Examples
    --------
    >>> def f(w, x):
    ...     return np.tanh(x @ w)
    >>> def vjp(w, x, u):
    ...     return x.T @ (u * (1 - np.tanh(x @ w)))  # the square is missing
    >>> w, x = np.array([0.5, -1.0]), np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 1.0]])
    >>> report = check_derivatives(f, w, x, vjp=vjp)
    >>> report.verdict, min(entry.name for entry in report.mismatches)
    ('mismatch', 'output[0] by params[0]')
    >>> def right(w, x, u):
    ...     return x.T @ (u * (1 - np.tanh(x @ w) ** 2))
    >>> check_derivatives(f, w, x, vjp=right, jvp=lambda w, x, v: (1 - f(w, x) ** 2) * (x @ v)).ok
    True
    """
    started = time.perf_counter()
    if mode not in ("auto", "entries", "directional"):
        raise OptionError(f"mode={mode!r}: choose auto, entries or directional")
    options.function("f", f)
    given = _given(vjp=vjp, jvp=jvp, jacobian=jacobian, hessian=hessian, hvp=hvp)
    real = _in_parts(f, params, args, convention)
    given = {kind: _by_backend(kind, value, f) for kind, value in given.items()}
    if real:
        f, params = real.function, real.params
        given = {kind: real.claim(kind, value) for kind, value in given.items()}
    try:
        if set(given) & set(SECOND_ORDER_KINDS):
            function = Function(_gradient_of(f, gradient), params, args, bare=BARE)
        else:
            function = Function(f, params, args)
    except TypeError as error:
        if is_torch(params):
            error.add_note(TENSOR_ADVICE)
        raise
    subject = Subject(function, params, dtype, allow=checked(allow))
    claims = [claim_of(kind, value, function, params, args) for kind, value in given.items()]
    report = _check(subject, claims, mode, generator(seed))
    clash = conjugated(report.leaves, convention) if real else ""
    return replace(
        report,
        notes=(clash, *report.notes) if clash else report.notes,
        seconds=time.perf_counter() - started,
    )


def _check(
    subject: Subject, claims: Sequence[Claim], mode: str, rng: np.random.Generator
) -> DerivativeReport:
    function = subject.function
    p, q = sum(leaf.size for leaf in flatten(subject.params)[0]), function.size
    directional = mode == "directional" or (mode == "auto" and p * q > MAX_ENTRYWISE_SIZE)
    notes: list[str] = []
    findings: list[Outcome] = []
    if p and q:
        for claim in claims:
            require_same_claim(claim, rng, p, q)
        notes = contradictions(claims, rng, p, q, subject)
        check, seed = check_large if directional else _check_small, int(rng.integers(2**63))
        for claim in claims:
            one = replace(subject, kind=claim.kind if len(claims) > 1 else "")
            # The same draws for each claim: the function keeps its outputs at these points.
            findings.append(check(one, claim, np.random.default_rng(seed)))
    entries = [e for found in findings for e in found.entries]
    verdict = worst(["mismatch"] if notes else [found.verdict for found in findings])
    ignored = verdict == "agree" and function.constant and function.ignores(subject.params)
    shares = [found.resolution for found in findings]
    return DerivativeReport(
        verdict=verdict if p and q and not ignored else "inconclusive",
        entries=tuple(entries),
        leaves=tuple(block for found in findings for block in found.leaves),
        mode="directional" if directional else "entries",
        resolution=float(np.median(shares)) if shares else 0.0,
        size=p * q * len(claims),
        evaluations=function.evaluations,
        seconds=0.0,
        notes=(
            *notes,
            *(note for found in findings for note in found.notes),
            *notes_on_errors(function.refusal, verdict, entries),
        ),
        constant=ignored,
        what=" and ".join(claim.kind for claim in claims),
        difference=difference(entries),
    )


def _in_parts(
    f: Callable[..., Any], params: Any, args: tuple[Any, ...], convention: Any
) -> Real | None:
    """Return a function of complex parameters or outputs as one of their real parts."""
    try:
        outputs = f(params, *read_only(args))
    except Exception as error:
        note_origin(error, "the function at the parameters")
        raise
    if not (has_complex(params) or has_complex(outputs)):
        return None
    return Real(f, params, outputs, convention)


def _given(**claims: Any) -> dict[str, Any]:
    given = {kind: value for kind, value in claims.items() if value is not None}
    if not given:
        raise OptionError("nothing to check: give vjp, jvp, jacobian, hessian or hvp")
    second = [kind for kind in given if kind in SECOND_ORDER_KINDS]
    if second and len(second) < len(given):
        first = next(kind for kind in given if kind not in SECOND_ORDER_KINDS)
        raise OptionError(
            f"{second[0]} is of a loss, {first} of a function with outputs: check them one by one"
        )
    return given


def _by_backend(kind: str, value: Any, f: Callable[..., Any]) -> Any:
    """Return the derivative by a backend if a backend is given instead of a function."""
    if not isinstance(value, (str, Backend)):
        return value
    found: Callable[..., Any] = getattr(derivatives, kind)(f, value)
    return found


def _gradient_of(loss: Callable[..., Any], gradient: Any) -> Callable[..., Any]:
    if callable(gradient) and not callable(getattr(gradient, "value_and_grad", None)):
        by_hand: Callable[..., Any] = gradient
        return by_hand
    differentiate = value_and_grad(loss, backend=gradient)
    return lambda params, *args: differentiate(params, *args)[1]


def _check_small(subject: Subject, claim: Claim, rng: np.random.Generator) -> Outcome:
    claimed = claim.matrix()
    entries, verdict = check_matrix(subject, claimed.values, claimed.epsilon, rng)
    blocks = blocks_of(subject, entries)
    causes = causes_of(subject, entries, blocks)
    leaves = [replace(block, cause=causes.get(block.path, "")) for block in blocks]
    return Outcome(verdict, entries, leaves, resolution_of(entries))
