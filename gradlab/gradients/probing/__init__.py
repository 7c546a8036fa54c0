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

from gradlab.gradients.probing.evaluation import Evaluation as Evaluation
from gradlab.gradients.probing.evaluation import Loop as Loop
from gradlab.gradients.probing.evaluation import Method as Method
from gradlab.gradients.probing.evaluation import Slopes as Slopes
from gradlab.gradients.probing.evaluation import by_leaf as by_leaf
from gradlab.gradients.probing.probe import COMPARISON_DISTANCE as COMPARISON_DISTANCE
from gradlab.gradients.probing.probe import ROUGH_RELATIVE_NOISE as ROUGH_RELATIVE_NOISE
from gradlab.gradients.probing.probe import CoarseLoss as CoarseLoss
from gradlab.gradients.probing.probe import EntryLine as EntryLine
from gradlab.gradients.probing.probe import Probe as Probe
from gradlab.gradients.probing.probe import Quotient as Quotient
from gradlab.gradients.probing.probe import restore as restore
from gradlab.gradients.probing.probe import size_of as size_of
from gradlab.gradients.probing.sums import ProbeOfTerms as ProbeOfTerms
