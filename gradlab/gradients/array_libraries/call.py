"""One call, and the same loss on plain arrays."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradlab.arrays.read_only import read_only
from gradlab.gradients.array_libraries.forms import Form, Way
from gradlab.gradients.array_libraries.library import LibraryLoss
from gradlab.gradients.protocol import real_scalar
from gradlab.gradients.tracing import draws_undone
from gradlab.params import Structure, floating


@dataclass(frozen=True)
class Call:
    """One call: its form, and the numbers in it."""

    owner: LibraryLoss
    form: Form
    params: Structure
    arguments: Structure
    leaves: list[Any]  # the parameters
    values: list[Any]  # the leaves of the arguments
    native: Any  # a parameter that is an array of the library

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments other than the parameters, as given."""
        args: tuple[Any, ...] = self.arguments.unflatten(self.values)
        return args

    def inputs(self, way: Way) -> tuple[list[Any], list[Any]]:
        """Return parameters and arrays as a loss takes them in this way."""
        arrays, leaves = [self.values[i] for i in self.form.arrays], self.leaves
        if not way.plain and self.owner.writeable:  # the loss could write into the caller's arrays
            arrays, leaves = [*map(_copy, arrays)], [*map(_copy, leaves)]
        if way.data:
            arrays = [self.owner.to_library(array, self.native) for array in arrays]
        return [self.owner.leaf_over(leaf, self.native) for leaf in leaves], arrays

    def shapes(self) -> Any:
        """Return the shapes and dtypes of all arrays, as a key."""
        arrays = [*self.leaves, *[self.values[i] for i in self.form.arrays]]
        return tuple([(np.shape(array), array.dtype) for array in arrays])

    def on_plain_arrays(
        self, leaves: Sequence[Any] | None = None, *, protected: bool = False
    ) -> Any:
        """Return the loss on NumPy copies, or the exception that it raises.

        With `protected`, the loss may not write into its arguments.
        """
        copies = [np.array(floating(x)) for x in (self.leaves if leaves is None else leaves)]
        values = [
            _copy(value) if i in self.form.arrays else value for i, value in enumerate(self.values)
        ]
        values = read_only(values) if protected else values
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return real_scalar(
                    self.owner._loss(
                        self.params.unflatten(copies), *self.arguments.unflatten(values)
                    )
                )
        except Exception as error:
            return error

    def agrees_with_itself(self) -> bool:
        """Tell whether two evaluations on plain arrays are equal, and finite."""
        with draws_undone():
            first, second = self.on_plain_arrays(), self.on_plain_arrays()
        return not isinstance(first, Exception) and bool(first == second)

    def at(self, leaves: Sequence[Any]) -> float:
        """Return the loss on plain parameters; infinity if it fails there."""
        outcome = self.on_plain_arrays(leaves)
        return np.inf if isinstance(outcome, Exception) else float(outcome)


def _copy(value: Any) -> Any:
    """Return a copy of an array, in its class; return a number unchanged."""
    copy = getattr(value, "clone", None) or getattr(value, "copy", None)
    return value if copy is None or isinstance(value, np.generic) else copy()
