"""Optimisers and learning-rate schedules, for `gradlab.fit` and for loops of your own.

Each function returns an optimiser with optax's two methods: ``init(params) -> state`` and
``update(grads, state, params) -> (updates, state)``, on NumPy structures of any nesting. The first
argument is the learning rate or a schedule. All but `lbfgs` take a decoupled weight decay and a
bound on the norm of the gradient, see `Optimiser`. `gradlab.fit` takes transformations of optax as
well.

The files, in reading order:

- `schedules.py`: learning rates that change from step to step;
- `optimiser.py`: the common parts of all optimisers: the protocol, weight decay, clipping;
- `rules.py`: the optimisers that update each entry separately;
- `lbfgs.py`: L-BFGS, which does not.

Examples
--------
>>> import numpy as np
>>> from gradlab import optim
>>> params = {"w": np.array([1.0, -2.0])}
>>> momentum = optim.sgd(optim.step(0.1, every=50), momentum=0.9, weight_decay=1e-4)
>>> state = momentum.init(params)
>>> for _ in range(100):
...     grads = {"w": 2 * params["w"]}
...     updates, state = momentum.update(grads, state, params)
...     params = {"w": params["w"] + updates["w"]}
>>> bool(np.abs(params["w"]).max() < 0.1)
True
"""

from __future__ import annotations

from gradlab.optim.lbfgs import LBFGS
from gradlab.optim.optimiser import Optimiser
from gradlab.optim.rules import SGD, Adagrad, Adam, RMSProp
from gradlab.optim.schedules import Rate, constant, cosine, step, warmup

__all__ = [
    "Optimiser",
    "adagrad",
    "adam",
    "adamw",
    "constant",
    "cosine",
    "lbfgs",
    "rmsprop",
    "sgd",
    "step",
    "warmup",
]


def sgd(
    learning_rate: Rate,
    momentum: float = 0.0,
    *,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    clip: float | None = None,
) -> SGD:
    """Return stochastic gradient descent, optionally with momentum.

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
        See `Optimiser`.

    Raises
    ------
    OptionError
        If an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> descent = sgd(0.5)
    >>> descent.update(np.array([1.0, -1.0]), descent.init(np.zeros(2)), np.zeros(2))
    (array([-0.5,  0.5]), {'count': 1})
    """
    return SGD(
        learning_rate=learning_rate,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        clip=clip,
    )


def adagrad(
    learning_rate: Rate,
    *,
    eps: float = 1e-10,
    initial: float = 0.0,
    weight_decay: float = 0.0,
    clip: float | None = None,
) -> Adagrad:
    """Return Adagrad: the rate of each entry falls with the sum of its squared gradients.

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
        See `Optimiser`.

    Raises
    ------
    OptionError
        If an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> rule = adagrad(0.5)
    >>> updates, state = rule.update(np.array([4.0]), rule.init(np.zeros(1)), np.zeros(1))
    >>> updates.round(6), state
    (array([-0.5]), {'count': 1, 'sum': array([16.])})
    """
    return Adagrad(
        learning_rate=learning_rate,
        eps=eps,
        initial=initial,
        weight_decay=weight_decay,
        clip=clip,
    )


def rmsprop(
    learning_rate: Rate,
    decay: float = 0.9,
    *,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip: float | None = None,
) -> RMSProp:
    """Return RMSProp: each entry's step is relative to the size of its recent gradients.

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
        See `Optimiser`.

    Raises
    ------
    OptionError
        If an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> rule = rmsprop(0.1, decay=0.75)
    >>> updates, _ = rule.update(np.array([4.0]), rule.init(np.zeros(1)), np.zeros(1))
    >>> updates.round(6)
    array([-0.2])
    """
    return RMSProp(
        learning_rate=learning_rate, decay=decay, eps=eps, weight_decay=weight_decay, clip=clip
    )


def adam(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    *,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    clip: float | None = None,
) -> Adam:
    """Return Adam: averages of the gradient and of its squares determine each entry's step.

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
        See `Optimiser`; `adamw` has a weight decay by default.

    Raises
    ------
    OptionError
        If an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> rule = adam(0.001)
    >>> updates, state = rule.update(np.array([4.0]), rule.init(np.zeros(1)), np.zeros(1))
    >>> updates.round(6), sorted(state)
    (array([-0.001]), ['count', 'm', 'v'])
    """
    return Adam(
        learning_rate=learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, clip=clip
    )


def adamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    *,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    clip: float | None = None,
) -> Adam:
    """Return AdamW: `adam` with a decoupled weight decay, by default PyTorch's.

    A step also subtracts η λ p (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*,
    2019, algorithm 2). See `adam` for the parameters and errors.

    Examples
    --------
    >>> adamw(0.001) == adam(0.001, weight_decay=0.01)
    True
    """
    return adam(learning_rate, b1, b2, eps=eps, weight_decay=weight_decay, clip=clip)


def lbfgs(learning_rate: Rate = 1.0, memory: int = 10) -> LBFGS:
    """Return L-BFGS without a line search, for the gradient of all data at once.

    The direction is -H g, where H is the inverse Hessian estimated from the last `memory` steps and
    changes of the gradient; the first step is ``-η min(1, 1 / ‖g‖₁) g``, as in PyTorch. (Nocedal
    and Wright, *Numerical Optimization*, 2006, algorithm 7.4. A pair without positive curvature is
    omitted.) With minibatches, noise would count as curvature, so `fit` uses all data in each step.
    For a line search, use SciPy's optimisers.

    Parameters
    ----------
    learning_rate : float or callable
        η, or a schedule; 1 is Newton's step.
    memory : int
        The number of steps that H is estimated from.

    Raises
    ------
    OptionError
        If an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> rule, scales = lbfgs(), np.array([1.0, 10.0])
    >>> x = np.array([3.0, 1.0])
    >>> state = rule.init(x)
    >>> for _ in range(20):
    ...     update, state = rule.update(scales * x, state, x)
    ...     x = x + update
    >>> bool(np.abs(x).max() < 1e-6)
    True
    """
    return LBFGS(learning_rate=learning_rate, memory=memory)
