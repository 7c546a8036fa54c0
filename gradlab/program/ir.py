"""The intermediate representation: a loss (or its gradient) as a flat list of array operations.

A `Program` is a directed acyclic graph, stored in an order in which it can be run. Each `Node` is
one value: the function that computes it (`primitive`), its arguments (`operands`, `keywords`), and
its `shape` and `dtype`. Operands are nodes or literals: numbers, axes, and captured arrays::

    inputs (parameters, arguments)  ->  nodes  ->  outputs

Nodes are immutable and compared by identity, so that programs can share them. A pass that rewrites
a program makes a new one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One value of a program."""

    # The pure function that computes it: NumPy's, or one of `stand_ins`; None for an input.
    primitive: Callable[..., Any] | None
    operands: tuple[Any, ...] = ()  # its positional arguments: nodes and literals
    keywords: Mapping[str, Any] = field(default_factory=dict)  # all literals
    # None if the value is not an array or a number, such as a tuple of arrays.
    shape: tuple[int, ...] | None = None
    dtype: np.dtype[Any] | None = None
    name: str = ""  # of an input
    place: tuple[str, int] | None = None  # file and line of the operation in the loss

    def __repr__(self) -> str:
        made = self.name or f"{name_of(self.primitive)}(...)"
        return f"<{made}: {describe(self)}>"

    @property
    def sources(self) -> Iterator[Node]:
        """The operands that are nodes."""
        return (operand for operand in self.operands if isinstance(operand, Node))

    def with_operands(self, operands: tuple[Any, ...]) -> Node:
        """Return a node with the same operation on other operands."""
        return Node(
            self.primitive, operands, self.keywords, self.shape, self.dtype, self.name, self.place
        )

    def evaluate(self, *operands: Any) -> Any:
        """Apply the primitive to the given values of the operands."""
        assert self.primitive is not None
        return self.primitive(*operands, **self.keywords)


@dataclass(frozen=True)
class Guard:
    """A branch on data that the loss took while it was recorded."""

    node: Node  # the value; it does not depend on the parameters
    taken: bool  # its truth value; if a replay finds the opposite, the program is not valid
    place: str  # the line of the branch in the loss


@dataclass(frozen=True)
class Program:
    """Array operations in execution order.

    Examples
    --------
    >>> x = Node(None, shape=(2,), dtype=np.dtype(float), name="x")
    >>> y = Node(np.exp, (x,), shape=(2,), dtype=np.dtype(float))
    >>> z = Node(np.multiply, (y, 3.0), shape=(2,), dtype=np.dtype(float))
    >>> program = Program((x,), (y, z), (z,))
    >>> print(program)
    def program(x):  # (2,) float64
        v0 = exp(x)  # (2,) float64
        v1 = multiply(v0, 3.0)  # (2,) float64
        return v1
    >>> program.run([np.zeros(2)])
    [array([3., 3.])]
    """

    inputs: tuple[Node, ...]  # the leaves of the parameters, then the arrays of the arguments
    nodes: tuple[Node, ...]  # all values, each after its operands
    # Nodes, or literals where an output is constant: the loss, and perhaps its derivative by each
    # leaf.
    outputs: tuple[Any, ...]
    guards: tuple[Guard, ...] = ()  # conditions for the program to be valid

    @property
    def roots(self) -> tuple[Any, ...]:
        """The values that must be computed: the outputs and the guards' values."""
        return (*self.outputs, *(guard.node for guard in self.guards))

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Evaluate the outputs node by node: slow; it defines the meaning of a program."""
        values = self.values(inputs)
        return [values[o] if isinstance(o, Node) else o for o in self.outputs]

    def values(self, inputs: Sequence[Any]) -> dict[Node, Any]:
        """Return the value of each node."""
        values: dict[Node, Any] = dict(zip(self.inputs, inputs, strict=True))
        for node in self.nodes:
            operands = [values[o] if isinstance(o, Node) else o for o in node.operands]
            values[node] = node.evaluate(*operands)
        return values

    def __str__(self) -> str:
        names = names_of(self)

        def write(operand: Any) -> str:
            return names[operand] if isinstance(operand, Node) else literal(operand)

        arguments = ", ".join(names[node] for node in self.inputs)
        shapes = "; ".join(describe(node) for node in self.inputs)
        lines = [f"def program({arguments}):  # {shapes}"]
        for node in self.nodes:
            given = [write(operand) for operand in node.operands]
            given += [f"{key}={literal(value)}" for key, value in node.keywords.items()]
            call = f"{name_of(node.primitive)}({', '.join(given)})"
            lines.append(f"    {names[node]} = {call}  # {describe(node)}")
        for guard in self.guards:
            lines.append(f"    assert bool({names[guard.node]}) is {guard.taken}  # {guard.place}")
        lines.append(f"    return {', '.join(map(write, self.outputs))}")
        return "\n".join(lines)


def reachable(inputs: Sequence[Node], roots: Iterable[Any]) -> tuple[Node, ...]:
    """Return the nodes that the roots need, without inputs, each after its operands."""
    order: dict[Node, None] = {}
    known = set(inputs)
    stack = [(root, False) for root in reversed([r for r in roots if isinstance(r, Node)])]
    while stack:
        node, operands_done = stack.pop()
        if operands_done:
            order[node] = None
        elif node not in known:
            known.add(node)
            stack.append((node, True))
            stack += [(o, False) for o in reversed(node.operands) if isinstance(o, Node)]
    return tuple(order)


def names_of(program: Program) -> dict[Node, str]:
    """Give each node a valid Python name: inputs their own, others by number."""
    names: dict[Node, str] = {}
    taken: set[str] = set()
    for position, node in enumerate(program.inputs):
        name = re.sub(r"\W+", "_", node.name).strip("_") or f"input{position}"
        name = name if name[0].isalpha() and not re.fullmatch(r"v\d+", name) else f"_{name}"
        while name in taken:
            name += "_"
        taken.add(name)
        names[node] = name
    for position, node in enumerate(program.nodes):
        names[node] = f"v{position}"
    return names


def name_of(primitive: Any) -> str:
    """Return the printed name of a function."""
    return str(getattr(primitive, "__name__", primitive))


def describe(node: Node) -> str:
    """Write a value's shape and dtype.

    Examples
    --------
    >>> describe(Node(None, shape=(100, 50), dtype=np.dtype("float32")))
    '(100, 50) float32'
    """
    return "object" if node.dtype is None else f"{node.shape} {name_of_dtype(node.dtype)}"


@cache
def name_of_dtype(dtype: np.dtype[Any]) -> str:
    """Return ``str(dtype)``, cached because NumPy builds it anew each time."""
    return str(dtype)


def literal(value: Any) -> str:
    """Write a literal on one line; an array by its shape and dtype."""
    if isinstance(value, np.ndarray) and value.size > 4:
        return f"<{value.shape} {value.dtype}>"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' * (len(value) == 1)})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, slice):
        ends = [value.start, value.stop] + [value.step] * (value.step is not None)
        return ":".join("" if end is None else literal(end) for end in ends)
    if value is Ellipsis:
        return "..."
    if isinstance(value, (np.dtype, type)):
        return getattr(value, "__name__", None) or str(value)
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"<{type(value).__name__}>"
