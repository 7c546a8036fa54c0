"""Measure the slope of a function of one number: which rungs are evaluated, and in which order.

`slope` begins with a few rungs and ends there for most functions. If these do not suffice, it
climbs the ladder; if that leaves doubts, it takes larger and more steps. `verdict` says what the
values on some rungs show, `across_jumps` what jumps among them mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from gradlab.gradients.slopes.across_jumps import (
    across_far_jump,
    across_near_jumps,
    is_too_high_for_a_solver,
    without_artefact,
)
from gradlab.gradients.slopes.far import far_jump
from gradlab.gradients.slopes.jumps import NOISE_RATIO
from gradlab.gradients.slopes.ladder import (
    COARSE_RUNGS,
    FAR_RUNGS,
    FINE_LADDER,
    FLOAT64_BITS,
    HORIZON_RUNGS,
    INNER_RUNGS,
    LADDER,
    OUTWARD_RUNGS,
    QUICK_RUNGS,
    Line,
    Rungs,
    SampledLine,
    steps_of,
)
from gradlab.gradients.slopes.result import Slope
from gradlab.gradients.slopes.roughness import floor_of, noise_of
from gradlab.gradients.slopes.verdict import (
    POOR_ERROR,
    is_doubtful,
    of_all_rungs,
    of_few_rungs,
    predicts_far_rungs,
)

Effort: TypeAlias = Literal["usual", "wide", "thorough", "brief"]

MIN_QUICK_BITS = 40
"""Bits of the values below which the few rungs are those of the exponents `COARSE_RUNGS`."""

TINY_ENTRY_EXPONENT = 8
"""Exponent log₂(reach / scale) above which an entry counts as tiny. Its ladder then has larger
steps as well, if the values do not resolve steps of the entry's own size."""

MAX_SOLVER_BIAS = 0.1
"""Largest relative error of the slope between the far jumps of a solver."""


def slope(
    line: Line,
    *,
    scale: float = 1.0,
    reach: float = 0.0,
    finest: float = 0.0,
    bits: int = FLOAT64_BITS,
    noise: float = 0.0,
    rounding: float = 0.0,
    effort: Effort = "usual",
    claimed: float | None = None,
) -> Slope:
    """Return the slope at 0 of a function of one number.

    Steps are fractions of `scale`, the typical size of t; a power of two keeps them exact. Steps up
    to `reach` are taken if those do not resolve the slope. `finest` is the smallest step that the
    rounding of t allows, `bits` the precision of the values, and `noise` a known lower bound of
    their noise. `rounding` is the noise that another line of the same loss showed, and that this
    line may have.

    With effort "usual", a few rungs are evaluated, and more if they do not suffice; "wide"
    evaluates more as well if far points deviate from the prediction of these rungs, "thorough"
    skips the first few rungs, and "brief" evaluates at most the ladder, once. If a slope is
    `claimed`, the far points of "wide" only need to refute it.

    Examples
    --------
    >>> import math
    >>> found = slope(lambda t: (t, math.exp(t)))
    >>> abs(found.value - 1) <= found.error < 1e-10, found.kind
    (True, 'smooth')
    >>> found = slope(lambda t: (t, max(t, 0.0)))
    >>> found.kind, found.left.value, found.right.value
    ('kink', 0.0, 1.0)
    """
    measured = _Measurement(
        SampledLine(line), scale, reach, finest, bits, noise, max(noise, rounding)
    )
    with np.errstate(all="ignore"):  # values outside of the domain are NaN
        if effort == "brief":
            return measured.quick(wide=False, claimed=None) or measured.judged(LADDER)[1]
        if rounding > noise and not measured.shows_rounding():
            measured = replace(measured, rounding=noise)
        if effort == "wide":
            return measured.across_far_jumps(measured.wide(claimed), claimed)
        found = measured.few_rungs() if effort == "usual" else None
        return found or measured.ladder(INNER_RUNGS)


