"""The slope of a function of one number, with a reliable error bar.

`slope` evaluates g around 0 on a *ladder*. Each rung is a pair of points ±h, and the steps h shrink
by powers of two. Difference quotients of the coarser rungs are extrapolated to h = 0 (Richardson
1911; Ridders, *Accurate computation of F'(x) and F'(x)F''(x)*, 1982). Four rules determine the
error bar:

*Noise is measured.* Coarser rungs predict g(h) + g(−h) − 2 g(0), and the parabola through a pair
predicts a third point beside it. The residuals of both predictions are the noise of the evaluation.
It is constant in h if it comes from rounding, and grows with h at a kink.

*Finer steps overrule coarser ones.* An extrapolated value counts only if the finer rungs agree with
it, each within its own noise. This rule detects a kink at a distance of 1e-9, ripples that coarse
steps average out, and steps that converge to the wrong number.

*Jumps are noise.* The function may jump away from the curve that fine rungs show: a staircase of
rounded numbers does, and so does a solver whose number of steps changes. The height of the jump is
then noise, and the slope is that of coarser rungs. A continuous ripple is not noise. A few isolated
jumps do not change the slope beside them.

*Each side is measured separately.* If the slopes of the two sides differ significantly, there is a
kink. If one side has no values, the other side gives the slope.

Most functions need 14 points, and 6 more for a check at larger distances. The whole ladder is
evaluated only if these points do not suffice.

The files, in reading order:

===============  ==================================================================================
`measure`        `slope`: which rungs are evaluated, and in which order; start here
`ladder`         the rungs, and the function with its known values
`verdict`        the slope that the values on some rungs show
`extrapolation`  difference quotients extrapolated to h = 0, with error bars
`roughness`      the noise of an evaluation
`across_jumps`   the slope of a function that jumps
`jumps`          finds jumps between fine and coarse rungs
`far`            finds small jumps far from the point
`grids`          distinguishes a fixed grid from floating point of few bits
`result`         the slope, its error bar, and the kind of point
===============  ==================================================================================
"""

from gradlab.gradients.slopes.ladder import FLOAT64_BITS as FLOAT64_BITS
from gradlab.gradients.slopes.ladder import Line as Line
from gradlab.gradients.slopes.measure import Effort as Effort
from gradlab.gradients.slopes.measure import slope as slope
from gradlab.gradients.slopes.result import Bar as Bar
from gradlab.gradients.slopes.result import Slope as Slope
