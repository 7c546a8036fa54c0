"""Containers of parameters: their children, and copies with other children.

Dicts, lists and tuples are copied with other children. Dataclasses and registered classes are
`Opened` first, into a dict, list or tuple of their children.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from gradlab.errors import ParameterError


class Opened(tuple[Any, Any, Any]):
    """A container of a user's type as a tuple: its type, its fixed contents, its children.

    Equal tuples give equal cache keys, because a template is compared as plain data.
    """

    __slots__ = ()

    @property
    def children(self) -> Any:
        """The children, in a dict, list or tuple."""
        return self[2]

    def close(self, children: Any) -> Any:
        """Return a container of the same type with other children."""
        kind, fixed, _ = self
        if kind in _REGISTERED:
            return _REGISTERED[kind][1](fixed, children)
        result = object.__new__(kind)
        for name, value in (*fixed.items(), *children.items()):
            object.__setattr__(result, name, value)  # of a frozen dataclass, too
        return result


_REGISTERED: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {}


def register_container(
    kind: type,
    flatten: Callable[[Any], tuple[Any, Any]],
    unflatten: Callable[[Any, Any], Any],
) -> None:
    """Register a class as a container of parameters.

    Dicts, lists, tuples, their subclasses and dataclasses need no registration. The functions are
    those of ``jax.tree_util.register_pytree_node``. In a dataclass, a field is fixed if it is
    declared with ``dataclasses.field(metadata={"static": True})``.

    Parameters
    ----------
    kind : type
        The class; subclasses need their own registration.
    flatten : callable
        ``flatten(container) -> (children, fixed)``: the parts that hold parameters, as a dict, list
        or tuple; and everything else that `unflatten` needs.
    unflatten : callable
        ``unflatten(fixed, children) -> container``. The children may be traced arrays.

    Raises
    ------
    ParameterError
        If `kind` is not a class, or is a type that cannot be registered, such as a dict.

    Examples
    --------
    >>> from gradlab.params import map_leaves
    >>> class Line:
    ...     def __init__(self, slope, offset):
    ...         self.slope, self.offset = slope, offset
    >>> register_container(
    ...     Line,
    ...     lambda line: ({"slope": line.slope, "offset": line.offset}, None),
    ...     lambda fixed, children: Line(**children),
    ... )
    >>> moved = map_leaves(lambda leaf: leaf + 1.0, Line(2.0, 3.0))
    >>> float(moved.slope), float(moved.offset)
    (3.0, 4.0)
    """
    if not isinstance(kind, type) or issubclass(kind, (dict, list, tuple, np.ndarray)):
        raise ParameterError(f"{kind!r} cannot be registered: give a class of your own")
    _REGISTERED[kind] = flatten, unflatten


def opened(value: Any) -> Opened | None:
    """Return the parts of a dataclass or a registered container; None for anything else."""
    kind = type(value)
    if kind in _REGISTERED:
        children, fixed = _REGISTERED[kind][0](value)
        if not isinstance(children, (Mapping, list, tuple)):
            raise ParameterError(
                f"the registered flatten of {kind.__name__} returned {type(children).__name__} as "
                "children: return a dict, a list or a tuple"
            )
        return Opened((kind, fixed, children))
    if not is_dataclass(kind) or hasattr(kind, "__array__"):
        return None
    names = [f.name for f in fields(kind) if not f.metadata.get("static")]
    children = {name: getattr(value, name) for name in names}
    # Fixed fields, and attributes that __post_init__ has added.
    names = [*(f.name for f in fields(kind)), *getattr(value, "__dict__", {})]
    fixed = {name: getattr(value, name) for name in names if name not in children}
    return Opened((kind, fixed, children))


def rebuilt(container: Any, children: Sequence[Any]) -> Any:
    """Return a container of the same type with other children.

    For a type that cannot be copied, the result is a dict, list or tuple.

    Examples
    --------
    >>> from collections import OrderedDict
    >>> rebuilt(OrderedDict(a=1, b=2), [3, 4])["b"], rebuilt((1, 2), [3, 4])
    (4, (3, 4))
    """
    kind = type(container)
    if kind is dict:
        return dict(zip(container, children, strict=True))
    if kind in (list, tuple):
        return kind(children)
    try:
        return _rebuilt(container, children)
    except Exception:  # a user's class that cannot be copied, or that refuses the children
        if isinstance(container, Mapping):
            return dict(zip(container, children, strict=True))
        return list(children) if isinstance(container, list) else tuple(children)


def _rebuilt(container: Any, children: Sequence[Any]) -> Any:
    kind: Any = type(container)
    if isinstance(container, tuple):
        result = tuple.__new__(kind, children)  # the class's own may take other arguments
        if hasattr(container, "__dict__"):
            result.__dict__.update(container.__dict__)
        return result
    if kind is MappingProxyType:
        return MappingProxyType(dict(zip(container, children, strict=True)))
    result = copy.copy(container)
    if isinstance(container, list):
        list.__setitem__(result, slice(None), children)
        return result
    write = dict.__setitem__ if isinstance(container, dict) else kind.__setitem__
    for key, child in zip(container, children, strict=True):
        write(result, key, child)
    return result
