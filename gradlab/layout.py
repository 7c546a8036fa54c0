"""The leaves of a structure, concatenated into one vector for optimisers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np

from gradlab.errors import ParameterError
from gradlab.params import Array, Structure, entry, flatten, floating


@dataclass(frozen=True)
class Layout:
    """The position of each leaf in the vector, and the names of the entries.

    Examples
    --------
    >>> layout = Layout.of(*flatten({"W": np.zeros((2, 3)), "b": 1.0}))
    >>> layout.spans, layout.name(4), layout.size
    ([slice(0, 6, None), slice(6, 7, None)], 'W[1, 1]', 7)
    >>> layout.unravel(np.arange(7.0))["W"]
    array([[0., 1., 2.],
           [3., 4., 5.]])
    """

    structure: Structure
    shapes: Sequence[tuple[int, ...]]
    names: Sequence[str]

    @classmethod
    def of(
        cls, leaves: Sequence[Array], structure: Structure, names: Sequence[str] | None = None
    ) -> Layout:
        """Return the layout of leaves, named by their paths unless names are given."""
        shapes = tuple(leaf.shape for leaf in leaves)
        return cls(structure, shapes, structure.paths if names is None else names)

    @cached_property
    def spans(self) -> list[slice]:
        """The slice of the vector for each leaf."""
        ends = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)]).tolist()
        return [slice(a, b) for a, b in pairwise(ends)]

    @property
    def size(self) -> int:
        """The number of entries."""
        return int(self.spans[-1].stop) if self.spans else 0

    def place(self, i: int) -> tuple[int, tuple[int, ...]]:
        """Return the number of the leaf that holds entry i, and its index in the leaf."""
        number = next(k for k, span in enumerate(self.spans) if i < span.stop)
        index = np.unravel_index(i - self.spans[number].start, self.shapes[number])
        return number, tuple(map(int, index))

    def name(self, i: int) -> str:
        """Name entry i, for errors and reports."""
        number, index = self.place(i)
        return entry(self.names[number], index)

    def parts(self, vector: Any) -> list[Any]:
        """Split a vector into its leaves."""
        pairs = zip(self.spans, self.shapes, strict=True)
        return [vector[span].reshape(shape) for span, shape in pairs]

    def unravel(self, vector: Any) -> Any:
        """Return the entries of a vector in the structure of the parameters."""
        return self.structure.unflatten(self.parts(vector))


def ravel(params: Any) -> tuple[Array, Callable[[Any], Any]]:
    """Concatenate all entries of parameters into one vector for optimisers.

    Parameters
    ----------
    params : Any
        See `gradlab.params.flatten`.

    Returns
    -------
    vector : ndarray, shape (p,)
        A copy of all entries, leaf by leaf, each in C order; float64, or wider if a leaf is.
    unravel : callable
        ``unravel(vector) -> params`` restores the structure, shapes and dtypes of the parameters
        (float64 for integers). It also takes traced vectors, so that a function of the vector can
        be differentiated.

    Raises
    ------
    ParameterError
        By `unravel`, for a vector of the wrong length.

    Examples
    --------
    >>> x, unravel = ravel({"w": np.array([[1.0, 2.0]]), "b": 3.0})
    >>> x
    array([1., 2., 3.])
    >>> unravel(2 * x)
    {'w': array([[2., 4.]]), 'b': np.float64(6.0)}
    """
    leaves, structure = flatten(params)
    vector = np.concatenate([np.zeros(0), *map(np.ravel, leaves)])
    dtypes = tuple(floating(leaf).dtype.str for leaf in leaves)
    return vector, partial(_unravelled, Layout.of(leaves, structure), dtypes)


def _unravelled(layout: Layout, dtypes: Sequence[str], vector: Any) -> Any:
    if vector.shape != (layout.size,):
        raise ParameterError(f"the vector has shape {vector.shape}; expected ({layout.size},)")
    leaves = layout.parts(vector)
    # A traced vector keeps its dtype.
    return layout.structure.unflatten(
        [
            leaf.astype(dtype) if type(leaf) is np.ndarray else leaf
            for leaf, dtype in zip(leaves, dtypes, strict=True)
        ]
    )
