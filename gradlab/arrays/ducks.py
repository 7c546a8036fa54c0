"""Traced arrays around the arrays of another library: what JAX's and PyTorch's share.

A `DuckArray` holds one *native* array and behaves as a `numpy.ndarray`. NumPy's functions find
their way on it by a `DuckLibrary`, which asks the other library for a small core of functions by
NumPy's names, and adds what the two do differently: NumPy's dtypes. The dtypes in which a ufunc
computes are NumPy's own answer (`numpy.ufunc.resolve_dtypes`), those of sums and joins likewise;
operands are cast before the native function sees them. All else is written in terms of this core
(`gradlab.arrays.composites`).

A trace may know the numbers in its arrays (PyTorch, JAX without compiling) or not (while something
is being compiled). Where they are known, functions that have no derivative, such as ``argsort``,
are NumPy's own on the plain numbers. Where they are not, what depends on them is refused.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

import numpy as np

from gradlab.arrays import augmented as augmented  # registers itself
from gradlab.arrays import composites as composites  # registers them
from gradlab.arrays import numpy_source as numpy_source  # registers itself
from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.conversions import is_tracing
from gradlab.arrays.dispatch import (
    COMPOSITES,
    Implementation,
    Library,
    held,
    is_traced,
    refuse_function,
)
from gradlab.arrays.places import place_of
from gradlab.arrays.refusals import record, refuse
from gradlab.arrays.rewriting import raise_if_rewritable
from gradlab.arrays.traced import TracedArray
from gradlab.errors import UntraceableError

# Traces


class Trace:
    """One evaluation of a loss on duck arrays. Every duck array of it holds it alive.

    Attributes
    ----------
    known : bool
        Whether there are numbers in the arrays.
    device : Any
        Where arrays that are made for it have to lie; None: where the library makes them.
    detached : bool
        Whether the loss has asked for some by `gradlab.detach`: it keeps state.
    mixed : bool
        Whether the loss calls functions of the library itself, which return native arrays.
    """

    __slots__ = ("__weakref__", "detached", "device", "known", "mixed")

    def __init__(self, known: bool, device: Any = None) -> None:
        self.known, self.device, self.detached, self.mixed = known, device, False, False


class _Here(threading.local):
    trace: Any = None


_here = _Here()


@contextmanager
def within(trace: Trace) -> Iterator[None]:
    """Make duck arrays in this thread belong to a trace."""
    outer, _here.trace = _here.trace, trace
    try:
        yield
    finally:
        _here.trace = outer


def are_known() -> bool:
    """Tell whether there are numbers in the arrays of the current trace."""
    return bool(getattr(_here.trace, "known", True))


def note_native_call() -> None:
    """Remember that the loss called a function of the library itself."""
    if _here.trace is not None:
        _here.trace.mixed = True


def device_here() -> Any:
    """Return where arrays of the current trace have to lie."""
    return getattr(_here.trace, "device", None)


def refuse_data(what: str, instead: str) -> NoReturn:
    """Raise the error for what depends on numbers that are not known while compiling."""
    refuse(
        UntraceableError(
            f"the loss {what} ({place_of()}): what it does depends on the numbers in its arrays, "
            f'which are not known while it is compiled; {instead}, or use backend="autograd"'
        )
    )


# Arrays


class DuckArray(TracedArray):
    """A NumPy array to the loss, an array of another library inside."""

    library: ClassVar[DuckLibrary]

    def __init__(self, native: Any) -> None:
        self.native = native
        self.origin = _here.trace

    def plain(self) -> Any:
        """Return the numbers as NumPy's array, without their derivative."""
        return self.library.to_numpy(self.native)

    @property
    def shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The length of each axis."""
        return tuple(self.native.shape)

    @property
    def dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        """The dtype, as NumPy's."""
        return self.library.dtype_of(self.native)

    def _at(self, index: Any) -> Any:
        return type(self)(self.library.at(self.native, self._index(index)))

    def _put(self, index: Any, value: Any) -> Any:
        library = self.library
        mask = index[0] if isinstance(index, tuple) and len(index) == 1 else index
        if isinstance(mask, DuckArray) and mask.dtype == bool and np.ndim(value) == 0:
            spread = mask[(..., *(None,) * (self.ndim - mask.ndim))]
            return np.where(spread, value, self).astype(self.dtype)
        index, value = self._index(index), as_array(value)
        dtype = self.dtype
        if value.dtype.kind == "c" and dtype.kind != "c":
            dtype = np.result_type(dtype, value.dtype)
        native = library.native(value, dtype)
        places = None if has_native(index) else repeated(self.shape, index)
        if places is not None:
            # NumPy writes one after the other: the last one counts.
            flat, last = places
            native = library.at(
                library.natives["broadcast_to"](native, flat.shape).reshape(-1), (last,)
            )
            row = library.put(self.reshape(-1).native, (flat.reshape(-1)[last],), native)
            return type(self)(library.natives["reshape"](row, self.shape))
        extra = np.ndim(value) - len(index_shape(self.shape, index)) if np.ndim(value) else 0
        if extra > 0:
            native = native.reshape(value.shape[extra:])
        return type(self)(library.put(library.native(self, dtype), index, native))

    def _index(self, index: Any) -> Any:
        """Return an index made of integers, slices, None, ..., plain arrays and native arrays."""
        parts = index if isinstance(index, tuple) else (index,)
        return tuple([self._part(part) for part in parts])

    def _part(self, part: Any) -> Any:
        if part is None or part is Ellipsis or type(part) is int:
            return part
        if isinstance(part, slice):
            return slice(_end(part.start), _end(part.stop), _end(part.step))
        if isinstance(part, (list, tuple, range)):
            part = as_array(part) if len(part) else np.zeros(0, int)
        if isinstance(part, DuckArray):
            if part.dtype == bool and not part.origin.known:
                refuse_data("selects by a mask", "write np.where")
            return part.plain() if part.origin.known else part.native
        if isinstance(part, np.ndarray):
            part = np.asarray(part)
            return part if part.dtype == bool or part.ndim else int(part)
        return int(part) if isinstance(part, np.integer) else part

    def _same(self) -> Any:
        return type(self)(self.native)

    def _become(self, other: Any) -> None:
        self.native = other.native

    def detached(self) -> Any:
        """Return the numbers; while compiling there are none."""
        if not self.origin.known:
            refuse_data("asks for numbers, as gradlab.detach does", "compute with the array itself")
        self.origin.detached = True
        return self.plain()

    def kept_value(self) -> Any:
        """Return the numbers; NaN where there are none."""
        return self.plain() if self.origin.known else np.full(self.shape, np.nan)

    def __bool__(self) -> bool:
        if not self.origin.known:
            refuse_data("branches on a number (if, while, and, or)", "write np.where")
        return bool(self.plain())

    def __int__(self) -> Any:
        if is_tracing() and not self.origin.known:
            raise_if_rewritable(sys._getframe(1))
        return self._taken(int) if self.dtype.kind in "biu" else TracedArray.__int__(self)

    def __index__(self) -> Any:
        if self.dtype.kind not in "iu" or self.shape:
            raise TypeError("only integer scalar arrays can be converted to a scalar index")
        if is_tracing() and not self.origin.known:
            raise_if_rewritable(sys._getframe(1))
        return self._taken(int)

    def __float__(self) -> Any:
        if not self.depends():
            return self._taken(float)
        if is_tracing():
            raise_if_rewritable(sys._getframe(1))
        return TracedArray.__float__(self)

    def __complex__(self) -> Any:
        return TracedArray.__complex__(self) if self.depends() else self._taken(complex)

    def _number(self) -> Any:
        if self.size != 1:
            raise TypeError("only arrays of one entry can be converted to Python numbers")
        return self.plain().reshape(())[()] if self.origin.known else np.nan

    def item(self, *index: Any) -> Any:
        """Return an entry that does not depend on the parameters as a Python number."""
        if self.depends():
            return TracedArray.item(self, *index)
        return self._taken(lambda plain: plain.item(*index))

    def tolist(self) -> Any:
        """Return entries that do not depend on the parameters as Python numbers."""
        return TracedArray.tolist(self) if self.depends() else self._taken(np.ndarray.tolist)

    def depends(self) -> bool:
        """Tell whether a derivative may pass through the array."""
        return self.dtype.kind in "fc" and self.library.depends(self.native)

    def _taken(self, make: Callable[[Any], Any]) -> Any:
        if not self.origin.known:
            refuse_data("takes a number out of an array", "compute with the array itself")
        return make(self.plain())

    def __format__(self, spec: str) -> str:
        # For people to read: a text from which a number is read has lost the derivative.
        return f"{format(self.plain()[()], spec)}~" if self.origin.known else repr(self)

    def __repr__(self) -> str:
        return f"<traced array {self.shape} {self.dtype}>"

    __str__ = __repr__
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        # Attributes of the library's own arrays end here as well: the loss is tried on those then.
        if not name.startswith("_") and hasattr(np.ndarray, name):
            record(UntraceableError(f"the loss asks a traced array for its {name} ({place_of()})"))
        raise AttributeError(f"traced arrays have no attribute {name!r}")

    def view(self, *args: Any) -> Any:
        """Return the array, if no other dtype is asked for."""
        if args and isinstance(args[0], int):
            raise TypeError("numpy.ndarray.view takes a dtype, not a shape")
        return TracedArray.view(self, *args)

    @property
    def device(self) -> str:
        """Where NumPy's arrays lie."""
        return "cpu"

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """Return NumPy's namespace, whose functions take this array as well."""
        return np


