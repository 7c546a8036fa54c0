"""Arrays that a loss makes for itself while it is traced.

``np.zeros(n)`` has no argument that could be traced, and yet a loss may write traced values into
what it returns; ``np.array([a, b])`` and ``np.asarray(x)`` take traced values and are not offered
to their protocols. So `tracing` puts functions of the same names into NumPy's namespace, for as
long as some loss is being traced. Given traced values, they return a traced array. Otherwise they
do what they always do, and in the thread that traces, a floating-point array that user code makes
is a `Buffer`: an array like any other, until a traced value is written into it.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import (
    Holder,
    call,
    call_ufunc,
    first_traced,
    has_traced,
    held,
    refuse_plain,
)
from gradlab.arrays.indexing import is_basic
from gradlab.arrays.rewriting import as_traced
from gradlab.arrays.traced import METHODS, Flat, TracedArray, as_view, mark_view


class Buffer(Holder, np.ndarray):
    """A NumPy array that becomes a traced one when a traced value is written into it.

    From then on its own memory is filled with NaN, so that whatever gets at it past NumPy's
    protocols ends in an error, not in a number.
    """

    _traced: TracedArray | None = None  # of an array that owns its memory
    _root: Buffer | None = None  # of a view: the buffer whose memory it looks at
    _place: Any = None  # of a view: its index in that buffer, if it was made by one
    _snapshot: np.ndarray[Any, Any] | None = None

    def __array_finalize__(self, other: Any) -> None:
        if isinstance(other, Buffer):
            root = other if other._root is None else other._root
            self._root = root if _is_within(self, root) else None

    @property
    def traced(self) -> Any:
        """The traced array that it holds, or None; of a view, the part of it."""
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

        What is computed with it may keep it for its derivative, while the loss writes on. The copy
        stays the same object until then, by which a recording knows the same constant again.
        """
        if self.traced is not None:
            return self.traced
        plain = self.view(np.ndarray)
        if self._snapshot is None or self._snapshot.tobytes() != plain.tobytes():
            self._snapshot = plain.copy()
        return self._snapshot

    def write(self, new: Any, index: Any = ...) -> None:
        """Hold a traced array, which differs from the content at an index alone."""
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
        self.view(np.ndarray)[...] = np.nan

    def fill(self, value: Any) -> None:
        """Write a value into all entries."""
        self[...] = value

    @property
    def flat(self) -> Any:
        """The entries one after the other."""
        return Flat(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        Flat(self)[:] = value

    def __setitem__(self, index: Any, value: Any) -> None:
        index = held(index)
        value = as_traced(value)
        if self.traced is not None:
            self.traced[index] = value
        elif not has_traced(value) and not has_traced(index):
            np.ndarray.__setitem__(self, index, value)
        elif has_traced(value):
            self.write(constant_like(value, self.view(np.ndarray).copy())._put(index, value), index)
        else:
            plain = self.view(np.ndarray).copy()
            self.write(constant_like(first_traced(index), plain)._put(index, value), index)

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
        """Evaluate a ufunc on what buffers hold."""
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
        """Evaluate one of NumPy's functions on what buffers hold."""
        traced = first_traced((args, kwargs))
        if traced is not None:
            return as_view(call(traced.library, function, args, kwargs), function, args)
        plain = {key: _plain(value) for key, value in kwargs.items()}
        return _as_views(function(*map(_plain, args), **plain), args)


def _address(array: Any) -> int:
    return int(array.__array_interface__["data"][0])


def _is_within(array: Any, root: Any) -> bool:
    """Tell whether an array lies in the memory of another, which is contiguous."""
    return 0 <= _address(array) - _address(root) < int(root.nbytes)


def _as_views(found: Any, args: tuple[Any, ...]) -> Any:
    """Return results that share memory with a buffer among the arguments as buffers."""
    if isinstance(found, (list, tuple)):
        views = [_as_views(item, args) for item in found]
        return type(found)(*views) if hasattr(found, "_fields") else type(found)(views)
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
    """Return buffers as the arrays that they are, also inside of lists and tuples."""
    if isinstance(value, Buffer):
        return value.view(np.ndarray)
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value))
    return value


