"""When a training ends early, and which epoch's parameters it returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gradlab import options
from gradlab.errors import OptionError
from gradlab.history import History


@dataclass(frozen=True)
class Stopping:
    """Decisions by the validation loss of each epoch."""

    # The number of epochs without a new lowest validation loss after which a training ends.
    patience: int | None
    keep_best: bool  # whether the result is that of the epoch with the lowest validation loss

    @classmethod
    def of(cls, patience: Any, keep_best: Any, validation: Any) -> Stopping:
        """Return the decisions for these options of `fit`.

        Raise an OptionError if one is out of range, or if there are no validation data.
        """
        if patience is not None:
            patience = options.integer("patience", patience)
        if not isinstance(keep_best, bool):
            raise options.refusal("keep_best", keep_best, "give True or False")
        if validation is None and (keep_best or patience is not None):
            name = "keep_best=True" if keep_best else f"patience={patience}"
            raise OptionError(f"{name}: give validation data, whose loss decides which is best")
        return cls(patience, keep_best)

    def is_over(self, history: History) -> bool:
        """Tell whether the training has ended.

        Examples
        --------
        >>> from gradlab.history import Epoch
        >>> losses = [3.0, 1.0, 2.0, 1.0]
        >>> history = History([], [Epoch(i, 0.0, loss, None, 0.0) for i, loss in enumerate(losses)])
        >>> best(history), Stopping(2, False).is_over(history), Stopping(3, False).is_over(history)
        (1, True, False)
        """
        if self.patience is None or not history.epochs:
            return False
        return len(history.epochs) - 1 - best(history) >= self.patience


def best(history: History) -> int:
    """Return the position of the first epoch that has the lowest validation loss."""
    losses = [epoch.validation_loss for epoch in history.epochs]
    return losses.index(min(loss for loss in losses if loss is not None))
