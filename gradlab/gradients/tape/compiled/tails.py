"""The last columns of a product, if they fill at most a quarter of a vector.

In a tile, they take a vector in each row, which is mostly empty. Here, all vectors are full. If the
rows of A are contiguous, the vectors run along k, and the entries of each are added up at the end:
these are dot products of rows of A and columns of B. If the columns of A are contiguous, the
vectors run along the rows of C. An entry is the same sum in a block of any height.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.kinds import type_of
from gradlab.gradients.tape.compiled.text import Text

MIN_ROWS_PER_COLUMN = 12
"""Fewest rows of A for each column of B that is copied for dot products. With 8, copying takes
longer than they save: up to 3 % of a gradient in float64."""

MIN_DOT_VECTORS = 4
"""Fewest vectors of a dot product. Adding up the entries of the last takes about as long as
three."""

MAX_TAIL_SUMS = 12
"""Vectors of sums in registers along the rows of C. Eight keep a processor busy, and 16 registers
have room for 12 and their factors."""


def tail_kernel(
    functions: dict[str, str],
    dtype: np.dtype[Any],
    lanes: int,
    size: tuple[int, int, int],
    is_dot: bool,
    is_squared: bool,
) -> str:
    """Return the name of the function for some rows of the last columns.

    `size` is the number of rows, of columns, and of terms of each sum. If `is_squared`, the squares
    of the sums are added to the vector ``%squares``.
    """
    rows, width, depth = size
    block = (rows, width, depth % lanes) if is_dot else (-(-rows // lanes), width, rows % lanes)
    name = "_".join(["dots" if is_dot else "columns", type_of(dtype), *map(str, block)])
    name += "c" * is_squared
    if name not in functions:
        functions[name] = ""
        kernel = _Kernel(functions, dtype, lanes, block, is_squared)
        functions[name] = kernel.dots(name) if is_dot else kernel.columns(name)
    return name


class _Kernel:
    """Writes a function for a block of the last columns, whose sums stay in registers.

    `size` is the height of the block, in rows for `dots` and in vectors for `columns`; its columns;
    and the entries of the last vector, 0 for a full one.
    """

    def __init__(
        self,
        functions: dict[str, str],
        dtype: np.dtype[Any],
        lanes: int,
        size: tuple[int, int, int],
        is_squared: bool,
    ) -> None:
        self._text, self._dtype, self._lanes = Text(functions), dtype, lanes
        self._height, self._width, self._rest = size
        self._kind, self._is_squared = type_of(dtype), is_squared
        self._vector = f"<{lanes} x {self._kind}>"
        self._slots = [self._text.on_stack(self._vector) for _ in range(size[0] * size[1])]
        for slot in self._slots:
            self._text.put(f"store {self._vector} zeroinitializer, ptr {slot}")

    def dots(self, name: str) -> str:
        """Write dot products; `%count` full vectors of a row of A are followed by the rest."""
        text, lanes = self._text, self._lanes
        rows = [text.mul("%stride_a", i) for i in range(self._height)]
        columns = [text.mul("%stride_b", j) for j in range(self._width)]

        def step(index: Any, count: int) -> None:
            at = text.mul(index, lanes)
            x = [self._load(self._at("%a", text.add(row, at)), count) for row in rows]
            y = [self._load(self._at("%b", text.add(column, at)), lanes) for column in columns]
            self._add_products(x, y)

        text.loop("%count", lambda index: step(index, lanes))
        if self._rest:
            step("%count", self._rest)
        total = self._totals(self._sums())
        self._square(total)
        for i in range(self._height):
            entries = [i * self._width + j for j in range(self._width)]
            self._store(total, total, entries, self._at("%c", text.mul("%row_c", i)))
        return self._function(name)

    def columns(self, name: str) -> str:
        """Write the sum over `%count` columns of A, each times a row of the last columns of B."""
        text, lanes = self._text, self._lanes
        counts = [lanes] * (self._height - 1) + [self._rest or lanes]

        def step(index: Any) -> None:
            a = self._at("%a", text.mul(index, "%stride_a"))
            b = self._at("%b", text.mul(index, "%stride_b"))
            x = [self._load(self._at(a, i * lanes), count) for i, count in enumerate(counts)]
            places = [self._at(b, j) for j in range(self._width)]
            self._add_products(x, [text.load(p, self._dtype, lanes, lanes, 0) for p in places])

        text.loop("%count", step)
        sums = self._sums()
        for vector in sums:
            self._square(vector)
        for row in range(sum(counts)):
            i, lane = divmod(row, lanes)
            c = self._at("%c", text.mul("%row_c", row))
            for j in range(0, self._width, 2):
                pair = sums[i * self._width :][: self._width][j : j + 2]
                self._store(pair[0], pair[-1], [lane, lanes + lane][: len(pair)], self._at(c, j))
        return self._function(name)

    def _at(self, pointer: str, index: Any) -> str:
        return self._text.at(pointer, index, self._kind)

    def _load(self, pointer: str, count: int) -> str:
        return self._text.load(pointer, self._dtype, self._lanes, count)

    def _store(self, a: str, b: str, entries: list[int], pointer: str) -> None:
        """Store some entries of two vectors side by side."""
        part, count = self._text.shuffle(a, b, self._kind, self._lanes, entries), len(entries)
        self._text.store(part, pointer, self._dtype, count, count)

    def _add_products(self, x: list[str], y: list[str]) -> None:
        for n, slot in enumerate(self._slots):
            i, j = divmod(n, self._width)
            add_product(self._text, self._dtype, self._lanes, (x[i], y[j]), slot)

    def _sums(self) -> list[str]:
        return [self._text.do(f"load {self._vector}, ptr {slot}") for slot in self._slots]

    def _totals(self, vectors: list[str]) -> str:
        """Return a vector whose entries are the sums of at most as many vectors.

        Each step adds one half of each part of a vector to the other half, and puts what is left of
        two vectors into one.
        """
        text, lanes, size = self._text, self._lanes, self._lanes // 2
        vectors = vectors + ["zeroinitializer"] * (lanes - len(vectors))
        while size:
            halves = [entry for entry in range(2 * lanes) if not entry & size]
            others = [entry + size for entry in halves]
            vectors = [
                text.do(
                    f"fadd {self._vector} {text.shuffle(x, y, self._kind, lanes, halves)}, "
                    f"{text.shuffle(x, y, self._kind, lanes, others)}"
                )
                for x, y in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            size //= 2
        return vectors[0]

    def _square(self, vector: str) -> None:
        if self._is_squared:
            add_product(self._text, self._dtype, self._lanes, (vector, vector), "%squares")

    def _function(self, name: str) -> str:
        head = (
            f"define internal void @{name}(i64 %count, ptr %a, i64 %stride_a, ptr %b, "
            "i64 %stride_b, ptr %c, i64 %row_c, ptr %squares) noinline"
        )
        return self._text.function(head, "ret void")


def add_product(
    text: Text, dtype: np.dtype[Any], lanes: int, factors: tuple[str, str], place: str
) -> None:
    """Add the product of two vectors to the one at a place in memory."""
    vector = f"<{lanes} x {type_of(dtype)}>"
    before = text.do(f"load {vector}, ptr {place}")
    after = text.intrinsic("fma", dtype, lanes, (*factors, before))
    text.put(f"store {vector} {after}, ptr {place}")
