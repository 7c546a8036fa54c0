"""What a backend makes of a loss: right, refused, wrong, or an error that is not gradlab's.

right
    Value and gradient lie within the bounds of `truth`, as plain numbers and arrays of the
    parameters' structure; parameters and arguments are as they were; no traced value is left in
    what the loss keeps. Of backends that trace the loss this holds for three calls: the second has
    other parameters, the third other arguments, too.
refused
    A GradlabError says so, or the loss's own error with a note.
wrong, raw
    What must not be.
"""

from __future__ import annotations

import copy
import re
import traceback
import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

import gradlab

from .registry import CASES, Case
from .truth import leaves, to_vector, truth

TRACED = ("autograd", "tape", "autograd-forward", "jax", "torch")
"""Backends that run the loss on traced values."""

NUMERICAL = ("central", "richardson")
"""Backends that evaluate it at numbers: none is worse than a central difference."""

DRAWS = {"tape": 3, "jax": 3, "torch": 3, "autograd": 2, "central": 2}
"""Calls of one function; one where none is named."""


@dataclass(frozen=True)
class Outcome:
    """What came of it, in one word; its message in one line; whether that is of use.

    A message says where if it names the file of the loss and a line, and what to do if it names a
    function of NumPy's, a backend, or `gradlab.detach`.
    """

    kind: str
    message: str = ""
    says_where: bool = False
    says_what_to_do: bool = False


def judge(case: Case, backend: str) -> Outcome:
    """Differentiate a loss, and compare the result with the truth."""
    loss = case.loss()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            f = gradlab.value_and_grad(loss, backend=backend)
        except Exception as error:
            return of_error(case, error)
        for draw in range(DRAWS.get(backend, 1)):
            params, args = case.at(draw)
            expected = copy.deepcopy((params, args))
            try:
                result = f(params, *args)
            except Exception as error:
                return of_error(case, error)
            fault = fault_of(case, backend, draw, result, params)
            if not fault and not same((params, args), expected):
                fault = "parameters or arguments were changed"
            if not fault and (kept := traced_in(getattr(loss, "__dict__", {}))):
                fault = f"a traced value stays in the loss: {kept}"
            if fault:
                return Outcome("wrong", f"call {draw + 1}: {fault}")
    return Outcome("right")


def of_error(case: Case, error: Exception) -> Outcome:
    """Tell a refusal from a raw error."""
    notes = " ".join(getattr(error, "__notes__", []))
    text = " ".join(f"{error} {notes}".split()) or type(error).__name__
    file = f"{case.source.__module__.rsplit('.', 1)[-1]}.py"
    if isinstance(error, gradlab.GradlabError) or file in notes:
        where = rf"{re.escape(file)}\W+(line\s+)?\d|line\s+\d+,? (of|in) \S*{re.escape(file)}"
        what = r"\bnp\.\w|\bbackend\b|\bdetach\b"
        return Outcome("refused", text, bool(re.search(where, text)), bool(re.search(what, text)))
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{last.filename.rsplit('/', 1)[-1]}:{last.lineno}"
    return Outcome("raw", f"{type(error).__name__}: {text} ({where})")


def is_plain(leaf: Any) -> bool:
    """Whether it is a number or an array of NumPy's own, of floats."""
    return type(leaf) is float or (
        (type(leaf) is np.ndarray or isinstance(leaf, np.floating)) and leaf.dtype.kind == "f"
    )


