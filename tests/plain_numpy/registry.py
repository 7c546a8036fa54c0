"""What a loss of the corpus comes with: seeded parameters, seeded arguments, and a name.

A loss is registered by ``@loss(parameters, *arguments)``, in which every number or array may be
drawn: ``normal(3, 2)`` stands for an array of that shape, other draws likewise. A class is
registered in the same way when its instances are losses that keep state: each use makes a new one.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Draw:
    """An array that is drawn later, by `make`."""

    make: Callable[[np.random.Generator], Any]


def normal(*shape: int, scale: float = 1.0, dtype: Any = None) -> Draw:
    """Standard normal numbers times ``scale``; a Python float for the shape ()."""
    if not shape:
        return Draw(lambda rng: float(scale * rng.normal()))
    return Draw(lambda rng: (scale * rng.normal(size=shape)).astype(dtype or np.float64))


def uniform(low: float, high: float, *shape: int) -> Draw:
    """Uniform numbers; a Python float for the shape ()."""
    if not shape:
        return Draw(lambda rng: float(rng.uniform(low, high)))
    return Draw(lambda rng: rng.uniform(low, high, size=shape))


def below(limit: int, *shape: int) -> Draw:
    """Integers from 0 to limit - 1."""
    return Draw(lambda rng: rng.integers(limit, size=shape))


def rising(count: int) -> Draw:
    """Increasing numbers, such as times or positions, with distances of 0.3 to 1."""
    return Draw(lambda rng: np.cumsum(rng.uniform(0.3, 1.0, size=count)))


def drawn(spec: Any, rng: np.random.Generator) -> Any:
    """Draw all that is to be drawn in a structure; copy the arrays in it."""
    if isinstance(spec, Draw):
        return spec.make(rng)
    if isinstance(spec, np.ndarray):
        return spec.copy()
    if isinstance(spec, dict):
        return {key: drawn(value, rng) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return type(spec)(drawn(value, rng) for value in spec)
    return spec


@dataclass(frozen=True, eq=False)
class Case:
    """One loss of the corpus.

    Attributes
    ----------
    name : str
        That of the function.
    source : Callable
        The loss, or the class whose instances are losses.
    parameters, arguments : Any
        What they are drawn from.
    single : bool
        Whether the loss computes in float32 whatever its parameters are.
    untraceable : bool
        Whether no backend that traces the loss can be expected to differentiate it.
    seed : int
        Another one draws other numbers, where a kink lies too near.
    """

    name: str
    source: Callable[..., Any]
    parameters: Any
    arguments: tuple[Any, ...]
    single: bool
    untraceable: bool
    seed: int

    def loss(self) -> Callable[..., Any]:
        """The loss; an instance of its own if it keeps state."""
        return self.source() if inspect.isclass(self.source) else self.source

    def at(self, draw: int) -> tuple[Any, tuple[Any, ...]]:
        """Parameters and arguments: of draw 1 other parameters, of draw 2 other arguments, too."""
        key = zlib.crc32(self.name.encode()) + self.seed
        params = drawn(self.parameters, np.random.default_rng([key, 0, draw]))
        return params, drawn(self.arguments, np.random.default_rng([key, 1, draw // 2]))


CASES: dict[str, Case] = {}
"""All losses, by name."""


def loss(
    parameters: Any,
    *arguments: Any,
    single: bool = False,
    untraceable: bool = False,
    seed: int = 0,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a loss under its own name."""

    def register(source: Callable[..., Any]) -> Callable[..., Any]:
        name = source.__name__
        assert name not in CASES, f"two losses are called {name}"
        CASES[name] = Case(name, source, parameters, arguments, single, untraceable, seed)
        return source

    return register
