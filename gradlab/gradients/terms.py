"""A loss that is a sum of terms, each depending on a few entries: many are perturbed at once.

If no term depends on both of two entries, one evaluation shows the effect of perturbing both: the
change of each term is due to the entry that it depends on. The sparsity matrix says which term
depends on which entry. Its columns are put into groups without a common row, and a difference takes
evaluations per group instead of per entry. A chain of neighbours of any length needs three groups.

A greedy search finds the groups, columns with the most terms first (Curtis, Powell & Reid, *On the
estimation of sparse Jacobian matrices*, 1974; Coleman & Moré, 1983).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab import options
from gradlab.errors import LossError
from gradlab.params import Array, read


@dataclass(frozen=True)
class SumOfTerms:
    """A loss that is the sum of the terms that a function returns, with a known sparsity.

    Any backend takes it. `central`, `central4` and `forward` perturb entries that share no term at
    the same time. They notice a wrong matrix if a term changes that depends on no perturbed entry.
    They cannot notice it if two perturbed entries change the same term.

    Parameters
    ----------
    terms : callable
        ``terms(params, *args)``, an array of shape (t,).
    sparsity : array or SciPy sparse matrix of bool, shape (t, p)
        Whether a term may depend on an entry of the parameters. The entries are those of all
        leaves one after the other, each in C order.

    Raises
    ------
    OptionError
        If `terms` is not a function, or `sparsity` not a matrix of truth values.

    Examples
    --------
    >>> import gradlab
    >>> calls = []
    >>> def of_neighbours(x):
    ...     calls.append(1)
    ...     return (x[1:] - x[:-1] ** 2) ** 2
    >>> either = np.eye(99, 100, dtype=bool) | np.eye(99, 100, 1, dtype=bool)
    >>> loss = SumOfTerms(of_neighbours, either)
    >>> slopes = gradlab.grad(loss, gradlab.CentralDifference())(np.full(100, 0.25))
    >>> slopes[:3].round(6), len(calls)  # two groups, of two evaluations each
    (array([-0.1875,  0.1875,  0.1875]), 5)
    """

    terms: Callable[..., Any]
    sparsity: Any

    def __post_init__(self) -> None:
        options.function("terms", self.terms, "give a function that returns an array")
        matrix = self.sparsity.toarray() if hasattr(self.sparsity, "toarray") else self.sparsity
        matrix = np.asarray(matrix)
        if matrix.ndim != 2 or matrix.dtype != bool:
            raise options.refusal(
                "sparsity",
                f"an array of shape {matrix.shape} and {matrix.dtype}",
                "give truth values, a row for each term and a column for each entry",
            )
        object.__setattr__(self, "sparsity", matrix)

    def __call__(self, params: Any, *args: Any, **keywords: Any) -> Any:
        """Return the sum of the terms."""
        return self.terms(params, *args, **keywords).sum()

    def evaluate(self, params: Any, *args: Any) -> Array:
        """Return the terms; raise a LossError unless there are as many as the sparsity has rows."""
        values = read(self.terms(params, *args), "the array of terms", LossError)
        if values.shape != self.sparsity.shape[:1] or values.dtype.kind not in "fiu":
            raise LossError(
                f"the terms are an array of shape {values.shape} and {values.dtype}; sparsity has "
                f"a row for each of {len(self.sparsity)} real terms"
            )
        return values

    def groups(self, start: int, stop: int) -> list[Array]:
        """Put the entries from `start` up to `stop` into groups that share no term.

        Examples
        --------
        >>> chain = np.eye(3, 4, dtype=bool) | np.eye(3, 4, 1, dtype=bool)
        >>> [group.tolist() for group in SumOfTerms(np.diff, chain).groups(0, 4)]
        [[1, 3], [2, 0]]
        """
        columns = self.sparsity[:, start:stop]
        taken: list[Array] = []  # the terms of each group
        groups: list[list[int]] = []
        for entry in np.argsort(-columns.sum(0), kind="stable"):
            rows = np.flatnonzero(columns[:, entry])
            place = next((i for i, terms in enumerate(taken) if not terms[rows].any()), len(taken))
            if place == len(taken):
                taken.append(np.zeros(len(columns), bool))
                groups.append([])
            taken[place][rows] = True
            groups[place].append(start + int(entry))
        return [np.array(group) for group in groups]
