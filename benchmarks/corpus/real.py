"""Cases with many outputs as functions from real vectors to real vectors, for every checker.

The vector of a complex array has its real parts first, and then its imaginary parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from corpus.outputs import VectorCase


def leaves_of(value: Any) -> list[Any]:
    """Return the arrays of a dict of any nesting, or a bare array, in a list."""
    if isinstance(value, dict):
        return [leaf for child in value.values() for leaf in leaves_of(child)]
    return [np.asarray(value)]


def parts(value: Any, sign: int = 1) -> Any:
    """Return all numbers in one real vector; imaginary parts are multiplied by `sign`.

    Examples
    --------
    >>> parts({"z": np.array([1 + 2j]), "x": 3.0})
    array([1., 2., 3.])
    """
    flat = []
    for leaf in leaves_of(value):
        flat.append(np.ravel(leaf.real if leaf.dtype.kind == "c" else leaf))
        if leaf.dtype.kind == "c":
            flat.append(sign * np.ravel(leaf.imag))
    return np.concatenate(flat)


def like(value: Any, flat: Any) -> Any:
    """Return a vector in the structure and shapes of a value: the inverse of `parts`.

    Examples
    --------
    >>> like({"z": np.array([0j]), "x": 0.0}, np.array([1.0, 2.0, 3.0]))
    {'z': array([1.+2.j]), 'x': np.float64(3.0)}
    """
    return _like(value, flat, [0])


def _like(value: Any, flat: Any, place: list[int]) -> Any:
    def take(n: int) -> Any:
        place[0] += n
        return flat[place[0] - n : place[0]]

    if isinstance(value, dict):
        return {key: _like(child, flat, place) for key, child in value.items()}
    leaf = np.asarray(value)
    if leaf.dtype.kind == "c":
        both = take(leaf.size).reshape(leaf.shape), take(leaf.size).reshape(leaf.shape)
        return both[0] + 1j * both[1]
    found = take(leaf.size).reshape(leaf.shape)
    return found if leaf.shape else found[()]


@dataclass(frozen=True)
class RealCase:
    """A case as a function of a vector, with its claim; a `peers.Claim`."""

    case: VectorCase

    @property
    def x(self) -> Any:
        """The parameters, shape (p,)."""
        return parts(self.case.params).astype(np.float64)

    @property
    def by_rows(self) -> bool:
        """Whether the claim is a VJP, or holds all rows; otherwise it is a JVP."""
        return self.case.form not in ("jvp", "hvp")

    @property
    def _sign(self) -> int:
        return -1 if self.case.convention == "jax" else 1

    def f(self, x: Any) -> Any:
        """Return the outputs, shape (q,); for a second derivative, the outputs of the gradient."""
        differentiated = self.case.gradient or self.case.f
        found = differentiated(self._params(x), *self.case.args)
        return np.asarray(parts(found), np.float64)

    def vjp(self, x: Any, u: Any) -> Any:
        """Return the claimed Jᵀu, shape (p,)."""
        if self.case.form == "vjp":
            outputs = self.case.f(self.case.params, *self.case.args)
            cotangent = like(outputs, np.array(u, np.float64))
            if self._sign < 0 and self.case.kind == "complex":
                cotangent = np.conj(cotangent)
            return parts(self._claimed(x, cotangent), self._sign)
        if self.case.form == "gradient":
            return u[0] * parts(self._claimed(x), self._sign)
        return self.matrix(x).T @ u

    def jvp(self, x: Any, v: Any) -> Any:
        """Return the claimed Jv, shape (q,)."""
        if self.case.form in ("jvp", "hvp"):
            return parts(self._claimed(x, self._params(np.array(v, np.float64))))
        return self.matrix(x) @ v

    def matrix(self, x: Any) -> Any:
        """Return the claim as a matrix, shape (q, p)."""
        if not self.by_rows:
            return np.array([self.jvp(x, unit) for unit in np.eye(len(x))]).T
        if self.case.form in ("vjp", "gradient"):
            return np.array([self.vjp(x, unit) for unit in np.eye(len(self.f(x)))])
        found = self._claimed(x)
        if isinstance(found, dict):
            found = _joined(found)
        if np.iscomplexobj(found):
            found = np.block([[found.real, -found.imag], [found.imag, found.real]])
        return np.reshape(found, (-1, len(x)))

    def _claimed(self, x: Any, *direction: Any) -> Any:
        claim = self.case.claim or self.case.truth
        return claim(self._params(x), *self.case.args, *direction)

    def _params(self, x: Any) -> Any:
        return like(self.case.params, np.array(x, np.float64))


def _joined(blocks: dict[str, dict[str, Any]]) -> Any:
    """Return a Hessian by blocks as one matrix."""
    sizes = [int(np.sqrt(np.size(row[name]))) for name, row in blocks.items()]
    return np.block(
        [
            [np.reshape(block, (n, m)) for m, block in zip(sizes, row.values(), strict=True)]
            for n, row in zip(sizes, blocks.values(), strict=True)
        ]
    )
