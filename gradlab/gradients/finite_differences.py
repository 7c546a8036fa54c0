"""Finite differences: the gradient from values of the loss alone, one entry at a time.

With a step h, for each of the p entries of the parameters (e is its unit vector)::

    forward    D₁ = (f(x + h e) - f(x))       / h      p + 2 evaluations    error ~ h/2 f''
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

The default step suits a loss that is exact to ε, and smooth on the scale of max(1, |x|). Where it
is not so, the evaluations say it:

- The ε of the step is that of the dtype which the loss returns.
- Half the difference of the slopes to both sides, the *bend*, is small beside the slope. Where it
  is not, as for log(x) at 1e-5, smaller steps are tried until two of them agree (`look_closer`).
- If none agree, the loss is evaluated again: one that is not deterministic is refused. Then its
  noise is measured (`gradlab.gradients.noise`). A loss that computes in float32 inside is noisy,
  and its differences are taken again with the steps of that precision.

The forward difference has no bend. It is compared with the loss at one more point, in a random
direction. A given ``step=`` is taken as it is.

Where there are many parameters, the loss is recorded as a program, and of its evaluations only
what each one changes is computed (`gradlab.gradients.perturb`): the same quotient to rounding,
up to a few hundred times as fast. ``incremental=False`` evaluates the loss itself each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from gradlab import options
from gradlab.errors import LossError, NonFiniteError, OptionError, ParameterError
from gradlab.gradients.keywords import passing_keywords
from gradlab.gradients.perturb import Recorder
from gradlab.gradients.probing import CoarseLoss, EntryLine, Probe, ProbeOfTerms
from gradlab.gradients.protocol import Loss, ValueAndGrad
from gradlab.gradients.terms import SumOfTerms
from gradlab.params import Array, flatten

FEWEST = 64
"""Smallest number of entries for which the loss is recorded, which costs several evaluations."""

FINER = 16.0
"""Factor by which the step shrinks where an entry is measured again."""

LEVELS = 16
"""Largest number of times that the step shrinks: down to 2^-64 of the first step."""

ROUNDINGS = 8.0
"""Errors of an evaluation, in units of the loss's precision, that a difference is taken to have."""

TYPICAL = 2.0**-7
"""Share of a leaf's typical slope below which, in a recording, a slope's own error is let pass."""

SMALL = 256.0
"""Steps below which an entry of a recorded leaf is small: 1/x is off by 1.5e-5 at that size."""

FEW = 16
"""Number of entries of a recorded leaf up to which each is measured again by itself; more are
measured together."""

AWAY = 2.0**-12
"""How far away, beside the parameters' size, a gradient is compared with the loss."""

PREDICTED = 2.0**-6
"""Relative error of the change that a gradient predicts above which it is doubted."""


