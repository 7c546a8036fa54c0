"""Short trainings with learning rates around that of a training.

This is the range test of Smith (*Cyclical Learning Rates for Training Neural Networks*, 2017,
section 3.3), with a separate training for each rate instead of one whose rate grows. Each starts
from the same parameters and sees the same minibatches, so that earlier rates have no effect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RATE_RATIO = math.sqrt(10)
"""Ratio of neighbouring rates. For gradient descent on a quadratic, the steps to a given loss are
proportional to 1/rate, so that the best rate of the sweep is within a factor of 2 of the best."""

MAX_RATES_PER_SIDE = 20
"""Largest number of rates above and below the first one: ten powers of ten each."""

MIN_DECREASE_SHARE = 0.1
"""Decrease of the loss, relative to that of the best rate, below which no smaller rate is tried."""


@dataclass(frozen=True)
class Trained:
    """A short training with one learning rate.

    Attributes
    ----------
    rate : float
        The learning rate.
    loss : float
        The loss at its end; infinite if it diverged.
    """

    rate: float
    loss: float


def sweep(train: Callable[[float], float], rate: float, start: float) -> tuple[Trained, ...]:
    """Try learning rates above and below one, until others cannot be better.

    Upwards, that is after two rates in a row that end above the start, or diverge; downwards, after
    two in a row with little progress. ``train(rate)`` is the loss that a learning rate reaches,
    infinite if the training diverges; `start` is the loss before any step.

    Examples
    --------
    >>> found = sweep(lambda rate: (1 - 2 * rate) ** 20 if rate < 1 else math.inf, 0.1, 1.0)
    >>> [round(trained.rate, 4) for trained in found]
    [0.0003, 0.001, 0.0032, 0.01, 0.0316, 0.1, 0.3162, 1.0, 3.1623]
    """
    found = [Trained(rate, train(rate))]

    def explore(factor: float, fails: Callable[[float], bool]) -> None:
        failed = int(fails(found[0].loss))
        for power in range(1, MAX_RATES_PER_SIDE + 1):
            found.append(Trained(rate * factor**power, train(rate * factor**power)))
            failed = failed + 1 if fails(found[-1].loss) else 0
            if failed == 2:
                return

    explore(RATE_RATIO, lambda loss: loss > start)
    explore(1 / RATE_RATIO, lambda loss: _is_little(best(found).loss, loss, start))
    return tuple(sorted(found, key=lambda trained: trained.rate))


def _is_little(lowest: float, loss: float, start: float) -> bool:
    """Tell whether a fall is small relative to the best one, if there is one."""
    return lowest < start and start - loss < MIN_DECREASE_SHARE * (start - lowest)


def best(found: Sequence[Trained]) -> Trained:
    """Return the training with the lowest loss; of several, that with the smallest rate."""
    return min(found, key=lambda trained: (trained.loss, trained.rate))
