"""A function with many outputs, measured through scalar losses that share its evaluations.

For any weights u, u·f(x) is a scalar loss whose slopes can be measured as usual. One evaluation of
f gives it for every u. `Function` therefore caches the outputs by point: the slopes of a thousand
outputs along one direction cost as many evaluations as the slope of one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from gradlab.arrays.read_only import read_only
from gradlab.errors import LossError, NonFiniteError, reason_of
from gradlab.gradients.protocol import note_origin, require_same_value
from gradlab.gradients.surface import watch
from gradlab.layout import Layout
from gradlab.params import BARE, Array, entry, first, flatten, floating, read

OUTPUT = "output"
"""Name of an output that is a bare array."""

CACHE_BYTES = 2**26
"""Largest total size of the cached outputs, in bytes: about a hundred points of 10⁵ outputs."""


class Function:
    """``f(params, *args)`` as a vector of its q outputs, evaluated once per point.

    At `params`, the outputs are counted and named: a bare one is `bare`, others are ``output[0]``
    in a tuple, or the key of a dict.

    Raises a LossError or a NonFiniteError if an output is not an array of finite real numbers, or
    is not deterministic.

    Examples
    --------
    >>> f = Function(lambda p: {"y": p["w"] ** 2, "sum": p["w"].sum()}, {"w": np.ones(2)})
    >>> f.paths, f.size, f.name(1), f.name(2)
    (('y', 'sum'), 3, 'y[1]', 'sum')
    """

    def __init__(
        self, f: Callable[..., Any], params: Any, args: tuple[Any, ...] = (), bare: str = OUTPUT
    ) -> None:
        self._f, self._args, self._bare = f, args, bare
        self.evaluations = 0
        self.constant = True  # the outputs have been the same at all points so far
        self.refusal = ""  # the first error at another point
        self._kept: OrderedDict[bytes, Array] = OrderedDict()
        leaves, structure = flatten(params)
        own = structure.unflatten([leaf.copy() for leaf in leaves])
        self.leaves, self.structure = self._outputs(own)
        self.paths = tuple(self._named(path) for path in self.structure.paths)
        for path, leaf in zip(self.paths, self.leaves, strict=True):
            if not np.isfinite(leaf).all():
                index = first(~np.isfinite(leaf))
                raise NonFiniteError(f"{entry(path, index)} is {leaf[index]} at the parameters")
        self.value = self._vector(self.leaves)
        self.layout = Layout.of(self.leaves, self.structure, self.paths)
        self.spans, self.place, self.name = self.layout.spans, self.layout.place, self.layout.name
        self._require_steady(own)

    @property
    def size(self) -> int:
        """Number of outputs, q."""
        return int(self.value.size)

    def unravel(self, values: Array) -> Any:
        """Return a vector (q,) in the structure, shapes and dtypes of the outputs."""
        return new_arrays(self.layout, values, self.leaves)

    def weighted(self, outputs: Array, weights: Array) -> Callable[[Any], Any]:
        """Return the scalar loss ``weights · f(params)[outputs]``."""

        def loss(params: Any) -> Any:
            value = self.at(params)
            if len(outputs) == 1 and weights[0] == 1:
                return value[outputs[0]]
            return value.dtype.type(weights @ value[outputs].astype(np.float64))

        return loss

    def at(self, params: Any) -> Array:
        """Return the outputs at a point as one vector, evaluated once per point."""
        leaves, _ = flatten(params, lambda value, path: value)
        digest = blake2b(digest_size=16)
        for leaf in leaves:
            digest.update(np.ascontiguousarray(leaf).tobytes())
        key = digest.digest()
        if key not in self._kept:
            try:
                self._kept[key] = self._vector(self._same_shapes(params))
            except Exception as error:
                self.refusal = self.refusal or f"{type(error).__name__}: {reason_of(error)}"
                raise
            self.constant &= np.array_equal(self._kept[key], self.value)
            while len(self._kept) > 8 and len(self._kept) * self._kept[key].nbytes > CACHE_BYTES:
                self._kept.popitem(last=False)
        return self._kept[key]

    def _same_shapes(self, params: Any) -> list[Array]:
        found, _ = self._outputs(params)
        if [leaf.shape for leaf in found] != [leaf.shape for leaf in self.leaves]:
            raise LossError(
                f"the function returns {_shapes(self.leaves)} at the parameters and "
                f"{_shapes(found)} at a point nearby: return the same shapes everywhere"
            )
        return found

    def ignores(self, params: Any) -> bool:
        """Evaluate the function once more; tell whether it never reads its parameters."""
        seen: list[bool] = []
        leaves, structure = flatten(params)
        try:
            self._outputs(structure.unflatten([watch(leaf.copy(), seen) for leaf in leaves]))
        except Exception:
            return False
        return not seen

    def _outputs(self, params: Any) -> tuple[list[Array], Any]:
        self.evaluations += 1
        try:
            # A new view of the arguments for each call: a layer may keep state in a dict of them.
            found = self._f(params, *read_only(self._args))
        except Exception as error:
            note_origin(error, "the function at the parameters")
            raise
        return flatten(found, self._real)

    def _named(self, path: str) -> str:
        if path == BARE:
            return self._bare
        return self._bare + path if path.startswith("[") and self._bare == OUTPUT else path

    def _real(self, value: Any, path: str) -> Array:
        path = self._named(path)
        array = read(value, path, LossError)
        if array.dtype.kind not in "fiu":
            kind = "complex" if array.dtype.kind == "c" else f"of dtype {array.dtype}"
            raise LossError(f"{path} is {kind}; a function returns arrays of real numbers")
        return array if array.dtype.kind == "f" else array.astype(np.float64)

    def _vector(self, leaves: list[Array]) -> Array:
        vector: Array = np.concatenate([np.empty(0, np.float16), *map(np.ravel, leaves)])
        return vector

    def _require_steady(self, params: Any) -> None:
        again = self._vector(self._outputs(params)[0])
        size = float(np.linalg.norm(self.value.astype(np.float64)))
        apart = float(np.linalg.norm(again.astype(np.float64) - self.value))
        epsilon = float(np.finfo(self.value.dtype).eps)
        require_same_value(size, size + apart, epsilon)


def new_arrays(layout: Layout, vector: Array, like: Sequence[Array]) -> Any:
    """Return a vector in a structure of new arrays, as precise as those of `like`.

    A function may write into them, as backward passes do.
    """
    parts = zip(layout.parts(vector), like, strict=True)
    return layout.structure.unflatten([np.array(a, dtype=floating(b).dtype) for a, b in parts])


def _shapes(leaves: list[Array]) -> str:
    return f"arrays of shapes {', '.join(str(leaf.shape) for leaf in leaves)}"
