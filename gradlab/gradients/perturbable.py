"""A function of parameters that can be perturbed, concatenated to one vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.arrays.read_only import read_only
from gradlab.gradients.probing import restore
from gradlab.gradients.protocol import raise_from_loss
from gradlab.layout import Layout
from gradlab.params import Array, Structure


class Perturbable:
    """A function ``function(params, *args)`` of parameters that can be perturbed.

    It sees read-only arrays, the parameters in a dtype that is float64 by default. `x`, shape (p,),
    has all entries, leaf by leaf, in C order; `leaves` are copies of the given leaves.
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
        # Numbers, too, are passed as views of the perturbed vector, of shape ().
        self._bare = replace(structure, scalars=frozenset())
        self.evaluations = 0

    @property
    def size(self) -> int:
        """The number of entries, p."""
        return int(self.x.size)

    def name(self, i: int) -> str:
        """Return the name of entry `i` for errors and reports."""
        return self.layout.name(i)

    def restore(self) -> None:
        """Restore the caller's arrays, in case the function has written into them.

        A network that copies its arguments into its own parameters does that.
        """
        restore(self._given, self.leaves)

    def _call(self, place: str) -> Any:
        """Call the function at the perturbed parameters; `place` names them in errors."""
        self.evaluations += 1
        try:
            return self._function(self._bare.unflatten(self._views), *self._args)
        except Exception as error:
            raise_from_loss(error, place)


def scales_of(x: Array) -> Array:
    """Return the size of each entry, rounded down to a power of two.

    An entry that is 0 gets the median size of its leaf. A denormal number counts as 0, because
    there are no small steps relative to it.
    """
    sizes = np.abs(x.astype(np.float64)).ravel()
    has_size = sizes >= np.finfo(np.float64).tiny
    typical = float(np.median(sizes[has_size])) if has_size.any() else 1.0
    scales: Array = np.exp2(np.floor(np.log2(np.where(has_size, sizes, typical))))
    return scales
