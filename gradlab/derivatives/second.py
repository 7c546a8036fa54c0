"""Second derivatives of a loss: the Jacobian of its gradient.

One backend gives the gradient (`over`), another one differentiates it. Finite differences of an
exact gradient need one perturbation per column; reverse mode over reverse mode is exact. Finite
differences of finite differences need only values of the loss: the noise of the inner ones is
ε^(q/(q+1)) for an error of order h^q, and the outer step follows from that.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from gradlab.derivatives.differences import Differences, Options
from gradlab.derivatives.functions import Function, Outputs, outputs_of
from gradlab.derivatives.libraries import JaxDerivative, TorchDerivative
from gradlab.derivatives.maps import Differentiated, blocks, require_direction, unraveled, way_of
from gradlab.derivatives.reverse import Rows, joined
from gradlab.errors import OptionError
from gradlab.gradients import (
    Autograd,
    AutogradForward,
    Backend,
    ComplexStep,
    Jax,
    Numerical,
    Richardson,
    Tape,
    Torch,
    find_backend,
    is_estimator,
)
from gradlab.gradients.differences.difference import FiniteDifference
from gradlab.params import leaves_like

AUTOGRAD_BACKENDS = (Autograd, AutogradForward, Tape)
"""Backends that differentiate autograd's gradient, and nothing else."""


def hessian(
    loss: Function,
    backend: str | Backend = "autograd",
    *,
    over: str | Backend | None = None,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    bounds: Any = None,
    relative_step: Any = None,
    sparsity: Any = None,
) -> Callable[..., Any]:
    """Return the function that evaluates all second derivatives of a loss.

    Parameters
    ----------
    loss : callable
        ``loss(params, *args, **keywords) -> scalar``, pure.
    backend : str or Backend
        The backend that differentiates the gradient.
    over : str or Backend, optional
        The backend of the gradient. By default the same as `backend`; autograd for `tape` and
        `autograd-forward`. ``backend="central", over="autograd"`` takes central differences of an
        exact gradient. A numerical `backend` can differentiate the gradient of any other.
    argnums, has_aux, bounds, relative_step, sparsity
        See `jacobian`: the outputs are the entries of the gradient.

    Returns
    -------
    callable
        ``g(params, *args, **keywords) -> H``: a structure like the parameters, with a structure
        like the parameters in place of each array. The block of two parameters of shapes q and s
        has the shape q + s.

    Raises
    ------
    OptionError
        If `backend` cannot differentiate the gradient of `over`.
    BackendError, LossError, ParameterError, NonFiniteError
        See `jacobian`.

    Notes
    -----
    The errors are those of the outer backend's first derivatives, for a function that is as exact
    as the inner one: about 1e-6 for `central` over `central`, 1e-10 for `central` over `autograd`.
    A numerical Hessian is made symmetric by taking the mean with its transpose.

    Examples
    --------
    >>> hessian(lambda x: x[0] ** 2 * x[1])(np.array([2.0, 3.0]))
    array([[6., 4.],
           [4., 0.]])
    """
    options = Options(bounds, relative_step, sparsity)
    gradient = Gradient(loss, backend, over, argnums, has_aux, options)

    def evaluate(*args: Any, **keywords: Any) -> Any:
        way, at, aux = gradient.at(args, keywords)
        matrix = way.matrix(at)
        if isinstance(way, Differences):
            matrix = (matrix + matrix.T) / 2
        found = blocks(matrix, at)
        return (found, aux) if has_aux else found

    return evaluate