def _end(value: Any) -> Any:
    return value if value is None else value.__index__()


def has_native(index: tuple[Any, ...]) -> bool:
    """Tell whether a part of an index is a native array."""
    return any(hasattr(part, "shape") and not isinstance(part, np.ndarray) for part in index)


def index_shape(shape: tuple[int, ...], index: tuple[Any, ...]) -> tuple[int, ...]:
    """Return the shape of the entries at an index."""
    plain = tuple([np.zeros(p.shape, int) if has_native((p,)) else p for p in index])
    return np.shape(np.broadcast_to(np.False_, shape)[plain])


def repeated(shape: tuple[int, ...], index: tuple[Any, ...]) -> tuple[Any, Any] | None:
    """Return an index as flat places, and which of them are written last, if some are repeated."""
    if not any(isinstance(part, np.ndarray) and part.dtype != bool for part in index):
        return None
    places = np.arange(int(np.prod(shape))).reshape(shape)[index]
    flat = places.reshape(-1)
    distinct, first = np.unique(flat[::-1], return_index=True)
    return None if len(distinct) == len(flat) else (places, flat.size - 1 - first)


# Functions


class DuckLibrary(Library):
    """How NumPy's functions are evaluated on one library's arrays.

    A library defines what is left open below.

    Parameters
    ----------
    name : str
        What errors call it.
    duck : type
        Its kind of `DuckArray`.
    natives : mapping
        Functions of its arrays by the names that NumPy has for them, with NumPy's arguments.
    """

    def __init__(self, name: str, duck: type[DuckArray], natives: Mapping[str, Any]) -> None:
        super().__init__(name, self._core, self._special, self._contract)
        self.duck = duck
        self.natives = natives

    # What a library defines

    def is_native(self, value: Any) -> bool:
        """Tell whether a value is an array of the library."""
        raise NotImplementedError

    def from_numpy(self, array: Any) -> Any:
        """Return NumPy's array as the library's."""
        raise NotImplementedError

    def to_numpy(self, native: Any) -> Any:
        """Return a native array as NumPy's, without its derivative."""
        raise NotImplementedError

    def dtype_of(self, native: Any) -> np.dtype[Any]:
        """Return the dtype of a native array."""
        raise NotImplementedError

    def cast(self, native: Any, dtype: np.dtype[Any]) -> Any:
        """Return a native array in another dtype."""
        raise NotImplementedError

    def at(self, native: Any, index: tuple[Any, ...]) -> Any:
        """Return the entries at an index."""
        raise NotImplementedError

    def put(self, native: Any, index: tuple[Any, ...], value: Any) -> Any:
        """Return an array with other entries at an index, in which no place is named twice."""
        raise NotImplementedError

    def depends(self, native: Any) -> bool:
        """Tell whether a derivative may pass through a native array."""
        raise NotImplementedError

    def special(self, ufunc: Any) -> Any:
        """Return the native function for a ufunc of scipy.special, or None."""
        return None

    takes_numbers: frozenset[str] | None = frozenset()
    """Ufuncs whose native function takes a Python number beside an array; None: all."""

    # What all do

    def constant(self, like: Any, value: Any) -> Any:
        """Return a plain array as a duck array, of which it is a copy."""
        return self.duck(self.from_numpy(np.array(value)))

    def native(self, value: Any, dtype: Any = None) -> Any:
        """Return a value as a native array, in another dtype if one is given."""
        if isinstance(value, DuckArray):
            native = value.native
        elif self.is_native(value):
            native = value
        else:
            value = as_array(value)
            if isinstance(value, DuckArray):
                native = value.native
            else:
                array = np.asarray(value, dtype)
                if array.dtype.kind not in "biufc":
                    raise TypeError(f"{self.name} has no arrays of dtype {array.dtype}")
                return self.from_numpy(array)
        if dtype is not None and self.dtype_of(native) != dtype:
            return self.cast(native, np.dtype(dtype))
        return native

    def wrap(self, value: Any) -> Any:
        """Return native arrays as duck arrays, also inside of lists and tuples."""
        if self.is_native(value):
            return self.duck(value)
        if isinstance(value, (tuple, list)):
            return tuple(map(self.wrap, value))
        return value

    def dtype(self, *values: Any) -> np.dtype[Any]:
        """Return the dtype that NumPy gives what several values are joined to."""
        kinds = [
            value if issubclass(type(value), (int, float, complex)) else self._kind(value)
            for value in values
        ]
        return np.result_type(*kinds)

    def _kind(self, value: Any) -> Any:
        """Return the dtype of an array, the type of a Python number."""
        if isinstance(value, (TracedArray, np.ndarray, np.generic)):
            return value.dtype
        if isinstance(value, bool):
            return np.dtype(bool)
        for kind in (int, float, complex):
            if isinstance(value, kind):
                return kind
        return self.dtype_of(value) if self.is_native(value) else as_array(value).dtype

    def _core(self, function: Any) -> Implementation | None:
        if isinstance(function, np.ufunc) and function.__name__ in self.natives:
            return self._elementwise(function)
        if function in CORE:
            return CORE[function](self, function)
        return None

    def _special(self, function: Any) -> Implementation | None:
        native = self.special(function) if isinstance(function, np.ufunc) else None
        if native is None:
            return None
        return lambda *args: self.wrap(
            native(*[self.native(x, self._inexact(x)) for x in map(as_array, args)])
        )

    def _contract(self, subscripts: str, *operands: Any) -> Any:
        dtype = self.dtype(*operands)
        return self.duck(
            self.natives["einsum"](subscripts, *[self.native(x, dtype) for x in operands])
        )

    def _inexact(self, *values: Any) -> np.dtype[Any]:
        """Return the common dtype, of floating point at least."""
        dtype = self.dtype(*values)
        return dtype if dtype.kind in "fc" else np.dtype(np.float64)

    def _elementwise(self, ufunc: np.ufunc) -> Implementation:
        """Return a ufunc that computes in NumPy's dtypes."""
        function, duck = self.natives[ufunc.__name__], self.duck
        if self.takes_numbers is None or ufunc.__name__ in self.takes_numbers:
            keep: Any = (int, float, complex)
        else:
            keep = ()
        loops: dict[Any, tuple[Any, ...]] = {}

        def operand(value: Any, dtype: Any) -> Any:
            if type(value) is duck and dtype is None:
                return value.native
            if issubclass(type(value), np.generic) and keep:
                value = value.item()
            if issubclass(type(value), keep) and not isinstance(value, bool):
                return value
            return self.native(value, dtype)

        def evaluate(*inputs: Any) -> Any:
            kinds = tuple([x.dtype if type(x) is duck else self._kind(x) for x in inputs])
            loop = loops.get(kinds)
            if loop is None:
                found = ufunc.resolve_dtypes((*kinds, *(None,) * ufunc.nout))
                loop = loops[kinds] = tuple(
                    [None if kind == dtype else dtype for kind, dtype in zip(kinds, found)]  # noqa: B905
                )
            result = function(*map(operand, inputs, loop))
            return duck(result) if ufunc.nout == 1 else self.wrap(result)

        return evaluate


