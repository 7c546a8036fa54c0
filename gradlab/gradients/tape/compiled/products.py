"""Products of matrices by a tile of registers.

A tile of C, some rows by some vectors, stays in registers while the sum runs. Each step loads a few
vectors of B and one entry of A for each row, and does a multiplication and an addition for each of
the tile's vectors: with 24 accumulators, 4 loads of B and 6 of A serve 24 operations. B is taken in
blocks that stay in the L1 cache and A in blocks that stay in L2 (Goto & van de Geijn, *Anatomy of
high-performance matrix multiplication*, 2008). Nothing is copied but a transposed B, and the last
columns where `tails` computes them: at a few rows, copying is what a library's product spends its
time on.

A, transposed or not, is read entry by entry, so that AB and A'B are the same kernel with other
strides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.chunks import MIN_STEP_WORK, write_shared
from gradlab.gradients.tape.compiled.facts import Facts
from gradlab.gradients.tape.compiled.forms import MIN_BLOCKED_ROWS, UnsupportedError
from gradlab.gradients.tape.compiled.kinds import dtype_of, power_of_two, type_of
from gradlab.gradients.tape.compiled.sharing import MAX_CHUNKS
from gradlab.gradients.tape.compiled.storage import Storage
from gradlab.gradients.tape.compiled.tails import (
    MAX_TAIL_SUMS,
    MIN_DOT_VECTORS,
    MIN_ROWS_PER_COLUMN,
    add_product,
    tail_kernel,
)
from gradlab.gradients.tape.compiled.text import Text
from gradlab.program.ir import Node

BLOCK_DEPTH = 128
"""Rows of a block of B. Some vectors of each stay in the L1 cache, beside as many cache lines of a
transposed A. With AVX2, 512 rows take up to 12 % more time."""

MIN_VECTOR_BYTES = 16
"""Bytes of the narrowest vector."""

BLOCK_BYTES = 192 * 1024
"""Bytes of a block of A: it stays in the L2 cache."""

MIN_CHUNK_ROWS = 24
"""Fewest rows of a chunk, each of which reads B from the L2 cache."""


@dataclass(frozen=True)
class Tile:
    """The size of a tile in registers.

    Attributes
    ----------
    vector : int
        Bytes of a vector register.
    accumulators : int
        Vectors of C in registers: three quarters of the register file, or less.
    widest : int
        Vectors of a row of the tile, where there are rows enough.
    """

    vector: int
    accumulators: int
    widest: int


class ProductWriter:
    """Writes one product, and the kernels that it needs.

    The squares of B or of C are added up as their entries pass, to see that they are finite: a
    loop of its own would read them from memory again. `square` says of which, ``"b"`` or ``"c"``,
    and where to: a vector for each chunk of rows.
    """

    def __init__(
        self,
        text: Text,
        node: Node,
        facts: Facts,
        storage: Storage,
        tile: Tile,
        square: tuple[str, str] = ("", "null"),
    ) -> None:
        self._text, self._tile = text, tile
        self._square, self._squares = square
        a, b = facts.accesses(node)
        self._dtype = dtype_of(node)
        self._kind = type_of(self._dtype)
        self._lanes = tile.vector // self._dtype.itemsize
        (self._m, self._k), self._n = a.shape, b.shape[1]
        self._a_strides, self._b_strides = a.strides, b.strides
        self._storage, self._node = storage, node
        self._a, self._a_offset = storage.pointer(a.base), a.offset
        self._b, self._b_offset = storage.pointer(b.base), b.offset
        self._c = storage.pointer(node)
        self._is_dot = self._a_strides[1] == 1
        self._tail = self._n % self._lanes if self._has_tail() else 0
        self._columns = self._n - self._tail  # in tiles; the others are computed apart

    def _has_tail(self) -> bool:
        """Tell whether the columns that fill no vector are computed apart from the tiles."""
        lanes, tail = self._lanes, self._n % self._lanes
        if self._n < lanes or not 0 < tail <= lanes // 4:
            return False
        if self._is_dot:
            has_rows = self._m >= MIN_ROWS_PER_COLUMN * tail
            return has_rows and bool(self._k >= MIN_DOT_VECTORS * lanes)
        return bool(self._a_strides[0] == 1 and self._m >= lanes and "b" not in self._square)

    def write(self, is_shared: bool = False) -> bool:
        """Write the product; tell whether threads share it, which `is_shared` allows."""
        if self._b_strides[1] != 1:
            self._transpose_b()
        if self._tail and self._is_dot:
            self._copy_tail()
        height = self._height() if is_shared else self._m
        if height >= self._m:
            self._rows(0, self._m)
            return False
        run, squares = self._text, self._squares

        def chunk(text: Text, start: str, count: str) -> None:
            self._text = text
            self._squares = text.at(squares, text.mul("%chunk", self._tile.vector), "i8")
            for rows in dict.fromkeys((height, self._m % height or height)):
                fits = text.do(f"icmp eq i64 {count}, {rows}")
                text.when(fits, partial(self._rows, start, rows))

        write_shared(run, self._storage, self._m, height, chunk)
        return True

    def _height(self) -> int:
        """Return the rows of a chunk: whole tiles, as more than a few rows share a block of B."""
        chunks = min(MAX_CHUNKS, self._m // MIN_CHUNK_ROWS)
        if 2 * self._m * self._k * self._n < MIN_STEP_WORK or chunks < 2:
            return self._m
        vectors = -(-self._columns // self._lanes)
        tile = self._tile.accumulators // min(vectors, self._tile.widest)
        return -(-self._m // (chunks * tile)) * tile

    def _rows(self, top: Any, m: int) -> None:
        """Compute some rows of C."""
        self._top = top
        lanes, k = self._lanes, self._k
        vectors, tile = -(-self._columns // lanes), self._tile
        few = m < MIN_BLOCKED_ROWS
        widest = max(tile.widest, tile.accumulators // m) if few else tile.widest
        panels = split(vectors, widest)
        widths = [panel * lanes for panel in panels]
        widths[-1] -= -self._columns % lanes

        def block(depth: int, start: Any) -> None:
            rows = split(m, max(24, BLOCK_BYTES // (depth * self._dtype.itemsize)))
            self._block(start, depth, rows, widths)

        _each(self._text, split(k, k if few else BLOCK_DEPTH), block)
        if self._tail:
            self._tail_rows(m)

    def _block(self, at: Any, depth: int, rows: list[int], widths: list[int]) -> None:
        """Add what a block of B contributes to C."""
        text, kind = self._text, self._kind
        self._at, self._depth = at, depth
        (row_a, column_a), (row_b, _) = self._a_strides, self._b_strides
        more = text.do(f"icmp sgt i64 {at}, 0")
        a = text.at(self._a, text.add(text.mul(at, column_a), self._a_offset), kind)
        b = text.at(self._b, text.add(text.mul(at, row_b), self._b_offset), kind)

        def stripe(height: int, top: Any) -> None:
            row = self._row = text.add(top, self._top)
            a_here = text.at(a, text.mul(row, row_a), kind)
            c_here = text.at(self._c, text.mul(row, self._n), kind)

            def panel(width: int, left: Any) -> None:
                here = a_here, text.at(b, left, kind), text.at(c_here, left, kind)
                self._tiles(depth, height, width, here, more)

            _each(text, widths, panel)

        _each(text, rows, stripe)

    def _tiles(
        self, depth: int, height: int, columns: int, at: tuple[str, str, str], more: str
    ) -> None:
        text, kind = self._text, self._kind
        a, b, c = at
        (row_a, column_a), row_b = self._a_strides, self._b_strides[0]
        width, tail = -(-columns // self._lanes), columns % self._lanes

        def tile(rows: int, row: Any) -> None:
            name = self._choose((rows, width, tail), row)
            x = text.at(a, text.mul(row, row_a), kind)
            z = text.at(c, text.mul(row, self._n), kind)
            text.put(
                f"call void {name}(i64 {depth}, ptr {x}, i64 {row_a}, i64 {column_a}, "
                f"ptr {b}, i64 {row_b}, ptr {z}, i64 {self._n}, i1 {more}, "
                f"ptr {self._squares})"
            )

        _each(text, split(height, max(1, self._tile.accumulators // width)), tile)

    def _choose(self, size: tuple[int, int, int], row: Any) -> str:
        """Return the kernel: it squares B in the first rows, C where its sum is complete."""
        plain = self._kernel(size, "")
        if not self._square:
            return plain
        adding, text = self._kernel(size, self._square), self._text
        if self._square == "c":
            here, there = text.add(self._at, self._depth), self._k
        else:
            here, there = text.add(self._row, row), 0
        if isinstance(here, int):
            return adding if here == there else plain
        is_there = text.do(f"icmp eq i64 {here}, {there}")
        return text.do(f"select i1 {is_there}, ptr {adding}, ptr {plain}")

    def _kernel(self, size: tuple[int, int, int], square: str) -> str:
        """Return the kernel for a tile; the last vector of a row may be cut short."""
        name = "_".join(["tile", self._kind, *map(str, size)]) + square
        if name not in self._text.functions:
            self._text.functions[name] = ""
            self._text.functions[name] = _kernel(
                name, self._text.functions, self._dtype, self._lanes, size, square
            )
        return f"@{name}"

    def _copy_tail(self) -> None:
        """Copy the last columns of B, each in full vectors: the last one is filled with zeros."""
        text, kind, lanes = self._text, self._kind, self._lanes
        column = -(-self._k // lanes) * lanes
        to = self._storage.block(self._tail * column * self._dtype.itemsize)
        b = text.at(self._b, self._b_offset + self._columns, kind)

        def copy(row: Any) -> None:
            for j in range(self._tail):
                place = text.at(b, text.add(text.mul(row, self._b_strides[0]), j), kind)
                entry = text.load(place, self._dtype, 1, 1)
                text.store(entry, text.at(to, text.add(row, j * column), kind), self._dtype, 1, 1)

        def square(i: Any) -> None:
            vector = text.load(text.at(to, text.mul(i, lanes), kind), self._dtype, lanes, lanes)
            add_product(text, self._dtype, lanes, (vector, vector), self._squares)

        for j in range(1, self._tail + 1):
            last = text.at(to, j * column - lanes, kind)
            text.store("zeroinitializer", last, self._dtype, lanes, lanes)
        text.loop(self._k, copy)
        if self._square == "b":
            text.loop(self._tail * column // lanes, square)
        self._tail_b = to, column

    def _tail_rows(self, m: int) -> None:
        """Compute the last columns of some rows of C."""
        text, kind, lanes, is_dot = self._text, self._kind, self._lanes, self._is_dot
        stride_a, stride_c = self._a_strides[not is_dot], self._n
        if is_dot:
            parts, count = split(m, lanes // self._tail), self._k // lanes
            b, stride_b = self._tail_b
        else:
            parts = [part * lanes for part in split(-(-m // lanes), MAX_TAIL_SUMS // self._tail)]
            parts[-1] -= -m % lanes
            b, stride_b = self._b, self._b_strides[0]
            b, count = text.at(b, self._b_offset + self._columns, kind), self._k

        def part(rows: int, start: Any) -> None:
            row = text.add(start, self._top)
            a = text.at(self._a, text.add(text.mul(row, self._a_strides[0]), self._a_offset), kind)
            c = text.at(self._c, text.add(text.mul(row, stride_c), self._columns), kind)
            size = (rows, self._tail, self._k)
            is_squared = self._square == "c"
            name = tail_kernel(text.functions, self._dtype, lanes, size, is_dot, is_squared)
            text.put(
                f"call void @{name}(i64 {count}, ptr {a}, i64 {stride_a}, ptr {b}, i64 {stride_b}, "
                f"ptr {c}, i64 {stride_c}, ptr {self._squares})"
            )

        _each(text, parts, part)

    def _transpose_b(self) -> None:
        """Copy a transposed B, in squares of lanes that are turned in registers."""
        row, column = self._b_strides
        if row != 1 or column < self._k:
            raise UnsupportedError("a product with every second column of a matrix")
        text, lanes, kind = self._text, self._lanes, self._kind
        across = -(-self._n // lanes) * lanes
        to = self._storage.block((self._k + lanes) * across * self._dtype.itemsize)
        source = text.at(self._b, self._b_offset, kind)

        def square(rows: int, j: Any, columns: int, i: Any) -> None:
            vectors = []
            for r in range(lanes):
                start = text.add(text.mul(text.add(j, r), column), i)
                vectors.append(
                    text.load(text.at(source, start, kind), self._dtype, lanes, columns)
                    if r < rows
                    else "zeroinitializer"
                )
            for c, vector in enumerate(_transposed_square(text, vectors, lanes, kind)[:columns]):
                place = text.add(text.mul(text.add(i, c), across), j)
                text.store(vector, text.at(to, place, kind), self._dtype, lanes, lanes)

        def stripe(rows: int, j: Any) -> None:
            _each(text, _vectors(self._k, lanes), lambda columns, i: square(rows, j, columns, i))

        _each(text, _vectors(self._n, lanes), stripe)
        self._b, self._b_offset, self._b_strides = to, 0, (across, 1)


def _vectors(extent: int, lanes: int) -> list[int]:
    """Cut an extent into whole vectors and a rest."""
    full, rest = divmod(extent, lanes)
    return [lanes] * full + [rest] * (rest > 0)


def _transposed_square(text: Text, vectors: list[str], lanes: int, kind: str) -> list[str]:
    """Transpose a square of vectors: swap its off-diagonal blocks, of half the size each time."""
    vector, half = f"<{lanes} x {kind}>", lanes // 2
    while half:
        turned = list(vectors)
        for r in range(lanes):
            if r & half:
                continue
            low = [q if not q & half else lanes + q - half for q in range(lanes)]
            high = [q + half if not q & half else lanes + q for q in range(lanes)]
            for to, order in ((r, low), (r + half, high)):
                turned[to] = text.do(
                    f"shufflevector {vector} {vectors[r]}, {vector} {vectors[r + half]}, "
                    f"<{lanes} x i32> <{', '.join(f'i32 {q}' for q in order)}>"
                )
        vectors, half = turned, half // 2
    return vectors


def _kernel(
    name: str,
    functions: dict[str, str],
    dtype: np.dtype[Any],
    lanes: int,
    size: tuple[int, int, int],
    square: str,
) -> str:
    """Write the kernel: ``c[i, :] (+)= sum over l of a[i row_a + l column_a] b[l row_b : ]``.

    A last vector that is cut short is as narrow as it can be, as many processors compute a wide
    vector in two halves.
    """
    rows, width, tail = size
    text, kind = Text(functions), type_of(dtype)
    counts = [lanes] * (width - 1) + [tail or lanes]
    narrow = min(lanes, max(power_of_two(counts[-1]), MIN_VECTOR_BYTES // dtype.itemsize))
    across = [lanes] * (width - 1) + [narrow]
    vectors = [f"<{count} x {kind}>" for count in across]
    places = []
    for i in range(rows):
        start = text.at("%c", text.mul("%row_c", i), kind)
        places.append([text.at(start, j * lanes, kind) for j in range(width)])
    sums = [[text.on_stack(vector) for vector in vectors] for _ in range(rows)]
    squares = [text.on_stack(vector) for vector in vectors] if square else []
    for slots in (*sums, squares):
        for slot, vector in zip(slots, vectors, strict=False):
            text.put(f"store {vector} zeroinitializer, ptr {slot}")

    def add(slot: str, j: int, x: str, y: str) -> None:
        before = text.do(f"load {vectors[j]}, ptr {slot}")
        after = text.intrinsic("fma", dtype, across[j], (x, y, before))
        text.put(f"store {vectors[j]} {after}, ptr {slot}")

    def begin() -> None:
        for i in range(rows):
            for j in range(width):
                before = text.load(places[i][j], dtype, across[j], counts[j])
                text.put(f"store {vectors[j]} {before}, ptr {sums[i][j]}")

    text.when("%more", begin)
    starts = [text.mul("%row_a", i) for i in range(rows)]

    def step(index: Any) -> None:
        a = text.at("%a", text.mul(index, "%column_a"), kind)
        b = text.at("%b", text.mul(index, "%row_b"), kind)
        loaded = [
            text.load(text.at(b, j * lanes, kind), dtype, across[j], counts[j])
            for j in range(width)
        ]
        for j, x in enumerate(loaded if square == "b" else ()):
            add(squares[j], j, x, x)
        for i in range(rows):
            entry = text.load(text.at(a, starts[i], kind), dtype, lanes, lanes, 0)
            for j in range(width):
                add(sums[i][j], j, text.resized(entry, dtype, lanes, across[j]), loaded[j])

    text.loop("%depth", step)
    for i in range(rows):
        for j in range(width):
            found = text.do(f"load {vectors[j]}, ptr {sums[i][j]}")
            text.store(found, places[i][j], dtype, across[j], counts[j])
            if square == "c":
                add(squares[j], j, found, found)
    full = f"<{lanes} x {kind}>"
    for slot, vector, count in zip(squares, vectors, across, strict=False):
        total = text.do(f"load {full}, ptr %squares")
        part = text.resized(text.do(f"load {vector}, ptr {slot}"), dtype, count, lanes)
        text.put(f"store {full} {text.do(f'fadd {full} {total}, {part}')}, ptr %squares")
    head = (
        f"define internal void @{name}(i64 %depth, ptr %a, i64 %row_a, i64 %column_a, ptr %b, "
        "i64 %row_b, ptr %c, i64 %row_c, i1 %more, ptr %squares) noinline"
    )
    return text.function(head, "ret void")


def split(total: int, most: int) -> list[int]:
    """Cut a number into parts as equal as they can be, none above `most`.

    Examples
    --------
    >>> split(10, 4)
    [4, 3, 3]
    """
    parts = -(-total // most)
    small, extra = divmod(total, parts)
    return [small + 1] * extra + [small] * (parts - extra)


def _each(text: Text, sizes: Iterable[int], body: Callable[[int, Any], None]) -> None:
    """Write ``body(size, start)`` for parts that lie behind each other: a loop for equal ones."""
    start = 0
    for size, equal in groupby(sizes):
        count = len([*equal])

        def part(i: Any, size: int = size, start: int = start) -> None:
            body(size, text.add(text.mul(i, size), start))

        text.loop(count, part)
        start += size * count