@dataclass(frozen=True)
class _Measurement:
    """A function, and what is known of it; see `slope`. Its methods evaluate rungs."""

    probe: SampledLine
    scale: float
    reach: float
    finest: float
    bits: int
    noise: float
    rounding: float

    def rungs(self, exponents: Sequence[int], bare: int = 2) -> Rungs:
        """Evaluate the rungs of these exponents; each point is evaluated once in all."""
        return self.probe.rungs(steps_of(exponents, self.scale, self.finest, self.bits), bare)

    def floor(self, rungs: Rungs) -> float:
        """Return the smallest possible noise."""
        return floor_of(rungs, self.bits, self.rounding)

    # A few rungs

    def few_rungs(self) -> Slope | None:
        """Measure on few rungs; return None if they do not suffice."""
        return self.quick(wide=False, claimed=None) or self.coarse()

    def wide(self, claimed: float | None) -> Slope:
        """Measure on few rungs that predict far ones, or on the ladder."""
        found = self.quick(wide=True, claimed=claimed)
        if found is None and claimed is None:
            found = self.coarse()
        return found or self.ladder(LADDER, claimed)

    def quick(self, wide: bool, claimed: float | None) -> Slope | None:
        """Measure on the rungs that suffice for most functions of full precision.

        If `wide`, return None as well if they do not predict the far rungs.
        """
        if self.bits < MIN_QUICK_BITS or self.rounding > self.noise:
            return None
        rungs = self.rungs(QUICK_RUNGS)
        found = of_few_rungs(rungs, floor_of(rungs, self.bits, self.noise))
        if found is None or not wide:
            return found
        far = self.rungs((*FAR_RUNGS, *QUICK_RUNGS), bare=len(FAR_RUNGS) + 2)
        return found if predicts_far_rungs(far, found, claimed) else None

    def coarse(self) -> Slope | None:
        """Measure on few coarse rungs, if the values are known to be rounded to few digits."""
        if self.bits >= MIN_QUICK_BITS and not self.rounding > self.noise:
            return None
        rungs = self.rungs([round(e * FLOAT64_BITS / self.bits) for e in COARSE_RUNGS])
        return of_few_rungs(rungs, self.floor(rungs), self.scale)

    def shows_rounding(self) -> bool:
        """Tell whether this line has the noise that another line of the same loss showed."""
        exponents = (*FAR_RUNGS, *QUICK_RUNGS) if self.bits >= MIN_QUICK_BITS else COARSE_RUNGS
        noise = noise_of(self.rungs(exponents))
        return not np.nan_to_num(noise, posinf=np.inf).max() < self.rounding / NOISE_RATIO

    # The ladder

    def judged(self, exponents: Sequence[int]) -> tuple[Rungs, Slope]:
        """Return rungs, and the slope that they show if jumps are not considered."""
        rungs = self.rungs(exponents)
        return rungs, of_all_rungs(rungs, self.floor(rungs), self.probe)

    def ladder(self, start: Sequence[int], claimed: float | None = None) -> Slope:
        """Evaluate the ladder; add larger and more steps if it does not resolve the slope."""
        rungs, found = self.judged(start)
        if is_doubtful(found):
            rungs, found = self.judged(LADDER)
        top = int(np.log2(max(self.reach / self.scale, 1.0))) - 2
        if found.kind == "flat" or (top > TINY_ENTRY_EXPONENT and is_doubtful(found)):
            rungs, found = self.judged((*range(top, 2, -4), *OUTWARD_RUNGS, *LADDER))
        if found.kind != "flat" and not found.doubt <= POOR_ERROR * abs(found.value):
            rungs, found = self.judged((*range(top, 0, -2), *FINE_LADDER))
        floor, exact = self.floor(rungs), floor_of(rungs, self.bits, 0.0)
        found = across_near_jumps(rungs, found, floor, exact, self.probe)
        return without_artefact(found, rungs, floor, self.scale, claimed, self.probe)

    def across_far_jumps(self, found: Slope, claimed: float | None) -> Slope:
        """Search for far jumps of a solver; if there is one, its height is noise.

        The height of such a jump does not explain a claim whose relative error exceeds
        `MAX_SOLVER_BIAS`, so that there is no search.
        """
        if found.kind != "smooth" or found.rounding or self.bits < MIN_QUICK_BITS:
            return found
        size = max(abs(found.value), found.nearby)
        if claimed is not None and abs(claimed - found.value) > MAX_SOLVER_BIAS * size:
            return found
        exponents = (*HORIZON_RUNGS, *QUICK_RUNGS[:3])
        rungs = self.rungs(exponents, bare=len(exponents))
        noise = max(found.noise, floor_of(rungs, self.bits, self.noise))
        jump = far_jump(rungs, self.probe, noise, len(HORIZON_RUNGS))
        if jump is None or is_too_high_for_a_solver(jump, found.value):
            return found
        return across_far_jump(jump, self.rungs((*HORIZON_RUNGS, *INNER_RUNGS)), found, self.probe)
