"""A loss of JAX, evaluated and differentiated by JAX.

Parameters are JAX arrays in any pytree. Calls in float64 enable x64 in this thread for the duration
of the call. The loss is compiled if possible, since JAX might otherwise compile a ``scan`` in it
again at each evaluation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import numpy as np

from gradlab.checking.complex_numbers import Convention
from gradlab.checking.native_way import FLOAT64, OWN_DTYPE, Gradient, NativeWay, in_dtype, matched
from gradlab.errors import ParameterError
from gradlab.params import BARE, Array

MAX_COMPILED_OPERATIONS = 1000
"""Largest number of operations of a loss that is compiled. Compiling a longer one, such as an
unrolled loop, takes longer than the evaluations."""

MAX_COMPILED_DIFFERENCE = 1e4
"""Largest difference between the compiled and the uncompiled loss, in units of the round-off."""


def is_jax(params: Any) -> bool:
    """Tell whether parameters are a pytree that holds a JAX array."""
    jax = sys.modules.get("jax")
    if jax is None or isinstance(params, (np.ndarray, np.generic, float, int)):
        return False
    try:
        leaves = jax.tree_util.tree_leaves(params)
    except ValueError:  # JAX rejects a dict whose keys cannot be sorted
        return False
    return any(isinstance(leaf, jax.Array) for leaf in leaves)


def converts_to_numpy(error: Exception) -> bool:
    """Tell whether a loss failed because it converts a traced array to NumPy or to a number."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(error, jax.errors.JAXTypeError)


class JaxLoss:
    """``loss(params, *args)`` of JAX arrays; see `gradlab.checking.native`."""

    library = "JAX"
    backend = "jax"
    convention: Convention = "jax"
    ways = (FLOAT64, OWN_DTYPE)  # the arrays' own dtypes with the user's setting of x64

    def __init__(self, loss: Callable[..., Any], params: Any, args: tuple[Any, ...]) -> None:
        self.jax = sys.modules["jax"]
        self.loss, self._args = loss, args
        found = self._named(params)
        self.names = list(found)
        self._arrays = list(found.values())
        self._compiled: dict[NativeWay, Any] = {}
        self._treedef = self.jax.tree_util.tree_structure(params)
        self.leaves = [self._as_floats(*row) for row in zip(self._arrays, self.names, strict=True)]

    def value(self, way: NativeWay, leaves: Sequence[Array]) -> Any:
        """Return the loss."""
        with self._setting(way):
            run = self._compiled.get(way) or partial(self._call, way)
            return as_numpy(run(self._native(way, leaves)))

    def reverse_mode(self, way: NativeWay, leaves: Sequence[Array]) -> tuple[Any, Gradient]:
        """Return the loss and its gradient by `jax.value_and_grad`."""

        def scalar(leaves: list[Any]) -> Any:
            value = self._call(way, leaves)
            return value.reshape(()) if getattr(value, "shape", None) == (1,) else value

        with self._setting(way):
            roots = self._native(way, leaves)
            value = as_numpy(self._call(way, roots))
            if value.size != 1:
                return value, [None] * len(roots)
            found = self.jax.value_and_grad(scalar)(roots)[1]
            self._compile(way, roots, value)
            return value, [np.asarray(gradient) for gradient in found]

    def apply(
        self, way: NativeWay, gradient: Callable[..., Any], leaves: Sequence[Array]
    ) -> Gradient:
        """Return the result of a function of the native parameters and arguments."""
        with self._setting(way):
            params = self._treedef.unflatten(self._native(way, leaves))
            return self.read(gradient(params, *self._given(way)))

    def read(self, gradient: Any) -> Gradient:
        """Return a gradient in the structure of the parameters as arrays."""
        found = self._named(gradient)
        return [np.asarray(v) for v in matched(self.names, found, "the gradient")]

    # Native arrays and calls

    def _named(self, params: Any) -> dict[str, Any]:
        pairs = self.jax.tree_util.tree_flatten_with_path(params)[0]
        return {self._name(keys): leaf for keys, leaf in pairs}

    def _name(self, keys: Sequence[Any]) -> str:
        """Return the path of a leaf as gradlab writes it: ``layers[0].w``."""
        name = ""
        for key in keys:
            word = getattr(key, "key", getattr(key, "name", None))
            if isinstance(word, str) and word.isidentifier():
                name += f".{word}" if name else word
            else:
                name += f"[{getattr(key, 'idx', word)!r}]"
        return name or BARE

    def _as_floats(self, value: Any, name: str) -> Array:
        array = np.asarray(value)
        if array.dtype.kind == "V" or self.jax.dtypes.issubdtype(array.dtype, np.floating):
            return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
        if array.dtype.kind != "c":
            raise ParameterError(
                f"{name} has dtype {array.dtype}; expected floats or complex numbers"
            )
        return array

    def _native(self, way: NativeWay, leaves: Sequence[Array]) -> list[Any]:
        """Return new arrays, on the devices of the original ones."""
        made = []
        for array, like in zip(leaves, self._arrays, strict=True):
            dtype = getattr(like, "dtype", array.dtype)
            fresh = array.astype(dtype) if way.dtype is None else in_dtype(array, way.dtype)
            fresh = np.array(fresh)  # JAX may share the memory of its argument
            if isinstance(like, self.jax.Array):
                made.append(self.jax.device_put(fresh, like.sharding))
            else:
                made.append(self.jax.numpy.asarray(fresh))
        return made

    def _call(self, way: NativeWay, leaves: Sequence[Any]) -> Any:
        return self.loss(self._treedef.unflatten(leaves), *self._given(way))

    def _given(self, way: NativeWay) -> Any:
        """Return the arguments, with JAX arrays of floats in the precision of a way."""
        if way.dtype is None:
            return self._args
        return tuple(self.jax.tree_util.tree_map(lambda v: self._argument(v, way), self._args))

    def _argument(self, value: Any, way: NativeWay) -> Any:
        floats = isinstance(value, self.jax.Array) and value.dtype.kind in "fcV"
        return in_dtype(value, way.dtype) if floats else value

    def _compile(self, way: NativeWay, roots: list[Any], value: Array) -> None:
        """Store a compiled loss, if the loss can be compiled and its value does not change."""
        if way in self._compiled:
            return
        self._compiled[way] = None
        call = partial(self._call, way)
        try:
            if len(self.jax.make_jaxpr(call)(roots).jaxpr.eqns) > MAX_COMPILED_OPERATIONS:
                return
            compiled = self.jax.jit(call)
            apart = abs(float(as_numpy(compiled(roots))) - float(value))
        except Exception:  # control flow depends on values, or the loss converts to NumPy
            return
        if apart <= MAX_COMPILED_DIFFERENCE * np.finfo(value.dtype).eps * abs(float(value)):
            self._compiled[way] = compiled

    def _setting(self, way: NativeWay) -> AbstractContextManager[Any]:
        from gradlab.arrays.jax_arrays import in_x64

        return in_x64() if way.dtype == np.float64 else nullcontext()


def as_numpy(value: Any) -> Array:
    """Return a value as a NumPy array; dtypes that NumPy lacks become float32."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "V" else array
