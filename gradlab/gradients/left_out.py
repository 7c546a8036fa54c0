"""Entries of a gradient that reverse mode cannot compute because of NaN that the loss leaves out.

A loss may compute with missing data and leave that out: ``np.where(np.isnan(y), 0, (w - y) ** 2)``.
Reverse mode gives such an entry the cotangent 0 and multiplies it with the derivative there, which
is NaN; and 0 · NaN is NaN. Forward mode goes the other way: its tangent is NaN at that entry, and
`where` leaves it out like the value. So the entries of the gradient that are NaN are computed in
forward mode, one evaluation each. One that is still NaN has no derivative.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from gradlab.errors import NonFiniteError, UntraceableWarning
from gradlab.gradients.forward_mode import LossJVP
from gradlab.gradients.protocol import Loss, finish_gradients
from gradlab.params import Array, Structure, floating

MAX_FORWARD_ENTRIES = 1000
"""Entries beyond which forward mode would cost as much as finite differences of a whole network."""

NAN_CAUSE = "the loss computes 0 · NaN, 0 / 0 or the like there"
MISSING_DATA_ADVICE = (
    "put numbers in place of missing data before computing: np.where(np.isnan(x), 0, x)"
)


def finish_with_forward_mode(
    loss: Loss,
    leaves: Sequence[Array],
    structure: Structure,
    args: tuple[Any, ...],
    gradients: Sequence[Any],
) -> list[Array]:
    """Return a gradient of reverse mode with its NaN replaced by the slopes of forward mode.

    A NonFiniteError is raised if an entry is infinite, or NaN in forward mode as well, or if more
    than `MAX_FORWARD_ENTRIES` are NaN.
    """
    found = [np.array(gradient) for gradient in gradients]
    count = sum(int(np.isnan(array).sum()) for array in found)
    is_real = all(leaf.dtype.kind != "c" for leaf in leaves)
    if 0 < count <= MAX_FORWARD_ENTRIES and is_real:
        with suppress(Exception):  # a loss that is not of NumPy's arrays, a function without a rule
            _fill_in(found, LossJVP(loss, list(map(floating, leaves)), structure, args, [True]))
    try:
        done = finish_gradients(structure.paths, found, leaves)
    except NonFiniteError as error:
        raise (
            NonFiniteError(f"{error}: {NAN_CAUSE}; {MISSING_DATA_ADVICE}") if count else error
        ) from None
    warnings.warn(
        f"reverse mode has NaN in {count} entries of the gradient, because {NAN_CAUSE}; they are "
        f"computed in forward mode, one evaluation each, right but slower; {MISSING_DATA_ADVICE}",
        UntraceableWarning,
        stacklevel=6,
    )
    return done


def _fill_in(found: Sequence[Array], jvp: LossJVP) -> None:
    """Replace NaN by the slopes of forward mode."""
    direction = [np.zeros_like(leaf) for leaf in jvp.leaves]
    for v, array in zip(direction, found, strict=True):
        for place in zip(*np.nonzero(np.isnan(array)), strict=True):
            v[place] = 1.0
            array[place] = jvp.slope(direction)[1]
            v[place] = 0.0
