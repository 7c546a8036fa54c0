"""The likely cause of a wrong Jacobian, inferred from the pattern of a block's errors.

Three views of the same entries are tested. The block is a matrix, which may be transposed,
symmetrised or lack a triangle. A combination of its rows is what a backward pass returns for one
cotangent; it shows the same mistakes as gradients (`gradlab.checking.causes`). The single entries
show whether only some outputs are wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from gradlab.checking.causes import guess
from gradlab.checking.jacobian import DerivativeEntry, Subject
from gradlab.checking.kinks import FACTORS
from gradlab.checking.result import Entry, Leaf
from gradlab.params import Array, flatten

VAGUE_CAUSES = ("not far from right", "right in total", "wrong ", "zero in", "1.", "0.")
"""Beginnings of causes that are reported only if no other cause is found."""


def causes_of(
    subject: Subject, entries: Sequence[DerivativeEntry], blocks: Sequence[Leaf]
) -> dict[str, str]:
    """Return a likely cause for each block with a mismatch whose errors match a pattern."""
    wrong = [block for block in blocks if block.verdict == "mismatch"]
    if not wrong:
        return {}
    with np.errstate(all="ignore"):
        found = {block.path: list(_of_block(block, entries)) for block in wrong}
        combined = _of_rows(subject, entries, blocks)
        single = guess(entries, blocks)
    causes = {}
    for path, own in found.items():
        told = [*own, combined.get(path, ""), single.get(path, "")]
        told = [cause for cause in told if cause]
        clear = [cause for cause in told if " alone" in cause or not cause.startswith(VAGUE_CAUSES)]
        if told:
            causes[path] = (clear or told)[0]
    return causes


# The block as a matrix


def _of_block(block: Leaf, entries: Sequence[DerivativeEntry]) -> Iterator[str]:
    own = [e for e in entries if e.path == block.path]
    half = len(block.shape) // 2
    shape = block.shape[:half]
    if len(own) != np.prod(block.shape) or block.shape[half:] != shape or np.prod(shape) < 2:
        return
    side = int(np.prod(shape))
    rows = np.array([(e.analytic, e.numerical, e.tolerance) for e in own], dtype=np.float64)
    claimed, measured, tolerance = (column.reshape(side, side) for column in rows.T)
    tolerance = np.maximum(tolerance, tolerance.T) + 2.0**-50 * np.abs(measured)

    def explains(other: Array) -> bool:
        """Tell whether the claim equals `other`, which is computed from the measured block."""
        apart = np.abs(claimed - other)
        return bool(np.all(apart <= 4 * tolerance) and np.any(np.abs(other) > 8 * tolerance))

    if explains(2 * measured):  # a factor, which the other views name
        return
    diagonal = np.diag(np.diag(measured))
    both = measured + measured.T
    told = {
        "transposed": [measured.T],
        "symmetrised: (J + Jᵀ) / 2": [both / 2],
        "J + Jᵀ: a triangle added to its transpose?": [both],
        "J + Jᵀ with the diagonal counted once": [both - diagonal],
        "the diagonal is counted twice: a triangle added to its transpose?": [measured + diagonal],
        "the diagonal alone": [] if explains(measured) else [diagonal],
        "all but the diagonal": [measured - diagonal],
        "the upper triangle alone": [np.triu(measured), np.triu(measured, 1)],
        "the lower triangle alone": [np.tril(measured), np.tril(measured, -1)],
    }
    yield from (cause for cause, shown in told.items() if any(map(explains, shown)))


# Combinations of rows, as a backward pass returns them


def _of_rows(
    subject: Subject, entries: Sequence[DerivativeEntry], blocks: Sequence[Leaf]
) -> Mapping[str, str]:
    """Return likely causes for the gradients of a random combination of each output leaf."""
    leaves, structure = flatten(subject.params)
    values = dict(zip(structure.paths, leaves, strict=True))
    by_block: dict[str, list[DerivativeEntry]] = {}
    for e in entries:
        by_block.setdefault(e.path, []).append(e)
    causes: dict[str, str] = {}
    rng = np.random.default_rng(0)
    lengths = {n for out in subject.function.leaves for n in (*out.shape, out.size) if n > 1}
    for path, out in zip(subject.function.paths, subject.function.leaves, strict=True):
        weights = rng.choice(FACTORS, out.size)
        combined: list[Entry] = []
        shown: list[Leaf] = []
        for name, leaf in values.items():
            own = by_block.get(subject.block(path, name), [])
            if not own or len(own) != out.size * leaf.size:
                continue
            made = _combined(own, weights, name, leaf)
            combined += made
            wrong = any(e.verdict == "mismatch" for e in made)
            shown.append(Leaf(name, leaf.shape, "mismatch" if wrong else "agree", leaf.size))
        for name, cause in guess(combined, shown, values, lengths).items():
            causes[subject.block(path, name)] = cause if out.size == 1 else _of_each_row(cause)
    return causes


def _of_each_row(cause: str) -> str:
    """Return what a term that a combination of rows lacks says about each row.

    Examples
    --------
    >>> _of_each_row("too small by 0.3 times the parameter: an L2 penalty?")
    'each row is off by a multiple of the parameter: is the path through a norm missing?'
    >>> _of_each_row("too large by 0.3"), _of_each_row("transposed")
    ('each row is off by a constant: is the path through a mean missing?', 'transposed')
    """
    term = re.fullmatch(
        r"too (?:small|large) by \S+?( times the parameter('s sign)?)?(: .*)?", cause
    )
    if term is None:
        return cause
    if term[2]:
        return "each row is off by a multiple of the parameter's sign"
    what, path = ("a multiple of the parameter", "norm") if term[1] else ("a constant", "mean")
    return f"each row is off by {what}: is the path through a {path} missing?"


def _combined(
    own: Sequence[DerivativeEntry], weights: Array, name: str, leaf: Array
) -> list[Entry]:
    rows = np.array([(e.analytic, e.numerical, e.tolerance) for e in own], dtype=np.float64)
    claimed, measured, tolerance = (c.reshape(weights.size, leaf.size) for c in rows.T)
    a, n, bar = weights @ claimed, weights @ measured, np.abs(weights) @ tolerance
    return [
        Entry(
            name,
            tuple(map(int, index)),
            float(a[k]),
            float(n[k]),
            float(bar[k]),
            float(bar[k]),
            "agree" if abs(a[k] - n[k]) <= bar[k] else "mismatch",
        )
        for k, index in enumerate(np.ndindex(leaf.shape))
    ]
