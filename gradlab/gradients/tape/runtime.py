"""Record a loss at its first call, and replay the recording at later calls.

The operations of a loss may depend on the structure of its parameters and arguments, on the shapes
and dtypes of the arrays among them, on the values of everything else, and on other values that it
reads. Together, these are the *key* of a recording (`program.cache_key`). Only the numbers in the
arrays may differ between replays of a recording.

Eager autograd is the reference. It first evaluates a loss, on plain arrays. Then the loss is
recorded, and a recording that gives another result is dropped. The first two replays of a
recording, the first replay at other parameters, the first at other data, and one in `verify`
later are compared with eager autograd. It also evaluates a call whose replay fails or
gives a value that is not finite, and all calls of a loss that cannot be recorded.

The replay's result is returned from the first call on, so that the same arguments give the same
bits. Eager autograd's result is returned only if there is no valid replay.
"""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from gradlab.arrays.leaks import detachments
from gradlab.errors import OptionError, UntraceableError, UntraceableWarning
from gradlab.gradients.autograd import Autograd, evaluate
from gradlab.gradients.calls import out_leaves
from gradlab.gradients.keywords import positional
from gradlab.gradients.protocol import Loss, finish_gradients, real_scalar
from gradlab.gradients.tape.codegen import ReplayError
from gradlab.gradients.tape.comparing import (
    DataSnapshot,
    agree,
    are_finite,
    seen_params,
    squared_norm,
)
from gradlab.gradients.tape.direct import DirectCalls
from gradlab.gradients.tape.recorded import CacheInfo, Replayable
from gradlab.gradients.tape.recorder import record_gradient
from gradlab.gradients.tracing import draws_undone
from gradlab.params import Array, flatten, floating
from gradlab.program.cache_key import Surroundings, key_of, key_of_argument
from gradlab.program.closure import NO_HIGHER_DERIVATIVES, HigherDerivativeError, UnkeyableError
from gradlab.program.ir import Program
from gradlab.program.numbers import MAX_RECORDINGS, RECORDINGS_BEFORE_INPUTS, Numbers, kind_of
from gradlab.program.reasons import definition_of, reason_of_state, refusal_of
from gradlab.program.record import RECORDING_LOCK, argument_names

BUFFER_ENTRIES = 2048
"""Size, in entries, of NumPy's buffer for broadcasting large arrays; NumPy's default is 8192.

It is not set for small arrays, which need less."""

MAX_SMALL_BYTES = 32 * 1024
"""Largest size of a small array, in bytes."""

Answer: TypeAlias = tuple[float, Any]
"""The loss and its gradient, in the structure of the parameters."""


