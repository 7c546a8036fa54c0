"""The common part of the backends `jax` and `torch`: a NumPy loss on another library's arrays.

A loss in plain NumPy runs on *duck arrays* (`gradlab.arrays.ducks`), which behave as NumPy's arrays
and hold the library's. A loss that is written for the library itself runs on its *native* arrays.
The first call of each form tries several `Way`s to run the loss, native or not, compiled or not.
Later calls take the first that worked.

With NumPy's arrays as parameters, the first call also evaluates the loss on plain arrays. A value
that differs from the library's by more than rounding is an error: some function differs between the
library and NumPy, so that the derivative is that of another function.

An array of the library stays on its device, and so does its gradient. The *form* of a call is the
structure of the parameters and arguments, and the values of all arguments that are not arrays. The
library compiles a loss once for each form.

The files, in reading order:

- `forms.py`: the form of a call, and the ways to run a loss;
- `library.py`: the functions that a library defines, and a loss that is called with its arrays;
- `call.py`: one call, and the same loss on plain arrays;
- `verifying.py`: compares the library's value with NumPy's;
- `gradient.py`: `LibraryGradient`, which finds a way that works, and returns the gradient.
"""

from gradlab.gradients.array_libraries.forms import MAX_COMPILED_FORMS, Form, Run, Way
from gradlab.gradients.array_libraries.gradient import LibraryGradient
from gradlab.gradients.array_libraries.library import LIBRARY_ADVICE, require

__all__ = [
    "LIBRARY_ADVICE",
    "MAX_COMPILED_FORMS",
    "Form",
    "LibraryGradient",
    "Run",
    "Way",
    "require",
]
