"""The trainer: stochastic gradient descent, whoever computes the gradient.

One step with a minibatch B, parameters p, velocity v, momentum μ and learning rate η is::

    v  <-  μ v + ∂loss(p, B)/∂p
    p  <-  p - η v

(Sutskever et al., *On the importance of initialization and momentum*, 2013, in the form in which
η scales the whole step.) Nothing here knows the backend, the loss or the network, and nothing is
drawn but the minibatches, so that two backends with one seed see the same data in the same order.
"""

from __future__ import annotations

import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, TypeAlias

import numpy as np

from gradlab import checkpoints, html, options
from gradlab.checkpoints import State
from gradlab.errors import (
    BackendError,
    DataError,
    DivergenceError,
    NonFiniteError,
    OptionError,
    ZeroGradientWarning,
)
from gradlab.gradients import Backend, Loss, find_backend, value_and_grad
from gradlab.gradients.protocol import real_scalar, repeatable
from gradlab.history import Epoch as Epoch
from gradlab.history import History as History
from gradlab.params import (
    Array,
    Structure,
    entry,
    first,
    flatten,
    floating,
    leaves_like,
    map_leaves,
    named_leaves,
    numbers,
)
from gradlab.seeding import generator

MOST = 10**7
"""The most epochs, and the most iterations, of one training."""

Data: TypeAlias = Sequence[Any]
"""Arrays with one row a sample, such as ``(x, y)``; the loss is ``loss(params, *data)``."""

Accuracy: TypeAlias = Callable[..., float]
"""``accuracy(params, *data)``, a share from 0 to 1."""


@dataclass(frozen=True)
class Step:
    """What a callback is shown after each step.

    Attributes
    ----------
    iteration : int
        The step's number, from 0.
    loss : float
        The loss of the minibatch, before the step.
    params, grads : Any
        The parameters before the step, and the gradient there; not to be written into.
    updated : Any
        The parameters after the step, which are those that `epoch` was measured at; not to be
        written into, but to be kept: a callback that keeps the best keeps these.
    batch : tuple of array
        The minibatch.
    epoch : Epoch or None
        The record of the epoch that this step completed, if it did.
    """

    iteration: int
    loss: float
    params: Any = field(repr=False)
    grads: Any = field(repr=False)
    batch: tuple[Array, ...] = field(repr=False)
    epoch: Epoch | None
    updated: Any = field(repr=False)


Callback: TypeAlias = Callable[[Step], object]
"""Called after each step; training stops where it returns True."""


@dataclass(frozen=True, repr=False)
class Fit:
    """The outcome of `fit`.

    Attributes
    ----------
    params : Any
        The trained parameters.
    history : History
        What happened on the way.
    interrupted : bool
        Whether Ctrl-C ended it early; `params` are then what was reached.
    """

    params: Any
    history: History
    interrupted: bool = False

    def headline(self) -> str:
        """Return what came of it in a line."""
        return f"{'interrupted, ' * self.interrupted}{self.history.headline()}"

    def __repr__(self) -> str:
        return f"<Fit: {self.headline()}>"

    def _repr_html_(self) -> str:
        """Return the epochs as notebooks show them."""
        return html.table(self.headline(), *self.history.table())


