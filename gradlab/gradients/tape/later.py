"""Machine code that is compiled in the background, and used from a fixed replay on.

Compiling takes as long as thousands of replays of a small network. With `Tape(compile="auto")`,
NumPy does the first replays, until compiling pays, while a thread compiles. Machine code rounds
differently, so the replay at which it is first used follows only from the program: it depends
neither on the speed of the thread nor on code that is already on disk. The same calls then give the
same bits in each run.
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress

import numpy as np

from gradlab.forking import ForkLock
from gradlab.gradients.tape.compiled import Native, UnsupportedError, compile_native
from gradlab.gradients.tape.memory import nbytes_of
from gradlab.program.ir import Program

START_SECONDS, SECONDS_PER_OPERATION = 0.1, 0.0025
"""Seconds that compiling takes: in any case, and for each operation of the program.

A network of 62 operations takes 0.25 s."""

SECONDS_PER_CALL, SECONDS_PER_BYTE = 0.6e-6, 1 / 25e9
"""Seconds that machine code saves: for each operation, and for each byte of their results."""

MIN_REPLAYS = 10
"""Smallest number of replays by NumPy: the first ones are compared with eager autograd."""

_START_LOCK = ForkLock()


def replays_until_it_pays(program: Program) -> int:
    """Return the number of replays that save as much time as compiling takes.

    The number follows from the operations and the shapes of their results: about 5,600 for a small
    network and one sample, and 500 for 1,000 samples.
    """
    count = len(program.nodes)
    saved = SECONDS_PER_CALL * count + SECONDS_PER_BYTE * sum(map(nbytes_of, program.nodes))
    return (
        max(MIN_REPLAYS, math.ceil((START_SECONDS + SECONDS_PER_OPERATION * count) / saved))
        if count
        else MIN_REPLAYS
    )


class BackgroundCompilation:
    """A program compiled by a thread from replay `begin` on, and run from `switch` on."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.switch = replays_until_it_pays(program)
        self.begin = self.switch // 2
        self._thread: threading.Thread | None = None
        self._outcome: Native | str | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the thread has been started."""
        return self._thread is not None

    def start(self) -> None:
        """Start a thread that compiles, unless there is one already."""
        with _START_LOCK.held:
            if self._thread is None:
                thread = threading.Thread(target=self._compile, name="gradlab compiles")
                with suppress(RuntimeError):  # no more threads: `outcome` compiles
                    thread.start()
                    self._thread = thread

    def outcome(self) -> Native | str:
        """Return the machine code, or the reason why there is none; wait for the thread."""
        if self._thread is not None:
            self._thread.join()
        # A process that was forked in the meantime does not have the thread.
        return self._outcome or self._compile()

    def _compile(self) -> Native | str:
        try:
            with np.errstate(all="ignore"):  # for constants, as in a replay
                self._outcome = compile_native(self.program)
        except UnsupportedError as reason:
            self._outcome = str(reason)
        return self._outcome

    def describe(self, replays: int) -> str:
        """Describe the state after this number of replays."""
        state = "being compiled" if self.has_begun else "not compiled yet"
        return (
            f"{state}: NumPy replays the first {self.switch:,} calls, of which {replays:,} are "
            "over, and machine code those after them"
        )
