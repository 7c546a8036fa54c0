"""The loss recorded as a program, of which each evaluation computes only what an entry changes."""

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
    """A backend that makes use of a recorded loss."""

    fewest: ClassVar[int]
    """Smallest number of entries for which the loss is recorded."""


@dataclass(frozen=True)
class Recorded:
    """The loss recorded, and many entries perturbed at once: see `gradlab.gradients.perturb`.

    The slopes are those of the plain loop to rounding, up to a few hundred times as fast. A loss
    with few parameters, of another dtype than float64, or with operations that have no rule, is
    evaluated in the plain loop.

    Parameters
    ----------
    threads : int, optional
        How many threads to use; by default as many as NumPy's BLAS. The slopes are the same, to
        the bit, for any number.

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
        """Return the function that takes the slopes of a loss, recorded at each point anew."""
        recorder = PointRecorder(loss, self.threads)

        def slopes(method: Recordable, probe: Probe) -> list[Array]:
            if probe.size >= method.fewest and not isinstance(probe, ProbeOfTerms):
                probe.record(recorder)
            return by_leaf(method, probe)

        return slopes
