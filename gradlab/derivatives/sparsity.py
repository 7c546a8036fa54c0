"""Sparse Jacobians: entries that share no output are perturbed together.

If no output depends on both of two entries, one evaluation gives the effects of both perturbations.
The columns are grouped by SciPy (`scipy.optimize._numdiff.group_columns`; Curtis, Powell & Reid,
*On the estimation of sparse Jacobian matrices*, 1974), so that a banded Jacobian takes as many
evaluations as its band is wide, for any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from gradlab.derivatives.lines import Field, Line
from gradlab.errors import LossError, MissingDependencyError, OptionError
from gradlab.params import Array

DEPENDENCE_STEP = 2.0**-12
"""Step, relative to an entry's scale, over which dependence on the entry is tested."""


def pattern_of(sparsity: Any, rows: int, columns: int) -> Array | None:
    """Return which output may depend on which entry, as booleans of shape (m, p).

    Rows are the entries of all outputs, columns those of all parameters, leaf after leaf, each in C
    order.

    Examples
    --------
    >>> pattern_of(np.eye(2), 2, 3)
    Traceback (most recent call last):
    gradlab.errors.OptionError: sparsity has the shape (2, 2); expected (2, 3): a row for each...
    """
    if sparsity is None:
        return None
    dense = sparsity.toarray() if hasattr(sparsity, "toarray") else sparsity
    pattern = np.asarray(dense)
    if pattern.dtype.kind not in "biuf" or pattern.shape != (rows, columns):
        raise OptionError(
            f"sparsity has the shape {pattern.shape}; expected {(rows, columns)}: a row for each "
            "output, a column for each entry of the parameters, not zero where one depends on the "
            "other"
        )
    found: Array = pattern != 0
    return found


def groups_of(pattern: Array | None, columns: int) -> Iterator[Array]:
    """Yield groups of entries that share no output; single entries without a pattern."""
    if pattern is None:
        yield from np.arange(columns)[:, None]
        return
    try:
        from scipy.optimize._numdiff import group_columns
    except ImportError as error:
        raise MissingDependencyError(
            "sparsity= needs SciPy, which groups the columns: pip install scipy"
        ) from error
    groups = group_columns(pattern)
    for number in range(int(groups.max(initial=-1)) + 1):
        yield np.flatnonzero(groups == number)


def require_pattern(line: Line, pattern: Array) -> None:
    """Raise a LossError if an output changed that depends on no perturbed entry by the pattern."""
    depends = pattern[:, line.entries].any(axis=1)
    for _, values in line.known.values():
        strays = np.flatnonzero((values != line.where.centre) & ~depends)
        if len(strays):
            raise LossError(
                f"{line.where.outputs.name(int(strays[0]))} changes with {line.name}; "
                "sparsity says that it does not depend on that"
            )


def require_independent(where: Field, rows: Array, pattern: Array) -> None:
    """Perturb the entries on which some outputs do not depend by the pattern.

    If a group has an entry in the pattern of an output and one that is missing there, only this
    test detects the missing one.
    """
    for j in np.flatnonzero(~pattern[rows].all(axis=0)) if len(rows) else ():
        line = where.along_entries(np.array([j]), where.scales)
        line(DEPENDENCE_STEP if line.high >= DEPENDENCE_STEP else -DEPENDENCE_STEP)
        require_pattern(line, pattern)
