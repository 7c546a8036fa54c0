"""Jacobian entries, one by one: each output's row is the gradient of a scalar loss.

`gradlab.checking.entries` judges each row like a gradient, kinks included. All rows share their
evaluations, so that a column costs about 14 evaluations of the function for any number of outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gradlab.checking.allowance import accepted, allowing
from gradlab.checking.analytic import Analytic, analytic_of
from gradlab.checking.entries import check_entries, overall
from gradlab.checking.functions import Function
from gradlab.checking.result import Entry, Leaf, Verdict, worst
from gradlab.gradients.surface import Surface
from gradlab.params import Array, entry, flatten

NARROW_DTYPES = {float(np.finfo(dtype).eps): dtype for dtype in (np.float16, np.float32)}
"""Maps the unit round-off of types narrower than float64 to the type."""


@dataclass(frozen=True, repr=False)
class DerivativeEntry(Entry):
    """One entry of a Jacobian; see `Entry`.

    Attributes
    ----------
    path, index
        The block ``output by parameter``, and the index in it: the output's index first.
    output, parameter : str
        The names of the output and the parameter in reports.
    """

    output: str = ""
    parameter: str = ""

    @property
    def name(self) -> str:
        """The name of the derivative: ``y[2] by w[1, 3]``."""
        return f"{self.output} by {self.parameter}"


@dataclass(frozen=True)
class Subject:
    """A function at a point, whose derivative is under test."""

    function: Function
    params: Any  # the point
    dtype: DTypeLike | None = None  # dtype of the parameters that the function gets
    kind: str = ""  # the claim under test if there are several; "" if there is one
    allow: float = 0.0  # accepted relative error
    # Cache of the surfaces of single outputs, for the next claim.
    rows: dict[int, Surface] = field(default_factory=dict, compare=False)

    def surface(self, outputs: Array, weights: Array) -> Surface:
        """Return the surface of ``weights · f[outputs]``."""
        return Surface(self.function.weighted(outputs, weights), self.params, (), self.dtype)

    def row(self, i: int) -> Surface:
        """Return the surface of output `i`, which caches its slopes if there are several claims."""
        if not self.kind:
            return self.surface(np.array([i]), np.ones(1))
        if i not in self.rows:
            self.rows[i] = self.surface(np.array([i]), np.ones(1))
            self.rows[i].known = {}
        return self.rows[i]

    def analytic(
        self, surface: Surface, values: Array, epsilon: float, factor: float = 1.0
    ) -> Analytic:
        """Return a claimed row, given the unit round-off of its numbers.

        Its tolerance includes `factor` times the allowed relative error.
        """
        narrow = values.astype(NARROW_DTYPES.get(epsilon, np.float64))
        analytic = analytic_of(surface.layout.parts(narrow), surface)
        return allowing(analytic, surface.spans, factor * self.allow)

    def block(self, output: str, parameter: str) -> str:
        """Return the name of the block of an output leaf and a leaf of the parameters."""
        return f"{self.kind}: {output} by {parameter}" if self.kind else f"{output} by {parameter}"


def check_row(
    subject: Subject,
    i: int,
    values: Array,
    epsilon: float,
    which: Iterable[int],
    rng: np.random.Generator,
) -> tuple[list[DerivativeEntry], Verdict]:
    """Judge the entries `which` of row `i`; return them, and the verdict on all of them."""
    surface = subject.row(i)
    analytic = subject.analytic(surface, values, epsilon)
    found = accepted(check_entries(surface, analytic, which, rng), subject.allow)
    number, index = subject.function.place(i)
    path = subject.function.paths[number]
    entries = [
        DerivativeEntry(
            **{**vars(e), "path": subject.block(path, e.path), "index": (*index, *e.index)},
            output=entry(f"{subject.kind}: {path}" if subject.kind else path, index),
            parameter=e.name,
        )
        for e in found
    ]
    return entries, overall(surface, found) if len(found) == surface.size else worst(
        e.verdict for e in found
    )


def check_matrix(
    subject: Subject, matrix: Array, epsilon: float, rng: np.random.Generator
) -> tuple[list[DerivativeEntry], Verdict]:
    """Judge every entry of a claimed Jacobian, shape (q, p)."""
    entries: list[DerivativeEntry] = []
    verdicts: list[Verdict] = []
    seed = int(rng.integers(2**63))
    for i in range(subject.function.size):
        # The same draws for each row: the function keeps its outputs at these points.
        same = np.random.default_rng(seed)
        own, verdict = check_row(subject, i, matrix[i], epsilon, range(matrix.shape[1]), same)
        entries += own
        verdicts.append(verdict)
    return entries, worst(verdicts)


def blocks_of(subject: Subject, entries: Sequence[Entry]) -> list[Leaf]:
    """Collect the verdicts by block: one for each pair of an output leaf and a parameter leaf."""
    function = subject.function
    leaves, structure = flatten(subject.params)
    by_path: dict[str, list[Verdict]] = {}
    for e in entries:
        by_path.setdefault(e.path, []).append(e.verdict)
    blocks = []
    for path, out in zip(function.paths, function.leaves, strict=True):
        for parameter, leaf in zip(structure.paths, leaves, strict=True):
            name = subject.block(path, parameter)
            found = by_path.get(name, [])
            blocks.append(Leaf(name, out.shape + leaf.shape, worst(found), len(found)))
    return blocks
