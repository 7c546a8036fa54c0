"""Write each operation as code: one function per kind of primitive, in one table.

Each takes the code so far, the memory of the values, the node, and its position in the program.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradlab.arrays.indexing import HERE, is_basic
from gradlab.arrays.places import describe_place
from gradlab.gradients.tape.code import Code
from gradlab.gradients.tape.memory import Places, is_view, prototype, reduction, takes_out
from gradlab.program.ir import Node, name_of
from gradlab.program.pieces import shape_of
from gradlab.program.primitives import Kind, kind_of, primitive_of


def write(code: Code, places: Places, node: Node, position: int) -> None:
    """Write an operation."""
    if node in places.fixed:
        write_constant(code, places, node)
    elif is_view(node):
        write_view(code, places, node)
    elif node.shape is None or node.dtype is None:
        write_call(code, places, node)
    else:
        _WRITERS.get(kind_of(node), write_call)(code, places, node, position)


def write_constant(code: Code, places: Places, node: Node) -> None:
    """Compute a value once."""
    places.static.add(node)
    places.proto[node] = prototype(node)
    call = f"{code.function(node.primitive)}({code.operands(node)})"
    code.do_once(f"{code.names[node]} = {call}", node)


def write_call(code: Code, places: Places, node: Node, position: int = -1) -> None:
    """Write a call that makes a new object."""
    given = [code.operand(operand) for operand in node.operands]
    given += [f"{key}={code.operand(value)}" for key, value in node.keywords.items()]
    name = code.names[node]
    code.do(f"{name} = {code.function(node.primitive)}({', '.join(given)})", node)
    places.proto[node] = None if node.shape is None else places.layout(node)
    if primitive_of(node.primitive).fresh:
        return
    places.pin(node)  # the function may have kept an operand, or returned a view of it
    if node.shape is not None:
        code.do(f"if shape_of({name}) != {node.shape}:")
        reason = f"the shape of {name_of(node.primitive)}'s result depends on values"
        reason += f" ({describe_place(node.place)})" if node.place else ""
        code.do(f"    raise ReplayError({reason!r})")


def write_view(code: Code, places: Places, node: Node) -> None:
    """Write a view; a view of a buffer is made once."""
    source = node.operands[0]
    call, view = _call_of_view(code, node, places.proto[source])
    places.proto[node] = view
    line = f"{code.names[node]} = {call}"
    shares = isinstance(view, np.ndarray) and np.may_share_memory(view, places.proto[source])
    if source in places.static and shares:
        places.share(node, source)
        code.do_once(line, node)
    else:
        code.do(line, node)


def _call_of_view(code: Code, node: Node, source: Any) -> tuple[str, Any]:
    x, *rest = node.operands
    name = code.names[x]
    if node.primitive is operator.getitem:
        index = _as_view(rest[0])  # a view of one entry, too, instead of a number
        return f"{name}[{code.constant(index, 'index')}]", source[index]
    if node.primitive is np.swapaxes and source.ndim == 2 and rest[0] != rest[1]:
        return f"{name}.T", source.T
    given = [name, *map(code.operand, rest)]
    given += [f"{key}={code.operand(value)}" for key, value in node.keywords.items()]
    call = f"{code.function(node.primitive)}({', '.join(given)})"
    return call, node.evaluate(source, *rest)


def _as_view(index: Any) -> tuple[Any, ...]:
    """Return an index that gives an array where the given one may give a number."""
    parts = index if isinstance(index, tuple) else (index,)
    return parts if any(part is Ellipsis for part in parts) else (*parts, ...)


def _elementwise(code: Code, places: Places, node: Node, position: int) -> None:
    given = ", ".join(code.number(operand, node) for operand in node.operands)
    out = code.out(node, places.new(node, node.operands, position))
    code.do(f"{code.function(node.primitive)}({given}, {out})", node)


def _reduction(code: Code, places: Places, node: Node, position: int) -> None:
    x, axis, keepdims = reduction(node)
    layout = places.proto[x]
    is_reversed = layout is not None and min(layout.strides, default=0) < 0
    if is_reversed and node not in places.outs:
        # With an output, NumPy before 2.2 sums a reversed array in the order of its memory.
        write_call(code, places, node, position)
        return
    ufunc = primitive_of(node.primitive).ufunc
    assert ufunc is not None
    reduce = code.function(ufunc.reduce, name_of(ufunc))
    where = f"{code.operand(x)}, {code.operand(axis)}"
    code.do(f"{reduce}({where}, None, {places.new(node)}, {keepdims})", node)


def _product(code: Code, places: Places, node: Node, position: int) -> None:
    out = code.out(node, places.new(node))
    code.do(f"{code.function(node.primitive)}({code.operands(node)}, {out})", node)


def _join(code: Code, places: Places, node: Node, position: int) -> None:
    axis, *parts = map(code.operand, node.operands)
    out = places.new(node)
    code.do(f"{code.function(np.concatenate)}(({', '.join(parts)},), {axis}, {out})", node)


def _copy(code: Code, places: Places, node: Node, position: int) -> None:
    code.do(f"copyto({places.new(node)}, {code.operand(node.operands[0])}, 'unsafe')", node)


def _gather(code: Code, places: Places, node: Node, position: int) -> None:
    """Write ``x[index]`` with index arrays that may change between calls."""
    x, template, *arrays = node.operands
    if not any(len(shape_of(array)) for array in arrays):  # x[i] would be a view
        write_call(code, places, node)
        return
    given = code.operand(x)
    layout = places.proto[x] if isinstance(x, Node) else x
    can_take = layout.flags.c_contiguous and np.can_cast(arrays[0].dtype, np.intp)
    if len(template) == 1 and can_take:  # of the same layout, and three times as fast as [...]
        call = f"{given}.take({code.operand(arrays[0])}, 0)"
    else:
        call = f"{given}[{_filled(code, template, arrays)},]"
    code.do(f"{code.names[node]} = {call}", node)
    places.proto[node] = places.layout(node)


def _filled(code: Code, template: Sequence[Any], arrays: Sequence[Any]) -> str:
    """Write an index from its template and its arrays."""
    left = iter(arrays)
    return ", ".join(
        code.operand(next(left)) if part is HERE else code.constant(part, "index")
        for part in template
    )


def _scatter(code: Code, places: Places, node: Node, position: int) -> None:
    """Write zeros (or a total), and add to a view of them, or at an index."""
    term, index, total, _, _, *arrays = node.operands
    if not arrays and not is_basic(index):
        write_call(code, places, node)
        return
    given = code.operand(term)
    if total is None:
        out = places.new(node)
        code.do(f"{out}.fill(0)", node)
    else:
        before = code.operand(total)
        out = places.new(node, (total,), position)
        home = places.home.get(total) if isinstance(total, Node) else None
        if places.home.get(node) is not home or node in places.outs:
            code.do(f"copyto({out}, {before})", node)
    if arrays:
        add_at = code.function(np.add.at, "add_at")
        code.do(f"{add_at}({out}, ({_filled(code, index, arrays)},), {given})")
        return
    part = f"{out}[{code.constant(_as_view(index), 'index')}]"
    if node not in places.outs:
        code.do_once(f"{out}_part = {part}")
        part = f"{out}_part"
    if total is None:
        code.do(f"copyto({part}, {given})")
    else:
        code.do(f"{code.function(np.add)}({part}, {given}, {part})")


def _mask(code: Code, places: Places, node: Node, position: int) -> None:
    out = places.new(node)  # in two steps, because NumPy would convert piece by piece
    code.do(f"copyto({out}, {code.operand(node.operands[0])})", node)
    code.do(f"{code.function(np.negative)}({out}, {out})")


def _keep(code: Code, places: Places, node: Node, position: int) -> None:
    """Write a bitwise and, on views of the buffers as integers."""
    x, mask = node.operands
    given = _bits_of_operand(code, places, x, mask.dtype)
    out = _bits_of(code, places.new(node, (x,), position), mask.dtype)
    code.do(f"{code.function(np.bitwise_and)}({given}, {code.operand(mask)}, {out})", node)


def _select(code: Code, places: Places, node: Node, position: int) -> None:
    mask, x, y = node.operands
    a, b = (_bits_of_operand(code, places, operand, mask.dtype) for operand in (x, y))
    # Do not overwrite x if y uses the same memory: y is read again at the end.
    apart = isinstance(x, Node) and places.home.get(x) is not places.home.get(y)
    out = _bits_of(code, places.new(node, (x,) if apart else (), position), mask.dtype)
    xor, logic = code.function(np.bitwise_xor), code.function(np.bitwise_and)
    code.do(f"{xor}({a}, {b}, {out})", node)
    code.do(f"{logic}({out}, {code.operand(mask)}, {out})")
    code.do(f"{xor}({out}, {b}, {out})")


def _bits_of_operand(code: Code, places: Places, operand: Any, dtype: np.dtype[Any]) -> str:
    if not isinstance(operand, Node):
        return code.constant(np.asarray(operand).view(dtype), "bits")
    name = code.names[operand]
    return _bits_of(code, name, dtype) if operand in places.static else code.viewed(name, dtype)


def _bits_of(code: Code, name: str, dtype: np.dtype[Any]) -> str:
    """Write the bits of an array: a view that is made once, unless the array is the caller's."""
    view = code.viewed(name, dtype)
    return view if name.startswith("out") else code.once_as(f"{name}_{dtype}", view)


Writer = Callable[[Code, Places, Node, int], None]


def _if_it_takes_out(writer: Writer) -> Writer:
    def write(code: Code, places: Places, node: Node, position: int) -> None:
        (writer if takes_out(node) else write_call)(code, places, node, position)

    return write


_WRITERS: dict[Kind, Writer] = {
    Kind.ELEMENTWISE: _if_it_takes_out(_elementwise),
    Kind.REDUCTION: _if_it_takes_out(_reduction),
    Kind.PRODUCT: _if_it_takes_out(_product),
    Kind.JOIN: _if_it_takes_out(_join),
    Kind.BROADCAST: _if_it_takes_out(_copy),
    Kind.CAST: _if_it_takes_out(_copy),
    Kind.GATHER: _gather,
    Kind.SCATTER: _scatter,
    Kind.MASK: _mask,
    Kind.KEEP: _keep,
    Kind.SELECT: _select,
}
