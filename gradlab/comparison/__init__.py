"""One network, one start, the same minibatches, and what each backend makes of them.

Every backend trains on its own; one of them, autograd where it takes part, is the *reference*.
An estimator, whose gradients are right only on average, goes a way of its own and is told apart.
At every point that another backend comes through, the reference's gradient is taken there too
(not timed, not counted), so that the difference of two gradients is seen at the same parameters.

The files, in reading order:

- `comparing.py`: `compare` itself;
- `metering.py`: a backend that is timed, and whose evaluations are counted;
- `following.py`: the parameters that a training reached, and how far they lie apart;
- `results.py`: `Run` and `Comparison`, in numbers and in words.
"""

from gradlab.comparison.comparing import compare
from gradlab.comparison.following import relative_differences
from gradlab.comparison.results import Comparison, Run, times

__all__ = ["Comparison", "Run", "compare", "relative_differences", "times"]
