"""Functions that several rules use: broadcasting, transposing, joining, operands of one kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import defjvp, defvjp
from autograd.tracer import trace_primitives_map

from gradlab.arrays.composites.shared import as_array


def unbroadcast(g: Any, shape: tuple[int, ...], is_complex: bool) -> Any:
    """Sum over what was repeated to match another operand: the adjoint of broadcasting."""
    extra = np.ndim(g) - len(shape)
    if extra:
        g = anp.sum(g, axis=tuple(range(extra)))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and anp.shape(g)[i] != 1)
    if repeated:
        g = anp.sum(g, axis=repeated, keepdims=True)
    return anp.real(g) if anp.iscomplexobj(g) and not is_complex else g


def unbroadcast_to(x: Any) -> Callable[[Any], Any]:
    """Return `unbroadcast` for an argument like x."""
    return partial(unbroadcast, shape=anp.shape(x), is_complex=anp.iscomplexobj(x))


def define(function: Any, *slopes: Callable[..., Any] | None) -> None:
    """Register the derivatives of a function of single entries, for reverse and forward mode.

    For each argument, ``slope(g, ans, *args)`` is the derivative times g; None if there is no rule.
    """
    known = [i for i, slope in enumerate(slopes) if slope is not None]

    def vjp(i: int) -> Callable[..., Any]:
        slope: Any = slopes[i]
        if len(slopes) == 1:
            return lambda ans, x: lambda g: slope(g, ans, x)

        def make(ans: Any, *args: Any) -> Callable[[Any], Any]:
            sum_up = unbroadcast_to(args[i])
            return lambda g: sum_up(slope(g, ans, *args))

        return make

    defvjp(function, *map(vjp, known), argnums=known)
    defjvp(function, *[slopes[i] for i in known], argnums=known)


where_primitive = trace_primitives_map[np.where]  # `anp.where` is a function around it
defvjp(
    anp.broadcast_to,
    lambda ans, x, shape: unbroadcast_to(x),
    argnums=(0,),
)


def concatenate(arrays: Sequence[Any], axis: Any = 0, **options: Any) -> Any:
    """Join arrays along an axis."""
    rows = [as_array(a) for a in arrays]
    if axis is None:
        rows, axis = [anp.ravel(row) for row in rows], 0
    return anp.concatenate_args(axis, *of_one_kind(*rows))


def of_one_kind(*arrays: Any) -> Any:
    """Return arrays all complex if one is, so that each gets a cotangent of its own kind."""
    if not any(map(_is_complex, arrays)):
        return arrays
    return tuple(a if _is_complex(a) else a + 0j for a in arrays)


def _is_complex(a: Any) -> bool:
    # Faster on boxes than np.iscomplexobj; every dot product calls this.
    dtype = getattr(a, "dtype", None)
    return isinstance(a, complex) if dtype is None else bool(dtype.kind == "c")


def mt(x: Any) -> Any:
    """Return the transposes of matrices."""
    return anp.swapaxes(x, -1, -2)


def mh(x: Any) -> Any:
    """Return the conjugate transposes of matrices."""
    return anp.conj(mt(x)) if anp.iscomplexobj(x) else mt(x)


def transpose(a: Any, axes: Any = None) -> Any:
    """Return an array with its axes in another order, which autograd counts from the front."""
    if axes is None:
        return anp.transpose(a)
    return anp.transpose(a, tuple(axis % anp.ndim(a) for axis in axes))
