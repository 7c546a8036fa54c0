"""autograd's boxes as traced arrays.

autograd puts each array of a trace into a box. `NumpyBox` is the kind of box that it uses for
NumPy's arrays and numbers once this module is imported: an `ArrayBox` that also answers NumPy's
protocols, has all methods of arrays, and can be written into.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from functools import cache
from importlib import import_module
from inspect import signature
from typing import Any

import autograd.numpy as anp
import autograd.numpy.linalg as alinalg
import numpy as np
from autograd.core import JVPNode, VJPNode, VSpace, primitive_jvps, primitive_vjps, sparse_add
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.tracer import Box, isbox, notrace_primitives, trace_primitives_map

from gradlab.arrays import augmented as augmented  # registers itself
from gradlab.arrays import numpy_source as numpy_source  # registers itself
from gradlab.arrays.creation import protect
from gradlab.arrays.dispatch import (
    COMPOSITES,
    Implementation,
    Library,
    has_traced,
    operand,
    refuse_function,
)
from gradlab.arrays.rules import (
    composed,
    decompositions,
    elementwise,
    fourier,
    linalg,
    shared,
    writing,
)
from gradlab.arrays.rules import large_numbers as large_numbers  # registers itself
from gradlab.arrays.traced import TracedArray

_CORE: dict[Any, Implementation] = {
    np.concatenate: shared.concatenate,
    np.where: elementwise.where,
    np.cbrt: anp.cbrt,
    np.real: elementwise.of_complex(anp.real),
    np.conj: elementwise.of_complex(anp.conj),
    np.broadcast_to: anp.broadcast_to,
    np.astype: elementwise.astype,
    np.transpose: shared.transpose,
    np.linalg.svd: decompositions.svd,
    np.linalg.svdvals: decompositions.svdvals,
    np.linalg.eigh: linalg.named(alinalg.eigh),
    np.linalg.eig: decompositions.eig,
    np.linalg.slogdet: linalg.named(alinalg.slogdet),
    np.linalg.qr: decompositions.qr,
    np.linalg.cholesky: decompositions.cholesky,
    np.linalg.pinv: linalg.pinv,
    np.linalg.solve: linalg.solve,
    np.fft.rfft: fourier.rfft,
    np.fft.irfft: fourier.irfft,
    np.fft.rfftn: fourier.rfftn,
    np.fft.irfftn: fourier.irfftn,
    np.result_type: anp.result_type,
    np.iscomplexobj: anp.iscomplexobj,
}


_PRODUCTS = {np.dot, np.inner, np.matmul, np.tensordot}


def _own(function: Any) -> Implementation | None:
    """Return the function that autograd has a rule for, or that has no derivative anywhere."""
    if function in _CORE:
        return _CORE[function]
    wrapper = trace_primitives_map.get(function)
    has_rule = wrapper in primitive_vjps and wrapper in primitive_jvps
    is_flat = wrapper in notrace_primitives[VJPNode] and wrapper in notrace_primitives[JVPNode]
    if wrapper is None or function in COMPOSITES or not (has_rule or is_flat):
        return None
    return _guarded(function, wrapper)


def _fallback(function: Any) -> Implementation | None:
    """Return autograd's wrapper of a function that has only a reverse-mode rule, or none.

    Values that do not depend on the parameters are traced by a recording, too; they need no rule.
    """
    if "scipy" in sys.modules and function not in trace_primitives_map:
        _import_rules_of_scipy()
    wrapper = trace_primitives_map.get(function)
    is_known = (
        wrapper in primitive_vjps
        or isinstance(function, np.ufunc)
        or function in elementwise.INTEGER_FUNCTIONS
    )
    return _guarded(function, wrapper) if is_known and wrapper is not None else None


@cache
def _import_rules_of_scipy() -> None:
    """Import autograd's rules of SciPy's special functions and distributions."""
    for name in ("special", "stats", "linalg"):
        with suppress(ImportError):
            import_module(f"autograd.scipy.{name}")
    with suppress(ImportError):
        import_module("gradlab.arrays.rules.special")


def _guarded(function: Any, wrapper: Any) -> Implementation:
    """Return a primitive that takes lists of traced values, and whose errors name the function."""

    def implementation(*args: Any, **kwargs: Any) -> Any:
        if kwargs and has_traced(kwargs):
            args, kwargs = _by_position(function, args, kwargs)
        if function in _PRODUCTS:
            args = (*shared.of_one_kind(*map(operand, args[:2])), *args[2:])
        elif args and issubclass(type(args[0]), (list, tuple)) and has_traced(args[0]):
            args = (operand(args[0]), *args[1:])
        try:
            return wrapper(*args, **kwargs)
        except NotImplementedError as error:
            if "JVP" in str(error):
                raise
            refuse_function("autograd", function)

    # Operators call the primitive of NumPy's ufunc very often, and never with lists.
    is_numpys = isinstance(function, np.ufunc) and getattr(np, function.__name__, None) is function
    return wrapper if is_numpys and wrapper in primitive_jvps else implementation


def _by_position(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments by position where they can be: autograd does not trace keywords."""
    given, rest = list(args), dict(kwargs)
    for name, parameter in list(signature(function).parameters.items())[len(args) :]:
        if name not in rest or parameter.kind is parameter.KEYWORD_ONLY:
            break
        given.append(rest.pop(name))
    if has_traced(rest):
        refuse_function("autograd", function)
    return tuple(given), rest