class TapedGradient:
    """``f(params, *args, out=None) -> (value, grads)``: the function that `Tape` returns.

    With ``out``, arrays in the structure, shapes and dtypes of the gradient, the gradient is
    written there, and no memory of its size is allocated.

    Attributes
    ----------
    untraceable : str or None
        The reason why the loss runs on eager autograd, if it does.
    """

    writes_out = True
    surveyed = ("_loss",)

    def __init__(self, loss: Loss, settings: Any) -> None:  # those of a `Tape`
        self._loss, self._settings = loss, settings
        self._verify_every, self._compile = settings.verify, settings.compile
        self._eager = Autograd().value_and_grad(loss)
        self._recorded: OrderedDict[Any, Replayable] = OrderedDict()
        self._latest: Replayable | None = None
        self._surroundings = Surroundings(loss, contents=True)
        self._numbers = Numbers()
        self._changes = 0  # recordings in a row in which the loss changed what it reads
        self._counts = {"replays": 0, "recordings": 0, "evictions": 0}
        self._direct: DirectCalls | None = None
        self.untraceable: str | None = None

    def __call__(
        self, params: Any, *args: Any, out: Any = None, **keywords: Any
    ) -> tuple[float, Any]:
        """Return the loss and its gradient; see `Backend`."""
        if keywords:
            return self.named(params, *args, keywords, out=out)
        if self._direct and out is None and (found := self._direct.answer(params, args)):
            self._counts["replays"] += 1
            return found
        if self.untraceable is not None:
            return self._run_eager(params, args, out)
        data = self._numbers.as_data(args) if self._numbers.inputs else args
        leaves: list[Any] = []
        arrays: list[Any] = []
        try:
            key = self._key(params, data, leaves, arrays)
        except HigherDerivativeError:
            return self._run_nested(params, args, out)
        except UnkeyableError as error:
            self._give_up(f"{error}{self._unkeyable_argument(args)} ({definition_of(self._loss)})")
            return self._run_eager(params, args, out)
        tape = self._recorded.get(key)
        if tape is None:
            with RECORDING_LOCK:  # one thread records, the others wait, and replay
                tape = self._recorded.get(key)
                if tape is None:
                    return self._record(params, args, out)
        # As in eager autograd, an overflow becomes 0 later, or leads to an error.
        with np.errstate(over="ignore"):
            if tape.largest > MAX_SMALL_BYTES:
                np.setbufsize(BUFFER_ENTRIES)  # errstate restores it
            return self._replay(tape, leaves, arrays, params, args, out)

    def ahead(self, params: Any, args: tuple[Any, ...]) -> tuple[Replayable, int] | None:
        """Return the recording whose machine code answers such calls, and how many of the next.

        A trainer may make these calls itself, and then tells by `count`. None if there is none.
        """
        if self.untraceable is not None or self._numbers.inputs:
            return None
        try:
            tape = self._recorded.get(self._key(params, args, [], []))
        except UnkeyableError:  # the call itself falls back on eager autograd
            return None
        calls = 0 if tape is None else tape.calls_ahead(self._verify_every)
        return (tape, calls) if tape and calls else None

    def count(self, tape: Replayable, calls: int) -> None:
        """Count calls of a recording's machine code that someone else has made."""
        tape.replays += calls
        self._counts["replays"] += calls

    @cached_property
    def named(self) -> TapedGradient:
        """The function for calls with keyword arguments, passed as a dict; see `keywords`."""
        return TapedGradient(positional(self._loss), self._settings)

    # Properties for users

    @property
    def program(self) -> Program:
        """The program of the latest recording; print it to read it."""
        return self._newest().program

    @property
    def source(self) -> str:
        """The Python code generated from the latest recording."""
        return self._newest().compiled.source

    @property
    def cache_info(self) -> CacheInfo:
        """Numbers of replays, recordings, dropped recordings, and kept ones."""
        return CacheInfo(**self._counts, size=len(self._recorded))

    def explain(self) -> str:
        """Describe what each pass saved, and the buffers of a replay."""
        if self.untraceable:
            return f"runs on eager autograd, because {self.untraceable}"
        return self._newest().explain()

    def __repr__(self) -> str:
        name = getattr(self._loss, "__name__", repr(self._loss))
        return f"<value and gradient of {name} by tape: {self.cache_info}>"

    def _newest(self) -> Replayable:
        if self._latest is None:
            if "named" in vars(self):
                return self.named._newest()
            raise OptionError("nothing is recorded yet: call the function first")
        return self._latest

    # Recording and replaying

    def _key(
        self, params: Any, data: tuple[Any, ...], leaves: list[Any], arrays: list[Any]
    ) -> tuple[Any, ...]:
        """Return the fixed part of a call; append its arrays to the lists."""
        others: list[Any] = []
        return (
            key_of(params, leaves),
            *[key_of_argument(arg, arrays, others) for arg in data],
            self._surroundings.key(others),
        )

    def _unkeyable_argument(self, args: tuple[Any, ...]) -> str:
        """Name the argument that cannot be part of a key."""
        for name, arg in zip(argument_names(self._loss, len(args)), args, strict=True):
            others: list[Any] = []
            try:
                key_of_argument(arg, [], others)
                Surroundings(None).key(others)
            except UnkeyableError:
                return f": {name}"
        return ""

    def _record(self, params: Any, args: tuple[Any, ...], out: Any) -> tuple[float, Any]:
        """Record, and replay for the first time.

        Eager autograd answers first, with plain arrays as data. The recording is a second
        evaluation with traced data; it is kept if its result is the same.
        """
        numbers, inputs = self._numbers, self._numbers.inputs
        others: list[Any] = []
        arguments = [key_of_argument(arg, [], others) for arg in kind_of(args)]
        kind = key_of(params, []), *arguments, *map(id, others)
        recordings = numbers.recorded(args, kind)
        if recordings > RECORDINGS_BEFORE_INPUTS and numbers.refusal is None:
            numbers.inputs = inputs | numbers.differing(kind)
        answer, kept = self._answer(params, args)
        if answer is None:
            return self._run_nested(params, args, out)
        if kept:  # the loss has changed its state, and is not called again
            self._give_up(kept)
            return self._hand_over(answer, out)
        try:
            recorded = self._run_recorder(params, args, answer)
        except HigherDerivativeError:
            return self._run_nested(params, args, out)
        except Exception as error:
            # Copy only the message of the error: its traceback would keep all boxes alive.
            reason = refusal_of(error)
            if numbers.inputs != inputs:
                numbers.inputs, numbers.refusal = inputs, reason
                return self._record(params, args, out)
            self._give_up(reason)
            return self._hand_over(answer, out)
        if recorded is None:
            return self._hand_over(answer, out)
        tape, leaves, arrays = recorded
        if recordings > MAX_RECORDINGS and self._counts["replays"] < self._counts["recordings"]:
            names = argument_names(self._loss, len(args))
            self._give_up(f"{numbers.complaint(kind, names)} ({definition_of(self._loss)})")
            return self._hand_over(answer, out)
        with np.errstate(over="ignore"):  # as at each call
            if tape.largest > MAX_SMALL_BYTES:
                np.setbufsize(BUFFER_ENTRIES)
            return self._replay(tape, leaves, arrays, params, args, out, answer)

    def _answer(self, params: Any, args: tuple[Any, ...]) -> tuple[Answer | None, str]:
        """Return eager autograd's answer, and why the loss must not be called again, if so.

        There is no answer if the gradient itself is being differentiated.
        """
        with detachments() as places:
            value, grads, watch = evaluate(self._loss, params, args)
        if watch is None:
            return None, ""
        kept = watch.replace(self._loss, args)
        return (value, grads), reason_of_state(kept, places)

    def _run_recorder(
        self, params: Any, args: tuple[Any, ...], answer: Answer
    ) -> tuple[Replayable, list[Array], list[Any]] | None:
        """Record, and return the recording and its inputs if its result agrees with `answer`.

        Returns None if the loss changed what it reads.
        """
        data = self._numbers.as_data(args) if self._numbers.inputs else args
        arrays: list[Any] = []
        key = self._key(params, data, [], arrays)
        with draws_undone():
            recording = record_gradient(self._loss, params, data)
        leaves, structure = recording.leaves, recording.structure
        value = float(real_scalar(recording.value))
        gradients = finish_gradients(structure.paths, recording.gradients, leaves)
        if recording.kept:
            raise UntraceableError(recording.kept)
        if not agree(value, gradients, answer[0], flatten(answer[1])[0]):
            what = (
                "its recording differs from it: it depends on something besides its parameters and "
                "arguments, such as random numbers, or on the types of its data, which are traced "
                "while it is recorded"
                if data is args
                else "it treats Python numbers differently from arrays"
            )
            raise UntraceableError(f"{what} ({definition_of(self._loss)})")
        program = recording.program
        del recording, gradients
        if change := key[-1].difference(self._key(params, data, [], [])[-1]):
            self._note_change(change)
            return None
        seen = seen_params(squared_norm(leaves), leaves)
        tape = Replayable(
            program, structure, self._settings.exact, seen, DataSnapshot(arrays), self._compile
        )
        self._latest = self._recorded[key] = tape
        self._changes = 0
        self._counts["recordings"] += 1
        if len(self._recorded) > self._settings.cache:
            self._forget()
        return tape, leaves, arrays

    def _note_change(self, place: str) -> None:
        """Count recordings during which the loss changed what it reads; give up after a few."""
        self._changes += 1
        if self._changes >= RECORDINGS_BEFORE_INPUTS:
            self._give_up(
                f"it changes {place} in each call, which a replay would not "
                f"({definition_of(self._loss)})"
            )

    def _forget(self) -> None:
        """Drop the oldest recording; stop recording if recordings are rarely replayed."""
        self._recorded.popitem(last=False)
        self._counts["evictions"] += 1
        replays, recordings = self._counts["replays"], self._counts["recordings"]
        if recordings > 3 * self._settings.cache and replays < recordings:
            self._give_up(
                f"it was recorded {recordings} times and replayed {replays} times: "
                "a shape, an argument that is not an array, or a variable that the loss closes "
                f"over changes at each call ({definition_of(self._loss)})"
            )

    def _replay(
        self,
        tape: Replayable,
        leaves: list[Array],
        arrays: list[Any],
        params: Any,
        args: tuple[Any, ...],
        out: Any,
        answer: Answer | None = None,
    ) -> tuple[float, Any]:
        """Replay a recording; at the first call, eager autograd has already answered."""
        norm = squared_norm(leaves)
        if not are_finite(leaves, norm):
            return self._run_eager(params, args, out)  # raises the error that names the entry
        leaves = [leaf if leaf.dtype.kind == "f" else floating(leaf) for leaf in leaves]
        if out is None:
            outs = targets = tape.results()
        else:
            targets = tape.targets(out, leaves, arrays)
            outs = [t if t.flags.c_contiguous else np.empty(t.shape, t.dtype) for t in targets]
        try:
            value = tape.run(leaves, arrays, outs)
        except Exception as error:
            # If the loss is at fault, this raises.
            outcome = self._hand_over(answer or self._eager(params, *args), out)
            if isinstance(error, ReplayError):
                self._give_up(f"it branches on its data: {error}")
            else:
                self._give_up(f"a replay failed: {error} ({definition_of(self._loss)})")
            return outcome
        if answer is None:
            self._counts["replays"] += 1
            tape.replays += 1
        if not (math.isfinite(value) and are_finite(outs, squared_norm(outs))):
            return self._hand_over(answer or self._eager(params, *args), out)
        every = self._verify_every
        if answer or tape.has_news(norm, leaves, arrays) or (every and tape.replays % every == 0):
            answer = answer or self._eager(params, *args)
            found = self._verified(tape, value, outs, leaves, arrays, answer)
            if found is None:
                return self._hand_over(answer, out)
            value = found
        if out is None:
            gradient = tape.given(outs)
            if (
                self._compile
                and not self._numbers.inputs
                and DirectCalls.is_for(tape, params, args)
            ):
                self._direct = DirectCalls(tape, self._surroundings, self._verify_every)
            return value, gradient
        for target, source in zip(targets, outs, strict=True):
            if target is not source:
                np.copyto(target, source)
        return value, out

    def _verified(
        self,
        tape: Replayable,
        value: float,
        gradients: list[Array],
        leaves: list[Array],
        arrays: list[Any],
        answer: Answer,
    ) -> float | None:
        """Return the value of a replay if it agrees with eager autograd; otherwise None.

        If only the exact program agrees, the gradients are overwritten with its gradients.
        """
        wanted, expected = answer[0], flatten(answer[1])[0]
        if agree(value, gradients, wanted, expected):
            return value
        if not tape.exact:  # perhaps the function amplifies round-off
            tape.compile(exact=True)
            value = tape.run(leaves, arrays, gradients)
            if agree(value, gradients, wanted, expected):
                return value
        self._give_up(
            "its replay differs from it: it depends on something that is neither a parameter "
            "nor an argument, such as random numbers or an array that was replaced "
            f"({definition_of(self._loss)})"
        )
        return None

    def _run_nested(self, params: Any, args: tuple[Any, ...], out: Any) -> tuple[float, Any]:
        """Use eager autograd for a gradient that is itself being differentiated."""
        if self._settings.on_untraceable == "error" or out is not None:
            raise HigherDerivativeError(NO_HIGHER_DERIVATIVES)
        return self._eager(params, *args)

    def _run_eager(self, params: Any, args: tuple[Any, ...], out: Any) -> tuple[float, Any]:
        return self._hand_over(self._eager(params, *args), out)

    def _hand_over(self, answer: Answer, out: Any) -> tuple[float, Any]:
        """Return an answer, with its gradient in the caller's arrays if given."""
        if out is None:
            return answer
        gradients, structure = flatten(answer[1])
        for target, source in zip(out_leaves(out, gradients, structure), gradients, strict=True):
            np.copyto(target, source)
        return answer[0], out

    def _give_up(self, reason: str) -> None:
        """Use eager autograd for the loss from now on, and warn once."""
        message = f"the tape cannot replay this loss: {reason}"
        if self._settings.on_untraceable == "error":
            raise UntraceableError(message)
        with RECORDING_LOCK:
            is_first = self.untraceable is None
            self.untraceable, self._direct = reason, None
            self._recorded.clear()
        if is_first:
            warnings.warn(
                f"{message}; from now on, eager autograd computes its gradients, right but slower",
                UntraceableWarning,
                stacklevel=4,
            )
