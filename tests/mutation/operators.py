"""What a mutant is: one small fault in one expression or statement of a module.

A mutant is found in the syntax tree and spliced into the text, so that the code before it keeps
its lines. What computes nothing is left alone: annotations, assertions, messages, what an object
prints as, a `return` or `continue` at the end of its block. So is what changes no result that a
test could name: the boundary between two measured numbers, guards against division by zero.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip

BOUNDARY: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
}  # fmt: skip

ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip

NAMES = {"min": "max", "any": "all", "minimum": "maximum", "fmin": "fmax", "argmin": "argmax"}
NAMES |= {after: before for before, after in NAMES.items()}

COUNTS = ("len", "prod", "count_nonzero", "size", "ndim", "nbytes")
"""Functions and attributes whose values are counts. Their boundaries are tested; that of a
measured number is not, as in ``error < 1e-3``: no test meets it but by chance."""

UNCOUNTED = ("stacklevel", "maxsize", "repr", "indent", "strict", "kw_only", "compare", "optimize")
"""Keyword arguments that do not affect numbers."""

PRINTED = ("__repr__", "__str__", "_repr_html_")
"""Methods that only print."""

GUARD = 1e-100
"""Magnitude below which a number only guards a division against zero."""


@dataclass(frozen=True)
class Mutant:
    """A fault in a module.

    Attributes
    ----------
    file : str
        The module, from the root of the repository.
    number : int
        The line at which it stands.
    statement : int
        The line at which the statement around it begins.
    line : str
        The line of the change without its indentation: with the change, what a mutant is known by.
    change : str
        ``before → after``.
    nth : int
        Which of the mutants of the same file, line and change it is, counted from 0.
    function : str
        The outermost function around it, ``Class.method`` of a method; empty at module level.
    start, end : int
        Where the changed text lies in the source.
    text : str
        What takes its place.
    """

    file: str
    number: int
    statement: int
    line: str
    change: str
    nth: int
    function: str
    start: int
    end: int
    text: str

    @property
    def key(self) -> str:
        """The identity of the mutant, which does not change when lines move."""
        return f"{self.file}: {self.line}: {self.change}" + (f" ({self.nth})" if self.nth else "")

    def applied(self, source: str) -> str:
        """Return the source with the fault in it."""
        return source[: self.start] + self.text + source[self.end :]

    def order(self, seed: int) -> bytes:
        """Return the sort key of the mutant in the random order of a seed."""
        return hashlib.sha256(f"{seed} {self.key}".encode()).digest()


def mutants_of(file: str, source: str) -> list[Mutant]:
    """Return all mutants of a module.

    Examples
    --------
    >>> for mutant in mutants_of("f.py", "def f(x):\\n    return x + 2 if x < 1 else x\\n"):
    ...     print(mutant.change)
    x + 2 if x < 1 else x → None
    x < 1 → not x < 1
    x < 1 → x <= 1
    1 → 10
    1 → 0
    x + 2 → x - 2
    2 → 20
    2 → 0.2
    """
    finder = _Finder(file, source)
    finder.visit(ast.parse(source))
    return finder.found


class _Finder(ast.NodeVisitor):
    """Walk the syntax tree and collect the mutants."""

    def __init__(self, file: str, source: str) -> None:
        self.file, self.source, self.found = file, source, list[Mutant]()
        self._scope: list[ast.AST] = []
        self._statement = 1
        self._seen: dict[tuple[str, str], int] = {}
        self._leave: set[ast.AST] = set()

    @cached_property
    def _lines(self) -> list[str]:
        return self.source.splitlines(keepends=True)

    @cached_property
    def _starts(self) -> list[int]:
        starts = [0]
        for line in self._lines:
            starts.append(starts[-1] + len(line))
        return starts

    def _offset(self, number: int, column: int) -> int:
        """Return the position of a place: columns of the tree count bytes of UTF-8."""
        line = self._lines[number - 1].encode()[:column].decode()
        return self._starts[number - 1] + len(line)

    def note(self, node: ast.expr | ast.stmt, after: ast.AST | str) -> None:
        """Add the mutant in which a node is replaced by another one."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        new = after if isinstance(after, str) else ast.unparse(after)
        before, line = ast.unparse(node), self._lines[node.lineno - 1].strip()
        change = f"{before} → {new}"
        if "\n" in before:
            change = f"{before.splitlines()[0]} ... → {new.splitlines()[0]}"
        nth = self._seen[line, change] = self._seen.get((line, change), -1) + 1
        self.found.append(
            Mutant(
                self.file,
                node.lineno,
                self._statement,
                line,
                change,
                nth,
                ".".join(scope.name for scope in self._outermost()),
                self._offset(node.lineno, node.col_offset),
                self._offset(node.end_lineno, node.end_col_offset),
                new if isinstance(node, ast.stmt) else f"({new})",
            )
        )

    def _outermost(self) -> list[ast.AST]:
        functions = (ast.FunctionDef, ast.AsyncFunctionDef)
        first = next((k for k, s in enumerate(self._scope) if isinstance(s, functions)), None)
        return [] if first is None else self._scope[: first + 1]

    def visit(self, node: ast.AST) -> None:
        if isinstance(node, ast.stmt):
            self._statement = node.lineno
        super().visit(node)

    # Scopes

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._scope.append(node)
        for statement in node.body:
            self.visit(statement)
        self._scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        if node.name in PRINTED:
            return
        self._leave.update(_ends(node.body, ast.Return))
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        self._scope.append(node)
        for statement in node.body:
            self.visit(statement)
        self._scope.pop()

    # Statements

    def visit_Expr(self, node: ast.Expr) -> None:
        silent = isinstance(node.value, ast.Constant | ast.Yield | ast.YieldFrom)
        if not silent and not _is_message(node.value):
            self.note(node, "pass")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        if not all(isinstance(target, ast.Name) for target in node.targets) and self._scope:
            self.note(node, "pass")
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None and ast.unparse(node.annotation) != "TypeAlias":
            self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self.note(node, "pass")
        if type(node.op) in ARITHMETIC:
            other = copy.copy(node)
            other.op = ARITHMETIC[type(node.op)]()
            self.note(node, other)
        self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not _is_none(node.value):
            if ast.unparse(node.value) != "False":  # None is as false
                self.note(node.value, "None")
        elif node not in self._leave:
            self.note(node, "pass")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        if ast.unparse(node) != "raise NotImplementedError":
            self.note(node, "pass")

    def visit_Break(self, node: ast.Break) -> None:
        self.note(node, "pass")

    def visit_Continue(self, node: ast.Continue) -> None:
        if node not in self._leave:
            self.note(node, "pass")

    def visit_For(self, node: ast.For) -> None:
        self._leave.update(_ends(node.body, ast.Continue))
        self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> None:
        """Skip annotations, which only the type checker reads."""

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) != "TYPE_CHECKING":
            self._negate(node.test)
            self.generic_visit(node)

    def visit_While(self, node: ast.While) -> None:
        self._leave.update(_ends(node.body, ast.Continue))
        self._negate(node.test)
        self.generic_visit(node)

    # Expressions

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Skip messages."""

    def visit_IfExp(self, node: ast.IfExp) -> None:
        self._negate(node.test)
        for child in (node.test, node.body, node.orelse):
            self.visit(child)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.note(test, "True")
        self.generic_visit(node)

    def _negate(self, test: ast.expr) -> None:
        if not isinstance(test, ast.UnaryOp | ast.Constant):  # a `not` is dropped below
            self.note(test, ast.UnaryOp(ast.Not(), test))
            if isinstance(test, ast.Compare) and len(test.ops) == 1:
                self._leave.add(test)

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        for k, op in enumerate(node.ops):
            counts = type(op) in BOUNDARY and any(map(_counts, sides[k : k + 2]))
            other = (BOUNDARY if counts else NEGATED)[type(op)]
            if counts or node not in self._leave:  # else it is negated already
                self.note(node, ast.Compare(node.left, _put(node.ops, k, other()),
                                            node.comparators))  # fmt: skip
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self.note(node, ast.BoolOp(other, node.values))
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if isinstance(node.op, ast.USub) and _number(node.operand) is not None:
            self._scale(node)
            return
        self.note(node, node.operand)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Pow) and _number(node.left) and _number(node.right) is not None:
            self._scale(node)
            return
        if type(node.op) in ARITHMETIC:
            self.note(node, ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.note(node, str(not node.value))
        elif isinstance(node.value, int | float):
            self._scale(node)

    def _scale(self, node: ast.expr) -> None:
        value = _number(node)
        if value and abs(value) < GUARD:
            return
        if not value:
            self.note(node, "1" if isinstance(value, int) else "1.0")
        else:
            self.note(node, _text(node, value * 10, "10 * "))
            self.note(node, "0" if value == 1 and isinstance(value, int) else
                      _text(node, value / 10, "0.1 * "))  # fmt: skip

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in NAMES:
            self.note(node, NAMES[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in NAMES:
            self.note(node, ast.Attribute(node.value, NAMES[node.attr]))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Skip the -1 of a shape: any negative number has the same meaning."""
        self.visit(node.func)
        is_shape = isinstance(node.func, ast.Attribute) and node.func.attr == "reshape"
        for argument in node.args:
            if not (is_shape and ast.unparse(argument) == "-1"):
                self.visit(argument)
        for keyword in node.keywords:
            self.visit(keyword)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg not in UNCOUNTED and ast.unparse(node) != "copy=False":
            self.generic_visit(node)


