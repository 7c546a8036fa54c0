"""A compiled recording: its replay, and the arrays of its results."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product, starmap
from typing import Any, Literal, NamedTuple

import numpy as np

from gradlab.forking import ForkLock
from gradlab.gradients.calls import out_leaves, owners, require_apart
from gradlab.gradients.tape.codegen import Compiled, Replay, compile_program
from gradlab.gradients.tape.comparing import DataSnapshot, seen_params
from gradlab.gradients.tape.compiled import (
    DECLINED,
    Native,
    NativeReplay,
    UnsupportedError,
    require_known,
)
from gradlab.gradients.tape.later import BackgroundCompilation
from gradlab.gradients.tape.memory import nbytes_of
from gradlab.params import Array, Structure
from gradlab.program.cache_key import key_of
from gradlab.program.ir import Program
from gradlab.program.passes import Saving, optimise
from gradlab.program.references import are_unheld

MAX_REUSED_GRADIENTS = 3
"""Number of returned gradients whose arrays may be reused: the one being computed, the previous
one, which the caller is about to replace, and one more."""

UNLIMITED_CALLS = 1 << 60
"""Stands for an unlimited number of calls."""

_SWITCH_LOCK = ForkLock()


class CacheInfo(NamedTuple):
    """Numbers of replays, recordings, dropped recordings, and recordings that a tape keeps."""

    replays: int
    recordings: int
    evictions: int
    size: int


@dataclass(eq=False)
class Replayable:
    """A compiled recording, and the parameters and data at which it has been compared."""

    recorded: Program
    structure: Structure
    exact: bool  # whether to omit the passes that round differently
    params_seen: list[float] | None
    data_seen: DataSnapshot | None
    # Whether machine code replays it if the planner supports the whole program; "auto": from a
    # fixed replay on.
    compile_natively: bool | Literal["auto"] = False
    replays: int = 0
    native: Native | None = field(init=False, default=None)
    declined: str = field(init=False, default="")  # why there is no machine code
    # Compiles the program if machine code is used from a later replay on.
    later: BackgroundCompilation | None = field(init=False, default=None)
    has_answered: bool = field(init=False, default=False)  # whether machine code has, to a call
    # Whether the next replay must be compared: a direct call found the first other data, or machine
    # code is used for the first time.
    is_due: bool = field(init=False, default=False)
    largest: int = field(init=False)  # bytes of the largest value
    program: Program = field(init=False)  # as it is replayed
    savings: tuple[Saving, ...] = field(init=False)
    compiled: Compiled = field(init=False)
    _machines: list[Replay] = field(init=False)

    def __post_init__(self) -> None:
        self.compile(self.exact)

    def compile(self, exact: bool) -> None:
        """Optimise the recorded program and compile it."""
        program, savings = optimise(self.recorded, exact=exact)
        self.compiled = compile_program(program)
        with _SWITCH_LOCK.held:
            self.program, self.savings, self.exact = program, savings, exact
            self.native = self.later = None
            self.has_answered = False
        self.largest = max(map(nbytes_of, program.nodes), default=0)
        self._machines = []
        self._native_machines: list[NativeReplay] = []
        self._kept: list[list[Array]] = []
        self._targets: list[Array] = []
        if self.compile_natively:
            self._compile_natively()

    def _compile_natively(self) -> None:
        """Compile the program, or have it compiled later."""
        if self.exact:
            self.declined = "the program is replayed exactly, with NumPy's roundings"
            return
        try:
            require_known()
        except UnsupportedError as reason:
            self.declined = str(reason)
            return
        self.later = BackgroundCompilation(self.program)
        if self.compile_natively != "auto":
            self._take(self.later)

    def _advance(self, later: BackgroundCompilation) -> None:
        """Start to compile, or start to use machine code, if this is the replay for it."""
        if self.replays >= later.switch:
            self._take(later)
        elif self.replays >= later.begin and not later.has_begun:
            later.start()

    def _take(self, later: BackgroundCompilation) -> None:
        outcome = later.outcome()
        with _SWITCH_LOCK.held:
            if self.later is not later:  # another thread was here first
                return
            if isinstance(outcome, Native):
                self.native = outcome
            else:
                self.declined = outcome
            self.later = None

    def run(self, leaves: Sequence[Any], arrays: Sequence[Any], outs: Sequence[Array]) -> float:
        """Replay; if all sets of buffers are in use by other threads, make a new one."""
        if self.later is not None:
            self._advance(self.later)
        if self.native is not None:
            value, _ = self.run_natively((*leaves, *arrays, *outs))
            if math.isfinite(value):
                if not self.has_answered:
                    self.has_answered = self.is_due = True
                return value
        machines = self._machines
        try:
            machine = machines.pop()
        except IndexError:
            machine = self.compiled.build()
        try:
            return machine(*leaves, *arrays, *outs)
        finally:
            machines.append(machine)

    def run_natively(self, arrays: tuple[Any, ...]) -> tuple[float, float]:
        """Run the machine code on inputs and results; return the loss and the leaves' norm.

        The loss is not finite if the code declines the arrays, or if a value is not finite.
        """
        native, machines = self.native, self._native_machines
        if native is None:  # another thread has given it up
            return DECLINED, 0.0
        try:
            machine = machines.pop()
        except IndexError:
            machine = native.build()
        try:
            return machine(arrays), machine.norm
        finally:
            machines.append(machine)

    @contextmanager
    def machine(self) -> Iterator[NativeReplay | None]:
        """Hold a machine for calls by other code; None if the machine code has been dropped."""
        native, machines = self.native, self._native_machines
        try:
            machine = machines.pop() if native else None
        except IndexError:
            machine = native.build() if native else None
        try:
            yield machine
        finally:
            if machine:
                machines.append(machine)

    def calls_ahead(self, every: int | None) -> int:
        """Return how many of the next calls machine code answers without a comparison.

        One of `every` replays is compared with eager autograd.
        """
        is_settled = self.has_answered and not self.is_due and self.replays > 1
        if self.native is None or not is_settled or self.params_seen or self.data_seen:
            return 0
        return UNLIMITED_CALLS if every is None else every - 1 - self.replays % every

    def results(self) -> list[Array]:
        """Return arrays for a gradient: those of an earlier one that its caller has dropped.

        Writing to memory that is new to the process takes longer than the computation.
        """
        for _ in range(len(self._kept)):
            try:
                arrays = self._kept.pop(0)  # one thread gets it
            except IndexError:
                break
            if are_unheld(arrays):
                return arrays
            self._kept.append(arrays)
        leaves = self.recorded.inputs[: len(self.structure.paths)]
        return [np.empty(leaf.shape or (), leaf.dtype) for leaf in leaves]

    def given(self, arrays: list[Array]) -> Any:
        """Return the gradient, and remember its arrays, to look later whether a caller holds them.

        The gradient holds them from the first moment on: another thread may look at once.
        """
        gradient = self.structure.unflatten(arrays)
        self._kept.append(arrays)
        del self._kept[:-MAX_REUSED_GRADIENTS]
        return gradient

    def targets(self, out: Any, leaves: Sequence[Array], arrays: Sequence[Any]) -> list[Array]:
        """Return the arrays of `out` if they can take the gradient.

        The same arrays, as in a training, are checked only once.
        """
        targets: list[Any] = []
        key_of(out, targets)
        known = len(targets) == len(self._targets) and all(
            map(operator.is_, targets, self._targets)
        )
        if not known:
            self._targets = []
            out_leaves(out, leaves, self.structure)
            self._targets = targets
        inputs = [*leaves, *arrays]
        # Arrays in different pieces of memory do not overlap; those in the same one may.
        if any(starmap(np.may_share_memory, product(owners(targets), owners(inputs)))):
            require_apart(targets, inputs, self.structure)
        return targets

    def has_news(self, norm: float, leaves: Sequence[Array], arrays: Sequence[Any]) -> bool:
        """Tell whether this is the second replay, or the first of another kind.

        A kind is: at other parameters, with other data, or of machine code.
        """
        news = self.replays == 1 or self.is_due
        self.is_due = False
        if self.params_seen is not None and self.params_seen != seen_params(norm, leaves):
            self.params_seen, news = None, True
        if self.data_seen is not None and not self.data_seen.is_of(arrays):
            self.data_seen, news = None, True
        return news

    def explain(self) -> str:
        """Describe what each pass saved, and the buffers of a replay."""
        saved: dict[str, int] = {}
        for saving in self.savings:
            name = saving.name.replace("_", " ") + ("" if saving.exact else " (rounds differently)")
            saved[name] = saved.get(name, 0) + saving.before - saving.after
        lines = [f"recorded: {len(self.recorded.nodes)} operations"]
        lines += [f"  {-count:+4d}  {name}" for name, count in saved.items()]
        lines.append(
            f"replayed: {len(self.program.nodes)} operations in {self.compiled.buffers} buffers, "
            f"{self.compiled.nbytes / 1024:,.0f} kB"
        )
        if self.later is not None:
            lines.append(self.later.describe(self.replays))
        elif self.native is not None:
            lines.append(f"compiled: {self.native.describe()}")
        elif self.declined:
            lines.append(f"not compiled: {self.declined}")
        return "\n".join(lines)
