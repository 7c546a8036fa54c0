"""Trace a loss, explain a failure in the user's terms, and compare its value with the plain one.

A loss may ask what its argument is, and take another branch while it is traced
(`gradlab.arrays.questions`). If it can, its value on traced arrays is compared with that on plain
ones, once for each form of a call. Other losses are evaluated once only.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import starmap
from types import MethodType
from typing import Any

import numpy as np
from autograd.core import VJPNode
from autograd.tracer import getval, isbox, new_box, trace_stack

from gradlab.arrays.conversions import is_tracing
from gradlab.arrays.dispatch import NUMERICAL_BACKEND, Traced, values_of
from gradlab.arrays.leaks import keeps_traced, release
from gradlab.arrays.places import place_of
from gradlab.arrays.questions import MAX_NOTED_QUESTIONS, Question, asked_in_code, questions
from gradlab.arrays.read_only import is_write, read_only, write_refused
from gradlab.arrays.rewriting import following_rewrites
from gradlab.arrays.tracing import run_traced
from gradlab.errors import GradlabError, LossError, UntraceableError, reason_of
from gradlab.params import Array, Structure, floating


@dataclass(frozen=True)
class Call:
    """The arguments of `trace_loss`."""

    loss: Callable[..., Any]
    leaves: Sequence[Any]
    structure: Structure
    args: Sequence[Any]
    backend: str

    def plain(self, leaves: Sequence[Any]) -> Any:
        """Return the loss on copies of plain parameters; it may not write into its arguments."""
        plain = [getval(leaf) for leaf in leaves]
        copies = [np.array(leaf) if isinstance(leaf, np.ndarray) else leaf for leaf in plain]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return self.loss(self.structure.unflatten(copies), *map(read_only, self.args))

    def traced(self, leaves: Sequence[Any]) -> Any:
        """Return the loss on traced parameters, without a derivative."""
        with trace_stack.new_trace() as trace:
            boxes = [new_box(leaf, trace, VJPNode.new_root()) for leaf in leaves]
            return run_traced(self.loss, self.structure.unflatten(boxes), self.args)

    def error_on_plain(self) -> Exception | None:
        """Return the exception that the loss raises on plain parameters, or None."""
        try:
            self.plain(self.leaves)
        except Exception as error:
            return error
        is_nested = any(isinstance(arg, Traced) for arg in self.args)
        return UntraceableError("an argument is traced") if is_nested else None


def trace_loss(
    loss: Callable[..., Any],
    leaves: Sequence[Any],
    traced: Sequence[Any],
    structure: Structure,
    args: Sequence[Any],
    backend: str,
) -> Any:
    """Return what a loss returns for traced parameters, the arrays `traced` around the leaves.

    An UntraceableError is raised if the loss fails on traced parameters and not on plain ones, or
    has another value there. An exception that it also raises on plain parameters gets a note.
    """
    call = Call(loss, leaves, structure, args, backend)
    for array in traced:
        if isinstance(array, Traced):
            array._is_argument = True
    is_outermost = not is_tracing()
    try:
        with questions() if is_outermost else nullcontext([]) as asked:
            end = following_rewrites(lambda: run_traced(loss, structure.unflatten(traced), args))
    except GradlabError:
        list(release(loss, args))
        raise
    except Exception as error:
        list(release(loss, args))
        # A primitive of the user's own lacks a rule; autograd's error names it.
        is_own = isinstance(error, NotImplementedError)
        on_plain = error if is_own else call.error_on_plain()
        if on_plain is not None and is_write(error) and is_write(on_plain):
            raise write_refused(place_of(error.__traceback__)) from error
        if on_plain is None:
            if is_write(error):
                raise LossError(
                    f"the loss writes into an array that it has computed with before "
                    f"({place_of(error.__traceback__)}), so that the derivative would see other "
                    "numbers than the value: write into a copy"
                ) from error
            what = f"{type(error).__name__}: {reason_of(error)}"
            raise UntraceableError(
                f"{backend} cannot trace the loss, which fails only on traced arrays ({what}; "
                f"{place_of(error.__traceback__)}): write that line with NumPy's functions, or use "
                f"{NUMERICAL_BACKEND}"
            ) from error
        error.add_note(f"raised by the loss while {backend} was tracing it")
        raise
    if is_outermost and not any(map(isbox, leaves)):
        _require_plain_value(call, end, asked)
    return end


@contextmanager
def draws_undone() -> Iterator[None]:
    """Restore NumPy's global random state after evaluations that the user did not ask for."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


MAX_REORDERING_ROUNDINGS = 1e4
"""Roundings of the parameters by which two values of a loss may differ that are computed in another
order."""


def is_close(value: Any, wanted: Any, eps: float) -> bool:
    """Tell whether two values of a loss agree within a hundred roundings of their own."""
    size = float(np.max(np.abs(wanted), initial=0.0))
    return bool(
        np.max(np.abs(value - wanted), initial=0.0) <= MAX_REORDERING_ROUNDINGS / 100 * eps * size
    )


def is_rounding(
    value: Any, wanted: Any, eps: float, at: Callable[[list[Array]], Any], leaves: Sequence[Any]
) -> bool:
    """Tell whether two values of a loss differ by what roundings of its parameters change.

    ``at(leaves)`` is the loss, and `eps` the relative rounding of a number.
    """
    spread, size = _spread(wanted, 4 * eps, at, leaves), np.max(np.abs(wanted), initial=0.0)
    if np.max(np.abs(value - wanted), initial=0.0) > MAX_REORDERING_ROUNDINGS * spread:
        return False
    # The length of a printed number changes by as much for a change of any size.
    return bool(spread <= size / 1000 or _spread(wanted, 256 * eps, at, leaves) > 4 * spread)


