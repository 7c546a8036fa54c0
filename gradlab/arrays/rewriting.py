"""``table[y]`` and ``X.dot(w)``, where the array is plain and the argument is traced.

Python calls a method of the plain array, ``table.__getitem__(y)``, and NumPy then requests the
numbers of y. Numbers carry no derivative, so y raises an error. The frame of the request identifies
the expression in the user's source, and the loss runs again with a function call in its place::

    table[y]      ->   subscript(table, y)
    X.dot(w)      ->   method(X, "dot", w)
    sin(w[0])     ->   function(sin, w[0])

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
import math
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache, reduce
from importlib import import_module
from importlib.util import find_spec
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, TypeAlias, TypeVar

import numpy as np

from gradlab.arrays.dispatch import NUMERICAL, first_traced, has_traced, held, is_buffer
from gradlab.arrays.places import is_librarys, is_users, place_of
from gradlab.arrays.refusals import refuse
from gradlab.errors import UntraceableError
from gradlab.forking import ForkLock

T = TypeVar("T")
Span: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""First and last line, first and last column of an expression."""

_FLAGS = [getattr(features, name).compiler_flag for name in features.all_feature_names]
_FEATURES = reduce(int.__or__, _FLAGS) & ~inspect.CO_NESTED
"""The compiler flags of ``from __future__ import``. CO_NESTED is left out: nested scopes are always
on, and the flag marks a code object inside another."""


class RewriteError(UntraceableError):
    """An expression of the user's code gives a traced array to a plain one."""

    def __init__(self, frame: FrameType, span: Span, source: str) -> None:
        super().__init__(
            f"a traced value is given to a plain array, or to a function that takes numbers alone "
            f"({place_of(frame)}): write np.take(array, index, axis=0), np.dot(array, x) or "
            f"np.sin(x), or use {NUMERICAL}"
        )
        self.code, self.span, self.source = frame.f_code, span, source


