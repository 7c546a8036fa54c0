"""NumPy's functions in terms of simpler ones, for traced arrays of every library.

Each function here is plain NumPy and takes the arguments of its namesake; a test on plain arrays
compares the two. A library itself provides a small core: ufuncs, sums and extrema, products,
reshaping, indexing, `concatenate`, `where`, a few decompositions.

Where several entries tie, the first in sorted order gets the derivative. At 0, a norm and a
standard deviation have derivative 0, which is among their subgradients.

Importing this package registers all of them. In reading order: `shared`, `filling`, `joining`,
`rearranging`, `picking`, `elementwise`, `reductions`, `missing`, `sorting`, `statistics`,
`calculus`, `polynomials`, `products`, `linalg`.
"""

from gradlab.arrays.composites import (  # noqa: F401
    calculus,
    elementwise,
    filling,
    joining,
    linalg,
    missing,
    picking,
    polynomials,
    products,
    rearranging,
    reductions,
    sorting,
    statistics,
)
