"""A sum of terms near its parameters: entries that share no term are perturbed together."""

from __future__ import annotations

from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.errors import LossError, NonFiniteError, OptionError
from gradlab.gradients.probing.probe import Probe, Quotient
from gradlab.gradients.protocol import real_scalar
from gradlab.gradients.terms import SumOfTerms
from gradlab.params import Array


class ProbeOfTerms(Probe):
    """The sum of terms as a function of one entry, evaluated for many that share no term."""

    _loss: SumOfTerms

    def __init__(
        self, loss: SumOfTerms, params: Any, args: tuple[Any, ...], dtype: DTypeLike | None
    ) -> None:
        super().__init__(loss, params, args, dtype)
        if loss.sparsity.shape[1] != self.size:
            raise OptionError(
                f"sparsity has {loss.sparsity.shape[1]} columns; the parameters have {self.size} "
                "entries"
            )

    @cached_property
    def value(self) -> Any:
        """The loss at the parameters themselves."""
        return real_scalar(self._terms.sum())

    @cached_property
    def _terms(self) -> Array:
        return self._loss.evaluate(self._params, *self._args)

    def each(self, leaf: int, h: Array, method: Quotient) -> Array:
        """Return the slope along each entry of a leaf, all at once; see `Probe.each`."""
        self.looped = True
        return method.measured_again(self, leaf, h, *self.quotients(leaf, h, method))

    def quotients(self, leaf: int, h: Array, method: Quotient) -> tuple[Array, Array]:
        """Return the slopes and bends of a leaf, one group of entries at a time."""
        return method.quotient(partial(self._values, leaf), self.leaves[leaf], h, self.value)

    def _values(self, leaf: int, x: Array) -> Array:
        """Evaluate the loss with each entry of a leaf set to its value, one group at a time."""
        start = sum(other.size for other in self.leaves[:leaf])
        rises = np.zeros(x.size, np.result_type(self._terms, x.dtype))
        held = self._flat[leaf].copy()
        for group in self._loss.groups(start, start + x.size):
            moved = group - start
            self._flat[leaf][moved] = x.reshape(-1)[moved]
            try:
                change = self._loss.evaluate(self._params, *self._args) - self._terms
            finally:
                self._flat[leaf][:] = held
            self._check(leaf, moved, change, self._loss.sparsity[:, group])
            rises[moved] = np.where(self._loss.sparsity[:, group], change[:, None], 0.0).sum(0)
        values: Array = (self.value + rises).reshape(x.shape)
        return values

    def _check(self, leaf: int, moved: Array, change: Array, sparsity: Array) -> None:
        """Refuse terms that are not finite, and terms that change against the declared sparsity."""
        if not np.isfinite(change).all():
            term = int(np.flatnonzero(~np.isfinite(change))[0])
            of_it = moved[sparsity[term]] if sparsity[term].any() else moved
            raise NonFiniteError(
                f"term {term} of the loss is not finite where {self.name(leaf, int(of_it[0]))} "
                "is perturbed"
            )
        strays = np.flatnonzero((change != 0) & ~sparsity.any(1))
        if len(strays):
            raise LossError(
                f"term {strays[0]} changes where {self.name(leaf, int(moved[0]))} and others are "
                "perturbed, but sparsity says that it depends on none of them"
            )
