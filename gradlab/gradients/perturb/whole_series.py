"""The loss as a power series in each perturbation: no lanes at all.

Where the batch axis is separable, and entries first change rows in a product (`Lift`), entry (i, j)
of the leaf changes column j of row r by u = rows[r, i] d. All else in the row is a function of u,
and its series

    c₁ u + c₂ u² + ... + cₘ uᵐ

has coefficients for each row and column, (J, 1, R), which all entries i share. So have the changes
of all values down to the loss. The change of the loss for d is then a sum over the rows,

    Σₙ dⁿ Σᵣ rows[r, i]ⁿ cₙ[j, r],

a few products of matrices for the whole leaf. The coefficients follow the rules of `powers`, with
their bound on the remainder. Where a rule ends, because a step is too large or a kink too close,
`NoSeries` is raised, and these rows are computed in lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradlab.gradients.perturb.contraction import LANE_LETTERS, multiply
from gradlab.gradients.perturb.extents import All, Entries, Extents, Slice
from gradlab.gradients.perturb.layout import Arrangement, LaneSlice, filled, flat, put
from gradlab.gradients.perturb.operations import terms_of_mean
from gradlab.gradients.perturb.powers import Powers, elementwise
from gradlab.gradients.perturb.products import slice_of
from gradlab.gradients.perturb.rows import Lift
from gradlab.params import Array
from gradlab.program.ir import Node
from gradlab.program.primitives import Kind


class NoSeries(Exception):  # noqa: N818 - not an error: the lanes are computed
    """The change of a value has no series, or too long a one."""


class WholeSeries:
    """The series of all values in some rows; `reach` is the largest |u| of each, (J, 1, R)."""

    def __init__(self, extents: Extents, layout: Arrangement, rows: slice, reach: Array) -> None:
        self._extents, self._layout, self._rows = extents, layout, rows
        self._columns = np.arange(len(reach))[:, None]
        self._reach, self._of = reach, extents.of
        self._series: dict[Node, Powers] = {}

    def start(self, lift: Lift) -> None:
        """Begin with u itself."""
        node = lift.node
        first = np.ones((*self._layout.shape[node], *self._reach.shape))
        self._series[node] = self._powers(node, [first])

    def take(self, node: Node) -> None:
        """Compute the series of the next value; raise `NoSeries` if it has none."""
        if any(isinstance(self._of.get(source), Entries) for source in node.sources):
            raise NoSeries
        if not any(source in self._series for source in node.sources):
            return  # it does not change
        kind = self._extents.kinds[node]
        found: Powers | None
        if kind is Kind.PRODUCT:
            found = self._product(node)
        elif kind is Kind.ELEMENTWISE:
            found = self._elementwise(node)
        else:
            found = self._of_features(node, kind)
        if found is not None:
            self._series[node] = found

    def total(self, node: Node) -> list[Array]:
        """Return the coefficients of a sum over all features of each row: (J, R) each."""
        operand = node.operands[0]
        if operand not in self._series:
            return []
        if not all(np.isfinite(c).all() for c in self._series[operand].coefficients):
            raise NoSeries
        powers, shape = self._series[operand], self._layout.shape[operand]
        lanes = len(self._reach), 1, self._reach.shape[-1]
        return [
            np.broadcast_to(filled(c, shape).sum(axis=tuple(range(len(shape)))), lanes)[:, 0]
            / terms_of_mean(node)
            for c in powers.coefficients
        ]

    def forget(self, nodes: Sequence[Node]) -> None:
        """Release values that no later operation needs."""
        for node in nodes:
            self._series.pop(node, None)

    # One rule per kind

    def _elementwise(self, node: Node) -> Powers | None:
        ndim, at = self._layout.ndim[node], self._at(node)
        operands = []
        for operand in node.operands:
            if not self._is_changed(operand):
                operands.append(self._base(operand, at, ndim))
            elif self._layout.ndim[operand] != ndim:
                raise NoSeries
            else:
                wide = at is None
                operands.append(self._wide(operand) if wide else self._series[operand])
        base = self._base(node, at, ndim)
        found = elementwise(node.primitive, operands, base)
        if found is None:
            raise NoSeries
        return found if isinstance(found, Powers) else None

    def _product(self, node: Node) -> Powers:
        *letters, out = self._layout.letters[node]
        operands = node.operands[-2:]
        i, *more = [i for i, o in enumerate(operands) if self._is_changed(o)]
        if more:
            raise NoSeries
        powers, at = self._series[operands[i]], self._at(operands[i])
        other, of_other, own = self._extents.constant(operands[1 - i]), letters[1 - i], letters[i]
        other = np.asarray(other)
        shape = self._layout.shape[operands[i]]
        if at is not None:
            k = own[at.axis]
            if k in out:
                raise NoSeries
            own = own.replace(k, "")
            other, of_other = slice_of(other, of_other, k, at)

        def times(c: Array) -> Array:
            return multiply(
                filled(c, shape), own + LANE_LETTERS, other, of_other, out + LANE_LETTERS
            )

        return self._powers(node, [times(c) for c in powers.coefficients])

    def _of_features(self, node: Node, kind: Kind) -> Powers:
        """Apply a sum, a maximum or a view to the coefficients."""
        operand = node.operands[0]
        powers, features = self._wide(operand), self._layout.features[operand]
        if not isinstance(self._of[node], All):
            raise NoSeries
        base = self._base(node, None, self._layout.ndim[node])
        if kind is Kind.VIEW:
            gathered = self._extents.gathers[node]
            if len(gathered) > 1:
                raise NoSeries
            return powers.mapped(base, lambda c: flat(filled(c, features))[gathered[0]])
        found = self._layout.reduced(node, powers, base)
        if found is None:
            raise NoSeries
        return found

    # Values

    def _is_changed(self, operand: Any) -> bool:
        return isinstance(operand, Node) and operand in self._series

    def _wide(self, node: Node) -> Powers:
        """Return the series of all features of a value of which a slice changes."""
        powers, at = self._series[node], self._at(node)
        if at is None:
            return powers

        def widened(c: Array) -> Array:
            full = np.zeros((*self._layout.features[node], *c.shape[-3:]))
            put(full, at, c)
            return full

        base = self._base(node, None, self._layout.ndim[node])
        return powers.mapped(base, widened)

    def _powers(self, node: Node, coefficients: list[Array]) -> Powers:
        base = self._base(node, self._at(node), self._layout.ndim[node])
        return Powers(base, coefficients, self._reach, self._reach)

    def _base(self, operand: Any, at: LaneSlice | None, ndim: int) -> Any:
        return self._layout.base(self._rows, operand, at, ndim)

    def _at(self, node: Node) -> LaneSlice | None:
        extent = self._of[node]
        if not isinstance(extent, Slice):
            return None
        return LaneSlice(extent.axis, self._columns)


class PowerSums:
    """Sums over rows of powers of each perturbation: Σₙ dⁿ Σᵣ rows[r, i]ⁿ cₙ[j, r].

    The shape, (d, k), is that of the factor of the `Lift`.

    Examples
    --------
    >>> sums = PowerSums((2, 1))
    >>> sums.add(np.array([[1.0, 2.0]]), [np.array([[5.0]]), np.array([[1.0]])])  # 5 u + u²
    >>> sums.at(np.full((2, 1, 1), 0.1)).round(6).ravel().tolist()
    [0.51, 1.04]
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._shape = shape
        self._sums: list[Array] = []

    def add(self, rows: Array, coefficients: Sequence[Array]) -> None:
        """Add some rows, (R, d), with their coefficients, (J, R) each."""
        power = np.ones(rows.shape)
        for n, c in enumerate(coefficients):
            power = power * rows
            if n == len(self._sums):
                self._sums.append(np.zeros(self._shape))
            self._sums[n] += power.T @ c.T

    def at(self, delta: Array) -> Array:
        """Return the sums for perturbations, (d, k, S)."""
        total = np.zeros(delta.shape)
        for each in reversed(self._sums):
            total += each[..., None]
            total *= delta
        return total