def fit(
    loss: Loss,
    params: Any,
    data: Data,
    *,
    backend: str | Backend = "autograd",
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    batch_size: int | None = None,
    epochs: int | None = None,
    iterations: int | None = None,
    seed: int | np.random.Generator = 0,
    validation: Data | None = None,
    accuracy: Accuracy | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    resume: bool | Literal["another backend"] = False,
) -> Fit:
    """Fit parameters to data by stochastic gradient descent.

    Parameters
    ----------
    loss : callable
        ``loss(params, *batch) -> scalar``, the mean over the batch.
    params : Any
        Where to start. They are not mutated; integers are trained as float64.
    data : sequence of array
        Arrays with one row a sample, such as ``(x, y)``.
    backend : str or Backend
        Who computes the gradient.
    learning_rate, momentum : float
        η > 0 and 0 <= μ < 1 of the step above.
    batch_size : int, optional
        Samples a step, at most as many as there are; by default 100, or all if they are fewer.
    epochs : int, optional
        How often to pass over the data, each time in a new order, every sample once: the last
        batch of a pass may be smaller. The default is 10.
    iterations : int, optional
        Instead of `epochs`: how many minibatches to draw at random, with replacement, as the
        notebook did. An epoch is then as many of them as would pass over the data once.
    seed : int or Generator
        Decides the minibatches; the same seed gives the same bits.
    validation : sequence of array, optional
        Data to evaluate the loss (and the accuracy) on after each epoch.
    accuracy : callable, optional
        ``accuracy(params, *data) -> float``, evaluated after each epoch.
    callbacks : sequence of callable
        Each is called with the `Step` after every step; a true return value ends the training.
    progress : bool, optional
        Whether to show a progress bar; by default where the standard error is a terminal.
    checkpoint : str or path, optional
        A file that keeps where the training stands, and is replaced in one move; the one before
        it stays as ``PATH.previous``. The last one is written when the training ends, whatever
        ends it: Ctrl-C, SIGTERM (the process then ends with code 143), an error. The backend is
        then its `repeatable` self, if it has one, as the tape has: ``Tape(exact=True)``.
    checkpoint_every : int, optional
        Steps from one checkpoint to the next; by default they are written after each epoch.
    resume : bool or "another backend"
        Go on from the checkpoint, if there is one already: the training ends where it would have
        ended undisturbed, to the last bit. All else has to be given as it was, and the errors
        name what was not; ``"another backend"`` lets the backend differ. The loss is known by its
        name, and callbacks not at all: a training that a callback ended goes on, too.

    Returns
    -------
    Fit
        The parameters and the history. Ctrl-C ends the training early and returns what was
        reached.

    Raises
    ------
    DivergenceError
        If the loss or the gradient turns NaN or infinite; it names the step and keeps the last
        good parameters.
    OptionError, DataError, ParameterError, LossError, BackendError
        If an option is out of range, or the data, parameters, loss or backend cannot be used; or
        the checkpoint is of a training with other options.
    CheckpointError
        If the checkpoint is damaged, and the one before it as well; or cannot be read or written
        before the first step. Where it cannot be written later, that is a `CheckpointWarning`.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 20)
    >>> def loss(params, x, y):
    ...     return ((params["slope"] * x + params["offset"] - y) ** 2).mean()
    >>> result = fit(loss, {"slope": 0.0, "offset": 0.0}, (x, 3 * x + 1), batch_size=5, epochs=100)
    >>> {name: round(float(value), 3) for name, value in result.params.items()}
    {'slope': 3.0, 'offset': 1.0}
    """
    learning_rate = options.number("learning_rate", learning_rate)
    momentum = options.number(
        "momentum", momentum, "give a number from 0 to below 1", fits=lambda m: 0 <= m < 1
    )
    if accuracy is not None:
        options.function("accuracy", accuracy, "give a function of (params, *data)")
    callbacks = options.each(
        "callbacks", callbacks, options.function, "give a list of functions, each of a Step"
    )
    _check_checkpoint(checkpoint, checkpoint_every, resume)
    data = check_data(data)
    validation = None if validation is None else check_data(validation, "validation data")
    n = len(data[0])
    schedule = _schedule(n, batch_size, epochs, iterations)
    rng = generator(seed)
    start, structure = _start(params, rng)
    kept, state = None, start
    if checkpoint is not None:
        backend = repeatable(find_backend(backend))
        given = _identity(
            {
                "learning_rate": learning_rate,
                "momentum": momentum,
                "batch_size": schedule[0][0],
                "epochs": len(schedule) if iterations is None else None,
                "iterations": iterations,
                "seed": checkpoints.digest_of(start.generator) if seed is rng else seed,
            },
            {"loss": loss, "accuracy": accuracy, "backend": backend},
            {
                "params": dict(zip(structure.paths, start.params, strict=True)),
                "data": dict(enumerate(data)),
                "validation": dict(enumerate(validation or ())),
            },
        )
        most = sum(map(len, schedule)), len(schedule)
        kept, state = checkpoints.take_up(checkpoint, given, start, most=most, resume=resume)
    history, seconds = state.history, state.seconds
    point, velocity = Vector.of(state.params), Vector.of(state.velocity)
    rng.bit_generator.state = state.generator
    epoch, taken = _place(schedule, state.steps)
    minibatches = _minibatches(n, schedule[epoch:], rng, replace=iterations is not None)

    # A callback may keep what it is shown; without one, the same arrays serve all steps. Those of
    # the step before are not written into until the step is over: a checkpoint may need them.
    spare = None if callbacks else point.another()
    other = point.another() if kept and momentum else velocity
    rooms = None if callbacks else [np.empty_like(array[: max(schedule[0])]) for array in data]
    gradient_at = _gradients(loss, backend, None if callbacks else (point, structure))
    params = last_good = structure.unflatten(point.leaves)
    interrupted = False

    try:
        with kept or nullcontext(), _progress_bar(schedule, progress) as show:
            for rows, epoch_sizes, epoch_start in islice(minibatches, taken, None):
                iteration = len(history.losses)
                batch = _batch(data, rows, rooms)
                started = time.perf_counter()
                with _quiet():
                    value, gradient = gradient_at(params, *batch)
                    if not history.losses:
                        _warn_of_zeros(gradient, structure)
                    before = last_good = params
                    history.losses.append(value)
                    fresh = spare or point.another()
                    _step(point, velocity, gradient, learning_rate, momentum, fresh, other)
                    # The parameters before the step stay what they were until the next one.
                    point, spare = fresh, spare and point
                    velocity, other = other, velocity
                    params = structure.unflatten(point.leaves)
                    if not point.is_finite():
                        flatten(params)  # raises an error that names the entry
                seconds += time.perf_counter() - started

                record = None
                if epoch_sizes:
                    record = Epoch(
                        epoch=len(history.epochs) + 1,
                        loss=_mean(history.losses[-len(epoch_sizes) :], epoch_sizes),
                        validation_loss=_watched(loss, params, validation, "the validation loss"),
                        accuracy=_watched(accuracy, params, validation or data, "the accuracy"),
                        seconds=seconds,
                    )
                    history.epochs.append(record)
                    seconds = 0.0
                show(history)
                grads = structure.unflatten(gradient.leaves)
                step = Step(iteration, value, before, grads, batch, record, params)
                answers = [callback(step) for callback in callbacks]
                if kept:
                    done = len(history.losses)
                    due = done % checkpoint_every == 0 if checkpoint_every else record is not None
                    counts = done, len(history.epochs)
                    state = State(
                        point.leaves, velocity.leaves, epoch_start, history, *counts, seconds
                    )
                    kept.reach(state, write=due)
                if any(answers):
                    break
    except NonFiniteError as error:
        raise DivergenceError(
            f"training diverged at iteration {len(history.losses)}: {error}; "
            + (
                f"lower the learning rate, {learning_rate:g}, to {lower(learning_rate)}"
                if history.losses
                else "it is so before the first step: scale the data or the starting parameters, "
                "or write the loss so that it does not overflow"
            ),
            iteration=len(history.losses),
            params=last_good,
            history=history,
        ) from error
    except KeyboardInterrupt:
        interrupted = True
    return Fit(map_leaves(np.copy, params), history, interrupted)  # each leaf for itself


