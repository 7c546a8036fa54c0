"""The minibatches of a training: their number, their sizes, and the rows of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from gradlab import options
from gradlab.errors import OptionError
from gradlab.params import Array

MAX_EPOCHS = 10**7
"""Largest number of epochs, and of iterations, of one training: lists have this length."""


class Minibatch(NamedTuple):
    """The rows of a minibatch, and its place in the epoch."""

    rows: Array  # the positions of its samples
    # The sizes of all minibatches of the epoch, if this one is the last of them.
    epoch_sizes: list[int] | None
    epoch_start: Mapping[str, Any]  # the state of the random generator at the start of the epoch


@dataclass(frozen=True)
class Schedule:
    """The minibatches of a training."""

    samples: int
    sizes: list[list[int]]  # the sizes of the minibatches of each epoch
    replace: bool  # whether rows are drawn with replacement, instead of in a new order each epoch

    @classmethod
    def of(
        cls,
        samples: int | None,
        batch_size: Any,
        epochs: Any,
        iterations: Any,
        *,
        whole: bool = False,
    ) -> Schedule:
        """Return the schedule for these options of `fit`.

        Without data, `samples` is None. Then an epoch is one step, or all iterations are one epoch.
        If `whole` is true, each step must take all samples.

        Raise an OptionError if an option is out of range, or both `epochs` and `iterations` are
        given.

        Examples
        --------
        >>> Schedule.of(5, 2, epochs=2, iterations=None).sizes
        [[2, 2, 1], [2, 2, 1]]
        >>> Schedule.of(5, 2, epochs=None, iterations=4).sizes
        [[2, 2, 2], [2]]
        """
        if samples is None:
            return cls._without_data(batch_size, epochs, iterations)
        if batch_size is None:
            batch_size = samples if whole else min(100, samples)
        batch_size = options.integer("batch_size", batch_size)
        if batch_size > samples:
            raise options.refusal("batch_size", batch_size, f"there are only {samples} samples")
        if whole and (batch_size < samples or iterations is not None):
            name, value = (
                ("batch_size", batch_size) if iterations is None else ("iterations", iterations)
            )
            raise options.refusal(
                name, value, "this optimizer takes all samples in each step: give only epochs"
            )
        if iterations is None:
            epochs = _count("epochs", 10 if epochs is None else epochs)
            full, rest = divmod(samples, batch_size)
            return cls(samples, [[batch_size] * full + [rest] * (rest > 0)] * epochs, False)
        _exclude(epochs, iterations)
        iterations = _count("iterations", iterations)
        a_pass = math.ceil(samples / batch_size)
        starts = range(0, iterations, a_pass)
        return cls(
            samples, [[batch_size] * min(a_pass, iterations - start) for start in starts], True
        )

    @classmethod
    def _without_data(cls, batch_size: Any, epochs: Any, iterations: Any) -> Schedule:
        if batch_size is not None:
            raise options.refusal("batch_size", batch_size, "there are no data to take samples of")
        if epochs is None:
            return cls(
                1, [[1] * _count("iterations", 100 if iterations is None else iterations)], True
            )
        _exclude(epochs, iterations)
        return cls(1, [[1]] * _count("epochs", epochs), False)

    @property
    def batch_size(self) -> int:
        """The size of the first minibatch, which no other one exceeds."""
        return self.sizes[0][0]

    @property
    def steps(self) -> int:
        """The number of minibatches."""
        return sum(map(len, self.sizes))

    @property
    def epochs(self) -> int:
        """The number of epochs."""
        return len(self.sizes)

    def place(self, steps: int) -> tuple[int, int]:
        """Return the epoch, from 0, of the last of `steps` steps, and how many of them are in it.

        Examples
        --------
        >>> schedule = Schedule.of(5, 2, epochs=2, iterations=None)
        >>> [schedule.place(steps) for steps in (0, 3, 4)]
        [(0, 0), (0, 3), (1, 1)]
        """
        epoch = max(0, steps - 1) // len(self.sizes[0])
        return epoch, steps - epoch * len(self.sizes[0])

    def minibatches(self, rng: np.random.Generator, steps: int = 0) -> Iterator[Minibatch]:
        """Yield the minibatches after the first `steps` ones.

        The generator must have its state at the start of the epoch of the last of these steps; see
        `place`.
        """
        epoch, taken = self.place(steps)
        return islice(self._from(epoch, rng), taken, None)

    def _from(self, epoch: int, rng: np.random.Generator) -> Iterator[Minibatch]:
        for sizes in self.sizes[epoch:]:
            epoch_start = rng.bit_generator.state
            order = None if self.replace else rng.permutation(self.samples)
            start = 0
            for position, size in enumerate(sizes, start=1):
                rows = (
                    rng.integers(self.samples, size=size)
                    if order is None
                    else order[start : start + size]
                )
                start += size
                yield Minibatch(rows, sizes if position == len(sizes) else None, epoch_start)


def _exclude(epochs: Any, iterations: Any) -> None:
    if epochs is not None and iterations is not None:
        raise OptionError("epochs and iterations exclude each other: give one of them")


def _count(name: str, value: Any) -> int:
    # The schedule and the history of a training are lists of this length.
    return options.integer(
        name, value, f"give an integer from 1 to {MAX_EPOCHS:,}", most=MAX_EPOCHS
    )


class Batches:
    """The samples of a minibatch of `data`, in arrays that serve each minibatch or in new ones.

    The largest minibatch has `largest` samples. With `reuse`, the arrays of one may hold the next.
    """

    def __init__(self, data: Sequence[Array], largest: int, *, reuse: bool) -> None:
        self._data, self.largest, self.reuse = data, largest, reuse
        self._buffers = [np.empty_like(array[:largest]) for array in data] if reuse else None

    @property
    def pairs(self) -> list[tuple[Array, Array]]:
        """The arrays of the data, each with that of the largest minibatch, if these are reused."""
        return [*zip(self._data, self._buffers, strict=True)] if self._buffers else []

    def take(self, rows: Array) -> tuple[Array, ...]:
        """Return these rows of the data."""
        if self._buffers is None:
            return tuple(array[rows] for array in self._data)
        return tuple(
            # All rows exist; mode "clip" lets NumPy write straight into `out`.
            np.take(array, rows, axis=0, out=buffer[: len(rows)], mode="clip")
            for array, buffer in zip(self._data, self._buffers, strict=True)
        )
