"""Many steps of a training in one native call: gather, gradient, update.

A step of stochastic gradient descent copies the rows of a minibatch, calls the machine code of the
gradient, and updates the parameters. `write_steps` writes a loop of such steps. It knows neither
the loss nor the shapes: addresses and sizes come in tables, and the gradient is called by its
address. So one function serves all trainings with the same rule and dtype.

The rule is not written twice. The update is a function on arrays, as the trainer uses it; it is run
on `_Lanes`, whose ufuncs become instructions. Each rounds as the ufunc does, so that many steps in
one call give the bits of as many single ones. The numbers in it, such as the learning rate, come in
a table.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from gradlab.gradients.tape.compiled.indexing import UnsupportedError
from gradlab.gradients.tape.compiled.kinds import type_of
from gradlab.gradients.tape.compiled.module import Module
from gradlab.gradients.tape.compiled.native import NativeReplay, link, machine_code, tile
from gradlab.gradients.tape.compiled.operations import instruct
from gradlab.gradients.tape.compiled.text import Text
from gradlab.params import Array

Rule = Callable[..., None]
"""``rule(params, gradient, old, new, out, spare)`` writes the parameters after a step into `out`
and the optimiser's arrays into `new`, by NumPy's ufuncs."""

UFUNCS = (np.add, np.subtract, np.multiply, np.divide, np.sqrt)
"""What a rule may call: each is one instruction, which rounds as it does."""

LEADING_FIELDS = 4
"""Entries of the table of parameters before the optimiser's arrays: the parameters at even steps,
those at odd steps, the gradient, and the flag that it was not zero. The last entry is a count."""

SIGNATURE = (
    "define i64 @steps(ptr %gradient, ptr %memory, ptr %table, ptr %tuples, ptr %arrays, "
    "i64 %arrays_n, ptr %pieces, i64 %pieces_n, ptr %rows, i64 %batch, ptr %numbers, "
    "ptr %losses, i64 %first, i64 %count)"
)
"""The function. It takes code, memory and table of the gradient, and its arrays at even and odd
steps; the tables of the data and of the leaves; the rows of all minibatches, and how many each has;
the numbers and the losses of the steps; 1 if the first step is odd; how many steps to take. It
returns how many it took."""

PREFETCHED_ROWS = 4
"""Rows that are fetched into the cache before they are copied: 5 % of a step of a small network."""


class _Lanes:
    """An array of which only the operations matter: `apply(ufunc, operands)` returns the value."""

    def __init__(self, dtype: np.dtype[Any], apply: Callable[..., str], value: str = "") -> None:
        self.dtype, self.value, self._apply = dtype, value, apply

    def __array_ufunc__(
        self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any
    ) -> Any:
        operands = [getattr(x, "value", x) for x in inputs]
        known = ufunc in UFUNCS and "" not in operands and {*map(type, operands)} <= {str, float}
        if method != "__call__" or len(out) != 1 or options or not known:
            raise UnsupportedError(f"an update that calls {ufunc.__name__} in another way")
        out[0].value = self._apply(ufunc, operands)
        return out[0]


def applied(
    rule: Rule, dtype: np.dtype[Any], given: Sequence[str], apply: Callable[..., str]
) -> list[str]:
    """Return the new parameters and the optimiser's new arrays, by the operations of a rule.

    `given` has the values of the parameters, of the gradient, and of the optimiser's arrays, and
    ``apply(ufunc, operands)`` returns the value of an operation on values and numbers. Raise an
    UnsupportedError if the rule has an operation that is not known here.

    Examples
    --------
    >>> def descend(p, g, old, new, out, spare):
    ...     np.multiply(g, -0.5, out=spare)
    ...     np.add(p, spare, out=out)
    >>> applied(descend, np.dtype(float), "pg", lambda f, x: f"({x[0]} {f.__name__} {x[1]})")
    ['(p add (g multiply -0.5))']
    """
    p, g, *old = (_Lanes(dtype, apply, value) for value in given)
    out, spare, *new = (_Lanes(dtype, apply) for _ in given)
    rule(p, g, old, new, out, spare)
    results = [array.value for array in (out, *new)]
    if "" in results:
        raise UnsupportedError("an update that leaves an array as it was")
    return results


@dataclass(frozen=True)
class Update:
    """A rule, equal to another with the same operations in the same order."""

    operations: tuple[str, ...]
    dtype: np.dtype[Any]  # of all arrays
    slots: int  # the number of the optimiser's arrays
    rule: Rule = field(compare=False)


def recorded(rule: Rule, dtype: np.dtype[Any], slots: int) -> tuple[Update, list[float]]:
    """Return what a rule does, and the numbers in it, such as the learning rate, in their order."""
    numbers: list[float] = []
    operations: list[str] = []

    def apply(ufunc: Any, operands: Sequence[Any]) -> str:
        numbers.extend(x for x in operands if type(x) is float)
        named = ["a number" if type(x) is float else x for x in operands]
        operations.append(f"{ufunc.__name__} {named}")
        return str(len(operations))

    results = applied(rule, dtype, [f"array {i}" for i in range(2 + slots)], apply)
    return Update((*operations, *results), dtype, slots, rule), numbers


def write_steps(update: Update) -> str:
    """Write the loop of steps."""
    text, dtype, slots = Text({}), update.dtype, update.slots
    count = len(recorded(update.rule, dtype, slots)[1])
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
        numbers = _numbers(text, s, count, dtype, lanes)

        def updated(given: Sequence[str]) -> list[str]:
            left = iter(numbers)

            def apply(ufunc: Any, operands: Sequence[Any]) -> str:
                names = [next(left) if type(x) is float else x for x in operands]
                return instruct(text, ufunc, dtype, dtype, lanes, names)

            return applied(update.rule, dtype, given, apply)

        text.loop("%pieces_n", lambda p: _update(text, updated, dtype, lanes, slots, odd, p))

    text.loop("%count", step)
    return text.function(SIGNATURE, "ret i64 %count")


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
        later = start_of(text.add(i, PREFETCHED_ROWS))

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
    updated: Callable[[Sequence[str]], list[str]],
    dtype: np.dtype[Any],
    lanes: int,
    slots: int,
    odd: str,
    piece: Any,
) -> None:
    """Update one leaf, vector by vector, and note whether its gradient has entries other than 0."""
    vector, bits = f"<{lanes} x {type_of(dtype)}>", f"<{lanes} x i1>"
    fields = text.at("%pieces", text.mul(piece, LEADING_FIELDS + slots + 1), "i64")
    even, other, gradient, flag, *state = (
        text.do(f"load ptr, ptr {text.at(fields, i, 'i64')}") for i in range(LEADING_FIELDS + slots)
    )
    count = text.do(f"load i64, ptr {text.at(fields, LEADING_FIELDS + slots, 'i64')}")
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
        for result, pointer in zip(updated(values), (after, *state), strict=True):
            text.store(result, text.at(pointer, i, vector), dtype, lanes, lanes)

    text.loop(count, lanes_at)
    found = text.do(f"load {bits}, ptr {seen}")
    found = text.do(f"call i1 @llvm.vector.reduce.or.v{lanes}i1({bits} {found})")
    known = text.do(f"load i8, ptr {flag}")
    found = text.do(f"zext i1 {found} to i8")
    text.put(f"store i8 {text.do(f'or i8 {known}, {found}')}, ptr {flag}")


@lru_cache(16)
def _linked(update: Update) -> tuple[Any, Any]:
    """Return the function and what holds its code."""
    engine = link(machine_code(Module(write_steps(update), 0, (), (), ())))
    kinds = [
        ctypes.c_void_p if kind == "ptr" else ctypes.c_int64
        for kind in re.findall(r"(ptr|i64) %", SIGNATURE)
    ]
    return ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)(engine.get_function_address("steps")), engine


class Steps:
    """Takes steps of a training.

    `data` has for each array all rows and the rows of a minibatch, each row in C order. `leaves`
    has for each leaf the parameters before and after an even step, the gradient, and the
    optimiser's arrays. All have one dtype. Each is followed by memory up to a multiple of 64 bytes,
    which is written as well. `seen` tells for each leaf whether its gradient had an entry other
    than 0 since it was set to 0.
    """

    def __init__(
        self,
        rule: Rule,
        data: Sequence[tuple[Array, Array]],
        leaves: Sequence[tuple[Array, ...]],
    ) -> None:
        self._of = leaves[0][0].dtype, len(leaves[0]) - 3  # dtype, the optimiser's arrays
        update, numbers = recorded(rule, *self._of)
        self._call, _ = _linked(update)
        self._known = {rule: numbers}  # the numbers in the rules of the last call
        self.seen = np.zeros(len(leaves), np.uint8)
        self._held = data, leaves
        of_data = [
            [all.ctypes.data, some.ctypes.data, all.strides[0], some[:1].nbytes]
            for all, some in data
        ]
        of_leaves = [
            [
                *[array.ctypes.data for array in (before, after, gradient, self.seen[i:], *slots)],
                -(-before.nbytes // tile().vector),
            ]
            for i, (before, after, gradient, *slots) in enumerate(leaves)
            if before.size
        ]
        self._tables = [np.array(table, np.int64) for table in (of_data, of_leaves)]
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
        the code of the gradient was not made for. `arrays` has what that takes at even and at odd
        steps: parameters, minibatch, gradient. `rows` has the rows of all minibatches. The rules
        differ in numbers alone. `first` is 1 if the first step is an odd one, else 0.
        """
        self._known = {
            rule: self._known.get(rule) or recorded(rule, *self._of)[1] for rule in {*rules}
        }
        numbers = np.array([self._known[rule] for rule in rules])
        losses = np.empty(len(rules))
        given = [arrays_of + replay.constants for arrays_of in arrays]
        tuples = np.array([id(one) for one in given])
        rows = np.append(rows, rows[-1:].repeat(PREFETCHED_ROWS))
        sized = [part for table in self._tables for part in (table.ctypes.data, len(table))]
        with replay.helped():
            done = self._call(
                *replay.addresses, tuples.ctypes.data, *sized, rows.ctypes.data, self._batch,
                numbers.ctypes.data, losses.ctypes.data, first, len(rules),
            )  # fmt: skip
        found: list[float] = losses[:done].tolist()
        return found