def hvp(
    loss: Function,
    backend: str | Backend = "autograd",
    *,
    over: str | Backend | None = None,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
) -> Callable[..., Any]:
    """Return the function that evaluates the product of a loss's Hessian with a vector.

    Parameters
    ----------
    loss, backend, over, argnums, has_aux
        See `hessian`.

    Returns
    -------
    callable
        ``g(params, *args, tangent, **keywords) -> H v``. The vector v comes last; it and the
        product have the structure and shapes of the parameters.

    Raises
    ------
    OptionError, BackendError, LossError, ParameterError, NonFiniteError
        See `hessian`.

    Examples
    --------
    >>> f = hvp(lambda x: x[0] ** 2 * x[1])
    >>> f(np.array([2.0, 3.0]), np.array([1.0, 0.0]))
    array([6., 4.])
    """
    gradient = Gradient(loss, backend, over, argnums, has_aux, Options())

    def evaluate(*args: Any, **keywords: Any) -> Any:
        own, tangent = require_direction("hvp", "tangent", args)
        way, at, aux = gradient.at(own, keywords)
        direction = [np.asarray(v, float) for v in leaves_like(at.params, tangent, "the tangent")]
        if isinstance(gradient.backend, (Autograd, Tape)):  # H is symmetric: vᵀH in one pass
            found = joined(way.vjp(at, joined(direction)))
        else:
            found = way.jvp(at, direction)
        product = unraveled(found, at)
        return (product, aux) if has_aux else product

    return evaluate


class Gradient(Differentiated):
    """The gradient of a loss as a function to differentiate again."""

    def __init__(
        self,
        loss: Function,
        backend: str | Backend,
        over: str | Backend | None,
        *rest: Any,
    ) -> None:
        self.over = inner(find_backend(backend), over)
        super().__init__(loss, backend, *rest)

    def _way(self, loss: Function) -> Rows:
        if isinstance(self.backend, AUTOGRAD_BACKENDS):
            return way_of(self.backend, partial(_traced_gradient, loss), self._options)
        run = self.over.value_and_grad(loss)
        if isinstance(self.backend, Jax | Torch):
            library = JaxDerivative if isinstance(self.backend, Jax) else TorchDerivative
            return library(self.backend, partial(_gradient, run), loss)
        return way_of(self.backend, partial(_gradient, run), self._options)

    def _outputs(self, way: Rows, value: Any, params: Any, others: tuple[Any, ...]) -> Outputs:
        """Return the gradient; `value` is that of the loss."""
        started = time.perf_counter()
        outputs = outputs_of(way.function(params, *others))
        if isinstance(way, Differences):
            way.precision = precision_of(self.over, value)
            way.seconds = time.perf_counter() - started
        return outputs


def inner(backend: Backend, over: str | Backend | None) -> Backend:
    """Return the backend of the gradient that another one differentiates.

    Raise an OptionError if `backend` cannot differentiate the gradient of `over`.

    Examples
    --------
    >>> inner(find_backend("tape"), None)
    Autograd()
    """
    if isinstance(backend, ComplexStep) or is_estimator(backend):
        raise OptionError(
            f"{backend.name} does not differentiate gradients: give it as over=, and central as "
            "the backend"
        )
    if isinstance(backend, AUTOGRAD_BACKENDS):
        found = Autograd() if over is None else find_backend(over)
        if not isinstance(found, Autograd | Tape):
            raise OptionError(
                f"{backend.name} cannot differentiate the gradient of {found.name}, which is plain "
                'numbers: use over="autograd", or a numerical backend'
            )
        return Autograd()
    if over is not None:
        found = find_backend(over)
    else:  # in one process: its workers evaluate the gradient as a whole
        found = backend.plain() if isinstance(backend, Numerical) else backend
    if isinstance(backend, Jax | Torch) and found.name != backend.name:
        raise OptionError(
            f"{backend.name} differentiates only its own gradient: leave over= out, or use a "
            "numerical backend"
        )
    if is_estimator(found):
        raise OptionError(f"over={found.name!r}: its gradient is an estimate; use another backend")
    return found


def precision_of(backend: Backend, value: Any) -> float:
    """Return the relative error of a backend's gradient of a loss with this value: its noise."""
    dtype = np.asarray(value).dtype
    epsilon = float(np.finfo(dtype if dtype.kind == "f" else float).eps)
    if isinstance(backend, Richardson):
        return 256 * epsilon
    if isinstance(backend, FiniteDifference):
        return float(4 * epsilon ** (backend.order / (backend.order + 1)))
    return 4 * epsilon


def _traced_gradient(loss: Function, params: Any, *args: Any) -> Any:
    # The loss is an argument of this function, so what it reads is part of a recording's key.
    return Autograd().value_and_grad(loss)(params, *args)[1]


def _gradient(run: Callable[..., tuple[float, Any]], params: Any, *args: Any) -> Any:
    return run(params, *args)[1]