def lower(learning_rate: float) -> str:
    """Return a learning rate to try where this one was too large.

    Examples
    --------
    >>> lower(0.5), lower(1e9)
    ('0.05', '0.1')
    """
    return f"{min(learning_rate / 10, 0.1):.1g}"


def _warn_of_zeros(gradient: Vector, structure: Structure) -> None:
    """Warn where no entry of the gradient is anything but zero, so that nothing will change."""
    if gradient.leaves and not any(leaf.any() for leaf in gradient.leaves):
        warnings.warn(
            f"the whole gradient ({', '.join(structure.paths[:4])}"
            f"{', ...' if len(structure.paths) > 4 else ''}) is zero at the first step: either the "
            "loss does not depend on its parameters, as one that reads a network's own, or the "
            "start is a stationary point; give other starting values, or let the loss use its "
            "first argument",
            ZeroGradientWarning,
            stacklevel=3,
        )


def descend(
    function: Loss,
    start: Any,
    *args: Any,
    backend: str | Backend = "autograd",
    learning_rate: float = 0.1,
    iterations: int = 100,
) -> list[Any]:
    """Follow the gradient of a function downhill, and return the way that was taken.

    Plain gradient descent, without minibatches: `fit` is for training on data.

    Parameters
    ----------
    function : callable
        ``function(params, *args) -> scalar``.
    start : Any
        The parameters to start from.
    backend, learning_rate
        See `fit`.
    iterations : int
        How many steps to take.

    Returns
    -------
    list
        The start, and the parameters after each step: ``iterations + 1`` of them.

    Raises
    ------
    NonFiniteError
        If the function or its gradient turns NaN or infinite on the way.
    OptionError, ParameterError, BackendError
        If an option is out of range, or the parameters or backend cannot be used.

    Examples
    --------
    >>> path = descend(lambda x: x**2, 1.0, learning_rate=0.25, iterations=3)
    >>> [float(x) for x in path]
    [1.0, 0.5, 0.25, 0.125]
    """
    learning_rate = options.number("learning_rate", learning_rate)
    iterations = options.integer("iterations", iterations)
    gradient_at = _gradients(function, backend)
    leaves, structure = _own(start)
    path = [structure.unflatten(leaves)]
    with _quiet():
        for _ in range(iterations):
            _, gradient = gradient_at(path[-1], *args)
            leaves = _downhill(leaves, gradient.leaves, learning_rate)
            path.append(_finite(structure.unflatten(leaves)))
    return path


