"""Optimisers and learning-rate schedules, for `gradlab.fit` and for loops of your own.

Each optimiser has optax's two methods: ``init(params) -> state`` and
``update(grads, state, params) -> (updates, state)``, on NumPy structures of any nesting. The first
argument is the learning rate or a schedule. All but `lbfgs` take a decoupled weight decay and a
bound on the norm of the gradient, see `Optimiser`. `gradlab.fit` takes transformations of optax as
well.

The files, in reading order:

- `schedules.py`: learning rates that change from step to step;
- `optimiser.py`: the common parts of all optimisers: the protocol, weight decay, clipping;
- `rules.py`: the optimisers that update each entry separately;
- `quasi_newton.py`: L-BFGS, which does not.

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

from gradlab.optim.optimiser import Optimiser
from gradlab.optim.quasi_newton import LBFGS as lbfgs
from gradlab.optim.rules import SGD as sgd
from gradlab.optim.rules import Adagrad as adagrad
from gradlab.optim.rules import Adam as adam
from gradlab.optim.rules import RMSProp as rmsprop
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


def adamw(
    learning_rate: Rate,
    b1: float = 0.9,
    b2: float = 0.999,
    *,
    eps: float = 1e-8,
    weight_decay: float = 0.01,
    clip: float | None = None,
) -> adam:
    """Return AdamW: `adam` with a decoupled weight decay, by default PyTorch's.

    A step also subtracts η λ p (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*,
    2019, algorithm 2). See `adam` for the parameters and errors.

    Examples
    --------
    >>> adamw(0.001) == adam(0.001, weight_decay=0.01)
    True
    """
    return adam(learning_rate, b1, b2, eps=eps, weight_decay=weight_decay, clip=clip)
