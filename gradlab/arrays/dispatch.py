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
from functools import cache
from inspect import signature
from typing import Any, ClassVar, NoReturn, TypeVar

import numpy as np

from gradlab.arrays.places import place_of
from gradlab.arrays.refusals import PlainWriteError, refuse
from gradlab.containers import rebuilt
from gradlab.errors import UntraceableError

Implementation = Callable[..., Any]
F = TypeVar("F", bound=Implementation)

COMPOSITES: dict[Any, Implementation] = {}
"""NumPy's functions in terms of others; see `gradlab.arrays.composites`."""

SOURCES: list[Callable[[Any], Implementation | None]] = []
"""Source of NumPy's own implementations; `gradlab.arrays.numpy_source` registers itself."""

WRITERS: dict[Any, Implementation] = {}
"""NumPy's functions that write into their first argument; see `gradlab.arrays.writing`."""

NUMERICAL_BACKEND = 'backend="central"'


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

    detached: Callable[[], Any]  # the value without its derivative; see `gradlab.detach`

    def kept_value(self) -> Any:
        """Return the value to put where a loss has kept this array, when the trace is over."""
        return self.detached()


class Holder:
    """The base of arrays that may hold a traced one; see `gradlab.arrays.buffers`."""

    traced: Any = None
    """The traced array that it holds, or None."""

    content: Callable[[], Any]
    """Returns the traced array, or the plain one."""


class Library:
    """One kind of traced array, and how NumPy's functions are evaluated on it.

    ``own(function)`` is the library's implementation of a NumPy function, or None; `fallback` is
    the same, used if there is no composite either. `contract` is ``einsum`` for subscripts that no
    operand repeats.
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

    constant: Callable[[Any, Any], Any]
    """``constant(traced, value)``: a plain array in the trace of another, independent of it."""

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
        f"({place_of()}): write it with other functions, or use {NUMERICAL_BACKEND}"
    )


def refuse_plain(
    what: str, instead: str, *, place: str = "", kind: type[Exception] = UntraceableError
) -> NoReturn:
    """Raise the error for a traced value that is to become a plain one."""
    refuse(
        f"the loss {what} ({place or place_of()}), where its derivative would be lost: "
        f"{instead}, or use {NUMERICAL_BACKEND}",
        kind,
    )


def refuse_write(what: str, instead: str) -> NoReturn:
    """Raise the error for a traced value that is written into a plain array."""
    refuse_plain(what, instead, kind=PlainWriteError)


def name_of(function: Any) -> str:
    """Return a NumPy function's name as users write it.

    Examples
    --------
    >>> name_of(np.linalg.solve), name_of(np.add)
    ('np.linalg.solve', 'np.add')
    """
    name = getattr(function, "__name__", str(function))
    if isinstance(owner := getattr(function, "__self__", None), np.ufunc):
        return f"{name_of(owner)}.{name}"
    if isinstance(function, np.ufunc) and getattr(np, name, None) is not function:
        return name  # another package's, without a `__module__`
    module = (getattr(function, "__module__", None) or "numpy").replace("numpy", "np", 1)
    is_public = module.split(".")[-1] in ("linalg", "fft", "random", "np")
    return f"{module if is_public else 'np'}.{name}"


# Calls

REDUCTIONS: dict[Any, Any] = {
    np.sum: np.add,
    np.prod: np.multiply,
    np.amax: np.maximum,
    np.max: np.maximum,
    np.amin: np.minimum,
    np.min: np.minimum,
    np.all: np.logical_and,
    np.any: np.logical_or,
}
"""The ufunc that a reduction repeats."""


def call(library: Library, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Evaluate a NumPy function on traced arrays."""
    if function in WRITERS:
        return WRITERS[function](*args, **kwargs)
    implementation = library.find(function)
    named_from, names = _output_names(function)
    if len(args) > named_from:
        kwargs = {**kwargs, **dict(zip(names, args[named_from:], strict=False))}
        args = args[:named_from]
    if has_containers(args):
        args = tuple(map(held, args))
    if function in _READS_ROWS:
        args, kwargs = _by_rows(args, kwargs)
    if not kwargs:
        return implementation(*args)
    options = {key: held(value) for key, value in kwargs.items() if is_given(key, value)}
    out, dtype = options.pop("out", None), options.pop("dtype", None)
    out = None if out is None else kwargs["out"]  # what is written into stays a buffer
    if function in REDUCTIONS and ("where" in options or "initial" in options):
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


@cache
def _output_names(function: Any) -> tuple[int, list[str]]:
    """Return the place of `dtype` or `out` among positional arguments, and the names from there.

    `call` handles these options for all functions, however they are given.
    """
    try:
        parameters = signature(function).parameters.values()
        names = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    except ValueError:  # functions in C, before NumPy 2.4
        third = getattr(function, "__name__", "") in ("dot", "concatenate")
        names = ["", "axis", "out"] if third else []
    if "out" not in names:
        return sys.maxsize, []
    place = min(names.index(name) for name in ("dtype", "out") if name in names)
    return place, names[place:]


_READS_ROWS = {np.ravel, np.reshape}


def _by_rows(
    args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments of ravel or reshape without ``order="K"`` or "A", the order in memory.

    A traced array has none, except for one that is known to lie row by row.
    """
    if not any(isinstance(given, str) and given in "KA" for given in (*args, *kwargs.values())):
        return args, kwargs
    x = args[0]
    if np.ndim(x) > 1 and not getattr(x, "_is_contiguous", False):
        refuse_plain("asks in which order a traced array lies in memory", "give order='C' or 'F'")
    kept = tuple(given for given in args if not isinstance(given, str))
    return kept, {key: given for key, given in kwargs.items() if key != "order"}


def is_given(key: str, value: Any) -> bool:
    """Tell whether an option differs from NumPy's default."""
    if value is np._NoValue:
        return False
    return not (key in _DEFAULTS and value is _DEFAULTS[key])


_DEFAULTS = {"out": None, "dtype": None, "where": True, "device": None, "like": None}


def _masked_reduction(function: Any, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Reduce the entries that `where` keeps, beginning with `initial`."""
    (x, *rest), ufunc = args, REDUCTIONS[function]
    where, initial = options.pop("where", None), options.pop("initial", None)
    if where is not None:
        neutral = {np.maximum: -np.inf, np.minimum: np.inf}.get(ufunc, ufunc.identity)
        x = np.where(where, x, neutral)
    result = function(x, *rest, **options)
    return result if initial is None else ufunc(result, initial)


def write_out(out: Any, result: Any) -> Any:
    """Write a traced result into the array that the caller gave for it."""
    if isinstance(out, tuple):
        return tuple(write_out(*pair) for pair in zip(out, result, strict=True))
    if not has_traced(result):
        out[...] = result
        return out
    if not hasattr(out, "write"):
        refuse_write("writes a traced value into a plain array", "leave out= or += away")
    out.write(result)
    return out


# Arguments


def is_traced(value: Any) -> bool:
    """Tell whether a value is a traced array."""
    return isinstance(value, Traced)


def has_containers(values: Iterable[Any]) -> bool:
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
