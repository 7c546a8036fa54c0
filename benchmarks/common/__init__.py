"""The common parts of the benchmarks.

===========  ======================================================================================
`timing`     contenders that take turns, and the ratios of their times
`entries`    a sample of a gradient, if the whole one would take too long
`machine`    threads, packages and versions
`texts`      numbers as text, tables of them, and the values of options
`files`      the files that a benchmark writes
`running`    a benchmark as a command: options, `main` and `run`
===========  ======================================================================================
"""

from common.entries import (
    Entries,
    flat,
    restrict,
    sample_entries,
    timed_evaluations,
    worst_difference,
)
from common.files import record, write_outputs
from common.machine import (
    clock_for,
    describe,
    environment_line,
    is_installed,
    jax_in_float64,
    limit_threads,
    missing,
    missing_notes,
    threads,
)
from common.running import (
    Batch,
    Dtype,
    Findings,
    NotInstalledError,
    Quick,
    Seed,
    Threads,
    main,
    run,
    say,
)
from common.texts import digits, duration, new_table, parse_dtype, parse_widths, require_known
from common.timing import Laps, Ratio, interleave
from gradlab.command.console import out, show_table
