"""Turn a program into straight-line Python over buffers that are allocated once.

The generated module has one function, `build`, which makes the buffers, the views of them and
the constants, and returns `replay`, which has them at hand: all that is left to do for each call
is to hand arrays to NumPy, together with the array that takes the result. `Compiled.source` can
be read; each value has there the name that it has in the printed program.

Where the values live. A result that NumPy can write where it is told goes to a buffer, a piece of
*memory* that others may use before and after it: memory is free again after the last use of the
last value in it, views included. An elementwise operation takes the memory of an operand which it
is the last to read. The derivatives are written straight into the arrays of the caller. What a
function that is not known may have kept or returned a view of is never written to again.

Chains of elementwise operations are not fused. In blocks that stay in the cache they take longer
at every size, as the additional calls cost more than the memory that is saved; and one compiled
loop for a chain (numba) gains 2 % of a gradient at batch 1000, where its exp, half as fast as
NumPy's, does not lose that again.
"""

from __future__ import annotations

import inspect
import keyword
import operator
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from math import prod
from typing import Any

import numpy as np
from autograd.numpy.numpy_wrapper import concatenate_args

from gradlab.arrays.indexing import HERE, gather, is_basic
from gradlab.arrays.places import describe_place
from gradlab.gradients.tape.operations import (
    FRESH,
    REDUCTIONS,
    VIEWS,
    bitmask,
    is_elementwise,
    is_pure,
    keep,
    scatter,
    select,
    toggle,
)
from gradlab.gradients.tape.passes import is_number, shape_of
from gradlab.gradients.tape.program import (
    Node,
    Program,
    describe,
    literal,
    name_of,
    name_of_dtype,
    names_of,
)

Replay = Callable[..., float]
"""``replay(*inputs, *outs) -> loss``; the derivatives are written into `outs`."""

ALIGNMENT = 64
_DISPATCHER = type(np.dot)
"""What NumPy puts around a function to look for `__array_function__`, which plain arrays lack."""
END = 1 << 60


class ReplayError(Exception):
    """The program does not stand for the loss with these arguments."""


@dataclass(frozen=True)
class Compiled:
    """A program as Python.

    Attributes
    ----------
    program : Program
        What was compiled.
    source : str
        The generated module.
    build : callable
        Makes a set of buffers and returns the `Replay` that works on it, in one thread at a time.
    buffers : int
        How many pieces of memory a set has.
    nbytes : int
        How large they are together.
    """

    program: Program
    source: str = field(repr=False)
    build: Callable[[], Replay] = field(repr=False)
    buffers: int
    nbytes: int


def compile_program(program: Program) -> Compiled:
    """Compile a program whose outputs are a loss and its derivative by each leaf.

    The leaves are its first inputs; the derivatives are delivered in their shapes and dtypes.
    """
    writer = _Writer(program)
    source = writer.source()
    scope = dict(writer.scope)
    exec(compile(source, "<tape>", "exec"), scope)
    sizes = [memory.nbytes for memory in writer.memories]
    return Compiled(program, source, scope["build"], len(sizes), sum(sizes))


@dataclass(eq=False)
class _Memory:
    """A piece of memory, and the values that are in it at present."""

    name: str
    nbytes: int
    values: list[Node] = field(default_factory=list)
    pinned: bool = False


