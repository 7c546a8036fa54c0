"""Networks that keep their parameters: losses that read arrays instead of taking them.

A class with ``self.params`` has a method ``loss(x, t)`` that does not take its parameters as an
argument. The check perturbs them by writing into the object's arrays, and restores them at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, MutableSequence
from typing import Any

import numpy as np

from gradlab.errors import ParameterError
from gradlab.params import entry, flatten


class InPlace:
    """Parameters that a function reads from its own arrays, or from numbers in dicts and lists.

    Raises a ParameterError if a leaf is not writeable, or holds integers, which small steps do not
    change.
    """

    def __init__(self, params: Any) -> None:
        self._start = [np.array(leaf) for leaf in flatten(params)[0]]
        self._places: list[tuple[Any, Any]] = []
        _collect(params, "params", self._places)
        dtypes = [leaf.dtype for leaf in self._start if leaf.dtype.kind == "f"]
        self.dtype = min(dtypes, key=lambda dtype: np.finfo(dtype).nmant, default=None)

    def write(self, values: Any) -> None:
        """Write new values into the parameters."""
        leaves = flatten(values, lambda value, path: np.asarray(value))[0]
        for (holder, key), leaf in zip(self._places, leaves, strict=True):
            holder[key] = leaf if key is ... else float(leaf)

    def restore(self) -> None:
        """Restore the original values."""
        self.write(self._start)

    def function(self, read: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``f(params, *args)`` for a function ``read(*args)`` that reads its own arrays."""

        def f(params: Any, *args: Any) -> Any:
            self.write(params)
            return read(*args)

        return f


def _collect(node: Any, path: str, places: list[tuple[Any, Any]]) -> None:
    """Append the place of each leaf: an array and ``...``, or the container and key of a number."""
    if isinstance(node, np.ndarray):
        if node.dtype.kind != "f":
            raise ParameterError(
                f"{path} has dtype {node.dtype}, which small steps do not change: use float64"
            )
        if not node.flags.writeable:
            raise ParameterError(f"{path} is read-only: in_place=True writes into it")
        places.append((node, ...))
        return
    if not isinstance(node, (Mapping, list, tuple)):
        raise ParameterError(
            f"{path} is {node!r:.40}, which cannot be written into: use an array, such as "
            f"np.array({node!r:.20})"
        )
    items = node.items() if isinstance(node, Mapping) else enumerate(node)
    for key, child in items:
        below = entry(path, (key,))
        if not isinstance(child, (int, float, np.generic)):
            _collect(child, below, places)
        elif isinstance(node, (MutableMapping, MutableSequence)):
            places.append((node, key))
        else:
            raise ParameterError(f"{below} is a number in a {type(node).__name__}: use an array")
