"""NumPy arrays that a loss makes and that become traced when it writes a traced value into them.

Until then, a `Buffer` is an ordinary array. `gradlab.arrays.creation` makes them while a loss
is traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import (
    Holder,
    as_traced,
    call,
    first_traced,
    has_traced,
    held,
    refuse_plain,
)
from gradlab.arrays.indexing import is_basic
from gradlab.arrays.operators import METHODS
from gradlab.arrays.traced import TracedArray
from gradlab.arrays.ufuncs import call_ufunc
from gradlab.arrays.views import as_view, mark_view
from gradlab.containers import rebuilt


class Buffer(Holder, np.ndarray):
    """A NumPy array that becomes a traced one when a traced value is written into it.

    Its own memory is then filled with NaN, so that code which bypasses NumPy's protocols ends in an
    error and not in a wrong number.
    """

    _traced: TracedArray | None = None  # of an array that owns its memory
    _root: Buffer | None = None  # for a view: the buffer whose memory it shares
    _place: Any = None  # for a view: its index in that buffer, if an index made it
    _snapshot: np.ndarray[Any, Any] | None = None

    def __array_finalize__(self, other: Any) -> None:
        if isinstance(other, Buffer):
            root = other if other._root is None else other._root
            self._root = root if _is_within(self, root) else None

    @property
    def traced(self) -> Any:
        """The traced array that it holds, or its part for a view; None if there is none."""
        if self._root is None:
            return self._traced
        whole = self._root._traced
        if whole is None:
            return None
        index = self._index_in_root()
        part = whole._at(index)
        mark_view(part, whole, index)
        return part

    def _index_in_root(self) -> Any:
        """Return the index that selects this view from the buffer that owns the memory."""
        if self._place is not None:
            return self._place
        root = self._root
        assert root is not None
        if self.dtype != root.dtype:
            refuse_plain("takes a part of the numbers of an array", "use np.real and np.imag")
        size, address = self.itemsize, _address(self) - _address(root)
        numbers = np.arange(root.size)  # of the entries in memory, in a view like this one
        strides = [step // size * numbers.itemsize for step in self.strides]
        places = np.lib.stride_tricks.as_strided(numbers[address // size :], self.shape, strides)
        order: Any = "C" if root.flags.c_contiguous else "F"
        return np.unravel_index(places, root.shape, order)

    def content(self) -> Any:
        """Return the traced array, or a copy of the plain one.

        An operation may keep its argument for the derivative while the loss goes on writing, hence
        the copy. The copy stays the same object until the next write, so that a recording
        recognises the constant.
        """
        if self.traced is not None:
            return self.traced
        plain = self.view(np.ndarray)
        if self._snapshot is None or self._snapshot.tobytes() != plain.tobytes():
            self._snapshot = plain.copy()
        return self._snapshot

    def write(self, new: Any, index: Any = ...) -> None:
        """Hold a traced array, which differs from the content only at an index."""
        if np.shape(new) != self.shape:
            raise ValueError(
                f"could not broadcast input array from shape {np.shape(new)} "
                f"into shape {self.shape}"
            )
        if self.traced is not None:
            self.traced.write(new, index)
            return
        if self._root is not None:
            self._root[self._index_in_root()] = new
            return
        dtype = getattr(new, "real_dtype", new.dtype)
        if not np.can_cast(dtype, self.dtype, "same_kind"):
            refuse_plain(
                f"writes {dtype} into an array of {self.dtype}", "make it of a wider dtype"
            )
        self._traced = new.copy() if new.dtype == self.dtype else new.astype(self.dtype)
        self._traced._is_contiguous = self.flags.c_contiguous
        self.view(np.ndarray)[...] = np.nan

    fill = TracedArray.fill
    flat = TracedArray.flat  # type: ignore[assignment]

    def __setitem__(self, index: Any, value: Any) -> None:
        index = held(index)
        value = as_traced(value)
        if self.traced is not None:
            self.traced[index] = value
        elif (traced := first_traced((value, index))) is None:
            np.ndarray.__setitem__(self, index, value)
        else:
            whole = traced.library.constant(traced, self.view(np.ndarray).copy())
            self.write(whole._put(index, value), index)

    def __getitem__(self, index: Any) -> Any:
        index = held(index)
        if self.traced is not None:
            return self.traced[index]
        if has_traced(index):
            traced = first_traced(index)
            return traced.library.entries(traced, self.content(), index)
        found = np.ndarray.__getitem__(self, index)
        if isinstance(found, Buffer) and self._root is None and is_basic(index):
            found._place = index
        return found

    def __repr__(self) -> str:
        traced = self.traced
        return repr(self.view(np.ndarray) if traced is None else traced)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Evaluate a ufunc on the contents of buffers."""
        out = kwargs.get("out", ())
        traced = first_traced((*inputs, *out))
        if traced is not None:
            return call_ufunc(traced.library, ufunc, method, inputs, kwargs)
        inputs = tuple(map(_plain, inputs))
        if out:
            kwargs["out"] = tuple(map(_plain, out))
        result = getattr(ufunc, method)(*inputs, **kwargs)
        return (out[0] if len(out) == 1 else out) if out else result

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Evaluate one of NumPy's functions on the contents of buffers."""
        traced = first_traced((args, kwargs))
        if traced is not None:
            found = call(traced.library, function, args, kwargs)
            return as_view(found, function, args, kwargs)
        plain = {key: _plain(value) for key, value in kwargs.items()}
        return as_views(function(*map(_plain, args), **plain), args)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _is_within(array: Any, root: Any) -> bool:
    """Tell whether an array lies in the memory of another, which is contiguous."""
    return 0 <= _address(array) - _address(root) < int(root.nbytes)


def as_views(found: Any, args: tuple[Any, ...]) -> Any:
    """Return results that share memory with a buffer among the arguments as buffers."""
    if isinstance(found, (list, tuple)):
        return rebuilt(found, [as_views(item, args) for item in found])
    if type(found) is np.ndarray:
        for arg in args:
            if isinstance(arg, Buffer):
                root = arg if arg._root is None else arg._root
                if _is_within(found, root):
                    found = found.view(Buffer)
                    found._root = root
                    return found
    return found


def _plain(value: Any) -> Any:
    """Return buffers as plain arrays, also inside lists and tuples."""
    if isinstance(value, Buffer):
        return value.view(np.ndarray)
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


# A buffer that holds a traced array delegates these to it.


def _forwarding(name: str) -> Any:
    own = getattr(np.ndarray, name)

    def method(self: Buffer, *args: Any, **kwargs: Any) -> Any:
        array = self.traced
        if array is None and (other := first_traced((args, kwargs))) is not None:
            array = other.library.constant(other, self.content())
        return (
            own(self, *args, **kwargs) if array is None else getattr(array, name)(*args, **kwargs)
        )

    def attribute(self: Buffer) -> Any:
        held = self.traced
        return own.__get__(self) if held is None else getattr(held, name)

    return method if callable(own) else property(attribute)


for _name in (
    """
    T mT real imag reshape transpose flatten astype copy item tolist tobytes sort
    __bool__ __float__ __int__ __index__ __complex__ __len__ __contains__
""".split()
    + METHODS
):
    if hasattr(np.ndarray, _name):
        setattr(Buffer, _name, _forwarding(_name))
