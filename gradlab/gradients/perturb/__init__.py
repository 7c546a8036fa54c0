"""Finite differences of a recorded loss at the cost of what a perturbation really changes.

Two evaluations for each of p parameters are two passes through a whole batch and all layers, of
which a single weight changes little: one column of one layer, and only in the rows of the batch
where its input is not zero. Here the loss is recorded once as a program (`gradlab.gradients.tape`),
and the movements of all entries of a leaf are evaluated together, each where it changes something:

==============  ===================================================================================
`kinds`         what a movement of one entry changes in each value; refuses what it cannot prove
`changes`       the change of a result from the changes of its operands, one rule an operation
`simplify`      a sigmoid that is spelled out, recognised
`powers`        changes of a layer as power series, where lanes share their coefficients
`engine`        lanes: skips zeros, computes equal ones once, works in blocks that fit the cache
`extents`       the kinds of what is not made of rows: statistics of a batch, tied weights, ...
`whole`         lanes of whole values, for these
`threads`       several blocks at once
`recording`     the loss as a program, or a note why it has to be evaluated for each entry
==============  ===================================================================================

What comes out is the difference quotient of the loss, for the same steps, to rounding.
"""

from gradlab.gradients.perturb.engine import Incremental
from gradlab.gradients.perturb.recording import Recorder

__all__ = ["Incremental", "Recorder"]
