"""Other parts of models: gated steps, sequences, mechanics, spectra, groups of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from corpus.case import draw, factor, instead, swapped, transposed
from corpus.outputs import VectorCase, family, of_direction

KIND = "models"


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


# Weights of a given length: v g / ‖v‖ for each column


def columns_of(v: Any) -> Any:
    return np.sqrt((v**2).sum(axis=0))


def weight_norm(p: Any) -> Any:
    return p["v"] / columns_of(p["v"]) * p["g"]


def weight_norm_vjp(p: Any, u: Any) -> Any:
    size = columns_of(p["v"])
    n = p["v"] / size
    return {"v": p["g"] / size * (u - n * (n * u).sum(axis=0)), "g": (n * u).sum(axis=0)}


def weight_norm_constant(p: Any, u: Any) -> Any:
    size = columns_of(p["v"])
    return {"v": p["g"] / size * u, "g": (p["v"] / size * u).sum(axis=0)}


# A step of a GRU


def gru(p: Any) -> Any:
    z, r = sigmoid(p["x"] + p["h"] @ p["uz"]), sigmoid(p["x"] - p["h"] @ p["ur"])
    return (1 - z) * p["h"] + z * np.tanh((r * p["h"]) @ p["uc"])


def gru_vjp(p: Any, u: Any, without: str = "") -> Any:
    h = p["h"]
    z, r = sigmoid(p["x"] + h @ p["uz"]), sigmoid(p["x"] - h @ p["ur"])
    c = np.tanh((r * h) @ p["uc"])
    dc = u * z * (1 - c**2)
    dz, back = u * (c - h) * z * (1 - z), dc @ p["uc"].T
    dr = -back * h * r * (1 - r)
    carry = 0 if without == "carry" else u * (1 - z)
    reset = 0 if without == "reset" else dr @ p["ur"].T
    return {
        "x": dz - dr,
        "h": carry + back * r + dz @ p["uz"].T + reset,
        "uz": h.T @ dz,
        "ur": h.T @ dr,
        "uc": (r * h).T @ dc,
    }


# Cosines between rows


def rows_of(a: Any) -> Any:
    return np.sqrt((a**2).sum(axis=1, keepdims=True))


def cosines(p: Any) -> Any:
    return p["a"] / rows_of(p["a"]) @ (p["b"] / rows_of(p["b"])).T


def cosines_vjp(p: Any, u: Any) -> Any:
    a, b = p["a"] / rows_of(p["a"]), p["b"] / rows_of(p["b"])
    da, db = u @ b, u.T @ a
    return {
        "a": (da - a * (a * da).sum(axis=1, keepdims=True)) / rows_of(p["a"]),
        "b": (db - b * (b * db).sum(axis=1, keepdims=True)) / rows_of(p["b"]),
    }


def cosines_constant(p: Any, u: Any) -> Any:
    a, b = p["a"] / rows_of(p["a"]), p["b"] / rows_of(p["b"])
    return {"a": u @ b / rows_of(p["a"]), "b": u.T @ a / rows_of(p["b"])}


# The forward algorithm of a chain: log Σ exp over all paths


def forward_steps(p: Any) -> list[Any]:
    steps = [p["e"][0]]
    for scores in p["e"][1:]:
        steps.append(scores + np.log(np.exp(steps[-1][:, None] + p["t"]).sum(axis=0)))
    return steps


def chain(p: Any) -> Any:
    return forward_steps(p)[-1]


def chain_vjp(p: Any, u: Any, first: int = 0) -> Any:
    steps, de, dt = forward_steps(p), np.zeros_like(p["e"]), np.zeros_like(p["t"])
    for k in range(len(steps) - 1, 0, -1):
        de[k] = u
        weights = np.exp(steps[k - 1][:, None] + p["t"] + p["e"][k] - steps[k]) * u
        dt += weights if k > first else 0
        u = weights.sum(axis=1)
    de[0] = u
    return {"e": de, "t": dt}


# Mechanics: kick, drift, kick


def force(q: Any) -> Any:
    return -q - 0.3 * q**3


def leapfrog(p: Any) -> Any:
    q, m = p["q"], p["m"]
    for _ in range(4):
        m = m + 0.1 * force(q)
        q = q + 0.2 * m
        m = m + 0.1 * force(q)
    return {"q": q, "m": m}


def leapfrog_jvp(p: Any, v: Any, second: float = 1.0) -> Any:
    q, m, dq, dm = p["q"], p["m"], v["q"], v["m"]
    for _ in range(4):
        dm = dm - 0.1 * (1 + 0.9 * q**2) * dq
        m = m + 0.1 * force(q)
        q, dq = q + 0.2 * m, dq + 0.2 * dm
        dm = dm - second * 0.1 * (1 + 0.9 * q**2) * dq
        m = m + 0.1 * force(q)
    return {"q": dq, "m": dm}


# A power spectrum |F x|²


def fourier(n: int) -> Any:
    return np.exp(-2j * np.pi * np.outer(np.arange(n // 2 + 1), np.arange(n)) / n)


def spectrum(x: Any) -> Any:
    return np.abs(np.fft.rfft(x)) ** 2


def spectrum_vjp(x: Any, u: Any) -> Any:
    return 2 * np.real((u * np.conj(np.fft.rfft(x))) @ fourier(len(x)))


def spectrum_unconjugated(x: Any, u: Any) -> Any:
    return 2 * np.real((u * np.fft.rfft(x)) @ fourier(len(x)))


# Sums over groups of rows, returned to each row


GROUPS = np.array([0, 1, 0, 2, 2, 1])


def grouped(x: Any) -> Any:
    return np.tanh(np.eye(3)[GROUPS].T @ x)[GROUPS] * x


def grouped_vjp(x: Any, u: Any, of_groups: bool = True) -> Any:
    member = np.eye(3)[GROUPS]
    t = np.tanh(member.T @ x)
    sums = member.T @ (u * x) if of_groups else (u * x)[:3]
    return u * t[GROUPS] + (sums * (1 - t**2))[GROUPS]


# An orthogonal matrix from a skew-symmetric one, by Cayley: (I − A)⁻¹ (I + A)


def cayley(a: Any) -> Any:
    eye = np.eye(len(a))
    return np.linalg.solve(eye - a, eye + a)


def cayley_jvp(a: Any, v: Any) -> Any:
    eye = np.eye(len(a))
    return np.linalg.solve(eye - a, v @ (cayley(a) + eye))


def cayley_commuting(a: Any, v: Any) -> Any:
    eye = np.eye(len(a))
    return v @ np.linalg.solve(eye - a, cayley(a) + eye)


NORMED = {"v": draw(40, 3, 4), "g": draw(41, 4)}
GATED = {
    "x": draw(42, 2, 3), "h": draw(43, 2, 3),
    "uz": draw(44, 3, 3), "ur": draw(45, 3, 3), "uc": draw(46, 3, 3),
}  # fmt: skip
PAIR = {"a": draw(47, 3, 2), "b": draw(48, 3, 2)}
PATHS = {"e": draw(49, 4, 3), "t": draw(50, 3, 3)}
MOTION = {"q": draw(51, 3), "m": draw(52, 3)}

CASES: list[VectorCase] = [
    *family(
        KIND, "weights of a given length", weight_norm, NORMED, "vjp", weight_norm_vjp,
        instead("the length is taken for a constant", weight_norm_constant), factor(2, "g"),
    ),
    *family(
        KIND, "a step of a GRU", gru, GATED, "vjp", gru_vjp,
        instead("without the carry", lambda p, u: gru_vjp(p, u, "carry")),
        instead("without the reset gate's path", lambda p, u: gru_vjp(p, u, "reset")),
        transposed("uc"), swapped("uz", "ur"),
    ),
    *family(
        KIND, "cosines", cosines, PAIR, "vjp", cosines_vjp,
        instead("the lengths are taken for constants", cosines_constant), swapped("a", "b"),
    ),
    *family(
        KIND, "the forward algorithm", chain, PATHS, "vjp", chain_vjp,
        instead("the first transition is left out", lambda p, u: chain_vjp(p, u, 1)),
        transposed("t"), factor(1.01, "e", (0, 1)),
    ),
    *family(
        KIND, "leapfrog", leapfrog, MOTION, "jvp", leapfrog_jvp,
        instead("without the second kick", lambda p, v: leapfrog_jvp(p, v, 0.0)),
        of_direction("half of the tangent", lambda v: {"q": v["q"], "m": v["m"] / 2}),
    ),
    *family(
        KIND, "a power spectrum", spectrum, draw(53, 6), "vjp", spectrum_vjp,
        instead("not conjugated", spectrum_unconjugated), factor(0.5), reference="differences",
    ),
    *family(
        KIND, "sums of groups", grouped, draw(54, 6, 2), "vjp", grouped_vjp,
        instead("rows for groups", lambda x, u: grouped_vjp(x, u, of_groups=False)),
    ),
    *family(
        KIND, "an orthogonal matrix by Cayley", cayley, 0.3 * draw(55, 3, 3), "jvp", cayley_jvp,
        instead("as of commuting matrices", cayley_commuting), factor(-1),
    ),
]  # fmt: skip
