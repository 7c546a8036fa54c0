"""The numbers of `gradlab demo`, from the notebook that gradlab grew out of.

The values of losses for a right and a wrong prediction; the derivative of x² by hand and by a
central difference; the gradient of x₀² + x₁² at three points; and gradient descent to the minimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab import network
from gradlab.gradients import CentralDifference, grad
from gradlab.params import Array
from gradlab.training import descend

NOTEBOOK_STEP = 1e-4
"""The step of the notebook's central difference."""

LABEL = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0, 0])
RIGHT_PREDICTION = np.array([0.1, 0.05, 0.6, 0.0, 0.05, 0.1, 0.0, 0.1, 0.0, 0.0])
WRONG_PREDICTION = np.array([0.1, 0.05, 0.1, 0.0, 0.05, 0.1, 0.0, 0.6, 0.0, 0.0])
POINTS = ((3.0, 4.0), (0.0, 2.0), (3.0, 0.0))


def square(x: Any) -> Any:
    """Return x²."""
    return x**2


def bowl(x: Any) -> Any:
    """Return x₀² + x₁² + ..., for x of shape (2,) or (2, ...)."""
    return (x**2).sum(axis=0)


@dataclass(frozen=True)
class Story:
    """The notebook's numbers."""

    # For each loss, its value for the right and the wrong prediction.
    losses: dict[str, tuple[float, float]]
    # Shape (100,): points, and the derivative of x² there: 2x, and the central difference.
    x: Array
    by_hand: Array
    numerical: Array
    # The numerical gradient of x₀² + x₁² at each of `POINTS`.
    gradients: dict[tuple[float, float], Array]
    path: Array  # shape (101, 2): gradient descent on it from (-3, 4), rate 0.1

    def summary(self) -> dict[str, Any]:
        """Return the numbers of the story, ready for JSON."""
        return {
            "losses": {
                name: {"right": right, "wrong": wrong}
                for name, (right, wrong) in self.losses.items()
            },
            "largest_derivative_error": float(np.max(np.abs(self.numerical - self.by_hand))),
            "gradients": [
                {"point": list(point), "gradient": gradient.tolist()}
                for point, gradient in self.gradients.items()
            ],
            "descent": {"steps": len(self.path) - 1, "path": self.path.tolist()},
        }


def compute() -> Story:
    """Compute the story.

    Examples
    --------
    >>> story = compute()
    >>> [round(loss, 12) for loss in story.losses["squared_error"]]
    [0.0975, 0.5975]
    >>> bool(np.allclose(story.path[-1], 0))
    True
    """
    central = CentralDifference(step=NOTEBOOK_STEP)
    x = np.linspace(-5.0, 5.0, 100)
    losses: dict[str, Callable[[Any, Any], Any]] = {
        "squared_error": network.squared_error,
        "cross_entropy": network.cross_entropy_from_probabilities,
    }
    path = descend(bowl, np.array([-3.0, 4.0]), backend=central, learning_rate=0.1, iterations=100)
    return Story(
        losses={
            name: (float(loss(RIGHT_PREDICTION, LABEL)), float(loss(WRONG_PREDICTION, LABEL)))
            for name, loss in losses.items()
        },
        x=x,
        by_hand=2 * x,
        numerical=np.array([grad(square, central)(point) for point in x]),
        gradients={point: grad(bowl, central)(np.array(point)) for point in POINTS},
        path=np.array(path),
    )
