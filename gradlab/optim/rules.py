"""The optimisers that update each entry separately: SGD, Adagrad, RMSProp, Adam.

Each class has its formula.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np

from gradlab.errors import OptionError
from gradlab.optim.optimiser import Arrays, Optimiser, below_1, from_0, squared
from gradlab.params import Array


@dataclass(frozen=True)
class SGD(Optimiser):
    """Stochastic gradient descent, optionally with momentum.

    With parameters p, gradient g, velocity v, momentum μ and learning rate η::

        v  <-  μ v + g
        p  <-  p - η v                  or, with Nesterov's momentum, p - η (g + μ v)

    (Sutskever et al., *On the importance of initialization and momentum in deep learning*, 2013, in
    the form in which η scales the whole step, as in PyTorch and optax.)

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule.
    momentum : float
        μ, from 0 to below 1.
    nesterov : bool
        Whether the momentum is Nesterov's.
    weight_decay, clip
        See `Optimiser`, also for errors.

    Examples
    --------
    >>> from gradlab import optim
    >>> descent = optim.sgd(0.5)
    >>> descent.update(np.array([1.0, -1.0]), descent.init(np.zeros(2)), np.zeros(2))
    (array([-0.5,  0.5]), {'count': 1})
    """

    momentum: float = 0.0
    _: KW_ONLY
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


@dataclass(frozen=True)
class Adagrad(Optimiser):
    """Adagrad: the rate of each entry falls with the sum of its squared gradients.

    With the sum s of squares, which starts at `initial`::

        s  <-  s + g²
        p  <-  p - η g / (√s + ε)

    (Duchi, Hazan and Singer, *Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization*, 2011, figure 1, with the diagonal of the matrix; ε stands as in PyTorch.)

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule.
    eps : float
        ε, from 0.
    initial : float
        The sum before the first step, from 0.
    weight_decay, clip
        See `Optimiser`, also for errors.

    Examples
    --------
    >>> from gradlab import optim
    >>> rule = optim.adagrad(0.5)
    >>> updates, state = rule.update(np.array([4.0]), rule.init(np.zeros(1)), np.zeros(1))
    >>> updates.round(6), state
    (array([-0.5]), {'count': 1, 'sum': array([16.])})
    """

    _: KW_ONLY
    eps: float = 1e-10
    initial: float = 0.0

    slots = ("sum",)

    def __post_init__(self) -> None:
        super().__post_init__()
        from_0("eps", self.eps)
        from_0("initial", self.initial)

    def direct(
        self, count: int, rate: float, g: Array, old: Arrays, new: Arrays, update: Array
    ) -> None:
        """Write the step of one array."""
        np.add(old[0], squared(g, update), out=new[0])
        np.sqrt(new[0], out=update)
        _divided(g, update, self.eps, -rate)


@dataclass(frozen=True)
class RMSProp(Optimiser):
    """RMSProp: each entry's step is relative to the size of its recent gradients.

    With the moving average v of squares, and its decay α::

        v  <-  α v + (1 - α) g²
        p  <-  p - η g / (√v + ε)

    (Tieleman and Hinton, *Neural Networks for Machine Learning*, lecture 6e, 2012; ε stands as in
    PyTorch, whose default of α is 0.99.)

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule.
    decay : float
        α, from 0 to below 1.
    eps : float
        ε, from 0.
    weight_decay, clip
        See `Optimiser`, also for errors.

    Examples
    --------
    >>> from gradlab import optim
    >>> rule = optim.rmsprop(0.1, decay=0.75)
    >>> updates, _ = rule.update(np.array([4.0]), rule.init(np.zeros(1)), np.zeros(1))
    >>> updates.round(6)
    array([-0.2])
    """

    decay: float = 0.9
    _: KW_ONLY
    eps: float = 1e-8

    slots = ("v",)

    def __post_init__(self) -> None:
        super().__post_init__()
        below_1("decay", self.decay)
        from_0("eps", self.eps)

    def direct(
        self, count: int, rate: float, g: Array, old: Arrays, new: Arrays, update: Array
    ) -> None:
        """Write the step of one array."""
        _averaged_square(old[0], g, self.decay, new[0], update)
        np.sqrt(new[0], out=update)
        _divided(g, update, self.eps, -rate)


@dataclass(frozen=True)
class Adam(Optimiser):
    """Adam: averages of the gradient and of its squares determine each entry's step.

    At step t, from 1::

        m  <-  β₁ m + (1 - β₁) g
        v  <-  β₂ v + (1 - β₂) g²
        p  <-  p - η m / (1 - β₁ᵗ) / (√(v / (1 - β₂ᵗ)) + ε)

    (Kingma and Ba, *Adam: A Method for Stochastic Optimization*, 2015, algorithm 1.)

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule.
    b1, b2 : float
        β₁ and β₂, from 0 to below 1.
    eps : float
        ε, from 0.
    weight_decay, clip
        See `Optimiser`, also for errors; `adamw` has a weight decay by default.

    Examples
    --------
    >>> from gradlab import optim
    >>> rule = optim.adam(0.001)
    >>> updates, state = rule.update(np.array([4.0]), rule.init(np.zeros(1)), np.zeros(1))
    >>> updates.round(6), sorted(state)
    (array([-0.001]), ['count', 'm', 'v'])
    """

    b1: float = 0.9
    b2: float = 0.999
    _: KW_ONLY
    eps: float = 1e-8

    slots = ("m", "v")

    def __post_init__(self) -> None:
        super().__post_init__()
        below_1("b1", self.b1)
        below_1("b2", self.b2)
        from_0("eps", self.eps)

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
