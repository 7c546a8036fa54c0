"""The traced array: what all libraries' traced arrays have in common.

A loss in plain NumPy calls NumPy's functions and the methods of arrays, writes into arrays of its
own, and reads shapes. `TracedArray` does all of that as NumPy does. A library's class adds four
things: `library`, `shape` and `dtype`, ``_at(index)``, ``_put(index, value)`` and
``_become(other)``.

*Writing.* ``x[i] = v`` and ``x += v`` on a traced array compute a new array and put it into the
same object, so that every name of the object sees the write, as in NumPy. A NumPy view shares
memory with its base; a traced view does not. A write through a view is therefore repeated on the
base, and a living view that would have to see a write cannot be used any more. Numbers
(arrays without dimensions) are immutable in NumPy: ``x += v`` makes a new one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradlab.arrays.conversions import is_tracing, number_of
from gradlab.arrays.dispatch import call, held, refuse_plain
from gradlab.arrays.indexing import is_basic
from gradlab.arrays.operators import Operators
from gradlab.arrays.places import place_of
from gradlab.arrays.questions import HASH_ADVICE, TEXT_ADVICE, TYPE_ADVICE, note
from gradlab.arrays.refusals import refuse
from gradlab.arrays.rewriting import raise_if_rewritable
from gradlab.arrays.ufuncs import call_ufunc
from gradlab.arrays.views import (
    Viewed,
    as_view,
    expire,
    index_of,
    is_expired,
    mark_view,
    overlap,
    same_index,
)
from gradlab.errors import LossError

_OBJECT = np.dtype(object)
_PLAIN_ARRAY = np.zeros(1)

# While a loss is traced, others stand under these names (`gradlab.arrays.creation`).
_RAVEL, _RESHAPE, _TRANSPOSE, _PUT = np.ravel, np.reshape, np.transpose, np.put


class TracedArray(Operators, Viewed):
    """An array of a loss that is being traced; it behaves as a `numpy.ndarray`."""

    __array_priority__ = 1000.0

    # What a library's class defines

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    _at: Callable[[Any], Any]  # the entries at an index
    _put: Callable[[Any, Any], Any]  # of an index and a value: an array with other entries there
    _same: Callable[[], Any]  # a new object for the same array
    _become: Callable[[Any], None]  # represents another traced array of the same shape from then on
    _number: Callable[[], Any]  # the value of a traced number; NaN if it is not known

    # NumPy's protocols

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        # Losses call isinstance(x, np.ndarray) to test for arrays, and isinstance(x, float) to test
        # for numbers. NumPy and gradlab use type(x).
        if self.shape or self.dtype.kind != "f":
            return np.ndarray
        note(TYPE_ADVICE, sys._getframe(1))  # in NumPy, it may also be an array without dimensions
        return self.dtype.type

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Evaluate a ufunc."""
        return call_ufunc(self.library, ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Evaluate one of NumPy's functions."""
        found = call(self.library, function, args, kwargs)
        return as_view(found, function, args, kwargs)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        # NumPy calls this where it does not use its protocols: for lists, and in C. An array of
        # objects is correct and slow for numbers, and useless for large arrays. Outside of
        # gradlab's traces, autograd gets the usual array of objects.
        for_objects = dtype is not None and np.dtype(dtype) == _OBJECT
        if is_tracing() and not for_objects:
            raise_if_rewritable(sys._getframe(1))
        if self.shape and not for_objects and is_tracing():
            refuse_plain("makes a plain NumPy array of a traced one", "use NumPy's functions on it")
        boxed = np.empty(self.shape, object)
        for place in np.ndindex(self.shape):
            boxed[place] = self[place] if self.shape else self
        return boxed

    def __float__(self) -> float:
        if is_tracing():
            raise_if_rewritable(sys._getframe(1))
        return number_of(self, self._number())

    def __complex__(self) -> Any:
        refuse_plain("makes a Python number of a traced value", "compute with the array itself")

    def __int__(self) -> Any:
        if is_tracing():
            raise_if_rewritable(sys._getframe(1))
        refuse_plain("makes an integer of a traced value", "compute with the array itself")

    __index__ = __int__

    def item(self, *index: Any) -> Any:
        """Return an entry as a traced number."""
        if not index and self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.flat[index[0] if index else 0] if len(index) < 2 else self[index]

    def tolist(self) -> Any:
        """Return the entries as traced numbers, in lists."""
        return [row.tolist() for row in self] if self.shape else self

    def tobytes(self, *args: Any) -> Any:
        """Refuse to leave the trace."""
        refuse_plain("reads the bytes of a traced array", "compute with the array itself")

    def __repr__(self) -> str:
        note(TEXT_ADVICE, sys._getframe(1))
        return f"<traced array {self.shape} {self.dtype}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        # For display only: a number parsed from the text would have lost its derivative.
        note(TEXT_ADVICE, sys._getframe(1))
        return f"{format(self._number(), spec)}~" if spec else str(self)

    def __hash__(self) -> int:
        note(HASH_ADVICE, sys._getframe(1))
        return id(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy("K")

    def __copy__(self) -> Any:
        return self.copy("K")

    def __reduce_ex__(self, protocol: Any) -> Any:
        refuse_plain("pickles a traced array", "keep gradlab.detach(value)")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and hasattr(_PLAIN_ARRAY, name):
            instead = {"strides": "use np.lib.stride_tricks.sliding_window_view"}
            refuse_plain(
                f"uses {name} of a traced array",
                instead.get(name, "compute with the array itself"),
            )
        raise AttributeError(f"'numpy.ndarray' object has no attribute {name!r}")

    # Attributes

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def itemsize(self) -> int:
        """Bytes of an entry."""
        return int(self.dtype.itemsize)

    @property
    def nbytes(self) -> int:
        """Bytes of all entries."""
        return self.size * self.itemsize

    @property
    def T(self) -> Any:  # noqa: N802
        """The axes in reverse order."""
        return self.transpose()

    @property
    def mT(self) -> Any:  # noqa: N802
        """The last two axes swapped."""
        return self.swapaxes(-1, -2)

    @property
    def real(self) -> Any:
        """The real part."""
        return np.real(self)

    @property
    def imag(self) -> Any:
        """The imaginary part."""
        return np.imag(self)

    @property
    def flat(self) -> Flat:
        """The entries one after the other."""
        return Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        Flat(self)[:] = value

    @property
    def base(self) -> Any:
        """The array of which this is a view."""
        return None if self._base is None else self._base[0]

    # Entries

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool((self == value).any())

    def __getitem__(self, index: Any) -> Any:
        index = held(index)
        found = self._at(index)
        if is_basic(index):
            mark_view(found, self, (None,) if index is None else index)
        return found

    def __setitem__(self, index: Any, value: Any) -> None:
        index, value = held(index), held(value)
        base = getattr(value, "_base", None)
        if base is not None and base[0] is self and same_index(base[1], index):
            return  # Python assigns the result of x[i] += v, which the view has already written
        self.write(self._put(index, value), index)

    def write(self, new: Any, index: Any = ..., by: Any = None) -> None:
        """Make this array represent `new`, which differs from it only at `index`.

        The view `by`, through which the write came, already has the new value.
        """
        if np.shape(new) != self.shape:
            raise ValueError(
                f"could not broadcast input array from shape {np.shape(new)} "
                f"into shape {self.shape}"
            )
        if self._is_argument:
            refuse(
                f"the loss writes into its parameters or arguments ({place_of()}): "
                "write into a copy (x = x.copy())",
                LossError,
            )
        if self._base is not None:
            base, place = self._base
            place = index_of(place, base)
            if place is None:
                refuse(
                    f"the loss writes into a part of a traced array that NumPy may have copied "
                    f"({place_of()}): write into the array itself",
                    LossError,
                )
            base.write(base._put(place, new), place, by=self)
        self._expire_views(index, by)
        if new.dtype != self.dtype:
            if not np.can_cast(new.dtype, self.dtype, "same_kind"):
                refuse(
                    f"the loss writes {new.dtype} into an array of {self.dtype} "
                    f"({place_of()}), which would cut it off: make the array of "
                    "floating-point numbers",
                    LossError,
                )
            new = new.astype(self.dtype)
        self._become(new)

    def _expire_views(self, index: Any, by: Any) -> None:
        """Let no living view be used that would have to see the write."""
        for view, place in self._views or ():
            if (seen := view()) is None or seen is by or is_expired(seen):
                continue
            place = index_of(place, self)
            if place is None or overlap(self.shape, place, index):
                expire(seen)

    def fill(self, value: Any) -> None:
        """Write a value into all entries."""
        self[...] = value

    def put(self, indices: Any, values: Any, mode: str = "raise") -> None:
        """Write values to places of the flattened array."""
        call(self.library, _PUT, (self, indices, values, mode), {})

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None) -> None:
        """Sort in place."""
        self[...] = np.sort(self, axis=axis)

    def partition(self, kth: Any, axis: int = -1, kind: Any = None, order: Any = None) -> None:
        """Partition in place."""
        self[...] = np.partition(self, kth, axis=axis)

    def copy(self, order: str = "C") -> Any:
        """Return an array of its own."""
        same = self._same()
        same._is_contiguous = order == "C"
        return same

    def __pos__(self) -> Any:
        return self.copy("K")

    # Methods whose arguments differ from those of the function

    def reshape(self, *shape: Any, order: str = "C", copy: Any = None) -> Any:
        """Return the entries in another shape."""
        wanted = shape[0] if len(shape) == 1 else shape
        return self._call(_RESHAPE, wanted, **({} if order == "C" else {"order": order}))

    def transpose(self, *axes: Any) -> Any:
        """Return the array with its axes in another order."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        return self._call(_TRANSPOSE) if order is None else self._call(_TRANSPOSE, order)

    def flatten(self, order: str = "C") -> Any:
        """Return the entries in one dimension."""
        return self._call(_RAVEL, order).copy()

    def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the array in another dtype."""
        return self._call(np.astype, np.dtype(dtype))

    def view(self, *args: Any) -> Any:
        """Return the array itself; refuse another dtype."""
        if args and args != (np.ndarray,):
            refuse_plain("looks at the bytes of a traced array", "use astype")
        return self

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        found = call(self.library, function, (self, *args), kwargs)
        return as_view(found, function, (self, *args), kwargs)


class Flat:
    """The entries of a traced array one after the other: its ``flat``."""

    def __init__(self, array: Any) -> None:
        self.base = array
        self.index = 0

    @property
    def coords(self) -> tuple[int, ...]:
        """The index of the next entry."""
        if self.index >= self.base.size:  # `numpy.ndenumerate` reads this before it reaches the end
            return tuple(self.base.shape)
        return tuple(map(int, np.unravel_index(self.index, self.base.shape)))

    def __iter__(self) -> Flat:
        return self

    def __next__(self) -> Any:
        if self.index >= self.base.size:
            raise StopIteration
        entry = self.base[self.coords]
        self.index += 1
        return entry

    def __len__(self) -> int:
        return int(self.base.size)

    def __getitem__(self, index: Any) -> Any:
        return self.base[self._places(index)]

    def __setitem__(self, index: Any, value: Any) -> None:
        places = self._places(index)
        if np.ndim(value):  # NumPy flattens and repeats it
            value = _RESHAPE(value, (-1,))[np.arange(np.size(places[0])) % np.size(value)]
        self.base[places] = value

    def _places(self, index: Any) -> Any:
        return np.unravel_index(np.arange(self.base.size)[index], self.base.shape)
