"""Finite differences: the gradient from values of the loss alone, one entry at a time.

With a step h, for each of the p entries of the parameters (e is its unit vector)::

    forward    D₁ = (f(x + h e) - f(x))       / h      p + 1 evaluations    error ~ h/2 f''
    central    D₂ = (f(x + h e) - f(x - h e)) / (2 h)  2 p + 1 evaluations  error ~ h²/6 f'''
    central4   (4 D₂(h) - D₂(2 h)) / 3                 4 p + 1 evaluations  error ~ h⁴/30 f⁽⁵⁾

Round-off adds about ε|f|/h (forward: twice that) to either error, so that a smaller step is not
a better one. With all of f, its derivatives and x of order 1, the sum is least near h = ε^(1/(q+1))
where the error is of order h^q: Dennis & Schnabel, *Numerical Methods for Unconstrained
Optimization*, 1983, section 5.4; Press et al., *Numerical Recipes*, 3rd ed., section 5.7. The
fourth order is the quotient of five points (Abramowitz & Stegun, *Handbook of Mathematical
Functions*, 1964, 25.3.6), written as one step of Richardson's extrapolation.

Three things differ from the textbook's formula. The default step is scaled to each entry,
h max(1, |x|), and rounded to a power of two, so that x ± h is exact for nearly all x. What is
divided by is the distance of the two points as evaluated, so that it is right for the others too.
And the loss is evaluated in float64 even where the parameters are float32 or integers.

The default step is no smaller than for an entry of 1, whatever the entry: what a loss does within
1e-8 or so of a tiny entry, as sin(1e300 x) at 1e-300, it does not see, and its truncation error has
no bound there. Give a step in proportion, or hold it to `gradlab.check_gradients`.

Where there are many parameters, the loss is recorded as a program, and of its evaluations only
what each one changes is computed (`gradlab.gradients.incremental`): the same quotient to rounding,
up to a few hundred times as fast. ``incremental=False`` evaluates the loss itself each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from os import PathLike
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import DTypeLike

from gradlab import options
from gradlab.errors import LossError, NonFiniteError, OptionError
from gradlab.gradients.incremental import Incremental, Recorder
from gradlab.gradients.protocol import Loss, ValueAndGrad, finish_gradients, real_scalar
from gradlab.gradients.terms import SumOfTerms
from gradlab.params import Array, entry, first, flatten

Quotient: TypeAlias = Callable[[Callable[[Any], Any], Any, Any], Any]
"""``quotient(f, x, h)``: the slope at x of a function of one number, from its values near x."""

FEWEST = 64
"""So many entries are worth a recording of the loss: it takes as long as some evaluations."""


@dataclass(frozen=True)
class Difference:
    """What the finite differences share: a loop over the leaves, whose `slopes` each one defines.

    Parameters
    ----------
    step : float, optional
        The same absolute step for every entry, or one scaled to each.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    workers : int, callable or distributed.Client, optional
        Who evaluates the loss; by default this process, one entry after the other. A number of
        processes (-1: one a processor) that share one copy of the data and end with the call. Or a
        function like `map`: ``executor.map`` of `concurrent.futures` or `mpi4py.futures`, whose
        processes stay. Or a Dask client. The slopes are the same, to the bit, for any number.
        An evaluation that fails is repeated once. It pays for a loss of some milliseconds.
    timeout : float, optional
        Seconds after which a worker process that still evaluates the loss at one place is taken to
        hang, and killed; it is replaced once, and then an error names the place.
    resume : str or path, optional
        A file for what is done of a gradient, from which the same one is taken up again after an
        interruption. It is removed when the gradient is complete.
    incremental : bool
        Whether many entries may be moved together in a recording of the loss, in float64, instead
        of evaluating it for each; see `gradlab.gradients.incremental`.
    threads : int, optional
        How many that may use; by default as many as NumPy's BLAS may. The slopes are the same, to
        the bit, for any number.
    """

    step: float | None = None
    dtype: DTypeLike | None = None
    workers: Any = field(default=None, kw_only=True)
    timeout: float | None = field(default=None, kw_only=True, repr=False)
    resume: str | PathLike[str] | None = field(default=None, kw_only=True)
    incremental: bool = field(default=True, kw_only=True)
    threads: int | None = field(default=None, kw_only=True)
    name: ClassVar[str]
    points: ClassVar[int] = 0  # evaluations an entry; 0 where these depend on the loss
    fewest: ClassVar[int] = FEWEST

    def __post_init__(self) -> None:
        if self.step is not None:
            options.number("step", self.step, "give a positive number, or None for the default")
        if self.dtype is not None:
            options.floating("dtype", self.dtype, "a loss is evaluated in a floating-point type")
        if self.workers is not None or self.timeout is not None:
            from gradlab.gradients.parallel import find_team

            find_team(self.workers, self.timeout)
        if self.resume is not None and not isinstance(self.resume, str | PathLike):
            raise options.refusal("resume", self.resume, "give the path of a file")
        if not isinstance(self.incremental, bool):
            raise options.refusal("incremental", self.incremental, "give True or False")
        if self.threads is not None:
            options.integer("threads", self.threads)

    def equivalent_evaluations(self, p: int) -> int:
        """Return how many evaluations a gradient of p entries is made of, done or saved.

        Examples
        --------
        >>> CentralDifference().equivalent_evaluations(45_360)
        90721
        """
        return self.points * p + 1

    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""
        recorder = Recorder(loss, self.threads)

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            if of_terms := isinstance(loss, SumOfTerms):
                probe: Probe = ProbeOfTerms(loss, params, args, self.dtype)
            else:
                probe = Probe(loss, params, args, self.dtype)
            started = time.perf_counter()
            value = float(probe.value)
            seconds = time.perf_counter() - started
            if self.workers is None and self.resume is None:
                if self.incremental and not of_terms and probe.size >= self.fewest:
                    probe.record(recorder)
                gradients = [self.slopes(probe, leaf) for leaf in range(len(probe.leaves))]
            else:
                if of_terms:
                    raise OptionError(
                        "workers and resume move one entry at a time: a SumOfTerms, which moves "
                        "many, is differentiated without them"
                    )
                from gradlab.gradients import parallel  # which is written in terms of this module

                gradients = parallel.slopes(self, probe, loss, params, args, seconds)
            return value, probe.finish(gradients)

        return value_and_grad

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return the derivative with respect to each entry of a leaf, in the leaf's shape."""
        raise NotImplementedError


