"""Warnings about a training that goes wrong: one line with the remedy, once for each problem.

`Remarks` examines numbers that a training computes anyway: the losses, and the norms of the first
step and of the last step of each epoch. It evaluates no function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from gradlab.errors import TrainingWarning, ZeroGradientWarning
from gradlab.history import History, number
from gradlab.params import Array
from gradlab.training.causes import chance, constant_inputs, constant_labels, raw_columns, unscaled
from gradlab.training.norms import Measured
from gradlab.training.vectors import Vector

MIN_LOSSES_TO_JUDGE = 10
"""Smallest number of losses after the first that can show growth, or too large a step; and of steps
in which a gradient of exactly 0 shows a dead layer."""

MIN_STEPS_TO_LEARN = 100
"""Smallest number of steps after which a training may count as learning nothing: ten epochs of
ten."""

GROWTH_FACTOR = 2.0
"""A loss has grown if each of the last losses exceeds the first one by this factor. Noise of the
minibatches cannot do this: it would have to lift ten losses in a row to twice the first."""

EXPLOSION_FACTOR = 100.0
"""The same factor for an unfinished training: momentum may double a loss for a while. Also that for
the last loss of a training of few steps."""

MAX_HARMLESS_PROMISE = 0.5
"""Largest promise, relative to the loss, of steps that cannot double it if the gradient is right.
If a quadratic h w²/2 + c grows to twice its first value, h w²/2 is at least half of it. It grows
only if η h > 2, where the promise η h² w² is more than twice the loss; this is a quarter of that.
"""

MAX_STABLE_PROMISE = 4.0
"""Largest promise of a stable step, relative to a positive loss. For a quadratic
h w²/2 and a learning rate η, the gradient promises η h² w², which is 2 η h times the loss, and
gradient descent diverges for η h > 2."""

MIN_LEARNING_PROMISE = 1e-3
"""Promise of all steps together, relative to the loss, below which a training learns nothing: the
third digit of the loss, the last one that tables show. For fewer than `MIN_STEPS_TO_LEARN` steps,
it is smaller in proportion."""

CHANCE_LEVEL_DECREASE = 0.01
"""Decrease of the loss, relative to the entropy of the labels, below which a network is at chance
level. For ten classes, this is an accuracy of about 13 %."""

MIN_WEIGHT_CHANGE = 0.01
"""Change of weights, relative to their root mean square, below which a layer has hardly changed
when the fastest leaf has changed by 1. Biases of the outputs change by about 1: this is the change
of the logits that makes a class nearly three times as probable."""

IMPLIED_REMARKS = {
    "inputs": ("zero", "chance"),
    "zero": ("vanishing", "chance", "small"),
    "vanishing": ("chance", "small"),
    "large": ("growth", "chance", "zero"),
    "growth": ("large", "chance"),
}
"""Remarks that are a consequence of another one, and omitted after it."""


@dataclass
class Remarks:
    """The remarks on a training."""

    paths: Sequence[str]  # the names of the leaves
    matrices: Sequence[bool]  # for each leaf, whether it is a layer's weights: has two axes or more
    data: Sequence[np.ndarray]  # all samples
    steps: int
    # The learning rate after a number of steps, or None if it is not known.
    rate: Callable[[int], float | None]
    # Whether steps are proportional to gradients, as those of SGD without weight decay.
    descends: bool
    _first: Measured | None = None
    _zero: list[int] | None = None
    _steps_of_zero: int = 0
    _steps_of_epoch: int = 0
    _promised: float = 0.0
    _said: set[str] = field(default_factory=set)

    def begin(self, gradient: Vector, step: Measured) -> None:
        """Check the data, and compare them with the first gradient."""
        self._first = step
        if self.paths and not any(leaf.any() for leaf in gradient.leaves):
            self._say("stationary", self._stationary(), ZeroGradientWarning)
        self._say("labels", constant_labels(self.data))
        self._say("inputs", constant_inputs(self.data))
        if self.descends and step.promise > 0:
            self._say("columns", raw_columns(self.data, gradient.leaves, self.steps))

    def watch_zeros(self, leaves: Sequence[Array], steps: int) -> None:
        """Record which leaves have had a gradient of exactly 0 in each of the last steps.

        For each leaf, `leaves` has its gradient; or any array that has entries other than 0 if the
        leaf's gradient has had some in these steps.
        """
        self._steps_of_epoch += steps
        if self._zero is None:
            self._zero, self._steps_of_zero = list(range(len(self.paths))), 0
        self._steps_of_zero += steps
        if self._zero:
            self._zero = [i for i in self._zero if leaves[i].size and not leaves[i].any()]

    def end_epoch(self, history: History, step: Measured) -> None:
        """Check an epoch by its last step."""
        count = len(history.losses)
        of_epoch, self._steps_of_epoch = self._steps_of_epoch, 0
        over = count == self.steps
        if over or self._steps_of_zero >= MIN_LOSSES_TO_JUDGE:
            self._say("zero", self._dead(len(history.epochs)))
            self._zero = None
        if self._first is not None:  # not resumed: all steps were seen
            earlier = self._promised
            self._promised += max(0.0, step.promise) * of_epoch
            self._say("vanishing", self._vanishing(step))
            self._say("large", self._too_large(history, step))
            pending = bool(self._zero) and not over  # a dead layer, which is named soon
            if over or not (earlier or pending):
                promised = self._promised if over else self._projected(count, step)
                self._say("small", self._too_small(history.losses, promised))
        self._say("growth", self._growth(history, step, over=over))
        if over:
            self._say("chance", self._at_chance(history.losses))

    def _say(self, kind: str, text: str | None, category: type[Warning] = TrainingWarning) -> None:
        if text is None or kind in self._said:
            return
        self._said |= {kind, *IMPLIED_REMARKS.get(kind, ())}
        # The caller of `fit`: _say, begin or end_epoch, _follow, fit, its decorator, the user.
        warnings.warn(text, category, stacklevel=6)

    def _stationary(self) -> str:
        more = ", ..." if len(self.paths) > 4 else ""
        return (
            f"the whole gradient ({', '.join(self.paths[:4])}{more}) is zero at the first step: "
            "either the loss does not depend on its parameters, as one that reads a network's own, "
            "or the start is a stationary point; give other starting values, or let the loss use "
            "its first argument"
        )

    def _dead(self, epoch: int) -> str | None:
        zero, steps = self._zero or [], self._steps_of_zero
        if not zero or steps < 2 or len(zero) == len(self.paths):
            return None  # all are zero at a stationary point, where a training may end
        found = (
            f"the gradient of {self._names(zero)} was exactly 0 in each of {steps} steps, up to "
            f"epoch {epoch}"
        )
        if self._first and any(self._first.gradients[i] for i in zero):
            exploded = self._exploded(self._first)
            return (
                f"{found}, and was not at first{exploded}: too large a step leaves relu units "
                f"dead; lower the learning rate{self._rate(0)}{unscaled(self.data)}"
            )
        return (
            f"{found}: the loss does not depend on these values, as in a layer whose relu units "
            "are all dead; start with other weights, scale the inputs, or take out parameters that "
            "the loss does not use"
        )

    def _vanishing(self, step: Measured) -> str | None:
        assert self._first is not None
        found = _unmoved(step, self.matrices)
        found &= _unmoved(self._first, self.matrices) if found else found
        if not found:
            return None
        largest = step.peaks  # a table of which a step touches few rows has a small norm
        slow = [
            i
            for i in sorted(found)
            if largest[i] < MIN_WEIGHT_CHANGE * _rms(step.params, step.sizes)[i] * max(largest)
        ]
        if not slow:
            return None
        fastest = int(np.argmax(_rms(step.updates, step.sizes)))
        ratio = largest[slow[0]] / max(largest)
        return (
            f"the gradient of {self._names(slow)} vanishes: a step changes {self.paths[slow[0]]} "
            f"{_times(ratio)} as much as {self.paths[fastest]}; start with Xavier's or He's "
            "weights (network.init), or take relu, batch norm, fewer layers, or optim.adam"
        )

    def _too_large(self, history: History, step: Measured) -> str | None:
        assert self._first is not None
        if len(history.losses) <= MIN_LOSSES_TO_JUDGE or min(self._first.loss, step.loss) <= 0:
            return None
        worst = max((self._first, step), key=lambda it: it.promise / it.loss)
        if worst.promise <= MAX_STABLE_PROMISE * worst.loss:
            return None
        recent = self._recent(history)
        if min(recent) <= 0 or sum(recent) / len(recent) <= self._first.loss:
            return None
        return (
            f"the learning rate{self._rate(len(history.losses))} is too large: by the gradient, a "
            f"step lowers the loss by {_times(worst.promise / worst.loss)} its value, but it rose "
            f"from {number(history.losses[0])} to {number(max(recent))}{self._exploded(worst)}; "
            f"lower the learning rate or clip the gradient{unscaled(self.data)}"
        )

    def _exploded(self, step: Measured) -> str:
        """Name the leaf that a step changed by more than its own norm."""
        changes = [
            change / size if size else 0.0
            for change, size in zip(step.updates, step.params, strict=True)
        ]
        i = int(np.argmax(changes))
        if changes[i] <= 1:
            return ""
        name, change = self.paths[i], _times(changes[i])
        return f" (the gradient explodes: a step changed {name} by {change} its norm)"

    def _growth(self, history: History, step: Measured, *, over: bool) -> str | None:
        few = len(history.losses) <= MIN_LOSSES_TO_JUDGE
        if few and (not over or len(history.losses) < 2):
            return None
        start, recent = history.losses[0], history.losses[-1:] if few else self._recent(history)
        factor = GROWTH_FACTOR if over and not few else EXPLOSION_FACTOR
        if not min(recent) > start + (factor - 1) * abs(start):
            return None
        measured = [it for it in (self._first, step) if it is not None]
        if few and not any(it.promise > MAX_STABLE_PROMISE * it.loss for it in measured):
            return None  # one minibatch may be far easier than another
        if self._followed(history.losses, step):
            return (
                f"the loss grows, from {number(start)} to {number(recent[-1])}, though the steps "
                "are small and follow the gradient: it is not the gradient of this loss, or has "
                "the wrong sign; check it with gradlab.check_gradients"
            )
        return (
            f"the loss grows, from {number(start)} to {number(recent[-1])}: lower the learning "
            f"rate{self._rate(len(history.losses))} or clip the gradient{unscaled(self.data)}"
        )

    def _followed(self, losses: Sequence[float], step: Measured) -> bool:
        """Tell whether the steps are too small to increase the loss, if the gradient is right.

        The first step and the last one are measured; between them, no loss may jump.
        """
        first = self._first
        if not self.descends or first is None or min(losses) <= 0:
            return False
        if any(later > MAX_STABLE_PROMISE * loss for loss, later in pairwise(losses)):
            return False
        return all(0 < it.promise < MAX_HARMLESS_PROMISE * it.loss for it in (first, step))

    def _at_chance(self, losses: Sequence[float]) -> str | None:
        guess = chance(self.data)
        if guess is None or len(losses) < MIN_STEPS_TO_LEARN:
            return None
        low, high, k = guess
        recent = np.array(losses[-MIN_STEPS_TO_LEARN:])
        # Twice the standard error is the error of a mean of this many minibatches.
        room = CHANCE_LEVEL_DECREASE * low
        with np.errstate(all="ignore"):  # losses whose squares overflow are not at chance
            error = 2 * float(recent.std()) / len(recent) ** 0.5
        if not (low - room <= recent.mean() <= high + room and error <= room):
            return None
        return (
            f"the loss is still that of guessing among {k} classes (ln {k} = {high:.4f}) after "
            f"{len(losses):,} steps: start with larger weights (Xavier's or He's), check that "
            "labels and inputs belong together, or raise the learning rate"
        )

    def _too_small(self, losses: Sequence[float], promised: float) -> str | None:
        nothing = MIN_LEARNING_PROMISE * min(1.0, self.steps / MIN_STEPS_TO_LEARN)
        if self.steps < MIN_LOSSES_TO_JUDGE or not 0 < promised < nothing * abs(losses[0]):
            return None
        recent = losses[-MIN_STEPS_TO_LEARN:]
        if sum(recent) / len(recent) < losses[0] - abs(losses[0]) / 2:
            return None  # it fell by half nevertheless: the last steps of the epochs were smaller
        return (
            f"all {self.steps:,} steps together lower the loss, {number(losses[0])}, by "
            f"{promised:.1g}: raise the learning rate{self._rate(len(losses))}, unless the start "
            "is a minimum already"
        )

    def _projected(self, count: int, step: Measured) -> float:
        """Return the promise of all steps if each were as large as the last one; inf if unknown.

        If the learning rate grows, later steps count in proportion.
        """
        assert self._first is not None
        now = self.rate(count - 1)
        if not now:
            return np.inf
        later = np.linspace(0, self.steps - 1, min(self.steps, MIN_STEPS_TO_LEARN)).astype(int)
        highest = max(self.rate(int(i)) or 0.0 for i in later)
        return self.steps * max(self._first.promise, step.promise) * max(1.0, highest / now)

    def _recent(self, history: History) -> list[float]:
        """Return the losses of the last epoch, at least ten, without the first of the training."""
        count = len(history.losses)
        an_epoch = -(-count // max(1, len(history.epochs)))
        return history.losses[-min(count - 1, max(MIN_LOSSES_TO_JUDGE, an_epoch)) :]

    def _names(self, leaves: Sequence[int]) -> str:
        more = f" and {len(leaves) - 4} others" if len(leaves) > 4 else ""
        return ", ".join(self.paths[i] for i in leaves[:4]) + more

    def _rate(self, count: int) -> str:
        rate = self.rate(max(0, count - 1))
        return "" if rate is None else f" ({rate:g})"


def _times(ratio: float) -> str:
    """Format a ratio.

    Examples
    --------
    >>> _times(1234.5), _times(1.25e-5), _times(2.5e6)
    ('1,234 times', '1e-05 times', '2e+06 times')
    """
    return f"{ratio:,.0f} times" if 10 <= ratio < 1e6 else f"{ratio:.1g} times"


def _rms(norms: Sequence[float], sizes: Sequence[int]) -> list[float]:
    return [value / max(1, size) ** 0.5 for value, size in zip(norms, sizes, strict=True)]


def _unmoved(step: Measured, matrices: Sequence[bool]) -> set[int]:
    """Return the weights that hardly change in a step, compared with the fastest leaf.

    Leaves of zeros have no scale to compare with, and gradients of exactly 0 do not count as small.
    """
    updates, params = _rms(step.updates, step.sizes), _rms(step.params, step.sizes)
    limit = MIN_WEIGHT_CHANGE * max(updates, default=0.0)
    return {
        i
        for i, update in enumerate(updates)
        if matrices[i] and step.gradients[i] > 0 and update < limit * params[i]
    }
