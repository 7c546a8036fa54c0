"""Layers as objects, with methods ``forward(x)`` and ``backward(dout)``, as two functions."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gradlab.checking.analytic import is_accumulating
from gradlab.checking.native_way import Name
from gradlab.errors import ParameterError

GRADIENT_PREFIXES = ("d", "d_", "grad_")
"""Prefixes that turn the name of a parameter into the name of its gradient."""


def is_layer(value: Any) -> bool:
    """Tell whether an object has a forward and a backward method."""
    methods = (getattr(value, name, None) for name in ("forward", "backward"))
    return not inspect.isclass(value) and all(map(callable, methods))


class Passes(NamedTuple):
    """The passes of a layer as functions."""

    # ``forward(*args) -> (out, None)``, and ``backward(dout, None)``, which returns a dict of
    # gradients by name.
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    args: tuple[Any, ...]  # the arguments of the forward pass: the inputs and the parameters
    names: list[str]  # their names
    notes: tuple[str, ...]  # remarks for the report


def functions_of(layer: Any, args: Sequence[Any]) -> Passes:
    """Return a layer's passes as functions, with the arguments of the forward pass.

    The functions evaluate a copy of the layer in float64; the layer itself does not change.

    ``layer.backward(dout)`` returns the gradients of the arrays of floats among `args`, or None. An
    attribute ``W`` of floats is a parameter if no pass replaces it, and the backward pass stores
    floats in ``dW``, ``d_W`` or ``grad_W``. The arrays in ``params``, a list or a dict, are
    parameters whose gradients are at the same places of ``grads``. Where a backward pass adds to a
    gradient that it stored before, as with ``self.dW += ...``, this gradient is set to zero before
    each call, and a note says so.
    """
    own = _copy(layer)
    inputs = argument_names(own.forward, len(args))
    floats = [name for name, arg in zip(inputs, args, strict=True) if is_floats(arg)]
    slots: list[Slot] = []
    adding: list[Slot] = []

    def backward(*given: Any) -> dict[str, Any]:
        for slot in adding:
            slot.clear(own)
        found = own.backward(*given[:-1])
        if found is None:
            found = ()
        items = [*found] if isinstance(found, (tuple, list)) else [found]
        if len(items) > len(floats):
            raise ParameterError(
                f"backward returns {len(items)} gradients for the inputs {', '.join(floats)}"
            )
        named = dict(zip(floats, items, strict=False))
        return named | {slot.name: slot.gradient(own) for slot in slots}

    def forward(*values: Any) -> tuple[Any, ...]:
        for slot, value in zip(slots, values[len(inputs) :], strict=True):
            slot.write(own, value)
        out = own.forward(*values[: len(inputs)])
        return (*out, None) if isinstance(out, tuple) else (out, None)

    held = {name: value for name, value in vars(own).items() if _has_floats(value)}

    def both() -> None:
        out = own.forward(*args)
        backward(*map(np.ones_like, out if isinstance(out, tuple) else (out,)), None)

    both()
    slots += _slots(vars(own), {n: value for n, value in held.items() if n not in inputs})
    known = [getattr(own, slot.name) for slot in slots]
    slots += [item for item in _items(own) if not any(item.value(own) is k for k in known)]
    adding += _accumulating_slots(own, slots, both)
    parameters = [np.array(slot.value(own)) for slot in slots]
    names = [*inputs, *(slot.name for slot in slots)]
    return Passes(forward, backward, (*args, *parameters), names, _notes(adding))


@dataclass(frozen=True)
class Slot:
    """A parameter ``W`` with its gradient ``dW``, or both at one place of ``params`` and ``grads``.

    Arrays in ``params`` and ``grads`` are written into, because parts of a layer may share them.
    """

    name: str  # in reports
    key: Any  # the name of the attribute, or the place in ``params``
    gradient_key: str = ""  # the name of the gradient's attribute; "" in ``params``

    def value(self, layer: Any) -> Any:
        """Return the parameter."""
        return getattr(layer, self.key) if self.gradient_key else layer.params[self.key]

    def write(self, layer: Any, value: Any) -> None:
        """Set the parameter."""
        if self.gradient_key:
            setattr(layer, self.key, np.array(value))
        else:
            layer.params[self.key][...] = value

    def gradient(self, layer: Any) -> Any:
        """Return the gradient that the backward pass has stored."""
        if self.gradient_key:
            return getattr(layer, self.gradient_key)
        return np.array(layer.grads[self.key])

    def clear(self, layer: Any) -> None:
        """Set the stored gradient to zero."""
        if self.gradient_key:
            setattr(layer, self.gradient_key, np.zeros_like(self.gradient(layer)))
        else:
            layer.grads[self.key][...] = 0.0


def _copy(layer: Any) -> Any:
    """Return a deep copy of a layer, with the arrays of ``params`` and ``grads`` in float64.

    ``grads`` is included because the backward pass may write into arrays that were created with the
    dtype of the parameters. Parts of the layer that share an array share its copy.
    """
    wide = {
        id(array): array.astype(np.result_type(array, np.float64))
        for name in ("params", "grads")
        for array in _arrays(getattr(layer, name, None)).values()
    }
    return copy.deepcopy(layer, wide)


def _arrays(container: Any) -> dict[Any, Any]:
    """Return the arrays of floats in a list or a dict, by index or key."""
    if not isinstance(container, (Mapping, list, tuple)):
        return {}
    items = container.items() if isinstance(container, Mapping) else enumerate(container)
    return {k: v for k, v in items if is_floats(v)}


def _items(layer: Any) -> list[Slot]:
    """Return the parameters in ``params``.

    Raise a ParameterError if the backward pass has stored no gradient for one of them.
    """
    if not hasattr(layer, "grads"):
        return []
    held, found = _arrays(getattr(layer, "params", None)), _arrays(layer.grads)
    if missing := [key for key in held if key not in found]:
        raise ParameterError(
            f"the layer has params[{missing[0]!r}], but backward leaves no array of floats in "
            f"grads[{missing[0]!r}]"
        )
    return [Slot(Name(f"params[{key!r}]"), key) for key in held]


def _slots(now: Mapping[str, Any], before: Mapping[str, Any]) -> list[Slot]:
    """Return the parameters among the attributes."""
    return [
        Slot(name, name, prefix + name)
        for name, value in before.items()
        for prefix in GRADIENT_PREFIXES
        if now.get(name) is value and _has_floats(now.get(prefix + name))
    ]


def _accumulating_slots(layer: Any, slots: Sequence[Slot], both: Callable[[], None]) -> list[Slot]:
    """Return the slots whose gradient grows if `both` passes are called again."""
    seen = []
    for _ in range(3):
        seen.append([np.array(slot.gradient(layer)) for slot in slots])
        both()
    return [slot for slot, *three in zip(slots, *seen, strict=True) if is_accumulating(*three)]


def _notes(adding: Sequence[Slot]) -> tuple[str, ...]:
    if not adding:
        return ()
    names = ", ".join(slot.name for slot in adding)
    return (
        f"backward adds to the gradient of {names}, as += does: the check sets it to zero before "
        "each call, and so must a training",
    )


def argument_names(function: Callable[..., Any], count: int) -> list[str]:
    """Return the names of the first `count` positional arguments of a function."""
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in parameters_of(function) if p.kind in places][:count]
    return names + [f"argument {k}" for k in range(len(names), count)]


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of a function; none if it has no signature."""
    try:
        return [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):
        return []


def is_floats(value: Any) -> bool:
    """Tell whether a value is an array of floats."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _has_floats(value: Any) -> bool:
    return is_floats(value) or isinstance(value, (float, np.floating))
