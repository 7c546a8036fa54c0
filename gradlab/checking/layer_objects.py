"""Layers as objects: ``forward(x)``, ``backward(dout)``, parameters ``W`` and gradients ``dW``.

`functions_of` turns such an object into a forward and a backward function of its inputs and its
parameters, which `gradlab.checking.layers` checks.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from gradlab.errors import ParameterError

BEFORE = ("d", "d_", "grad_")
"""What may stand before a parameter's name in the name of its gradient."""


def is_layer(value: Any) -> bool:
    """Tell whether this is an object with a forward and a backward method."""
    methods = (getattr(value, name, None) for name in ("forward", "backward"))
    return not inspect.isclass(value) and all(map(callable, methods))


def functions_of(
    layer: Any, args: Sequence[Any]
) -> tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]:
    """Return a layer's passes as functions, and what the forward one takes.

    The layer itself stays as it is: a copy is evaluated.

    Parameters
    ----------
    layer : object
        ``layer.forward(*args)`` and ``layer.backward(dout)``, which returns the gradients of the
        arrays of floats among `args`, or None. An attribute ``W`` of floats, which no pass
        replaces, is a parameter if the backward pass leaves floats in ``dW``, ``d_W`` or
        ``grad_W``. What a pass stores, such as its outputs, is none.
    args : sequence
        What the forward pass takes.

    Returns
    -------
    forward, backward : callable
        ``forward(*args, *parameters) -> (out, None)``, and ``backward(dout, None)``, which returns
        a dict of gradients by name.
    args : tuple
        `args` and the parameters.

    Raises
    ------
    ParameterError
        If the backward pass returns more gradients than there are arrays of floats.

    Examples
    --------
    >>> class Scale:
    ...     def __init__(self, a):
    ...         self.a = np.array(a)
    ...     def forward(self, x):
    ...         self.x = x
    ...         return self.a * x
    ...     def backward(self, dout):
    ...         self.da = np.sum(dout * self.x)
    ...         return dout * self.a
    >>> forward, backward, args = functions_of(Scale(2.0), [np.ones(3)])
    >>> forward(*args)[0], backward(np.ones(3), None)["a"]
    (array([2., 2., 2.]), np.float64(3.0))
    """
    own = copy.deepcopy(layer)
    inputs = _names(own.forward, len(args))
    floats = [
        name
        for name, arg in zip(inputs, args, strict=True)
        if isinstance(arg, np.ndarray) and _is_floats(arg)
    ]

    def backward(*given: Any) -> dict[str, Any]:
        found = own.backward(*given[:-1])
        items = [*found] if isinstance(found, (tuple, list)) else [found]
        if len(items) > len(floats):
            raise ParameterError(
                f"backward returns {len(items)} gradients for the inputs {', '.join(floats)}"
            )
        named = dict(zip(floats, items, strict=False))
        return named | {name: getattr(own, slot) for name, slot in slots.items()}

    slots: dict[str, str] = {}
    held = {name: value for name, value in vars(own).items() if _is_floats(value)}
    out = own.forward(*args)
    backward(*map(np.ones_like, out if isinstance(out, tuple) else (out,)), None)
    slots |= _slots(vars(own), {n: value for n, value in held.items() if n not in inputs})
    parameters = [np.array(getattr(own, name)) for name in slots]

    def forward(*values: Any) -> tuple[Any, ...]:
        for name, value in zip(slots, values[len(inputs) :], strict=True):
            setattr(own, name, np.array(value))
        out = own.forward(*values[: len(inputs)])
        return (*out, None) if isinstance(out, tuple) else (out, None)

    kind = inspect.Parameter.POSITIONAL_ONLY
    named = inspect.Signature([inspect.Parameter(name, kind) for name in (*inputs, *slots)])
    forward.__signature__ = named  # type: ignore[attr-defined]
    return forward, backward, (*args, *parameters)


def _slots(now: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, str]:
    """Return the attributes that are parameters, each with that of its gradient."""
    return {
        name: prefix + name
        for name, value in before.items()
        for prefix in BEFORE
        if now.get(name) is value and _is_floats(now.get(prefix + name))
    }


def _names(forward: Callable[..., Any], count: int) -> list[str]:
    names = [
        p.name
        for p in inspect.signature(forward).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ][:count]
    return names + [f"input_{k}" for k in range(len(names), count)]


def _is_floats(value: Any) -> bool:
    kinds = (float, np.floating, np.ndarray)
    return isinstance(value, kinds) and np.asarray(value).dtype.kind == "f"
