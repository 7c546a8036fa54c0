"""How a NumPy function is evaluated on traced arrays.

NumPy passes a call of its functions on to an argument that has `__array_function__` or
`__array_ufunc__` (NumPy enhancement proposals 18 and 13). A `Library` then looks for
an implementation in this order:

1. the library's own: a derivative rule of autograd, a function of JAX or PyTorch;
2. a *composite*: the function written in terms of simpler ones (`gradlab.arrays.composites`);
3. NumPy's own implementation, if that is Python (`gradlab.arrays.numpy_source`).

A function without any of these is refused; the error names it and the line of the user's code.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np

from gradlab.arrays.accumulating import accumulate
from gradlab.arrays.places import place_of
from gradlab.arrays.refusals import refuse
from gradlab.containers import rebuilt

Implementation = Callable[..., Any]
F = TypeVar("F", bound=Implementation)

COMPOSITES: dict[Any, Implementation] = {}
"""NumPy's functions in terms of others; see `gradlab.arrays.composites`."""

SOURCES: list[Callable[[Any], Implementation | None]] = []
"""Source of NumPy's own implementations; `gradlab.arrays.numpy_source` registers itself."""

UNSHARED: list[Callable[[Any, Any, int], bool]] = []
"""Test for plain arrays without other references; `gradlab.arrays.augmented` registers itself."""

WRITERS: dict[Any, Implementation] = {}
"""NumPy's functions that write into their first argument; see `gradlab.arrays.writing`."""

NUMERICAL = 'backend="central"'


def composite(*functions: Any) -> Callable[[F], F]:
    """Register an implementation of NumPy functions that calls other NumPy functions.

    It takes what the function takes, except ``out``, ``dtype``, ``where`` and ``initial``, which
    `call` handles for all functions, and except options at their default. None stands for a
    function that this version of NumPy does not have.
    """

    def register(implementation: F) -> F:
        known = [function for function in functions if function is not None]
        COMPOSITES.update(dict.fromkeys(known, implementation))
        return implementation

    return register


class Traced:
    """The base of all traced arrays; see `gradlab.arrays.traced`."""

    library: ClassVar[Library]
    _is_argument = False  # the caller's array, which the loss must not write into

    def detached(self) -> Any:
        """Return the value without its derivative; see `gradlab.detach`."""
        raise NotImplementedError

    def kept_value(self) -> Any:
        """Return the value to put where a loss has kept this array, when the trace is over."""
        return self.detached()


class Holder:
    """The base of arrays that may hold a traced one; see `gradlab.arrays.buffers`."""

    traced: Any = None
    """The traced array that it holds, or None."""

    def content(self) -> Any:
        """Return the traced array, or the plain one."""
        raise NotImplementedError


class Library:
    """One kind of traced array, and how NumPy's functions are evaluated on it.

    Parameters
    ----------
    name : str
        Its name in error messages.
    own : callable
        ``own(function)`` is the library's implementation of a NumPy function, or None.
    fallback : callable, optional
        The same, used if there is no composite either.
    contract : callable, optional
        ``einsum`` for subscripts that no operand repeats.
    """

    def __init__(
        self,
        name: str,
        own: Callable[[Any], Implementation | None],
        fallback: Callable[[Any], Implementation | None] = lambda function: None,
        contract: Implementation = np.einsum,
    ) -> None:
        self.name = name
        self.contract = contract
        self._own, self._fallback = own, fallback
        self.found: dict[Any, Implementation] = {}

    def find(self, function: Any) -> Implementation:
        """Return the implementation of a NumPy function on traced arrays, or refuse it."""
        found = self.found.get(function) or self._search(function)
        if found is None:
            refuse_function(self.name, function)
        return found

    def _search(self, function: Any) -> Implementation | None:
        found = (
            self._own(function)
            or COMPOSITES.get(function)
            or self._fallback(function)
            or next(filter(None, (source(function) for source in SOURCES)), None)
        )
        if found is not None:
            self.found[function] = found
        return found

    def constant(self, traced: Any, value: Any) -> Any:
        """Return a plain array as a traced one beside another, on which it does not depend."""
        raise NotImplementedError

    def entries(self, traced: Any, array: Any, index: Any) -> Any:
        """Return the entries of a plain array at an index that holds the traced one."""
        return self.constant(traced, array)[index]

    def knows(self, function: Any) -> bool:
        """Tell whether a NumPy function can be evaluated on traced arrays."""
        return (self.found.get(function) or self._search(function)) is not None


def refuse_function(library: str, function: Any) -> NoReturn:
    """Raise the error for a function that has no derivative here."""
    refuse(
        f"{library} has no derivative of {name_of(function)}, which the loss calls "
        f"({place_of()}): write it with other functions, or use {NUMERICAL}"
    )


def refuse_plain(what: str, instead: str, *, place: str = "") -> NoReturn:
    """Raise the error for a traced value that is to become a plain one."""
    refuse(
        f"the loss {what} ({place or place_of()}), where its derivative would be lost: "
        f"{instead}, or use {NUMERICAL}"
    )


