"""The record of a training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from gradlab import html

COINCIDENCE_TOLERANCE = 1e-3
"""Distance, relative to their range, below which two loss curves coincide on a plot."""


@dataclass(frozen=True)
class Epoch:
    """The results of one epoch.

    Attributes
    ----------
    epoch : int
        Its number, from 1.
    loss : float
        The mean loss of its minibatches, each taken before its step.
    validation_loss, accuracy : float or None
        At the end of the epoch, on the validation data; without these, the accuracy is on the
        training data. None if not requested.
    seconds : float
        Time for its steps, without validation.
    gradient_norms, update_norms : tuple of float
        In its last step, the norm of each leaf's gradient, and of its change; see
        `History.leaves`.
    """

    epoch: int
    loss: float
    validation_loss: float | None
    accuracy: float | None
    seconds: float
    gradient_norms: tuple[float, ...] = ()
    update_norms: tuple[float, ...] = ()


@dataclass(repr=False)
class History:
    """The record of a training: losses, epochs and times.

    Attributes
    ----------
    losses : list of float
        The loss of each step's minibatch, before the step.
    epochs : list of Epoch
        One record per epoch.
    leaves : list of str
        The names of the parameters' leaves, in the order of the norms of an epoch.
    """

    losses: list[float] = field(default_factory=list)
    epochs: list[Epoch] = field(default_factory=list)
    leaves: list[str] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Time for all recorded epochs, without validation."""
        return sum(epoch.seconds for epoch in self.epochs)

    def table(self, validation: str = "validation") -> tuple[list[str], list[list[str]]]:
        """Return the epochs as text: column names and rows.

        Parameters
        ----------
        validation : str
            The name of the validation data in the column titles.

        Examples
        --------
        >>> History([2.3, 1.9], [Epoch(1, 2.1, None, 0.25, 0.125)]).table()
        (['epoch', 'loss', 'accuracy', 'seconds'], [['1', '2.1000', '25.00%', '0.125']])
        """
        validated = any(epoch.validation_loss is not None for epoch in self.epochs)
        on = f"{validation} " * validated
        columns: dict[str, Callable[[Epoch], str]] = {
            "epoch": lambda epoch: str(epoch.epoch),
            "loss": lambda epoch: number(epoch.loss),
            f"{validation} loss": lambda epoch: number(epoch.validation_loss),
            f"{on}accuracy": lambda epoch: percent(epoch.accuracy),
            "seconds": lambda epoch: f"{epoch.seconds:.3f}",
        }
        cells = {name: [show(epoch) for epoch in self.epochs] for name, show in columns.items()}
        told = {name: column for name, column in cells.items() if any(column)}
        return list(told), [list(row) for row in zip(*told.values(), strict=True)]

    def headline(self) -> str:
        """Return a one-line summary.

        Examples
        --------
        >>> History([2.3, 1.9], [Epoch(1, 2.1, None, None, 0.125)]).headline()
        '2 iterations, 1 epoch, loss 2.3000 to 1.9000, 0.12 s'
        """
        if not self.losses:
            return "nothing yet"
        taken = f"{count(len(self.losses), 'iteration')}, {count(len(self.epochs), 'epoch')}"
        way = f"loss {number(self.losses[0])} to {number(self.losses[-1])}"
        return f"{taken}, {way}, {self.seconds:.2g} s"

    def __repr__(self) -> str:
        return f"<History: {self.headline()}>"

    def _repr_html_(self) -> str:
        """Return the epochs as an HTML table."""
        return html.table(self.headline(), *self.table())


def coincide(losses: Sequence[float], others: Sequence[float]) -> bool:
    """Tell whether two loss curves of the same length coincide on a plot that shows all of both.

    Examples
    --------
    >>> coincide([2.0, 1.0], [2.0, 1.0001]), coincide([2.0, 1.0], [2.0, 1.1]), coincide([], [])
    (True, False, False)
    """
    if not len(losses) == len(others) > 0:
        return False
    a, b = np.array(losses), np.array(others)
    with np.errstate(over="ignore"):  # a range beyond floating point is wider than all differences
        return bool(
            np.max(np.abs(a - b)) <= COINCIDENCE_TOLERANCE * (np.ptp(b) or np.max(np.abs(b)))
        )


def number(value: float | None) -> str:
    """Format a loss; None gives an empty string.

    Examples
    --------
    >>> number(2.30258509), number(1.5e9), number(None)
    ('2.3026', '1.500e+09', '')
    """
    return "" if value is None else f"{value:.4f}" if abs(value) < 1e6 else f"{value:.3e}"


def times(factor: float) -> str:
    """Format a factor with at least two digits.

    Examples
    --------
    >>> times(0.0412), times(2.52), times(1234.5)
    ('0.041', '2.5', '1,234')
    """
    if factor < 1:
        return f"{factor:.2g}"
    return f"{factor:,.1f}" if factor < 9.95 else f"{factor:,.0f}"


def percent(share: float | None) -> str:
    """Format a share in percent; None gives an empty string."""
    return "" if share is None else f"{share:.2%}"


def count(n: int, what: str) -> str:
    """Format a count with its noun.

    Examples
    --------
    >>> count(1, "epoch"), count(1200, "epoch")
    ('1 epoch', '1,200 epochs')
    """
    return f"{n:,} {what}{'' if n == 1 else 's'}"
