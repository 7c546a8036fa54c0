"""A function of parameters that can be perturbed, all of them laid end to end in one vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.arrays.read_only import read_only
from gradlab.gradients.probing import restore
from gradlab.gradients.protocol import raised_by_the_loss
from gradlab.layout import Layout
from gradlab.params import Array, Structure


class Perturbable:
    """A function of parameters that can be perturbed.

    Parameters
    ----------
    function : callable
        ``function(params, *args)``. It sees read-only arrays.
    given : sequence of ndarray
        The leaves of the parameters.
    structure : Structure
        How they hang together.
    args : tuple
        The other arguments.
    dtype : dtype, optional
        In which the function is evaluated; by default float64.

    Attributes
    ----------
    x : ndarray, shape (p,)
        All entries, leaf by leaf, in C order.
    leaves : list of ndarray
        Copies of the given ones.
    layout : Layout
        Where each leaf lies in x.
    spans, structure
        Those of the layout.
    evaluations : int
        How often the function has been called.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        given: Sequence[Array],
        structure: Structure,
        args: tuple[Any, ...],
        dtype: DTypeLike | None,
    ) -> None:
        self._function, self._args = function, read_only(args)
        self._given, self.leaves = given, [np.array(leaf) for leaf in given]
        self.structure, self.layout = structure, Layout.of(given, structure)
        self.spans = self.layout.spans
        self.dtype: np.dtype[Any] = np.dtype(dtype or np.result_type(np.float64, *given))
        self.x = np.concatenate([np.empty(0), *map(np.ravel, given)]).astype(self.dtype)
        self.x.flags.writeable = False
        self._perturbed = self.x.copy()
        self._views = self.layout.parts(self._perturbed)
        for view in self._views:
            view.flags.writeable = False
        self._bare = replace(structure, scalars=frozenset())  # a number shows what is perturbed
        self.evaluations = 0

    @property
    def size(self) -> int:
        """How many entries there are, p."""
        return int(self.x.size)

    def name(self, i: int) -> str:
        """Name entry `i`, for errors and reports."""
        return self.layout.name(i)

    def restore(self) -> None:
        """Leave the caller's arrays as they were, also where the function writes into them.

        A network that keeps its parameters, and copies what it is given into them, does that.
        """
        restore(self._given, self.leaves)

    def _call(self, place: str) -> Any:
        """Call the function at the perturbed parameters; `place` names them in errors."""
        self.evaluations += 1
        try:
            return self._function(self._bare.unflatten(self._views), *self._args)
        except Exception as error:
            told = raised_by_the_loss(error, place)
            if told is error:
                raise
            raise told from error


def scales_of(x: Array) -> Array:
    """Return the size of each entry, as a power of two; of an entry that is 0, the leaf's.

    A denormal number, beside which there are no small steps, counts as 0.
    """
    sizes = np.abs(x.astype(np.float64)).ravel()
    has_size = sizes >= np.finfo(np.float64).tiny
    typical = float(np.median(sizes[has_size])) if has_size.any() else 1.0
    scales: Array = np.exp2(np.floor(np.log2(np.where(has_size, sizes, typical))))
    return scales
