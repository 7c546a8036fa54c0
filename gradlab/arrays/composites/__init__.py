"""NumPy's functions in terms of simpler ones, for traced arrays of every library.

Each function here is plain NumPy and takes the arguments of its namesake; a test on plain arrays
compares the two. A library itself provides a small core: ufuncs, sums and extrema, products,
reshaping, indexing, `concatenate`, `where`, a few decompositions.

Where several entries tie, the first in sorted order gets the derivative. At 0, a norm and a
standard deviation have derivative 0, which is among their subgradients.

Importing this package registers all of them. In reading order: `shared`, `joining`, `rearranging`,
`picking`, `elementwise`, `reductions`, `missing`, `sorting`, `statistics`, `calculus`,
`polynomials`, `products`, `linalg`.
"""

from gradlab.arrays.composites import (
    calculus as calculus,
)
from gradlab.arrays.composites import (
    elementwise as elementwise,
)
from gradlab.arrays.composites import (
    joining as joining,
)
from gradlab.arrays.composites import (
    linalg as linalg,
)
from gradlab.arrays.composites import (
    missing as missing,
)
from gradlab.arrays.composites import (
    picking as picking,
)
from gradlab.arrays.composites import (
    polynomials as polynomials,
)
from gradlab.arrays.composites import (
    products as products,
)
from gradlab.arrays.composites import (
    rearranging as rearranging,
)
from gradlab.arrays.composites import (
    reductions as reductions,
)
from gradlab.arrays.composites import (
    shared as shared,
)
from gradlab.arrays.composites import (
    sorting as sorting,
)
from gradlab.arrays.composites import (
    statistics as statistics,
)
