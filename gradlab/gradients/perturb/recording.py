"""An evaluation that records the loss at each point; it warns once of a loss that cannot be."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from gradlab import options
from gradlab.arrays.places import place_of
from gradlab.errors import UntraceableWarning
from gradlab.gradients.perturb.engine import PerturbedLoss
from gradlab.gradients.perturb.limits import DEFAULT_LIMITS, Limits
from gradlab.gradients.probing import (
    COMPARISON_DISTANCE,
    Method,
    Probe,
    ProbeOfTerms,
    Slopes,
    by_leaf,
)
from gradlab.gradients.protocol import Loss
from gradlab.params import Array, flatten
from gradlab.program.record import record, replace_arrays

MAX_RECORDING_ERROR = 1e-12
"""Relative difference between a recording and its loss above which the recording is not used.

Both make the same calls of NumPy, so that they differ by few rounding errors. Near the parameters,
a part of the loss that the recording lacks changes the loss little: with 1e-9, an undetected error
of a gradient could reach 1e-4 of its size."""


class Recordable(Method, Protocol):
    """A backend that can use a recorded loss."""

    min_entries: ClassVar[int]
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
            if probe.size >= method.min_entries and not isinstance(probe, ProbeOfTerms):
                probe.record(recorder)
            return by_leaf(method, probe)

        return slopes


def agree(recorded: float, value: float) -> bool:
    """Tell whether the value of a recording equals that of the loss."""
    return abs(recorded - value) <= MAX_RECORDING_ERROR * abs(value)


class PointRecorder:
    """A loss that is recorded anew at each point, so that no recording is out of date.

    The threads and limits are those of `PerturbedLoss`. The attribute `untraceable` tells why the
    loss cannot be recorded, if it cannot.
    """

    def __init__(
        self, loss: Loss, threads: int | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._loss, self._threads, self._limits = loss, threads, limits
        self.untraceable: str | None = None

    def __call__(self, params: Any, args: tuple[Any, ...], probe: Probe) -> PerturbedLoss | None:
        """Return the loss at a point; None if it cannot be recorded.

        The leaves of the parameters are float64 arrays. The recording is compared with the loss at
        the point and away from it: a number taken out of the trace is a constant in the recording,
        and is right only at the point. If they differ, a non-deterministic loss is refused.
        """
        if self.untraceable is not None:
            return None
        inputs: list[Any] = list(flatten(params)[0])

        def collect(array: Any, path: str) -> Any:
            inputs.append(array)
            return array

        for arg in args:
            replace_arrays(arg, "", collect)
        try:
            perturbed = PerturbedLoss(
                record(self._loss, params, args), inputs, self._threads, self._limits
            )
            recorded = float(perturbed.value)
        except Exception as error:  # only for a loss that has a value
            self._give_up(f"{error} ({place_of(error.__traceback__)})")
            return None
        if not agree(recorded, float(probe.value)):
            probe.require_steady()
            self._give_up(f"it is {probe.value}, but {recorded} where it is recorded")
            return None
        if not self._holds_away(perturbed, inputs, probe):
            probe.require_steady()
            self._give_up(
                "beside the parameters it differs from its recording: it takes numbers out of the "
                "trace, as getval does, or keeps something from one call to the next"
            )
            return None
        return perturbed

    def _holds_away(self, perturbed: PerturbedLoss, inputs: Sequence[Any], probe: Probe) -> bool:
        """Tell whether recording and loss agree near the point, or both have no value there."""
        with np.errstate(all="ignore"):
            try:
                wanted = float(probe.along(probe.direction, COMPARISON_DISTANCE))
            except Exception:
                return True
            moved = [
                x + COMPARISON_DISTANCE * d for x, d in zip(inputs, probe.direction, strict=False)
            ]
            try:
                (found,) = perturbed.recorded.run([*moved, *inputs[len(moved) :]])
            except Exception:
                return False
        return agree(float(found), wanted)

    def _give_up(self, reason: str) -> None:
        self.untraceable = reason
        warnings.warn(
            f"the loss cannot be recorded: {reason}; it is evaluated for each entry from now on, "
            "right but slower (incremental=False does so without this warning)",
            UntraceableWarning,
            stacklevel=8,
        )