def name_of(function: Any) -> str:
    """Return a NumPy function's name as users write it.

    Examples
    --------
    >>> name_of(np.linalg.solve), name_of(np.add)
    ('np.linalg.solve', 'np.add')
    """
    name = getattr(function, "__name__", str(function))
    if isinstance(function, np.ufunc) and getattr(np, name, None) is not function:
        return name  # another package's, without a `__module__`
    module = (getattr(function, "__module__", None) or "numpy").replace("numpy", "np", 1)
    is_public = module.split(".")[-1] in ("linalg", "fft", "random", "np")
    return f"{module if is_public else 'np'}.{name}"


# Calls

_REDUCTIONS = {
    np.sum: 0.0,
    np.prod: 1.0,
    np.max: -np.inf,
    np.amax: -np.inf,
    np.min: np.inf,
    np.amin: np.inf,
    np.all: True,
    np.any: False,
}
"""Value that stands for the entries that `where` leaves out of a reduction."""


def call(library: Library, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Evaluate a NumPy function on traced arrays."""
    if function in WRITERS:
        return WRITERS[function](*args, **kwargs)
    implementation = library.find(function)
    if _has_containers(args):
        args = tuple(map(held, args))
    if not kwargs:
        return implementation(*args)
    options = {key: held(value) for key, value in kwargs.items() if _is_given(key, value)}
    out, dtype = options.pop("out", None), options.pop("dtype", None)
    if function in _REDUCTIONS and ("where" in options or "initial" in options):
        result = _masked_reduction(function, args, options)
    elif dtype is not None and function in _KEEP_DTYPE:
        result = implementation(*args, dtype=dtype, **options)
        dtype = None
    else:
        result = implementation(*args, **options)
    if dtype is not None and getattr(result, "dtype", dtype) != np.dtype(dtype):
        result = result.astype(dtype)
    return result if out is None else write_out(out, result)


_KEEP_DTYPE = {np.zeros_like, np.ones_like, np.full_like, np.empty_like, np.astype}


def _is_given(key: str, value: Any) -> bool:
    """Tell whether an option differs from NumPy's default."""
    if value is np._NoValue:
        return False
    return not (key in _DEFAULTS and value is _DEFAULTS[key])


_DEFAULTS = {"out": None, "dtype": None, "where": True, "device": None, "like": None}


def _masked_reduction(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Reduce the entries that `where` keeps, beginning with `initial`."""
    x, *rest = args
    where, initial = options.pop("where", None), options.pop("initial", None)
    if where is not None:
        x = np.where(where, x, _REDUCTIONS[function])
    result = function(x, *rest, **options)
    if initial is None:
        return result
    return _STEP[function](result, initial)


def call_ufunc(
    library: Library, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Evaluate a ufunc, or one of its methods, on traced arrays."""
    if method != "__call__":
        into = inputs[:1] if method == "at" else ()  # what is written into stays a buffer
        return _ufunc_method(ufunc, method, *into, *map(held, inputs[len(into) :]), **kwargs)
    if _has_containers(inputs):
        inputs = tuple(map(operand, inputs))
    if not kwargs:
        return library.find(ufunc)(*inputs)
    out, where = kwargs.get("out"), kwargs.get("where", True)
    if where is not True:
        # The ufunc must not be evaluated outside of the mask; 1 is in the domain of every ufunc.
        inputs = tuple(np.where(where, x, 1) for x in inputs)
    # Test this before the operands are kept for the derivative.
    is_unshared = out is not None and any(f(inputs, out, sys.getrefcount(out[0])) for f in UNSHARED)
    result = library.find(ufunc)(*inputs)
    if where is not True:
        before = out[0] if out is not None else np.full(np.shape(result), np.nan)
        result = np.where(where, result, before)
    dtype = kwargs.get("dtype")
    if dtype is not None and result.dtype != np.dtype(dtype):
        result = result.astype(dtype)
    if out is None:
        return result
    if is_unshared and np.shape(result) == out[0].shape and _fits(result, out[0].dtype):
        return result if result.dtype == out[0].dtype else result.astype(out[0].dtype)
    return write_out(out[0] if len(out) == 1 else out, result)


def _fits(result: Any, dtype: Any) -> bool:
    return np.can_cast(getattr(result, "real_dtype", result.dtype), dtype, "same_kind")


_STEP = {np.sum: np.add, np.prod: np.multiply, np.max: np.maximum, np.amax: np.maximum}
_STEP |= {np.min: np.minimum, np.amin: np.minimum, np.all: np.logical_and, np.any: np.logical_or}
"""The ufunc that a reduction repeats."""

_REDUCE: dict[Any, Any] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}


def _ufunc_method(ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
    options = {key: value for key, value in options.items() if _is_given(key, value)}
    match method:
        case "reduce" if ufunc in _REDUCE:
            x, *rest = inputs
            axis = rest[0] if rest else options.pop("axis", 0)
            return _REDUCE[ufunc](x, axis=axis, **options)
        case "accumulate":
            x, *rest = inputs
            return accumulate(ufunc, x, rest[0] if rest else options.get("axis", 0))
        case "outer":
            a, b = (x if hasattr(x, "shape") else np.asarray(x) for x in inputs)
            return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)
        case "reduce":
            x, *rest = inputs
            axis = rest[0] if rest else options.get("axis", 0)
            if axis is None or isinstance(axis, tuple):
                refuse_function("gradlab", getattr(ufunc, method))
            result = accumulate(ufunc, x, axis).take(-1, axis=axis)
            return np.expand_dims(result, axis) if options.get("keepdims") else result
        case "reduceat":
            x, ends, *rest = inputs
            axis = rest[0] if rest else options.get("axis", 0)
            rows = np.moveaxis(x, axis, 0)
            parts = [rows[i : max(i + 1, j)] for i, j in zip(ends, [*ends[1:], len(rows)])]  # noqa: B905
            made = np.stack([_ufunc_method(ufunc, "reduce", part, 0) for part in parts])
            return np.moveaxis(made, 0, axis)
        case "at" if ufunc in (np.add, np.subtract):
            target, index, value = inputs
            return add_at(target, index, value if ufunc is np.add else -value)
    refuse_function("gradlab", getattr(ufunc, method))


def add_at(target: Any, index: Any, value: Any) -> None:
    """Add to a traced array in place; a repeated index adds repeatedly: ``np.add.at``."""
    if not hasattr(target, "write"):
        refuse_plain("adds a traced value to a plain array with np.add.at", "make it by np.zeros")
    size = int(np.prod(np.shape(target)))
    places = np.arange(size).reshape(np.shape(target))[index]
    terms = np.broadcast_to(value, np.shape(places)).reshape(-1)
    sums = np.bincount(places.reshape(-1), weights=terms, minlength=size)
    target[...] = target + sums.reshape(np.shape(target))


def write_out(out: Any, result: Any) -> Any:
    """Write a traced result into the array that the caller gave for it."""
    if isinstance(out, tuple):
        return tuple(write_out(*pair) for pair in zip(out, result, strict=True))
    if not hasattr(out, "write"):
        refuse_plain("writes a traced value into a plain array", "leave out= or += away")
    out.write(result)
    return out


# Arguments


def is_traced(value: Any) -> bool:
    """Tell whether a value is a traced array."""
    return isinstance(value, Traced)


def _has_containers(values: Iterable[Any]) -> bool:
    """Tell whether some value needs `held`."""
    return any(
        issubclass(type(value), (list, tuple, dict, Holder)) or is_boxed(value) for value in values
    )


def is_boxed(value: Any) -> bool:
    """Tell whether a value is a plain array of objects, such as traced numbers."""
    return type(value) is np.ndarray and value.dtype == object


def is_buffer(value: Any) -> bool:
    """Tell whether a value is an array that was created while tracing."""
    return issubclass(type(value), Holder)  # isinstance would read a traced array's __class__


def held(value: Any) -> Any:
    """Return the traced array that a buffer holds, also inside of lists and tuples.

    An object array of traced numbers, which NumPy makes from a list, becomes one traced array.
    """
    if is_buffer(value):
        return value.content()
    if is_boxed(value) and any(map(is_traced, value.flat)):
        joined = np.stack([held(item) for item in value.flat])
        return np.reshape(joined, value.shape)
    if issubclass(type(value), (list, tuple)) and any(
        is_buffer(v) or is_boxed(v) or isinstance(v, (list, tuple)) for v in value
    ):
        return rebuilt(value, list(map(held, value)))
    return value


def as_traced(value: Any) -> Any:
    """Return a value with nested lists of traced values as one traced array.

    Examples
    --------
    >>> as_traced([1.0, 2.0])
    [1.0, 2.0]
    """
    value = held(value)
    if isinstance(value, (list, tuple)) and has_traced(value):
        return np.stack([as_traced(item) for item in value])
    return value


def operand(value: Any) -> Any:
    """Return the held array; a list or tuple becomes an array."""
    value = as_traced(value)
    return np.asarray(value) if issubclass(type(value), (list, tuple)) else value


def values_of(x: Any) -> Any:
    """Return the plain numbers of an array, for functions that have no derivative.

    They are refused if they are not known, because the loss is recorded or compiled.
    """
    while is_traced(x):
        x = x.detached()
    return x


def has_traced(value: Any) -> bool:
    """Tell whether a value contains a traced array, at any depth of lists, tuples and dicts."""
    if is_traced(held(value)):
        return True
    if isinstance(value, (list, tuple)):
        return any(map(has_traced, value))
    if isinstance(value, dict):
        return any(map(has_traced, value.values()))
    return False


def first_traced(value: Any) -> Any:
    """Return the first traced array in a value, at any depth; None if there is none."""
    value = value.traced if is_buffer(value) else value
    if is_traced(value):
        return value
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (list, tuple)):
        found = [first_traced(item) for item in value]
        return next((item for item in found if item is not None), None)
    return None
