"""The loss at its parameters and beside them: what all numerical backends evaluate.

A `Probe` owns a copy of the parameters and moves entries of that copy; the caller's arrays are
neither shown to the loss nor moved. The loss sees read-only arrays, arguments included.

A probe also knows how exactly the loss is evaluated. The dtype of what it returns says so at first.
Where evaluations contradict each other, `Probe.look_into` asks twice: is the loss the same when it
is evaluated again, and how noisy is it? A loss that computes in float32 inside is a `CoarseLoss`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import DTypeLike

from gradlab.arrays.read_only import read_only
from gradlab.errors import LossError, NonFiniteError, OptionError
from gradlab.gradients.noise import relative_noise
from gradlab.gradients.perturb import Incremental, Recorder
from gradlab.gradients.protocol import (
    Loss,
    finish_gradients,
    raised_by_the_loss,
    real_scalar,
    require_same_value,
)
from gradlab.gradients.terms import SumOfTerms
from gradlab.params import Array, entry, first, flatten

AGAIN = 3
"""Evaluations at the parameters by which a loss that contradicts itself shows that it is random."""

COARSE = 64.0
"""Noise, in round-offs of the returned dtype, above which the loss computes in a narrower one."""

COARSEST = 2.0**-7
"""Relative noise above which a loss is not taken to be rounded, but rough."""


class CoarseLoss(Exception):  # noqa: N818 - no error: the differences are taken again
    """The steps do not suit the loss: its gradient is to be taken again, with others.

    Attributes
    ----------
    precision : float
        The relative error of an evaluation.
    closely : bool
        Whether every entry is to be looked at again with smaller steps.
    """

    def __init__(self, precision: float, closely: bool = False) -> None:
        super().__init__(precision, closely)
        self.precision, self.closely = precision, closely


class Method(Protocol):
    """What a probe asks of a difference: see `gradlab.gradients.finite_differences`."""

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return the slope over a step, and half the difference of the slopes to both sides."""

    def of_entry(self, probe: Probe, f: EntryLine, x: Any, h: Any) -> Any:
        """Return the slope along one entry, looked at again where that is needed."""

    def again(self, probe: Probe, leaf: int, h: Array, slopes: Array, bends: Array) -> Array:
        """Return slopes of a leaf, of which some may be looked at again."""


@dataclass(slots=True)  # not frozen: one is made for each entry
class EntryLine:
    """The loss as a function of one entry of its parameters.

    Attributes
    ----------
    probe : Probe
    leaf, i : int
        Which entry.
    to_type : type
        What its values are turned into.
    """

    probe: Probe
    leaf: int
    i: int
    to_type: Any

    def __call__(self, x: Any) -> Any:
        """Return the loss where the entry is `x`."""
        return self.to_type(self.probe.at(self.leaf, self.i, x))

    @property
    def name(self) -> str:
        """The entry, for errors."""
        return self.probe.name(self.leaf, self.i)


class Probe:
    """The loss as a function of one entry of its parameters, all others held.

    It owns a writable copy of the parameters in the dtype of the evaluation; the loss sees them
    read-only, so that one that writes into its argument fails instead of spoiling the difference.

    Attributes
    ----------
    leaves : list of ndarray
        The copy, where all that is evaluated starts from.
    given_steps : list of ndarray or None
        The step of each entry, where the caller chose it.
    closely : bool
        Whether every entry is looked at again with smaller steps.
    looped : bool
        Whether the loss itself was evaluated for some entries, not a recording for all.
    """

    widest: ClassVar[type] = np.float64

    incremental: Incremental | None = None
    given_steps: Sequence[Array] | None = None
    closely = False
    looped = False

    def __init__(
        self, loss: Loss, params: Any, args: tuple[Any, ...], dtype: DTypeLike | None
    ) -> None:
        self._loss = loss
        self._args = read_only(args)
        self._given, self._structure = flatten(params)
        self.leaves: list[Array] = [
            np.array(leaf, dtype or np.result_type(leaf, self.widest), order="C")
            for leaf in self._given
        ]
        self._flat = [leaf.reshape(-1) for leaf in self.leaves]
        # Numbers, too, become arrays (of no dimensions), so that a move is seen through the view.
        self._bare = replace(self._structure, scalars=frozenset())
        self._params = self._bare.unflatten([self._show(leaf) for leaf in self.leaves])

    @property
    def size(self) -> int:
        """How many entries there are."""
        return sum(leaf.size for leaf in self.leaves)

    def record(self, recorder: Recorder) -> None:
        """Have movements evaluated in a recording of the loss, as far as that is possible."""
        if all(leaf.dtype == np.float64 for leaf in self.leaves):
            self.incremental = recorder(self._params, self._args, self)

    # How exactly the loss is evaluated

    @cached_property
    def precision(self) -> float:
        """The relative error of an evaluation, as far as is known."""
        kinds = [x.dtype for x in (np.asarray(self.value), *self.leaves) if x.dtype.kind == "f"]
        return max([float(np.finfo(kind).eps) for kind in kinds], default=float(np.finfo(1.0).eps))

    @cached_property
    def noise(self) -> float:
        """The relative error of an evaluation, as it is measured along a fixed direction."""
        with np.errstate(all="ignore"):
            try:
                found = relative_noise(
                    partial(self.along, self.direction),
                    float(self.value),
                    enough=COARSE * self.precision,
                )
            except Exception:  # at the edge of its domain, nothing can be measured
                return 0.0
        return float(np.exp2(np.ceil(np.log2(2 * found)))) if found > 0 else 0.0

    def look_into(self) -> None:
        """Find out why evaluations contradict each other.

        Raises
        ------
        LossError
            If the loss is not deterministic.
        CoarseLoss
            If it is evaluated less exactly than is known.
        """
        self.require_steady()
        if COARSE * self.precision < self.noise <= COARSEST:
            raise CoarseLoss(self.noise, self.closely)

    def require_steady(self) -> None:
        """Raise a LossError if the loss differs when it is evaluated again."""
        if not self._is_steady:
            for _ in range(AGAIN):
                require_same_value(self.value, self._evaluate(lambda: ""), self.precision)
            self._is_steady = True

    _is_steady = False

    @cached_property
    def direction(self) -> list[Array]:
        """A direction through all entries, each by half its size at least."""
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
        return self._evaluate(lambda: "")

    def at(self, leaf: int, i: int, x: Any) -> Any:
        """Evaluate the loss where entry `i` (in C order) of leaf number `leaf` is `x`."""
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

    def each(self, leaf: int, h: Array, method: Method) -> Array:
        """Return the slope along each entry of a leaf, in the leaf's shape.

        Entry by entry, and not array by array, so that no arrays of points and values are needed.
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
        """Raise an error that names the first entry whose two points are one, if there is one.

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
        """Hand the gradients over in the structure and the dtypes of the parameters."""
        done = finish_gradients(self._structure.paths, gradients, self._given)
        return self._structure.unflatten(done)

    @contextmanager
    def restoring(self) -> Iterator[None]:
        """Leave the caller's arrays as they were, also where the loss holds and writes into them.

        A network that keeps its parameters, and copies what it is given into them, is such a loss.
        """
        try:
            yield
        finally:
            restore(self._given, self.leaves)

    def _show(self, leaf: Array) -> Array:
        """Return what the loss sees of a leaf."""
        view = leaf.view()
        view.flags.writeable = False
        return view

    def _evaluate(self, place: Callable[[], str], params: Any = None) -> Any:
        try:
            value = self._loss(self._params if params is None else params, *self._args)
        except Exception as error:
            told = raised_by_the_loss(error, place() or "the given parameters")
            if told is error:
                raise
            raise told from error
        if type(value) is np.float64 and np.isfinite(value):
            return value  # the usual case, without the cost of looking further
        return real_scalar(value, place())


