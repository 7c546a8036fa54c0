"""Derivatives of any function: Jacobians, products with them, Hessians, higher derivatives.

The derivative of a function at a point is a linear map, J. A backend gives its columns (J v, one
perturbation of the parameters), its rows (uᵀJ, one pass of reverse mode), or all of it. The files,
in reading order:

==============  ===================================================================================
`functions`     adapts a function of any arguments and outputs to the backends
`reverse`       rows: for every backend with gradients; J v by reverse mode applied twice
`forward`       columns: autograd's forward mode
`stencils`      difference formulas as points and weights, within bounds
`lines`         a function along a line through its parameters, with all its outputs at once
`sparsity`      which entries of the parameters can be perturbed together
`measuring`     detects outputs that a formula does not suit, and measures them with error bars
`parallel`      columns by several workers
`differences`   columns: the finite differences, and their extrapolation
`complex_step`  columns: the complex step
`libraries`     JAX's and PyTorch's own derivatives
`maps`          which of these each backend uses; blocks of the result
`first`         `jacobian`, `jvp`, `vjp`
`second`        `hessian`, `hvp`: the derivatives of a gradient
`table`         the n-th derivative from values, extrapolated
`nth`           `derivative`: of any order, of a function of one number
`error_bars`    `derivative_with_error`, `jvp_with_error`: derivatives with error bars
==============  ===================================================================================
"""

from gradlab.derivatives.error_bars import derivative_with_error as derivative_with_error
from gradlab.derivatives.error_bars import jvp_with_error as jvp_with_error
from gradlab.derivatives.first import jacobian as jacobian
from gradlab.derivatives.first import jvp as jvp
from gradlab.derivatives.first import vjp as vjp
from gradlab.derivatives.nth import derivative as derivative
from gradlab.derivatives.second import hessian as hessian
from gradlab.derivatives.second import hvp as hvp