def raise_if_rewritable(frame: FrameType) -> None:
    """Raise `RewriteError` if a frame of the user's code reads brackets or calls a method.

    It may be the frame that called the function of NumPy's or SciPy's whose frame this is.
    """
    while is_librarys(frame.f_code.co_filename) and frame.f_back is not None:
        frame = frame.f_back
    code = frame.f_code
    if is_users(code.co_filename):
        span = list(code.co_positions())[frame.f_lasti // 2]
        source = "".join(linecache.getlines(code.co_filename, frame.f_globals))
        if span in _places(source):
            refuse(RewriteError(frame, span, source))


# What replaces the expressions


def subscript(container: Any, index: Any) -> Any:
    """Return ``container[index]``; a plain array may be indexed by a traced one.

    Examples
    --------
    >>> subscript(np.arange(3), 1)
    np.int64(1)
    """
    traced = first_traced(index) if isinstance(container, np.ndarray) else None
    if traced is None or not _is_plain(container):
        return container[index]
    return traced.library.entries(traced, held(container), index)


def method(owner: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Return ``owner.name(*args, **kwargs)``; a plain array may be given a traced one.

    Examples
    --------
    >>> method(np.ones(2), "dot", np.ones(2))
    np.float64(2.0)
    """
    if isinstance(owner, ModuleType):
        return function(getattr(owner, name), *args, **kwargs)
    traced = first_traced((args, kwargs)) if isinstance(owner, np.ndarray) else None
    if traced is None or not _is_plain(owner):
        return getattr(owner, name)(*args, **kwargs)
    return getattr(traced.library.constant(traced, held(owner)), name)(*args, **kwargs)


def function(called: Any, *args: Any, **kwargs: Any) -> Any:
    """Return ``called(*args, **kwargs)``, also for traced numbers and lists of them.

    NumPy's functions take a list where they take an array. For a function of `math`, NumPy's is
    called, and a type of NumPy's numbers is a cast.

    Examples
    --------
    >>> function(math.hypot, 3.0, 4.0)
    5.0
    """
    if not has_traced((args, kwargs)):
        return called(*args, **kwargs)
    if isinstance(called, type) and issubclass(called, (np.inexact, float)):
        number = as_traced(args[0]).astype(called)
        return np.reshape(number, ()) if called is float else number
    instead = _of_math(called)
    package = (getattr(called, "__module__", None) or "numpy").partition(".")[0]
    if instead is called and package not in _OF_ARRAYS:
        return called(*args, **kwargs)
    named = {key: as_traced(value) for key, value in kwargs.items()}
    return instead(*map(as_traced, args), **named)


def _of_math(called: Any) -> Any:
    """Return NumPy's or SciPy's function of arrays for one of single numbers."""
    if (name := _OF_SPECIAL.get(called)) is not None and find_spec("scipy") is not None:
        return getattr(import_module("scipy.special"), name)
    return _OF_MATH.get(called, called)


def _log(x: Any, base: Any = None) -> Any:
    return np.log(x) if base is None else np.log(x) / np.log(base)


_OF_MATH: dict[Any, Callable[..., Any]] = {
    **{
        getattr(math, name): getattr(np, name)
        for name in """
            exp expm1 exp2 log2 log10 log1p sqrt cbrt sin cos tan sinh cosh tanh degrees radians
            copysign fmod hypot fabs isnan isinf isfinite
        """.split()
        if hasattr(math, name)
    },
    **{getattr(math, f"a{name}"): getattr(np, f"arc{name}") for name in ("sin", "cos", "tan")},
    **{getattr(math, f"a{name}h"): getattr(np, f"arc{name}h") for name in ("sin", "cos", "tan")},
    math.atan2: np.arctan2,
    math.pow: np.power,
    math.log: _log,
    math.fsum: lambda items: np.sum(as_traced(list(items))),
    math.prod: lambda items, start=1: np.prod(as_traced(list(items))) * start,
    math.dist: lambda a, b: np.linalg.norm(as_traced(a) - as_traced(b)),
}
_OF_SPECIAL = {
    math.erf: "erf",
    math.erfc: "erfc",
    math.gamma: "gamma",
    math.lgamma: "gammaln",
}
"""Functions of Python's `math`, and their counterparts in NumPy or scipy.special."""


_OF_ARRAYS = ("numpy", "scipy")
"""Packages whose functions take an array where they take a list of numbers."""


def as_traced(value: Any) -> Any:
    """Return a value with nested lists of traced values as one traced array.

    Examples
    --------
    >>> as_traced([1.0, 2.0])
    [1.0, 2.0]
    """
    value = held(value)
    if isinstance(value, (list, tuple)) and has_traced(value):
        return np.stack([as_traced(item) for item in value])
    return value


def _is_plain(array: Any) -> bool:
    return type(array) is np.ndarray or is_buffer(array)


# Replacing them


def following_rewrites(run: Callable[[], T]) -> T:
    """Run a function that traces a loss; run it again whenever the loss has to be rewritten.

    Raises
    ------
    RewriteError
        If the source of an expression does not match the code that is running.
    """
    seen: set[Any] = set()
    while True:
        try:
            return run()
        except RewriteError as error:
            if (error.code, error.span) in seen or not _rewrite(error):
                raise
            seen.add((error.code, error.span))


_lock = ForkLock()

_spans: dict[tuple[str, str, int], frozenset[Span]] = {}
"""The replaced expressions of each file, with its source and its compiler flags."""


def _rewrite(error: RewriteError) -> bool:
    """Replace an expression in all functions that contain it; tell whether any changed."""
    file = error.code.co_filename
    key = file, error.source, error.code.co_flags & _FEATURES
    with _lock.held:
        before = _spans.get(key, frozenset())
        after = _spans[key] = before | {error.span}
        new = _compiled(*key, after)
        changed = {}
        for spans in (frozenset(), before):
            pairs = zip(_compiled(*key, spans), new, strict=True)
            changed.update({old: code for old, code in pairs if old != code})
        if error.code not in changed:
            return error.code in new and error.span in before  # another thread was first
        for function in gc.get_objects():
            if type(function) is FunctionType and function.__code__.co_filename == file:
                function.__code__ = changed.get(function.__code__, function.__code__)
    return True


@lru_cache(maxsize=64)
def _compiled(file: str, source: str, flags: int, spans: frozenset[Span]) -> list[CodeType]:
    """Return all code of a file in which these expressions are replaced."""
    tree = _Calls(spans).visit(_parsed(source))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of the call of a constant
        code = compile(tree, file, "exec", flags, dont_inherit=True)
    return list(_all_code(_with_functions(code)))


@lru_cache(maxsize=16)
def _places(source: str) -> frozenset[Span]:
    """Return the expressions of a file that read brackets or call a method."""
    return frozenset(
        _span(node) for node in ast.walk(_parsed(source)) if _is_read(node) or _is_call(node)
    )


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # does not match the running code
        return ast.Module([], [])


def _span(node: Any) -> Span:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _is_read(node: ast.AST) -> bool:
    """Tell whether a node reads brackets."""
    return isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, (ast.Attribute, ast.Name))


_FUNCTIONS = {f"<gradlab: {f.__name__}>": f for f in (subscript, method, function, slice)}
_SUBSCRIPT, _METHOD, _FUNCTION, _SLICE = _FUNCTIONS
"""Constants that stand for functions, because a syntax tree cannot hold functions."""


class _Calls(ast.NodeTransformer):
    """Replaces brackets and calls by calls of functions."""

    def __init__(self, spans: frozenset[Span]) -> None:
        self._spans = spans

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Replace brackets at a requested span, and the expressions inside them."""
        self.generic_visit(node)
        if not (_is_read(node) and _span(node) in self._spans):
            return node
        return self._call(_SUBSCRIPT, node, [node.value, self._value(node.slice)], [])

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Replace a call at a requested span, and the expressions in its arguments."""
        self.generic_visit(node)
        called = node.func
        if not (_is_call(node) and _span(node) in self._spans):
            return node
        if isinstance(called, ast.Attribute):
            given = [called.value, ast.Constant(called.attr), *node.args]
            return self._call(_METHOD, node, given, node.keywords)
        return self._call(_FUNCTION, node, [called, *node.args], node.keywords)

    def _call(
        self, function: str, node: ast.AST, args: list[ast.expr], keywords: list[ast.keyword]
    ) -> ast.AST:
        call = ast.Call(ast.Constant(function), args, keywords)
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def _value(self, index: ast.expr) -> ast.expr:
        """Return the content of brackets as an expression."""
        if isinstance(index, ast.Tuple):
            index.elts = [self._value(part) for part in index.elts]
        if not isinstance(index, ast.Slice):
            return index
        ends = [end or ast.Constant(None) for end in (index.lower, index.upper, index.step)]
        return ast.copy_location(ast.Call(ast.Constant(_SLICE), ends, []), index)


def _with_functions(code: CodeType) -> CodeType:
    """Replace the constants by the functions that they stand for."""
    consts = [
        _with_functions(c)
        if isinstance(c, CodeType)
        else _FUNCTIONS.get(c, c)
        if type(c) is str
        else c
        for c in code.co_consts
    ]
    return code.replace(co_consts=tuple(consts))


def _all_code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_code(constant)
