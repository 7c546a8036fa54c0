"""The lines of the generated module, and the names in it."""

from __future__ import annotations

import inspect
import keyword
from itertools import count
from typing import Any

import numpy as np

from gradlab.program.ir import (
    Node,
    Program,
    describe,
    literal,
    name_of,
    name_of_dtype,
    names_of,
)
from gradlab.program.pieces import is_number
from gradlab.program.primitives import primitive_of

_DISPATCHER = type(np.dot)
"""NumPy's wrapper of a function, which looks for `__array_function__`; plain arrays do not need
it."""


class Code:
    """The generated lines for the setup and for each call, and the names in them."""

    def __init__(self, program: Program, scope: dict[str, Any]) -> None:
        self.once: list[str] = []  # the lines of the setup
        self.each: list[str] = []  # those of each call
        self.scope = scope  # the objects that the generated module finds under their names
        self.names = names_of(program)
        for node in program.inputs:
            self.names[node] = f"in_{self.names[node]}"
        self._numbers = count()

    def do(self, line: str, node: Node | None = None) -> None:
        """Add a line to each call, with a comment that describes the node."""
        self.each.append(line if node is None else f"{line}  # {describe(node)}")

    def do_once(self, line: str, node: Node | None = None) -> None:
        """Do something once."""
        self.once.append(line if node is None else f"{line}  # {describe(node)}")

    def once_as(self, name: str, expression: str) -> str:
        """Assign an expression to a name, unless it already has one."""
        line = f"{name} = {expression}"
        if line not in self.once:
            self.do_once(line)
        return name

    def operand(self, operand: Any) -> str:
        """Write an operand: a name or a literal."""
        if isinstance(operand, Node):
            return self.names[operand]
        if operand is None or type(operand) in (bool, int, str):
            return repr(operand)
        if isinstance(operand, tuple) and all(type(part) in (int, bool) for part in operand):
            return repr(operand)
        return self.constant(operand)

    def operands(self, node: Node) -> str:
        """Write all operands of a node."""
        return ", ".join(map(self.operand, node.operands))

    def number(self, operand: Any, node: Node) -> str:
        """Write an operand; write a number as an array, to save its conversion at each call."""
        if not is_number(operand) or node.primitive is np.power:
            return self.operand(operand)
        dtypes = {source.dtype for source in node.sources}
        number = None
        if isinstance(operand, np.generic):
            number = np.asarray(operand)
        elif len(dtypes) == 1:
            (dtype,) = dtypes
            if dtype is not None and dtype.kind == "f" and not isinstance(operand, complex):
                with np.errstate(all="ignore"):
                    number = np.asarray(operand, dtype)
                number = number if np.isfinite(number) else None
        if number is None:
            return self.operand(operand)
        if node.primitive in (np.maximum, np.minimum) and node.shape is not None:
            number = np.full(node.shape, number)  # three times as fast as with one number
        return self.constant(number)

    def constant(self, value: Any, kind: str = "constant") -> str:
        """Return the name under which the generated code finds an object."""
        if isinstance(value, np.dtype):
            name = f"{name_of_dtype(value)}_" if value.isnative else f"dtype{next(self._numbers)}"
            self.scope[name] = value
            return name
        if isinstance(value, str):
            return repr(value)
        name = f"{kind}{next(self._numbers)}"
        self.scope[f"_{name}"] = value
        self.do_once(f"{name} = _{name}  # {literal(value)}")
        return name

    def function(self, function: Any, name: str = "") -> str:
        """Return the name of a function in the generated code."""
        if isinstance(function, _DISPATCHER):
            function = inspect.unwrap(function)
        name = name or name_of(function)
        name = name if name.isidentifier() and not keyword.iskeyword(name) else "function"
        # Generated names end in digits or begin with in_; names of the user's functions must not.
        while name[-1].isdigit() or name.startswith("in_") or name in self.scope:
            name = f"f_{name}_"
        while not _is_same(self.scope.get(f"_{name}", function), function):
            name += "_"
        if f"_{name}" not in self.scope:
            self.scope[f"_{name}"] = function
            self.once.insert(0, f"{name} = _{name}")
        return name

    def viewed(self, name: str, dtype: np.dtype[Any]) -> str:
        """Write a view of an array as another dtype."""
        return f"{name}.view({self.constant(dtype, 'dtype')})"

    def out(self, node: Node, name: str) -> str:
        """Write the argument for the output array of a primitive."""
        # By position if possible: a keyword takes as long as the addition of ten numbers.
        return f"out={name}" if primitive_of(node.primitive).out == "keyword" else name


def _is_same(a: Any, b: Any) -> bool:
    """Tell whether two functions are the same; each access to a bound method makes a new object."""
    return a is b or (type(a) is type(b) is type(np.add.reduce) and bool(a == b))
