"""The optimisers that update each entry separately: SGD, Adagrad, RMSProp, Adam.

Each class has its formula; the functions of `gradlab.optim` create them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gradlab.errors import OptionError
from gradlab.optim.optimiser import Arrays, Optimiser, below_1, from_0, squared
from gradlab.params import Array


@dataclass(frozen=True, kw_only=True)
class SGD(Optimiser):
    """Stochastic gradient descent with momentum; see `gradlab.optim.sgd`."""

    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        below_1("momentum", self.momentum)
        if self.nesterov and not self.momentum:
            raise OptionError("nesterov=True: give a momentum above 0")

    @property
    def slots(self) -> tuple[str, ...]:
        """The velocity, if there is a momentum."""
        return ("velocity",) if self.momentum else ()

    def direct(
        self, count: int, rate: float, g: Array, old: Arrays, new: Arrays, update: Array
    ) -> None:
        """Write the step of one array."""
        if not self.momentum:
            np.multiply(g, -rate, out=update)
            return
        velocity = new[0]
        np.multiply(old[0], self.momentum, out=velocity)
        np.add(velocity, g, out=velocity)
        if self.nesterov:
            np.multiply(velocity, self.momentum, out=update)
            np.add(update, g, out=update)
            np.multiply(update, -rate, out=update)
        else:
            np.multiply(velocity, -rate, out=update)


@dataclass(frozen=True, kw_only=True)
class Adagrad(Optimiser):
    """Adagrad; see `gradlab.optim.adagrad`."""

    eps: float = 1e-10
    initial: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        from_0("eps", self.eps)
        from_0("initial", self.initial)

    @property
    def slots(self) -> tuple[str, ...]:
        """The sum of the squares of all gradients."""
        return ("sum",)

    def fill(self, slot: int) -> float:
        """Return the sum of squares before the first step."""
        return self.initial

    def direct(
        self, count: int, rate: float, g: Array, old: Arrays, new: Arrays, update: Array
    ) -> None:
        """Write the step of one array."""
        np.add(old[0], squared(g, update), out=new[0])
        np.sqrt(new[0], out=update)
        _divided(g, update, self.eps, -rate)


@dataclass(frozen=True, kw_only=True)
class RMSProp(Optimiser):
    """RMSProp; see `gradlab.optim.rmsprop`."""

    decay: float = 0.9
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        below_1("decay", self.decay)
        from_0("eps", self.eps)

    @property
    def slots(self) -> tuple[str, ...]:
        """The average of the squares."""
        return ("v",)

    def direct(
        self, count: int, rate: float, g: Array, old: Arrays, new: Arrays, update: Array
    ) -> None:
        """Write the step of one array."""
        _averaged_square(old[0], g, self.decay, new[0], update)
        np.sqrt(new[0], out=update)
        _divided(g, update, self.eps, -rate)


@dataclass(frozen=True, kw_only=True)
class Adam(Optimiser):
    """Adam, and with a weight decay AdamW; see `gradlab.optim.adam`."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        below_1("b1", self.b1)
        below_1("b2", self.b2)
        from_0("eps", self.eps)

    @property
    def slots(self) -> tuple[str, ...]:
        """The averages of the gradient and of its squares."""
        return ("m", "v")

    def direct(
        self, count: int, rate: float, g: Array, old: Arrays, new: Arrays, update: Array
    ) -> None:
        """Write the step of one array.

        With corrections c₁ = 1 - β₁ᵗ and c₂ = 1 - β₂ᵗ, the step is computed as
        ``rate * √c₂ / c₁ * m / (√v + ε √c₂)``, without a pass over the arrays for them.
        """
        m, v = new
        np.multiply(g, 1 - self.b1, out=update)
        np.multiply(old[0], self.b1, out=m)
        np.add(m, update, out=m)
        _averaged_square(old[1], g, self.b2, v, update)
        np.sqrt(v, out=update)
        c1, c2 = 1 - self.b1 ** (count + 1), math.sqrt(1 - self.b2 ** (count + 1))
        _divided(m, update, self.eps * c2, -rate * c2 / c1)


def _averaged_square(old: Array, g: Array, decay: float, new: Array, room: Array) -> None:
    """Write ``decay * old + (1 - decay) * g²`` into `new`."""
    np.multiply(squared(g, room), 1 - decay, out=room)
    np.multiply(old, decay, out=new)
    np.add(new, room, out=new)


def _divided(numerator: Array, root: Array, eps: float, factor: float) -> None:
    """Write ``factor * numerator / (root + eps)`` into `root`.

    An ε below the smallest normal number of the dtype would be rounded to 0, and 0 / 0 is NaN.
    """
    np.add(root, max(eps, float(np.finfo(root.dtype).tiny)), out=root)
    np.divide(numerator, root, out=root)
    np.multiply(root, factor, out=root)