# The core, function by function. Each entry makes the implementation for a library.

Maker = Callable[[DuckLibrary, Any], Implementation]


def _shaping(library: DuckLibrary, function: Any) -> Implementation:
    """Evaluate a function of one array that leaves its entries alone."""
    native = library.natives[function.__name__]
    return lambda a, *args, **options: library.wrap(
        native(library.native(as_array(a)), *args, **options)
    )


def _reducing(library: DuckLibrary, function: Any) -> Implementation:
    """Evaluate a sum or an extremum, in the dtype in which NumPy has it."""
    native = library.natives[function.__name__]
    dtypes: dict[Any, Any] = {}

    def reduce(a: Any, *args: Any, **options: Any) -> Any:
        a = as_array(a)
        kind = a.dtype
        if kind not in dtypes:
            found = function(np.ones(1, kind)).dtype
            dtypes[kind] = kind if found.kind == "b" else found
        if "where" in options:
            return COMPOSITES[function](a, *args, **options)
        return library.wrap(native(library.native(a, dtypes[kind]), *args, **options))

    return reduce


def _multiplying(library: DuckLibrary, function: Any) -> Implementation:
    """Evaluate a product of two arrays."""
    native = library.natives[function.__name__]

    def multiply(a: Any, b: Any, *args: Any, **options: Any) -> Any:
        a, b = as_array(a), as_array(b)
        dtype = library.dtype(a, b)
        return library.wrap(
            native(library.native(a, dtype), library.native(b, dtype), *args, **options)
        )

    return multiply


