"""Plain gradient descent on a function, without data or minibatches."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab import options
from gradlab.gradients import Backend, Loss
from gradlab.params import flatten
from gradlab.training.data import quiet
from gradlab.training.gradients import gradients
from gradlab.training.loop import own_copies


def descend(
    function: Loss,
    start: Any,
    *args: Any,
    backend: str | Backend = "autograd",
    learning_rate: float = 0.1,
    iterations: int = 100,
) -> list[Any]:
    """Follow the gradient of a function downhill, and return the parameters of each step.

    This is plain gradient descent, without minibatches: `fit` is for training on data.

    Parameters
    ----------
    function : callable
        ``function(params, *args) -> scalar``.
    start : Any
        The parameters to start from.
    backend, learning_rate
        See `fit`.
    iterations : int
        The number of steps.

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
    gradient_at = gradients(function, backend)
    leaves, structure = own_copies(start)
    path = [structure.unflatten(leaves)]
    with quiet():
        for _ in range(iterations):
            _, gradient = gradient_at(path[-1], *args)
            leaves = [
                np.asarray(leaf - learning_rate * slope)
                for leaf, slope in zip(leaves, gradient.leaves, strict=True)
            ]
            params = structure.unflatten(leaves)
            flatten(params)  # raises an error that names the entry that is not finite
            path.append(params)
    return path
