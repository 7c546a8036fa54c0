"""The loss at its parameters and near them, for all numerical backends.

A `Probe` owns a copy of the parameters and perturbs entries of that copy. The loss never gets the
caller's arrays. It gets read-only arrays, also as arguments.

A probe also estimates the precision of the loss, at first from the dtype of its result. If
evaluations contradict each other, `Probe.look_into` checks whether the loss is deterministic, and
measures its noise. A loss that computes in float32 internally raises `CoarseLoss`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from gradlab.arrays.read_only import read_only
from gradlab.errors import OptionError
from gradlab.gradients.noise import relative_noise
from gradlab.gradients.protocol import (
    Loss,
    finish_gradients,
    raise_from_loss,
    real_scalar,
    require_same_value,
)
from gradlab.params import Array, entry, first, flatten

REPEATED_EVALUATIONS = 3
"""Number of repeated evaluations that test whether a loss is deterministic."""

COARSE_NOISE_RATIO = 64.0
"""Noise, in epsilons of the returned dtype, above which the loss computes in a narrower dtype."""

ROUGH_RELATIVE_NOISE = 2.0**-7
"""Relative noise above which a loss counts as rough rather than rounded."""


COMPARISON_DISTANCE = 2.0**-12
"""Distance, relative to the parameters, at which a gradient or recording meets the loss again."""


class CoarseLoss(Exception):  # noqa: N818 - not an error: the differences are repeated
    """The steps do not suit the loss: its gradient must be computed again with other steps."""

    def __init__(self, precision: float, closely: bool = False) -> None:
        self.precision = precision  # the relative error of an evaluation
        self.closely = closely  # whether every entry must be measured again with smaller steps


class Quotient(Protocol):
    """The methods of a difference that a probe calls: see `gradlab.gradients.differences`."""

    name: ClassVar[str]

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return the slope over a step, and half the difference of the one-sided slopes."""

    def of_entry(self, probe: Probe, f: EntryLine, x: Any, h: Any) -> Any:
        """Return the slope along one entry; measure it again if necessary."""

    def measured_again(
        self, probe: Probe, leaf: int, h: Array, slopes: Array, bends: Array
    ) -> Array:
        """Return the slopes of a leaf; measure some of them again if necessary."""


class Perturbed(Protocol):
    """A recorded loss, evaluated under perturbations of its parameters."""

    def changes(self, leaf: int, perturbations: Sequence[Array]) -> tuple[Array, Array] | None:
        """Return the change of the loss for each perturbation, and the perturbations used."""


Record: TypeAlias = Callable[[Any, tuple[Any, ...], Any], Perturbed | None]
"""``record(params, args, probe)``: the loss recorded at its parameters, or None."""


@dataclass(slots=True)  # not frozen, which is faster: one is made for each entry
class EntryLine:
    """The loss as a function of one entry of its parameters."""

    probe: Probe
    leaf: int
    i: int  # the index of the entry in the leaf
    to_type: Any  # of the values

    def __call__(self, x: Any) -> Any:
        """Return the loss with the entry set to `x`."""
        return self.to_type(self.probe.at(self.leaf, self.i, x))

    @property
    def name(self) -> str:
        """The name of the entry, for errors."""
        return self.probe.name(self.leaf, self.i)