def _ends(body: list[ast.stmt], kind: type[ast.stmt]) -> list[ast.stmt]:
    """Return the statements of a kind after which their block ends in any case."""
    match body[-1:]:
        case [ast.Match(cases=cases)]:
            return [end for case in cases for end in _ends(case.body, kind)]
        case [ast.If(body=yes, orelse=no)]:
            return _ends(yes, kind) + _ends(no, kind)
        case [ast.With(body=inner)]:
            return _ends(inner, kind)
        case [last] if isinstance(last, kind):
            return [last]
    return []


def _is_message(node: ast.expr) -> bool:
    """Return whether a call only adds a line to a message."""
    return isinstance(node, ast.Call) and any(isinstance(a, ast.JoinedStr) for a in node.args)


def _counts(node: ast.expr) -> bool:
    """Tell whether an expression is a count: 3, len(x), x.size, x.shape[0]."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int)
        case ast.UnaryOp(operand=operand):
            return _counts(operand)
        case ast.BinOp(left=left, right=right):
            return _counts(left) and _counts(right)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in COUNTS
        case ast.Attribute(attr=name):
            return name in COUNTS
        case ast.Subscript(value=ast.Attribute(attr=name)):
            return name == "shape"
    return False


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _number(node: ast.expr) -> float | None:
    """Return the value of a literal number such as 3, -3 or 2.0**-3, and None for other nodes."""
    match node:
        case ast.Constant(value=bool()):
            return None
        case ast.Constant(value=int() | float() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            value = _number(operand)
            return None if value is None else -value
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, power = _number(left), _number(right)
            return None if base is None or power is None else float(base) ** power
    return None


def _text(node: ast.expr, value: float, factor: str) -> str:
    written = ast.unparse(node)
    return factor + written if isinstance(node, ast.BinOp) else f"{value:g}"


def _put(values: list[ast.cmpop], k: int, value: ast.cmpop) -> list[ast.cmpop]:
    return [*values[:k], value, *values[k + 1 :]]


def sources(root: Path, patterns: tuple[str, ...]) -> dict[str, str]:
    """Return the source of every module that matches one of the patterns."""
    files = sorted({file for pattern in patterns for file in root.glob(pattern)})
    return {str(file.relative_to(root)): file.read_text() for file in files}
