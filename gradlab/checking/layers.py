"""Layers in the form that courses use: ``forward(x, w, b)`` and ``backward(dout, cache)``.

A backward pass is a VJP with a different signature. Each call runs the forward pass first, because
the backward pass needs its cache, or the state that it leaves in an object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from gradlab import options
from gradlab.arrays.read_only import read_only
from gradlab.checking.derivatives import check_derivatives
from gradlab.checking.layer_objects import (
    GRADIENT_PREFIXES,
    argument_names,
    functions_of,
    is_floats,
    is_layer,
    parameters_of,
)
from gradlab.checking.report import DerivativeReport
from gradlab.errors import OptionError, ParameterError

KEY_PREFIXES = ("", *GRADIENT_PREFIXES)
"""Prefixes that an argument's name may have in a dict of gradients."""


def check_layer(
    forward: Any,
    backward: Any,
    *args: Any,
    cache: bool = True,
    mode: Literal["auto", "entries", "directional"] = "auto",
    seed: int | np.random.Generator = 0,
    dtype: DTypeLike | None = None,
    allow: float = 0.0,
) -> DerivativeReport:
    """Check the backward pass of a layer against its forward pass.

    Parameters
    ----------
    forward : callable
        ``forward(*args) -> (out, cache)``. Several outputs come before the cache,
        ``(h, c, cache)``. A forward pass that returns one array has no cache. `forward` may also
        be a layer object with methods ``forward(*args)`` and ``backward(dout)``, and attributes
        for parameters (``W``) and their gradients (``dW``, ``d_W`` or ``grad_W``), or lists or
        dicts ``params`` and ``grads``. Omit `backward` then, as in ``check_layer(layer, x)``; the
        inputs and parameters are checked together.
    backward : callable
        ``backward(dout, cache)`` returns the gradients of the arrays of floats among `args`: in
        their order, or as a dict with the arguments' names, ``w`` or ``dw``. An argument without
        a gradient has None. If there is no cache, the call is ``backward(dout, *args)``, or
        ``backward(dout)`` if it takes one argument, such as a method of an object.
    *args
        The arguments of `forward` at which to check. Arrays of floats are differentiated, all
        others (labels, settings) are passed on.
    cache : bool
        Whether the last item of a tuple from `forward` is a cache.
    mode, seed, dtype, allow
        See `check_derivatives`.

    Returns
    -------
    DerivativeReport
        Its entries have the names of `forward`'s arguments: ``output[0, 1] by w[2, 1]``.

    Raises
    ------
    OptionError
        If no argument is an array of floats.
    ParameterError
        If a gradient is missing, or its shape differs from its argument's.

    Examples
    --------
    >>> def affine_forward(x, w, b):
    ...     return x @ w + b, (x, w)
    >>> def affine_backward(dout, cache):
    ...     x, w = cache
    ...     return dout @ w.T, x.T @ dout, dout.sum(axis=0)
    >>> rng = np.random.default_rng(0)
    >>> x, w, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 2)), np.zeros(2)
    >>> check_layer(affine_forward, affine_backward, x, w, b).verdict
    'agree'
    >>> class Affine:
    ...     def __init__(self, w):
    ...         self.W = w
    ...     def forward(self, x):
    ...         self.x = x
    ...         return x @ self.W
    ...     def backward(self, dout):
    ...         self.dW = self.x.T @ dout
    ...         return dout @ self.W.T
    >>> check_layer(Affine(w), x).verdict
    'agree'
    """
    names: Sequence[str] | None = None
    notes: tuple[str, ...] = ()
    if is_layer(forward) and not callable(backward):
        forward, backward, args, names, notes = functions_of(forward, (backward, *args))
        cache = True
    if inspect.isclass(forward):
        raise OptionError(f"forward is the class {forward.__name__}: give an object of it")
    options.function("forward", forward)
    options.function("backward", backward)
    names = names or argument_names(forward, len(args))
    params = {name: arg for name, arg in zip(names, args, strict=True) if is_floats(arg)}
    if not params:
        raise OptionError(
            "nothing to check: no argument of the layer is an array of floats; "
            "give a number that is to be differentiated as an array"
        )
    layer = _Layer(forward, backward, names, args, cache)
    checked = layer.differentiated(params)
    fixed = {name: arg for name, arg in params.items() if name not in checked}
    if fixed:
        unchecked = f"backward returns no gradient of {', '.join(fixed)}, which was not checked"
        notes = (*notes, unchecked)

    def vjp(given: Mapping[str, Any], cotangents: Any) -> dict[str, Any]:
        found = layer.gradients({**fixed, **given}, cotangents)
        return {name: found[name] for name in checked}

    report = check_derivatives(
        lambda p: layer.outputs({**fixed, **p}),
        {name: params[name] for name in checked},
        vjp=vjp,
        mode=mode,
        seed=seed,
        dtype=dtype,
        allow=allow,
    )
    return replace(report, what="backward pass", notes=(*report.notes, *notes))


