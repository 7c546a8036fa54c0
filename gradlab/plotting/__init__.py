"""Figures: one function a figure, each returning a matplotlib `Figure` that the caller saves.

All share one style, and no global state of matplotlib is touched::

    style, scales, labels     colours and sizes; logarithmic axes; names beside curves and rows
    training, norms           losses and accuracies; the norms of gradients and steps
    comparing, diagnosing     backends beside each other; learning rates, the loss along a step
    checking, classifying     a gradient against its loss; what a network takes for what
    story                     losses, derivatives and descent, as `gradlab demo` tells them
"""

from gradlab.plotting.checking import MARKS, PALE_COLOURS, gradient_agreement, gradient_map
from gradlab.plotting.classifying import confusion_matrix, misclassified
from gradlab.plotting.comparing import activation_histograms, gradient_cost, gradient_differences
from gradlab.plotting.diagnosing import loss_sections, rate_sweep
from gradlab.plotting.norms import norm_curves
from gradlab.plotting.story import chain_rule, derivative, descent, predictions, surface
from gradlab.plotting.style import COLOURS, STYLE, save
from gradlab.plotting.training import loss_bands, loss_curves, training_curves

__all__ = [
    "COLOURS",
    "MARKS",
    "PALE_COLOURS",
    "STYLE",
    "activation_histograms",
    "chain_rule",
    "confusion_matrix",
    "derivative",
    "descent",
    "gradient_agreement",
    "gradient_cost",
    "gradient_differences",
    "gradient_map",
    "loss_bands",
    "loss_curves",
    "loss_sections",
    "misclassified",
    "norm_curves",
    "predictions",
    "rate_sweep",
    "save",
    "surface",
    "training_curves",
]
