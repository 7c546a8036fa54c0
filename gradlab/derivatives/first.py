"""First derivatives of functions with many outputs: the whole Jacobian, or products with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradlab.derivatives.differences import Options
from gradlab.derivatives.functions import Function
from gradlab.derivatives.maps import Differentiated, blocks, require_direction, unraveled
from gradlab.derivatives.reverse import joined
from gradlab.errors import NonFiniteError
from gradlab.gradients import Backend
from gradlab.params import first, leaves_like


def jacobian(
    function: Function,
    backend: str | Backend = "autograd",
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    bounds: Any = None,
    relative_step: Any = None,
    sparsity: Any = None,
) -> Callable[..., Any]:
    """Return the function that evaluates all first derivatives of a function.

    Parameters
    ----------
    function : callable
        ``f(params, *args, **keywords) -> outputs``, pure. Parameters and outputs are arrays of any
        shapes in dicts, lists and tuples of any nesting, or bare arrays and numbers.
    backend : str or Backend
        A name from `gradlab.BACKENDS`, or a backend object with settings. Numerical backends
        compute a column from one perturbation, for any number of outputs; reverse mode computes a
        row from one pass, for any number of parameters.
    argnums : int or tuple of int
        Positions of the arguments that are the parameters. With a tuple, the parameters are the
        tuple of these arguments.
    has_aux : bool
        Whether the function returns a pair ``(outputs, aux)``; `aux` is returned unchanged.
    bounds : pair, optional
        The lowest and the highest values at which the function may be evaluated: each a number, or
        a structure like the parameters with a number for each leaf or entry. If a step would leave
        the bounds, a one-sided formula of the same order is used. For `forward`, `central`,
        `central4` and `richardson`.
    relative_step : float or structure, optional
        The step of each entry in proportion to its size (an entry 0 counts like the largest of
        its array). An absolute step is a setting of the backend:
        ``gradlab.CentralDifference(step=1e-4)``. For the same backends.
    sparsity : array or SciPy sparse matrix, shape (m, p), optional
        Nonzero if an output may depend on an entry of the parameters, both numbered leaf after
        leaf. Entries that share no output are perturbed together. For the same backends.

    Returns
    -------
    callable
        ``g(params, *args, **keywords) -> J``: in the structure of the outputs, with a structure
        like the parameters in place of each array. The derivative of an output of shape s by a
        parameter of shape q has the shape s + q, and the parameter's dtype (float64 for integers).
        With `has_aux`, it returns ``(J, aux)``.

    Raises
    ------
    BackendError, LossError, OptionError
        If the backend does not exist, `function` is not callable, or an option does not fit.
    ParameterError, LossError, NonFiniteError
        By the returned function, for parameters and outputs that are not arrays of finite real
        numbers, and for a derivative that is not finite; the message names it.
    MissingDependencyError
        By the returned function, if `sparsity` is given and SciPy is not installed.

    Notes
    -----
    The error is that of the backend's gradients. The numerical backends measure an output with more
    evaluations if their formula does not suit it; see `gradlab.derivatives`.

    Examples
    --------
    >>> def polar(params):
    ...     r, phi = params["r"], params["phi"]
    ...     return np.stack([r * np.cos(phi), r * np.sin(phi)])
    >>> J = jacobian(polar)({"r": 2.0, "phi": 0.0})
    >>> J["r"], J["phi"]
    (array([1., 0.]), array([0., 2.]))
    >>> jacobian(lambda x, y: x * y, "central", argnums=(0, 1))(2.0, 3.0)
    (np.float64(3.0), np.float64(2.0))
    """
    options = Options(bounds, relative_step, sparsity)
    differentiated = Differentiated(function, backend, argnums, has_aux, options)

    def evaluate(*args: Any, **keywords: Any) -> Any:
        way, at, aux = differentiated.at(args, keywords)
        found = blocks(way.matrix(at), at)
        return (found, aux) if has_aux else found

    return evaluate


def jvp(
    function: Function,
    backend: str | Backend = "autograd",
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    bounds: Any = None,
    relative_step: Any = None,
) -> Callable[..., Any]:
    """Return the function that evaluates a Jacobian-vector product: the slope along a direction.

    Parameters
    ----------
    function, backend, argnums, has_aux, bounds, relative_step
        See `jacobian`.

    Returns
    -------
    callable
        ``g(params, *args, tangent, **keywords) -> J v``. The direction v is the last positional
        argument, in the structure and shapes of the parameters. The product has those of the
        outputs, in float64.

    Raises
    ------
    BackendError, LossError, OptionError, ParameterError, NonFiniteError
        See `jacobian`; a ParameterError also for a direction that does not match the parameters.

    Examples
    --------
    >>> f = jvp(lambda x: np.stack([x[0] * x[1], x[0] ** 2]))
    >>> f(np.array([2.0, 3.0]), np.array([1.0, 0.0]))
    array([3., 4.])
    """
    options = Options(bounds, relative_step)
    differentiated = Differentiated(function, backend, argnums, has_aux, options)

    def evaluate(*args: Any, **keywords: Any) -> Any:
        own, tangent = require_direction("jvp", "tangent", args)
        way, at, aux = differentiated.at(own, keywords)
        direction = [np.asarray(v, float) for v in leaves_like(at.params, tangent, "the tangent")]
        found = np.asarray(way.jvp(at, direction), float)
        if not np.isfinite(found).all():
            k = first(~np.isfinite(found))[0]
            raise NonFiniteError(
                f"the slope of {at.outputs.name(k)} along the tangent is {found[k]}"
            )
        product = at.outputs.unravel(found)
        return (product, aux) if has_aux else product

    return evaluate


def vjp(
    function: Function,
    backend: str | Backend = "autograd",
    *,
    argnums: int | tuple[int, ...] = 0,
    has_aux: bool = False,
    bounds: Any = None,
    relative_step: Any = None,
) -> Callable[..., Any]:
    """Return the function that evaluates a vector-Jacobian product: a weighted sum of gradients.

    Parameters
    ----------
    function, backend, argnums, has_aux, bounds, relative_step
        See `jacobian`.

    Returns
    -------
    callable
        ``g(params, *args, cotangent, **keywords) -> uᵀJ``. The cotangent u is the last positional
        argument, in the structure and shapes of the outputs. The product has those of the
        parameters, and their dtypes (float64 for integers).

    Raises
    ------
    BackendError, LossError, OptionError, ParameterError, NonFiniteError
        See `jacobian`; a ParameterError also for a cotangent that does not match the outputs.

    Examples
    --------
    >>> f = vjp(lambda x: np.stack([x[0] * x[1], x[0] ** 2]))
    >>> f(np.array([2.0, 3.0]), np.array([1.0, 10.0]))
    array([43.,  2.])
    """
    options = Options(bounds, relative_step)
    differentiated = Differentiated(function, backend, argnums, has_aux, options)

    def evaluate(*args: Any, **keywords: Any) -> Any:
        own, cotangent = require_direction("vjp", "cotangent", args)
        way, at, aux = differentiated.at(own, keywords)
        like = at.outputs.unravel(at.outputs.vector)
        weights = joined(leaves_like(like, cotangent, "the cotangent"))
        product = unraveled(joined(way.vjp(at, weights)), at)
        return (product, aux) if has_aux else product

    return evaluate
