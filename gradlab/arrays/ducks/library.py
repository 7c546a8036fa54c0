"""NumPy's functions on the arrays of another library, in NumPy's dtypes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from gradlab.arrays import augmented as augmented  # registers itself
from gradlab.arrays import composites as composites  # registers them
from gradlab.arrays import numpy_source as numpy_source  # registers itself
from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.dispatch import Implementation, Library
from gradlab.arrays.ducks.array import DuckArray
from gradlab.arrays.traced import TracedArray


class DuckLibrary(Library):
    """How NumPy's functions are evaluated on one library's arrays.

    `natives` are functions of its arrays by the names that NumPy has for them, with NumPy's
    arguments.
    """

    def __init__(self, name: str, duck: type[DuckArray], natives: Mapping[str, Any]) -> None:
        super().__init__(name, self._core, self._special, self._contract)
        self.duck = duck
        self.natives = natives

    # What a library's class defines

    is_native: Callable[[Any], bool]  # whether a value is an array of the library
    from_numpy: Callable[[Any], Any]  # NumPy's array as the library's
    to_numpy: Callable[[Any], Any]  # a native array as NumPy's, without its derivative
    dtype_of: Callable[[Any], np.dtype[Any]]  # the dtype of a native array
    cast: Callable[[Any, np.dtype[Any]], Any]  # a native array in another dtype
    at: Callable[[Any, tuple[Any, ...]], Any]  # the entries at an index
    put: Callable[[Any, tuple[Any, ...], Any], Any]  # new array, other values at distinct places
    depends: Callable[[Any], bool]  # whether a derivative may pass through a native array
    special: Callable[[Any], Any]  # the native function for a ufunc of scipy.special, or None

    takes_numbers: frozenset[str] | None = frozenset()
    """Ufuncs whose native function takes a Python number beside an array; None: all."""

    # Common to all libraries

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
        """Return the dtype that NumPy gives to several values that are joined."""
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


Maker: TypeAlias = Callable[[DuckLibrary, Any], Implementation]
"""Makes the implementation of a function for a library."""

CORE: dict[Any, Maker] = {}
"""The factories that `core.py` registers, by NumPy function."""
