"""An error that the caller accepts, apart from the error bars.

``allow=1e-5`` accepts a derivative that is an approximation of that relative accuracy. An entry may
then differ from the measured slope by its error bar plus the allowed share of its size. The size is
the larger of its absolute value and the root mean square of its leaf, because the small entries of
an approximation are as uncertain as the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from gradlab.checking.analytic import Analytic
from gradlab.checking.entries import RESOLVED_TOLERANCE
from gradlab.checking.result import Difference, Entry
from gradlab.errors import OptionError
from gradlab.params import Array

MAX_ALLOWED_RELATIVE_ERROR = 0.1
"""Largest relative error that may be allowed. A check with a larger one would test nothing."""

DIRECTION_FACTOR = 2.5
"""Factor by which the allowance is larger along a direction. Allowed errors may all have the same
sign, and then add up to more than independent ones."""

E = TypeVar("E", bound=Entry)


def checked(allow: Any) -> float:
    """Return the validated option."""
    number = isinstance(allow, (int, float, np.number)) and not isinstance(allow, bool)
    if not (number and 0 <= allow <= MAX_ALLOWED_RELATIVE_ERROR):
        raise OptionError(
            f"allow={allow!r}: give a relative error from 0 to {MAX_ALLOWED_RELATIVE_ERROR}"
        )
    return float(allow)


def sizes(values: Array, spans: Iterable[slice]) -> Array:
    """Return the size of each entry: its own, or its leaf's root mean square if that is larger."""
    found: Array = np.nan_to_num(np.abs(values), nan=0.0, posinf=0.0)
    for span in spans:
        found[span] = np.maximum(found[span], root_mean_square(found[span]))
    return found


def root_mean_square(values: Array) -> float:
    """Return the root mean square, also where squares overflow."""
    top = float(np.abs(values).max(initial=0.0))
    return top * float(np.sqrt(np.mean((values / top) ** 2))) if top else 0.0


def allowing(analytic: Analytic, spans: Iterable[slice], allow: float) -> Analytic:
    """Return a claimed gradient that may be off by the allowed share of each entry's size."""
    if not allow:
        return analytic
    return replace(analytic, floor=analytic.floor + allow * sizes(analytic.values, spans))


def accepted(entries: Sequence[E], allow: float) -> list[E]:
    """Return entries, with *agree* for those inconclusive only because of the allowance."""
    return [
        replace(e, verdict="agree", note="")
        if allow
        and e.verdict == "inconclusive"
        and e.error <= RESOLVED_TOLERANCE * max(abs(e.analytic), abs(e.numerical))
        and e.gap <= e.tolerance
        else e
        for e in entries
    ]


def difference(entries: Sequence[Entry]) -> Difference | None:
    """Return the largest error, relative to an entry's size, among entries that have one slope."""
    known = [
        e
        for e in entries
        if e.verdict in ("agree", "mismatch") and np.isfinite([e.analytic, e.numerical]).all()
    ]
    by_leaf: dict[str, list[float]] = {}
    for e in known:
        by_leaf.setdefault(e.path, []).append(e.numerical)
    typical = {path: root_mean_square(np.array(own)) for path, own in by_leaf.items()}
    worst: Difference | None = None
    for e in known:
        gap, size = e.gap, max(abs(e.numerical), typical[e.path])
        relative = gap / size if size else (float("inf") if gap > e.tolerance else 0.0)
        if worst is None or relative > worst.relative:
            worst = Difference(float(relative), e.name)
    return worst