def fault_of(case: Case, backend: str, draw: int, result: Any, params: Any) -> str:
    """Return what is wrong with a value and gradient; an empty text if nothing is."""
    value, gradient = result
    if not (is_plain(value) and np.ndim(value) == 0):
        return f"the value is a {type(value).__name__}"
    if to_skeleton(gradient) != to_skeleton(params):
        return "the gradient has another structure"
    for leaf, of in zip(leaves(gradient), leaves(params), strict=True):
        if not is_plain(leaf):
            return f"the gradient has a {type(leaf).__name__} {getattr(leaf, 'dtype', '')}".strip()
        if np.shape(leaf) != np.shape(of):
            return f"the gradient of shape {np.shape(of)} has shape {np.shape(leaf)}"
    known = truth(case, draw)
    dtypes = [np.asarray(leaf).dtype for leaf in leaves(params)]
    single = np.float32 in dtypes
    # Parameters in float32 may be computed with in float32: as many roundings, of that eps.
    coarser = float(np.finfo(np.float32).eps / np.finfo(np.float64).eps) if single else 1.0
    bound = known.error + known.rounding * coarser
    if backend in NUMERICAL or backend == "complex-step":
        # An adaptive solver inside a loss chooses its own steps, which a derivative ignores.
        bound = bound + known.truncation + known.noise
    off = np.abs(to_vector(gradient) - known.gradient)
    if not (off <= bound).all():
        worst = int(np.argmax(np.nan_to_num(off / np.maximum(bound, 1e-300), nan=np.inf)))
        return (
            f"entry {worst} of the gradient is {to_vector(gradient)[worst]:.10g}, "
            f"not {known.gradient[worst]:.10g} ± {bound[worst]:.2g}"
        )
    if not abs(float(value) - known.value) <= known.rounding_of_value * coarser:
        return f"the value is {float(value):.10g}, not {known.value:.10g}"
    return ""


def to_skeleton(params: Any) -> Any:
    """Return a structure without its leaves."""
    if isinstance(params, dict):
        return {key: to_skeleton(value) for key, value in params.items()}
    if isinstance(params, list | tuple):
        return type(params)(to_skeleton(value) for value in params)
    return None


def same(one: Any, other: Any) -> bool:
    """Return whether two structures have the same bits."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype != "O")
    return bool(one == other) or callable(one) or type(one).__eq__ is object.__eq__


def traced_in(state: Any, path: str = "", depth: int = 0) -> str:
    """Return the path to a value that is not plain data; empty if there is none."""
    if depth > 6 or state is None or isinstance(state, str | bytes | int | float | complex | bool):
        return ""
    if isinstance(state, dict):
        parts = [(f"{path}.{key}", value) for key, value in state.items()]
    elif isinstance(state, list | tuple | set):
        parts = [(f"{path}[{i}]", value) for i, value in enumerate(state)]
    elif isinstance(state, np.ndarray | np.generic):
        return path if state.dtype == object else ""
    elif isinstance(state, type) or callable(state) and not hasattr(state, "__dict__"):
        return ""
    elif type(state).__module__.split(".")[0] in {"gradlab", "autograd", "jax", "jaxlib", "torch"}:
        return f"{path} is a {type(state).__name__}"
    else:
        parts = [(f"{path}.{key}", value) for key, value in getattr(state, "__dict__", {}).items()]
    return next(
        (found for name, value in parts if (found := traced_in(value, name, depth + 1))), ""
    )


def summary(
    backends: Iterable[str], cases: Iterable[Case] | None = None, *, show: bool = False
) -> str:
    """A table: a row a backend, how many losses came to what.

    With ``show``, every loss that is not right has a line of its own below.
    """
    kinds = ("right", "refused", "wrong", "raw")
    lines = [f"{'backend':<18}" + "".join(f"{kind:>9}" for kind in kinds)]
    details = []
    chosen = list(CASES.values() if cases is None else cases)
    for backend in backends:
        found = {case.name: judge(case, backend) for case in chosen}
        count = Counter(outcome.kind for outcome in found.values())
        lines.append(f"{backend:<18}" + "".join(f"{count[kind]:>9}" for kind in kinds))
        details += [
            f"{backend:<17} {name:<34} {outcome.kind:<8} {outcome.message[:150]}"
            for name, outcome in found.items()
            if outcome.kind != "right"
        ]
    return "\n".join(lines + ([""] + details if show else []))