def _spread(
    wanted: Any, change: float, at: Callable[[list[Array]], Any], leaves: Sequence[Any]
) -> float:
    """Return by how much relative changes of the parameters change the loss, in four draws."""
    rng, spread = np.random.default_rng(0), 0.0
    for _ in range(4):
        near = [floating(x) * (1 + change * rng.choice([-1, 1], np.shape(x))) for x in leaves]
        spread = max(spread, float(np.max(np.abs(at(near) - wanted), initial=0.0)))
    return spread


@dataclass
class _Known:
    """What is known of a loss."""

    loss: Any  # a weak reference to the loss, or to the object of a method
    code: list[Question]  # the questions in its code
    # For each form of a call, how the values differ; "" if they agree.
    forms: dict[Any, str] = field(default_factory=dict)


MAX_STORED_FORMS = 64
"""Largest number of forms that are stored for a loss; beyond, they are compared again."""

_known: dict[Any, _Known] = {}


def _known_of(loss: Any, given: Sequence[Any]) -> tuple[_Known, Any]:
    """Return what is known of a loss, and the gradlab function around it, or None.

    What it is given may be objects with code of their own.
    """
    around = None
    while isinstance(loss, partial) and loss.args and callable(loss.args[0]):
        if not str(getattr(loss.func, "__module__", "")).startswith("gradlab."):
            break
        around, loss = loss.func, loss.args[0]
    owner, function = loss, loss
    if isinstance(loss, MethodType):
        owner, function = loss.__self__, loss.__func__
    key = id(owner), id(function), *map(type, given)
    known = _known.get(key)
    if known is None or known.loss() is not owner:
        known = _Known(lambda: owner, asked_in_code(loss, given))
        try:
            known.loss = weakref.ref(owner, lambda _: _known.pop(key, None))
        except TypeError:  # of a class with slots
            return known, around
        _known[key] = known
    return known, around


def _form(value: Any) -> Any:
    """Return what a branch may depend on, apart from the numbers in arrays."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.shape, value.dtype
    if isinstance(value, (str, int, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return type(value), len(value), *map(_form, value[:MAX_NOTED_QUESTIONS])
    if isinstance(value, dict):
        return dict, tuple(map(str, value)), *map(_form, value.values())
    return type(value)


def _require_plain_value(call: Call, end: Any, noted: Sequence[Question]) -> None:
    """Raise an error if a loss that asks what its values are has another value on plain arrays.

    It is not evaluated if it keeps traced values, because it then has a state.
    """
    known, around = _known_of(call.loss, [call.structure.template, *call.args])
    asked = [*noted, *known.code][:MAX_NOTED_QUESTIONS]
    if not asked:
        return
    form = around, call.structure.paths, *map(_form, call.leaves), *map(_form, call.args)
    found = known.forms.get(form)
    if found is None:
        if keeps_traced(call.loss, call.args):
            return
        if len(known.forms) >= MAX_STORED_FORMS:
            known.forms.clear()
        found = known.forms[form] = _difference(call, end)
    if found:
        raise UntraceableError(
            f"{call.backend} cannot trace the loss, whose value is {found} on plain ones: it asks "
            f"what its values are ({'; '.join(map(str, asked))}), or use {NUMERICAL_BACKEND}"
        )


def _difference(call: Call, end: Any) -> str:
    """Describe two values of a loss on traced and plain arrays; return "" if they agree.

    Different branches may have equal values where the parameters are 0 or 1. The values are then
    compared nearby as well. A loss whose plain value changes from one evaluation to the next is
    random, and cannot be compared.
    """
    with draws_undone(), suppress(Exception):  # of a loss that fails on plain arrays
        return next(filter(None, starmap(partial(_difference_at, call), _points(call, end))), "")
    return ""


def _points(call: Call, end: Any) -> Iterator[tuple[Sequence[Any], Any]]:
    """Yield parameters, and the value of the loss for traced ones."""
    yield call.leaves, end
    if all(np.all(leaf == np.round(leaf)) for leaf in call.leaves):
        rng = np.random.default_rng(0)
        shifts = [0.1 * rng.standard_normal(np.shape(leaf)) for leaf in call.leaves]
        near = [(x + h).astype(x.dtype) for x, h in zip(call.leaves, shifts, strict=True)]
        yield near, call.traced(near)


def _difference_at(call: Call, leaves: Sequence[Any], value: Any) -> str:
    value, wanted = np.asarray(values_of(value)), np.asarray(call.plain(leaves))
    if value.size != wanted.size:
        return f"of shape {value.shape} on traced arrays and {wanted.shape}"
    value = value.reshape(wanted.shape)
    eps = max(float(np.finfo(floating(x).dtype).eps) for x in (*leaves, value, wanted))
    if is_close(value, wanted, eps) or not np.all(np.isfinite(wanted)):
        return ""
    is_random = not np.array_equal(call.plain(leaves), wanted)
    if is_random or is_rounding(value, wanted, eps, call.plain, leaves):
        return ""
    shown = [np.array2string(x, precision=6, threshold=6) for x in (value, wanted)]
    return f"{shown[0]} on traced arrays and {shown[1]}"
