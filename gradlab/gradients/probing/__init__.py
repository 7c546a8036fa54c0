"""Evaluations of the loss near its parameters, for all numerical backends.

In reading order:

==============  ===================================================================================
`probe`         the loss at its parameters and near them; its precision
`sums`          the same for a `SumOfTerms`: entries that share no term are perturbed together
`evaluation`    an object that decides how a gradient's evaluations are done; the plain loop
==============  ===================================================================================

Two evaluations have packages of their own: from a recording of the loss,
`gradlab.gradients.perturb`, and by workers, `gradlab.gradients.workers`.
"""

from gradlab.gradients.probing.evaluation import Evaluation, Loop, Method, Slopes, by_leaf
from gradlab.gradients.probing.probe import (
    COARSEST,
    CoarseLoss,
    EntryLine,
    Probe,
    Quotient,
    restore,
    size_of,
)
from gradlab.gradients.probing.sums import ProbeOfTerms

__all__ = [
    "COARSEST",
    "CoarseLoss",
    "EntryLine",
    "Evaluation",
    "Loop",
    "Method",
    "Probe",
    "ProbeOfTerms",
    "Quotient",
    "Slopes",
    "by_leaf",
    "restore",
    "size_of",
]