def constant_like(traced: TracedArray, value: Any) -> Any:
    """Return a plain array as a traced one beside another, on which it does not depend."""
    return traced.library.constant(traced, value)


# An array that holds a traced one answers as that does.


def _forwarding(name: str) -> Any:
    own = getattr(np.ndarray, name)

    def method(self: Buffer, *args: Any, **kwargs: Any) -> Any:
        array = self.traced
        if array is None and (other := first_traced((args, kwargs))) is not None:
            array = constant_like(other, self.content())
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


# Functions that make arrays

ORIGINAL: dict[str, Callable[..., Any]] = {}
_MAKERS = """
    zeros ones empty full eye identity array copy zeros_like ones_like empty_like full_like
    linspace arange logspace geomspace
""".split()
_CONVERTERS = "asarray asanyarray ascontiguousarray asfortranarray".split()
_OF_LISTS = """
    sum prod mean median std var max min amax amin ptp sort cumsum diff dot reshape ravel transpose
    percentile quantile
""".split()
"""Functions that take lists of arrays, whose entries NumPy does not offer its protocols."""
_LIBRARIES = {"numpy", "autograd", "jax", "jaxlib", "torch", "scipy", "array_api_compat", "gradlab"}

WRITABLE: dict[str, Callable[..., Any]] = {}
"""What NumPy's own Python finds under these names while it runs on traced arrays."""


def _making(name: str) -> Callable[..., Any]:
    original = ORIGINAL[name]

    def make(*args: Any, **kwargs: Any) -> Any:
        if name == "array" and args and has_traced(args[0]):
            return _converted(args[0], copy=kwargs.pop("copy", True), **kwargs)
        made = original(*args, **kwargs)
        return made.view(Buffer) if type(made) is np.ndarray and made.dtype.kind in "fc" else made

    @wraps(original)
    def made_for_users(*args: Any, **kwargs: Any) -> Any:
        if not getattr(_here, "depth", 0):
            return original(*args, **kwargs)
        caller = sys._getframe(1).f_globals.get("__name__", "").partition(".")[0]
        is_library = caller in _LIBRARIES and not (name == "array" and args and has_traced(args[0]))
        return original(*args, **kwargs) if is_library else make(*args, **kwargs)

    WRITABLE[name] = make
    return made_for_users


def _converting(name: str) -> Callable[..., Any]:
    original = ORIGINAL[name]

    @wraps(original)
    def convert(a: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_here, "depth", 0):
            if has_traced(a):
                return _converted(a, dtype=args[0] if args else kwargs.pop("dtype", None), **kwargs)
            if isinstance(a, Buffer):
                return _as_views(original(a, *args, **kwargs), (a,))
        return original(a, *args, **kwargs)

    WRITABLE[name] = convert
    return convert


def _joining(name: str) -> Callable[..., Any]:
    original = ORIGINAL[name]

    @wraps(original)
    def joined(a: Any, *args: Any, **kwargs: Any) -> Any:
        is_list = issubclass(type(a), (list, tuple)) and bool(getattr(_here, "depth", 0))
        return original(as_traced(a) if is_list else a, *args, **kwargs)

    return joined


def _converted(
    value: Any, dtype: Any = None, copy: Any = None, ndmin: int = 0, **options: Any
) -> Any:
    """Return traced values as a traced array."""
    array = as_traced(value)
    if copy is True and array is held(value):
        array = array.copy()
    if dtype is not None and array.dtype != np.dtype(dtype):
        array = array.astype(dtype)
    return array[(None,) * (ndmin - array.ndim)] if array.ndim < ndmin else array


_here = threading.local()
_lock = threading.Lock()
_users = 0

ORIGINAL.update({name: getattr(np, name) for name in (*_MAKERS, *_CONVERTERS, *_OF_LISTS)})
_PATCHES = {name: _making(name) for name in _MAKERS}
_PATCHES |= {name: _converting(name) for name in _CONVERTERS}
_PATCHES |= {name: _joining(name) for name in _OF_LISTS}


