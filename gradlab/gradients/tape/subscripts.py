"""``table[y]``, where the table is a plain array and the labels y are traced.

Python asks the table alone, ``table.__getitem__(y)``, and NumPy then asks y for its numbers, which
would be constants of the recording. So y refuses. But the frame that asks says which brackets in
the user's source these are, and the loss is recorded again with a function call in their place::

    np.eye(k)[y]   ->   subscript(np.eye(k), y)

The user's functions keep their identity, closures and globals. While the recorder's lock is held,
those with these brackets in them get another code object: that of their source, changed and
compiled. `subscript` does what brackets do, but where a plain array meets a traced index; so other
threads may call these functions meanwhile. The source is trusted only if it compiles to the very
code that is running: code without source, or of a file that was edited, stays refused.
"""

from __future__ import annotations
import __future__ as features

import ast
import gc
import linecache
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, reduce
from types import CodeType, FrameType, FunctionType
from typing import Any, TypeAlias, TypeVar

import numpy as np

from gradlab.arrays.indexing import gather_at, is_traced
from gradlab.arrays.places import is_users
from gradlab.errors import UntraceableError

T = TypeVar("T")
Span: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""First and last line, first and last column of an expression."""

_FLAGS = [getattr(features, name).compiler_flag for name in features.all_feature_names]
_FEATURES = reduce(int.__or__, _FLAGS)


class SubscriptError(UntraceableError):
    """A plain array is indexed by traced integers, in these brackets of the user's."""

    def __init__(self, code: CodeType, span: Span, source: str) -> None:
        super().__init__(
            "a plain array is indexed by traced integers: write np.take(array, index, axis=0)"
        )
        self.code, self.span, self.source = code, span, source
        self.flags = code.co_flags & _FEATURES


def raise_if_subscript(frame: FrameType) -> None:
    """Raise `SubscriptError` if this frame of the user's is at brackets."""
    code = frame.f_code
    if is_users(code.co_filename):
        span = list(code.co_positions())[frame.f_lasti // 2]
        source = "".join(linecache.getlines(code.co_filename, frame.f_globals))
        if span in _brackets(source):
            raise SubscriptError(code, span, source)


def subscript(container: Any, index: Any) -> Any:
    """Return ``container[index]``; a plain array may be indexed by traced integers."""
    if type(container) is np.ndarray and is_traced(index):
        return gather_at(container, index)
    return container[index]


def following_subscripts(record: Callable[[], T]) -> T:
    """Record; where brackets have to be replaced, replace them, and record again."""
    replaced: set[tuple[str, Span]] = set()
    codes: dict[CodeType, CodeType] = {}
    while True:
        try:
            with _functions_have(codes):
                return record()
        except SubscriptError as error:
            file = error.code.co_filename
            if (file, error.span) in replaced:
                raise
            known = _known.setdefault((file, error.source), set())
            known.add(error.span)
            changed = _recompiled(error.source, file, error.flags, frozenset(known))
            if error.code not in {*changed, *changed.values(), *codes.values()}:
                raise
            replaced |= {(file, span) for span in known}
            codes |= changed


_known: dict[tuple[str, str], set[Span]] = {}
"""The brackets of each file that have been replaced so far: all of them at once, next time."""


@contextmanager
def _functions_have(codes: dict[CodeType, CodeType]) -> Iterator[None]:
    """Give each function that has the one code the other for a while."""
    files = {code.co_filename for code in codes}
    functions = [
        f
        for f in (gc.get_objects() if codes else ())
        if type(f) is FunctionType and f.__code__.co_filename in files and f.__code__ in codes
    ]
    before = [function.__code__ for function in functions]
    try:
        for function in functions:
            function.__code__ = codes[function.__code__]
        yield
    finally:
        for function, code in zip(functions, before, strict=True):
            function.__code__ = code


@lru_cache(maxsize=64)
def _recompiled(
    source: str, file: str, flags: int, spans: frozenset[Span]
) -> dict[CodeType, CodeType]:
    """Return all code of a file in which something changes where these brackets are replaced."""
    compiled = []
    for tree in (_parsed(source), _Calls(spans).visit(_parsed(source))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of the call of a constant
            compiled.append(compile(tree, file, "exec", flags, dont_inherit=True))
    pairs = zip(_all_code(compiled[0]), _all_code(_with_functions(compiled[1])), strict=True)
    return {old: new for old, new in pairs if old != new}


@lru_cache(maxsize=16)
def _brackets(source: str) -> frozenset[Span]:
    """Return where in a file something is read out of brackets."""
    return frozenset(_span(node) for node in ast.walk(_parsed(source)) if _is_read(node))


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # not what is running
        return ast.Module([], [])


def _span(node: Any) -> Span:
    return node.lineno, node.end_lineno, node.col_offset, node.end_col_offset


def _is_read(node: ast.AST) -> bool:
    """Tell whether a node is brackets out of which something is read."""
    return isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load)


_FUNCTIONS = {f"<gradlab: {function.__name__}>": function for function in (subscript, slice)}
_SUBSCRIPT, _SLICE = _FUNCTIONS
"""Constants in the place of functions, which a syntax tree cannot hold."""


class _Calls(ast.NodeTransformer):
    """Replaces brackets by calls."""

    def __init__(self, spans: frozenset[Span]) -> None:
        self._spans = spans

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Replace the brackets, if these are meant; inside of them as well."""
        self.generic_visit(node)
        if not (_is_read(node) and _span(node) in self._spans):
            return node
        given = [node.value, self._value(node.slice)]
        call = ast.Call(ast.Constant(_SUBSCRIPT), given, [])
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def _value(self, index: ast.expr) -> ast.expr:
        """Return what is between brackets as an expression."""
        if isinstance(index, ast.Tuple):
            index.elts = [self._value(part) for part in index.elts]
        if not isinstance(index, ast.Slice):
            return index
        ends = [end or ast.Constant(None) for end in (index.lower, index.upper, index.step)]
        return ast.copy_location(ast.Call(ast.Constant(_SLICE), ends, []), index)


def _with_functions(code: CodeType) -> CodeType:
    """Put the functions where the constants stand for them."""
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
