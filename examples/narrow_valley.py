"""Four optimisers in the narrow valley x² / 20 + y²: their paths, drawn over its contours.

Run it with `python examples/narrow_valley.py`, or `... narrow_valley.py FIGURE.png`.
"""

import sys

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

import gradlab
from gradlab import optim, plotting

START, STEPS = np.array([-7.0, 2.0]), 30
OPTIMISERS = {
    "sgd": optim.sgd(0.95),
    "momentum": optim.sgd(0.1, momentum=0.9),
    "adagrad": optim.adagrad(1.5),
    "adam": optim.adam(0.3),
}


def valley(p):
    return p[0] ** 2 / 20 + p[1] ** 2


def paths():
    """Return the points that each optimiser reaches, shape (STEPS + 1, 2)."""
    found = {}
    for name, optimizer in OPTIMISERS.items():
        steps = []
        keep = [steps.append]
        gradlab.fit(valley, START, optimizer=optimizer, iterations=STEPS, callbacks=keep)
        found[name] = np.array([START, *(step.updated for step in steps)])
    return found


def figure(found):
    x, y = np.meshgrid(np.linspace(-8, 8, 161), np.linspace(-3, 3, 61))
    with rc_context(plotting.STYLE):
        drawn = Figure(figsize=(8, 6))
        places = drawn.subplots(2, 2).flat
        for axes, colour, (name, path) in zip(
            places, plotting.COLOURS, found.items(), strict=False
        ):
            axes.contour(x, y, valley([x, y]), levels=12, colors="#bbbbbb", linewidths=0.8)
            axes.plot(*path.T, "o-", color=colour, markersize=3, linewidth=1)
            axes.plot(0, 0, "+", color="black", markersize=10)
            axes.set_title(f"{name}: {valley(path[-1]):.1e} after {STEPS} steps")
    return drawn


if __name__ == "__main__":
    for name, path in (found := paths()).items():
        print(f"{name:9} {valley(path[-1]):.2e}")
    plotting.save(figure(found), sys.argv[1] if sys.argv[1:] else "narrow_valley.png")
