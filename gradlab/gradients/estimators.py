"""The common part of all estimators of gradients: random directions.

An *estimator* evaluates the loss along only a few random directions v, for any number of
parameters. With independent entries of mean 0 and variance 1, E[v vᵀ] is the identity, and so

    E[(∇f · v) v]  =  ∇f

A single estimate is mostly noise, of the size √p times that of the gradient; averaged over many
steps of a training, or over `draws`, it points the right way.

The seed and the parameters determine the directions, so that an estimator is deterministic like any
other backend: the same arguments give the same bits, also after a training is resumed, and every
step of a training has other directions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from gradlab import options
from gradlab.gradients.protocol import Loss, ValueAndGrad
from gradlab.params import Array
from gradlab.seeding import generator


@dataclass(frozen=True)
class Estimator:
    """A backend whose gradient is right on average."""

    draws: int = 1  # random directions over which a gradient is averaged
    # Determines the directions, together with the parameters.
    seed: int | np.random.Generator = 0
    name: ClassVar[str]
    estimates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        options.integer("draws", self.draws)
        generator(self.seed)

    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""
        raise NotImplementedError

    def entropy(self) -> int:
        """Return the number by which one returned function's directions differ from another's."""
        return int(generator(self.seed).integers(2**63))


def directions(
    leaves: Sequence[Array], draws: int, entropy: int, kind: Literal["signs", "normal"]
) -> Iterator[list[Array]]:
    """Yield random directions in the shapes of the leaves, determined by their bits and `entropy`.

    The entries are ±1, each as likely (Rademacher), or of the standard normal distribution.

    Examples
    --------
    >>> [direction] = next(directions([np.zeros(5)], 1, entropy=0, kind="signs"))
    >>> np.abs(direction)
    array([1., 1., 1., 1., 1.])
    """
    bits = hashlib.blake2b(digest_size=16)
    for leaf in leaves:
        bits.update(leaf.tobytes())
    rng = np.random.default_rng([entropy, *bits.digest()])
    for _ in range(draws):
        if kind == "signs":
            yield [_signs(leaf.shape, rng) for leaf in leaves]
        else:
            yield [np.asarray(rng.standard_normal(leaf.shape)) for leaf in leaves]


def _signs(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    signs = np.asarray(rng.integers(2, size=shape), np.float64)
    signs *= -2.0
    signs += 1.0
    return signs


def add_scaled(totals: Sequence[Array], scale: Any, direction: Sequence[Array]) -> None:
    """Add a multiple of a direction to the sums."""
    for total, v in zip(totals, direction, strict=True):
        total += scale * v


def averages(totals: Sequence[Array], draws: int) -> Sequence[Array]:
    """Divide the sums to averages."""
    for total in totals:
        total /= draws
    return totals
