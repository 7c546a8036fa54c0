"""Many steps of a training in one native call: gather, gradient, update.

A step of stochastic gradient descent copies the rows of a minibatch, calls the machine code of the
gradient, and updates the parameters. `write_steps` writes a loop of such steps. It knows neither
the loss nor the shapes: addresses and sizes come in tables, and the gradient is called by its
address. So one function serves all trainings with the same rule and dtype.

The rule is not written twice. The update is a function on arrays, as the trainer uses it; it is run
on `_Lanes`, which record its ufuncs and the numbers in it, such as the learning rate. Each ufunc
becomes an instruction that rounds as it does, so that many steps in one call give the bits of as
many single ones.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from gradlab.gradients.tape.compiled.forms import UnsupportedError
from gradlab.gradients.tape.compiled.kinds import type_of
from gradlab.gradients.tape.compiled.module import Module
from gradlab.gradients.tape.compiled.native import NativeReplay, link, machine_code, tile
from gradlab.gradients.tape.compiled.text import Text
from gradlab.params import Array

Rule = Callable[..., None]
"""``rule(params, gradient, old, new, out, spare)`` writes the parameters after a step into `out`
and the optimiser's arrays into `new`, by NumPy's ufuncs."""

INSTRUCTIONS = {
    np.add: "fadd",
    np.subtract: "fsub",
    np.multiply: "fmul",
    np.divide: "fdiv",
    np.sqrt: "sqrt",
}

FIELDS = 4
"""Entries of the table of parameters before the optimiser's arrays: the parameters at even steps,
those at odd steps, the gradient, and the flag that it was not zero. The last entry is a count."""

HEAD = (
    "define i64 @steps(ptr %gradient, ptr %memory, ptr %table, ptr %tuples, ptr %arrays, "
    "i64 %arrays_n, ptr %pieces, i64 %pieces_n, ptr %rows, i64 %batch, ptr %numbers, "
    "ptr %losses, i64 %first, i64 %count)"
)
"""The function. It takes code, memory and table of the gradient, and its arrays at even and odd
steps; the tables of the data and of the leaves; the rows of all minibatches, and how many each has;
the numbers and the losses of the steps; 1 if the first step is odd; how many steps to take. It
returns how many it took."""

AHEAD = 4
"""Rows that are fetched into the cache before they are copied: 5 % of a step of a small network."""


class Update(NamedTuple):
    """The operations of a rule.

    Values have numbers: 0 is the parameters, 1 the gradient, the next ones are the optimiser's
    arrays, then come the results of the operations. -1 is the first number in the rule, such as the
    learning rate, -2 the second.

    Attributes
    ----------
    operations : tuple
        Each a ufunc and its operands.
    results : tuple of int
        The new parameters and the optimiser's new arrays.
    numbers : int
        How many numbers there are.
    """

    operations: tuple[tuple[Any, tuple[int, ...]], ...]
    results: tuple[int, ...]
    numbers: int

    @property
    def slots(self) -> int:
        """The number of the optimiser's arrays."""
        return len(self.results) - 1


class _Lanes:
    """An array of which only the operations matter: `apply(ufunc, operands)` records them."""

    def __init__(self, dtype: np.dtype[Any], apply: Callable[..., int], value: Any = None) -> None:
        self.dtype, self.value, self._apply = dtype, value, apply

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any:
        known = all(type(x) is float or isinstance(x, _Lanes) for x in inputs)
        if method != "__call__" or len(out) != 1 or options or not known:
            raise UnsupportedError(f"an update that calls {ufunc.__name__} in another way")
        out[0].value = self._apply(ufunc, [getattr(x, "value", x) for x in inputs])
        return out[0]


def recorded(rule: Rule, slots: int, dtype: np.dtype[Any]) -> tuple[Update, list[float]]:
    """Return what a rule does, and the numbers in it.

    Raises
    ------
    UnsupportedError
        If the rule has an operation that is not known here.

    Examples
    --------
    >>> def descend(p, g, old, new, out, spare):
    ...     np.multiply(g, -0.5, out=spare)
    ...     np.add(p, spare, out=out)
    >>> update, numbers = recorded(descend, 0, np.dtype(float))
    >>> update.operations
    ((<ufunc 'multiply'>, (1, -1)), (<ufunc 'add'>, (0, 2)))
    >>> update.results, numbers
    ((3,), [-0.5])
    """
    numbers: list[float] = []
    operations: list[tuple[Any, tuple[int, ...]]] = []

    def place(operand: Any) -> int:
        if type(operand) is float:
            numbers.append(operand)
            return -len(numbers)
        return int(operand)

    def apply(ufunc: Any, operands: list[Any]) -> int:
        if ufunc not in INSTRUCTIONS or None in operands:
            raise UnsupportedError(f"an update that calls {ufunc.__name__}")
        operations.append((ufunc, tuple(map(place, operands))))
        return 1 + slots + len(operations)

    p, g, *old = (_Lanes(dtype, apply, i) for i in range(2 + slots))
    out, spare, *new = (_Lanes(dtype, apply) for _ in range(2 + slots))
    rule(p, g, old, new, out, spare)
    results = tuple(array.value for array in (out, *new))
    if None in results:
        raise UnsupportedError("an update that leaves an array as it was")
    return Update(tuple(operations), results, len(numbers)), numbers


