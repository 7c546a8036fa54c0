"""Record a loss at the point of differentiation; warn once if it cannot be recorded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from gradlab.arrays.places import place_of
from gradlab.errors import UntraceableWarning
from gradlab.gradients.perturb.engine import PerturbedLoss
from gradlab.gradients.perturb.limits import DEFAULT, Limits
from gradlab.gradients.protocol import Loss
from gradlab.params import flatten
from gradlab.program.record import record, replace_arrays

CLOSE = 1e-12
"""Relative difference between a recording and its loss above which the recording is not used.

Both make the same calls of NumPy, so that they differ by few rounding errors. Near the parameters,
a part of the loss that the recording lacks changes the loss little: with 1e-9, an undetected error
of a gradient could reach 1e-4 of its size."""

AWAY = 2.0**-12
"""Distance, relative to the parameters, at which the recording is compared with the loss."""


class Around(Protocol):
    """A loss that can be evaluated near a point; see `gradlab.gradients.probing`."""

    @property
    def value(self) -> Any:
        """The loss at the point."""

    @property
    def direction(self) -> Any:
        """A direction through all entries."""

    def along(self, direction: Any, t: Any) -> Any:
        """Return the loss at the point plus `t` times a direction."""

    def require_steady(self) -> None:
        """Raise a LossError if the loss is not deterministic."""


def agree(recorded: float, value: float) -> bool:
    """Tell whether the value of a recording equals that of the loss."""
    return abs(recorded - value) <= CLOSE * abs(value)


class PointRecorder:
    """A loss that is recorded anew at each point, so that no recording is out of date.

    Parameters
    ----------
    loss : callable
        The loss.
    threads : int, optional
        Number of threads for a gradient; by default the number that NumPy's BLAS may use.
    limits : Limits, optional
        The thresholds of the engine.

    Attributes
    ----------
    untraceable : str or None
        Why the loss cannot be recorded, if it cannot.
    """

    def __init__(self, loss: Loss, threads: int | None = None, limits: Limits = DEFAULT) -> None:
        self._loss, self._threads, self._limits = loss, threads, limits
        self.untraceable: str | None = None

    def __call__(self, params: Any, args: tuple[Any, ...], probe: Around) -> PerturbedLoss | None:
        """Return the loss at a point; None if it cannot be recorded.

        The leaves of the parameters are float64 arrays. The recording is compared with the loss at
        the point and away from it: a number taken out of the trace is a constant in the recording,
        and is right only at the point.

        Raises
        ------
        LossError
            If the loss is not deterministic.
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

    def _holds_away(self, perturbed: PerturbedLoss, inputs: Sequence[Any], probe: Around) -> bool:
        """Tell whether recording and loss agree near the point, or both have no value there."""
        with np.errstate(all="ignore"):
            try:
                wanted = float(probe.along(probe.direction, AWAY))
            except Exception:
                return True
            moved = [x + AWAY * d for x, d in zip(inputs, probe.direction, strict=False)]
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