def _inexact(library: DuckLibrary, function: Any) -> Implementation:
    """Evaluate a function of one array in floating point."""
    module = function.__module__.rpartition(".")[2]
    prefix = f"{module}." if module in ("linalg", "fft") else ""
    native = library.natives[f"{prefix}{function.__name__}"]

    def evaluate(a: Any, *args: Any, **options: Any) -> Any:
        a = as_array(a)
        found = native(library.native(a, library._inexact(a)), *args, **options)
        result = library.wrap(found)
        kind = RESULTS.get(function)
        return kind(*result) if kind is not None and isinstance(result, tuple) else result

    return evaluate


def _solve(library: DuckLibrary, function: Any) -> Implementation:
    native = library.natives["linalg.solve"]

    def solve(a: Any, b: Any) -> Any:
        a, b = as_array(a), as_array(b)
        dtype = library._inexact(a, b)
        if np.ndim(b) == 1:
            return solve(a, b[:, None])[..., 0]
        batch = np.broadcast_shapes(np.shape(a)[:-2], np.shape(b)[:-2])
        a = np.broadcast_to(a, (*batch, *np.shape(a)[-2:]))
        b = np.broadcast_to(b, (*batch, *np.shape(b)[-2:]))
        return library.wrap(native(library.native(a, dtype), library.native(b, dtype)))

    return solve