def write_steps(update: Update, dtype: np.dtype[Any]) -> str:
    """Write the loop of steps."""
    text = Text({})
    lanes = tile().vector // dtype.itemsize

    def step(s: Any) -> None:
        text.loop("%arrays_n", lambda a: _gather(text, a, s))
        odd = text.do(f"and i64 {text.add(s, '%first')}, 1")
        arrays = text.do(f"load ptr, ptr {text.at('%tuples', odd, 'ptr')}")
        value = text.do(f"call double %gradient(ptr {arrays}, ptr %memory, ptr %table)")
        zero = text.do(f"fsub double {value}, {value}")  # NaN if the loss is not finite
        wrong = text.do(f"fcmp une double {zero}, 0.0")
        text.put(f"br i1 {wrong}, label %stop, label %go")
        text.lines += ["stop:", f"ret i64 {s}", "go:"]
        text.put(f"store double {value}, ptr {text.at('%losses', s, 'double')}")
        numbers = _numbers(text, s, update.numbers, dtype, lanes)
        text.loop("%pieces_n", lambda p: _update(text, update, dtype, lanes, odd, p, numbers))

    text.loop("%count", step)
    return text.function(HEAD, "ret i64 %count")


def _gather(text: Text, array: Any, step: Any) -> None:
    """Copy the rows of a minibatch from one array of the data."""
    fields = text.at("%arrays", text.mul(array, 4), "i64")
    source, target = (text.do(f"load ptr, ptr {text.at(fields, i, 'i64')}") for i in (0, 1))
    stride, nbytes = (text.do(f"load i64, ptr {text.at(fields, i, 'i64')}") for i in (2, 3))
    first = text.mul(step, "%batch")

    lines = text.do(f"udiv i64 {text.add(nbytes, 63)}, 64")

    def start_of(i: Any) -> str:
        row = text.do(f"load i64, ptr {text.at('%rows', text.add(first, i), 'i64')}")
        return text.at(source, text.mul(row, stride), "i8")

    def copy(i: Any) -> None:
        later = start_of(text.add(i, AHEAD))

        def fetch(line: Any) -> None:
            here = text.at(later, text.mul(line, 64), "i8")
            text.put(f"call void @llvm.prefetch.p0(ptr {here}, i32 0, i32 2, i32 1)")  # into L2

        text.loop(lines, fetch)
        here, end = start_of(i), text.at(target, text.mul(i, nbytes), "i8")
        text.put(f"call void @llvm.memcpy.p0.p0.i64(ptr {end}, ptr {here}, i64 {nbytes}, i1 false)")

    text.loop("%batch", copy)


def _numbers(text: Text, step: Any, count: int, dtype: np.dtype[Any], lanes: int) -> list[str]:
    """Load the numbers of a step, each into all lanes of a vector."""
    double, found = np.dtype(float), []
    first = text.mul(step, count)
    for i in range(count):
        at = text.at("%numbers", text.add(first, i), "double")
        number = text.convert(text.load(at, double, 1, 1), double, dtype, 1)
        found.append(text.spread(number, dtype, lanes))
    return found


def _update(
    text: Text,
    update: Update,
    dtype: np.dtype[Any],
    lanes: int,
    odd: str,
    piece: Any,
    numbers: Sequence[str],
) -> None:
    """Update one leaf, vector by vector, and note whether its gradient has entries other than 0."""
    vector = f"<{lanes} x {type_of(dtype)}>"
    bits = f"<{lanes} x i1>"
    slots = update.slots
    fields = text.at("%pieces", text.mul(piece, FIELDS + slots + 1), "i64")
    even, other, gradient, flag, *state = (
        text.do(f"load ptr, ptr {text.at(fields, i, 'i64')}") for i in range(FIELDS + slots)
    )
    count = text.do(f"load i64, ptr {text.at(fields, FIELDS + slots, 'i64')}")
    is_odd = text.do(f"icmp ne i64 {odd}, 0")
    before = text.do(f"select i1 {is_odd}, ptr {other}, ptr {even}")
    after = text.do(f"select i1 {is_odd}, ptr {even}, ptr {other}")
    seen = text.on_stack(bits)
    text.put(f"store {bits} zeroinitializer, ptr {seen}")

    def lanes_at(i: Any) -> None:
        values = [
            text.load(text.at(pointer, i, vector), dtype, lanes, lanes)
            for pointer in (before, gradient, *state)
        ]
        is_not_zero = text.do(f"fcmp une {vector} {values[1]}, zeroinitializer")
        known = text.do(f"load {bits}, ptr {seen}")
        text.put(f"store {bits} {text.do(f'or {bits} {known}, {is_not_zero}')}, ptr {seen}")
        for ufunc, operands in update.operations:
            given = [values[x] if x >= 0 else numbers[-1 - x] for x in operands]
            values.append(
                text.intrinsic("sqrt", dtype, lanes, given)
                if ufunc is np.sqrt
                else text.do(f"{INSTRUCTIONS[ufunc]} {vector} {', '.join(given)}")
            )
        for result, pointer in zip(update.results, (after, *state), strict=True):
            text.store(values[result], text.at(pointer, i, vector), dtype, lanes, lanes)

    text.loop(count, lanes_at)
    found = text.do(f"load {bits}, ptr {seen}")
    found = text.do(f"call i1 @llvm.vector.reduce.or.v{lanes}i1({bits} {found})")
    known = text.do(f"load i8, ptr {flag}")
    found = text.do(f"zext i1 {found} to i8")
    text.put(f"store i8 {text.do(f'or i8 {known}, {found}')}, ptr {flag}")


