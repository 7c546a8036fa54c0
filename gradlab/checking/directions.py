"""Many entries at once: random directions say whether, bisection says where.

Along a direction v the loss has the slope v·g, whatever the number of entries: two evaluations a
step instead of two an entry. Where v·a, of the gradient a under test, differs from it beyond the
bars, some entry under v is wrong, and halving the entries under v finds it in log₂ p further
directions.

Each leaf is cut into *strata* of entries of like claimed size, so that no small entry is drowned by
large ones; each stratum has a direction of its own, and each leaf one more. A stratum in which most
of several random parts fail, and half of as many random entries, is wrong as a whole: it is named,
and sampled instead of searched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradlab.checking.analytic import Analytic
from gradlab.checking.entries import check_entries, leaves_of, look
from gradlab.checking.kinks import EIGHTHS
from gradlab.checking.result import Entry, Leaf, Verdict, worst
from gradlab.checking.walks import Along, Walk, bisect, walk_along
from gradlab.gradients.surface import Surface
from gradlab.params import Array

STRATA = (1e-2, 1e-4, 1e-6)
"""Lower limits of a leaf's strata, relative to its largest entry."""

PARTS = 8
"""Number of random parts into which a failed stratum is cut, to see whether all of it is wrong;
also the number of its entries that are checked one by one."""

DENSE = 5
"""Number of failing parts from which the whole stratum counts as wrong."""

SAMPLE = 24
"""Number of entries that are checked one by one beside the directions."""

NAMED = 20
"""Largest number of wrong entries of a stratum that the report names."""


@dataclass(frozen=True)
class Outcome:
    """The results of the directions and of a sample of entries."""

    verdict: Verdict
    entries: list[Entry]
    leaves: list[Leaf]
    resolution: float
    notes: list[str]


def check_directions(surface: Surface, analytic: Analytic, rng: np.random.Generator) -> Outcome:
    """Judge a gradient by directions, and trace those that fail to the entries."""
    walks: list[list[Walk]] = []
    suspects: set[int] = set(map(int, rng.permutation(surface.size)[:SAMPLE]))
    remarks: list[str] = []
    for span in surface.spans:
        groups = list(strata(analytic, span))
        if len(groups) > 1:
            groups.append(np.arange(span.start, span.stop))
        walks.append([walk(surface, analytic, entries, rng) for entries in groups])
        named, remark = _trace(surface, analytic, [w for w in walks[-1] if w.fails], rng)
        suspects |= named
        remarks.append(remark)
    entries = check_entries(surface, analytic, sorted(suspects), rng)
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
    """Add to the verdict of a leaf's entries that of its directions.

    A failed direction was traced to entries, which were checked one by one. If none of them is
    wrong after all, the verdict is inconclusive. If no direction failed, the directions decide
    whether the leaf is resolved, because its single entries may be too small.
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
    """Yield the entries of one leaf in groups of like claimed size."""
    size = np.abs(np.nan_to_num(analytic.values[span], posinf=0.0, neginf=0.0))
    ends = size.max(initial=0.0) * np.array(STRATA)
    rank = np.where(size > 0, (size[:, None] < ends).sum(axis=1), len(STRATA) + 1)
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

    Without a given direction, each entry is perturbed by about its own size, and no two entries by
    the same factor, so that the errors of several cannot cancel.
    """
    if direction is None:
        direction = surface.widths[entries] * rng.choice(EIGHTHS, len(entries))
    terms = analytic.values[entries] * direction
    # Roundings are independent: along a random direction they add up like a random walk.
    floor = 2 * float(np.linalg.norm(analytic.floor[entries] * direction))
    epsilon = float(analytic.epsilon[entries].max(initial=0.0))

    def claim(curvature: float) -> Along:
        size, claimed = float(np.linalg.norm(terms)), float(terms.sum())
        return Along(claimed, size, floor + 8 * epsilon * curvature)

    return walk_along(surface, entries, np.asarray(direction), claim, rng, surface.bits)


def _trace(
    surface: Surface, analytic: Analytic, failed: Sequence[Walk], rng: np.random.Generator
) -> tuple[set[int], str]:
    """Return the entries of one leaf to which failed directions lead, and notes for the report."""
    named: set[int] = set()
    remark = ""
    for w in sorted(failed, key=lambda w: len(w.entries)):
        if named.intersection(map(int, w.entries)):
            continue  # what has been found in it explains why it fails
        sample = rng.permutation(w.entries)[:PARTS]
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
    """Tell whether most random parts of the entries under a direction fail, and half of a sample.

    Six wrong entries among thousands make most of eight parts fail as well, but no sample.
    """
    if len(w.entries) < 4 * PARTS:
        return False
    fails = 0
    for done, part in enumerate(np.array_split(rng.permutation(len(w.entries)), PARTS), start=1):
        fails += walk(surface, analytic, w.entries[part], rng, w.direction[part]).fails
        if not DENSE - fails <= PARTS - done or fails >= DENSE:
            break
    return (
        fails >= DENSE and 2 * sum(look(surface, analytic, int(i)).apart for i in sample) >= PARTS
    )


def search(
    surface: Surface, analytic: Analytic, failed: Walk, rng: np.random.Generator
) -> tuple[list[int], bool]:
    """Find the wrong entries under a direction that failed, by bisection.

    Returns
    -------
    entries : list of int
        Each is the only entry under a direction that fails.
    complete : bool
        Whether every failed direction was followed to its end, and led to an entry.
    """

    def halves(node: Walk) -> tuple[Walk, ...]:
        half = len(node.entries) // 2
        parts = (slice(None, half), slice(half, None)) if half else ()
        return tuple(
            walk(surface, analytic, node.entries[part], rng, node.direction[part]) for part in parts
        )

    found, complete = bisect(failed, halves, lambda: surface.evaluations, surface.size, NAMED)
    return [int(node.entries[0]) for node in found], complete