def check_data(data: Data, what: str = "data") -> tuple[Array, ...]:
    """Return data as arrays of one length, or say which of them cannot be trained on.

    Raises
    ------
    DataError
        If there are no samples, the lengths differ, or an array holds a NaN, an infinity or
        something else than numbers.

    Examples
    --------
    >>> check_data((np.zeros((3, 2)), [0, 1]))
    Traceback (most recent call last):
    gradlab.errors.DataError: data: 3 samples of x, but 2 of y
    """
    if isinstance(data, (np.ndarray, str, bytes)) or not isinstance(data, Sequence) or not data:
        raise DataError(f"{what}: give the arrays of which the loss takes rows, such as (x, y)")
    names = getattr(data, "_fields", None) or (
        ("x", "y") if len(data) == 2 else [f"array {i}" for i in range(len(data))]
    )
    arrays = tuple(
        numbers(array, f"{what}: {name}") for name, array in zip(names, data, strict=True)
    )
    for name, array in zip(names, arrays, strict=True):
        if array.ndim == 0 or len(array) == 0:
            raise DataError(f"{what}: {name} holds no samples (shape {array.shape})")
        if len(array) != len(arrays[0]):
            raise DataError(
                f"{what}: {len(arrays[0])} samples of {names[0]}, but {len(array)} of {name}"
            )
        if not np.isfinite(array).all():
            where = entry(name, first(~np.isfinite(array)))
            raise DataError(f"{what}: {where} is not finite; remove or replace such samples")
    return arrays


def evaluate(
    function: Callable[..., Any], params: Any, data: Data, what: str = "the loss"
) -> float:
    """Return a loss or an accuracy on the whole of the data, as a finite number.

    Raises
    ------
    LossError, NonFiniteError
        If it is not one real number, or not finite.

    Examples
    --------
    >>> evaluate(lambda p, x: p * np.mean(x), 2.0, [[1.0, 3.0]])
    4.0
    """
    with _quiet():
        return float(real_scalar(function(params, *data), what=what))


@dataclass(frozen=True)
class Vector:
    """Arrays of all leaves that lie side by side, so that a step is a few operations on few blocks.

    Attributes
    ----------
    leaves : list of ndarray
        Views of the blocks.
    blocks : list of ndarray
        One for each dtype, of one axis; where they are not known, the leaves themselves.
    """

    leaves: list[Array]
    blocks: list[Array]

    @classmethod
    def of(cls, leaves: Sequence[Array]) -> Vector:
        """Copy arrays into a vector."""
        vector = cls.like(leaves)
        for mine, leaf in zip(vector.leaves, leaves, strict=True):
            mine[...] = leaf
        return vector

    @classmethod
    def like(cls, leaves: Sequence[Array]) -> Vector:
        """Return a vector of zeros for arrays of these shapes and dtypes."""
        ends: dict[np.dtype[Any], int] = {}
        starts = []
        for leaf in leaves:
            start = ends.get(leaf.dtype, 0)
            starts.append(start)
            # From one multiple of 64 bytes to the next, where vector instructions like to start.
            entries = 64 // math.gcd(leaf.itemsize, 64)
            ends[leaf.dtype] = start + math.ceil(leaf.size / entries) * entries
        blocks = {dtype: np.zeros(end, dtype) for dtype, end in ends.items()}
        views = [
            blocks[leaf.dtype][start : start + leaf.size].reshape(leaf.shape, order=order_of(leaf))
            for leaf, start in zip(leaves, starts, strict=True)
        ]
        return cls(views, [*blocks.values()])

    def another(self) -> Vector:
        """Return a vector of zeros for the same leaves."""
        return self.like(self.leaves)

    def is_finite(self) -> bool:
        """Tell whether all entries are finite."""
        # A norm is a fraction of the work; one that overflows is looked into.
        with np.errstate(all="ignore"):
            norm = sum(map(np.vdot, self.blocks, self.blocks))
        return bool(np.isfinite(norm)) or all(np.isfinite(block).all() for block in self.blocks)


