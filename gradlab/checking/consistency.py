"""Consistency of claimed derivatives: linear, and the same map in both modes.

A VJP and a JVP of one function are the same linear map, u·(Jv) = v·(Jᵀu), and a Hessian is
symmetric, u·(Hv) = v·(Hu). These identities hold up to the round-off of the claimed numbers and of
the terms that cancel in them (`Residue`). They are tested before any slope is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from gradlab.checking.claims import Claim
from gradlab.checking.jacobian import Subject
from gradlab.params import Array

PAIRS_PER_IDENTITY = 3
"""Number of random pairs (u, v) for each identity."""

CLAIM_ROUNDINGS = 1e4
"""Largest round-off of a claimed number, as a multiple of the unit round-off."""

LINEAR_ERROR = 2.0**-26
"""Relative error above which a claim is not linear. It leaves half of the digits for round-off."""

IDENTITY_FACTOR = 64.0
"""Multiple of an allowed relative error by which an identity may fail.

A random product of small size, such as a single v·r, can lie far below the entries whose errors
it contains. Two such products in a row are 64 times too small with a probability below 1e-3.
"""

NEARBY_DISTANCES = (0.25, 0.25, 64.0, 64.0, 64.0, 64.0)
"""Distances of nearby points: below 1 in units of the scale, above 1 in units of its round-off."""


class Residue:
    """A bound on the round-off in a derivative that comes from terms that cancel.

    If the terms of output i have the size Fᵢ, and parameter j has the size sⱼ, the derivative is a
    sum of terms of about Fᵢ / sⱼ. Their rounding errors do not cancel: n of them change a
    derivative of 0 to at most n ε Fᵢ / sⱼ. The squares of independent errors add up, so that the
    error of a product with u and v is at most n ε ‖u F‖ ‖v / s‖.

    Fᵢ is the size of the output near the parameters, or N / ε if that is larger, where N is the
    output's change over a step of a few roundings. A smooth function changes by 64 ε sⱼ times its
    slope over such a step. This makes F at most 64 sⱼ times the slope, and the bound 1e-10 of the
    slope.

    The first bound evaluates the function at nearby points, which `rng` draws.
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
        for distance in NEARBY_DISTANCES:
            share = distance if distance < 1 else distance * self._epsilon
            there = home.x + share * home.scales * self._rng.uniform(-1, 1, home.size)
            try:
                value = function.at(home.unravel(there)).astype(np.float64)
            except Exception:  # outside of the domain
                continue
            seen = np.abs(value) if distance < 1 else np.abs(value - here) / self._epsilon
            sizes = np.fmax(sizes, np.where(np.isfinite(seen), seen, 0.0))
        return np.where(sizes > 0, sizes, 1.0)

    @cached_property
    def _scales(self) -> Array:
        return self._subject.row(0).scales

    def share(self, epsilon: float) -> float:
        """Return the relative error up to which an identity holds."""
        return max(LINEAR_ERROR, CLAIM_ROUNDINGS * epsilon, IDENTITY_FACTOR * self._subject.allow)

    def of(self, epsilon: float, u: Array | None = None, v: Array | None = None) -> float:
        """Return the bound for u·Jv; for the norm of Jv if `u` is None, of Jᵀu if `v` is None."""
        with np.errstate(over="ignore"):
            by_outputs = np.linalg.norm(self._values if u is None else u * self._values)
            by_inputs = np.linalg.norm((1.0 if v is None else v) / self._scales)
            return float(CLAIM_ROUNDINGS * max(epsilon, self._epsilon) * by_outputs * by_inputs)


def not_linear(claim: Claim, rng: np.random.Generator, p: int, q: int, residue: Residue) -> str:
    """Return a message if a VJP or JVP is not linear in its direction, else ""."""
    ask, size = claim.product, q if claim.by_rows else p
    for _ in range(PAIRS_PER_IDENTITY):
        a, b = rng.uniform(-1, 1, size), rng.uniform(-1, 1, size)
        apart = [ask(a).values, ask(b).values, -ask(a + b).values]
        wide = max(float(np.linalg.norm(np.nan_to_num(part))) for part in apart)
        unit = ask(a).epsilon
        gap = float(np.linalg.norm(np.nan_to_num(sum(apart))))
        if gap <= residue.share(unit) * wide:
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
    """Return a message if u·(Jv) differs from v·(Jᵀu), else ""."""
    unequal = _unequal(forward, reverse, rng, p, q, residue)
    if unequal is None:
        return ""
    return (
        f"{forward.kind} and {reverse.kind} contradict each other: u·Jv is {unequal[0]:.8g}, "
        f"v·Jᵀu is {unequal[1]:.8g}"
    )


def not_symmetric(claim: Claim, rng: np.random.Generator, p: int, residue: Residue) -> str:
    """Return a message if u·(Hv) differs from v·(Hu), else ""."""
    unequal = _unequal(claim, claim, rng, p, p, residue)
    if unequal is None:
        return ""
    return f"the {claim.kind} is not symmetric: u·Hv is {unequal[0]:.8g}, v·Hu is {unequal[1]:.8g}"


def _unequal(
    forward: Claim, reverse: Claim, rng: np.random.Generator, p: int, q: int, residue: Residue
) -> tuple[float, float] | None:
    """Return u·(Jv) and v·(Jᵀu) if they differ by more than the rounding errors of their terms."""
    for _ in range(PAIRS_PER_IDENTITY):
        u, v = rng.uniform(-1, 1, q), rng.uniform(-1, 1, p)
        column, row = forward.product(v), reverse.product(u)
        left, right, epsilon = u * column.values, v * row.values, max(column.epsilon, row.epsilon)
        size = max(float(np.linalg.norm(left)), float(np.linalg.norm(right)))
        gap = abs(float(left.sum() - right.sum()))
        if not (gap <= residue.share(epsilon) * size or gap <= residue.of(epsilon, u, v)):
            return float(left.sum()), float(right.sum())
    return None


def contradictions(
    claims: Sequence[Claim], rng: np.random.Generator, p: int, q: int, subject: Subject
) -> list[str]:
    """Return messages on claims that are inconsistent with themselves or each other."""
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
