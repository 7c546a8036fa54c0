"""Derivatives of any function: Jacobians, products with them, Hessians, higher derivatives.

The derivative of a function at a point is a linear map, J. A backend gives its columns (J v, one
perturbation of the parameters), its rows (uᵀJ, one pass of reverse mode), or all of it. In the
order in which the files are read:

==============  ===================================================================================
`functions`     a function of any arguments and outputs, as the backends take it
`reverse`       rows: for every backend that has gradients; J v by reverse mode twice
`forward`       columns: autograd's forward mode
`stencils`      difference formulas as points and weights, within bounds
`lines`         a function along a line through its parameters, with all its outputs at once
`sparsity`      which entries of the parameters can be moved together
`measuring`     outputs that a formula does not suit, and how they are measured instead
`parallel`      columns by several workers
`differences`   columns: the finite differences
`extrapolated`  columns: Richardson extrapolation
`complex_step`  columns: the complex step
`libraries`     JAX's and PyTorch's own derivatives
`maps`          which way each backend goes; blocks of the result
`first`         `jacobian`, `jvp`, `vjp`
`second`        `hessian`, `hvp`: the same of a gradient
`table`         an n-th derivative from values, extrapolated
`nth`           `derivative`: of any order, of a function of one number
`error_bars`    `derivative_with_error`, `jvp_with_error`: measured, with error bars
==============  ===================================================================================
"""

from gradlab.derivatives.error_bars import derivative_with_error, jvp_with_error
from gradlab.derivatives.first import jacobian, jvp, vjp
from gradlab.derivatives.nth import derivative
from gradlab.derivatives.second import hessian, hvp

__all__ = [
    "derivative",
    "derivative_with_error",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "jvp_with_error",
    "vjp",
]
