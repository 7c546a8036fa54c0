"""Which traced arrays are views of others: in NumPy, they would share memory.

A view that an index made has that index as its place in its base. A view that a function made, such
as a transpose, has a `Rearranged` place, which is worked out when the loss writes through the view.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import Traced, held
from gradlab.arrays.places import describe_place, innermost, place_of
from gradlab.arrays.refusals import refuse
from gradlab.errors import LossError

_VIEW_NAMES = """
    reshape ravel transpose permute_dims matrix_transpose swapaxes moveaxis rollaxis expand_dims
    squeeze diagonal real imag flip fliplr flipud rot90 broadcast_to broadcast_arrays atleast_1d
    atleast_2d atleast_3d split array_split hsplit vsplit dsplit
""".split()
VIEWS = {
    np.linalg.matrix_transpose,
    np.linalg.diagonal,
    *[getattr(np, name) for name in _VIEW_NAMES],
}
"""Functions whose result shares memory with their argument in NumPy if possible."""


READ_ONLY = {np.diagonal, np.linalg.diagonal, np.broadcast_to, np.broadcast_arrays}
"""Those of them whose result NumPy does not let a loss write into."""


class Viewed(Traced):
    """A traced array with references to its base and to its views."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _base: Any = None  # for a view: (its base, its place there)
    _views: list[Any] | None = None  # weak references to views, and their places
    _is_contiguous = False  # whether NumPy's array would surely lie in memory row by row


@dataclass(frozen=True, eq=False)
class Rearranged:
    """The place of a view that a function of NumPy's made."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    item: int | None

    def index(self, base: Viewed) -> Any:
        """Return the index of the view's entries in its base; None if NumPy may have copied them.

        The function is applied to an array of places. If it is not known how the base would lie in
        memory, these lie such that any function that may have to copy does so.
        """
        is_part = self.function in (np.real, np.imag) and base.dtype.kind == "c"
        if self.function in READ_ONLY or is_part:
            return None
        gap = 1 if base._is_contiguous else 2
        memory = np.zeros([gap * n for n in base.shape], int)
        places = memory[(slice(None, None, gap),) * len(base.shape)]
        places[...] = np.arange(places.size).reshape(base.shape)
        found = self.function(places, *self.args, **self.kwargs)
        if self.item is not None:
            found = found[self.item]
        return np.unravel_index(found, base.shape) if np.shares_memory(found, memory) else None


def as_view(found: Any, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Record which array a result is a view of, if the function makes views."""
    if function in VIEWS and args and isinstance(base := held(args[0]), Viewed):
        if isinstance(found, (list, tuple)):
            for item, view in enumerate(found):
                mark_view(view, base, Rearranged(function, args[1:], kwargs, item))
        else:
            mark_view(found, base, Rearranged(function, args[1:], kwargs, None))
    return found


def index_of(place: Any, base: Viewed) -> Any:
    """Return a place as an index; None for one that is not known."""
    return place.index(base) if isinstance(place, Rearranged) else place


def mark_view(view: Any, base: Viewed, index: Any) -> None:
    """Record that one traced array is a view of another, at an index or another place."""
    if view is base or not isinstance(view, Viewed) or not view.shape:
        return
    view._base = (base, index)
    living = [pair for pair in base._views or () if pair[0]() is not None]
    base._views = [*living, (weakref.ref(view), index)]


def expire(view: Viewed) -> None:
    """Make every later use of a view, and of its own views, an error.

    The loss has written into its base, and the view does not have the new entries. Most views are
    gone by then, or used no more, like those of ``x[1:] = x[:-1]``.
    """
    for other, _ in view._views or ():
        if (living := other()) is not None and not is_expired(living):
            expire(living)
    object.__setattr__(view, "_written", innermost(sys._getframe()))
    kind: Any = type(view)
    object.__dict__["__class__"].__set__(view, _expired(kind))


def is_expired(view: Viewed) -> bool:
    """Tell whether a view has missed a write into its base."""
    return issubclass(type(view), _Expired)


def _refuse_use(view: Any, *args: Any, **kwargs: Any) -> Any:
    written = describe_place(object.__getattribute__(view, "_written"))
    refuse(
        f"the loss uses a view of a traced array ({place_of()}) into which it has written "
        f"since ({written}): take a copy of the part that it keeps (x[i].copy())",
        LossError,
    )


class _Expired:
    """A view that has missed a write into its base: every use is an error."""

    __setattr__ = _refuse_use

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":  # NumPy expects no error here
            return np.ndarray
        if name.startswith("__array_"):  # nor here, but calls what it finds
            return object.__getattribute__(self, name)
        return _refuse_use(self)


@cache
def _expired(kind: Any) -> type:
    """Return the class of expired views of a class, of the same layout in memory."""
    special = [
        name for name in dir(kind) if name.startswith("__") and callable(getattr(kind, name))
    ]
    refused = dict.fromkeys({*special} - _KEPT_NAMES, _refuse_use)
    return type(f"Expired{kind.__name__}", (_Expired, kind), refused)


_KEPT_NAMES = {"__class__", "__getattribute__", "__new__", "__init_subclass__", "__subclasshook__"}
"""Special names that `_Expired` defines, or that no use of an object calls."""


def same_index(a: Any, b: Any) -> bool:
    """Tell whether two indices are equal."""
    try:
        return bool(a == b)
    except ValueError:  # of arrays
        return False


def overlap(shape: tuple[int, ...], a: Any, b: Any) -> bool:
    """Tell whether two indices into an array have an entry in common."""
    try:
        mask = np.zeros(shape, bool)
        mask[b] = True
        return bool(mask[a].any())
    except Exception:  # an index that is traced itself
        return True
