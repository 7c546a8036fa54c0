"""Many entries at once: random directions detect errors, bisection locates them.

The loss with gradient g has the slope v·g along a direction v. Measuring it takes two evaluations
per step for any number of entries. If it differs from v·a, for the gradient a under test, by more
than the error bars, some entry under v is wrong. Bisection of the entries under v finds it with
log₂ p further directions.

Each leaf is divided into *strata* of entries of similar claimed size, so that large entries do not
hide errors in small ones. Each stratum has its own direction, and each leaf one more. If most of
several random parts of a stratum fail, and half of as many random entries, the whole stratum is
wrong. The report then says so, and a sample of entries replaces the search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from gradlab.checking.allowance import DIRECTION_FACTOR, accepted, allowing
from gradlab.checking.analytic import Analytic
from gradlab.checking.entries import check_entries, leaves_of, measure_entry
from gradlab.checking.kinks import FACTORS
from gradlab.checking.result import Leaf, Outcome, worst
from gradlab.checking.walks import ClaimedSlope, Walk, bisect, walk_along
from gradlab.gradients.surface import Surface
from gradlab.params import Array

STRATUM_LIMITS = (1e-2, 1e-4, 1e-6)
"""Lower limits of the strata of a leaf, relative to its largest entry."""

PARTS_TESTED = 8
"""Number of random parts of a failed stratum that are tested to see whether all of it is wrong.
Also the number of its entries that are then checked one by one."""

MIN_FAILING_PARTS = 5
"""Smallest number of failing parts at which the whole stratum counts as wrong."""

SAMPLED_ENTRIES = 24
"""Number of entries that are checked one by one in addition to the directions."""

MAX_NAMED_ENTRIES = 20
"""Largest number of wrong entries of a stratum that the report names."""


def check_directions(
    surface: Surface, analytic: Analytic, allow: float, rng: np.random.Generator
) -> Outcome:
    """Judge a gradient by directions; search those that fail for wrong entries.

    `allow` is the accepted relative error.
    """
    along = allowing(analytic, surface.spans, DIRECTION_FACTOR * allow)
    single = allowing(analytic, surface.spans, allow)
    walks: list[list[Walk]] = []
    suspects: set[int] = set(map(int, rng.permutation(surface.size)[:SAMPLED_ENTRIES]))
    remarks: list[str] = []
    for span in surface.spans:
        groups = list(strata(along, span))
        if len(groups) > 1:
            groups.append(np.arange(span.start, span.stop))
        walks.append([walk(surface, along, entries, rng) for entries in groups])
        named, remark = _trace(surface, along, [w for w in walks[-1] if w.fails], rng)
        suspects |= named
        remarks.append(remark)
    entries = accepted(check_entries(surface, single, sorted(suspects), rng), allow)
    leaves = [
        _with_rest(leaf, own, remark)
        for leaf, own, remark in zip(leaves_of(surface, entries), walks, remarks, strict=True)
    ]
    every = [w for own in walks for w in own]
    shares = [w.tolerance / w.size for w in every if w.size > 0]
    return Outcome(
        verdict=worst(leaf.verdict for leaf in leaves),
        entries=entries,
        leaves=leaves,
        resolution=float(np.median(shares)) if shares else 0.0,
        notes=[
            f"{leaf.path} {remark}" for leaf, remark in zip(leaves, remarks, strict=True) if remark
        ],
    )


def _with_rest(leaf: Leaf, walks: Sequence[Walk], remark: str) -> Leaf:
    """Combine the verdict on a leaf's entries with the verdict on its directions.

    The entries found under failed directions were checked one by one. If none of them is wrong, the
    verdict is inconclusive. If no direction failed, the directions decide whether the leaf is
    resolved, because its single entries may be too small.
    """
    failed = any(w.fails for w in walks)
    rest = worst(w.verdict for w in walks if remark or not w.fails)
    own = leaf.verdict
    if failed and own == "agree":
        own = "inconclusive"
    elif not failed and own == "inconclusive":
        own = "agree"
    return replace(leaf, verdict=worst([own, rest]), rest=rest)


def strata(analytic: Analytic, span: slice) -> Iterator[Array]:
    """Yield the entries of one leaf in groups of similar claimed size."""
    size = np.abs(np.nan_to_num(analytic.values[span], posinf=0.0, neginf=0.0))
    ends = size.max(initial=0.0) * np.array(STRATUM_LIMITS)
    rank = np.where(size > 0, (size[:, None] < ends).sum(axis=1), len(STRATUM_LIMITS) + 1)
    for one in np.unique(rank):
        yield span.start + np.flatnonzero(rank == one)


def walk(
    surface: Surface,
    analytic: Analytic,
    entries: Array,
    rng: np.random.Generator,
    direction: Array | None = None,
) -> Walk:
    """Compare the gradient under test with the loss along one direction.

    By default, the direction perturbs each entry by about its own size times a random factor, so
    that the errors of several entries do not cancel.
    """
    if direction is None:
        direction = surface.widths[entries] * rng.choice(FACTORS, len(entries))
    terms = analytic.values[entries] * direction
    # Round-off errors are independent: their squares add up.
    floor = 2 * float(np.linalg.norm(analytic.floor[entries] * direction))
    epsilon = float(analytic.epsilon[entries].max(initial=0.0))

    size, claimed = float(np.linalg.norm(terms)), float(terms.sum())
    claim = ClaimedSlope(claimed, size, floor, 8 * epsilon)
    return walk_along(surface, entries, np.asarray(direction), claim, rng, surface.bits)


def _trace(
    surface: Surface, analytic: Analytic, failed: Sequence[Walk], rng: np.random.Generator
) -> tuple[set[int], str]:
    """Return the suspect entries of one leaf under failed directions, and a note for the report."""
    named: set[int] = set()
    remark = ""
    for w in sorted(failed, key=lambda w: len(w.entries)):
        if named.intersection(map(int, w.entries)):
            continue  # an entry that was already found explains the failure
        sample = rng.permutation(w.entries)[:PARTS_TESTED]
        if _is_dense(surface, analytic, w, sample, rng):
            named |= set(map(int, sample))
            remark = "is wrong as a whole: most of its random parts fail"
            continue
        found, complete = search(surface, analytic, w, rng)
        named |= set(found)
        if not complete:
            remark = (
                "is wrong in more entries than are named here"
                if named
                else "is wrong, by too little in each entry to name one"
            )
    return named, remark


def _is_dense(
    surface: Surface, analytic: Analytic, w: Walk, sample: Array, rng: np.random.Generator
) -> bool:
    """Tell whether most random parts of a direction's entries fail, and half of a sample.

    The sample matters: six wrong entries among thousands suffice to make most of eight parts fail.
    """
    if len(w.entries) < 4 * PARTS_TESTED:
        return False
    fails = 0
    for done, part in enumerate(
        np.array_split(rng.permutation(len(w.entries)), PARTS_TESTED), start=1
    ):
        fails += walk(surface, analytic, w.entries[part], rng, w.direction[part]).fails
        if not MIN_FAILING_PARTS - fails <= PARTS_TESTED - done or fails >= MIN_FAILING_PARTS:
            break
    return (
        fails >= MIN_FAILING_PARTS
        and 2 * sum(measure_entry(surface, analytic, int(i)).apart for i in sample) >= PARTS_TESTED
    )


def search(
    surface: Surface, analytic: Analytic, failed: Walk, rng: np.random.Generator
) -> tuple[list[int], bool]:
    """Find the entries under a failed direction that fail on their own, by bisection.

    Also tell whether every failed direction was divided down to single entries.
    """

    def halves(node: Walk) -> tuple[Walk, ...]:
        half = len(node.entries) // 2
        parts = (slice(None, half), slice(half, None)) if half else ()
        return tuple(
            walk(surface, analytic, node.entries[part], rng, node.direction[part]) for part in parts
        )

    found, complete = bisect(
        failed, halves, lambda: surface.evaluations, surface.size, MAX_NAMED_ENTRIES
    )
    return [int(node.entries[0]) for node in found], complete
