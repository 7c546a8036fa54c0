"""The trainer: any optimiser with any backend.

The trainer does not depend on the backend, the loss or the network. Only the minibatches are drawn
at random, so two backends with the same seed get the same data in the same order. The files, in
reading order:

- `fitting.py`: `fit` itself, which calls the parts below;
- `results.py`: `Step`, which callbacks get, and `Fit`, which `fit` returns;
- `data.py`: data as arrays with one row per sample, and the functions that are evaluated on them;
- `schedule.py`: the number and sizes of the minibatches, and the rows of each;
- `vectors.py`: the leaves of the parameters as a few contiguous blocks;
- `optimisers.py`: the update step of an optimiser of `gradlab.optim`, on these blocks;
- `foreign.py`: the update step of any other object with optax's protocol;
- `stateful.py`: losses with a state and with randomness;
- `stopping.py`: when a training ends early, and which parameters it returns;
- `gradients.py`: a backend's gradient as a function of the parameters, checked;
- `many.py`: many steps in one native call;
- `loop.py`: the steps, and the record of each epoch;
- `strides.py`: the steps of a training, one at a time or many at once;
- `norms.py`: the size of a step, leaf by leaf;
- `remarks.py`: warnings about a training that goes wrong, and `causes.py`: causes in the data;
- `identity.py`: what distinguishes the checkpoints of two trainings;
- `progress.py`: the progress bar;
- `descent.py`: `descend`, plain gradient descent without data.
"""

from gradlab.training.data import Accuracy as Accuracy
from gradlab.training.data import Data as Data
from gradlab.training.data import check_data as check_data
from gradlab.training.data import evaluate as evaluate
from gradlab.training.descent import descend as descend
from gradlab.training.fitting import fit as fit
from gradlab.training.results import Callback as Callback
from gradlab.training.results import Fit as Fit
from gradlab.training.results import Step as Step