def order_of(array: Array) -> Literal["C", "F"]:
    """Return the order in which an array lies in memory: by columns or, if in doubt, by rows."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _step(
    point: Vector,
    velocity: Vector,
    gradient: Vector,
    learning_rate: float,
    momentum: float,
    new_point: Vector,
    new_velocity: Vector,
) -> None:
    """Write the velocity and the parameters after a step into vectors; of the velocity, its own."""
    vectors = (point, velocity, gradient, new_point, new_velocity)
    in_blocks = gradient.blocks is not gradient.leaves
    pieces = [vector.blocks if in_blocks else vector.leaves for vector in vectors]
    for p, v, g, new, new_v in zip(*pieces, strict=True):
        if momentum:
            np.multiply(v, momentum, out=new_v)
            np.add(new_v, g, out=new_v)
        np.multiply(new_v if momentum else g, learning_rate, out=new)
        np.subtract(p, new, out=new)


def _batch(data: Data, rows: Array, rooms: list[Array] | None) -> tuple[Array, ...]:
    """Return these rows of the data, in the arrays given for it or in new ones."""
    if rooms is None:
        return tuple(array[rows] for array in data)
    return tuple(
        # All rows are there; "clip" lets NumPy write straight into `out`.
        np.take(array, rows, axis=0, out=room[: len(rows)], mode="clip")
        for array, room in zip(data, rooms, strict=True)
    )


def _watched(
    function: Callable[..., Any] | None, params: Any, data: Data | None, what: str
) -> float | None:
    return None if function is None or data is None else evaluate(function, params, data, what)


def _mean(losses: list[float], sizes: list[int]) -> float:
    return float(np.average(losses, weights=sizes))


def _gradients(
    loss: Loss, backend: str | Backend, like: tuple[Vector, Structure] | None = None
) -> Callable[..., tuple[float, Vector]]:
    """Return the loss and its gradient as a function, the backend held to its word.

    With parameters that the gradient is `like`, a backend that can writes it into the same arrays
    each time.
    """
    run = value_and_grad(loss, backend)
    if like and getattr(run, "writes_out", False):
        gradient = like[0].another()
        out = replace(like[1], scalars=frozenset()).unflatten(gradient.leaves)
        return lambda params, *args: (run(params, *args, out=out)[0], gradient)

    def gradient_at(params: Any, *args: Any) -> tuple[float, Vector]:
        outcome = run(params, *args)
        if not (isinstance(outcome, tuple) and len(outcome) == 2):
            name = getattr(backend, "name", backend)
            raise BackendError(f"the backend {name} did not return a pair (value, gradient)")
        value, grads = outcome
        gradients = leaves_like(params, grads, "the gradient")
        dtypes = [leaf.dtype for _, leaf in named_leaves(params)]
        leaves = [
            gradient.astype(dtype, copy=False)
            for gradient, dtype in zip(gradients, dtypes, strict=True)
        ]
        return float(real_scalar(value)), Vector(leaves, leaves)

    return gradient_at


def _quiet() -> np.errstate:
    """Silence what ends in a loss that is not finite: an error that says more than a warning."""
    return np.errstate(over="ignore", invalid="ignore")


def _check_checkpoint(checkpoint: Any, every: Any, resume: Any) -> None:
    if checkpoint is not None and not isinstance(checkpoint, str | os.PathLike):
        raise options.refusal("checkpoint", checkpoint, "give the path of a file")
    if every is not None:
        options.integer("checkpoint_every", every)
    if not isinstance(resume, bool) and resume != "another backend":
        raise options.refusal("resume", resume, "give True, False, or 'another backend'")
    if checkpoint is None and (resume or every is not None):
        name, value = ("resume", resume) if resume else ("checkpoint_every", every)
        raise options.refusal(name, value, "name the file, too, with checkpoint")


def _identity(
    numbers: Mapping[str, Any],
    functions: Mapping[str, Any],
    arrays: Mapping[str, Mapping[Any, Array]],
) -> dict[str, str]:
    """Return what tells a training from others, by what the options are called."""
    return (
        {name: str(value) for name, value in numbers.items()}
        | {name: checkpoints.described(function) for name, function in functions.items()}
        | {name: checkpoints.fingerprint(group) for name, group in arrays.items()}
    )


def _start(params: Any, rng: np.random.Generator) -> tuple[State, Structure]:
    """Return where a training of these parameters starts, and their structure."""
    leaves, structure = _own(params)
    rest = [np.zeros_like(leaf) for leaf in leaves]
    return State(leaves, rest, rng.bit_generator.state, History()), structure


def _own(params: Any) -> tuple[list[Array], Structure]:
    """Return copies of the leaves in floating point, and the structure."""
    leaves, structure = flatten(params)
    return [np.array(floating(leaf)) for leaf in leaves], structure


def _downhill(leaves: list[Array], directions: list[Array], learning_rate: float) -> list[Array]:
    return [
        np.asarray(leaf - learning_rate * direction)
        for leaf, direction in zip(leaves, directions, strict=True)
    ]


def _finite(params: Any) -> Any:
    flatten(params)  # raises where an entry is not
    return params


def _count(name: str, value: Any) -> int:
    # The schedule and the history of a training are lists of this length.
    return options.integer(name, value, f"give an integer from 1 to {MOST:,}", most=MOST)


def _schedule(
    n: int, batch_size: int | None, epochs: int | None, iterations: int | None
) -> list[list[int]]:
    """Return the sizes of the minibatches of each epoch.

    Examples
    --------
    >>> _schedule(5, 2, epochs=2, iterations=None), _schedule(5, 2, epochs=None, iterations=4)
    ([[2, 2, 1], [2, 2, 1]], [[2, 2, 2], [2]])
    """
    batch_size = min(100, n) if batch_size is None else batch_size
    batch_size = options.integer("batch_size", batch_size)
    if batch_size > n:
        raise options.refusal("batch_size", batch_size, f"there are only {n} samples")
    if iterations is None:
        epochs = _count("epochs", 10 if epochs is None else epochs)
        full, rest = divmod(n, batch_size)
        return [[batch_size] * full + [rest] * (rest > 0)] * epochs
    if epochs is not None:
        raise OptionError("epochs and iterations exclude each other: give one of them")
    iterations = _count("iterations", iterations)
    a_pass = math.ceil(n / batch_size)
    return [
        [batch_size] * min(a_pass, iterations - start) for start in range(0, iterations, a_pass)
    ]


def _place(schedule: list[list[int]], steps: int) -> tuple[int, int]:
    """Return the epoch, from 0, of the last of `steps` steps, and how many of them are in it.

    Examples
    --------
    >>> [_place([[2, 2, 1], [2, 2, 1]], steps) for steps in (0, 3, 4)]
    [(0, 0), (0, 3), (1, 1)]
    """
    epoch = max(0, steps - 1) // len(schedule[0])
    return epoch, steps - epoch * len(schedule[0])


def _minibatches(
    n: int, schedule: list[list[int]], rng: np.random.Generator, *, replace: bool
) -> Iterator[tuple[Array, list[int] | None, Mapping[str, Any]]]:
    """Yield the rows of each minibatch, and what is to be known of its epoch.

    That is its sizes, where the minibatch ends it, and the state of the generator at its start.
    """
    for sizes in schedule:
        epoch_start = rng.bit_generator.state
        order = None if replace else rng.permutation(n)
        start = 0
        for position, size in enumerate(sizes, start=1):
            rows = rng.integers(n, size=size) if order is None else order[start : start + size]
            start += size
            yield rows, sizes if position == len(sizes) else None, epoch_start


@contextmanager
def _progress_bar(
    schedule: list[list[int]], wanted: bool | None
) -> Iterator[Callable[[History], None]]:
    """Show epoch, loss, accuracy and the time left, where somebody is there to look."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda history: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}{task.fields[accuracy]}"),
        TimeRemainingColumn(compact=True),
    )
    console = Console(stderr=True)
    # What is no terminal shows the bar once, at its end, and only if that is left standing.
    with Progress(*columns, console=console, transient=console.is_interactive) as bar:
        total = sum(map(len, schedule))
        task = bar.add_task(
            "", total=total, epoch=1, epochs=len(schedule), loss=float("nan"), accuracy=""
        )

        def show(history: History) -> None:
            known = history.epochs[-1].accuracy if history.epochs else None
            bar.update(
                task,
                completed=len(history.losses),
                epoch=min(len(history.epochs) + 1, len(schedule)),
                loss=history.losses[-1],
                accuracy="" if known is None else f"  accuracy {known:.2%}",
            )

        yield show
