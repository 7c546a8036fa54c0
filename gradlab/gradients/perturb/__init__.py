"""Finite differences of a recorded loss at the cost of what a perturbation really changes.

Two evaluations for each of p parameters are two passes through a whole batch and all layers, of
which a single weight changes little: one column of one layer, and only in the rows of the batch
where its input is not zero. Here the loss is recorded once as a program (`gradlab.program`),
and the perturbations of all entries of a leaf are evaluated together, each where it changes
something. The result is the difference quotient of the loss, for the same steps, to rounding.

The files, in reading order:

==============  ===================================================================================
`engine`        a recorded loss at a point; the entry to all of this
`operations`    what is asked about an operation, beside its row in the table of primitives
`changes`       the change of an elementwise result from the changes of its operands
`powers`        changes of a layer as power series, where lanes share their coefficients
`contraction`   products as letters of `numpy.einsum`
`extents`       what a perturbation of one entry changes in each value; refuses what has no rule
`rows`          the proof that the batch axis is separable, so that each row is a lane of its own
`blocks`        lanes: skips zeros, merges equal ones, makes blocks that fit the cache
`layout`        values without a change beside lanes, and the index tricks
`evaluate`      the changes of all values in a block of lanes
`products`      the same for products
`plan`          the stages: entries, blocks of lanes, totals; and whether all this is faster
`simplify`      recognises a sigmoid that is spelled out
`limits`        the thresholds
`threads`       several blocks at once
`scratch`       memory that is used again
`recording`     the loss as a program, or a note why it has to be evaluated for each entry
==============  ===================================================================================

The table of primitives (`gradlab.program.primitives`) has a row for each operation. `changes` adds
to the row the change of a result, `powers` its power series. Elementwise operations work without
either, as do reductions: they are evaluated again at the perturbed values.
"""

from gradlab.gradients.perturb.engine import Incremental
from gradlab.gradients.perturb.recording import PointRecorder

__all__ = ["Incremental", "PointRecorder"]
