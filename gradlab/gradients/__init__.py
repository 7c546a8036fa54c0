"""The backends: one file or package per backend, found by name.

==================  ===============================================================================
`protocol`          what a backend is; start here
`autograd`          reverse mode; `left_out` has the entries that it cannot compute
`tracing`           runs a loss on traced parameters, and compares its value with the plain one
`tape`              reverse mode, recorded and replayed; `tape.compiled` makes machine code of it
`jax`, `torch`      the same loss by another library; `array_libraries` has their common part
`forward_mode`      forward mode, along one entry at a time
`differences`       finite differences, Richardson extrapolation, the complex step
`spsa`              an estimate from one random perturbation of all entries
`forward_gradient`  an estimate by forward mode along a random direction
`estimators`        the common part of both estimates
`by_hand`           a gradient of the user's own
==================  ===============================================================================

How a loss is evaluated near its parameters, for the numerical backends and the checker:

=============  ====================================================================================
`probing`      the loss near its parameters, and how its evaluations are done
`perturb`      a recorded loss, of which each perturbation changes little
`workers`      several processes, an executor, a cluster
`noise`        how exactly a loss is evaluated
`terms`        a loss that is a sum of terms
`perturbable`  any function near its parameters
`surface`      a loss along an entry or a direction
`slopes`       one slope, measured with an error bar
`error_bars`   a derivative with error bars, and the slope along an entry
=============  ====================================================================================

`keywords` and `calls` handle keyword arguments, and arrays that receive a gradient. To add a
backend, write its file beside the others, give it the method of `Backend`, and put it into
`BACKENDS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradlab.errors import BackendError, LossError, unknown
from gradlab.gradients.autograd import Autograd as Autograd
from gradlab.gradients.by_hand import ByHand as ByHand
from gradlab.gradients.differences.complex_step import ComplexStep as ComplexStep
from gradlab.gradients.differences.formulas import CentralDifference as CentralDifference
from gradlab.gradients.differences.formulas import CentralDifference4 as CentralDifference4
from gradlab.gradients.differences.formulas import ForwardDifference as ForwardDifference
from gradlab.gradients.differences.numerical import Numerical as Numerical
from gradlab.gradients.differences.richardson import Richardson as Richardson
from gradlab.gradients.error_bars import Estimate as Estimate
from gradlab.gradients.forward_gradient import ForwardGradient as ForwardGradient
from gradlab.gradients.forward_mode import AutogradForward as AutogradForward
from gradlab.gradients.jax import Jax as Jax
from gradlab.gradients.perturb import Recorded as Recorded
from gradlab.gradients.probing import Evaluation as Evaluation
from gradlab.gradients.probing import Loop as Loop
from gradlab.gradients.protocol import Backend as Backend
from gradlab.gradients.protocol import Loss as Loss
from gradlab.gradients.protocol import ValueAndGrad as ValueAndGrad
from gradlab.gradients.protocol import differentiates
from gradlab.gradients.protocol import is_estimator as is_estimator
from gradlab.gradients.spsa import SPSA as SPSA
from gradlab.gradients.tape import Tape as Tape
from gradlab.gradients.terms import SumOfTerms as SumOfTerms
from gradlab.gradients.torch import Torch as Torch
from gradlab.gradients.workers import Workers as Workers

BACKENDS: dict[str, Callable[[], Backend]] = {
    "autograd": Autograd,
    "tape": Tape,
    "jax": Jax,
    "torch": Torch,
    "autograd-forward": AutogradForward,
    "central": CentralDifference,
    "central4": CentralDifference4,
    "complex-step": ComplexStep,
    "forward": ForwardDifference,
    "richardson": Richardson,
    "spsa": SPSA,
    "forward-gradient": ForwardGradient,
}


def find_backend(backend: str | Backend) -> Backend:
    """Return the backend of that name with its default settings, or the object itself.

    Raises
    ------
    BackendError
        If no backend has the name, or the object lacks the method of a `Backend`.

    Examples
    --------
    >>> find_backend("central")
    CentralDifference(step=None, dtype=None, evaluation=None, workers=None, resume=None,
                      incremental=True, threads=None)
    """
    if isinstance(backend, str):
        if backend in BACKENDS:
            return BACKENDS[backend]()
        raise BackendError(unknown("backend", backend, BACKENDS))
    if isinstance(backend, type) or not differentiates(backend):
        raise BackendError(
            f"{backend!r} is not a backend: give one of {', '.join(BACKENDS)}, "
            "or an object with a method value_and_grad(loss)"
        )
    return backend


def value_and_grad(loss: Loss, backend: str | Backend = "autograd") -> ValueAndGrad:
    """Return the function that evaluates a loss and its gradient together.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args, **keywords) -> scalar``, pure. `params` are arrays of any shapes in
        dicts, lists and tuples of any nesting, or a bare array.
    backend : str or Backend
        How to differentiate: a name from `BACKENDS`, or a backend object with its settings.

    Returns
    -------
    callable
        ``f(params, *args, **keywords) -> (value, grads)``: a float, and the gradient with respect
        to `params` in their structure, shapes and dtypes (float64 for integers).

    Raises
    ------
    BackendError, LossError
        If there is no such backend, or the loss is not a function.
    ParameterError, LossError, NonFiniteError
        By the returned function, for parameters that are not arrays of finite real numbers,
        a loss that is not one real number, and a NaN or an infinity in the loss or gradient.

    Examples
    --------
    >>> import numpy as np
    >>> def loss(params, x):
    ...     return np.sum((params["w"] * x) ** 2)
    >>> f = value_and_grad(loss, backend="central")
    >>> value, grads = f({"w": np.array([1.0, 2.0])}, 3.0)
    >>> value, grads["w"].round(6)
    (45.0, array([18., 36.]))
    """
    found = find_backend(backend)
    if not callable(loss):
        raise LossError(f"{loss!r} is not a loss: give a function loss(params, *args) -> scalar")
    return found.value_and_grad(loss)


def grad(loss: Loss, backend: str | Backend = "autograd") -> Callable[..., Any]:
    """Return the function that evaluates a loss's gradient; see `value_and_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> grad(lambda x: x**3)(2.0)
    np.float64(12.0)
    """
    evaluate = value_and_grad(loss, backend)

    def gradient(params: Any, *args: Any, **keywords: Any) -> Any:
        return evaluate(params, *args, **keywords)[1]

    return gradient
