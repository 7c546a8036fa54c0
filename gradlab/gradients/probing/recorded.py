"""The loss recorded as a program; each evaluation computes only what an entry changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from gradlab import options
from gradlab.gradients.perturb import PointRecorder
from gradlab.gradients.probing.evaluation import Method, Slopes, by_leaf
from gradlab.gradients.probing.probe import Probe
from gradlab.gradients.probing.sums import ProbeOfTerms
from gradlab.gradients.protocol import Loss
from gradlab.params import Array


class Recordable(Method, Protocol):
    """A backend that can use a recorded loss."""

    fewest: ClassVar[int]
    """Smallest number of entries for which the backend records the loss."""


@dataclass(frozen=True)
class Recorded:
    """Record the loss and perturb many entries at once: see `gradlab.gradients.perturb`.

    The slopes equal those of the plain loop to round-off, and are computed up to a few hundred
    times as fast. The plain loop evaluates a loss with few parameters, with parameters of a dtype
    other than float64, or with operations that have no rule.

    Parameters
    ----------
    threads : int, optional
        Number of threads; by default that of NumPy's BLAS. The slopes have the same bits for any
        number.

    Examples
    --------
    >>> import numpy as np
    >>> import gradlab
    >>> backend = gradlab.CentralDifference(evaluation=Recorded(threads=1))
    >>> gradlab.grad(lambda x: np.sum(x**2), backend)(np.ones(100))[0].round(6)
    np.float64(2.0)
    """

    threads: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None:
            options.integer("threads", self.threads)

    def of(self, loss: Loss) -> Slopes:
        """Return the function that computes the slopes of a loss, recorded anew at each point."""
        recorder = PointRecorder(loss, self.threads)

        def slopes(method: Recordable, probe: Probe) -> list[Array]:
            if probe.size >= method.fewest and not isinstance(probe, ProbeOfTerms):
                probe.record(recorder)
            return by_leaf(method, probe)

        return slopes
