"""Arrays that a loss creates while it is traced.

``np.zeros(n)`` has no argument that could be traced, yet a loss may write traced values into its
result. ``np.array([a, b])`` and ``np.asarray(x)`` take traced values, but NumPy does not dispatch
them by its protocols. `tracing` therefore replaces these functions in NumPy's namespace while any
loss is being traced. For traced values, the replacements return a traced array. Otherwise they
behave as before, except that in the tracing thread a floating-point array that user code makes is a
`Buffer`: an ordinary array until a traced value is written into it.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import islice
from typing import Any

import numpy as np

from gradlab.arrays.buffers import Buffer, as_views
from gradlab.arrays.dispatch import as_traced, has_traced, held, refuse_plain
from gradlab.arrays.replacements import function
from gradlab.arrays.vectorized import vectorized
from gradlab.forking import ForkLock

ORIGINAL: dict[str, Callable[..., Any]] = {}
_MAKERS = """
    zeros ones empty full eye identity array copy zeros_like ones_like empty_like full_like
    linspace arange logspace geomspace
""".split()
_CONVERTERS = "asarray asanyarray ascontiguousarray asfortranarray".split()
_TAKING_LISTS = """
    sum prod mean median std var max min amax amin ptp sort cumsum diff dot reshape ravel transpose
    percentile quantile
""".split()
"""Functions that take lists of arrays; NumPy does not apply its protocols to the entries."""
_LIBRARIES = {"numpy", "autograd", "jax", "jaxlib", "torch", "scipy", "array_api_compat", "gradlab"}

WRITABLE: dict[str, Callable[..., Any]] = {}
"""What NumPy's own Python code finds under these names while it runs on traced arrays."""


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

    def convert(a: Any, *args: Any, **kwargs: Any) -> Any:
        if has_traced(a):
            return _converted(a, dtype=args[0] if args else kwargs.pop("dtype", None), **kwargs)
        found = original(a, *args, **kwargs)
        return as_views(found, (a,)) if isinstance(a, Buffer) else found

    WRITABLE[name] = convert
    return _while_tracing(original, convert)


def _while_tracing(original: Callable[..., Any], inside: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `inside` in a thread that traces a loss, else the original."""

    @wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return (inside if getattr(_here, "depth", 0) else original)(*args, **kwargs)

    return replacement


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
        array = array.copy("K")
    if dtype is not None and array.dtype != np.dtype(dtype):
        array = array.astype(dtype)
    return array[(None,) * (ndmin - array.ndim)] if array.ndim < ndmin else array


_here = threading.local()
_lock = ForkLock()
_users = 0

ORIGINAL.update({name: getattr(np, name) for name in (*_MAKERS, *_CONVERTERS, *_TAKING_LISTS)})
_PATCHES = {name: _making(name) for name in _MAKERS}
_PATCHES |= {name: _converting(name) for name in _CONVERTERS}
_PATCHES |= {name: _joining(name) for name in _TAKING_LISTS}


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
    """Call a function of `numpy.vectorize` for each entry, if some entry is traced."""
    if has_traced((args, kwargs)):
        return vectorized(self, function, args, kwargs)
    return _ORIGINAL_VECTORIZE(self, *args, **kwargs)


def _is_scalar(element: Any) -> bool:
    """Return `numpy.isscalar`; a traced number is one."""
    if has_traced(element):
        return not isinstance(element, (list, tuple, dict)) and not np.ndim(element)
    return _ORIGINAL_ISSCALAR(element)


def _from_iterator(iterator: Any, dtype: Any, count: int = -1, **options: Any) -> Any:
    """Return `numpy.fromiter`, which also takes traced numbers."""
    items = list(iterator if count < 0 else islice(iterator, count))
    if has_traced(items):
        return _converted(items, dtype)
    return _ORIGINAL_FROMITER(items, dtype, count, **options)


_ORIGINAL_VECTORIZE = np.vectorize.__call__
_ORIGINAL_FROMITER = np.fromiter
_ORIGINAL_ISSCALAR = np.isscalar

_PATCHED_ATTRIBUTES: list[tuple[Any, str, Any, Any]] = [
    *[(np, name, ORIGINAL[name], patch) for name, patch in _PATCHES.items()],
    (np, "r_", np.r_, _Rows(np.r_, lambda parts: np.hstack(parts))),
    (np, "c_", np.c_, _Rows(np.c_, lambda parts: np.column_stack(parts))),
    (
        np.vectorize,
        "__call__",
        _ORIGINAL_VECTORIZE,
        _while_tracing(_ORIGINAL_VECTORIZE, _vectorized),
    ),
    (np, "isscalar", _ORIGINAL_ISSCALAR, _while_tracing(_ORIGINAL_ISSCALAR, _is_scalar)),
    (np, "fromiter", _ORIGINAL_FROMITER, _while_tracing(_ORIGINAL_FROMITER, _from_iterator)),
]
"""Owner, name, the original object, and its replacement while a loss is traced."""


def protect(array: Any) -> None:
    """Make a plain array and its base read-only until the trace ends."""
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
    """Make an array writeable; NumPy refuses this for a view whose base is not writeable."""
    base = array.base
    must_wait = isinstance(base, np.ndarray) and not base.flags.writeable
    if must_wait:
        _allow_writing(base)
    array.flags.writeable = True
    if must_wait:
        base.flags.writeable = False


@contextmanager
def tracing() -> Iterator[None]:
    """Let NumPy's functions that make arrays make them for traced values, in this thread."""
    global _users
    with _lock.held:
        _users += 1
        if _users == 1:
            for owner, name, _, patch in _PATCHED_ATTRIBUTES:
                setattr(owner, name, patch)
    _here.depth = getattr(_here, "depth", 0) + 1
    before, _here.protected = getattr(_here, "protected", None), []
    try:
        yield
    finally:
        _release(_here.protected)
        _here.protected = before
        _here.depth -= 1
        with _lock.held:
            _users -= 1
            if not _users:
                for owner, name, original, _ in _PATCHED_ATTRIBUTES:
                    setattr(owner, name, original)
