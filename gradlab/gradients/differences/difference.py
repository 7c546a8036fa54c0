"""Finite differences: a formula for each entry, measured again if the first slope is in doubt.

The default step suits a loss that is exact to ε, and smooth on the scale of max(1, |x|). The
evaluations show other losses:

- The ε of the step is that of the dtype that the loss returns.
- Half the difference of the one-sided slopes, the *bend*, should be small relative to the slope.
  If it is not, as for log(x) at 1e-5, smaller steps are tried until two agree (`look_closer`).
- If none agree, the loss is evaluated again: a loss that is not deterministic is refused. Then its
  noise is measured (`gradlab.gradients.noise`). A loss that computes in float32 internally is
  noisy, and its differences are computed again with the steps for that precision.

A given ``step=`` is used unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from gradlab import options
from gradlab.errors import NonFiniteError, OptionError
from gradlab.gradients.differences.closer import (
    look_closer,
    roundoff,
    slope_inside_domain,
    value_beside,
)
from gradlab.gradients.differences.numerical import Numerical
from gradlab.gradients.differences.steps import STEP_REDUCTION, steps
from gradlab.gradients.perturb import Recorded
from gradlab.gradients.probing import (
    COMPARISON_DISTANCE,
    EntryLine,
    Evaluation,
    Loop,
    Probe,
    ProbeOfTerms,
)
from gradlab.params import Array

MIN_RECORDED_ENTRIES = 64
"""Smallest number of entries for which the loss is recorded, which costs several evaluations."""

TYPICAL_SLOPE_SHARE = 2.0**-7
"""Fraction of a recorded leaf's typical slope that smaller slopes count as in the test of bends."""

SMALL_ENTRY = 256.0
"""Size, in steps, below which an entry of a recorded leaf is small: 1/x is off by 1.5e-5 there."""

MAX_REMEASURED_SINGLY = 16
"""Largest number of entries of a recorded leaf that are measured again one by one; more are
measured together."""


@dataclass(frozen=True)
class FiniteDifference(Numerical):
    """The common part of the finite differences, with the parameters of `Numerical`.

    Each defines its `quotient`, and how to compute it from a recording of the loss.
    """

    incremental: bool = field(default=True, kw_only=True)
    threads: int | None = field(default=None, kw_only=True)
    points: ClassVar[int]  # evaluations per entry
    extra_evaluations: ClassVar[int] = 1  # additional evaluations
    order: ClassVar[int] = 2  # the truncation error is of order h to this power
    max_bend: ClassVar[float] = 2.0**-9  # relative bend above which an entry is in doubt
    min_entries: ClassVar[int] = MIN_RECORDED_ENTRIES

    def _by_keywords(self) -> Evaluation:
        if not isinstance(self.incremental, bool):
            raise options.refusal("incremental", self.incremental, "give True or False")
        recorded, found = Recorded(self.threads), super()._by_keywords()
        return recorded if self.incremental and isinstance(found, Loop) else found

    @property
    def usual(self: Self) -> Self:
        """The same backend, with keywords in place of an `evaluation` if they can express it."""
        is_loop = isinstance(self.evaluation, Loop)
        return replace(self, evaluation=None, incremental=False) if is_loop else super().usual

    def equivalent_evaluations(self, p: int) -> int:
        """Return the number of evaluations for a gradient of p entries, done or saved by recording.

        Examples
        --------
        >>> from gradlab import CentralDifference
        >>> CentralDifference().equivalent_evaluations(45_360)
        90721
        """
        return self.points * p + self.extra_evaluations

    def slopes(self, probe: Probe, leaf: int) -> Array:
        """Return the derivative with respect to each entry of a leaf, in the leaf's shape."""
        h = self.steps(probe, leaf)
        x = probe.leaves[leaf]
        probe.require_apart(leaf, x + h, x if self.order == 1 else x - h)
        found = None if probe.recorded is None else self.by_recording(probe, leaf, h)
        return (
            probe.each(leaf, h, self)
            if found is None
            else self.measured_again(probe, leaf, h, *found)
        )

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
        """Return the slope of f over a step h from x, and its bend: see the module's docstring.

        f is a function of one number, or of an array entry by entry; `centre` is f(x).
        """
        raise NotImplementedError

    def by_recording(self, probe: Probe, leaf: int, h: Array) -> tuple[Array, Array] | None:
        """Return slopes and bends from a recording of the loss; None if it has no rule."""
        return None

    def of_entry(self, probe: Probe, f: EntryLine, x: Any, h: Any) -> Any:
        """Return the slope along one entry; measure it again if its bend is not small."""
        try:
            slope, bend = self.quotient(f, x, h, probe.value)
        except NonFiniteError:
            if probe.given_steps is not None or not 0 < abs(x) < 4 * h:
                raise
            return slope_inside_domain(self, probe, f, x, h)
        if not (probe.closely or abs(bend) > self.max_bend * abs(slope)):
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
        """Return the relative bend above which an entry is in doubt, for the loss's precision."""
        return max(self.max_bend, min(64 * float(probe.precision ** (1 / 3)), 0.25))

    def measured_again(
        self, probe: Probe, leaf: int, h: Array, slopes: Array, bends: Array
    ) -> Array:
        """Return the slopes of a leaf; measure those again whose bends are not small.

        With a recording, this applies only to small entries, and to entries whose bend is large
        relative to the leaf's typical slope: evaluating the loss for each entry near a kink would
        take longer than all the rest.
        """
        if probe.given_steps is not None or not slopes.size:
            return slopes
        x, size, bent = probe.leaves[leaf], np.abs(slopes), np.abs(bends)
        recorded = probe.recorded is not None
        typical = float(np.sqrt(np.mean(np.square(size)))) if recorded else 0.0
        doubtful = bent > self._limit(probe) * np.maximum(size, TYPICAL_SLOPE_SHARE * typical)
        doubtful &= bent > roundoff(probe, h, slopes)
        if recorded:
            doubtful &= (np.abs(x) < SMALL_ENTRY * h) | (bent > 0.25 * np.maximum(size, typical))
        if np.count_nonzero(doubtful) > MAX_REMEASURED_SINGLY:
            finer = (
                probe.quotients(leaf, h / STEP_REDUCTION, self)
                if isinstance(probe, ProbeOfTerms)
                else self.by_recording(probe, leaf, h / STEP_REDUCTION)
            )
            if finer is not None:
                allowed = roundoff(probe, h, slopes) + roundoff(probe, h / STEP_REDUCTION, slopes)
                doubtful &= np.abs(finer[0] - slopes) > allowed
        for i in np.flatnonzero(doubtful):
            row = x.flat[i], h.flat[i], slopes.flat[i], bends.flat[i]
            slopes.flat[i] = self._look_again(probe, probe.line(leaf, int(i)), *row)
        return slopes

    def confirm(self, probe: Probe, gradients: Sequence[Array]) -> None:
        """Perturb all entries with zero slopes together: the loss should not change.

        It changes if its values are rounded to so few bits that they did not resolve the steps.
        """
        has_zeros = any((gradient == 0).any() for gradient in gradients)
        if not has_zeros or probe.given_steps is not None or not probe.looped:
            return
        pairs = zip(gradients, probe.direction, strict=True)
        direction = [np.where(gradient == 0, d, 0.0) for gradient, d in pairs]
        moved = value_beside(probe, direction, COMPARISON_DISTANCE)
        if moved is not None and moved != probe.value:
            probe.look_into()
