"""The loss around its parameters, as all numerical backends evaluate it.

In reading order:

==============  ===================================================================================
`probe`         the loss at its parameters and beside them; how exactly it is evaluated
`sums`          the same of a `SumOfTerms`: entries that share no term move together
`evaluation`    how the evaluations of a gradient are done, as a value; the plain loop
`recorded`      the loss recorded as a program, of which only what an entry changes is computed
==============  ===================================================================================

A third way, workers, has a package of its own: `gradlab.gradients.workers`.
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
