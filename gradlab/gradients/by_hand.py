"""A gradient derived by hand as a backend: the checker checks it, the trainer uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.arrays.read_only import read_only
from gradlab.errors import LossError
from gradlab.gradients.protocol import (
    Loss,
    ValueAndGrad,
    finish_gradients,
    note_origin,
    raise_from_loss,
    real_scalar,
)
from gradlab.params import flatten, leaves_like


@dataclass(frozen=True)
class ByHand:
    """Backend of a gradient that is given as a function.

    Its error is that of the function: check it once by `gradlab.check_gradients`.

    Parameters
    ----------
    gradient : callable, optional
        ``gradient(params, *args)`` in the structure of the parameters. Without one, the loss
        returns ``(loss, gradient)``.

    Examples
    --------
    >>> import numpy as np
    >>> def loss(w, x, y):
    ...     return np.mean((x @ w - y) ** 2)
    >>> def gradient(w, x, y):
    ...     return 2 * x.T @ (x @ w - y) / len(y)
    >>> x, y = np.array([[1.0, 2.0], [3.0, 1.0]]), np.array([1.0, 0.0])
    >>> ByHand(gradient).value_and_grad(loss)(np.zeros(2), x, y)
    (0.5, array([-1., -2.]))
    """

    gradient: Callable[..., Any] | None = None
    name = "by hand"

    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return the function that evaluates `loss` and its given gradient."""

        def value_and_grad(params: Any, *args: Any, **keywords: Any) -> tuple[float, Any]:
            leaves, structure = flatten(params)
            fixed, named = read_only(args), read_only(keywords)

            def call(function: Callable[..., Any]) -> Any:
                return function(structure.unflatten(read_only(leaves)), *fixed, **named)

            try:
                value = call(loss)
            except Exception as error:
                raise_from_loss(error, "the parameters")
            if self.gradient is None:
                value, found = _pair(value)
            else:
                try:
                    found = call(self.gradient)
                except Exception as error:
                    note_origin(error, "the gradient at the parameters")
                    raise
            grads = leaves_like(params, found, "the gradient", lambda leaf, path: np.asarray(leaf))
            done = finish_gradients(structure.paths, grads, leaves)
            return float(real_scalar(value)), structure.unflatten(done)

        return value_and_grad


def _pair(value: Any) -> tuple[Any, Any]:
    if isinstance(value, tuple) and len(value) == 2:
        return value
    raise LossError(
        "the loss does not return (loss, gradient): do so, or give ByHand(gradient) a function"
    )
