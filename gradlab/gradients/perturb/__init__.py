"""Finite differences of a recorded loss that compute only what each perturbation changes.

A plain central difference evaluates the whole batch and all layers twice for each of p parameters.
A single weight changes little of that: one column of one layer, and only in the rows of the batch
where its input is not zero. This package records the loss once as a program (`gradlab.program`).
It evaluates the perturbations of all entries of a leaf together, and computes each value only where
it changes. The result equals the difference quotient of the loss, for the same steps, to round-off.

The files, in reading order:

==============  ===================================================================================
`engine`        a recorded loss at a point; the entry point of the package
`operations`    properties of an operation that its row in the table of primitives lacks
`changes`       the change of an elementwise result from the changes of its operands
`powers`        changes of a layer as power series whose coefficients all lanes share
`contraction`   products as subscripts of `numpy.einsum`
`extents`       what a perturbation of one entry changes in each value; raises `NoRule`
`rows`          the proof that the batch axis is separable, so that each row is its own lane
`blocks`        lanes: skips zeros, merges equal lanes, makes blocks that fit the cache
`layout`        arranges unchanged values for broadcasting against lanes; index tricks
`evaluate`      the changes of all values in a block of lanes
`products`      the same for matrix products
`whole_series`  the loss as a power series in each perturbation, without lanes
`plan`          the stages: entries, blocks of lanes, totals; estimates whether they pay
`simplify`      recognises sigmoids and squares written as several operations
`limits`        the thresholds
`threads`       several blocks at once
`scratch`       reused memory
`recording`     `Recorded`, which a backend holds: records the loss, or notes why it cannot
==============  ===================================================================================

The table of primitives (`gradlab.program.primitives`) has a row for each operation. `changes` adds
to the row the change of a result, `powers` its power series. Elementwise operations and
reductions need neither: the engine evaluates them again at the perturbed values.
"""

from gradlab.gradients.perturb.engine import PerturbedLoss as PerturbedLoss
from gradlab.gradients.perturb.recording import PointRecorder as PointRecorder
from gradlab.gradients.perturb.recording import Recorded as Recorded
