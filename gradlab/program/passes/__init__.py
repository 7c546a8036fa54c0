"""Passes make a program shorter without changing its result: each takes and returns a program.

Most passes are *exact*: every bit of every output stays (a zero may change its sign). Those in
`INEXACT` rewrite floating-point arithmetic, which changes a result by a few units in the last place
of its leaf's largest entry. `optimise` applies all passes, or only the exact ones, and reports what
each of them saved.

============  =====================================================================================
`rewrite`     in `gradlab.program`: makes a pass of a rule; duplicates, constants
`lowering`    means, adjoints and similar functions in terms of simpler ones
`algebra`     identities, signs, values that depend only on numbers
`float32`     computes in float32 where only numbers caused float64
`arithmetic`  powers as products, sums as products with ones
`selection`   ``where`` by bitwise operations
============  =====================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

from gradlab.program.ir import Program
from gradlab.program.passes.algebra import simplify
from gradlab.program.passes.arithmetic import expand_powers, sum_by_products
from gradlab.program.passes.float32 import keep_float32
from gradlab.program.passes.lowering import (
    convert_beforehand,
    drop_what_cancels,
    keep_what_cancels,
    lower,
)
from gradlab.program.passes.selection import select_by_bits
from gradlab.program.rewrite import Pass, merge_duplicates, own_constants, remove_dead

INEXACT: tuple[Pass, ...] = (keep_float32, expand_powers, sum_by_products)
"""Passes that change rounding."""


@dataclass(frozen=True)
class Saving:
    """The number of operations before and after a pass."""

    name: str
    before: int
    after: int
    exact: bool


def optimise(program: Program, *, exact: bool = False) -> tuple[Program, tuple[Saving, ...]]:
    """Apply the passes to a recorded program; return the effect of each as well.

    `exact` skips those that rewrite floating-point arithmetic. A constant with references from
    elsewhere counts as one that may change: see `own_constants`.
    """
    savings: list[Saving] = []

    def apply(step: Pass) -> None:
        nonlocal program
        before = len(program.nodes)
        program = step(program)
        is_exact = step not in (*INEXACT, drop_what_cancels)
        savings.append(Saving(step.__name__, before, len(program.nodes), is_exact))

    def settle() -> None:
        for _ in range(10):
            apply(merge_duplicates)
            before = program
            apply(simplify)
            if program is before:
                break

    cancel = keep_what_cancels if exact else drop_what_cancels
    first: tuple[Pass, ...] = (own_constants, cancel, remove_dead, lower)
    last: tuple[Pass, ...] = (lower, convert_beforehand, select_by_bits, merge_duplicates)
    for step in (*first, *(() if exact else INEXACT)):
        apply(step)
    settle()
    for step in last:
        apply(step)
    return program, tuple(savings)