class _Writer:
    """Writes the two parts of the source: what is done once, and what is done at each call."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.memories: list[_Memory] = []
        self.scope: dict[str, Any] = {
            "reserve": reserve,
            "place": place,
            "ReplayError": ReplayError,
            "shape_of": np.shape,
            "copyto": inspect.unwrap(np.copyto),
        }
        self._names = names_of(program)
        for node in program.inputs:
            self._names[node] = f"in_{self._names[node]}"
        self._once: list[str] = []
        self._each: list[str] = []
        self._free: list[_Memory] = []
        self._home: dict[Node, _Memory] = {}  # in whose memory a value lives, or is a view of
        self._proto: dict[Node, Any] = {}  # an array of the same layout, for what is static
        self._static: set[Node] = set()  # bound once, in `build`
        self._numbers = count()
        self._fixed = _fixed(program)
        leaves = program.inputs[: len(program.outputs) - 1]
        self._outs = self._destinations(leaves)  # and to which of them
        self._last_use = self._last_uses()

    def source(self) -> str:
        """Write everything."""
        for node in self.program.inputs:
            self._proto[node] = _prototype(node)
        guards = {guard.node: guard for guard in self.program.guards}
        for position, node in enumerate(self.program.nodes):
            self._write(node, position)
            if guard := guards.get(node):
                self._do(f"if bool({self._names[node]}) is not {guard.taken}:")
                self._do(f"    raise ReplayError({self._constant(guard.place)})")
            self._release(node, position)
        value, *derivatives = self.program.outputs
        for position, output in enumerate(derivatives):
            if not isinstance(output, Node) or self._outs.get(output) != position:
                self._do(f"copyto(out{position}, {self._operand(output)}, 'unsafe')")
        # An array of one entry is a number only by its method.
        item = ".item()" if isinstance(value, Node) and value.shape else ""
        self._do(f"return float({self._operand(value)}{item})")
        arguments = [self._names[node] for node in self.program.inputs]
        arguments += [f"out{position}" for position in range(len(derivatives))]
        head = ["def build():", *(f"    {line}" for line in self._once)]
        body = [
            f"    def replay({', '.join(arguments)}):",
            *(f"        {line}" for line in self._each),
        ]
        return "\n".join([*head, *body, "    return replay", ""])

    # What lives where

    def _destinations(self, leaves: Sequence[Node]) -> dict[Node, int]:
        """Return which nodes can be written straight into an array of the caller's."""
        found: dict[Node, int] = {}
        looked_at = [guard.node for guard in self.program.guards] + [self.program.outputs[0]]
        nodes = set(self.program.nodes)
        for position, (leaf, output) in enumerate(
            zip(leaves, self.program.outputs[1:], strict=True)
        ):
            if not isinstance(output, Node) or output not in nodes:
                continue
            if any(output is node for node in looked_at):
                continue
            fits = output.shape == leaf.shape and output.dtype == leaf.dtype
            if fits and output.shape != () and _takes_out(output) and output not in self._fixed:
                found.setdefault(output, position)
        for node, position in found.items():
            self._names[node] = f"out{position}"
        return found

    def _last_uses(self) -> dict[Node, int]:
        """Return the position of the last node that reads each value."""
        last = {node: position for position, node in enumerate(self.program.nodes)}
        for position, node in enumerate(self.program.nodes):
            for source in node.sources:
                last[source] = position
        for output in self.program.outputs:
            if isinstance(output, Node):
                last[output] = END
        return last

    def _release(self, node: Node, position: int) -> None:
        """Give back the memory whose values are not read after this position."""
        for value in (node, *node.sources):
            memory = self._home.get(value)
            if memory and memory.values and self._is_last_reader(value, position):
                memory.values.clear()
                self._free.append(memory)

    def _is_last_reader(self, value: Node, position: int) -> bool:
        memory = self._home.get(value)
        return (
            memory is not None
            and not memory.pinned
            and all(self._last_use[other] <= position for other in memory.values)
        )

    def _new(self, node: Node, over: Sequence[Any] = (), position: int = -1) -> str:
        """Return the name of the array for a result: the caller's, an operand's own, or another.

        Of the operands in `over`, one that is read here for the last time gives its memory.
        """
        name = self._names[node]
        proto = self._proto[node] = _prototype(node) if node in self._outs else self._layout(node)
        if node in self._outs:
            return name
        nbytes = nbytes_of(node)
        memory = None
        for operand in over:
            if (
                isinstance(operand, Node)
                and operand.shape == node.shape
                and _itemsize(operand) == _itemsize(node)
                and self._is_last_reader(operand, position)
                and self._proto[operand].strides == proto.strides
                and self._fills_its_memory(operand)
            ):
                memory = self._home[operand]
                break
        if memory is None:
            fitting = [m for m in self._free if nbytes <= m.nbytes <= max(4 * nbytes, 256)]
            if fitting:
                memory = min(reversed(fitting), key=lambda m: m.nbytes)
                self._free.remove(memory)
            else:
                memory = _Memory(f"m{len(self.memories)}", nbytes)
                self.memories.append(memory)
                self._do_once(f"{memory.name} = reserve({nbytes})")
        memory.values.append(node)
        self._home[node] = memory
        self._static.add(node)
        strides = "" if proto.flags.c_contiguous else f", {proto.strides}"
        dtype = self._constant(node.dtype, "dtype")
        self._do_once(f"{name} = place({memory.name}, {node.shape}, {dtype}{strides})")
        return name

    def _layout(self, node: Node) -> Any:
        """Return an array like the one that NumPy would make for a result.

        Where an operand is transposed, that is not in C order; and the order of a sum depends on
        the layout of what is summed.
        """
        operands = [self._proto[source] for source in node.sources if source in self._proto]
        is_index = node.primitive in (gather.fun, operator.getitem)
        if not is_index and all(p is None or p.flags.c_contiguous for p in operands):
            return _prototype(node)
        if is_elementwise(node) or node.primitive in (keep, toggle, select, bitmask, np.astype):
            inputs: Any = [["readonly"]] * len(operands)
            iterator = np.nditer(
                [*operands, None],
                flags=["zerosize_ok"],
                op_flags=[*inputs, ["writeonly", "allocate"]],
                op_dtypes=[*(proto.dtype for proto in operands), node.dtype],
            )
            return iterator.operands[-1]
        if is_index or node.primitive in REDUCTIONS or node.primitive in FRESH:
            with np.errstate(all="ignore"), suppress(Exception):
                made = np.asarray(node.evaluate(*map(self._value, node.operands)))
                if (made.shape, made.dtype) == (node.shape, node.dtype):
                    return made
        return _prototype(node)

    def _value(self, operand: Any) -> Any:
        if not isinstance(operand, Node):
            return operand
        is_integer = operand.dtype is not None and operand.dtype.kind in "iu"
        # As an index, 0 is in range where there is anything at all.
        return (np.zeros_like if is_integer else np.ones_like)(self._proto[operand])

    def _fills_its_memory(self, operand: Node) -> bool:
        """Tell whether a value starts where its memory starts, so that another can replace it."""
        while operand.primitive in VIEWS:
            inner = operand.operands[0]
            if not isinstance(inner, Node) or nbytes_of(inner) != nbytes_of(operand):
                return False
            operand = inner
        return True

    # How an operation is written

    def _write(self, node: Node, position: int) -> None:
        primitive, operands = node.primitive, node.operands
        if node in self._fixed:
            self._write_constant(node)
        elif _is_view(node):
            self._write_view(node)
        elif node.shape is None or node.dtype is None:
            self._write_call(node)
        elif primitive in (bitmask, keep, toggle, select):
            self._write_bits(node, position)
        elif primitive is gather.fun:
            self._write_gather(node)
        elif not _takes_out(node):
            if primitive is scatter and (is_basic(operands[1]) or len(operands) > 5):
                self._write_scatter(node, position)
            else:
                self._write_call(node)
        elif is_elementwise(node):
            given = [self._number(operand, node) for operand in operands]
            out = self._new(node, operands, position)
            # By position where NumPy allows it: a keyword costs as much as adding ten numbers.
            by_name = "out=" if primitive in (np.maximum, np.minimum) else ""
            call = f"{self._function(primitive)}({', '.join(given)}, {by_name}{out})"
            self._do(call, node)
        elif primitive in REDUCTIONS:
            x, axis, keepdims = _reduction(node)
            reduce = self._function(REDUCTIONS[primitive].reduce, name_of(REDUCTIONS[primitive]))
            where = f"{self._operand(x)}, {self._operand(axis)}"
            self._do(f"{reduce}({where}, None, {self._new(node)}, {keepdims})", node)
        elif primitive is concatenate_args.fun:
            axis, *parts = map(self._operand, operands)
            out = self._new(node)
            function = self._function(np.concatenate)
            self._do(f"{function}(({', '.join(parts)},), {axis}, {out})", node)
        elif primitive in (np.broadcast_to, np.astype):
            self._do(f"copyto({self._new(node)}, {self._operand(operands[0])}, 'unsafe')", node)
        else:  # a product
            given = [self._operand(operand) for operand in operands]
            self._do(f"{self._function(primitive)}({', '.join(given)}, {self._new(node)})", node)

    def _write_constant(self, node: Node) -> None:
        self._static.add(node)
        given = ", ".join(map(self._operand, node.operands))
        self._proto[node] = _prototype(node)
        self._do_once(f"{self._names[node]} = {self._function(node.primitive)}({given})", node)

    def _write_view(self, node: Node) -> None:
        """Take a view: once, where it is of a buffer."""
        source = node.operands[0]
        call, view = self._call_of_view(node, self._proto[source])
        self._proto[node] = view
        line = f"{self._names[node]} = {call}"
        shares = isinstance(view, np.ndarray) and np.may_share_memory(view, self._proto[source])
        if source not in self._static or not shares:
            self._do(line, node)
            return
        self._static.add(node)
        if memory := self._home.get(source):
            self._home[node] = memory
            memory.values.append(node)
        self._do_once(line, node)

    def _call_of_view(self, node: Node, source: Any) -> tuple[str, Any]:
        x, *rest = node.operands
        name = self._names[x]
        if node.primitive is operator.getitem:
            index = rest[0] if isinstance(rest[0], tuple) else (rest[0],)
            if not any(part is Ellipsis for part in index):
                index = (*index, ...)  # a view of one entry, too, instead of a number
            return f"{name}[{self._constant(index, 'index')}]", source[index]
        if node.primitive is np.swapaxes and source.ndim == 2 and rest[0] != rest[1]:
            return f"{name}.T", source.T
        given = [name, *map(self._operand, rest)]
        given += [f"{key}={self._operand(value)}" for key, value in node.keywords.items()]
        call = f"{self._function(node.primitive)}({', '.join(given)})"
        return call, node.evaluate(source, *rest)

    def _write_bits(self, node: Node, position: int) -> None:
        """Write the logic of bits, on views of the buffers as integers."""
        primitive, operands = node.primitive, node.operands
        if primitive is bitmask:
            out = self._new(node)  # in two steps, as NumPy would convert piece by piece
            self._do(f"copyto({out}, {self._operand(operands[0])})", node)
            self._do(f"{self._function(np.negative)}({out}, {out})")
            return
        if primitive in (keep, toggle):
            x, mask = operands
            bits = mask.dtype
            given = self._viewed(x, bits)
            out = self._bits(self._new(node, (x,), position), bits)
            logic = self._function(np.bitwise_and if primitive is keep else np.bitwise_xor)
            self._do(f"{logic}({given}, {self._operand(mask)}, {out})", node)
            return
        mask, x, y = operands
        bits = mask.dtype
        a, b = self._viewed(x, bits), self._viewed(y, bits)
        # Not over x where y is in the same memory: y is read once more at the end.
        apart = isinstance(x, Node) and self._home.get(x) is not self._home.get(y)
        out = self._bits(self._new(node, (x,) if apart else (), position), bits)
        xor, logic = self._function(np.bitwise_xor), self._function(np.bitwise_and)
        self._do(f"{xor}({a}, {b}, {out})", node)
        self._do(f"{logic}({out}, {self._operand(mask)}, {out})")
        self._do(f"{xor}({out}, {b}, {out})")

    def _viewed(self, operand: Any, dtype: np.dtype[Any]) -> str:
        """Return the name of an operand whose bits are looked at as another dtype's."""
        if not isinstance(operand, Node):
            return self._constant(np.asarray(operand).view(dtype), "bits")
        name = self._names[operand]
        if operand in self._static:
            return self._bits(name, dtype)
        return f"{name}.view({self._constant(dtype, 'dtype')})"

    def _bits(self, name: str, dtype: np.dtype[Any]) -> str:
        if name.startswith("out"):
            return f"{name}.view({self._constant(dtype, 'dtype')})"
        return self._once_as(f"{name}_{dtype}", f"{name}.view({self._constant(dtype, 'dtype')})")

    def _write_scatter(self, node: Node, position: int) -> None:
        """Write zeros (or a total), and add to a view of them, or at an index."""
        term, index, total, _, _, *arrays = node.operands
        given = self._operand(term)
        if total is None:
            out = self._new(node)
            self._do(f"{out}.fill(0)", node)
        else:
            before = self._operand(total)
            out = self._new(node, (total,), position)
            home = self._home.get(total) if isinstance(total, Node) else None
            if self._home.get(node) is not home or node in self._outs:
                self._do(f"copyto({out}, {before})", node)
        if arrays:
            add_at = self._function(np.add.at, "add_at")
            self._do(f"{add_at}({out}, ({self._filled(index, arrays)},), {given})")
            return
        where = index if isinstance(index, tuple) else (index,)
        if not any(part is Ellipsis for part in where):
            where = (*where, ...)
        part = f"{out}[{self._constant(where, 'index')}]"
        if node not in self._outs:
            self._do_once(f"{out}_part = {part}")
            part = f"{out}_part"
        if total is None:
            self._do(f"copyto({part}, {given})")
        else:
            self._do(f"{self._function(np.add)}({part}, {given}, {part})")

    def _write_gather(self, node: Node) -> None:
        """Write ``x[index]`` with index arrays that other calls may change."""
        x, template, *arrays = node.operands
        if not any(len(shape_of(array)) for array in arrays):  # x[i] would be a view
            self._write_call(node)
            return
        given = self._operand(x)
        if len(template) == 1 and self._can_take(x, arrays[0]):
            call = f"{given}.take({self._operand(arrays[0])}, 0)"  # three times as fast as [...]
        else:
            call = f"{given}[{self._filled(template, arrays)},]"
        self._do(f"{self._names[node]} = {call}", node)
        self._proto[node] = self._layout(node)

    def _filled(self, template: Sequence[Any], arrays: Sequence[Any]) -> str:
        """Write an index from its template and the arrays that belong into it."""
        left = iter(arrays)
        return ", ".join(
            self._operand(next(left)) if part is HERE else self._constant(part, "index")
            for part in template
        )

    def _can_take(self, x: Any, array: Any) -> bool:
        """Tell whether ``take`` returns what an index would, in the same layout."""
        layout = self._proto[x] if isinstance(x, Node) else x
        return bool(layout.flags.c_contiguous) and np.can_cast(array.dtype, np.intp)

    def _write_call(self, node: Node) -> None:
        """Write a call that makes a new object."""
        given = [self._operand(operand) for operand in node.operands]
        given += [f"{key}={self._operand(value)}" for key, value in node.keywords.items()]
        name = self._names[node]
        self._do(f"{name} = {self._function(node.primitive)}({', '.join(given)})", node)
        self._proto[node] = None if node.shape is None else self._layout(node)
        if node.primitive in FRESH:
            return
        for source in node.sources:  # the function may have kept it, or returned a view of it
            if memory := self._home.get(source):
                memory.pinned = True
        if node.shape is not None:
            self._do(f"if shape_of({name}) != {node.shape}:")
            reason = f"the shape of {name_of(node.primitive)}'s result depends on values"
            reason += f" ({describe_place(node.place)})" if node.place else ""
            self._do(f"    raise ReplayError({reason!r})")

    # Names

    def _do(self, line: str, node: Node | None = None) -> None:
        self._each.append(line if node is None else f"{line}  # {describe(node)}")

    def _do_once(self, line: str, node: Node | None = None) -> None:
        self._once.append(line if node is None else f"{line}  # {describe(node)}")

    def _operand(self, operand: Any) -> str:
        if isinstance(operand, Node):
            return self._names[operand]
        if operand is None or type(operand) in (bool, int, str):
            return repr(operand)
        if isinstance(operand, tuple) and all(type(part) in (int, bool) for part in operand):
            return repr(operand)
        return self._constant(operand)

    def _once_as(self, name: str, expression: str) -> str:
        line = f"{name} = {expression}"
        if line not in self._once:
            self._do_once(line)
        return name

    def _number(self, operand: Any, node: Node) -> str:
        """Return a number as an array, which NumPy need not convert at each call."""
        if not is_number(operand) or node.primitive is np.power:
            return self._operand(operand)
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
            return self._operand(operand)
        if node.primitive in (np.maximum, np.minimum) and node.shape is not None:
            number = np.full(node.shape, number)  # three times as fast as with one number
        return self._constant(number)

    def _constant(self, value: Any, kind: str = "constant") -> str:
        """Return the name under which the generated code finds an object."""
        if isinstance(value, np.dtype):
            name = f"{name_of_dtype(value)}_" if value.isnative else f"dtype{next(self._numbers)}"
            self.scope[name] = value
            return name
        if isinstance(value, str):
            return repr(value)
        name = f"{kind}{next(self._numbers)}"
        self.scope[f"_{name}"] = value
        self._do_once(f"{name} = _{name}  # {literal(value)}")
        return name

    def _function(self, function: Any, name: str = "") -> str:
        """Return the name of a function in the generated code."""
        if isinstance(function, _DISPATCHER):
            function = inspect.unwrap(function)
        name = name or name_of(function)
        name = name if name.isidentifier() and not keyword.iskeyword(name) else "function"
        # Generated names end in digits, or begin with in_: a function of the user's must not.
        while name[-1].isdigit() or name.startswith("in_") or name in self.scope:
            name = f"f_{name}_"
        while not _is_same(self.scope.get(f"_{name}", function), function):
            name += "_"
        if f"_{name}" not in self.scope:
            self.scope[f"_{name}"] = function
            self._once.insert(0, f"{name} = _{name}")
        return name


