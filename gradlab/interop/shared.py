"""Common parts of the replacements: random directions, and the use of a report."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from gradlab.checking.derivatives import check_derivatives
from gradlab.checking.native_way import NativeWay, in_dtype, named, precision
from gradlab.checking.report import DerivativeReport
from gradlab.errors import GradientMismatchError, GradlabError, reason_of
from gradlab.params import Array

__tracebackhide__ = True
"""Pytest shows the test's own line, and the report, instead of the functions of this module."""

ATOL = 1e-5
RTOL = 1e-3
"""PyTorch's tolerances. An entry whose bars are too wide for a verdict passes if the claimed value
lies within them and they are narrower than these tolerances."""


MAX_ROUNDOFF = 2.0**-36
"""Relative error of a claimed derivative that passes as round-off: 1.5e-11.

The formulas of the libraries round values that cancel: the softmax of numbers near 1e4 is exact to
1e4 ε = 2e-12. They also add constants such as 1e-12 to divisors."""


class InconclusiveError(GradlabError, AssertionError):
    """A derivative that could not be checked, because the function does not resolve its slopes.

    Attributes
    ----------
    report : gradlab.checking.DerivativeReport
        The result of the check.
    """

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report


def random_like(array: Array, rng: np.random.Generator) -> Array:
    """Return normal numbers in the shape and dtype of an array, real or complex."""
    drawn = rng.standard_normal(array.shape)
    if array.dtype.kind == "c":
        drawn = drawn + 1j * rng.standard_normal(array.shape)
    return np.asarray(drawn, array.dtype)


def accepted(rtol: float | None) -> float:
    """Return the accepted relative error for the caller's tolerance, at least `MAX_ROUNDOFF`."""
    return max(rtol or 0.0, MAX_ROUNDOFF)


def note_on(allow: float | None) -> str:
    """Describe the use of a relative tolerance of the caller."""
    return f"a relative error of {allow:g} is accepted, as requested" if allow else ""


def check_native(
    function: Any,
    way: NativeWay,
    claims: Mapping[str, Callable[..., Any]],
    rtol: float | None,
    what: str = "",
    **options: Any,
) -> None:
    """Check claims about a function of PyTorch or JAX, all of which take and return leaves."""
    count = len(function.like)
    outputs = ["output"] if count == 1 else [f"output[{i}]" for i in range(count)]

    def by_name(f: Callable[..., Any], names: list[str]) -> Callable[..., Any]:
        return lambda *given: named(names, f(way, *([*leaves.values()] for leaves in given)))

    for kind, claim in claims.items():
        options[kind] = by_name(claim, function.names if kind == "vjp" else outputs)
    report = check_derivatives(
        by_name(function.outputs, outputs),
        named(function.names, [in_dtype(leaf, way.dtype) for leaf in function.leaves]),
        dtype=precision(way, function.leaves),
        allow=accepted(rtol),
        convention=function.convention,
        **options,
    )
    require_right(report, "\n".join(filter(None, [what, note_on(rtol)])))


def require_right(report: DerivativeReport, note: str = "") -> None:
    """Raise unless a report says that the derivative is right, or right within wide bars.

    Raise a GradientMismatchError if the derivative is wrong. Raise an InconclusiveError if the
    check is inconclusive.
    """
    if report.verdict == "mismatch":
        raise GradientMismatchError(f"{report}\n{note}".rstrip(), report=report)
    if report.verdict == "inconclusive" and not _is_good_enough(report):
        raise InconclusiveError(f"{report}\n{note}".rstrip(), report=report)


@contextmanager
def decided_by(library: str, original: Callable[[], object]) -> Iterator[None]:
    """Let the original check decide if slopes are inconclusive, for example at a jump.

    The original raises an exception if it fails; an InconclusiveError then has both reports.
    """
    try:
        yield
    except InconclusiveError as error:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                original()
        except Exception as other:
            reason = f"{library}'s own check fails as well: {reason_of(other)}"
            raise InconclusiveError(f"{error}\n{reason}", report=error.report) from other


def _is_good_enough(report: DerivativeReport) -> bool:
    open_entries = [entry for entry in report.entries if entry.verdict == "inconclusive"]
    return (
        bool(report.entries or not report.size)  # a constant function agrees in all of them
        and not any(leaf.rest == "inconclusive" for leaf in report.leaves)
        and all(
            np.isfinite(entry.numerical)
            and max(entry.tolerance, abs(entry.analytic - entry.numerical))
            <= ATOL + RTOL * abs(entry.numerical)
            for entry in open_entries
        )
    )
