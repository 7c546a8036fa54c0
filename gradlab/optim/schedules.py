"""Learning rates that change from step to step.

A schedule is a function ``rate(count)``: the learning rate of the step that has `count` steps
before it. Any function of this form is a schedule, optax's included. The ones here are frozen
dataclasses, so that a checkpoint can identify them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from gradlab import options
from gradlab.errors import OptionError

Rate: TypeAlias = float | Callable[[int], Any]
"""A learning rate, or a schedule."""


def constant(learning_rate: float) -> Constant:
    """Return a schedule that has the same learning rate at each step.

    Raises
    ------
    OptionError
        If the rate is not a positive number.

    Examples
    --------
    >>> constant(0.1)(1000)
    0.1
    """
    return Constant(options.number("learning_rate", learning_rate))


def step(learning_rate: float, every: int, factor: float = 0.1) -> StepDecay:
    """Return a schedule that multiplies the learning rate by `factor` after each `every` steps.

    At step t it is ``learning_rate * factor ** (t // every)``: PyTorch's ``StepLR``, with steps
    instead of epochs.

    Raises
    ------
    OptionError
        If a number is not positive, or `factor` is above 1.

    Examples
    --------
    >>> halved = step(0.4, every=100, factor=0.5)
    >>> [halved(t) for t in (0, 99, 100, 200)]
    [0.4, 0.4, 0.2, 0.1]
    """
    return StepDecay(
        options.number("learning_rate", learning_rate),
        options.integer("every", every),
        options.number(
            "factor", factor, "give a number above 0, up to 1", fits=lambda value: 0 < value <= 1
        ),
    )


def cosine(learning_rate: float, steps: int, end: float = 0.0) -> Cosine:
    """Return a schedule that falls from `learning_rate` to `end` along half a cosine.

    At step t it is ``end + (learning_rate - end) * (1 + cos(pi * t / steps)) / 2``, and `end` from
    step `steps` on (Loshchilov and Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*,
    2017, equation 5, without restarts).

    Raises
    ------
    OptionError
        If the rate or the number of steps is not positive, or `end` is negative.

    Examples
    --------
    >>> falling = cosine(0.2, steps=100)
    >>> [round(falling(t), 6) for t in (0, 50, 100, 150)]
    [0.2, 0.1, 0.0, 0.0]
    """
    return Cosine(
        options.number("learning_rate", learning_rate),
        options.integer("steps", steps),
        options.number("end", end, "give 0 or a positive number", fits=lambda value: value >= 0),
    )


def warmup(rate: Rate, steps: int) -> Warmup:
    """Return a schedule whose learning rate grows linearly for `steps` steps, then follows `rate`.

    At step t < steps it is ``rate(0) * (t + 1) / (steps + 1)``, then ``rate(t - steps)``: no step
    has the rate 0 (Goyal et al., *Accurate, Large Minibatch SGD*, 2017, section 2.2).

    Parameters
    ----------
    rate : float or callable
        A learning rate, or a schedule.
    steps : int
        The number of steps below the full rate.

    Raises
    ------
    OptionError
        If the rate or the number of steps is not positive.

    Examples
    --------
    >>> rising = warmup(0.4, steps=3)
    >>> [round(rising(t), 6) for t in range(5)]
    [0.1, 0.2, 0.3, 0.4, 0.4]
    """
    return Warmup(checked(rate), options.integer("steps", steps))


@dataclass(frozen=True)
class Constant:
    """See `constant`."""

    learning_rate: float

    def __call__(self, count: int) -> float:
        """Return the learning rate after `count` steps."""
        return self.learning_rate


@dataclass(frozen=True)
class StepDecay:
    """See `step`."""

    learning_rate: float
    every: int
    factor: float

    def __call__(self, count: int) -> float:
        """Return the learning rate after `count` steps."""
        return float(self.learning_rate * self.factor ** (count // self.every))


@dataclass(frozen=True)
class Cosine:
    """See `cosine`."""

    learning_rate: float
    steps: int
    end: float

    def __call__(self, count: int) -> float:
        """Return the learning rate after `count` steps."""
        share = (1 + math.cos(math.pi * min(count, self.steps) / self.steps)) / 2
        return self.end + (self.learning_rate - self.end) * share


@dataclass(frozen=True)
class Warmup:
    """See `warmup`."""

    rate: Rate
    steps: int

    def __call__(self, count: int) -> float:
        """Return the learning rate after `count` steps."""
        if count < self.steps:
            return rate_at(self.rate, 0) * (count + 1) / (self.steps + 1)
        return rate_at(self.rate, count - self.steps)


def checked(rate: Any) -> Rate:
    """Return a learning rate or a schedule; raise an OptionError for anything else."""
    if callable(rate):
        return rate  # type: ignore[no-any-return]
    return options.number("learning_rate", rate, "give a positive number, or a schedule")


def rate_at(rate: Rate, count: int) -> float:
    """Return the learning rate of the step that has `count` steps before it.

    Raise an OptionError if a schedule does not return a finite number from 0.

    Examples
    --------
    >>> rate_at(0.1, 5), rate_at(lambda count: 1 / (1 + count), 3)
    (0.1, 0.25)
    """
    if not callable(rate):
        return rate
    found = rate(count)
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise OptionError(
            f"the schedule of the learning rate returned {found!r} at step {count}: "
            "return a finite number from 0"
        )
    return value
