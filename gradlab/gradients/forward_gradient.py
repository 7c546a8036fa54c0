"""The forward gradient: one forward pass along a random direction, without a backward pass.

Forward mode computes the exact slope along one direction v for the cost of a few evaluations. Along
a random direction, it gives an estimate of the gradient::

    g  =  (∇f · v) v,        v ~ N(0, I),        E[g] = ∇f

A. G. Baydin, B. A. Pearlmutter, D. Syme, F. Wood & P. Torr, *Gradients without backpropagation*,
arXiv:2202.08587 (2022), definition 1 and theorem 1. The variance of an entry is |∇f|² plus its own
square; for directions of ±1, which the theorem allows, it is |∇f|² minus that, the least there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from gradlab.errors import NonFiniteError, OptionError
from gradlab.gradients.estimators import Estimator, add_scaled, averages, directions
from gradlab.gradients.forward_mode import LossJVP
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.protocol import Loss, ValueAndGrad, finish_gradients
from gradlab.params import flatten, floating


@dataclass(frozen=True)
class ForwardGradient(Estimator):
    """An estimate from forward mode along random directions: as many evaluations as draws.

    Parameters
    ----------
    draws : int
        Number of random directions over which a gradient is averaged: its noise falls as 1/√draws.
    seed : int or Generator
        Determines the directions, together with the parameters.
    directions : {"normal", "signs"}
        The distribution of their entries: the paper's normal one, or ±1.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([3.0, 4.0])
    >>> f = ForwardGradient(directions="signs").value_and_grad(lambda x: np.sum(x**2))
    >>> f(x)  # (6 ± 8, 8 ± 6), the same sign in both
    (25.0, array([-2.,  2.]))
    """

    directions: Literal["normal", "signs"] = field(default="normal", kw_only=True)
    name = "forward-gradient"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.directions not in ("normal", "signs"):
            raise OptionError(f"directions={self.directions!r}: choose normal or signs")

    @passing_keywords
    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""
        entropy = self.entropy()

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            leaves, structure = flatten(params)
            jvp = LossJVP(loss, [floating(leaf) for leaf in leaves], structure, args)
            totals = [np.zeros(leaf.shape) for leaf in leaves]
            for v in directions(jvp.leaves, self.draws, entropy, self.directions):
                value, slope = jvp.slope(v)
                if not np.isfinite(slope):
                    raise NonFiniteError(f"the slope along a random direction is {slope}")
                with np.errstate(over="ignore"):  # an infinite gradient is reported
                    add_scaled(totals, slope, v)
            done = finish_gradients(structure.paths, averages(totals, self.draws), leaves)
            return value, structure.unflatten(done)

        return value_and_grad
