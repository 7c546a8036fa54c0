"""LLVM's assembly as text: names, constants, loops, vectors in registers and in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.kinds import constant, memory_type, short, suffix, type_of


class Text:
    """The instructions of one function."""

    def __init__(self, functions: dict[str, str]) -> None:
        self.lines: list[str] = []
        self.first: list[str] = []  # what is done before these, once: memory on the stack
        self.functions = functions  # others that the module needs, by name; all functions share it
        self._count = 0

    def name(self, hint: str = "t") -> str:
        """Return a name that is not in use."""
        self._count += 1
        return f"%{hint}{self._count}"

    def do(self, instruction: str) -> str:
        """Write an instruction, and return the name of its result."""
        name = self.name()
        self.lines.append(f"{name} = {instruction}")
        return name

    def put(self, instruction: str) -> None:
        """Write an instruction without a result."""
        self.lines.append(instruction)

    def on_stack(self, kind: str) -> str:
        """Reserve memory on the stack, which LLVM makes registers of where it can."""
        name = self.name("s")
        self.first.append(f"{name} = alloca {kind}")
        return name

    # Integers

    def add(self, a: Any, b: Any) -> Any:
        """Add two integers, of which those that are known are Python's."""
        if isinstance(a, int) and isinstance(b, int):
            return a + b
        if a == 0 or b == 0:
            return b if a == 0 else a
        return self.do(f"add i64 {a}, {b}")

    def mul(self, a: Any, b: Any) -> Any:
        """Multiply two integers."""
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if 0 in (a, b):
            return 0
        if 1 in (a, b):
            return b if a == 1 else a
        return self.do(f"mul i64 {a}, {b}")

    def at(self, pointer: str, index: Any, kind: str) -> str:
        """Return a pointer to an entry."""
        return (
            pointer if index == 0 else self.do(f"getelementptr {kind}, ptr {pointer}, i64 {index}")
        )

    def index(self, offset: Any, strides: Sequence[int], indices: Sequence[Any]) -> Any:
        """Return the position of an entry."""
        for stride, i in zip(strides, indices, strict=True):
            offset = self.add(offset, self.mul(stride, i))
        return offset

    def loop(self, count: int | str, body: Callable[[Any], None]) -> None:
        """Repeat `body(index)` below a count, which is at least 1 if it is a name."""
        if isinstance(count, int) and count <= 1:
            if count:
                body(0)
            return
        n = self.name("n")[1:]
        self.lines += [f"br label %before_{n}", f"before_{n}:", f"br label %head_{n}", f"head_{n}:"]
        self.put(f"%i_{n} = phi i64 [0, %before_{n}], [%j_{n}, %end_{n}]")
        body(f"%i_{n}")
        self.lines += [f"br label %end_{n}", f"end_{n}:", f"%j_{n} = add i64 %i_{n}, 1"]
        self.put(f"%more_{n} = icmp slt i64 %j_{n}, {count}")
        self.lines += [f"br i1 %more_{n}, label %head_{n}, label %after_{n}", f"after_{n}:"]

    def when(self, condition: str, body: Callable[[], None]) -> None:
        """Do something if a condition holds."""
        n = self.name("n")[1:]
        self.lines += [f"br i1 {condition}, label %then_{n}, label %after_{n}", f"then_{n}:"]
        body()
        self.lines += [f"br label %after_{n}", f"after_{n}:"]

    # Vectors

    def splat(self, value: Any, dtype: np.dtype[Any], lanes: int) -> str:
        """Write a vector of one number."""
        kind = type_of(dtype)
        return f"<{', '.join([f'{kind} {constant(value, dtype)}'] * lanes)}>"

    def shuffle(self, a: str, b: str, kind: str, lanes: int, order: Sequence[int]) -> str:
        """Return a vector of these entries of two vectors, as if they were one."""
        kind = f"<{lanes} x {kind}>"
        places = f"<{', '.join(f'i32 {place}' for place in order)}>"
        mask = places if any(order) else "zeroinitializer"
        return self.do(f"shufflevector {kind} {a}, {kind} {b}, <{len(order)} x i32> {mask}")

    def spread(self, vector: str, dtype: np.dtype[Any], lanes: int) -> str:
        """Repeat the entry of a vector of one."""
        if lanes == 1:
            return vector
        return self.shuffle(vector, "poison", type_of(dtype), 1, [0] * lanes)

    def resized(self, vector: str, dtype: np.dtype[Any], lanes: int, wanted: int) -> str:
        """Return a vector with as many lanes as wanted: the first ones, or zeros after them."""
        if lanes == wanted:
            return vector
        order = [min(lane, lanes) for lane in range(wanted)]
        return self.shuffle(vector, "zeroinitializer", type_of(dtype), lanes, order)

    def mask(self, count: int, lanes: int) -> str:
        """Write the mask of the first entries of a vector."""
        return f"<{', '.join(f'i1 {str(lane < count).lower()}' for lane in range(lanes))}>"

    def _strided(self, pointer: str, kind: str, lanes: int, stride: int) -> str:
        """Return a vector of pointers."""
        steps = ", ".join(f"i64 {lane * stride}" for lane in range(lanes))
        return self.do(f"getelementptr {kind}, ptr {pointer}, <{lanes} x i64> <{steps}>")

    def load(
        self, pointer: str, dtype: np.dtype[Any], lanes: int, count: int, stride: int = 1
    ) -> str:
        """Load entries into a vector, the first `count` of them, with a stride; 0 repeats one."""
        kind, size = memory_type(dtype), dtype.itemsize
        vector = f"<{lanes} x {kind}>"
        if stride == 0:
            loaded = self.do(f"load <1 x {kind}>, ptr {pointer}, align {size}")
            loaded = self.shuffle(loaded, "poison", kind, 1, [0] * lanes)
        elif stride == 1 and count == lanes:
            loaded = self.do(f"load {vector}, ptr {pointer}, align {size}")
        elif stride == 1:
            loaded = self.do(
                f"call {vector} @llvm.masked.load.v{lanes}{suffix(kind)}.p0(ptr {pointer}, "
                f"i32 {size}, <{lanes} x i1> {self.mask(count, lanes)}, {vector} zeroinitializer)"
            )
        else:
            pointers = self._strided(pointer, kind, lanes, stride)
            loaded = self.gather(pointers, dtype, lanes, self.mask(count, lanes))
        return self.from_memory(loaded, dtype, lanes)

    def gather(self, pointers: str, dtype: np.dtype[Any], lanes: int, mask: str) -> str:
        """Load entries from a vector of pointers."""
        kind = memory_type(dtype)
        vector = f"<{lanes} x {kind}>"
        return self.do(
            f"call {vector} @llvm.masked.gather.v{lanes}{suffix(kind)}.v{lanes}p0(<{lanes} x ptr> "
            f"{pointers}, i32 {dtype.itemsize}, <{lanes} x i1> {mask}, {vector} zeroinitializer)"
        )

    def store(
        self,
        value: str,
        pointer: str,
        dtype: np.dtype[Any],
        lanes: int,
        count: int,
        stride: int = 1,
    ) -> None:
        """Store the first `count` entries of a vector, with a stride."""
        kind, size = memory_type(dtype), dtype.itemsize
        vector, mask = f"<{lanes} x {kind}>", f"<{lanes} x i1> {self.mask(count, lanes)}"
        if dtype == np.bool_:
            value = self.do(f"zext <{lanes} x i1> {value} to {vector}")
        if count == 1:
            entry = self.do(f"extractelement {vector} {value}, i64 0")
            self.put(f"store {kind} {entry}, ptr {pointer}, align {size}")
        elif stride == 1 and count == lanes:
            self.put(f"store {vector} {value}, ptr {pointer}, align {size}")
        else:
            how, to = f"store.v{lanes}{suffix(kind)}.p0", f"ptr {pointer}"
            if stride != 1:
                to = f"<{lanes} x ptr> {self._strided(pointer, kind, lanes, stride)}"
                how = f"scatter.v{lanes}{suffix(kind)}.v{lanes}p0"
            self.put(f"call void @llvm.masked.{how}({vector} {value}, {to}, i32 {size}, {mask})")

    def from_memory(self, loaded: str, dtype: np.dtype[Any], lanes: int) -> str:
        """Return what has been loaded as it is in a register: a boolean is a bit there."""
        if dtype != np.bool_:
            return loaded
        return self.do(f"icmp ne <{lanes} x i8> {loaded}, zeroinitializer")

    def convert(self, value: str, old: np.dtype[Any], new: np.dtype[Any], lanes: int) -> str:
        """Convert a vector to another dtype, as ``astype`` does."""
        if old == new:
            return value
        before, after = f"<{lanes} x {type_of(old)}>", f"<{lanes} x {type_of(new)}>"
        if new == np.bool_:
            how = "fcmp une" if old.kind == "f" else "icmp ne"
            return self.do(f"{how} {before} {value}, zeroinitializer")
        if old == np.bool_:
            how = "uitofp" if new.kind == "f" else "zext"
        elif old.kind != new.kind:
            how = "sitofp"
        else:
            wider, narrower = ("fpext", "fptrunc") if new.kind == "f" else ("sext", "trunc")
            how = wider if new.itemsize > old.itemsize else narrower
        return self.do(f"{how} {before} {value} to {after}")

    def intrinsic(
        self, name: str, dtype: np.dtype[Any] | None, lanes: int, operands: Sequence[str]
    ) -> str:
        """Call a function of LLVM's on vectors."""
        assert dtype is not None
        vector = f"<{lanes} x {type_of(dtype)}>"
        given = ", ".join(f"{vector} {operand}" for operand in operands)
        return self.do(f"call {vector} @llvm.{name}.{short(dtype, lanes)}({given})")

    def function(self, head: str, last: str) -> str:
        """Return the whole function."""
        body = "\n  ".join([*self.first, *self.lines, last])
        return f"{head} {{\nentry:\n  {body}\n}}"