@dataclass(frozen=True)
class Difference:
    """What the finite differences share: a loop over the leaves, whose `slopes` each one defines.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry; or a structure like that of the parameters, with a
        number for each leaf or for each entry. By default one that is scaled to each entry.
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
        of evaluating it for each; see `gradlab.gradients.perturb`.
    threads : int, optional
        How many that may use; by default as many as NumPy's BLAS may. The slopes are the same, to
        the bit, for any number.
    """

    step: Any = None
    dtype: DTypeLike | None = None
    workers: Any = field(default=None, kw_only=True)
    timeout: float | None = field(default=None, kw_only=True, repr=False)
    resume: str | PathLike[str] | None = field(default=None, kw_only=True)
    incremental: bool = field(default=True, kw_only=True)
    threads: int | None = field(default=None, kw_only=True)
    name: ClassVar[str]
    points: ClassVar[int] = 0  # evaluations an entry; 0 where these depend on the loss
    beside: ClassVar[int] = 1  # evaluations besides
    order: ClassVar[int] = 2  # of the truncation error: h to this power
    bent: ClassVar[float] = 2.0**-9  # bend beside the slope above which an entry is doubted
    fewest: ClassVar[int] = FEWEST

    def __post_init__(self) -> None:
        if self.step is not None:
            check_step(self.step)
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
        return self.points * p + self.beside

    @passing_keywords
    def value_and_grad(self, loss: Loss) -> ValueAndGrad:
        """Return ``f(params, *args) -> (value, grads)``; see `Backend`."""
        recorder = Recorder(loss, self.threads)

        def value_and_grad(params: Any, *args: Any) -> tuple[float, Any]:
            if isinstance(loss, SumOfTerms):
                probe: Probe = ProbeOfTerms(loss, params, args, self.dtype)
            else:
                probe = Probe(loss, params, args, self.dtype)
            if self.step is not None:
                probe.given_steps = given_steps(self.step, params, probe.leaves)
            started = time.perf_counter()
            value = float(probe.value)
            seconds = time.perf_counter() - started

            def gradients() -> list[Array]:
                found = self._gradients(probe, recorder, loss, params, args, seconds)
                self.confirm(probe, found)
                return found

            with probe.restoring():
                while True:  # twice, or three times: see `CoarseLoss`
                    try:
                        return value, probe.finish(gradients())
                    except CoarseLoss as found:
                        probe.precision, probe.closely = found.precision, found.closely

        return value_and_grad

    def _gradients(
        self,
        probe: Probe,
        recorder: Recorder,
        loss: Loss,
        params: Any,
        args: tuple[Any, ...],
        seconds: float,
    ) -> list[Array]:
        """Return the derivative with respect to each leaf, whoever evaluates the loss."""
        of_terms = isinstance(probe, ProbeOfTerms)
        if self.workers is None and self.resume is None:
            if self.incremental and not of_terms and probe.size >= self.fewest:
                probe.record(recorder)
            return [self.slopes(probe, leaf) for leaf in range(len(probe.leaves))]
        if of_terms:
            raise OptionError(
                "workers and resume move one entry at a time: a SumOfTerms, which moves "
                "many, is differentiated without them"
            )
        from gradlab.gradients import parallel  # which is written in terms of this module

        return parallel.slopes(self, probe, loss, params, args, seconds)

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return the derivative with respect to each entry of a leaf, in the leaf's shape."""
        h = self.steps(probe, leaf)
        x = probe.leaves[leaf]
        probe.require_apart(leaf, x + h, x if self.order == 1 else x - h)
        return self.measure(probe, leaf, h)

    def measure(self, probe: Probe, leaf: int, h: Array) -> Array:
        """Return the slopes of a leaf over these steps."""
        found = None if probe.incremental is None else self.by_recording(probe, leaf, h)
        return probe.each(leaf, h, self) if found is None else self.again(probe, leaf, h, *found)

    def steps(self, probe: Probe, leaf: int) -> Array:
        """Return the step of each entry of a leaf: the given one, or that of the precision."""
        if probe.given_steps is None:
            return steps(probe.leaves[leaf], None, self.order, probe.precision)
        h = probe.given_steps[leaf]
        scale = np.maximum(1, np.abs(probe.leaves[leaf]))
        known = float(np.finfo(h.dtype).eps)
        if probe.precision > known and (h < probe.precision * scale).any():
            least = steps(np.ones(()), None, self.order, probe.precision)
            raise OptionError(
                f"step={self.step!r} is lost in a loss that returns {probe.value.dtype}: give "
                f"{float(least):.1g} or so, or None for the default"
            )
        return h

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return the slope of f over a step from x, and its bend: see the module.

        Parameters
        ----------
        f : callable
            Of one number; or of an array, entry by entry.
        x, h : number or ndarray
            Where, and the step.
        centre : number
            f at x.
        """
        raise NotImplementedError

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes and bends from a recording of the loss, None if it has no rule."""
        return None

    def of_entry(self, probe: Probe, f: EntryLine, x: Any, h: Any) -> Any:
        """Return the slope along one entry, looked at again where its bend is not small."""
        try:
            slope, bend = self.quotient(f, x, h, probe.value)
        except NonFiniteError:
            if probe.given_steps is not None or not 0 < abs(x) < 4 * h:
                raise
            return closer_to_home(self, probe, f, x, h)
        if not (probe.closely or abs(bend) > self.bent * abs(slope)):
            return slope
        return self._look_again(probe, f, x, h, slope, bend)

    def _look_again(self, probe: Probe, f: EntryLine, x: Any, h: Any, slope: Any, bend: Any) -> Any:
        if not np.isfinite(abs(slope) + abs(bend)):
            return slope
        if not probe.closely and abs(bend) <= max(
            self._limit(probe) * abs(slope), roundoff(probe, h, slope)
        ):
            return slope
        if probe.given_steps is not None:
            probe.require_steady()
            return slope
        return look_closer(self, probe, f, x, h, slope, abs(bend))

    def _limit(self, probe: Probe) -> float:
        """Return the bend beside the slope above which an entry is doubted, at any precision."""
        return max(self.bent, min(64 * float(probe.precision ** (1 / 3)), 0.25))

    def again(self, probe: Probe, leaf: int, h: Array, slopes: Array, bends: Array) -> Array:
        """Return the slopes of a leaf, those looked at again whose bends are not small.

        In a recording, that is so of small entries, and of others where the bend is large beside
        the leaf's typical slope: to evaluate the loss for each entry near a kink would take longer
        than all the others.
        """
        if probe.given_steps is not None or not slopes.size:
            return slopes
        x, size, bent = probe.leaves[leaf], np.abs(slopes), np.abs(bends)
        recorded = probe.incremental is not None
        typical = float(np.sqrt(np.mean(np.square(size)))) if recorded else 0.0
        doubtful = bent > self._limit(probe) * np.maximum(size, TYPICAL * typical)
        doubtful &= bent > roundoff(probe, h, slopes)
        if recorded:
            doubtful &= (np.abs(x) < SMALL * h) | (bent > 0.25 * np.maximum(size, typical))
        if np.count_nonzero(doubtful) > FEW:
            finer = (
                probe.quotients(leaf, h / FINER, self)
                if isinstance(probe, ProbeOfTerms)
                else self.by_recording(probe, leaf, h / FINER)
            )
            if finer is not None:
                allowed = roundoff(probe, h, slopes) + roundoff(probe, h / FINER, slopes)
                doubtful &= np.abs(finer[0] - slopes) > allowed
        for i in np.flatnonzero(doubtful):
            row = x.flat[i], h.flat[i], slopes.flat[i], bends.flat[i]
            slopes.flat[i] = self._look_again(probe, probe.line(leaf, int(i)), *row)
        return slopes

    def confirm(self, probe: Probe, gradients: Sequence[Array]) -> None:
        """Move all entries together whose slopes came out as zero: the loss should not change.

        It does where its values are rounded to so few bits that the steps were lost in them.
        """
        direction = (
            [
                np.where(gradient == 0, d, 0.0)
                for gradient, d in zip(gradients, probe.direction, strict=True)
            ]
            if any((gradient == 0).any() for gradient in gradients)
            else []
        )
        if not direction or probe.given_steps is not None or not probe.looped:
            return
        moved = value_beside(probe, direction, AWAY)
        if moved is not None and moved != probe.value:
            probe.look_into()


