"""A sample of the entries of a gradient, for backends that would take minutes for all of them.

`restrict` turns a loss into a function of some entries of its parameters. The backend then
differentiates only these: its result is checked on them, and `timed_evaluations` measures the
time of one evaluation of the loss within the backend.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.timing import Laps
from gradlab.gradients import Backend
from gradlab.params import Array, flatten

Entries: TypeAlias = NDArray[np.intp]
"""Indices into the vector of all leaves, each in C order."""


def sample_entries(params: Any, count: int, rng: np.random.Generator) -> Entries:
    """Draw entries without replacement: one from each leaf, and the rest from all leaves.

    Parameters
    ----------
    params : Any
        Parameters with p entries.
    count : int
        The number of entries; each leaf gives at least one, and all leaves at most p.

    Examples
    --------
    >>> params = {"W": np.zeros((100, 100)), "b": np.zeros(3)}
    >>> entries = sample_entries(params, 8, np.random.default_rng(0))
    >>> len(entries), bool(entries[-1] >= 100 * 100)
    (8, True)
    """
    sizes = [leaf.size for leaf in flatten(params)[0]]
    starts = np.cumsum([0, *sizes])
    of_each = [int(rng.integers(*ends)) for ends in pairwise(starts)]
    others = rng.permutation(np.setdiff1d(np.arange(starts[-1]), of_each))
    return np.sort([*of_each, *others[: max(count - len(of_each), 0)]]).astype(np.intp)


def restrict(
    loss: Callable[..., Any], params: Any, entries: Entries
) -> tuple[Callable[..., Any], Array]:
    """Turn a loss into a function of some entries of its parameters; the others are constant.

    This works for backends that call the loss with plain arrays. The entries are written into one
    copy of the parameters, which takes one or two microseconds per evaluation; the loss itself
    takes a hundred or more.

    Returns
    -------
    restricted : callable
        ``restricted(values, *args)``, the loss for these values of the entries. It computes in the
        dtype of `values`, as it would for a backend that is given all parameters.
    values : ndarray, shape (m,)
        The current values of the entries.

    Examples
    --------
    >>> params = {"w": np.array([1.0, 2.0, 3.0]), "b": np.array([4.0])}
    >>> loss, values = restrict(lambda p: np.sum(p["w"] ** 2) + p["b"][0], params, [1, 3])
    >>> values, float(loss(values)), float(loss(np.array([0.0, 5.0])))
    (array([2., 4.]), 18.0, 15.0)
    """
    leaves, structure = flatten(params)
    whole = flat(leaves)
    copies: dict[Any, tuple[Array, Any]] = {}

    def restricted(values: Array, *args: Any) -> Any:
        if values.dtype not in copies:
            copy = whole.astype(values.dtype)
            ends = np.cumsum([leaf.size for leaf in leaves])
            parts = np.split(copy, ends[:-1])  # views
            shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
            copies[values.dtype] = copy, structure.unflatten(shaped)
        copy, view = copies[values.dtype]
        copy[entries] = values
        return loss(view, *args)

    return restricted, whole[entries]


def timed_evaluations(
    backend: Backend,
    loss: Callable[..., Any],
    params: Any,
    *args: Any,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], Laps]:
    """Return a contender for `interleave` that times a backend's evaluations of the loss.

    A lap lasts from one call of the loss to the next, so it includes the backend's work for one
    evaluation. It excludes the backend's work for the whole gradient, which is negligible next to
    thousands of evaluations. A lap takes about as long as a whole gradient in reverse mode, so a
    short load on the machine affects the medians of both equally.

    Examples
    --------
    >>> from gradlab import CentralDifference
    >>> run = timed_evaluations(CentralDifference(), lambda x: np.sum(x**2), np.ones(5))
    >>> len(run())  # between 2 * 5 + 1 evaluations
    10
    """
    started: list[float] = []

    def stamped(*args: Any) -> Any:
        started.append(clock())
        return loss(*args)

    take = backend.value_and_grad(stamped)

    def run() -> Laps:
        started.clear()
        take(params, *args)
        return Laps(np.diff(started).tolist())

    return run


def flat(leaves: Sequence[Any]) -> Array:
    """Concatenate leaves (arrays of any library) into one NumPy array, shape (p,)."""
    return np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])


def worst_difference(
    found: Array, reference: Sequence[Array], entries: Entries | None = None
) -> float:
    """Return the largest difference of gradients, relative to the largest entry of its leaf.

    Parameters
    ----------
    found : ndarray, shape (m,)
        Entries of a gradient, in one vector.
    reference : sequence of ndarray
        All leaves of the reference gradient.
    entries : ndarray of int, shape (m,), optional
        The indices of the entries; by default, all.

    Examples
    --------
    >>> reference = [np.array([[1.0, 4.0]]), np.array([0.5])]
    >>> worst_difference(np.array([2.0, 0.5]), reference, [0, 2])
    0.25
    """
    largest = [float(np.max(np.abs(leaf))) or 1.0 for leaf in reference]
    scale = np.repeat(largest, [leaf.size for leaf in reference])
    wanted = flat(reference)
    if entries is not None:
        wanted, scale = wanted[entries], scale[entries]
    return float(np.max(np.abs(found - wanted) / scale))
