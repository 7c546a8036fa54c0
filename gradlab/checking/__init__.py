"""Do a loss and a gradient agree? Error bars, verdicts, the entries at fault, the report."""

from gradlab.checking.check import check_gradients as check_gradients
from gradlab.checking.derivatives import check_derivatives as check_derivatives
from gradlab.checking.jacobian import DerivativeEntry as DerivativeEntry
from gradlab.checking.layers import check_layer as check_layer
from gradlab.checking.report import DerivativeReport as DerivativeReport
from gradlab.checking.report import GradientReport as GradientReport
from gradlab.checking.result import Difference as Difference
from gradlab.checking.result import Entry as Entry
from gradlab.checking.result import Leaf as Leaf
from gradlab.checking.result import Verdict as Verdict