class BoxLibrary(Library):
    """NumPy's functions on autograd's boxes."""

    constant = staticmethod(writing.constant)

    def entries(self, traced: Any, array: Any, index: Any) -> Any:
        """Return the entries of an array at a boxed index."""
        return writing.getitem(array, index)


LIBRARY = BoxLibrary("autograd", _own, _fallback, composed.contract)


class NumpyBox(TracedArray, ArrayBox):  # type: ignore[misc]
    """A box around an array or a number."""

    library = LIBRARY

    ptp = property(lambda self: TracedArray.__getattr__(self, "ptp"))  # a method before NumPy 2
    shape = ArrayBox.shape
    dtype = ArrayBox.dtype

    _at = writing.getitem
    _put = writing.put

    def _same(self) -> Any:
        return type(self)(self._value, self._trace, self._node)

    def _number(self) -> Any:
        value = self._value
        while isbox(value):
            value = value._value
        if np.size(value) != 1:
            raise TypeError("only arrays of one entry can be converted to Python numbers")
        return np.reshape(value, ())[()]

    def detached(self) -> Any:
        """Return the value inside of the box, which may be a box of another trace."""
        return self._value

    def kept_value(self) -> Any:
        """Return the value inside of the box, also of a recorded one, which refuses `detached`."""
        return self._value

    def _become(self, other: Any) -> None:
        self._value, self._trace, self._node = other._value, other._trace, other._node
        object.__dict__["__class__"].__set__(self, type(other))

    def __bool__(self) -> bool:
        return bool(self._value)


_IN_PLACE_SUMS = (VSpace.mut_add, sparse_add)
"""autograd's sums of derivatives, which write into an array of autograd's own."""


def settled(fun: Any, args: tuple[Any, ...], argnums: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the arguments of a primitive as a node keeps them until it is differentiated.

    The loss may write later into a box of an outer trace, so the node keeps a second object for it.
    The loss may write into a plain array, too, so the array is read-only until the loss returns.
    """
    kept = args
    for place, arg in enumerate(args):
        kind = type(arg)
        if kind is np.ndarray:
            if place not in argnums and fun not in _IN_PLACE_SUMS:
                protect(arg)
        elif issubclass(kind, NumpyBox):
            kept = (*kept[:place], arg._same(), *kept[place + 1 :])
    return kept


for _kind in [kind for kind, box in Box.type_mappings.items() if box is ArrayBox]:
    if _kind is not ArrayBox:
        NumpyBox.register(_kind)
