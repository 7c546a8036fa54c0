"""Reverse mode: the exact gradient for a few times the cost of the loss, whatever its size.

autograd runs the loss on boxes that record each operation and its vector-Jacobian product (VJP).
`pull_back` then walks the record from the loss to the parameters and multiplies these VJPs
together, which is the chain rule from left to right: Griewank & Walther, *Evaluating
Derivatives*, 2nd ed., 2008, section 3.2. It differs from ``autograd.grad`` in one thing: each leaf
of the parameters is a root of its own instead of an item of one boxed container, which saves
the bookkeeping of containers and lets a loss ignore its parameters without a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from autograd.core import VJPNode, add_outgrads, vspace
from autograd.tracer import Box, getval, isbox, new_box, notrace_primitives, toposort, trace_stack

from gradlab.arrays.boxes import settled
from gradlab.arrays.dispatch import held
from gradlab.arrays.leaks import Watch
from gradlab.errors import NonFiniteError
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.left_out import finish_with_forward_mode
from gradlab.gradients.protocol import Loss, ValueAndGrad, finish_gradients, real_scalar
from gradlab.gradients.tracing import trace_loss
from gradlab.params import Array, Structure, as_array, flatten, floating


@dataclass(frozen=True)
class Autograd:
    """autograd's reverse mode: exact to round-off, in the dtype of the parameters.

    The loss is plain NumPy, or written with ``autograd.numpy`` or the Array API. The
    gradient can be differentiated again, any number of times. Parameters may be complex: the
    derivative by an entry x + iy is ∂f/∂x − i ∂f/∂y, as in autograd and JAX.

    Examples
    --------
    >>> import numpy as np
    >>> f = Autograd().value_and_grad(lambda x: np.sin(x[0]) * x[1])
    >>> f(np.array([0.0, 2.0]))
    (0.0, array([2., 0.]))
    """

    name = "autograd"

    @passing_keywords
    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            value, grads, watch = evaluate(loss, params, args)
            if watch is not None:
                watch.clean_up(loss, args)
            return value, grads

        return value_and_grad


def evaluate(loss: Loss, params: Any, args: tuple[Any, ...]) -> tuple[Any, Any, Watch | None]:
    """Return the loss, its gradient, and the watch over what was traced.

    The watch is None if an outer gradient is being computed, by the parameters or by variables that
    the loss closes over: the gradient is then traced itself.
    """
    leaves, structure = flatten(params, _as_leaf)
    value, gradients, watch = _differentiate(loss, leaves, structure, args)
    if isbox(value) or any(map(isbox, (*leaves, *gradients))):
        return value, structure.unflatten(gradients), None
    try:
        done = finish_gradients(structure.paths, gradients, leaves)
    except NonFiniteError:
        watch.clean_up(loss, args)
        done = finish_with_forward_mode(loss, leaves, structure, args, gradients)
    return float(value), structure.unflatten(done), watch


class Root(VJPNode):  # type: ignore[misc]
    """autograd's node of a parameter or of a value computed from it, with support for `Watch`."""

    __slots__ = ("__weakref__",)

    def __init__(
        self, value: Any, fun: Any, args: Any, kwargs: Any, argnums: Any, parents: Any
    ) -> None:
        super().__init__(value, fun, settled(fun, args, argnums), kwargs, argnums, parents)


notrace_primitives[Root] = notrace_primitives[VJPNode]  # the same set, not a copy


def _differentiate(
    loss: Loss, leaves: Sequence[Any], structure: Structure, args: tuple[Any, ...]
) -> tuple[Any, list[Any], Watch]:
    """Return the loss, the gradient's leaves, and the watch over what was traced.

    After the return, all traced values are gone, unless the loss keeps some.
    """
    roots = [Root.new_root() for _ in leaves]
    with trace_stack.new_trace() as trace:
        boxes = [new_box(leaf, trace, root) for leaf, root in zip(leaves, roots, strict=True)]
        end = trace_loss(loss, leaves, boxes, structure, args, "autograd")
    depends = isbox(end) and end._trace == trace
    value = end._value if depends else end
    scalar = real_scalar(_innermost(value))
    gradients = pull_back(end, boxes) if depends else [0.0 * leaf for leaf in leaves]
    return value if isbox(value) else scalar, gradients, Watch(roots)


def pull_back(
    end: Box,
    roots: Sequence[Box],
    seed: Any = None,
    vjp: Callable[[Any, Any], Iterable[Any]] = lambda node, cotangent: node.vjp(cotangent),
) -> list[Any]:
    """Return the derivative of the scalar `end` with respect to each of `roots`.

    The derivative by a root that `end` does not depend on is 0. The seed is the derivative of `end`
    by itself, by default 1. ``vjp(node, cotangent)`` yields the cotangents of a node's parents.
    """
    cotangents = {end._node: (vspace(end._value).ones() if seed is None else seed, False)}
    waiting = {root._node for root in roots}
    # The VJP of tanh, g / cosh(x)**2, overflows where its result is rightly 0. A wrong result is
    # not finite, which is reported where the gradient is finished.
    with np.errstate(over="ignore"):
        for node in toposort(end._node):
            if node not in waiting:
                cotangent, _ = cotangents.pop(node)
                for parent, share in zip(node.parents, vjp(node, cotangent), strict=True):
                    cotangents[parent] = add_outgrads(cotangents.get(parent), share)
    return [
        cotangents[root._node][0] if root._node in cotangents else vspace(root._value).zeros()
        for root in roots
    ]


def _as_leaf(value: Any, path: str) -> Any:
    value = held(value)
    if isbox(value):
        return value
    if np.iscomplexobj(value):
        for part in (np.real(value), np.imag(value)):
            as_array(part, path)  # raises the error for a part that is not finite
        return np.asarray(value)
    return floating(as_array(value, path))


def _innermost(value: Any) -> Array:
    while isbox(value):
        value = getval(value)
    return value  # type: ignore[no-any-return]
