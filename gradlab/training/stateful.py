"""Losses with a state and with randomness: ``loss(params, *batch, state=..., rng=...)``.

Such a loss stays pure. It gets its state, such as the running statistics of batch norm, and returns
the new one; and it draws from `rng`, such as the mask of dropout. In each step, the trainer first
evaluates the loss as it is. That gives the new state and shows what the loss draws. Then the
backend differentiates the loss as a function of state and draws, which are arguments like the
batch: every evaluation of a numerical backend sees the same draws, and a recording is replayed with
those of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from gradlab import checkpoints, options
from gradlab.arrays.read_only import read_only
from gradlab.errors import LossError, NonFiniteError, OptionError, ParameterError
from gradlab.params import Array, Structure, as_array, entry, first, flatten

HAS_AUX_CONTRACT = "a loss with has_aux=True returns a pair (loss, new state)"

DRAWN_IN_PLACE = ("shuffle", "spawn", "bit_generator", "bytes")
"""Attributes of a generator that do not return numbers."""


class RecordingGenerator:
    """A random generator that stores its draws.

    It has the methods of `numpy.random.Generator` that return numbers. Their arguments are numbers,
    shapes and text, but no arrays.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.draws: dict[str, Array] = {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._rng, name, None)
        if name in DRAWN_IN_PLACE or not callable(method):
            raise AttributeError(f"rng.{name}: a loss draws by methods that return numbers")

        def draw(*args: Any, **kwargs: Any) -> Any:
            key = _request(len(self.draws), name, args, kwargs)
            self.draws[key] = np.asarray(method(*args, **kwargs))
            return self.draws[key][()]

        return draw


class ReplayingGenerator:
    """A random generator that returns earlier draws for the same calls."""

    def __init__(self, draws: Mapping[str, Any]) -> None:
        self._draws: Iterator[tuple[str, Any]] = iter(draws.items())
        self._count = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def draw(*args: Any, **kwargs: Any) -> Any:
            key = _request(self._count, name, args, kwargs)
            wanted, value = next(self._draws, (None, None))
            if key != wanted:
                raise LossError(
                    f"the loss drew {key!r} where it had drawn {wanted!r} before, in the same step:"
                    " draw the same numbers whatever the parameters are"
                )
            self._count += 1
            return value

        return draw


def _request(position: int, name: str, args: Any, kwargs: Any) -> str:
    """Return a text for a draw that distinguishes it from other draws of the same loss."""
    given = [*map(_plain, args), *(f"{key}={_plain(value)}" for key, value in kwargs.items())]
    return f"{position} {name}({', '.join(given)})"


def _plain(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_plain, value))})"
    if isinstance(value, bool | int | float | np.number | str | type | np.dtype | None):
        return str(value)
    raise LossError(
        f"rng: a draw with {type(value).__name__} as an argument; draw standard numbers and use "
        "the array afterwards, as in mean + scale * rng.normal(size=mean.shape)"
    )


def value_of(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return the loss without the new state: a function of ``(params, *batch, state, draws)``."""
    return partial(_value, loss)


def _value(loss: Callable[..., Any], params: Any, *args: Any) -> Any:
    *batch, state, draws = args
    return _pair(loss(params, *batch, state=state, rng=ReplayingGenerator(draws)))[0]


def evaluated_by(loss: Callable[..., Any], state: Any) -> Callable[..., Any]:
    """Return the loss as a function of parameters and data that draws nothing: `rng` is None."""
    return lambda params, *data: _pair(loss(params, *data, state=state, rng=None))[0]


def _pair(result: Any) -> tuple[Any, Any]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise LossError(f"the loss returned {type(result).__name__}: {HAS_AUX_CONTRACT}")
    return result


@dataclass
class Auxiliary:
    """The state of a loss during a training."""

    # The state's arrays. They are replaced by others in each step, and never written into.
    leaves: list[Array]
    structure: Structure
    entropy: int  # distinguishes the draws from those of trainings with another seed

    @classmethod
    def of(cls, state: Any, has_aux: Any, rng: np.random.Generator) -> Auxiliary | None:
        """Return the state before the first step, or None for a loss without a state.

        Raise an OptionError, a ParameterError or a NonFiniteError if there is a state without
        `has_aux`, or it is not a structure of real numbers.
        """
        if not isinstance(has_aux, bool):
            raise options.refusal("has_aux", has_aux, "give True or False")
        if not has_aux:
            if state is not None:
                raise OptionError(f"a state needs has_aux=True: {HAS_AUX_CONTRACT}")
            return None
        leaves, structure = flatten({} if state is None else state, _leaf)
        # A seed instead of a generator's state: a resumed training repeats the draws.
        entropy = int(checkpoints.digest_of(rng.bit_generator.state), 16)
        return cls(leaves, structure, entropy)

    @property
    def state(self) -> Any:
        """The state in the structure of the loss."""
        return self.structure.unflatten(self.leaves)

    def evaluate(
        self, loss: Callable[..., Any], params: Any, batch: tuple[Array, ...], count: int
    ) -> tuple[tuple[Any, dict[str, Array]], list[Array]]:
        """Evaluate the loss in the step after `count` others.

        Return the state and the draws, for the function that `value_of` returns; and the arrays of
        the new state. Raise an error if the loss does not return a pair, or if the new state does
        not fit the old one.
        """
        rng = RecordingGenerator(np.random.default_rng([self.entropy, count]))
        state = self.state
        given = read_only((params, *batch)), read_only(state)
        _, after = _pair(loss(*given[0], state=given[1], rng=rng))
        found, structure = flatten({} if after is None else after, _leaf)
        new = dict(zip(structure.paths, found, strict=True))
        if set(new) != set(self.structure.paths):
            odd = ", ".join(sorted(set(new) ^ set(self.structure.paths)))
            raise ParameterError(f"the loss returned a state in which {odd} appeared or vanished")
        for path, old in zip(self.structure.paths, self.leaves, strict=True):
            new[path] = _like(old, new[path], path)
        return (state, rng.draws), [new[path] for path in self.structure.paths]


def _leaf(value: Any, path: str) -> Array:
    return np.array(as_array(value, f"the state's {path}"))


def _like(old: Array, new: Array, path: str) -> Array:
    if new.shape != old.shape:
        raise ParameterError(
            f"the loss returned the state's {path} with shape {new.shape}; expected {old.shape}"
        )
    if not np.can_cast(new.dtype, old.dtype, "same_kind"):
        raise ParameterError(
            f"the loss returned the state's {path} as {new.dtype}; it began as {old.dtype}"
        )
    cast = new.astype(old.dtype, copy=False)
    if not np.isfinite(cast).all():
        where = entry(f"the state's {path}", first(~np.isfinite(cast)))
        raise NonFiniteError(f"{where} overflows {old.dtype}")
    return cast
