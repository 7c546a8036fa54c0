"""Structures of arrays: the *parameters* of all functions in gradlab.

Parameters are arrays held by dicts, lists and tuples of any nesting, or a bare array. `flatten`
returns them as a list of leaves and a `Structure` that puts such a list back::

    params  --flatten-->  (leaves, structure)  --structure.unflatten-->  params

Dataclasses, and classes registered by `gradlab.register_container`, also hold parameters.

Each leaf has a *path*, its name in errors and reports: ``W1``, ``encoder.W1``, ``layers[0].W``. The
path of a bare array is ``params``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradlab.containers import Opened, opened, rebuilt
from gradlab.errors import DataError, GradlabError, NonFiniteError, ParameterError

Array: TypeAlias = NDArray[Any]

BARE = "params"


@dataclass(frozen=True)
class Structure:
    """The structure of parameters: everything except their numbers.

    Attributes
    ----------
    template : Any
        The containers, with each leaf replaced by its position in the list.
    paths : tuple of str
        The name of each leaf.
    scalars : frozenset of int
        The positions of leaves that were plain numbers, not arrays.
    """

    template: Any
    paths: tuple[str, ...]
    scalars: frozenset[int] = frozenset()

    def unflatten(self, leaves: Sequence[Any]) -> Any:
        """Put `leaves` (one for each path, of any type) in place of the flattened ones.

        Examples
        --------
        >>> leaves, structure = flatten({"w": np.ones(2), "b": 3.0})
        >>> structure.unflatten([leaf + 1 for leaf in leaves])
        {'w': array([2., 2.]), 'b': np.float64(4.0)}
        """
        if self._keys is not None:
            return dict(zip(self._keys, leaves, strict=True))
        return _hang(self.template, leaves, self.scalars)

    @cached_property
    def _keys(self) -> list[Any] | None:
        """The keys of a plain dict of arrays, the usual case, which needs no recursion."""
        is_flat = type(self.template) is dict and not self.scalars
        if is_flat and [*self.template.values()] == [*range(len(self.paths))]:
            return [*self.template]
        return None


# Not a recursive function inside `unflatten`: its reference cycle would keep the leaves alive until
# the garbage collector runs.
def _hang(node: Any, leaves: Sequence[Any], scalars: frozenset[int]) -> Any:
    if isinstance(node, Opened):
        children = _hang(node.children, leaves, scalars)
        return node.close(children)
    if isinstance(node, Mapping):
        return rebuilt(node, [_hang(child, leaves, scalars) for child in node.values()])
    if isinstance(node, (list, tuple)):
        return rebuilt(node, [_hang(child, leaves, scalars) for child in node])
    leaf = leaves[node]
    # A number is returned as a number, not as an array of dimension 0. A traced array is returned
    # unchanged.
    return leaf[()] if node in scalars and issubclass(type(leaf), np.ndarray) else leaf


def flatten(
    params: Any, to_leaf: Callable[[Any, str], Any] | None = None
) -> tuple[list[Any], Structure]:
    """Return parameters as a list of arrays and a structure.

    Parameters
    ----------
    params : Any
        Arrays or numbers of a real dtype, held by dicts, lists and tuples; or a bare one.
    to_leaf : callable, optional
        ``to_leaf(value, path)`` makes the leaf; the default is `as_array`.

    Returns
    -------
    leaves : list of ndarray
        In the containers' own order. Arrays are not copied.
    structure : Structure
        Its `unflatten` puts the leaves back.

    Raises
    ------
    ParameterError, NonFiniteError
        If a leaf is not an array of real numbers, or not finite; the message names it.

    Examples
    --------
    >>> leaves, structure = flatten({"W1": np.zeros((2, 3)), "rest": [1.5, np.ones(2)]})
    >>> structure.paths
    ('W1', 'rest[0]', 'rest[1]')
    >>> [leaf.shape for leaf in leaves]
    [(2, 3), (), (2,)]
    """
    to_leaf = to_leaf or as_array
    leaves: list[Any] = []
    paths: list[str] = []
    scalars: set[int] = set()

    template = _take_down(params, "", to_leaf, leaves, paths, scalars)
    return leaves, Structure(template, tuple(paths), frozenset(scalars))


def _take_down(
    node: Any,
    path: str,
    to_leaf: Callable[[Any, str], Any],
    leaves: list[Any],
    paths: list[str],
    scalars: set[int],
) -> Any:
    """Append the leaves below a node to the lists, and return its template."""
    rest = (to_leaf, leaves, paths, scalars)
    if isinstance(node, Mapping):
        children = [_take_down(child, _join(path, key), *rest) for key, child in node.items()]
        return rebuilt(node, children)
    if isinstance(node, (list, tuple)):
        children = [_take_down(child, f"{path}[{i}]", *rest) for i, child in enumerate(node)]
        return rebuilt(node, children)
    if (inside := opened(node)) is not None:
        kind, fixed, children = inside
        return Opened((kind, fixed, _take_down(children, path, *rest)))
    path = path or BARE
    if issubclass(type(node), (int, float, np.generic)):  # a traced number is an instance of float
        scalars.add(len(leaves))
    leaves.append(to_leaf(node, path))
    paths.append(path)
    return len(leaves) - 1


def _join(path: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"


def as_array(value: Any, path: str) -> Array:
    """Return `value` as an array of real, finite numbers, or raise an error that names the leaf."""
    if isinstance(value, np.ma.MaskedArray):
        raise ParameterError(
            f"{path} is a masked array, whose mask would be lost: give a plain array, such as "
            f"{path}.filled(0), and the mask as an argument of the loss"
        )
    array = read(value, path, ParameterError)
    if array.dtype.kind == "c":
        raise ParameterError(
            f"{path} is complex; differentiate with respect to its real and imaginary parts"
        )
    if array.dtype.kind not in "fiu":
        what = f"an array of dtype {array.dtype}" if array.ndim else repr(value)
        raise ParameterError(f"{path} is {what}; parameters are arrays of real numbers")
    if not np.isfinite(array).all():
        index = first(~np.isfinite(array))
        raise NonFiniteError(f"{entry(path, index)} is {array[index]}; every entry must be finite")
    return array


def numbers(value: Any, what: str, error: type[GradlabError] = DataError) -> Array:
    """Return `value` as an array of real or complex numbers, or raise `error` with its name.

    Examples
    --------
    >>> numbers(["a", "b"], "x")
    Traceback (most recent call last):
    gradlab.errors.DataError: x has dtype <U1; expected numbers
    """
    array = read(value, what, error)
    if array.dtype.kind not in "biufc":
        raise error(f"{what} has dtype {array.dtype}; expected numbers")
    return array


def read(value: Any, what: str, error: type[GradlabError]) -> Array:
    """Return `value` as an array of any dtype."""
    try:
        return np.asarray(value)
    except Exception as reason:  # rows of different lengths, or an __array__ that fails
        raise error(f"{what}: {type(value).__name__} is not an array: {reason}") from reason


def checksum(array: Any) -> int:
    """Return a checksum of the contents of an array.

    Examples
    --------
    >>> checksum(np.zeros(2)) == checksum(np.zeros(2))
    True
    >>> checksum(np.zeros(2)) == checksum(np.ones(2))
    False
    """
    array = np.ascontiguousarray(array)
    # Some dtypes, such as dates, have no buffer.
    return zlib.crc32(array if array.dtype.kind in "biufc" else array.tobytes())


def entry(path: str, index: tuple[int, ...]) -> str:
    """Name one entry of a leaf.

    Examples
    --------
    >>> entry("W1", (3, 4)), entry("scale", ())
    ('W1[3, 4]', 'scale')
    """
    return f"{path}[{', '.join(map(str, index))}]" if index else path


def first(mask: Array) -> tuple[int, ...]:
    """Return the index of the first true entry of a boolean array with at least one."""
    return tuple(int(i) for i in np.unravel_index(np.argmax(mask), np.shape(mask)))


def floating(array: Array) -> Array:
    """Return an array of integers as float64, an array of floats unchanged."""
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def map_leaves(function: Callable[..., Any], params: Any, *others: Any) -> Any:
    """Apply `function` to each leaf, and to the leaves at the same paths of `others`.

    Examples
    --------
    >>> map_leaves(lambda p, g: p - 0.5 * g, {"w": np.array([1.0, 2.0])}, {"w": np.ones(2)})
    {'w': array([0.5, 1.5])}
    """
    leaves, structure = flatten(params)
    rows = [leaves] + [leaves_like(params, other) for other in others]
    return structure.unflatten([function(*row) for row in zip(*rows, strict=True)])


def named_leaves(params: Any) -> Iterator[tuple[str, Array]]:
    """Yield ``(path, leaf)`` for each leaf.

    Examples
    --------
    >>> dict(named_leaves([1.0, 2]))
    {'[0]': array(1.), '[1]': array(2)}
    """
    leaves, structure = flatten(params)
    yield from zip(structure.paths, leaves, strict=True)


def size(params: Any) -> int:
    """Count the entries of all leaves.

    Examples
    --------
    >>> size({"W1": np.zeros((784, 50)), "b1": np.zeros(50)})
    39250
    """
    return sum(leaf.size for _, leaf in named_leaves(params))


def leaves_like(
    params: Any,
    other: Any,
    what: str = "the other parameters",
    to_leaf: Callable[[Any, str], Any] | None = None,
) -> list[Array]:
    """Return the leaves of `other` in the order of those of `params`, made by `to_leaf`.

    Paths and shapes must be the same; the order of dicts may differ. If one is missing or differs,
    a `ParameterError` names it, and `other` as `what`.
    """
    wanted = dict(named_leaves(params))
    others, structure = flatten(other, to_leaf)
    found = dict(zip(structure.paths, others, strict=True))
    if missing := [path for path in wanted if path not in found]:
        raise ParameterError(f"{what} lacks {', '.join(missing)}")
    if extra := [path for path in found if path not in wanted]:
        raise ParameterError(f"{what} has {', '.join(extra)}, which the parameters lack")
    for path, leaf in wanted.items():
        if found[path].shape != leaf.shape:
            raise ParameterError(
                f"{path} has shape {found[path].shape} in {what}; expected {leaf.shape}"
            )
    return [found[path] for path in wanted]
