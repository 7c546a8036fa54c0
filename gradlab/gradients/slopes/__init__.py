"""The slope of a function of one number, with an error bar that one can rely on.

`slope` looks at g around 0 on a *ladder*: pairs of points ±h whose steps h shrink by powers of
two. Difference quotients of the coarser rungs are extrapolated to h = 0 (Richardson 1911; Ridders,
*Accurate computation of F'(x) and F'(x)F''(x)*, 1982), and four rules make the error bar honest:

*Noise is measured.* What g(h) + g(−h) − 2 g(0) has beyond the curvature that coarser rungs predict,
and a third point beside the pair beyond the parabola through it, is noise of the evaluation: flat
in h where it is rounding, growing with h at a kink.

*Finer steps overrule coarser ones.* An extrapolated value counts only if the finer rungs agree with
it, each within its own noise. That defeats a kink at a distance of 1e-9, ripples that coarse steps
average away, and steps that converge to the wrong number.

*Jumps are noise.* Where the function leaves what fine rungs show by a jump, as a staircase of
rounded numbers does, or a solver that takes another number of steps, the height of the jump is
noise, and the slope is that of coarser rungs. A continuous ripple stays what it is, and a few steps
that stand alone leave the slope beside them as it is.

*Both sides are looked at apart.* Where their slopes differ beyond doubt there is a kink; where one
side has no values, the other one gives the slope.

Most functions are done after 14 points, and 6 more for a look farther away. The whole ladder is
climbed only where these leave doubt.
"""

from gradlab.gradients.slopes.ladder import BITS as BITS
from gradlab.gradients.slopes.ladder import Line as Line
from gradlab.gradients.slopes.measure import Effort as Effort
from gradlab.gradients.slopes.measure import slope as slope
from gradlab.gradients.slopes.result import Bar as Bar
from gradlab.gradients.slopes.result import Slope as Slope
