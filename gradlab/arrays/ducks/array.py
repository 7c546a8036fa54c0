"""A NumPy array to the loss, an array of another library inside."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from gradlab.arrays.composites.shared import as_array
from gradlab.arrays.conversions import is_tracing
from gradlab.arrays.ducks.traces import current_trace, refuse_data
from gradlab.arrays.places import place_of
from gradlab.arrays.refusals import record
from gradlab.arrays.rewriting import raise_if_rewritable
from gradlab.arrays.traced import TracedArray
from gradlab.errors import UntraceableError


class DuckArray(TracedArray):
    """A NumPy array to the loss, an array of another library inside."""

    library: ClassVar[Any]
    """The `DuckLibrary` of its kind, which imports this module."""

    def __init__(self, native: Any) -> None:
        self.native = native
        self.origin = current_trace()

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
        dtype: np.dtype[Any] = self.library.dtype_of(self.native)
        return dtype

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
            # NumPy writes one value after the other: the last one stays.
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
        """Return the numbers; refuse while compiling, when they are unknown."""
        if not self.origin.known:
            refuse_data("asks for numbers, as gradlab.detach does", "compute with the array itself")
        self.origin.detached = True
        return self.plain()

    def kept_value(self) -> Any:
        """Return the numbers; NaN if they are unknown."""
        return self.plain() if self.origin.known else np.full(self.shape, np.nan)

    def __bool__(self) -> bool:
        if not self.origin.known:
            refuse_data("branches on a number (if, while, and, or)", "write np.where")
        return bool(self.plain())

    def __int__(self) -> Any:
        if is_tracing() and not self.origin.known:
            raise_if_rewritable(sys._getframe(1))
        return TracedArray.__int__(self) if self.depends() else self._taken(int)

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

    def __getattr__(self, name: str) -> Any:
        # Attributes of the native arrays also end here: the loss is then tried on native arrays.
        if not name.startswith("_") and hasattr(np.ndarray, name):
            record(UntraceableError(f"the loss uses {name} of a traced array ({place_of()})"))
        raise AttributeError(f"traced arrays have no attribute {name!r}")

    def view(self, *args: Any) -> Any:
        """Return the array itself; refuse another dtype."""
        if args and isinstance(args[0], int):
            raise TypeError("numpy.ndarray.view takes a dtype, not a shape")
        return TracedArray.view(self, *args)

    @property
    def device(self) -> str:
        """The device of NumPy's arrays."""
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
    """Return an index as flat places, and which of them are the last writes if some repeat."""
    if not any(isinstance(part, np.ndarray) and part.dtype != bool for part in index):
        return None
    places = np.arange(int(np.prod(shape))).reshape(shape)[index]
    flat = places.reshape(-1)
    distinct, first = np.unique(flat[::-1], return_index=True)
    return None if len(distinct) == len(flat) else (places, flat.size - 1 - first)
