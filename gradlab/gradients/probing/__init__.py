"""Evaluations of the loss near its parameters, for all numerical backends.

In reading order:

==============  ===================================================================================
`probe`         the loss at its parameters and near them; its precision
`sums`          the same for a `SumOfTerms`: entries that share no term are perturbed together
`evaluation`    an object that decides how a gradient's evaluations are done; the plain loop
`recorded`      the loss recorded as a program; computes only what an entry changes
==============  ===================================================================================

Evaluation by workers has its own package: `gradlab.gradients.workers`.
"""

from gradlab.gradients.probing.evaluation import Evaluation, Loop, Method, Slopes
from gradlab.gradients.probing.probe import (
    COARSEST,
    CoarseLoss,
    EntryLine,
    Probe,
    Quotient,
    restore,
    size_of,
)
from gradlab.gradients.probing.recorded import Recorded
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
    "Recorded",
    "Slopes",
    "restore",
    "size_of",
]
