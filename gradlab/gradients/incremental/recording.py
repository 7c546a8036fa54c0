"""Record a loss where it is to be differentiated; say once why it cannot be recorded."""

from __future__ import annotations

import warnings
from typing import Any

from gradlab.arrays.places import place_of
from gradlab.errors import UntraceableWarning
from gradlab.gradients.incremental.engine import Incremental
from gradlab.gradients.protocol import Loss
from gradlab.gradients.tape.recorder import record, replace_arrays
from gradlab.params import flatten

CLOSE = 1e-9
"""How far the value of a recording may lie from the loss's: what is random differs by more."""


class Recorder:
    """A loss that is recorded at each point anew, so that nothing of it can be out of date.

    Parameters
    ----------
    loss : callable
        The loss.
    threads : int, optional
        How many a gradient may use; by default as many as NumPy's BLAS may.

    Attributes
    ----------
    untraceable : str or None
        Why the loss is left to the plain loop, if it is.
    """

    def __init__(self, loss: Loss, threads: int | None = None) -> None:
        self._loss, self._threads = loss, threads
        self.untraceable: str | None = None

    def __call__(self, params: Any, args: tuple[Any, ...], value: Any) -> Incremental | None:
        """Return the loss at a point at which it has this value; None if it cannot be recorded.

        The leaves of the parameters are float64 arrays.
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
            incremental = Incremental(record(self._loss, params, args), inputs, self._threads)
            recorded = float(incremental.value)
        except Exception as error:  # of a loss that has a value
            self._give_up(f"{error} ({place_of(error.__traceback__)})")
            return None
        if not abs(recorded - value) <= CLOSE * abs(value):
            self._give_up(f"it is {value}, but {recorded} where it is recorded: is it random?")
            return None
        return incremental

    def _give_up(self, reason: str) -> None:
        self.untraceable = reason
        warnings.warn(
            f"the loss cannot be recorded: {reason}; it is evaluated for each entry from now on, "
            "right but slower (incremental=False does so without this warning)",
            UntraceableWarning,
            stacklevel=5,
        )
