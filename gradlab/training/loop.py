"""The steps of a training: its state, and how a step changes it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.checkpoints import State
from gradlab.errors import DivergenceError, NonFiniteError
from gradlab.gradients import Backend, Loss
from gradlab.history import Epoch, History
from gradlab.params import Array, Structure, flatten, floating
from gradlab.training.data import Accuracy, Data, evaluate, quiet
from gradlab.training.gradients import gradients, warn_of_zeros
from gradlab.training.optimisers import UpdateStep, lower
from gradlab.training.vectors import Vector


def own(params: Any) -> tuple[list[Array], Structure]:
    """Return copies of the leaves in floating point, and the structure."""
    leaves, structure = flatten(params)
    return [np.array(floating(leaf)) for leaf in leaves], structure


def start_of(leaves: list[Array], update: UpdateStep, rng: np.random.Generator) -> State:
    """Return the first state of a training of these parameters."""
    carried = _leaves(update.init(Vector.of(leaves)))
    return State(leaves, carried, rng.bit_generator.state, History())


@dataclass(frozen=True)
class Validation:
    """The functions evaluated at the end of each epoch.

    Attributes
    ----------
    loss : callable
        Evaluated on the validation data, if there are any.
    accuracy : callable or None
        Evaluated on the validation data, or on the training data without them.
    data, validation : sequence of ndarray
        The training data, and the validation data or None.
    """

    loss: Loss
    accuracy: Accuracy | None
    data: Data
    validation: Data | None

    def validation_loss(self, params: Any) -> float | None:
        """Return the loss on the validation data."""
        if self.validation is None:
            return None
        return evaluate(self.loss, params, self.validation, "the validation loss")

    def accuracy_at(self, params: Any) -> float | None:
        """Return the accuracy."""
        if self.accuracy is None:
            return None
        return evaluate(self.accuracy, params, self.validation or self.data, "the accuracy")


class Descent:
    """The state of a training between two steps.

    The parameters and the optimiser's state have two sets of arrays each. A step reads one set and
    writes the other one, so that the parameters before the step stay whole until the next step: a
    checkpoint, an error or Ctrl-C may need them.

    Parameters
    ----------
    loss, backend, update
        The function to minimise, the source of its gradient, and the update step.
    state : State
        The state to start from.
    structure : Structure
        The structure of the parameters.
    reuse : bool
        Whether the same arrays serve all steps. A callback may keep the arrays that it gets; each
        step then needs new ones.
    keep_state : bool
        Whether the optimiser's state before a step has to stay whole, too.

    Attributes
    ----------
    params, last_good : Any
        The parameters, and the last ones whose loss and gradient were finite.
    point : Vector
        The leaves of `params`.
    history : History
        The losses and epochs until now.
    """

    def __init__(
        self,
        loss: Loss,
        backend: str | Backend,
        update: UpdateStep,
        state: State,
        structure: Structure,
        *,
        reuse: bool,
        keep_state: bool,
    ) -> None:
        self._update, self._structure = update, structure
        self.history, self._seconds = state.history, state.seconds
        self.point = Vector.of(state.params)
        self._spare = self.point.another() if reuse else None
        self._carried = update.init(self.point)
        for mine, leaf in zip(_leaves(self._carried), state.carried, strict=True):
            mine[...] = leaf
        self._other = [v.another() for v in self._carried] if keep_state else self._carried
        self._gradient_at = gradients(loss, backend, (self.point, structure) if reuse else None)
        self.params = self.last_good = structure.unflatten(self.point.leaves)

    def step(self, batch: tuple[Array, ...]) -> tuple[float, Vector]:
        """Take a step, and return the loss of the batch and its gradient before the step.

        Raises
        ------
        NonFiniteError
            If the loss, the gradient or a parameter after the step is not finite.
        """
        started = time.perf_counter()
        with quiet():
            value, gradient = self._gradient_at(self.params, *batch)
            if not self.history.losses:
                warn_of_zeros(gradient, self._structure, stacklevel=4)  # who called `fit`
            self.last_good = self.params
            self.history.losses.append(value)
            self._advance(gradient)
            if not self.point.is_finite():
                flatten(self.params)  # raises an error that names the entry
        self._seconds += time.perf_counter() - started
        return value, gradient

    def _advance(self, gradient: Vector) -> None:
        fresh = self._spare or self.point.another()
        count = len(self.history.losses) - 1
        self._update.update(count, self.point, self._carried, gradient, fresh, self._other)
        self.point, self._spare = fresh, self._spare and self.point
        self._carried, self._other = self._other, self._carried
        self.params = self._structure.unflatten(self.point.leaves)

    def end_epoch(self, sizes: list[int], watch: Validation) -> Epoch:
        """Record an epoch that had minibatches of these sizes, and return the record."""
        record = Epoch(
            epoch=len(self.history.epochs) + 1,
            loss=float(np.average(self.history.losses[-len(sizes) :], weights=sizes)),
            validation_loss=watch.validation_loss(self.params),
            accuracy=watch.accuracy_at(self.params),
            seconds=self._seconds,
        )
        self.history.epochs.append(record)
        self._seconds = 0.0
        return record

    def state(self, epoch_start: Mapping[str, Any]) -> State:
        """Return the state of the training, in an epoch that began with this generator's state."""
        counts = len(self.history.losses), len(self.history.epochs)
        carried = _leaves(self._carried)
        return State(self.point.leaves, carried, epoch_start, self.history, *counts, self._seconds)

    def diverged(self, error: NonFiniteError) -> DivergenceError:
        """Return the error of a training whose loss, gradient or parameters are not finite."""
        iteration = len(self.history.losses)
        rate = self._update.rate(max(0, iteration - 1))
        advice = (
            f"lower the learning rate{'' if rate is None else f', {rate:g}, to {lower(rate)}'}"
            if iteration
            else "it is so before the first step: scale the data or the starting parameters, "
            "or write the loss so that it does not overflow"
        )
        return DivergenceError(
            f"training diverged at iteration {iteration}: {error}; {advice}",
            iteration=iteration,
            params=self.last_good,
            history=self.history,
        )


def _leaves(vectors: list[Vector]) -> list[Array]:
    return [leaf for vector in vectors for leaf in vector.leaves]