@dataclass(frozen=True)
class ForwardDifference(Difference):
    """The one-sided difference quotient: error ~ h, one evaluation an entry.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry, or a structure like the parameters with a number
        for each leaf or for each entry. By default √ε scaled to each entry:
        1.5e-8 max(1, |x|) or the power of two nearest to it.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    workers, timeout, resume : optional
        Who evaluates the loss, and where an interrupted gradient is kept: see `Difference`.
    incremental : bool
        Whether many entries may be moved together in a recording of the loss, in float64, instead
        of evaluating it for each; see `gradlab.gradients.perturb`.
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
    beside: ClassVar[int] = 2
    order: ClassVar[int] = 1

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return (f(x + h) - f(x)) / h; there is no bend."""
        return (f(x + h) - centre) / ((x + h) - x), 0.0

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes from a recording; there are no bends."""
        assert probe.incremental is not None
        found = probe.incremental.rises(leaf, [h])
        if found is None:
            return None
        slopes = found[0][0] / found[1][0]
        return slopes, np.zeros_like(slopes)

    def confirm(self, probe: Probe, gradients: Sequence[Array]) -> None:
        """Compare the change of the loss along a random direction with what the gradient predicts.

        A recording has been compared with the loss already.
        """
        if not probe.looped:
            return None
        predicted = size = 0.0
        for g, d in zip(gradients, probe.direction, strict=True):
            g = g * d
            predicted += float(g.sum())
            size = float(np.hypot(size, np.linalg.norm(g)))
            del g
        allowed = PREDICTED * size + float(roundoff(probe, AWAY, predicted))
        above = value_beside(probe, probe.direction, AWAY)
        if above is None:
            return probe.require_steady()
        rise = float(above - probe.value) / AWAY
        if abs(rise - predicted) <= allowed or not np.isfinite(size):
            return None
        below = value_beside(probe, probe.direction, -AWAY)
        fall = rise if below is None else float(probe.value - below) / AWAY
        if abs((rise + fall) / 2 - predicted) <= allowed:
            return None
        probe.look_into()
        if probe.given_steps is None and not probe.closely:
            raise CoarseLoss(probe.precision, closely=True)
        return None


@dataclass(frozen=True)
class CentralDifference(Difference):
    """The symmetric difference quotient: error ~ h², two evaluations an entry.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry (the notebook's was 1e-4), or a structure like the
        parameters with a number for each leaf or for each entry. By default ∛ε scaled to each
        entry: 7.6e-6 max(1, |x|) or the power of two nearest to it, and less where the loss
        varies faster.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    workers, timeout, resume : optional
        Who evaluates the loss, and where an interrupted gradient is kept: see `Difference`.
    incremental : bool
        Whether many entries may be moved together in a recording of the loss, in float64, instead
        of evaluating it for each; see `gradlab.gradients.perturb`.
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

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return (f(x + h) - f(x - h)) / 2h, and the bend."""
        return symmetric_quotient(f, x, h, centre)

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes and bends from a recording."""
        return symmetric_by_recording(probe, leaf, h)


@dataclass(frozen=True)
class CentralDifference4(Difference):
    """The symmetric difference of fourth order: error ~ h⁴, four evaluations an entry.

    Parameters
    ----------
    step : float or structure, optional
        The same absolute step for every entry, or a structure like the parameters with a number
        for each leaf or for each entry; the loss is evaluated up to twice as far away. By default
        ε^(1/5) scaled to each entry: 9.8e-4 max(1, |x|), rounded to a power of two, and less where
        the loss varies faster.
    dtype : dtype, optional
        The floating-point type in which the loss is evaluated; by default float64, or the
        parameters' own where that is wider.
    workers, timeout, resume : optional
        Who evaluates the loss, and where an interrupted gradient is kept: see `Difference`.
    incremental : bool
        Whether many entries may be moved together in a recording of the loss, in float64, instead
        of evaluating it for each; see `gradlab.gradients.perturb`.
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
    order: ClassVar[int] = 4
    bent: ClassVar[float] = 2.0**-15

    def quotient(self, f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
        """Return (8 f(x + h) - 8 f(x - h) - f(x + 2h) + f(x - 2h)) / 12h, and the bend.

        That is the fourth difference here, for which two bends tell more than one: they are in
        proportion to their steps where the loss is smooth.
        """
        near, bend = symmetric_quotient(f, x, h, centre)
        far, wide = symmetric_quotient(f, x, 2 * h, centre)
        return near + (near - far) / 3, wide - 2 * bend

    def _limit(self, probe: Probe) -> float:
        return max(self.bent, min(float(8 * probe.precision ** (1 / 5)) ** 3, 0.25))

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes and bends from a recording."""
        near = symmetric_by_recording(probe, leaf, h)
        far = None if near is None else symmetric_by_recording(probe, leaf, 2 * h)
        if near is None or far is None:
            return None
        return near[0] + (near[0] - far[0]) / 3, far[1] - 2 * near[1]


def symmetric_quotient(f: Callable[[Any], Any], x: Any, h: Any, centre: Any) -> tuple[Any, Any]:
    """Return the slope over x ± h, and half the difference of those to both sides.

    Examples
    --------
    >>> symmetric_quotient(lambda x: x**2, 3.0, 0.5, 9.0)
    (6.0, 0.5)
    """
    above, below = f(x + h), f(x - h)
    width = (x + h) - (x - h)
    return (above - below) / width, ((above - centre) - (centre - below)) / width


def symmetric_by_recording(probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
    """Return the same of each entry of a leaf, from a recording of the loss."""
    assert probe.incremental is not None
    found = probe.incremental.rises(leaf, [h, -h])
    if found is None:
        return None
    (rise, fall), (ahead, back) = found
    width = ahead - back
    return (rise - fall) / width, (rise + fall) / width


def roundoff(probe: Probe, h: Any, slope: Any) -> Any:
    """Bound the round-off of a difference quotient over the step h."""
    size = abs(float(probe.value))
    return ROUNDINGS * probe.precision * (size / h + np.abs(slope))


def value_beside(probe: Probe, direction: Sequence[Array], t: float) -> Any:
    """Return the loss at a point beside the parameters; None where it has no value there."""
    with np.errstate(all="ignore"):
        try:
            return probe.along(direction, t)
        except Exception:
            return None


def closer_to_home(method: Difference, probe: Probe, f: EntryLine, x: Any, h: Any) -> Any:
    """Return the slope along an entry beside which the loss has no value at the distance h.

    Raises
    ------
    NonFiniteError
        If it has none closer by on both sides.
    """
    finer = h
    for _ in range(LEVELS):
        finer = finer / FINER
        if not x - finer < x < x + finer:
            break
        try:
            slope, bend = method.quotient(f, x, finer, probe.value)
        except NonFiniteError:
            continue
        return look_closer(method, probe, f, x, finer, slope, abs(bend))
    return method.quotient(f, x, h, probe.value)[0]  # which raises what is to be said


def look_closer(
    method: Difference, probe: Probe, f: EntryLine, x: Any, h: Any, slope: Any, bend: Any
) -> Any:
    """Return the slope along an entry from steps that get smaller until two of them agree.

    Two slopes agree if they differ by no more than the round-off of both. The one is returned whose
    round-off, and differences from all finer ones beyond theirs, are least together: a step that
    was good already keeps its digits.

    Raises
    ------
    LossError, CoarseLoss
        See `Probe.look_into`: where the first smaller step does not agree.
    """
    slopes, errors, bends = [slope], [roundoff(probe, h, slope)], [bend]
    gaps: list[Any] = []
    agreed = False
    for finer in finer_steps(x, h):
        slope, bend = method.quotient(f, x, finer, probe.value)
        slopes.append(slope)
        errors.append(roundoff(probe, finer, slope))
        bends.append(abs(bend))
        gaps.append(abs(slopes[-1] - slopes[-2]))
        # A bend that grows is that of a spike or a jump at the entry, and no slope is near.
        grows = bends[-1] > max(4 * bends[-2], errors[-1])
        agreed = gaps[-1] <= errors[-2] + errors[-1] and not grows
        if agreed:
            break
        if len(gaps) == 1:
            probe.look_into()  # rounded values, too, agree where the steps are lost in them
    best, least, beyond = slopes[0], np.inf, 0.0
    for k in reversed(range(len(gaps))):
        if gaps[k] + errors[k] + beyond < least:
            best, least = slopes[k], gaps[k] + errors[k] + beyond
        beyond = max(beyond, gaps[k] - errors[k] - errors[k + 1])
    if gaps and not agreed and least > abs(best):
        raise LossError(
            f"{method.name}: the loss has no slope to be seen at {f.name}: with steps from {h:.0e} "
            f"down, all slopes differ, such as {slopes[0]:.3g} and {slopes[-1]:.3g}; it jumps "
            "there, or is too noisy or too steep: give step=, or see "
            "gradlab.derivative_with_error"
        )
    return best


def finer_steps(x: Any, h: Any) -> Iterator[Any]:
    """Yield smaller steps for an entry, as long as they can be told from it.

    Examples
    --------
    >>> steps = list(finer_steps(1e-300, 2.0**-17))
    >>> len(steps), bool(steps[0] == 2.0**-21), bool(1e-306 < steps[-2] < 1e-304)
    (18, True, True)
    """
    for _ in range(LEVELS):
        h = h / FINER
        if not x - h < x < x + h:
            return
        yield h
    scaled = np.asarray(h).dtype.type(np.exp2(np.floor(np.log2(abs(x))) - 17)) if x else h
    if scaled < h:
        yield scaled
        yield scaled / FINER


def steps(x: Array, step: Any, order: int, precision: float = 0.0) -> Array:
    """Return the step of each entry of a leaf.

    Parameters
    ----------
    x : ndarray
        The leaf, in the dtype of the evaluation (machine epsilon ε).
    step : float, ndarray or None
        An absolute step for all entries, or one for each; None for the default.
    order : int
        The order q of the truncation error, h^q: the default is then ε^(1/(q+1)) max(1, |x|),
        which balances it with the round-off ε/h, rounded to a power of two.
    precision : float
        The relative error of an evaluation, where that is larger than ε.

    Examples
    --------
    >>> np.log2(steps(np.array([0.0, 1.0, 300.0]), None, order=2))
    array([-17., -17.,  -9.])
    """
    if step is not None:
        return np.full(x.shape, step, x.dtype)
    epsilon = max(float(np.finfo(x.dtype).eps), precision)
    exponent = np.log2(epsilon) / (order + 1) + np.log2(np.maximum(1, np.abs(x)))
    scaled: Array = np.exp2(np.round(exponent))
    return scaled.astype(x.dtype, copy=False)


def check_step(step: Any) -> None:
    """Refuse a step that is neither a positive number nor a structure of such numbers."""
    advice = "give a positive number, a structure of them like the parameters, or None"
    if not isinstance(step, dict | list | tuple | np.ndarray):
        options.number("step", step, advice)
        return
    try:
        leaves, _ = flatten(step)
    except (ParameterError, ArithmeticError):
        raise options.refusal("step", step, advice) from None
    if not all((leaf > 0).all() for leaf in leaves):
        raise options.refusal("step", step, advice)


def given_steps(step: Any, params: Any, leaves: Sequence[Array]) -> list[Array]:
    """Return the given step of each entry, leaf by leaf, in the dtype of the evaluation.

    Raises
    ------
    OptionError
        If a structure of steps is not like that of the parameters.

    Examples
    --------
    >>> params = {"w": np.ones(2), "b": 0.5}
    >>> given_steps({"w": 1e-3, "b": 1e-4}, params, [np.ones(2), np.ones(())])
    [array([0.001, 0.001]), array(0.0001)]
    """
    if not isinstance(step, dict | list | tuple | np.ndarray):
        return [np.full(leaf.shape, step, leaf.dtype) for leaf in leaves]
    found, structure = flatten(step)
    by_path = dict(zip(structure.paths, found, strict=True))
    paths = flatten(params)[1].paths
    if set(by_path) != set(paths):
        raise OptionError(
            f"step has {', '.join(by_path)}; the parameters have {', '.join(paths)}: give a "
            "number for each leaf, or for each entry"
        )
    given = []
    for path, leaf in zip(paths, leaves, strict=True):
        if by_path[path].shape not in ((), leaf.shape):
            raise OptionError(
                f"step of {path} has shape {by_path[path].shape}; expected {leaf.shape}, or a "
                "number"
            )
        given.append(np.array(np.broadcast_to(by_path[path], leaf.shape), leaf.dtype))
    return given
