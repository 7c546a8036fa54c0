"""``gradlab demo``: the notebook's story, in numbers and pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from gradlab import story
from gradlab.command.arguments import Json, Output
from gradlab.command.console import out, show
from gradlab.command.results import Folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLE = "Example: `gradlab demo --output story`"


def demo(output: Output = None, json_file: Json = None) -> None:
    """Show losses, derivatives and gradient descent in numbers and pictures.

    The demo follows the notebook that gradlab grew out of: loss functions, the derivative of x² by
    hand and numerically, gradients of a bowl, and the descent to its minimum.
    """
    with Folder(output, json_file) as folder:
        told = story.compute()
        folder.write("demo", told.summary(), _figures(told))
    table = Table("loss", "right prediction", "wrong prediction")
    for name, values in told.losses.items():
        table.add_row(name.replace("_", " "), *(f"{value:.17g}" for value in values))
    show("A loss says how wrong", table)
    error = np.max(np.abs(told.numerical - told.by_hand))
    out.print(
        f"\nThe derivative of x² is 2x; the central difference is off by at most {error:.1e}.\n"
    )
    table = Table("at", "numerical", "by hand")
    for point, gradient in told.gradients.items():
        by_hand = f"({2 * point[0]:g}, {2 * point[1]:g})"
        table.add_row(f"({point[0]:g}, {point[1]:g})", str(gradient), by_hand)
    show("The gradient of x₀² + x₁²", table)
    start, end = told.path[0], told.path[-1]
    out.print(
        f"\nGradient descent from ({start[0]:g}, {start[1]:g}), rate 0.1: after "
        f"{len(told.path) - 1} steps at ({end[0]:.1e}, {end[1]:.1e}), the minimum."
    )
    folder.tell()


def _figures(told: story.Story) -> dict[str, Callable[[], Figure]]:
    from gradlab import plotting

    guesses = {
        f"{name}: cross entropy {told.losses['cross_entropy'][i]:.3f}": prediction
        for i, (name, prediction) in enumerate(
            {"right": story.RIGHT_PREDICTION, "wrong": story.WRONG_PREDICTION}.items()
        )
    }
    x0, x1 = np.meshgrid(*2 * [np.arange(-5.0, 5.0, 0.25)])
    return {
        "predictions": lambda: plotting.predictions(story.LABEL, guesses),
        "derivative": lambda: plotting.derivative(
            told.x, story.square(told.x), told.by_hand, told.numerical
        ),
        "surface": lambda: plotting.surface(x0, x1, story.bowl(np.stack([x0, x1]))),
        "descent": lambda: plotting.descent(told.path, story.bowl),
    }
