"""Do a loss and a gradient agree? Error bars, verdicts, the entries at fault, the report.

==================  ===============================================================================
`check`             `check_gradients`: from a loss and a gradient to a report; start here
`analytic`          the gradient under test
`entries`           the verdict on single entries
`kinks`             which gradients are valid at a kink; `Finding`, the two slopes of an entry
`directions`        few wrong entries among many, by random directions; `walks` measures one
`causes`            the likely cause, from the `patterns` of errors in the `columns` of a leaf
`allowance`         an error that the caller accepts
`result`            the result as data
`report`, `tables`  the result as text, and for notebooks
==================  ===============================================================================

Functions with many outputs:

=================  ================================================================================
`derivatives`      `check_derivatives`: VJPs, JVPs, Jacobians, Hessians
`functions`        evaluates the function
`claims`           the claimed derivatives; `matrices` has Jacobians of nested outputs
`consistency`      compares claims with each other
`jacobian`         judges few entries; `jacobian_directions` judges many
`jacobian_causes`  the likely cause
`complex_numbers`  the conventions of complex gradients
=================  ================================================================================

Code as others write it:

===============  ==================================================================================
`pairs`          a loss that returns its gradient as well
`layers`         ``forward(x, w, b)`` and ``backward(dout, cache)``
`layer_objects`  layers as objects; `in_place` has networks that keep their parameters
`native`         losses of PyTorch and JAX: `native_torch`, `native_jax`, `native_way`
===============  ==================================================================================
"""

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