@dataclass(frozen=True)
class _Layer:
    """A forward and a backward pass, called according to their signatures."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    names: Sequence[str]
    args: tuple[Any, ...]
    cache: bool  # whether the last item of a tuple from `forward` is a cache

    def outputs(self, params: Mapping[str, Any]) -> Any:
        """Return the outputs of the forward pass, without the cache."""
        outputs, _ = self._run(params)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def differentiated(self, params: Mapping[str, Any]) -> list[str]:
        """Return the names of the arguments for which the backward pass has gradients."""
        outputs, _ = self._run(params)
        found = self.gradients(params, tuple(np.ones(np.shape(out)) for out in outputs))
        return [name for name in params if name in found]

    def _run(self, params: Mapping[str, Any]) -> tuple[list[Any], tuple[Any, ...]]:
        args = [params.get(n, read_only(a)) for n, a in zip(self.names, self.args, strict=True)]
        found = self.forward(*args)
        if not isinstance(found, tuple):
            return [found], () if _takes_one(self.backward) else tuple(args)
        if not self.cache:
            return [*found], ()
        if len(found) < 2:
            raise ParameterError("forward returns a tuple of one item; expected (out, cache)")
        return [*found[:-1]], (found[-1],)

    def gradients(self, params: Mapping[str, Any], cotangents: Any) -> dict[str, Any]:
        """Return the gradients of the arguments among `params`, by name."""
        _, rest = self._run(params)
        each = cotangents if isinstance(cotangents, tuple) else (cotangents,)
        try:
            found = self.backward(*each, *rest)
        except Exception as error:
            error.add_note(self._called(len(each), len(rest)))
            raise
        names = [name for name in self.names if name in params]
        if isinstance(found, Mapping):
            named = _by_name(found, names)
        else:
            items = list(found) if isinstance(found, (tuple, list)) else [found]
            if len(items) > len(names) and len(items) == len(self.names):
                names = [*self.names]  # one gradient per argument, differentiated or not
            if len(items) > len(names):
                raise ParameterError(
                    f"backward returns {len(items)} gradients for {len(names)} arrays of floats, "
                    f"{', '.join(names)}"
                )
            named = dict(zip(names, items, strict=False))
        return {n: g for n, g in named.items() if g is not None and n in params}

    def _called(self, cotangents: int, rest: int) -> str:
        """Return a note for errors: how the backward pass was called."""
        if rest > 1:
            return "called as backward(dout, *args), because forward returns no cache"
        dout = "dout" if cotangents == 1 else f"{cotangents} gradients of outputs"
        return f"called as backward({dout}{', cache' if rest else ''})"


def _by_name(found: Mapping[Any, Any], names: Sequence[str]) -> dict[str, Any]:
    named = {}
    for name in names:
        for prefix in KEY_PREFIXES:
            if prefix + name in found:
                named[name] = found[prefix + name]
    if not named:
        raise ParameterError(
            f"backward returns a dict with {', '.join(map(str, found))}; expected the names of "
            f"{', '.join(names)}"
        )
    return named


def _takes_one(function: Callable[..., Any]) -> bool:
    parameters = parameters_of(function)
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return False
    return len([p for p in parameters if p.default is inspect.Parameter.empty]) == 1
