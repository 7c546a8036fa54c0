"""Simultaneous perturbation: a whole gradient from two evaluations that perturb all parameters.

Every entry moves by ±c, with random signs Δ. The estimate for entry i is::

    g_i  =  (f(x + c Δ) - f(x - c Δ)) / (2 c Δ_i)

The contributions of the other entries cancel on average: E[g_i] is ∂f/∂x_i, up to c² times third
derivatives. J. C. Spall, *Multivariate stochastic approximation using a simultaneous perturbation
gradient approximation*, IEEE Transactions on Automatic Control 37 (1992), equation 2.2 and lemma 1;
section III.B averages over several Δ. The variance of an entry is |∇f|² minus its own square.

Spall decreases the step c during training. Here it is fixed: small enough for the truncation error
not to matter, and a power of two, so that most steps are exact. The value returned beside the
gradient is a third evaluation, at x.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gradlab import options
from gradlab.gradients.differences.steps import steps
from gradlab.gradients.estimators import Estimator, add_scaled, averages, directions
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.probing import CoarseLoss, Probe
from gradlab.gradients.protocol import Loss, ValueAndGrad
from gradlab.params import Array

DOUBTFUL_BEND = 2.0**-9
"""Ratio of the second to the first difference above which a smaller step may be tried."""

UNLIKELY_BEND = 2.0**-28
"""Ratio of the second difference to the loss that curvature alone is unlikely to cause."""


@dataclass(frozen=True)
class SPSA(Estimator):
    """Simultaneous perturbation stochastic approximation: 2 draws + 1 evaluations, for any p.

    It takes any loss, as finite differences do, and evaluates it in float64.

    Parameters
    ----------
    draws : int
        Number of random directions over which a gradient is averaged: its noise falls as 1/√draws.
    seed : int or Generator
        Determines the directions, together with the parameters.
    step : float, optional
        The step of every entry. By default the power of two nearest to ∛ε max(1, median |x|).

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([3.0, 4.0])
    >>> grads = SPSA().value_and_grad(lambda x: np.sum(x**2))(x)[1]
    >>> grads.round(6)  # (6 ± 8, 8 ± 6), the same sign in both
    array([-2.,  2.])
    >>> grads = SPSA(draws=10_000).value_and_grad(lambda x: np.sum(x**2))(x)[1]
    >>> np.abs(grads - 2 * x).max() < 0.5
    np.True_
    """

    step: float | None = field(default=None, kw_only=True)
    name = "spsa"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.step is not None:
            options.number("step", self.step, "give a positive number, or None for the default")

    @passing_keywords
    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""
        entropy = self.entropy()

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            probe = Probe(loss, params, args, None)
            value = float(probe.value)
            with probe.restoring():
                try:
                    averaged = self._estimate(probe, entropy)
                except CoarseLoss as coarse:
                    probe.precision = coarse.precision
                    averaged = self._estimate(probe, entropy)
            return value, probe.finish(averaged)

        return value_and_grad

    def _estimate(self, probe: Probe, entropy: int) -> Sequence[Array]:
        c = common_step(probe.leaves, self.step, probe.precision)
        for leaf, x in enumerate(probe.leaves):
            probe.require_apart(leaf, x + c, x - c)
        totals = [np.zeros_like(leaf) for leaf in probe.leaves]
        for signs in directions(probe.leaves, self.draws, entropy, "signs"):
            above, below = probe.along(signs, c), probe.along(signs, -c)
            if abs(above - 2 * probe.value + below) > max(
                DOUBTFUL_BEND * abs(above - below), UNLIKELY_BEND * abs(probe.value)
            ):
                probe.require_steady() if self.step else probe.look_into()
            with np.errstate(over="ignore"):  # an infinite slope is reported
                add_scaled(totals, (above - below) / (2 * c), signs)  # 1 / ±1 is ±1
        return averages(totals, self.draws)


def common_step(leaves: Sequence[Array], step: float | None, precision: float = 0.0) -> float:
    """Return one step for all entries, scaled to their median size.

    Examples
    --------
    >>> float(np.log2(common_step([np.array([0.5, 300.0, 300.0])], None)))
    -9.0
    """
    sizes = np.concatenate([np.empty(0), *[np.abs(leaf).ravel() for leaf in leaves]])
    typical = np.median(sizes, overwrite_input=True) if sizes.size else 1.0
    return float(steps(np.array([typical]), step, 2, precision)[0])
