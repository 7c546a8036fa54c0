"""Entry by entry: the claimed slope, the measured one, and the verdict between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from gradlab.checking.analytic import Analytic
from gradlab.checking.kinks import (
    DISTINCT_BARS,
    Finding,
    allows,
    between_jumps,
    invalid_choices,
    is_gradient_nearby,
    limits_nearby,
)
from gradlab.checking.result import Entry, Leaf, Verdict, worst
from gradlab.gradients.error_bars import slope_of_entry
from gradlab.gradients.slopes import Effort
from gradlab.gradients.surface import Surface

CERTAIN_MISMATCH_RATIO = 1e3
"""Distance, in tolerances, above which a mismatch is certain without a second measurement."""

RESOLVED_TOLERANCE = 0.5
"""Tolerance relative to the entry itself below which the entry counts as resolved."""

RESOLVED_TOLERANCE_WITH_JUMPS = 0.1
"""The tolerance of `RESOLVED_TOLERANCE` for a loss that jumps, such as one with a solver inside. An
error bar from noise is less certain than one from rounding."""

NEGLIGIBLE_TOLERANCE = 1e-3
"""Tolerance below which an entry also counts as resolved, relative to the slopes nearby, or to the
entry with the largest effect on the loss."""

UNRESOLVED_SHARE = 0.1
"""Largest share of the gradient that may be unresolved before the verdict is inconclusive."""

MAX_RELATIVE_SIZE_OF_ZERO = 1e-9
"""Size, relative to the largest entry, below which a claimed entry counts as zero."""

BEST_TOLERANCE_PER_NOISE = 1e3
"""Largest tolerance, in units of the loss's noise, that counts as the best the values allow."""

EXACT_VALUE_ERROR = 1e-12
"""Relative error of the values below which a loss of order one or larger counts as exact."""


NEARBY_GRADIENT_NOTE = "slope {:.6g} here; the gradient is that of nearby points"


def check_entries(
    surface: Surface, analytic: Analytic, which: Iterable[int], rng: np.random.Generator
) -> list[Entry]:
    """Judge the entries `which` one by one."""
    findings = [measure_entry(surface, analytic, i) for i in which]
    for k, found in enumerate(findings):  # rounding that later entries showed affects all
        unaware = found.noise < surface.rounding / 2 and found.slope.kind != "kink"
        if unaware and (found.apart or found.slope.kind == "flat"):
            findings[k] = measure_entry(surface, analytic, found.number)
    kinks = [f for f in findings if f.slope.kind == "kink"]
    apart = [f for f in findings if f.apart and np.isfinite(f.analytic)]
    remarks = _kink_notes(surface, analytic, kinks, apart, rng)
    remarks |= _between_jumps(surface, findings)
    largest = _largest(surface, [(f.number, f.slope.value) for f in findings])
    claimed = _largest(surface, [(f.number, f.analytic) for f in findings])
    return [_judge(surface, f, remarks.get(f.number, ""), largest, claimed) for f in findings]


def _kink_notes(
    surface: Surface,
    analytic: Analytic,
    kinks: Sequence[Finding],
    apart: Sequence[Finding],
    rng: np.random.Generator,
) -> dict[int, str]:
    """Return notes on invalid choices at kinks, and on valid choices at other entries."""
    chosen = {f.number: NEARBY_GRADIENT_NOTE.format(f.slope.value) for f in apart}
    suspects = {f.number for f in (*kinks, *apart)}
    outside = [f for f in kinks if not allows(f.slope, f.analytic, f.roundoff)]
    if kinks and (apart or outside) and is_gradient_nearby(surface, analytic, suspects, rng):
        return chosen
    remarks = invalid_choices(surface, analytic, kinks, rng)
    alone = apart or outside
    if remarks and not alone and is_gradient_nearby(surface, analytic, suspects, rng):
        return chosen
    return remarks | limits_nearby(surface, apart, rng)


def _between_jumps(surface: Surface, findings: Sequence[Finding]) -> dict[int, str]:
    """Return notes on entries that claim the slope between jumps; empty unless all do.

    The claim is then the gradient of the loss itself. If some entries claim the slope across the
    jumps, the claim is the gradient of the smooth function that the rounded values approximate.
    """
    jumping = [f for f in findings if np.isfinite(f.slope.piece.error)]
    across = (
        f.noise > surface.rounding / 8 > 0 and abs(f.analytic) > f.tolerance
        for f in findings
        if f not in jumping
    )
    if not all(f.between_jumps for f in jumping) or any(across):
        return {}
    return {
        f.number: f"{f.slope.piece.value:.6g} between jumps of the loss, "
        f"{f.slope.value:.6g} ± {f.slope.error:.1g} across them"
        for f in jumping
    }


def _largest(surface: Surface, slopes: Iterable[tuple[int, float]]) -> float:
    """Return the largest change of the loss when one entry changes by its own size."""
    with np.errstate(over="ignore"):
        parts = [abs(slope * surface.scales[i]) for i, slope in slopes]
    return max((float(part) for part in parts if part < np.inf), default=0.0)


def measure_entry(surface: Surface, analytic: Analytic, i: int) -> Finding:
    """Measure the slope along entry `i`; measure more thoroughly if it differs from the claim.

    The last measurement uses larger distances, where jumps of a solver inside the loss show.
    """

    def measure(effort: Effort) -> Finding:
        found = slope_of_entry(surface, i, effort, float(analytic.values[i]))
        roundoff = float(analytic.roundoff(i, found.curvature, surface.x[i]))
        return Finding(i, found, float(analytic.values[i]), roundoff)

    finding = measure("usual")
    doubtful = finding.apart and abs(finding.analytic - finding.slope.value) < (
        CERTAIN_MISMATCH_RATIO * finding.tolerance
    )
    if doubtful:
        finding = measure("thorough")
    if finding.apart and np.isfinite(finding.analytic):
        finding = measure("wide")
    return _beside_jumps(surface, finding)


