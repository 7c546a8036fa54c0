"""The functions that the author of a backend imports.

A backend is a small frozen object with a ``name`` and a method
``value_and_grad(loss) -> f``, where ``f(params, *args) -> (value, grads)``. It needs no base class
and no registration: `grad`, `fit`, `compare` and `check_gradients` take the object itself. The
module of `Backend` states the rules for a backend. The other names help to keep them:

- `Backend`, `Loss`, `ValueAndGrad` and `Array` are types.
- `passing_keywords` decorates `value_and_grad`: the loss may then have keyword arguments.
- `flatten` converts parameters of any structure to a list of arrays and a `Structure`, which puts
  such a list back. `floating` converts integers to floats. `entry` names one entry in messages.
- `read_only` gives the loss views of arrays that it must not write into.
- `real_scalar` returns the value of the loss as one finite real number, or raises an error.
- `raise_from_loss` raises an exception of the loss again, with the place of the evaluation.
- `finish_gradients` converts gradients to the shapes and dtypes of the parameters, and raises an
  error that names the entry if one is not finite. `finish_gradient` does so for one array.
- Errors derive from `GradlabError`.

Examples
--------
A simple forward difference:

>>> import dataclasses
>>> import numpy as np
>>> import gradlab
>>> from gradlab import extend
>>> @dataclasses.dataclass(frozen=True)
... class Plain:
...     step: float = 1e-6
...     name = "plain"
...
...     @extend.passing_keywords
...     def value_and_grad(self, loss):
...         def evaluate(params, *args):
...             leaves, structure = extend.flatten(params)
...             value = float(extend.real_scalar(loss(params, *args)))
...             slopes = [np.zeros(leaf.shape) for leaf in leaves]
...             for k, leaf in enumerate(leaves):
...                 for i in np.ndindex(leaf.shape):
...                     near = [np.array(extend.floating(leaf)) for leaf in leaves]
...                     near[k][i] += self.step
...                     ahead = extend.real_scalar(loss(structure.unflatten(near), *args))
...                     slopes[k][i] = (ahead - value) / self.step
...             gradients = extend.finish_gradients(structure.paths, slopes, leaves)
...             return value, structure.unflatten(gradients)
...
...         return evaluate
>>> gradlab.grad(lambda p: (p["x"] ** 2).sum(), Plain())({"x": np.array([1.0, 2.0])})["x"].round(4)
array([2., 4.])
"""

from gradlab.arrays.read_only import read_only
from gradlab.errors import (
    BackendError,
    GradlabError,
    LossError,
    NonFiniteError,
    OptionError,
    ParameterError,
)
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.protocol import (
    Backend,
    Loss,
    ValueAndGrad,
    finish_gradient,
    finish_gradients,
    raise_from_loss,
    real_scalar,
)
from gradlab.params import Array, Structure, entry, flatten, floating

__all__ = [
    "Array",
    "Backend",
    "BackendError",
    "GradlabError",
    "Loss",
    "LossError",
    "NonFiniteError",
    "OptionError",
    "ParameterError",
    "Structure",
    "ValueAndGrad",
    "entry",
    "finish_gradient",
    "finish_gradients",
    "flatten",
    "floating",
    "passing_keywords",
    "raise_from_loss",
    "read_only",
    "real_scalar",
]
