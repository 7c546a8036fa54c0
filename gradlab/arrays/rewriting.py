"""``table[y]``, ``X.dot(w)`` and ``z[i] = w``, where the array is plain and the rest is traced.

Python calls a method of the plain array, ``table.__getitem__(y)``, and NumPy then requests the
numbers of y. Numbers carry no derivative, so y raises an error. The frame of the request identifies
the expression in the user's source, and the loss runs again with a function call in its place
(`gradlab.arrays.replacements`)::

    table[y]      ->   subscript(table, y)
    X.dot(w)      ->   method(X, "dot", w)
    z = x.copy()  ->   z = method(x, "copy")                if z is written into later
    sin(w[0])     ->   function(sin, w[0])
    z[i] = w      ->   written(w, z, i)                     and z = the result, unless it is None
    z[i] += w     ->   augmented(z, i, z[i], "iadd", w)     likewise

The user's functions keep their identity, closures, globals and line numbers. Those that contain the
expression get another code object, compiled from their changed source. It differs only where a
plain array meets a traced one, so it stays in place, and other threads may call it meanwhile. The
source is used only if it compiles to the code that is running. Code without source, or from a file
that was edited since, is refused.
"""

from __future__ import annotations
import __future__ as features

import ast
import gc
import inspect
import linecache
import sys
from collections.abc import Callable
from functools import reduce
from types import CodeType, FrameType, FunctionType, TracebackType
from typing import Any, TypeVar

from gradlab.arrays.dispatch import NUMERICAL_BACKEND
from gradlab.arrays.expressions import Span, compiled, copies_in, expressions_in
from gradlab.arrays.places import is_librarys, is_users, place_of, steps_of
from gradlab.arrays.refusals import refuse
from gradlab.errors import UntraceableError
from gradlab.forking import ForkLock

T = TypeVar("T")

_ALL_FUTURE_FLAGS = [getattr(features, name).compiler_flag for name in features.all_feature_names]
_FUTURE_FLAGS = reduce(int.__or__, _ALL_FUTURE_FLAGS) & ~inspect.CO_NESTED
"""The compiler flags of ``from __future__ import``. CO_NESTED is left out: nested scopes are always
on, and the flag marks a code object inside another."""


class RewriteError(UntraceableError):
    """An expression of the user's code gives a traced array to a plain one."""

    # The error of a function of SciPy's, which counts if the function cannot be replaced.
    original: Exception | None = None

    def __init__(self, frame: FrameType, span: Span, others: set[Span], source: str) -> None:
        super().__init__(
            f"a traced value is given to a plain array, or to a function that takes only numbers "
            f"({place_of(frame)}): write np.take(array, index, axis=0), np.dot(array, x) or "
            f"np.sin(x), or use {NUMERICAL_BACKEND}"
        )
        self.code, self.span, self.source = frame.f_code, span, source
        self.spans = frozenset({span, *others})


def raise_if_rewritable(frame: FrameType) -> None:
    """Raise `RewriteError` if a frame of the user's code stands at an expression to replace.

    It may be the frame that called the function of NumPy's or SciPy's whose frame this is.
    """
    while is_librarys(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    error = _rewrite_at(frame, frame.f_lasti)
    if error is not None:
        refuse(error)


def raise_for_scipy(error: Exception) -> None:
    """Raise `RewriteError` if an error comes out of a call of SciPy's in the user's code."""
    call = None
    for step in steps_of(error.__traceback__):
        if is_users(step.tb_frame.f_code.co_filename) and not _is_compiled(step):
            call = step
    if call is None or "scipy" not in sys.modules:
        return
    inner = call.tb_next
    if inner is None or _is_compiled(inner) or is_librarys(inner.tb_frame.f_code.co_filename):
        found = _rewrite_at(call.tb_frame, call.tb_lasti)
        if found is not None:
            found.original = error
            raise found from error


def raise_for_copies(error: Exception) -> None:
    """Raise `RewriteError` for the copies that a function makes of plain arrays, if it has any.

    The function has written into an array that an operation keeps for the derivative. Its copies
    become buffers, which it may write into.
    """
    frames = [
        step.tb_frame
        for step in steps_of(error.__traceback__)
        if is_users(step.tb_frame.f_code.co_filename)
    ]
    if not frames:
        return
    frame, code = frames[-1], frames[-1].f_code
    source = "".join(linecache.getlines(code.co_filename, frame.f_globals))
    copies = copies_in(source).intersection(code.co_positions())
    if copies:
        found = RewriteError(frame, next(iter(copies)), set(copies), source)
        found.original = error
        raise found from error


def _is_compiled(step: TracebackType) -> bool:
    """Tell whether a step of a traceback is in code that Cython compiled."""
    return step.tb_frame.f_code.co_filename.endswith(".pyx")


def _rewrite_at(frame: FrameType, instruction: int) -> RewriteError | None:
    """Return the error for the expression at an instruction, if it can be replaced."""
    code = frame.f_code
    if not is_users(code.co_filename):
        return None
    span = list(code.co_positions())[instruction // 2]
    source = "".join(linecache.getlines(code.co_filename, frame.f_globals))
    places = expressions_in(source)
    if span not in places:
        return None
    if places[span] is None:
        return RewriteError(frame, span, set(), source)
    writes = _writes(places, code)  # one write is seldom alone, and each rewriting takes time
    return RewriteError(frame, span, writes, source) if span in writes else None


def _writes(places: dict[Span, ast.Subscript | None], code: CodeType) -> set[Span]:
    """Return the writes of a function that can be replaced.

    If a name is given a new value, it has to be the function's own, or else its scope changes.
    """
    own = (*code.co_varnames, *code.co_cellvars) if code.co_flags & inspect.CO_OPTIMIZED else ()
    found = set()
    for span in code.co_positions():
        target = places.get(span)
        if target is not None and (
            not isinstance(target.value, ast.Name) or target.value.id in own
        ):
            found.add(span)
    return found


# Replacing them


def following_rewrites(run: Callable[[], T]) -> T:
    """Run a function that traces a loss; run it again whenever the loss has to be rewritten.

    An expression whose source does not match the running code stays a `RewriteError`.
    """
    seen: set[Any] = set()
    while True:
        try:
            return run()
        except RewriteError as error:
            if (error.code, error.span) in seen or not _rewrite(error):
                raise error.original or error from None
            seen.add((error.code, error.span))


_lock = ForkLock()

_spans: dict[tuple[str, str, int], frozenset[Span]] = {}
"""The replaced expressions of each file, with its source and its compiler flags."""


def _rewrite(error: RewriteError) -> bool:
    """Replace an expression in all functions that contain it; tell whether any changed."""
    file = error.code.co_filename
    key = file, error.source, error.code.co_flags & _FUTURE_FLAGS
    with _lock.held:
        before = _spans.get(key, frozenset())
        after = _spans[key] = before | error.spans
        new = compiled(*key, after)
        changed = {}
        for spans in (frozenset(), before):
            pairs = zip(compiled(*key, spans), new, strict=True)
            changed.update({old: code for old, code in pairs if old != code})
        if error.code not in changed:
            return error.code in new and error.span in before  # another thread was first
        for function in gc.get_objects():
            if type(function) is FunctionType and function.__code__.co_filename == file:
                function.__code__ = changed.get(function.__code__, function.__code__)
    return True
