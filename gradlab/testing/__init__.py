"""Strategies, error bounds and assertions for tests of gradients.

*Strategies* for hypothesis draw whole problems: `networks`, `batches`, `parameters` of any
structure, and `losses` whose gradient is known in closed form. hypothesis draws the sizes, the
options and a seed; the numbers come from a NumPy generator of that seed. So drawing is fast, and
hypothesis reduces a failure to few numbers.

*Bounds* limit the distance of a backend's gradient from the true one. `error_bounds` runs the loss
itself on arrays that carry, with each value, its derivatives along one coordinate and a bound on
its rounding error, so that there is no tolerance to choose::

    |quotient - f'|  <=  truncation          + round-off
    forward              h/2   max|f''|        (δ(x+h) + δ(x)) / h
    central              h²/6  max|f'''|       (δ(x+h) + δ(x-h)) / 2h
    central4             h⁴/30 max|f⁽⁵⁾|       at most 5/3 of that
    complex step         0                     of the slopes carried forward
    reverse mode         0                     of the sweep back

where δ bounds the error of one evaluation of the loss.

*Assertions* explain what is wrong: `assert_gradients_agree` checks the gradient that you derived
for a loss, `assert_within` compares numbers with bounds.

The files, in reading order:

=============  ====================================================================================
`assertions`   the assertions
`strategies`   the strategies
`bounds`       `error_bounds`: how a bound follows from a loss on rays
`rays`         arrays that carry derivatives and error bounds
`ray_context`  where each method evaluates the loss, and what its rays share
`ray_rules`    the rule of each function on rays
`taylor`       Taylor coefficients of the elementary functions
=============  ====================================================================================
"""

from gradlab.testing.assertions import assert_gradients_agree as assert_gradients_agree
from gradlab.testing.assertions import assert_within as assert_within
from gradlab.testing.bounds import ErrorBounds as ErrorBounds
from gradlab.testing.bounds import Method as Method
from gradlab.testing.bounds import error_bounds as error_bounds
from gradlab.testing.strategies import LAYOUTS as LAYOUTS
from gradlab.testing.strategies import ClosedForm as ClosedForm
from gradlab.testing.strategies import Problem as Problem
from gradlab.testing.strategies import batches as batches
from gradlab.testing.strategies import losses as losses
from gradlab.testing.strategies import networks as networks
from gradlab.testing.strategies import parameters as parameters