def restore(given: Sequence[Array], held: Sequence[Array]) -> None:
    """Write what is held back into arrays of the caller's that have changed."""
    for leaf, own in zip(given, held, strict=True):
        if leaf.flags.writeable:
            changed = leaf.astype(own.dtype, copy=False) != own
            if changed.any():
                leaf[changed] = own[changed]


def size_of(leaf: Array) -> Array:
    """Return the size of each entry; of one that is 0, that of the leaf's largest, or 1."""
    largest = np.abs(leaf).max(initial=0.0) or 1.0
    sizes: Array = np.where(leaf == 0, largest, np.abs(leaf))
    return sizes


class ProbeOfTerms(Probe):
    """The sum of terms as a function of one entry, evaluated for many that share no term."""

    _loss: SumOfTerms

    def __init__(
        self, loss: SumOfTerms, params: Any, args: tuple[Any, ...], dtype: DTypeLike | None
    ) -> None:
        super().__init__(loss, params, args, dtype)
        if loss.sparsity.shape[1] != self.size:
            raise OptionError(
                f"sparsity has {loss.sparsity.shape[1]} columns; the parameters have {self.size} "
                "entries"
            )

    @cached_property
    def value(self) -> Any:
        """The loss at the parameters themselves."""
        return real_scalar(self._terms.sum())

    @cached_property
    def _terms(self) -> Array:
        return self._loss.evaluate(self._params, *self._args)

    def each(self, leaf: int, h: Array, method: Method) -> Array:
        """Return the slope along each entry of a leaf, all of them at once; see `Probe.each`."""
        self.looped = True
        return method.again(self, leaf, h, *self.quotients(leaf, h, method))

    def quotients(self, leaf: int, h: Array, method: Method) -> tuple[Array, Array]:
        """Return the slopes and bends of a leaf, by groups of entries."""
        return method.quotient(partial(self._values, leaf), self.leaves[leaf], h, self.value)

    def _values(self, leaf: int, x: Array) -> Array:
        """Evaluate the loss with each entry of a leaf moved to its value, by groups of them."""
        start = sum(other.size for other in self.leaves[:leaf])
        rises = np.zeros(x.size, np.result_type(self._terms, x.dtype))
        held = self._flat[leaf].copy()
        for group in self._loss.groups(start, start + x.size):
            moved = group - start
            self._flat[leaf][moved] = x.reshape(-1)[moved]
            try:
                change = self._loss.evaluate(self._params, *self._args) - self._terms
            finally:
                self._flat[leaf][:] = held
            self._check(leaf, moved, change, self._loss.sparsity[:, group])
            rises[moved] = np.where(self._loss.sparsity[:, group], change[:, None], 0.0).sum(0)
        values: Array = (self.value + rises).reshape(x.shape)
        return values

    def _check(self, leaf: int, moved: Array, change: Array, sparsity: Array) -> None:
        """Refuse terms that are no numbers, and those that move though they should not."""
        if not np.isfinite(change).all():
            term = int(np.flatnonzero(~np.isfinite(change))[0])
            of_it = moved[sparsity[term]] if sparsity[term].any() else moved
            raise NonFiniteError(
                f"term {term} of the loss is not finite where {self.name(leaf, int(of_it[0]))} "
                "is moved"
            )
        strays = np.flatnonzero((change != 0) & ~sparsity.any(1))
        if len(strays):
            raise LossError(
                f"term {strays[0]} changes where {self.name(leaf, int(moved[0]))} and others are "
                "moved, of which sparsity says that it depends on none"
            )
