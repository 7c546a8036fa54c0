"""Update steps of other libraries: any object with optax's methods `init` and `update`.

Such an object gets NumPy arrays and may return arrays of its own library. It gets copies, since JAX
may still read them after a call has returned. Steps are taken with JAX's x64 switched on, as the
gradients of the backend `jax` are; otherwise, float64 parameters would be updated in float32.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import numpy as np

from gradlab.errors import OptionError, ParameterError
from gradlab.params import Array, Structure, flatten, leaves_like
from gradlab.training.optimisers import BlockUpdate, OptimiserState
from gradlab.training.vectors import Vector

OPTIMISER_ADVICE = "give an optimizer of gradlab.optim, or an object with optax's init and update"


class ForeignUpdate:
    """The update step of an object with the methods of a transformation of optax.

    Raises an OptionError if the object lacks a method; by the other methods, if its state cannot be
    stored.
    """

    whole_data = False

    def __init__(self, optimiser: Any, structure: Structure) -> None:
        methods = (getattr(optimiser, name, None) for name in ("init", "update"))
        if isinstance(optimiser, type) or not all(map(callable, methods)):
            raise OptionError(f"optimizer={optimiser!r}: {OPTIMISER_ADVICE}")
        self.optimiser = optimiser
        self._structure = structure
        self._state_structure: Structure | None = None

    def rate(self, count: int) -> None:
        """Return None: the learning rate is not known."""

    def init(self, point: Vector) -> list[Vector]:
        """Return the state before the first step at these parameters."""
        with _setting():
            state = self.optimiser.init(self._copy(point))
        leaves, self._state_structure = _flat(state)
        return [Vector.of(leaves)]

    def update(
        self,
        count: int,
        point: Vector,
        state: OptimiserState,
        gradient: Vector,
        new_point: Vector,
        new_state: OptimiserState,
    ) -> None:
        """Write the parameters and the state after a step; see `BlockUpdate`."""
        assert self._state_structure is not None  # `init` was called
        params = self._copy(point)
        before = _restored(self._state_structure, [leaf.copy() for leaf in state[0].leaves])
        with _setting():
            result = self.optimiser.update(self._copy(gradient), before, params)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise OptionError(
                f"optimizer={self.optimiser!r}: its update did not return (updates, state)"
            )
        updates = leaves_like(params, result[0], "the updates of the optimizer")
        for new, old, change in zip(new_point.leaves, point.leaves, updates, strict=True):
            np.add(old, change.astype(old.dtype, copy=False), out=new)
        leaves, structure = _flat(result[1])
        after = dict(zip(structure.paths, leaves, strict=True))  # JAX sorts the keys of dicts
        for path, mine in zip(self._state_structure.paths, new_state[0].leaves, strict=True):
            leaf = after.pop(path, None)
            if leaf is None or (leaf.shape, leaf.dtype) != (mine.shape, mine.dtype):
                raise self._changed(path, count)
            mine[...] = leaf
        if after:
            raise self._changed(", ".join(after), count)

    def _changed(self, path: str, count: int) -> OptionError:
        return OptionError(
            f"optimizer={self.optimiser!r}: {path} in its state appeared, vanished, or changed "
            f"shape or dtype at step {count}; {OPTIMISER_ADVICE} whose state keeps its form"
        )

    def _copy(self, vector: Vector) -> Any:
        return self._structure.unflatten([leaf.copy() for leaf in vector.leaves])


UpdateStep: TypeAlias = BlockUpdate | ForeignUpdate
"""How a gradient changes the parameters and the optimiser's state."""


def _setting() -> AbstractContextManager[Any]:
    """Switch x64 on in JAX, if it was imported."""
    if "jax" not in sys.modules:
        return nullcontext()
    from gradlab.arrays.jax_arrays import in_x64

    return in_x64()


def _flat(state: Any) -> tuple[list[Array], Structure]:
    """Return the arrays of a state, and its structure. None has no entries."""
    try:
        return flatten(state, _leaf)
    except ParameterError as error:
        raise OptionError(
            f"the state of the optimizer cannot be stored: {error}; {OPTIMISER_ADVICE}"
        ) from error


def _leaf(value: Any, path: str) -> Array:
    if value is None:
        return np.zeros(0, np.bool_)
    try:
        array = np.asarray(value)
    except Exception as error:
        raise ParameterError(f"{path} is not an array ({type(value).__name__})") from error
    if array.dtype.kind not in "biuf":
        raise ParameterError(f"{path} has dtype {array.dtype}")
    return array


def _restored(structure: Structure, leaves: list[Array]) -> Any:
    """Return a state with these arrays; one without entries of dtype bool stands for None."""
    absent = (leaf.dtype == np.bool_ and leaf.shape == (0,) for leaf in leaves)
    return structure.unflatten(
        [None if none else leaf for none, leaf in zip(absent, leaves, strict=True)]
    )
