"""What happened while training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Epoch:
    """What one pass over the data came to.

    Attributes
    ----------
    epoch : int
        Its number, from 1.
    loss : float
        The mean loss of its minibatches, each taken before its step.
    validation_loss, accuracy : float or None
        At its end, on the validation data; the accuracy on the training data where there are
        none. None where they were not asked for.
    seconds : float
        What its steps took, the validation left out.
    """

    epoch: int
    loss: float
    validation_loss: float | None
    accuracy: float | None
    seconds: float


@dataclass
class History:
    """What happened while training.

    Attributes
    ----------
    losses : list of float
        The loss of each step's minibatch, before the step.
    epochs : list of Epoch
        One record a pass over the data.
    """

    losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """What all recorded epochs took, the validation left out."""
        return sum(epoch.seconds for epoch in self.epochs)