def _is_same(a: Any, b: Any) -> bool:
    """Tell whether two functions are one; a bound method is a new object each time."""
    return a is b or (type(a) is type(b) is type(np.add.reduce) and bool(a == b))


def reserve(nbytes: int) -> Any:
    """Return `nbytes` bytes, aligned for vector instructions."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


def place(memory: Any, shape: tuple[int, ...], dtype: np.dtype[Any], strides: Any = None) -> Any:
    """Return the array of this shape and dtype at the start of the memory."""
    return np.ndarray(shape, dtype, memory, strides=strides)


def _prototype(node: Node) -> Any:
    assert node.shape is not None
    return np.empty(node.shape, node.dtype)


def nbytes_of(node: Node) -> int:
    """Return how many bytes a value takes."""
    return prod(node.shape or ()) * _itemsize(node)


def _itemsize(node: Node) -> int:
    return node.dtype.itemsize if node.dtype is not None else 0


def _fixed(program: Program) -> set[Node]:
    """Return the nodes that are computed from numbers and shapes alone."""
    fixed: set[Node] = set()
    for node in program.nodes:
        if is_pure(node.primitive) and not node.keywords:
            operands = node.operands
            if all(o in fixed if isinstance(o, Node) else _is_plain(o) for o in operands):
                fixed.add(node)
    return fixed


def _is_plain(operand: Any) -> bool:
    return is_number(operand) or isinstance(operand, tuple)


def _is_view(node: Node) -> bool:
    """Tell whether an operation rearranges an array that is not itself an object."""
    if node.primitive not in VIEWS or node.shape is None:
        return False
    x, *rest = node.operands
    if not isinstance(x, Node) or x.shape is None:
        return False
    if node.primitive is operator.getitem and not is_basic(rest[0]):
        return False
    return not any(isinstance(operand, Node) for operand in rest)


def _takes_out(node: Node) -> bool:
    """Tell whether NumPy can write the result where it is told."""
    if node.shape is None or node.dtype is None or node.dtype.kind not in "biufc":
        return False
    primitive = node.primitive
    if primitive is np.where:
        return False
    if is_elementwise(node) or primitive in (np.astype, np.broadcast_to):
        return True
    if primitive is np.matmul and not node.keywords:
        return True
    if primitive is concatenate_args.fun:
        return all(isinstance(part, Node) for part in node.operands[1:])
    if primitive is np.dot:
        parts = [part for part in node.operands if isinstance(part, Node)]
        fit = [part.shape and part.dtype == node.dtype for part in parts]
        return len(fit) == 2 and all(fit) and node.shape != ()
    return primitive in REDUCTIONS and _reduction(node) is not None


def _reduction(node: Node) -> Any:
    """Return operand, axis and keepdims of a reduction without other options, else None."""
    options = {key: value for key, value in node.keywords.items() if value is not None}
    x, *axis = node.operands
    if len(axis) > 1 or not set(options) <= {"axis", "keepdims"} or (axis and "axis" in options):
        return None
    if not isinstance(x, Node) or not isinstance(options.get("keepdims", False), bool):
        return None
    where = axis[0] if axis else options.get("axis")
    if isinstance(where, list):
        where = tuple(where)
    return x, where, options.get("keepdims", False)
