"""Many steps in one native call, where machine code computes the gradient.

A step of `fit` costs some 50 µs beside its gradient: the minibatch is gathered, the parameters are
updated, and all is checked, by calls of NumPy. `ManySteps` leaves that to machine code
(`gradients.tape.compiled.steps`), in the arrays of the loop and with the same bits. It does so for
the steps whose gradient is not to be compared with eager autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradlab.gradients.tape import TapedGradient
from gradlab.gradients.tape.compiled import Steps, UnsupportedError, compile_steps
from gradlab.gradients.tape.recorded import Replayable
from gradlab.optim import Optimiser
from gradlab.optim.rules import SGD, Adagrad, Adam, RMSProp
from gradlab.params import Array
from gradlab.training.foreign import UpdateStep
from gradlab.training.gradients import WrittenGradient
from gradlab.training.optimisers import BlockUpdate
from gradlab.training.vectors import Vector

ENTRYWISE_OPTIMISERS = (SGD, Adagrad, RMSProp, Adam)
"""Optimisers that update each entry separately."""


class ManySteps:
    """Takes steps by machine code; `of` creates it if that is possible.

    `two` has the parameters at even steps and those at odd steps, `carried` the optimiser's state,
    and `pairs` all rows of the data and the arrays of a minibatch, for each array.
    """

    def __init__(
        self,
        gradient_at: WrittenGradient,
        optimiser: Optimiser,
        two: tuple[Vector, Vector],
        carried: Sequence[Vector],
        pairs: Sequence[tuple[Array, Array]],
    ) -> None:
        self._gradient_at, self._optimiser = gradient_at, optimiser
        self._two, self._carried, self._pairs = two, carried, pairs
        self._is_known = True
        self._steps: Steps | None = None
        self._tape: Replayable | None = None
        self._arrays: list[tuple[Any, ...]] = []
        is_constant = type(optimiser) is not Adam and not callable(optimiser.learning_rate)
        self._constant = self._rule(0) if is_constant else None

    @classmethod
    def of(
        cls,
        gradient_at: Any,
        update: UpdateStep,
        two: tuple[Vector, Vector],
        carried: Sequence[Vector],
        pairs: Sequence[tuple[Array, Array]],
    ) -> ManySteps | None:
        """Return the object that takes these steps; None if they must be single steps."""
        if not (isinstance(gradient_at, WrittenGradient) and isinstance(update, BlockUpdate)):
            return None
        rule = update.optimiser
        knows = (
            isinstance(gradient_at.run, TapedGradient)
            and type(rule) in ENTRYWISE_OPTIMISERS
            and rule.clip is None
            and len(two[0].blocks) == 1
            and len(pairs) > 0
            and all(rows[0].flags.c_contiguous for pair in pairs for rows in pair)
        )
        return cls(gradient_at, rule, two, carried, pairs) if knows else None

    def ahead(self, params: Any) -> int:
        """Return how many steps can be taken before a gradient is compared, or 0."""
        if not self._is_known:
            return 0
        batch = tuple(some for _, some in self._pairs)
        found = self._gradient_at.run.ahead(params, batch)
        if found is None:
            return 0
        calls: int
        self._tape, calls = found
        if self._steps is None:
            vectors = *self._two, self._gradient_at.gradient, *self._carried
            leaves = [*zip(*(vector.leaves for vector in vectors), strict=True)]
            try:
                self._steps = compile_steps(self._constant or self._rule(0), self._pairs, leaves)
            except UnsupportedError:
                self._is_known = False
                return 0
            outs = self._gradient_at.gradient.leaves
            self._arrays = [(*vector.leaves, *batch, *outs) for vector in self._two]
        return calls

    def take(self, point: Vector, rows: Sequence[Array], count: int) -> tuple[list[float], Array]:
        """Take a step for each minibatch, after `count` steps before.

        Returns the losses, of fewer steps if numbers are not finite; and for each leaf, whether its
        gradients had an entry other than 0.
        """
        assert self._steps is not None
        assert self._tape is not None
        self._steps.seen[:] = 0
        rules = [self._constant or self._rule(count + i) for i in range(len(rows))]
        first = int(point is self._two[1])
        with self._tape.machine() as replay:
            if replay is None:  # another thread has found it to be wrong
                return [], self._steps.seen[:, None]
            every = np.concatenate(rows, dtype=np.int64)
            losses = self._steps.take(replay, self._arrays, every, rules, first=first)
        self._gradient_at.run.count(self._tape, len(losses))
        return losses, self._steps.seen[:, None]

    @property
    def gradient(self) -> Vector:
        """The gradient of the last step."""
        return self._gradient_at.gradient

    def _rule(self, count: int) -> Callable[..., None]:
        """Return the update of one array after `count` steps, as `BlockUpdate` computes it."""
        write = self._optimiser.write

        def rule(p: Any, g: Any, old: Any, new: Any, out: Any, spare: Any) -> None:
            write(count, [p], [g], [[s] for s in old], [[s] for s in new], [out], [spare])
            np.add(p, out, out=out)

        return rule
