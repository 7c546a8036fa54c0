"""Losses that return ``(scalar, gradient)``."""

from __future__ import annotations

from typing import Any

from gradlab.gradients.protocol import Loss


class FirstOfPair:
    """Split a loss that may return ``(scalar, gradient)`` into a loss and a gradient.

    Examples
    --------
    >>> first = FirstOfPair(lambda x: (x**2, 2 * x))
    >>> first(3.0), first.second(3.0), first.pair
    (9.0, 6.0, True)
    """

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.pair = False  # whether the loss has returned a pair

    def __call__(self, params: Any, *args: Any) -> Any:
        """Return the scalar."""
        value = self.loss(params, *args)
        if isinstance(value, tuple) and len(value) == 2:
            self.pair = True
            return value[0]
        return value

    def second(self, params: Any, *args: Any) -> Any:
        """Return the gradient."""
        return self.loss(params, *args)[1]
