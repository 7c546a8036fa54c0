"""Checks of claims without measurements: a derivative is linear, and the same map in both modes.

A VJP and a JVP of one function are two halves of one linear map, u·(Jv) = v·(Jᵀu), and a Hessian
is its own transpose, u·(Hv) = v·(Hu). Both are identities between claimed numbers, and hold to
round-off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gradlab.checking.claims import LINEAR, Claim
from gradlab.params import Array

DRAWS = 3
"""Number of random u and v that are tried."""


def not_linear(claim: Claim, rng: np.random.Generator, p: int, q: int) -> str:
    """Return a message if a VJP or JVP is not linear in its direction, else ""."""
    ask, size = (claim.row, q) if claim.by_rows else (claim.column, p)
    for _ in range(DRAWS):
        a, b = rng.uniform(-1, 1, size), rng.uniform(-1, 1, size)
        apart = [ask(a).values, ask(b).values, -ask(a + b).values]
        wide = max(float(np.linalg.norm(np.nan_to_num(part))) for part in apart)
        epsilon = max(LINEAR, 1e4 * ask(a).epsilon)
        if float(np.linalg.norm(np.nan_to_num(sum(apart)))) > epsilon * wide:
            what = "cotangent" if claim.kind == "vjp" else "direction"
            return (
                f"the {claim.kind} is not linear in its {what}: {claim.kind}(a) + "
                f"{claim.kind}(b) is not {claim.kind}(a + b)"
            )
    return ""


def contradiction(forward: Claim, reverse: Claim, rng: np.random.Generator, p: int, q: int) -> str:
    """Return a message if u·(Jv) is not v·(Jᵀu), else ""."""
    for _ in range(DRAWS):
        u, v = rng.uniform(-1, 1, q), rng.uniform(-1, 1, p)
        column, row = forward.column(v), reverse.row(u)
        left, right = u * column.values, v * row.values
        size = max(float(np.linalg.norm(left)), float(np.linalg.norm(right)))
        epsilon = max(LINEAR, 1e4 * max(column.epsilon, row.epsilon))
        if not abs(float(left.sum() - right.sum())) <= epsilon * size:
            return (
                f"{forward.kind} and {reverse.kind} contradict each other: u·Jv is "
                f"{left.sum():.8g}, v·Jᵀu is {right.sum():.8g}"
            )
    return ""


def not_symmetric(claim: Claim, rng: np.random.Generator, p: int) -> str:
    """Return a message if u·(Hv) is not v·(Hu), else ""."""

    def ask(direction: Array) -> Array:
        return (claim.row if claim.by_rows else claim.column)(direction).values

    epsilon = max(LINEAR, 1e4 * (claim.row if claim.by_rows else claim.column)(np.ones(p)).epsilon)
    for _ in range(DRAWS):
        u, v = rng.uniform(-1, 1, p), rng.uniform(-1, 1, p)
        left, right = u * ask(v), v * ask(u)
        size = max(float(np.linalg.norm(left)), float(np.linalg.norm(right)))
        if not abs(float(left.sum() - right.sum())) <= epsilon * size:
            return (
                f"the {claim.kind} is not symmetric: u·Hv is {left.sum():.8g}, v·Hu is "
                f"{right.sum():.8g}"
            )
    return ""


def contradictions(claims: Sequence[Claim], rng: np.random.Generator, p: int, q: int) -> list[str]:
    """Return the contradictions between claims, or within one."""
    reverse = [claim for claim in claims if claim.by_rows]
    forward = [claim for claim in claims if not claim.by_rows]
    found = [
        not_linear(claim, rng, p, q) for claim in claims if claim.kind in ("vjp", "jvp", "hvp")
    ]
    found += [not_symmetric(c, rng, p) for c in claims if c.kind in ("hessian", "hvp")]
    found += [contradiction(f, r, rng, p, q) for f in forward for r in reverse]
    return [note for note in found if note]
