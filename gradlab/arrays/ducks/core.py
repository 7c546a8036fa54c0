"""The core of NumPy's functions: for each, a factory of its implementation for a library."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import COMPOSITES, Implementation, refuse_function
from gradlab.arrays.ducks.array import DuckArray
from gradlab.arrays.ducks.library import CORE, DuckLibrary, Maker
from gradlab.arrays.ducks.traces import are_known, refuse_data
from gradlab.arrays.traced import TracedArray


def _shaping(library: DuckLibrary, function: Any) -> Implementation:
    """Evaluate a function of one array that does not change its entries."""
    native = library.natives[function.__name__]
    return lambda a, *args, **options: library.wrap(
        native(library.native(as_array(a)), *args, **options)
    )


def _reducing(library: DuckLibrary, function: Any) -> Implementation:
    """Evaluate a sum or an extremum, in NumPy's dtype."""
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
    """Evaluate a function without a derivative: by NumPy's own if the numbers are known."""
    native = library.natives.get(function.__name__)

    def evaluate(*args: Any, **options: Any) -> Any:
        if are_known():
            return function(*map(_plain, args), **{k: _plain(v) for k, v in options.items()})
        if native is None:
            refuse_data(f"calls np.{function.__name__}", "write it without")
        found = native(*map(over, args), **{k: over(v) for k, v in options.items()})
        # NumPy's default integers are those of indices.
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


def _astype(library: DuckLibrary, function: Any) -> Implementation:
    def astype(x: Any, dtype: Any, **options: Any) -> Any:
        if np.dtype(dtype).kind not in "biufc":
            refuse_function(library.name, function)
        return library.duck(library.native(x, np.dtype(dtype)))

    return astype


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


RESULTS: dict[Any, Any] = {
    np.linalg.eig: np.linalg._linalg.EigResult,
    np.linalg.eigh: np.linalg._linalg.EighResult,
    np.linalg.qr: np.linalg._linalg.QRResult,
    np.linalg.slogdet: np.linalg._linalg.SlogdetResult,
    np.linalg.svd: np.linalg._linalg.SVDResult,
}

CORE |= {
    np.where: _where,
    np.concatenate: _concatenate,
    np.linalg.solve: _solve,
    np.linalg.svd: _svd,
    np.astype: _astype,
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
