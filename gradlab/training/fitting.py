"""`fit`: the options, the loop, and the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any, Literal, ParamSpec

import numpy as np

from gradlab import blas, checkpoints, interrupts, optim, options
from gradlab.checkpoints import State
from gradlab.errors import NonFiniteError, OptionError
from gradlab.gradients import Backend, ByHand, Loss, find_backend
from gradlab.gradients.protocol import repeatable
from gradlab.history import Epoch
from gradlab.optim.rules import SGD
from gradlab.optim.schedules import Rate
from gradlab.params import Structure
from gradlab.seeding import generator
from gradlab.training.causes import unscaled
from gradlab.training.data import Accuracy, Data
from gradlab.training.foreign import ForeignUpdate, UpdateStep
from gradlab.training.identity import check_options, identity_of, identity_of_state
from gradlab.training.loop import Descent, Validation, own_copies, start_of
from gradlab.training.optimisers import BlockUpdate
from gradlab.training.progress import progress_bar
from gradlab.training.remarks import Remarks
from gradlab.training.results import Callback, Fit
from gradlab.training.schedule import Batches, Schedule
from gradlab.training.stateful import Auxiliary
from gradlab.training.stopping import Stopping
from gradlab.training.strides import Stride, strides

P = ParamSpec("P")


def _in_order(train: Callable[P, Fit]) -> Callable[P, Fit]:
    """Lock the checkpoint against other trainings, and defer signals.

    Ctrl-C still ends the training early, within `interrupts.allowed`.
    """

    @wraps(train)
    def trained(*args: P.args, **kwargs: P.kwargs) -> Fit:
        with interrupts.held(), checkpoints.exclusive(kwargs.get("checkpoint")):
            return train(*args, **kwargs)

    return trained


def _by_hand(gradient: Callable[..., Any], backend: str | Backend, has_aux: bool) -> Backend:
    if has_aux:
        raise OptionError("has_aux=True: a gradient function takes no state; give a backend")
    if backend != "autograd":
        raise OptionError("give a backend or a gradient, not both")
    return ByHand(options.function("gradient", gradient))


@_in_order
def fit(
    loss: Loss,
    params: Any,
    data: Data | None = None,
    *,
    backend: str | Backend = "autograd",
    gradient: Callable[..., Any] | None = None,
    optimizer: Any = None,
    learning_rate: Rate | None = None,
    momentum: float | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int | np.random.Generator = 0,
    validation: Data | None = None,
    accuracy: Accuracy | None = None,
    patience: int | None = None,
    keep_best: bool = False,
    state: Any = None,
    has_aux: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool | Literal["another backend"] = False,
) -> Fit:
    """Fit parameters to data by stochastic gradient descent, or by another optimiser.

    Parameters
    ----------
    loss : callable
        ``loss(params, *batch) -> scalar``, the mean over the batch.
    params : Any
        The starting values. They are not mutated; integers are trained as float64.
    data : sequence of array, optional
        Arrays with one row per sample, such as ``(x, y)``. Without data, the loss is a function of
        the parameters alone.
    backend : str or Backend
        The backend that computes the gradient.
    gradient : callable, optional
        Instead of a backend, ``gradient(params, *batch)``: a function that you derived, as for
        `check_gradients`. It becomes the backend ``ByHand(gradient)``.
    optimizer : Optimiser, optional
        The optimiser: one of `gradlab.optim`, such as
        ``gradlab.optim.adam(0.001)``, or any object with the methods of a transformation of optax.
    learning_rate : float or callable, optional
        Instead of an optimizer: ``gradlab.optim.sgd(learning_rate, momentum)``, where the default
        of the learning rate η is 0.1. A step computes v ← μ v + g, then params ← params − η v,
        where g is the gradient of the minibatch, and v begins with zeros.
    momentum : float, optional
        μ in the same formula, from 0, its default, to below 1.
    batch_size : int, optional
        Samples per step, at most the number of samples; by default 100, or all if there are fewer.
        L-BFGS takes all in each step.
    epochs : int, optional
        Number of passes over the data. Each pass takes every sample once, in a new order; the last
        batch of a pass may be smaller. The default is 10. Without data, an epoch is one step.
    iterations : int, optional
        Instead of `epochs`: number of minibatches, drawn at random with replacement. An epoch is
        then the number of minibatches that would pass over the data once. Without data, this is
        the number of steps, by default 100.
    seed : int or Generator
        Seed of the minibatches; the same seed gives the same bits.
    validation : sequence of array, optional
        Data to evaluate the loss (and the accuracy) on after each epoch.
    accuracy : callable, optional
        ``accuracy(params, *data) -> float``, evaluated after each epoch.
    patience : int, optional
        End the training after this many epochs without a new lowest validation loss.
    keep_best : bool
        Return the parameters of the epoch with the lowest validation loss, not the last ones.
    state : Any, optional
        With `has_aux`, the state of the loss between steps, such as the running statistics of batch
        norm: a structure of arrays of real numbers, which keep their shapes.
    has_aux : bool
        Whether the loss has a state or draws random numbers. It is then
        ``loss(params, *batch, state=..., rng=...) -> (scalar, new_state)``, and the accuracy takes
        ``state=``. `rng` has the methods of `numpy.random.Generator` that return numbers. In
        evaluation, as on validation data, it is None. Each step evaluates the loss once more, for
        the new state.
    callbacks : sequence of callable
        Each is called with the `Step` after every step; a true return value ends the training.
    progress : bool, optional
        Whether to show a progress bar; by default, if the standard error is a terminal.
    checkpoint : str or path, optional
        A file for the state of the training. It is replaced atomically; the previous checkpoint
        stays as ``PATH.previous``. The last one is written when the training ends for any reason:
        Ctrl-C, SIGTERM (the process then ends with code 143), an error. A backend with a
        `repeatable` form is replaced by it, as the tape is by ``Tape(exact=True)``.
    checkpoint_every : int, optional
        Steps from one checkpoint to the next; by default they are written after each epoch.
    resume : bool or "another backend"
        Continue from the checkpoint, if it exists. The training then ends with the same bits as an
        undisturbed one. All other arguments must be the same, except that `epochs` may be larger,
        and `patience` may differ; the error names the others that differ.
        ``"another backend"`` lets the backend differ. The loss is compared by its name and by the
        content of what it is bound to (arguments of a `functools.partial`, the object of a method,
        the variables of a closure). Callbacks are not compared, so a training that a callback
        ended continues, too.

    Returns
    -------
    Fit
        The parameters and the history. After Ctrl-C, these are the last ones reached.

    Raises
    ------
    DivergenceError
        If the loss or the gradient turns NaN or infinite; it names the step and keeps the last
        good parameters.
    OptionError, DataError, ParameterError, LossError, BackendError
        If an option is out of range, or the data, parameters, loss or backend cannot be used; or
        the checkpoint is of a training with other options, or another training is writing it.
    CheckpointError
        If both the checkpoint and the previous one are damaged, or the checkpoint cannot be read
        or written before the first step. A later failure to write is a `CheckpointWarning`.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 20)
    >>> def loss(params, x, y):
    ...     return ((params["slope"] * x + params["offset"] - y) ** 2).mean()
    >>> result = fit(loss, {"slope": 0.0, "offset": 0.0}, (x, 3 * x + 1), batch_size=5, epochs=100)
    >>> {name: round(float(value), 3) for name, value in result.params.items()}
    {'slope': 3.0, 'offset': 1.0}
    """
    if gradient is not None:
        backend = _by_hand(gradient, backend, has_aux)
    callbacks = options.each(
        "callbacks", callbacks, options.function, "give a list of functions, each of a Step"
    )
    check_options(checkpoint, checkpoint_every, resume)
    leaves, structure = own_copies(params)
    update = _update_step(optimizer, learning_rate, momentum, structure)
    watch = Validation.of(loss, accuracy, data, validation)
    stopping = Stopping.of(patience, keep_best, validation)
    samples = len(watch.data[0]) if watch.data else None
    schedule = Schedule.of(samples, batch_size, epochs, iterations, whole=update.whole_data)
    rng = generator(seed)
    auxiliary = Auxiliary.of(state, has_aux, rng)
    start = start_of(leaves, update, rng, auxiliary, keep_best=keep_best)
    kept, reached = None, start
    if checkpoint is not None:
        backend = repeatable(find_backend(backend))
        drawn = checkpoints.digest_of(start.generator) if seed is rng else seed
        given = identity_of(update.optimiser, schedule, drawn, watch, backend, start, structure)
        given |= identity_of_state(auxiliary, keep_best)
        most = schedule.steps, schedule.epochs
        kept, reached = checkpoints.take_up(checkpoint, given, start, most=most, resume=resume)
    rng.bit_generator.state = reached.generator
    # A callback may keep the arrays that it gets; without one, the same arrays serve all steps.
    batches = Batches(watch.data, schedule.batch_size, reuse=not callbacks)
    loop = Descent(
        loss, backend, update, reached, structure,
        batches=batches, keep_state=kept is not None, auxiliary=auxiliary, keep_best=keep_best,
    )  # fmt: skip
    remarks = Remarks(
        structure.paths, [leaf.ndim > 1 for leaf in leaves], watch.data, schedule.steps,
        update.rate, isinstance(update.optimiser, SGD) and not update.optimiser.weight_decay,
    )  # fmt: skip
    size = sum(leaf.size for leaf in loop.point.leaves)
    ended = stopping.is_over(loop.history)
    interrupted = False
    try:
        with (
            kept or nullcontext(),
            blas.for_work(size, schedule.batch_size) if samples else nullcontext(),
            progress_bar(schedule, progress) as show,
            interrupts.allowed(),
        ):
            minibatches = () if ended else schedule.minibatches(rng, reached.steps)
            for stride in strides(loop, batches, minibatches):
                record = _follow(loop, watch, remarks, stride)
                show(loop.history)
                ended = record is not None and stopping.is_over(loop.history)
                if callbacks:
                    step = loop.describe(stride.value, stride.gradient, stride.batch, record)
                    answers = [callback(step) for callback in callbacks]
                    ended |= any(answers)
                if kept:
                    stand = loop.state(stride.minibatch.epoch_start)
                    kept.reach(stand, write=_is_due(stand, record, checkpoint_every))
                if ended:
                    break
    except NonFiniteError as error:
        raise loop.diverged(error, unscaled(watch.data)) from error
    except KeyboardInterrupt:
        interrupted = True
    # Ctrl-C may also have come while the last checkpoint was written.
    interrupted = interrupts.forget() or interrupted
    trained, carried = loop.result()
    return Fit(trained, loop.history, interrupted, carried)


def _update_step(
    optimizer: Any, learning_rate: Any, momentum: Any, structure: Structure
) -> UpdateStep:
    if optimizer is None:
        rate = 0.1 if learning_rate is None else learning_rate
        return BlockUpdate(optim.sgd(rate, 0.0 if momentum is None else momentum))
    if learning_rate is not None or momentum is not None:
        given = "momentum" if learning_rate is None else "learning_rate"
        raise OptionError(f"give an optimizer or a {given}, not both: an optimizer has its own")
    if isinstance(optimizer, optim.Optimiser):
        return BlockUpdate(optimizer)
    return ForeignUpdate(optimizer, structure)


def _follow(loop: Descent, watch: Validation, remarks: Remarks, stride: Stride) -> Epoch | None:
    """Look at the last steps for remarks; record and return the epoch, if it has ended."""
    remarks.watch_zeros(stride.seen, stride.steps)
    epoch_sizes = stride.minibatch.epoch_sizes
    is_first = len(loop.history.losses) == 1
    if not (is_first or epoch_sizes):
        return None
    measured = loop.measure(stride.gradient)
    if is_first:
        remarks.begin(stride.gradient, measured)
    if not epoch_sizes:
        return None
    record = loop.end_epoch(epoch_sizes, watch, measured)
    remarks.end_epoch(loop.history, measured)
    return record


def _is_due(state: State, record: Epoch | None, every: int | None) -> bool:
    """Tell whether a checkpoint is written after this step."""
    return state.steps % every == 0 if every else record is not None
