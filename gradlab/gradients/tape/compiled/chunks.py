"""Steps in chunks of rows, which threads share.

The number of chunks follows from the shapes alone, and so do all sums: the number of threads
changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable

from gradlab.gradients.tape.compiled.sharing import JOB_OFFSET
from gradlab.gradients.tape.compiled.storage import Storage
from gradlab.gradients.tape.compiled.text import Text

MIN_SHARED_WORK = 4 * 10**7
"""Multiplications and additions of a program from which threads share its steps, 0.4 ms of one
processor.

Smaller ones gain little, and on a busy machine they wait for threads that do not run."""

MIN_STEP_WORK = 10**6
"""Multiplications and additions from which a product of such a program is shared, 10 µs: the
threads need about one to meet. An operation of a fused loop counts as ten of these."""

TABLE_OFFSET = 16
"""Where in the memory of a program the address of its table is, in bytes."""


def write_shared(
    run: Text, storage: Storage, count: int, rows: int, write: Callable[[Text, str, str], None]
) -> None:
    """Write a function for chunks of rows, and have threads share the chunks.

    Parameters
    ----------
    run : Text
        The function that runs the program.
    storage : Storage
        Its memory.
    count, rows : int
        How many rows there are, and how many a chunk has; the last one has what is left.
    write : callable
        ``write(text, start, count)`` writes the function of the rows from `start` on. The number
        of the chunk is ``%chunk``.
    """
    name = f"chunk{len(run.functions)}"
    text = Text(run.functions)
    start = text.mul("%chunk", rows)
    left = text.do(f"sub i64 {count}, {start}")
    write(text, start, text.do(f"call i64 @llvm.smin.i64(i64 {left}, i64 {rows})"))
    table = [
        f"%table_at = getelementptr i8, ptr %m, i64 {TABLE_OFFSET}",
        "%table = load ptr, ptr %table_at",
    ]
    text.first[:0] = [*table, *storage.pointers()]
    head = f"define internal void @{name}(ptr %p, ptr %m, i64 %chunk) noinline"
    run.functions[name] = text.function(head, "ret void")
    job = run.at("%m", JOB_OFFSET, "i8")
    chunks = -(-count // rows)
    run.put(f"call void @share(ptr {job}, ptr @{name}, i64 {chunks}, ptr %p, ptr %m, ptr %yield)")