def _svd(library: DuckLibrary, function: Any) -> Implementation:
    native = library.natives["linalg.svd"]

    def svd(
        a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False
    ) -> Any:
        a = as_array(a)
        m, n = np.shape(a)[-2:]
        found = native(library.native(a, library._inexact(a)), full_matrices and m != n, compute_uv)
        return RESULTS[np.linalg.svd](*library.wrap(found)) if compute_uv else library.wrap(found)

    return svd


def _where(library: DuckLibrary, function: Any) -> Implementation:
    native = library.natives["where"]

    def where(condition: Any, *choices: Any) -> Any:
        if not choices:
            return np.nonzero(condition)
        x, y = choices
        dtype = library.dtype(x, y)
        return library.duck(
            native(
                library.native(condition, np.dtype(bool)),
                library.native(x, dtype),
                library.native(y, dtype),
            )
        )

    return where


def _concatenate(library: DuckLibrary, function: Any) -> Implementation:
    native = library.natives["concatenate"]

    def concatenate(arrays: Any, axis: Any = 0, casting: Any = None) -> Any:
        rows = [as_array(a) for a in (arrays if isinstance(arrays, (list, tuple)) else [*arrays])]
        dtype = library.dtype(*rows)
        if axis is None:
            rows, axis = [np.ravel(row) for row in rows], 0
        return library.duck(native([library.native(row, dtype) for row in rows], axis))

    return concatenate


def _flat(library: DuckLibrary, function: Any) -> Implementation:
    """Evaluate a function without a derivative: by NumPy's own where the numbers are known."""
    native = library.natives.get(function.__name__)

    def evaluate(*args: Any, **options: Any) -> Any:
        if are_known():
            return function(*map(_plain, args), **{k: _plain(v) for k, v in options.items()})
        if native is None:
            refuse_data(f"calls np.{function.__name__}", "write it without")
        found = native(*map(over, args), **{k: over(v) for k, v in options.items()})
        # NumPy's integers are those of indices.
        is_number = library.is_native(found) and library.dtype_of(found).kind == "i"
        return library.wrap(library.cast(found, np.dtype(np.intp)) if is_number else found)

    def over(value: Any) -> Any:
        if isinstance(value, (TracedArray, np.ndarray, list, range)) or library.is_native(value):
            return library.native(value)
        if isinstance(value, tuple):
            return tuple(map(over, value))
        return value

    return evaluate


def _plain(value: Any) -> Any:
    """Return the numbers of duck arrays, also inside of lists and tuples."""
    if isinstance(value, DuckArray):
        return value.plain()
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def _full_like(fill: Any) -> Maker:
    def make(library: DuckLibrary, function: Any) -> Implementation:
        def like(a: Any, *args: Any, **options: Any) -> Any:
            value, rest = (fill, args) if fill is not None else (args[0], args[1:])
            return full_like(library, a, value, *rest, **options)

        return like

    return make