class _Rows:
    """``np.r_`` and ``np.c_``, which also join traced arrays."""

    def __init__(self, original: Any, join: Callable[[list[Any]], Any]) -> None:
        self._original, self._join = original, join

    def __getitem__(self, key: Any) -> Any:
        if not (getattr(_here, "depth", 0) and has_traced(key)):
            return self._original[key]
        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(part, str) for part in parts):
            refuse_plain("gives np.r_ or np.c_ a directive beside traced arrays", "use np.stack")
        # A slice stands for a range of numbers there.
        return self._join([self._original[p] if isinstance(p, slice) else p for p in parts])


def _vectorized(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function of `numpy.vectorize` for each entry, where some entry is traced."""
    if not (getattr(_here, "depth", 0) and has_traced((args, kwargs))) or self.signature:
        return _VECTORIZED(self, *args, **kwargs)
    arrays = np.broadcast_arrays(*map(as_traced, args))
    shape = np.shape(arrays[0])
    made = [self.pyfunc(*[a[place] for a in arrays], **kwargs) for place in np.ndindex(*shape)]
    return np.reshape(np.stack(made), shape)


def _is_scalar(element: Any) -> bool:
    """Return `numpy.isscalar`; a traced number is one."""
    if getattr(_here, "depth", 0) and has_traced(element):
        return not isinstance(element, (list, tuple, dict)) and not np.ndim(element)
    return _ISSCALAR(element)


def _from_iterator(iterator: Any, dtype: Any, count: int = -1, **options: Any) -> Any:
    """Return `numpy.fromiter`, of traced numbers, too."""
    if not getattr(_here, "depth", 0):
        return _FROM_ITERATOR(iterator, dtype, count, **options)
    items = list(iterator if count < 0 else islice(iterator, count))
    if has_traced(items):
        return _converted(items, dtype)
    return _FROM_ITERATOR(items, dtype, count, **options)


_VECTORIZED = np.vectorize.__call__
_FROM_ITERATOR = np.fromiter
_ISSCALAR = np.isscalar

_PLACES: list[tuple[Any, str, Any, Any]] = [
    *[(np, name, ORIGINAL[name], patch) for name, patch in _PATCHES.items()],
    (np, "r_", np.r_, _Rows(np.r_, lambda parts: np.hstack(parts))),
    (np, "c_", np.c_, _Rows(np.c_, lambda parts: np.column_stack(parts))),
    (np.vectorize, "__call__", _VECTORIZED, _vectorized),
    (np, "isscalar", _ISSCALAR, _is_scalar),
    (np, "fromiter", _FROM_ITERATOR, _from_iterator),
]
"""Owner, name, what is there, and what is there while a loss is traced."""


def protect(array: Any) -> None:
    """Make a plain array, and the one that it is a view of, read-only until the trace ends."""
    protected = getattr(_here, "protected", None)
    while protected is not None and isinstance(array, np.ndarray):
        if array.flags.writeable and (array.base is None or isinstance(array.base, np.ndarray)):
            array.flags.writeable = False
            protected.append(array)
        array = array.base


def _release(protected: list[Any]) -> None:
    """Make arrays writeable again."""
    for array in reversed(protected):
        _allow_writing(array)


def _allow_writing(array: Any) -> None:
    """Make an array writeable; NumPy refuses that of a view whose base is not writeable."""
    base = array.base
    must_wait = isinstance(base, np.ndarray) and not base.flags.writeable
    if must_wait:
        _allow_writing(base)
    array.flags.writeable = True
    if must_wait:
        base.flags.writeable = False


def _renew_lock() -> None:
    """Give a forked process a lock of its own: the thread that held this one is not in it."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@contextmanager
def tracing() -> Iterator[None]:
    """Let NumPy's functions that make arrays make them for traced values, in this thread."""
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            for owner, name, _, patch in _PLACES:
                setattr(owner, name, patch)
    _here.depth = getattr(_here, "depth", 0) + 1
    before, _here.protected = getattr(_here, "protected", None), []
    try:
        yield
    finally:
        _release(_here.protected)
        _here.protected = before
        _here.depth -= 1
        with _lock:
            _users -= 1
            if not _users:
                for owner, name, original, _ in _PLACES:
                    setattr(owner, name, original)
