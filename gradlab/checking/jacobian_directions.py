"""Large Jacobians: combinations of outputs along directions detect errors, bisection locates them.

For weights u of the outputs and a direction v of the parameters, u·Jv is the slope of the scalar
u·f along v. It depends on the whole Jacobian. If a claim differs from the measured slope by more
than the error bars, some entry under u and v is wrong. Bisection of the outputs needs no evaluation
of the function, because each evaluation returns all outputs. Bisection of the parameters under one
output then takes 14 evaluations per step.

There is a pair of u and v for each block of an output leaf and a leaf of the parameters. The weight
of an output is inverse to its change along v, so that large outputs do not hide errors in small
ones.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

from gradlab.checking.allowance import DIRECTION_FACTOR
from gradlab.checking.claims import Claim
from gradlab.checking.entries import NEGLIGIBLE_TOLERANCE, RESOLVED_TOLERANCE
from gradlab.checking.jacobian import DerivativeEntry, Subject, blocks_of, check_row
from gradlab.checking.kinks import FACTORS
from gradlab.checking.result import Leaf, Outcome, worst
from gradlab.checking.walks import ClaimedSlope, Walk, bisect, walk_along
from gradlab.gradients.surface import Surface
from gradlab.params import Array

Side: TypeAlias = Literal["outputs", "entries"]

SINGLES_TESTED = 8
"""Number of single outputs, or parameters, that are tested to see whether most are wrong."""

MIN_FAILING_SINGLES = 4
"""Smallest number of failures among the `SINGLES_TESTED` tested at which most count as wrong."""

MAX_SEARCHED_OUTPUTS = 4
"""Largest number of wrong outputs that are searched for wrong entries, for each failing pair."""

MAX_NAMED_ENTRIES = 8
"""Largest number of wrong entries that the report names in one output."""

SAMPLED_COLUMNS = 6
"""Number of parameters whose derivatives are checked one by one, at a few outputs each."""

ROWS = 4
"""Number of outputs checked for each such parameter: half that change most, half random ones."""

SENSITIVITY_STEP = 2.0**-8
"""Step, relative to the parameters, that measures how much each output changes."""


@dataclass(frozen=True)
class Pair(Walk):
    """Weights u and a direction v, with the claimed and the measured u·Jv; see `Walk`."""

    # The outputs, and their weights.
    outputs: Array = field(kw_only=True)
    weights: Array = field(kw_only=True)


class Search:
    """Compares a claim with a function, pair by pair."""

    def __init__(self, subject: Subject, claim: Claim, rng: np.random.Generator) -> None:
        self.subject, self.claim, self.rng = subject, claim, rng
        self.function = subject.function
        self.home = subject.row(0)
        self._surfaces: dict[bytes, Surface] = {}

    def surface(self, outputs: Array, weights: Array) -> Surface:
        """Return the surface of a weighted output, cached for the next direction."""
        key = outputs.tobytes() + weights.tobytes()
        if key not in self._surfaces:
            if len(self._surfaces) > 32:
                self._surfaces.clear()
            self._surfaces[key] = self.subject.surface(outputs, weights)
        return self._surfaces[key]

    def compare(self, outputs: Array, weights: Array, entries: Array, direction: Array) -> Pair:
        """Measure u·Jv, and compare the claim with it."""
        surface = self.surface(outputs, weights)
        if self.claim.by_rows:
            row = self.claim.product(spread(self.function.size, outputs, weights))
            analytic = self.subject.analytic(surface, row.values, row.epsilon, DIRECTION_FACTOR)
            terms, epsilon = row.values[entries] * direction, row.epsilon
            floor = float(np.linalg.norm(analytic.floor[entries] * direction))
        else:
            column = self.claim.product(spread(surface.size, entries, direction))
            terms, epsilon = column.values[outputs] * weights, column.epsilon
            floor = (12 * epsilon + DIRECTION_FACTOR * self.subject.allow) * float(
                np.linalg.norm(terms)
            )
        with np.errstate(all="ignore"):
            size, claimed = float(np.linalg.norm(terms)), float(terms.sum())
        claim = ClaimedSlope(claimed, size, 2 * floor, 8 * epsilon)
        # The precision of the outputs; a sum of integers looks less precise than it is.
        bits = int(np.finfo(self.function.value.dtype).nmant)
        found = walk_along(surface, entries, direction, claim, self.rng, bits)
        return Pair(**vars(found), outputs=outputs, weights=weights)

    def part(self, pair: Pair, side: Side, part: Array) -> Pair:
        """Compare some of the outputs of a pair, or some of its parameters."""
        if side == "outputs":
            return self.compare(
                pair.outputs[part], pair.weights[part], pair.entries, pair.direction
            )
        return self.compare(pair.outputs, pair.weights, pair.entries[part], pair.direction[part])

    def direction(self, entries: Array) -> Array:
        """Draw a direction that perturbs each entry by about its own size."""
        direction: Array = self.home.widths[entries] * self.rng.choice(FACTORS, len(entries))
        return direction

    def weights(self, outputs: Array, entries: Array, direction: Array) -> Array:
        """Draw weights with random signs that make all outputs change equally along a direction."""
        moved = self.changes(entries, direction)[outputs]
        known = moved[moved > 0]
        typical = float(np.median(known)) if known.size else 1.0
        sizes = np.where(moved > 0, np.maximum(moved, 1e-12 * typical), typical)
        weights: Array = np.exp2(-np.floor(np.log2(sizes))) * self.rng.choice(FACTORS, len(outputs))
        return weights

    def changes(self, entries: Array, direction: Array) -> Array:
        """Return the absolute change of each output over a small step along a direction."""
        there = self.home.x.copy()
        there[entries] += SENSITIVITY_STEP * direction
        try:
            value = self.function.at(self.home.unravel(there))
        except Exception:  # outside of the domain
            return np.zeros(self.function.size)
        change: Array = np.abs(np.nan_to_num(value.astype(np.float64) - self.function.value))
        return change


def spread(size: int, where: Array, values: Array) -> Array:
    """Return a vector (size,) of zeros, with `values` at the indices `where`."""
    vector = np.zeros(size)
    vector[where] = values
    return vector


def check_large(subject: Subject, claim: Claim, rng: np.random.Generator) -> Outcome:
    """Judge a derivative by pairs of directions; search failures for wrong outputs and entries."""
    search = Search(subject, claim, rng)
    function, spans = subject.function, search.home.spans
    drawn = [search.direction(np.arange(s.start, s.stop)) for s in spans]
    pairs: dict[str, Pair] = {}
    remarks: dict[str, str] = {}
    suspects: set[tuple[int, int]] = set()
    for path, rows in zip(function.paths, function.spans, strict=True):
        outputs = np.arange(rows.start, rows.stop)
        for name, columns, v in zip(search.home.structure.paths, spans, drawn, strict=True):
            entries = np.arange(columns.start, columns.stop)
            if not (len(outputs) and len(entries)):
                continue
            pair = search.compare(outputs, search.weights(outputs, entries, v), entries, v)
            block = subject.block(path, name)
            pairs[block] = pair
            if pair.fails:
                named, remarks[block] = trace(search, pair)
                suspects |= named
    suspects |= {place for place in _sample(search) if _block_of(search, place) not in remarks}
    entries_found = _one_by_one(subject, claim, suspects, rng)
    blocks = [
        _with_pair(leaf, pairs[leaf.path], remarks.get(leaf.path, ""), pairs)
        if leaf.path in pairs
        else leaf
        for leaf in blocks_of(subject, entries_found)
    ]
    shares = [pair.tolerance / pair.size for pair in pairs.values() if pair.size > 0]
    return Outcome(
        worst(leaf.verdict for leaf in blocks),
        entries_found,
        blocks,
        float(np.median(shares)) if shares else 0.0,
        [f"{block} {remark}" for block, remark in remarks.items() if remark],
    )


def _with_pair(leaf: Leaf, pair: Pair, remark: str, pairs: dict[str, Pair]) -> Leaf:
    """Combine the verdict on a block's entries with the verdict on its pair.

    The entries found under a failing pair decide; if none of them is wrong, the verdict is
    inconclusive. If the pair did not fail, it decides whether the block is resolved.
    """
    rest = pair.verdict
    if rest == "agree" and not resolved(pair, pairs.values()):
        rest = "inconclusive"
    own = leaf.verdict
    if pair.fails:
        rest = "mismatch" if remark or own == "mismatch" else "inconclusive"
    elif own == "inconclusive":
        own = "agree"
    return replace(leaf, verdict=worst([own, rest]), rest=rest)


def resolved(pair: Pair, others: Collection[Pair]) -> bool:
    """Tell whether a pair would have detected an error as large as the claim."""
    if pair.measured.kind == "flat":
        return True
    size = max(pair.size, abs(pair.measured.value))
    beside = max((p.size for p in others if len(p.outputs) == len(pair.outputs)), default=0.0)
    return bool(pair.tolerance <= max(RESOLVED_TOLERANCE * size, NEGLIGIBLE_TOLERANCE * beside))


def trace(search: Search, failed: Pair) -> tuple[set[tuple[int, int]], str]:
    """Return the wrong entries (output, parameter) under a failed pair, and a note on the rest."""
    rows, most_rows, all_rows = culprits(search, failed, "outputs", MAX_SEARCHED_OUTPUTS)
    named: set[tuple[int, int]] = set()
    complete = all_rows
    most = False
    for row in rows:
        columns, most_columns, all_columns = culprits(search, row, "entries", MAX_NAMED_ENTRIES)
        named |= {(int(row.outputs[0]), int(column.entries[0])) for column in columns}
        complete, most = complete and all_columns, most or most_columns
    if most_rows and most:
        return named, "is wrong as a whole: most of its random parts fail"
    if most_rows:
        return named, "is wrong in most outputs"
    if most:
        outputs = ", ".join(search.function.name(int(row.outputs[0])) for row in rows)
        return named, f"is wrong in {outputs} by most parameters"
    if complete:
        return named, ""
    return named, (
        "is wrong in more entries than are named here"
        if named
        else "is wrong, by too little in each entry to name one"
    )


def culprits(search: Search, failed: Pair, side: Side, most: int) -> tuple[list[Pair], bool, bool]:
    """Find the single outputs, or the single parameters, under which a claim fails.

    Return the failing pairs; whether most fail, so that these are a sample; and whether all
    failures were divided down to single ones.
    """
    size = len(getattr(failed, side))
    if size > 2 * SINGLES_TESTED:
        sample = search.rng.permutation(size)[:SINGLES_TESTED]
        tried = [search.part(failed, side, np.array([k])) for k in sample]
        failing = [pair for pair in tried if pair.fails]
        if len(failing) >= MIN_FAILING_SINGLES:
            return failing[: MIN_FAILING_SINGLES // 2], True, True

    def halves(node: Pair) -> tuple[Pair, ...]:
        count = len(getattr(node, side))
        parts = (np.arange(count // 2), np.arange(count // 2, count)) if count > 1 else ()
        return tuple(search.part(node, side, part) for part in parts)

    found, complete = bisect(failed, halves, lambda: search.function.evaluations, size, most)
    return found, False, complete


def _sample(search: Search) -> set[tuple[int, int]]:
    """Draw entries to be checked one by one: a few columns, at outputs that depend on them."""
    found: set[tuple[int, int]] = set()
    p, q = search.home.size, search.function.size
    for j in map(int, search.rng.permutation(p)[:SAMPLED_COLUMNS]):
        changes = search.changes(np.array([j]), search.home.scales[[j]])
        most = np.argsort(-changes, kind="stable")[: ROWS // 2]
        found |= {(int(i), j) for i in [*most, *search.rng.integers(q, size=ROWS - ROWS // 2)]}
    return found


def _block_of(search: Search, place: tuple[int, int]) -> str:
    i, j = place
    output = search.function.paths[search.function.place(i)[0]]
    return search.subject.block(output, search.home.place(j)[0])


def _one_by_one(
    subject: Subject, claim: Claim, suspects: set[tuple[int, int]], rng: np.random.Generator
) -> list[DerivativeEntry]:
    found: list[DerivativeEntry] = []
    q, p = subject.function.size, sum(np.size(leaf) for leaf in subject.row(0).leaves)
    for i in sorted({i for i, _ in suspects}):
        which = sorted(j for k, j in suspects if k == i)
        if claim.by_rows:
            row = claim.product(np.eye(1, q, i)[0])
            values, epsilon = row.values, row.epsilon
        else:
            values, epsilon = np.zeros(p), 0.0
            for j in which:
                column = claim.product(np.eye(1, p, j)[0])
                values[j], epsilon = column.values[i], column.epsilon
        found += check_row(subject, i, values, epsilon, which, rng)[0]
    return found
