"""Claims about a function's derivative: rows, columns, or all of a Jacobian.

The derivative at a point is a linear map J, from p parameters to q outputs. A VJP returns
combinations of its rows, Jᵀu. A JVP returns combinations of its columns, Jv. A Jacobian or a
Hessian is the matrix itself. Each becomes a `Claim`, which computes the vectors that a check needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradlab.arrays.read_only import read_only
from gradlab.checking.analytic import ACCUMULATION_MESSAGE, epsilon_of, is_accumulating, own_copy
from gradlab.checking.functions import Function, new_arrays
from gradlab.checking.matrices import joined, matrix_blocks
from gradlab.errors import LossError, OptionError, ParameterError
from gradlab.gradients.protocol import note_origin
from gradlab.layout import Layout
from gradlab.params import Array, flatten, leaves_like, read


@dataclass(frozen=True)
class Rounded:
    """A claimed vector, with the unit round-off of its dtype."""

    values: Array  # the vector in float64
    epsilon: float  # the unit round-off of the coarsest leaf


@dataclass(frozen=True)
class Claim:
    """A derivative under test.

    ``compute(u)`` returns Jᵀu in the structure of the parameters if the claim is given `by_rows`;
    otherwise ``compute(v)`` returns Jv in that of the outputs.
    """

    kind: str  # the option that gave it: "vjp", "jacobian", ...
    function: Function
    params: Any
    compute: Callable[[Array], Any]
    by_rows: bool
    _kept: dict[bytes, Rounded] = field(default_factory=dict)

    def product(self, direction: Array) -> Rounded:
        """Return Jᵀu, shape (p,), or Jv, shape (q,)."""
        key = direction.tobytes()
        if key not in self._kept:
            if len(self._kept) > 64:
                self._kept.clear()
            found = self.compute(direction)
            if self.by_rows:
                leaves = leaves_like(self.params, found, f"the {self.kind}", _numbers)
            else:
                leaves = self._outputs(found)
            self._kept[key] = _rounded(leaves)
        return self._kept[key]

    def _outputs(self, product: Any) -> list[Array]:
        """Return the leaves of Jv in the order of the outputs."""
        wanted = dict(zip(self.function.structure.paths, self.function.leaves, strict=True))
        leaves, structure = flatten(product, _numbers)
        found = dict(zip(structure.paths, leaves, strict=True))
        for (path, leaf), name in zip(wanted.items(), self.function.paths, strict=True):
            if path not in found:
                raise ParameterError(f"the {self.kind} lacks {name}")
            if found[path].shape != leaf.shape:
                raise ParameterError(
                    f"{name} has shape {found[path].shape} in the {self.kind}; "
                    f"expected {leaf.shape}"
                )
        if extra := [path for path in found if path not in wanted]:
            raise ParameterError(f"the {self.kind} has {', '.join(extra)}, which is not an output")
        return [found[path] for path in wanted]

    def matrix(self) -> Rounded:
        """Return all of J, shape (q, p), computed row by row or column by column."""
        size = self.function.size if self.by_rows else _size(self.params)
        parts = [self.product(unit) for unit in np.eye(size)]
        values = np.array([part.values for part in parts])
        epsilon = max(part.epsilon for part in parts)
        return Rounded(values if self.by_rows else values.T.copy(), epsilon)


def _rounded(leaves: list[Array]) -> Rounded:
    values = np.concatenate([np.empty(0), *(leaf.astype(np.float64).ravel() for leaf in leaves)])
    return Rounded(values, epsilon_of(*leaves))


def _numbers(value: Any, path: str) -> Array:
    """Return an array of real numbers; NaN is allowed, since the check reports it."""
    array = read(value, path, ParameterError)
    if array.dtype.kind not in "fiu":
        raise ParameterError(
            f"the derivative has {value!r:.60} at {path}; expected an array of real numbers"
        )
    return array


def _size(params: Any) -> int:
    return sum(np.size(leaf) for leaf in flatten(params)[0])


# Claims from users' options


def claim_of(
    kind: str, given: Any, function: Function, params: Any, args: tuple[Any, ...]
) -> Claim:
    """Return the claim that an option of `check_derivatives` makes.

    Raise an OptionError if a ``vjp``, ``jvp`` or ``hvp`` is not a function. Raise a ParameterError
    if the structure or shape of a matrix differs from the derivative's.
    """
    leaves, structure = flatten(params)
    inputs = Layout.of(leaves, structure)

    def call(*direction: Any) -> Any:
        try:
            own = structure.unflatten([own_copy(leaf) for leaf in leaves])
            return given(own, *read_only(args), *direction)
        except Exception as error:
            note_origin(error, f"the {kind} at the parameters")
            raise

    if kind in ("jacobian", "hessian"):
        return _of_matrix(kind, call() if callable(given) else given, function, params, inputs)
    if not callable(given):
        raise OptionError(f"{kind}={given!r:.60}: give a function")
    if kind == "vjp":
        return Claim(kind, function, params, lambda u: call(function.unravel(u)), by_rows=True)
    return Claim(
        kind, function, params, lambda v: call(new_arrays(inputs, v, leaves)), by_rows=False
    )


def _of_matrix(kind: str, found: Any, function: Function, params: Any, inputs: Layout) -> Claim:
    matrix = joined(matrix_blocks(kind, found, function.layout, inputs, _numbers))

    def rows_of(u: Array) -> Any:
        is_unit = np.count_nonzero(u) == 1 and u.max() == 1
        row = matrix[int(np.argmax(u))] if is_unit else (u @ matrix).astype(matrix.dtype)
        return inputs.unravel(row)

    return Claim(kind, function, params, rows_of, by_rows=True)


def require_same_claim(claim: Claim, rng: np.random.Generator, p: int, q: int) -> None:
    """Raise a LossError if a claim is not deterministic."""
    direction = rng.uniform(-1, 1, q if claim.by_rows else p)

    def ask() -> Rounded:
        claim._kept.clear()
        return claim.product(direction)

    first, second = ask(), ask()
    apart = float(np.linalg.norm(np.nan_to_num(second.values - first.values)))
    if apart > 1e4 * first.epsilon * float(np.linalg.norm(np.nan_to_num(first.values))):
        third = ask()
        claim._kept.clear()
        if is_accumulating(first.values, second.values, third.values):
            raise LossError(f"the {claim.kind} {ACCUMULATION_MESSAGE}")
        raise LossError(
            f"the {claim.kind} differs each time it is called with the same arguments: fix its seed"
        )
