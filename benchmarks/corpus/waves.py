"""Complex parameters and outputs: holomorphic functions, transforms, real losses.

Truths are given in JAX's convention and in PyTorch's, which are conjugates of each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from corpus.case import Fault, draw, instead
from corpus.outputs import VectorCase, edited, family

KIND = "complex"

Z = draw(71, 3) + 1j * draw(72, 3)
M = draw(73, 2, 3) + 1j * draw(74, 2, 3)
H = draw(75, 3, 3) + 1j * draw(76, 3, 3)
HERMITIAN = H + H.conj().T


def both(
    name: str,
    f: Callable[..., Any],
    vjp: Callable[..., Any],
    *faults: Fault,
    args: tuple[Any, ...] = (),
    params: Any = Z,
) -> list[VectorCase]:
    """Return the cases of a VJP in JAX's convention and in PyTorch's."""

    def conjugate(*given: Any) -> Any:
        return np.conj(vjp(*given[:-1], np.conj(given[-1])))

    other = instead("in PyTorch's convention", conjugate)
    jax = family(KIND, name, f, params, "vjp", vjp, *faults, other, args=args, convention="jax")
    torch = family(
        KIND, f"{name}, PyTorch's way", f, params, "vjp", conjugate,
        instead("in JAX's convention", vjp), args=args, convention="torch",
    )  # fmt: skip
    return [*jax, *torch]


def linear(z: Any, m: Any) -> Any:
    return m @ z


def power(z: Any, m: Any) -> Any:
    return np.sum(np.abs(m @ z) ** 2)


def power_gradient(z: Any, m: Any) -> Any:
    """Return the gradient in PyTorch's convention."""
    return 2 * m.conj().T @ (m @ z)


def energy(z: Any, h: Any) -> Any:
    """Return the expected energy of an unnormalised state."""
    return np.real(np.vdot(z, h @ z)) / np.real(np.vdot(z, z))


def energy_gradient(z: Any, h: Any) -> Any:
    size = np.real(np.vdot(z, z))
    return 2 * (h @ z - energy(z, h) * z) / size


CASES: list[VectorCase] = [
    *both(
        "the exponential", np.exp, lambda z, u: u * np.exp(z),
        instead("of its size", lambda z, u: u * np.abs(np.exp(z))),
    ),
    *both(
        "a linear map", linear, lambda z, m, u: m.T @ u,
        instead("the imaginary part dropped", lambda z, m, u: m.real.T @ u), args=(M,),
    ),
    *both("a Fourier transform", np.fft.fft, lambda z, u: np.fft.fft(u)),
    *family(  # its VJP is the same in both conventions
        KIND, "conjugation", np.conj, Z, "vjp", lambda z, u: np.conj(u),
        instead("the identity", lambda z, u: u), convention="jax",
    ),
    *family(
        KIND, "conjugation, PyTorch's way", np.conj, Z, "vjp", lambda z, u: np.conj(u),
        edited("a sign", np.negative), convention="torch",
    ),
    *family(
        KIND, "the exponential", np.exp, Z, "jvp", lambda z, v: v * np.exp(z),
        edited("conjugated", np.conj), edited("one entry", lambda g: g * np.array([1, 1.01, 1])),
    ),
    *family(
        KIND, "a Fourier transform", np.fft.fft, Z, "jvp", lambda z, v: np.fft.fft(v),
        instead("of the inverse", lambda z, v: np.fft.ifft(v)),
    ),
    *family(
        KIND, "a square", np.square, Z, "jacobian", lambda z: np.diag(2 * z),
        edited("conjugated", np.conj), edited("half", lambda j: j / 2),
    ),
    *family(
        KIND, "a linear map", linear, Z, "jacobian", lambda z, m: m,
        edited("one entry's imaginary part", lambda j: j + np.array([[0, 0.01j, 0], [0, 0, 0]])),
        args=(M,),
    ),
    *family(
        KIND, "a power", power, Z, "gradient", power_gradient,
        edited("half", lambda g: g / 2), edited("in JAX's convention", np.conj),
        args=(M,), convention="torch",
    ),
    *family(
        KIND, "an energy", energy, Z, "gradient", lambda z, h: np.conj(energy_gradient(z, h)),
        edited("in PyTorch's convention", np.conj),
        instead("not normalised", lambda z, h: np.conj(2 * h @ z)),
        args=(HERMITIAN,), convention="jax",
    ),
]  # fmt: skip