@dataclass(frozen=True)
class ForwardDifference(Difference):
    """The one-sided difference quotient: error ~ h, one evaluation an entry.

    Parameters
    ----------
    step : float, optional
        The same absolute step for every entry. By default √ε scaled to each entry:
        1.5e-8 max(1, |x|) or the power of two nearest to it.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    workers, timeout, resume : optional
        Who evaluates the loss, and where an interrupted gradient is kept: see `Difference`.
    incremental : bool
        Whether many entries may be moved together in a recording of the loss, in float64, instead
        of evaluating it for each; see `gradlab.gradients.incremental`.
    threads : int, optional
        How many that may use; by default as many as NumPy's BLAS may. The slopes are the same, to
        the bit, for any number.

    Examples
    --------
    >>> import numpy as np
    >>> f = ForwardDifference().value_and_grad(lambda x: np.sum(x**2))
    >>> value, grads = f(np.array([3.0, 4.0]))
    >>> value, grads.round(6)
    (25.0, array([6., 8.]))
    """

    name = "forward"
    points: ClassVar[int] = 1

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return (f(x + h) - f(x)) / h."""
        x = probe.leaves[leaf]
        h = steps(x, self.step, order=1)
        probe.require_apart(leaf, x + h, x)
        slopes = probe.incremental_slopes(leaf, h)
        if slopes is not None:
            return slopes
        value = probe.value
        return probe.each(leaf, h, lambda f, x, h: (f(x + h) - value) / ((x + h) - x))


@dataclass(frozen=True)
class CentralDifference(Difference):
    """The symmetric difference quotient: error ~ h², two evaluations an entry.

    Parameters
    ----------
    step : float, optional
        The same absolute step for every entry (the notebook's was 1e-4). By default ∛ε scaled to
        each entry: 7.6e-6 max(1, |x|) or the power of two nearest to it.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    workers, timeout, resume : optional
        Who evaluates the loss, and where an interrupted gradient is kept: see `Difference`.
    incremental : bool
        Whether many entries may be moved together in a recording of the loss, in float64, instead
        of evaluating it for each; see `gradlab.gradients.incremental`.
    threads : int, optional
        How many that may use; by default as many as NumPy's BLAS may. The slopes are the same, to
        the bit, for any number.

    Examples
    --------
    >>> import numpy as np
    >>> f = CentralDifference(step=1e-4).value_and_grad(lambda x: np.sum(x**2))
    >>> value, grads = f(np.array([3.0, 4.0]))
    >>> value, grads.round(9)
    (25.0, array([6., 8.]))
    """

    name = "central"
    points: ClassVar[int] = 2

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return (f(x + h) - f(x - h)) / 2h."""
        return symmetric_quotients(probe, leaf, steps(probe.leaves[leaf], self.step, order=2))


@dataclass(frozen=True)
class CentralDifference4(Difference):
    """The symmetric difference of fourth order: error ~ h⁴, four evaluations an entry.

    Parameters
    ----------
    step : float, optional
        The same absolute step for every entry; the loss is evaluated up to twice as far away. By
        default ε^(1/5) scaled to each entry: 9.8e-4 max(1, |x|), rounded to a power of two.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    workers, timeout, resume : optional
        Who evaluates the loss, and where an interrupted gradient is kept: see `Difference`.
    incremental : bool
        Whether many entries may be moved together in a recording of the loss, in float64, instead
        of evaluating it for each; see `gradlab.gradients.incremental`.
    threads : int, optional
        How many that may use; by default as many as NumPy's BLAS may. The slopes are the same, to
        the bit, for any number.

    Examples
    --------
    >>> import numpy as np
    >>> f = CentralDifference4(step=0.25).value_and_grad(lambda x: np.sum(x**4))
    >>> f(np.array([3.0, 4.0]))  # exact up to the fourth power
    (337.0, array([108., 256.]))
    """

    name = "central4"
    points: ClassVar[int] = 4

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return (8 f(x + h) - 8 f(x - h) - f(x + 2h) + f(x - 2h)) / 12h."""
        h = steps(probe.leaves[leaf], self.step, order=4)
        near = symmetric_quotients(probe, leaf, h)
        h *= 2
        far = symmetric_quotients(probe, leaf, h)
        return near + (near - far) / 3


def symmetric_quotients(probe: Probe, leaf: int, h: Array) -> Array:
    """Return the symmetric difference quotient of each entry of a leaf, in the leaf's shape."""
    x = probe.leaves[leaf]
    probe.require_apart(leaf, x + h, x - h)
    slopes = probe.incremental_slopes(leaf, h, -h)
    if slopes is not None:
        return slopes
    return probe.each(leaf, h, lambda f, x, h: (f(x + h) - f(x - h)) / ((x + h) - (x - h)))


def steps(x: Array, step: float | None, order: int) -> Array:
    """Return the step of each entry of a leaf.

    Parameters
    ----------
    x : ndarray
        The leaf, in the dtype of the evaluation (machine epsilon ε).
    step : float or None
        An absolute step for all entries, or None for the default.
    order : int
        The order q of the truncation error, h^q: the default is then ε^(1/(q+1)) max(1, |x|),
        which balances it with the round-off ε/h, rounded to a power of two.

    Examples
    --------
    >>> np.log2(steps(np.array([0.0, 1.0, 300.0]), None, order=2))
    array([-17., -17.,  -9.])
    """
    if step is not None:
        return np.full(x.shape, step, x.dtype)
    exponent = np.log2(np.finfo(x.dtype).eps) / (order + 1) + np.log2(np.maximum(1, np.abs(x)))
    scaled: Array = np.exp2(np.round(exponent))
    return scaled.astype(x.dtype, copy=False)


class Probe:
    """The loss as a function of one entry of its parameters, all others held.

    It owns a writable copy of the parameters in the dtype of the evaluation; the loss sees them
    read-only, so that one that writes into its argument fails instead of spoiling the difference.

    Attributes
    ----------
    leaves : list of ndarray
        The copy, where all that is evaluated starts from.
    """

    widest: ClassVar[type] = np.float64

    _incremental: Incremental | None = None

    def __init__(
        self, loss: Loss, params: Any, args: tuple[Any, ...], dtype: DTypeLike | None
    ) -> None:
        self._loss = loss
        self._args = args
        self._given, self._structure = flatten(params)
        self.leaves: list[Array] = [
            np.array(leaf, dtype or np.result_type(leaf, self.widest), order="C")
            for leaf in self._given
        ]
        self._flat = [leaf.reshape(-1) for leaf in self.leaves]
        # Numbers, too, become arrays (of no dimensions), so that a move is seen through the view.
        as_arrays = replace(self._structure, scalars=frozenset())
        self._params = as_arrays.unflatten([self._show(leaf) for leaf in self.leaves])

    @property
    def size(self) -> int:
        """How many entries there are."""
        return sum(leaf.size for leaf in self.leaves)

    def record(self, recorder: Recorder) -> None:
        """Have movements evaluated in a recording of the loss, as far as that is possible."""
        if all(leaf.dtype == np.float64 for leaf in self.leaves):
            self._incremental = recorder(self._params, self._args, self.value)

    def incremental_slopes(self, leaf: int, *moves: Array) -> Array | None:
        """Return the quotients over one or two movements of each entry, None if by the loop."""
        return None if self._incremental is None else self._incremental.slopes(leaf, *moves)

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
        """Evaluate the loss with all leaves moved by `t` times a direction."""
        for leaf, d in zip(self.leaves, direction, strict=True):
            leaf += t * d
        try:
            return self._evaluate(lambda: f"the parameters moved by {t} along a direction")
        finally:
            for leaf, x in zip(self.leaves, self._given, strict=True):
                leaf[...] = x

    def each(self, leaf: int, h: Array, quotient: Quotient) -> Array:
        """Return ``quotient(f, x, h)`` for each entry of a leaf, in the leaf's shape.

        f is the loss as a function of the entry, in the wider of its dtype and the entry's.
        Entry by entry, and not array by array, so that no arrays of points and values are needed.
        """
        x = self.leaves[leaf]
        wide = np.result_type(x, self.value)

        def f(i: int, there: Any) -> Any:
            return wide.type(self.at(leaf, i, there))

        rows = enumerate(zip(x.flat, h.flat, strict=True))
        found = (quotient(partial(f, i), *row) for i, row in rows)
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

    def _show(self, leaf: Array) -> Array:
        """Return what the loss sees of a leaf."""
        view = leaf.view()
        view.flags.writeable = False
        return view

    def _evaluate(self, place: Callable[[], str]) -> Any:
        try:
            value = self._loss(self._params, *self._args)
        except Exception as error:
            error.add_note(f"raised by the loss at {place() or 'the given parameters'}")
            raise
        if type(value) is np.float64 and np.isfinite(value):
            return value  # the usual case, without the cost of looking further
        return real_scalar(value, place())


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

    def each(self, leaf: int, h: Array, quotient: Quotient) -> Array:
        """Return ``quotient(f, x, h)`` for all entries of a leaf at once; see `Probe.each`."""
        quotients: Array = quotient(partial(self._values, leaf), self.leaves[leaf], h)
        return quotients

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