class Probe:
    """The loss as a function of one entry of its parameters, with all others fixed.

    A probe owns a writable copy of the parameters in the dtype of the evaluation. The loss gets
    read-only views, so that a loss that writes into its argument fails instead of falsifying the
    difference.
    """

    widest: ClassVar[type] = np.float64

    recorded: Perturbed | None = None
    given_steps: Sequence[Array] | None = None  # of each entry, if the caller chose them
    closely = False  # whether every entry is measured again with smaller steps
    looped = False  # whether the loss itself, not a recording, was evaluated for some entries
    seconds = 0.0  # time of the evaluation at the parameters; 0 before it

    def __init__(
        self, loss: Loss, params: Any, args: tuple[Any, ...], dtype: DTypeLike | None
    ) -> None:
        self.call = loss, params, args  # as the caller gave them
        self._loss = loss
        self._args = read_only(args)
        self._given, self._structure = flatten(params)
        self.leaves: list[Array] = [  # the copy, unperturbed
            np.array(leaf, dtype or np.result_type(leaf, self.widest), order="C")
            for leaf in self._given
        ]
        self._flat = [leaf.reshape(-1) for leaf in self.leaves]
        # Numbers become arrays of dimension 0, so that views show a perturbation of them.
        self._bare = replace(self._structure, scalars=frozenset())
        self._params = self._bare.unflatten([self._show(leaf) for leaf in self.leaves])

    @property
    def size(self) -> int:
        """The number of entries."""
        return sum(leaf.size for leaf in self.leaves)

    def record(self, recorder: Record) -> None:
        """Record the loss, if possible, to evaluate perturbations in the recording."""
        if all(leaf.dtype == np.float64 for leaf in self.leaves):
            self.recorded = recorder(self._params, self._args, self)

    # The precision of the loss

    @cached_property
    def precision(self) -> float:
        """The relative error of an evaluation, according to the dtypes."""
        kinds = [x.dtype for x in (np.asarray(self.value), *self.leaves) if x.dtype.kind == "f"]
        return max([float(np.finfo(kind).eps) for kind in kinds], default=float(np.finfo(1.0).eps))

    @cached_property
    def noise(self) -> float:
        """The relative error of an evaluation, measured along a fixed direction."""
        with np.errstate(all="ignore"):
            try:
                found = relative_noise(
                    partial(self.along, self.direction),
                    float(self.value),
                    enough=COARSE_NOISE_RATIO * self.precision,
                )
            except Exception:  # no measurement at the edge of the domain
                return 0.0
        return float(np.exp2(np.ceil(np.log2(2 * found)))) if found > 0 else 0.0

    def look_into(self) -> None:
        """Find out why evaluations contradict each other.

        Raise a LossError if the loss is not deterministic, a `CoarseLoss` if its noise exceeds the
        assumed precision.
        """
        self.require_steady()
        if COARSE_NOISE_RATIO * self.precision < self.noise <= ROUGH_RELATIVE_NOISE:
            raise CoarseLoss(self.noise, self.closely)

    def require_steady(self) -> None:
        """Raise a LossError if the loss differs when it is evaluated again."""
        if not self._is_steady:
            for _ in range(REPEATED_EVALUATIONS):
                require_same_value(self.value, self._evaluate(lambda: ""), self.precision)
            self._is_steady = True

    _is_steady = False

    @cached_property
    def direction(self) -> list[Array]:
        """A direction that changes each entry by at least half its size."""
        rng = np.random.default_rng(0)
        found = []
        for leaf in self.leaves:
            d = rng.uniform(-0.5, 0.5, leaf.shape)
            d += np.copysign(0.5, d)
            d *= size_of(leaf)
            found.append(d)
        return found

    # Evaluations

    @cached_property
    def value(self) -> Any:
        """The loss at the parameters themselves, evaluated once."""
        started = time.perf_counter()
        value = self._evaluate(lambda: "")
        self.seconds = time.perf_counter() - started
        return value

    def at(self, leaf: int, i: int, x: Any) -> Any:
        """Evaluate the loss with entry `i` (in C order) of leaf number `leaf` set to `x`."""
        flat = self._flat[leaf]
        held = flat[i]
        flat[i] = x
        try:
            return self._evaluate(lambda: f"{self.name(leaf, i)} = {held} moved to {x}")
        finally:
            flat[i] = held

    def along(self, direction: Sequence[Array], t: Any) -> Any:
        """Evaluate the loss with all leaves moved by `t` times a direction, in new arrays."""
        moved = []
        for leaf, d in zip(self.leaves, direction, strict=True):
            there = np.asarray(t * d, leaf.dtype)
            there += leaf
            moved.append(self._show(there))
        params = self._bare.unflatten(moved)
        return self._evaluate(lambda: f"the parameters moved by {t} along a direction", params)

    def line(self, leaf: int, i: int) -> EntryLine:
        """Return the loss as a function of one entry, in the wider of its dtype and the entry's."""
        return EntryLine(self, leaf, i, np.result_type(self.leaves[leaf], self.value).type)

    def each(self, leaf: int, h: Array, method: Quotient) -> Array:
        """Return the slope along each entry of a leaf, in the leaf's shape.

        The slopes are computed one entry at a time, without arrays of points and values.
        """
        self.looped = True
        x = self.leaves[leaf]
        wide = np.result_type(x, self.value)
        rows = enumerate(zip(x.flat, h.flat, strict=True))
        found = (
            method.of_entry(self, EntryLine(self, leaf, i, wide.type), *row) for i, row in rows
        )
        return np.fromiter(found, wide, x.size).reshape(x.shape)

    def require_apart(self, leaf: int, above: Array, below: Array) -> None:
        """Raise an error that names the first entry whose two points coincide.

        The array `above` is overwritten.
        """
        width = np.subtract(above, below, out=np.asarray(above))
        unusable = ~((width > 0) & np.isfinite(width))
        if unusable.any():
            index = first(unusable)
            where = self.name(leaf, int(np.ravel_multi_index(index, width.shape)))
            raise OptionError(
                f"the step vanishes beside {where} = {self.leaves[leaf][index]}: give a larger step"
            )

    def name(self, leaf: int, i: int) -> str:
        """Name an entry, for errors."""
        index = np.unravel_index(i, self.leaves[leaf].shape)
        return entry(self._structure.paths[leaf], tuple(map(int, index)))

    def finish(self, gradients: Sequence[Array]) -> Any:
        """Return the gradients in the structure and the dtypes of the parameters."""
        done = finish_gradients(self._structure.paths, gradients, self._given)
        return self._structure.unflatten(done)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Restore the caller's arrays if the loss holds references to them and writes into them.

        An example is a network that copies its argument into its own parameters.
        """
        try:
            yield
        finally:
            restore(self._given, self.leaves)

    def _show(self, leaf: Array) -> Array:
        """Return the read-only view of a leaf that the loss gets."""
        view = leaf.view()
        view.flags.writeable = False
        return view

    def _evaluate(self, place: Callable[[], str], params: Any = None) -> Any:
        try:
            value = self._loss(self._params if params is None else params, *self._args)
        except Exception as error:
            raise_from_loss(error, place() or "the given parameters")
        if type(value) is np.float64 and np.isfinite(value):
            return value  # the usual case, without further checks
        return real_scalar(value, place())


def restore(given: Sequence[Array], held: Sequence[Array]) -> None:
    """Restore the entries of the caller's arrays that have changed."""
    for leaf, own in zip(given, held, strict=True):
        if leaf.flags.writeable:
            changed = leaf.astype(own.dtype, copy=False) != own
            if changed.any():
                leaf[changed] = own[changed]


def size_of(leaf: Array) -> Array:
    """Return the size of each entry; for a zero, the size of the leaf's largest entry, or 1."""
    largest = np.abs(leaf).max(initial=0.0) or 1.0
    sizes: Array = np.where(leaf == 0, largest, np.abs(leaf))
    return sizes
