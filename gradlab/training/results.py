"""The results of a training: a `Step` for callbacks, a `Fit` at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gradlab import html
from gradlab.history import Epoch, History
from gradlab.params import Array


@dataclass(frozen=True)
class Step:
    """The argument of a callback after each step.

    Attributes
    ----------
    iteration : int
        The step's number, from 0.
    loss : float
        The loss of the minibatch, before the step.
    params, grads : Any
        The parameters before the step, and the gradient there. A callback must not write into
        them.
    updated : Any
        The parameters after the step; `epoch` was measured at these. A callback must not write
        into them, but may keep them, for example those of the best epoch.
    batch : tuple of array
        The minibatch.
    epoch : Epoch or None
        The record of the epoch that this step completed, if it completed one.
    state : Any
        The state of the loss after the step, if it has one.
    """

    iteration: int
    loss: float
    params: Any = field(repr=False)
    grads: Any = field(repr=False)
    batch: tuple[Array, ...] = field(repr=False)
    epoch: Epoch | None
    updated: Any = field(repr=False)
    state: Any = field(default=None, repr=False)


Callback: TypeAlias = Callable[[Step], object]
"""Called after each step; training stops if it returns a true value."""


@dataclass(frozen=True, repr=False)
class Fit:
    """The result of `fit`.

    Attributes
    ----------
    params : Any
        The trained parameters; with ``keep_best=True``, those of the epoch with the lowest
        validation loss.
    history : History
        The loss of each step and the record of each epoch.
    interrupted : bool
        Whether Ctrl-C ended the training early; `params` are then the last ones reached.
    state : Any
        The state of the loss at these parameters, if it has one.
    """

    params: Any
    history: History
    interrupted: bool = False
    state: Any = None

    def headline(self) -> str:
        """Return the result in one line."""
        return f"{'interrupted, ' * self.interrupted}{self.history.headline()}"

    def __repr__(self) -> str:
        return f"<Fit: {self.headline()}>"

    def _repr_html_(self) -> str:
        """Return the epochs as HTML for notebooks."""
        return html.table(self.headline(), *self.history.table())
