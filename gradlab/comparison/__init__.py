"""Several backends train one network from the same start on the same minibatches.

Every backend trains separately. One of them is the *reference*: autograd, if it takes part. The
gradients of an estimator are right only on average, so its training differs and is marked as such.
The reference's gradient is also computed (not timed, not counted) at all points of the other
backends, so that two gradients are compared at the same parameters.

The files, in reading order:

- `comparing.py`: `compare` itself;
- `metering.py`: times a backend, and counts its evaluations;
- `following.py`: the parameters of a training, and the distances between trainings;
- `results.py`: `Run` and `Comparison`, as numbers and text;
- `axes.py`: `compare_trainings`, over other options than the backend, with several seeds;
- `trials.py`: its results, `Trial` and `Trials`.
"""

from gradlab.comparison.axes import compare_trainings as compare_trainings
from gradlab.comparison.comparing import compare as compare
from gradlab.comparison.following import relative_differences as relative_differences
from gradlab.comparison.results import Comparison as Comparison
from gradlab.comparison.results import Run as Run
from gradlab.comparison.trials import Trial as Trial
from gradlab.comparison.trials import Trials as Trials
