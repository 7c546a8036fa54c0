"""The steps of a training: its state, and how a step changes it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from gradlab import interrupts, options
from gradlab.checkpoints import State
from gradlab.errors import DivergenceError, NonFiniteError, OptionError
from gradlab.gradients import Backend, Loss
from gradlab.history import Epoch, History
from gradlab.params import Array, Structure, flatten, floating, map_leaves
from gradlab.training.data import Accuracy, Data, check_data, evaluate, quiet
from gradlab.training.foreign import UpdateStep
from gradlab.training.gradients import gradients
from gradlab.training.many import ManySteps
from gradlab.training.norms import Measured, measured, room_for
from gradlab.training.optimisers import lower
from gradlab.training.results import Step
from gradlab.training.schedule import Batches
from gradlab.training.stateful import Auxiliary, evaluated_by, value_of
from gradlab.training.stopping import best
from gradlab.training.vectors import Vector


def own_copies(params: Any) -> tuple[list[Array], Structure]:
    """Return copies of the leaves in floating point, and the structure."""
    leaves, structure = flatten(params)
    return [np.array(floating(leaf)) for leaf in leaves], structure


def start_of(
    leaves: list[Array],
    update: UpdateStep,
    rng: np.random.Generator,
    auxiliary: Auxiliary | None,
    *,
    keep_best: bool,
) -> State:
    """Return the first state of a training of these parameters."""
    of_loss = auxiliary.leaves if auxiliary else []
    of_best = [*leaves, *of_loss] if keep_best else []
    carried = [*_leaves(update.init(Vector.of(leaves))), *of_loss, *of_best]
    return State(leaves, carried, rng.bit_generator.state, History())


@dataclass(frozen=True)
class Validation:
    """The functions evaluated at the end of each epoch."""

    loss: Loss  # evaluated on the validation data, if there are any
    # Evaluated on the validation data, or on the training data without them.
    accuracy: Accuracy | None
    # The training data, and the validation data or None.
    data: Data
    validation: Data | None

    @classmethod
    def of(cls, loss: Loss, accuracy: Any, data: Any, validation: Any) -> Validation:
        """Return the evaluations for these options of `fit`.

        Raise an OptionError or a DataError if the accuracy is not a function, or the data cannot be
        used.
        """
        if accuracy is not None:
            options.function("accuracy", accuracy, "give a function of (params, *data)")
        if validation is not None:
            if data is None:
                raise OptionError("validation: there are no data to train on; give both or neither")
            validation = check_data(validation, "validation data")
        return cls(loss, accuracy, () if data is None else check_data(data), validation)

    def validation_loss(self, params: Any, auxiliary: Auxiliary | None = None) -> float | None:
        """Return the loss on the validation data."""
        if self.validation is None:
            return None
        loss = evaluated_by(self.loss, auxiliary.state) if auxiliary else self.loss
        return evaluate(loss, params, self.validation, "the validation loss")

    def accuracy_at(self, params: Any, auxiliary: Auxiliary | None = None) -> float | None:
        """Return the accuracy."""
        if self.accuracy is None:
            return None
        accuracy = partial(self.accuracy, state=auxiliary.state) if auxiliary else self.accuracy
        return evaluate(accuracy, params, self.validation or self.data, "the accuracy")


class Descent:
    """The state of a training between two steps.

    The parameters and the optimiser's state have two sets of arrays each. A step reads one set and
    writes the other one, so that the parameters before the step stay intact until the next step: a
    checkpoint, an error or Ctrl-C may need them.

    If the arrays of the batches are reused, so are those of the parameters and the gradient: the
    same ones serve all steps. A callback may keep the arrays that it gets; each step then needs new
    ones. With `keep_state`, the optimiser's state before a step stays intact, too. `last_good` has
    the last parameters whose loss and gradient were finite.
    """

    def __init__(
        self,
        loss: Loss,
        backend: str | Backend,
        update: UpdateStep,
        state: State,
        structure: Structure,
        *,
        batches: Batches,
        keep_state: bool,
        auxiliary: Auxiliary | None,
        keep_best: bool,
    ) -> None:
        self._update, self._structure = update, structure
        self.history, self._seconds = state.history, state.seconds
        self.history.leaves = list(structure.paths)
        self.point, reuse = Vector.of(state.params), batches.reuse
        self._spare = self.point.another() if reuse else None
        self._carried = update.init(self.point)
        mine, rest = _leaves(self._carried), iter(state.carried)
        for array, leaf in zip(mine, islice(rest, len(mine)), strict=True):
            array[...] = leaf
        self._loss, self._auxiliary = loss, auxiliary
        if auxiliary:
            auxiliary.leaves = list(islice(rest, len(auxiliary.leaves)))
        self._best = [*rest] if keep_best else None
        self._other = [v.another() for v in self._carried] if keep_state else self._carried
        like = (self.point, structure) if reuse else None
        self._gradient_at = gradients(value_of(loss) if auxiliary else loss, backend, like)
        self.params = self.last_good = structure.unflatten(self.point.leaves)
        self._before, self._room = self.point, room_for(self.point.leaves)
        self._many = None
        if self._spare and not keep_state and not auxiliary:
            two = self.point, self._spare
            many = self._gradient_at, update, two, self._carried, batches.pairs
            self._many = ManySteps.of(*many)

    def step(self, batch: tuple[Array, ...]) -> tuple[float, Vector]:
        """Take a step, and return the loss of the batch and its gradient before the step.

        Raise a NonFiniteError if the loss, the gradient or a parameter after the step is not
        finite.
        """
        started = time.perf_counter()
        with quiet():
            given, after = self._arguments(batch)
            value, gradient = self._gradient_at(self.params, *given)
            self.last_good = self.params
            self.history.losses.append(value)
            self._advance(gradient)
            if self._auxiliary:
                self._auxiliary.leaves = after
            if not self.point.is_finite():
                flatten(self.params)  # raises an error that names the entry
        self._seconds += time.perf_counter() - started
        return value, gradient

    def steps_at_once(self) -> int:
        """Return how many of the next steps machine code can take in one call, or 0."""
        return self._many.ahead(self.params) if self._many else 0

    def take_steps(self, rows: Sequence[Array]) -> tuple[float, Vector, list[Array], int]:
        """Take steps by machine code, at most one for each minibatch.

        Return the last loss and gradient; for each leaf an array that is not 0 if one of its
        gradients had an entry that is not; and the number of steps, which ends before one whose
        numbers are not finite. Raise a NonFiniteError if a parameter after the last is not finite.
        """
        many = self._many
        assert many is not None
        assert self._spare is not None
        started = time.perf_counter()
        with interrupts.held(), quiet():  # until what has changed is noted
            losses, seen = many.take(self.point, rows, len(self.history.losses))
            if len(losses) % 2:
                self.point, self._spare = self._spare, self.point
            if losses:
                self._before = self._spare
                self.params = self._structure.unflatten(self.point.leaves)
                self.last_good = self._structure.unflatten(self._before.leaves)
            else:
                self._many = None
            self.history.losses.extend(losses)
            if not self.point.is_finite():
                flatten(self.params)  # raises an error that names the entry
        self._seconds += time.perf_counter() - started
        return losses[-1] if losses else 0.0, many.gradient, [*seen], len(losses)

    def _arguments(self, batch: tuple[Array, ...]) -> tuple[tuple[Any, ...], list[Array]]:
        """Return the gradient's arguments after the parameters, and the loss's new state."""
        if self._auxiliary is None:
            return batch, []
        count = len(self.history.losses)
        given, after = self._auxiliary.evaluate(self._loss, self.params, batch, count)
        return (*batch, *given), after

    def _advance(self, gradient: Vector) -> None:
        fresh = self._spare or self.point.another()
        count = len(self.history.losses) - 1
        self._update.update(count, self.point, self._carried, gradient, fresh, self._other)
        self._before = self.point
        self.point, self._spare = fresh, self._spare and self.point
        self._carried, self._other = self._other, self._carried
        self.params = self._structure.unflatten(self.point.leaves)

    def measure(self, gradient: Vector) -> Measured:
        """Return the norms of the last step, which had this gradient."""
        value = self.history.losses[-1]
        return measured(value, gradient, self._before, self.point, self._room)

    def describe(
        self, value: float, gradient: Vector, batch: tuple[Array, ...], record: Epoch | None
    ) -> Step:
        """Return what callbacks get after a step."""
        return Step(
            iteration=len(self.history.losses) - 1,
            loss=value,
            params=self.last_good,
            grads=self._structure.unflatten(gradient.leaves),
            batch=batch,
            epoch=record,
            updated=self.params,
            state=self._auxiliary and self._auxiliary.state,
        )

    def end_epoch(self, sizes: list[int], watch: Validation, step: Measured) -> Epoch:
        """Record an epoch that had minibatches of these sizes and this last step; return it."""
        record = Epoch(
            epoch=len(self.history.epochs) + 1,
            loss=float(np.average(self.history.losses[-len(sizes) :], weights=sizes)),
            validation_loss=watch.validation_loss(self.params, self._auxiliary),
            accuracy=watch.accuracy_at(self.params, self._auxiliary),
            seconds=self._seconds,
            gradient_norms=tuple(step.gradients),
            update_norms=tuple(step.updates),
        )
        self.history.epochs.append(record)
        self._seconds = 0.0
        if self._best is not None and best(self.history) == len(self.history.epochs) - 1:
            self._best = [np.copy(leaf) for leaf in (*self.point.leaves, *self._of_loss)]
        return record

    def result(self) -> tuple[Any, Any]:
        """Return the parameters and the loss's state: the last ones, or those of the best epoch."""
        params, of_loss = self.params, self._of_loss
        if self._best and self.history.epochs:
            n = len(self.point.leaves)
            params, of_loss = self._structure.unflatten(self._best[:n]), self._best[n:]
        state = self._auxiliary and self._auxiliary.structure.unflatten(of_loss)
        # Each leaf has its own memory: in the loop, they are views of one block.
        return map_leaves(np.copy, params), state

    @property
    def _of_loss(self) -> list[Array]:
        return self._auxiliary.leaves if self._auxiliary else []

    def state(self, epoch_start: Mapping[str, Any]) -> State:
        """Return the state of the training, in an epoch that began with this generator's state."""
        counts = len(self.history.losses), len(self.history.epochs)
        carried = [*_leaves(self._carried), *self._of_loss, *(self._best or ())]
        return State(self.point.leaves, carried, epoch_start, self.history, *counts, self._seconds)

    def diverged(self, error: NonFiniteError, remedy: str = "") -> DivergenceError:
        """Return the error of a training whose loss, gradient or parameters are not finite.

        `remedy` is added to the advice to lower the learning rate.
        """
        iteration = len(self.history.losses)
        rate = self._update.rate(max(0, iteration - 1))
        known = "" if rate is None else f", {rate:g}, to {lower(rate)}"
        advice = (
            f"lower the learning rate{known}{remedy}"
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
