"""What the backends of other array libraries share: how a loss gets over to them, and back.

A loss in plain NumPy runs on *duck arrays* (`gradlab.arrays.ducks`): NumPy's arrays to the loss,
the library's inside. One that is written for the library itself runs on its *native* arrays. Which
of the two it is, and whether it can be compiled, is tried at the first call of a form, in an order
of `Way`s, and remembered.

With parameters of NumPy, the loss is also evaluated on plain arrays at that call. Where its value
differs from the library's by more than rounding, that is an error: the library has other rules
than NumPy somewhere, and its derivative is of another function.

What already is an array of the library stays one, on its device, and so does its gradient. What a
library does once for all calls of one *form*, such as compiling, is kept by the form: the structure
of the parameters and arguments, and the values of all that is no array.

The files, in reading order:

- `loading.py`: the package of a library, or an error that names the extra;
- `forms.py`: what is fixed about a call, and how a loss is run;
- `library.py`: what a library defines, and a loss that is called with its arrays;
- `call.py`: one call, and the same loss on plain arrays;
- `verifying.py`: the value of the library held to NumPy's;
- `gradient.py`: `LibraryGradient`, which finds a way that works, and hands the gradient over.
"""

from gradlab.gradients.array_libraries.forms import KEPT, Form, Run, Way
from gradlab.gradients.array_libraries.gradient import LibraryGradient
from gradlab.gradients.array_libraries.library import ADVICE
from gradlab.gradients.array_libraries.loading import load, require

__all__ = ["ADVICE", "KEPT", "Form", "LibraryGradient", "Run", "Way", "load", "require"]
