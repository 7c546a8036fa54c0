"""What a derivative must be before any slope is measured: linear, and one map for both modes.

A VJP and a JVP of one function are two halves of one linear map, u·(Jv) = v·(Jᵀu), and a Hessian
is its own transpose, u·(Hv) = v·(Hu). Both are identities between claimed numbers, which hold to
round-off: that of the claimed numbers, and that of the terms that cancel in them (`Residue`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from gradlab.checking.claims import LINEAR, Claim
from gradlab.checking.jacobian import Subject
from gradlab.params import Array

DRAWS = 3
"""Number of random u and v that are tried."""

ROUNDINGS = 1e4
"""Number of roundings that a claimed number may carry, as a multiple of the unit round-off."""


NEARBY = (0.25, 0.25, 64.0, 64.0, 64.0, 64.0)
"""Distances of points nearby: shares of the scale, and above 1 multiples of its round-off."""


class Residue:
    """The largest value of a derivative that may be the rounding of terms that cancel.

    Where the terms of output i have the size Fᵢ and parameter j the size sⱼ, its derivative is
    a sum of terms of about Fᵢ / sⱼ. Their roundings do not cancel: with n of them, a derivative
    that is 0 comes out as up to n ε Fᵢ / sⱼ. Independent ones add up as squares, so that a product
    with u and v is off by up to n ε ‖u F‖ ‖v / s‖.

    Fᵢ is the size of the output near the parameters, or what its noise tells: an output that
    changes by N over a step of a few roundings is a sum of terms of up to N / ε. A smooth function
    changes there by 64 ε sⱼ times its slope, which raises F to 64 times what the slope makes of
    the parameters' size, and the bound to 1e-10 of the slope.

    Parameters
    ----------
    subject : Subject
        The function, which is evaluated at points nearby once a bound is asked for, and
        the parameters.
    rng : Generator
        Draws the points.
    """

    def __init__(self, subject: Subject, rng: np.random.Generator) -> None:
        self._subject, self._rng = subject, rng
        self._epsilon = float(np.finfo(subject.function.value.dtype).eps)

    @cached_property
    def _values(self) -> Array:
        """The size Fᵢ of the terms of each output."""
        function, home = self._subject.function, self._subject.row(0)
        here = function.value.astype(np.float64)
        sizes: Array = np.abs(here)
        for distance in NEARBY:
            share = distance if distance < 1 else distance * self._epsilon
            there = home.x + share * home.scales * self._rng.uniform(-1, 1, home.size)
            try:
                value = function.at(home.hang(there)).astype(np.float64)
            except Exception:  # beyond the edge of the domain
                continue
            seen = np.abs(value) if distance < 1 else np.abs(value - here) / self._epsilon
            sizes = np.fmax(sizes, np.where(np.isfinite(seen), seen, 0.0))
        return np.where(sizes > 0, sizes, 1.0)

    @cached_property
    def _scales(self) -> Array:
        return self._subject.row(0).scales

    def of(self, epsilon: float, u: Array | None = None, v: Array | None = None) -> float:
        """Return the bound for u·Jv, or for the norm of Jv or Jᵀu where `u` or `v` is missing."""
        with np.errstate(over="ignore"):
            by_outputs = np.linalg.norm(self._values if u is None else u * self._values)
            by_inputs = np.linalg.norm((1.0 if v is None else v) / self._scales)
            return float(ROUNDINGS * max(epsilon, self._epsilon) * by_outputs * by_inputs)


def not_linear(claim: Claim, rng: np.random.Generator, p: int, q: int, residue: Residue) -> str:
    """Say so if a VJP or JVP is not linear in its direction; return "" if it is."""
    ask, size = (claim.row, q) if claim.by_rows else (claim.column, p)
    for _ in range(DRAWS):
        a, b = rng.uniform(-1, 1, size), rng.uniform(-1, 1, size)
        apart = [ask(a).values, ask(b).values, -ask(a + b).values]
        wide = max(float(np.linalg.norm(np.nan_to_num(part))) for part in apart)
        unit = ask(a).epsilon
        gap = float(np.linalg.norm(np.nan_to_num(sum(apart))))
        if gap <= max(LINEAR, ROUNDINGS * unit) * wide:
            continue
        largest = np.abs(a) + np.abs(b)
        given = {"u": largest} if claim.by_rows else {"v": largest}
        if gap > residue.of(unit, **given):
            what = "cotangent" if claim.kind == "vjp" else "direction"
            return (
                f"the {claim.kind} is not linear in its {what}: {claim.kind}(a) + "
                f"{claim.kind}(b) is not {claim.kind}(a + b)"
            )
    return ""


def contradiction(
    forward: Claim, reverse: Claim, rng: np.random.Generator, p: int, q: int, residue: Residue
) -> str:
    """Say so if u·(Jv) is not v·(Jᵀu); return "" if it is."""
    for _ in range(DRAWS):
        u, v = rng.uniform(-1, 1, q), rng.uniform(-1, 1, p)
        column, row = forward.column(v), reverse.row(u)
        left, right = u * column.values, v * row.values
        if _differ(left, right, max(column.epsilon, row.epsilon), u, v, residue):
            return (
                f"{forward.kind} and {reverse.kind} contradict each other: u·Jv is "
                f"{left.sum():.8g}, v·Jᵀu is {right.sum():.8g}"
            )
    return ""


def not_symmetric(claim: Claim, rng: np.random.Generator, p: int, residue: Residue) -> str:
    """Say so if u·(Hv) is not v·(Hu); return "" if it is."""
    ask = claim.row if claim.by_rows else claim.column
    for _ in range(DRAWS):
        u, v = rng.uniform(-1, 1, p), rng.uniform(-1, 1, p)
        left, right = u * ask(v).values, v * ask(u).values
        if _differ(left, right, ask(v).epsilon, u, v, residue):
            return (
                f"the {claim.kind} is not symmetric: u·Hv is {left.sum():.8g}, v·Hu is "
                f"{right.sum():.8g}"
            )
    return ""


def _differ(
    left: Array, right: Array, epsilon: float, u: Array, v: Array, residue: Residue
) -> bool:
    """Tell whether two sums, of which each term has rounding errors, are not the same number."""
    size = max(float(np.linalg.norm(left)), float(np.linalg.norm(right)))
    gap = abs(float(left.sum() - right.sum()))
    if gap <= max(LINEAR, ROUNDINGS * epsilon) * size:
        return False
    return not gap <= residue.of(epsilon, u, v)


def contradictions(
    claims: Sequence[Claim], rng: np.random.Generator, p: int, q: int, subject: Subject
) -> list[str]:
    """Return what the claims say against each other, or against themselves."""
    reverse = [claim for claim in claims if claim.by_rows]
    forward = [claim for claim in claims if not claim.by_rows]
    residue = Residue(subject, rng)
    found = [
        not_linear(claim, rng, p, q, residue)
        for claim in claims
        if claim.kind in ("vjp", "jvp", "hvp")
    ]
    found += [not_symmetric(c, rng, p, residue) for c in claims if c.kind in ("hessian", "hvp")]
    found += [contradiction(f, r, rng, p, q, residue) for f in forward for r in reverse]
    return [note for note in found if note]