def full_like(
    library: DuckLibrary,
    a: Any,
    fill_value: Any,
    dtype: Any = None,
    order: str = "K",
    subok: bool = True,
    shape: Any = None,
) -> Any:
    """Return an array of one value, which can be written into if it is of floating point."""
    shape = np.shape(a) if shape is None else shape
    dtype = np.dtype(library._kind(a) if dtype is None else dtype)
    if is_traced(fill_value):
        return np.broadcast_to(fill_value, shape).astype(dtype)
    made = np.full(shape, fill_value, dtype)
    return library.constant(a, made) if dtype.kind in "fc" and made.ndim else made


def _astype(library: DuckLibrary, function: Any) -> Implementation:
    def astype(x: Any, dtype: Any, **options: Any) -> Any:
        if np.dtype(dtype).kind not in "biufc":
            refuse_function(library.name, function)
        return library.duck(library.native(x, np.dtype(dtype)))

    return astype


def _same(implementation: Implementation) -> Maker:
    return lambda library, function: implementation


def _part_of(kind: str) -> Maker:
    """Return the real or the imaginary part."""

    def make(library: DuckLibrary, function: Any) -> Implementation:
        def part(val: Any) -> Any:
            val = as_array(val)
            if val.dtype.kind == "c":
                return library.duck(library.natives[kind](library.native(val)))
            return val if kind == "real" else np.zeros_like(val)

        return part

    return make


def _result_type(library: DuckLibrary, function: Any) -> Implementation:
    def dtype(*values: Any) -> np.dtype[Any]:
        return np.result_type(*[x.dtype if is_traced(x) else x for x in map(held, values)])

    return dtype


def _is_complex(x: Any) -> bool:
    dtype = getattr(x, "dtype", None)
    return bool(dtype.kind == "c") if dtype is not None else isinstance(x, complex)


RESULTS: dict[Any, Any] = {
    np.linalg.eig: np.linalg._linalg.EigResult,
    np.linalg.eigh: np.linalg._linalg.EighResult,
    np.linalg.qr: np.linalg._linalg.QRResult,
    np.linalg.slogdet: np.linalg._linalg.SlogdetResult,
    np.linalg.svd: np.linalg._linalg.SVDResult,
}

CORE: dict[Any, Maker] = {
    np.where: _where,
    np.concatenate: _concatenate,
    np.linalg.solve: _solve,
    np.linalg.svd: _svd,
    np.astype: _astype,
    np.zeros_like: _full_like(0),
    np.ones_like: _full_like(1),
    np.empty_like: _full_like(0),
    np.full_like: _full_like(None),
    np.shape: _same(np.shape.__wrapped__),  # type: ignore[attr-defined]
    np.ndim: _same(np.ndim.__wrapped__),  # type: ignore[attr-defined]
    np.size: _same(np.size.__wrapped__),  # type: ignore[attr-defined]
    np.result_type: _result_type,
    np.iscomplexobj: _same(_is_complex),
    np.isrealobj: _same(lambda x: not _is_complex(x)),
    np.real: _part_of("real"),
    np.imag: _part_of("imag"),
}
for _names, _maker in {
    "reshape ravel transpose permute_dims swapaxes moveaxis expand_dims squeeze broadcast_to": (
        _shaping
    ),
    "sum mean max amax min amin all any cumsum round around fix": _reducing,
    "dot inner tensordot": _multiplying,
    "i0 linalg.inv linalg.det linalg.slogdet linalg.cholesky linalg.eigh linalg.eig linalg.qr "
    "linalg.pinv fft.fft fft.ifft fft.rfft fft.irfft fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2 "
    "fft.fftn fft.ifftn fft.rfftn fft.irfftn fft.hfft fft.ihfft fft.fftshift fft.ifftshift": (
        _inexact
    ),
    "argmax argmin nanargmax nanargmin argsort argpartition argwhere nonzero flatnonzero "
    "count_nonzero searchsorted digitize isin lexsort isclose allclose array_equal array_equiv "
    "isneginf isposinf iscomplex isreal linalg.matrix_rank unravel_index ravel_multi_index": _flat,
}.items():
    for _name in _names.split():
        _module, _, _last = _name.rpartition(".")
        CORE[getattr(getattr(np, _module) if _module else np, _last)] = _maker