@lru_cache(16)
def _linked(update: Update, dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the function and what holds its code."""
    engine = link(machine_code(Module(write_steps(update, dtype), 0, (), (), ())))
    kinds = [
        ctypes.c_void_p if kind == "ptr" else ctypes.c_int64
        for kind in re.findall(r"(ptr|i64) %", HEAD)
    ]
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address("steps")), engine


class Steps:
    """Takes steps of a training.

    Parameters
    ----------
    rule : callable
        The update; see `Rule`.
    data : sequence of tuple of ndarray
        For each array of the data, all rows and the rows of a minibatch. Each row is in C order.
    leaves : sequence of tuple of ndarray
        For each leaf, the parameters before and after an even step, the gradient, and the
        optimiser's arrays. All have one dtype. Each is followed by memory up to a multiple of 64
        bytes, which is written as well.

    Attributes
    ----------
    seen : ndarray of uint8
        For each leaf, whether its gradient had an entry other than 0 since this was set to 0.
    """

    def __init__(
        self,
        rule: Rule,
        data: Sequence[tuple[Array, Array]],
        leaves: Sequence[tuple[Array, ...]],
    ) -> None:
        self._slots, self._dtype = len(leaves[0]) - 3, leaves[0][0].dtype
        self._call, _ = _linked(recorded(rule, self._slots, self._dtype)[0], self._dtype)
        self.seen = np.zeros(len(leaves), np.uint8)
        self._held = data, leaves
        vector = tile().vector
        tables = [
            [
                [all.ctypes.data, some.ctypes.data, all.strides[0], some[:1].nbytes]
                for all, some in data
            ],
            [
                [
                    *[array.ctypes.data for array in (before, after, gradient)],
                    self.seen[i:].ctypes.data,
                    *[array.ctypes.data for array in slots],
                    -(-before.nbytes // vector),
                ]
                for i, (before, after, gradient, *slots) in enumerate(leaves)
                if before.size
            ],
        ]
        self._tables = [np.array(table, np.int64) for table in tables]
        self._batch = len(data[0][1])

    def take(
        self,
        replay: NativeReplay,
        arrays: Sequence[tuple[Any, ...]],
        rows: Array,
        rules: Sequence[Rule],
        *,
        first: int,
    ) -> list[float]:
        """Take a step for each rule, and return the losses before the steps.

        It stops before a step whose loss, gradient or parameters are not finite, or whose arrays
        the code of the gradient was not made for.

        Parameters
        ----------
        replay : NativeReplay
            The machine code of the gradient.
        arrays : sequence of tuple
            What it takes at even and at odd steps: parameters, minibatch, gradient.
        rows : ndarray of int64
            The rows of all minibatches.
        rules : sequence of callable
            The rule at each step. They differ in numbers alone.
        first : int
            1 if the first step is an odd one, else 0.
        """
        known = {rule: recorded(rule, self._slots, self._dtype)[1] for rule in set(rules)}
        numbers = np.array([known[rule] for rule in rules])
        losses = np.empty(len(rules))
        given = [arrays_of + replay.constants for arrays_of in arrays]
        tuples = np.array([id(one) for one in given])
        rows = np.append(rows, rows[-1:].repeat(AHEAD))
        sized = [part for table in self._tables for part in (table.ctypes.data, len(table))]
        with replay.helped():
            done = self._call(
                *replay.addresses, tuples.ctypes.data, *sized, rows.ctypes.data, self._batch,
                numbers.ctypes.data, losses.ctypes.data, first, len(rules),
            )  # fmt: skip
        found: list[float] = losses[:done].tolist()
        return found