def _beside_jumps(surface: Surface, f: Finding) -> Finding:
    """Use the slope between jumps if the error bar across them does not resolve the entry."""
    size = max(abs(f.analytic), abs(f.slope.value))
    if f.slope.kind != "smooth" or not surface.rounding or f.tolerance <= RESOLVED_TOLERANCE * size:
        return f
    width = surface.scales[[f.number]]
    enough = min(NEGLIGIBLE_TOLERANCE * abs(f.analytic), f.slope.error / DISTINCT_BARS) * float(
        width[0]
    )
    piece = between_jumps(surface, np.array([f.number]), width, surface.bits, enough)
    if piece is None:
        return f
    value, error = piece.value / float(width[0]), piece.error / float(width[0])
    return replace(f, slope=replace(piece, value=value, error=error))


def _judge(surface: Surface, f: Finding, remark: str, largest: float, claimed: float) -> Entry:
    verdict, note = _verdict(surface, f, remark, largest, claimed)
    path, index = surface.place(f.number)
    value, error = float(f.slope.value), float(f.slope.error)
    return Entry(path, index, f.analytic, value, error, f.tolerance, verdict, note)


def _verdict(
    surface: Surface, f: Finding, remark: str, largest: float, claimed: float
) -> tuple[Verdict, str]:
    slope = f.slope
    if not np.isfinite(f.analytic):
        return "mismatch", f"the gradient is {f.analytic}"
    match slope.kind:
        case "kink":
            sides = f"slopes {slope.left.value:.6g} and {slope.right.value:.6g}"
            return ("mismatch", f"{sides}: {remark}") if remark else ("kink", sides)
        case "singular":
            return "inconclusive", "the slope of the loss diverges here"
        case "unresolved":
            return "inconclusive", "the slope of the loss cannot be measured"
    if f.apart and not _rounded_zero(surface, f):
        return ("kink", remark) if remark else ("mismatch", "")
    resolved = f.tolerance <= _resolving_tolerance(surface, f, largest) or _are_both_zero(
        surface, f, claimed
    )
    if resolved or remark:
        return "agree", "values on one side only" if slope.kind == "edge" else ""
    return "inconclusive", f"errors below {f.tolerance:.1g} would not be detected"


def _resolving_tolerance(surface: Surface, f: Finding, largest: float) -> float:
    """Return the largest tolerance that resolves an entry."""
    size = max(abs(f.analytic), abs(f.slope.value))
    beside = max(f.slope.nearby, largest / float(surface.scales[f.number]))
    share = (
        RESOLVED_TOLERANCE_WITH_JUMPS if np.isfinite(f.slope.piece.error) else RESOLVED_TOLERANCE
    )
    return max(share * size, NEGLIGIBLE_TOLERANCE * beside)


def _rounded_zero(surface: Surface, f: Finding) -> bool:
    """Whether the loss is constant along an entry, and the claimed slope is zero up to rounding."""
    part = abs(f.analytic) * float(surface.scales[f.number])
    return f.slope.kind == "flat" and part <= EXACT_VALUE_ERROR * max(abs(surface.value), 1.0)


def _are_both_zero(surface: Surface, f: Finding, claimed: float) -> bool:
    """Whether claimed and measured slope are zero within the precision of the loss's values."""
    scale = float(surface.scales[f.number])
    if abs(f.analytic) * scale > MAX_RELATIVE_SIZE_OF_ZERO * claimed:
        return False
    if f.slope.kind == "flat":
        return True
    exact = f.noise <= EXACT_VALUE_ERROR * max(abs(surface.value), 1.0)
    return exact and f.tolerance * scale <= BEST_TOLERANCE_PER_NOISE * f.noise


def overall(surface: Surface, entries: Sequence[Entry]) -> Verdict:
    """Return the verdict on a gradient whose entries were all checked.

    The weight of an entry is the change of the loss when the entry changes by its own size. The
    gradient is inconclusive if the tolerances of the inconclusive entries make up more than the
    share `UNRESOLVED_SHARE` of the rest.
    """
    found = worst(entry.verdict for entry in entries)
    if found != "inconclusive":
        return found
    blind = np.array([entry.verdict == "inconclusive" for entry in entries])
    tolerances = surface.scales * [entry.tolerance for entry in entries]
    slopes = surface.scales * [entry.numerical for entry in entries]
    if not np.linalg.norm(tolerances[blind]) < UNRESOLVED_SHARE * np.linalg.norm(slopes[~blind]):
        return "inconclusive"
    return worst(entry.verdict for entry in entries if entry.verdict != "inconclusive")


def leaves_of(surface: Surface, entries: Sequence[Entry]) -> list[Leaf]:
    """Collect the verdicts of the entries by leaf."""
    return [
        Leaf(path, leaf.shape, worst(found), len(found))
        for path, leaf in zip(surface.structure.paths, surface.leaves, strict=True)
        for found in [[entry.verdict for entry in entries if entry.path == path]]
    ]


def resolution_of(entries: Sequence[Entry]) -> float:
    """Return the median of tolerance / size over the nonzero entries."""
    shares = [
        entry.tolerance / size
        for entry in entries
        if entry.verdict != "kink"  # an interval of valid choices is not a resolution
        and 0 < (size := max(abs(entry.numerical), abs(entry.analytic))) < np.inf
    ]
    return float(np.median(shares)) if shares else 0.0
