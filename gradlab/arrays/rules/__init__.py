"""Derivative rules that autograd lacks or has wrong, registered by autograd's public functions.

A test compares each formula with complex steps, exact differences or high precision. In the rules,
g is the cotangent of the result (in forward mode: the tangent of the argument).

Importing this package registers all rules. In reading order: `shared`, `elementwise`, `flat`,
`writing`, `composed`, `linalg`, `decompositions`, `fourier`. The last, `special`, is imported when
a loss calls one of SciPy's special functions.
"""

from gradlab.arrays import writing as _writing  # noqa: F401  registers functions that write
from gradlab.arrays.rules.composed import contract as contract
from gradlab.arrays.rules.decompositions import (
    cholesky as cholesky,
)
from gradlab.arrays.rules.decompositions import (
    eig as eig,
)
from gradlab.arrays.rules.decompositions import (
    qr as qr,
)
from gradlab.arrays.rules.decompositions import (
    svd as svd,
)
from gradlab.arrays.rules.decompositions import (
    svdvals as svdvals,
)
from gradlab.arrays.rules.elementwise import astype as astype
from gradlab.arrays.rules.elementwise import of_complex as of_complex
from gradlab.arrays.rules.elementwise import where as where
from gradlab.arrays.rules.flat import DATA as DATA
from gradlab.arrays.rules.fourier import (
    irfft as irfft,
)
from gradlab.arrays.rules.fourier import (
    irfft2 as irfft2,
)
from gradlab.arrays.rules.fourier import (
    irfftn as irfftn,
)
from gradlab.arrays.rules.fourier import (
    rfft as rfft,
)
from gradlab.arrays.rules.fourier import (
    rfft2 as rfft2,
)
from gradlab.arrays.rules.fourier import (
    rfftn as rfftn,
)
from gradlab.arrays.rules.linalg import named as named
from gradlab.arrays.rules.linalg import pinv as pinv
from gradlab.arrays.rules.linalg import solve as solve
from gradlab.arrays.rules.shared import (
    concatenate as concatenate,
)
from gradlab.arrays.rules.shared import (
    of_one_kind as of_one_kind,
)
from gradlab.arrays.rules.shared import (
    transpose as transpose,
)
from gradlab.arrays.rules.writing import (
    constant as constant,
)
from gradlab.arrays.rules.writing import (
    constant_primitive as constant_primitive,
)
from gradlab.arrays.rules.writing import (
    filled_like as filled_like,
)
from gradlab.arrays.rules.writing import (
    full_like as full_like,
)
from gradlab.arrays.rules.writing import (
    getitem as getitem,
)
from gradlab.arrays.rules.writing import (
    put as put,
)
