"""The expressions that `gradlab.arrays.rewriting` replaces, in syntax trees of the user's files.

`expressions_in` finds those that can be replaced. `compiled` returns the code of a file in which
some of them are replaced by calls of the functions in `REPLACEMENTS`.
"""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Callable
from functools import lru_cache
from types import CodeType
from typing import Any, TypeAlias

from gradlab.arrays.places import all_code

Span: TypeAlias = tuple[int | None, int | None, int | None, int | None]
"""First and last line, first and last column of an expression."""


@lru_cache(maxsize=64)
def compiled(file: str, source: str, flags: int, spans: frozenset[Span]) -> list[CodeType]:
    """Return all code of a file in which these expressions are replaced."""
    tree = _Calls(spans).visit(_parsed(source))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # of the call of a constant
        code = compile(tree, file, "exec", flags, dont_inherit=True)
    return list(all_code(_with_functions(code)))


@lru_cache(maxsize=16)
def expressions_in(source: str) -> dict[Span, ast.Subscript | None]:
    """Return the expressions of a file that can be replaced; for a write, also its target."""
    found: dict[Span, ast.Subscript | None] = {}
    for node in ast.walk(_parsed(source)):
        if _is_read(node) or _is_call(node):
            found[_span(node)] = None
        elif (target := _target(node)) is not None:
            found[_span(target)] = target
    return found


@lru_cache(maxsize=16)
def copies_in(source: str) -> frozenset[Span]:
    """Return the calls of the method `copy` or `astype` in a file."""
    calls = [node for node in ast.walk(_parsed(source)) if isinstance(node, ast.Call)]
    return frozenset(
        _span(call)
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("copy", "astype")
    )


def _target(node: ast.AST) -> ast.Subscript | None:
    """Return the brackets that a statement writes into, if it can be replaced."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AugAssign):
        target = node.target
    else:
        return None
    is_simple = isinstance(target, ast.Subscript) and all(
        isinstance(part, _REPEATABLE_NODES) for part in ast.walk(target.value)
    )
    return target if is_simple else None  # type: ignore[return-value]


_REPEATABLE_NODES = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.expr_context)
"""Parts of an expression that may be evaluated twice."""


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


REPLACEMENTS: dict[str, Callable[..., Any]] = {"slice": slice}
"""The functions that replace expressions; `gradlab.arrays.replacements` adds its own."""

_PLACEHOLDER = "<gradlab: {}>"
"""A constant that stands for a function, because a syntax tree cannot hold functions."""


class _Calls(ast.NodeTransformer):
    """Replaces brackets and calls by calls of functions."""

    def __init__(self, spans: frozenset[Span]) -> None:
        self._spans = spans

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        """Replace brackets at a requested span, and the expressions inside them."""
        self.generic_visit(node)
        if not (_is_read(node) and _span(node) in self._spans):
            return node
        return self._call("subscript", node, [node.value, self._value(node.slice)], [])

    def visit_Call(self, node: ast.Call) -> Any:
        """Replace a call at a requested span, and the expressions in its arguments."""
        self.generic_visit(node)
        called = node.func
        if not (_is_call(node) and _span(node) in self._spans):
            return node
        if isinstance(called, ast.Attribute):
            given = [called.value, ast.Constant(called.attr), *node.args]
            return self._call("method", node, given, node.keywords)
        return self._call("function", node, [called, *node.args], node.keywords)

    def visit_Assign(self, node: ast.Assign | ast.AugAssign) -> Any:
        """Replace a write at a requested span by one that may give the array's name a buffer."""
        self.generic_visit(node)
        target = _target(node)
        if target is None or _span(target) not in self._spans:
            return node
        array, index = _loaded(target.value), self._value(target.slice)
        if isinstance(node, ast.Assign):
            call = self._call("written", node, [node.value, array, index], [])
        else:
            name = ast.Name("_gradlab_index", ast.Load())
            kept = ast.NamedExpr(ast.Name(name.id, ast.Store()), index)
            current = self._call("subscript", node, [_loaded(target.value), name], [])
            operation = ast.Constant(_IN_PLACE[type(node.op)])
            call = self._call("augmented", node, [array, kept, current, operation, node.value], [])
        return self._rebinding(node, target, call)

    visit_AugAssign = visit_Assign  # noqa: N815

    def _rebinding(self, node: ast.stmt, target: ast.Subscript, call: ast.expr) -> ast.AST:
        """Return the statement that gives the array's name the result, unless that is None."""
        name = "_gradlab_array"
        kept = ast.NamedExpr(ast.Name(name, ast.Store()), call)
        test = ast.Compare(kept, [ast.IsNot()], [ast.Constant(None)])
        new = copy.deepcopy(target.value)
        new.ctx = ast.Store()  # type: ignore[attr-defined]
        rebind = ast.Assign([new], ast.Name(name, ast.Load()))
        forget = ast.Assign([ast.Name(name, ast.Store())], ast.Constant(None))
        statement = ast.If(test, [rebind, forget], [])
        return ast.fix_missing_locations(ast.copy_location(statement, node))

    def _call(
        self, function: str, node: ast.AST, args: list[ast.expr], keywords: list[ast.keyword]
    ) -> Any:
        call = ast.Call(ast.Constant(_PLACEHOLDER.format(function)), args, keywords)
        return ast.fix_missing_locations(ast.copy_location(call, node))

    def _value(self, index: ast.expr) -> ast.expr:
        """Return the content of brackets as an expression."""
        if isinstance(index, ast.Tuple):
            index.elts = [self._value(part) for part in index.elts]
        if not isinstance(index, ast.Slice):
            return index
        ends = [end or ast.Constant(None) for end in (index.lower, index.upper, index.step)]
        return ast.copy_location(
            ast.Call(ast.Constant(_PLACEHOLDER.format("slice")), ends, []), index
        )


_IN_PLACE = {
    ast.Add: "iadd",
    ast.Sub: "isub",
    ast.Mult: "imul",
    ast.Div: "itruediv",
    ast.FloorDiv: "ifloordiv",
    ast.Mod: "imod",
    ast.Pow: "ipow",
    ast.MatMult: "imatmul",
    ast.BitAnd: "iand",
    ast.BitOr: "ior",
    ast.BitXor: "ixor",
    ast.LShift: "ilshift",
    ast.RShift: "irshift",
}
"""The names of operators that write, in the module `operator`."""


def _loaded(container: ast.expr) -> ast.expr:
    """Return a copy of an expression, as one that is read."""
    loaded = copy.deepcopy(container)
    loaded.ctx = ast.Load()  # type: ignore[attr-defined]
    return loaded


def _with_functions(code: CodeType) -> CodeType:
    """Replace the constants by the functions that they stand for."""
    functions = {_PLACEHOLDER.format(name): function for name, function in REPLACEMENTS.items()}
    consts = [
        _with_functions(c)
        if isinstance(c, CodeType)
        else functions.get(c, c)
        if type(c) is str
        else c
        for c in code.co_consts
    ]
    return code.replace(co_consts=tuple(consts))
