"""Loss and gradient by a library: find a way that works, and return the gradient."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from gradlab.arrays.dispatch import NUMERICAL_BACKEND
from gradlab.arrays.ducks import DuckLibrary
from gradlab.arrays.leaks import Watch, release
from gradlab.arrays.places import place_of
from gradlab.arrays.read_only import is_write, write_refused
from gradlab.errors import (
    GradlabError,
    LossError,
    NonFiniteError,
    OptionError,
    StatefulLossWarning,
    UntraceableError,
    UntraceableWarning,
    reason_of,
)
from gradlab.gradients.array_libraries.call import Call
from gradlab.gradients.array_libraries.forms import MAX_COMPILED_FORMS, Form, Prepared, Way
from gradlab.gradients.array_libraries.library import LibraryLoss
from gradlab.gradients.array_libraries.verifying import verify
from gradlab.gradients.calls import out_leaves, require_apart
from gradlab.gradients.keywords import positional
from gradlab.gradients.left_out import finish_with_forward_mode
from gradlab.gradients.protocol import Loss, finish_gradient, note_origin, real_scalar
from gradlab.params import Structure, as_array, flatten, floating
from gradlab.program.cache_key import Bindings, Surroundings
from gradlab.program.closure import HigherDerivativeError, UnkeyableError

MAX_SUCCESSIVE_CHANGES = 2
"""Number of successive calls in which the loss changes what it reads, after which it is no longer
compiled."""


class LibraryGradient(LibraryLoss):
    """``f(params, *args, out=None) -> (value, grads)``, as these backends return it."""

    writes_out = True
    surveyed = ("_loss",)

    def __init__(
        self, loss: Loss, library: DuckLibrary, *, compiles: bool, **settings: Any
    ) -> None:
        super().__init__(loss, library)
        self.settings = settings
        self._compiles = compiles
        # Compiled code contains the numbers of all arrays that the loss closes over.
        self._surroundings = Surroundings(loss, contents=compiles)
        self._changes = 0  # compilations in a row in which the loss changed what it reads
        self._is_warned = False
        self._prepared: OrderedDict[Any, Prepared] = OrderedDict()
        self._latest: Way | None = None
        self.is_pure = True  # as far as is known

    @cached_property
    def named(self) -> LibraryGradient:
        """The same for keyword arguments, which become one more argument; see `keywords`."""
        return type(self)(positional(self._loss), **self.settings)

    def __call__(
        self, params: Any, *args: Any, out: Any = None, **keywords: Any
    ) -> tuple[float, Any]:
        """Return the loss and its gradient; see `Backend`."""
        if keywords:
            return self.named(params, *args, keywords, out=out)
        given, structure = flatten(params, self._as_leaf)
        values, held = flatten(args, lambda value, path: value)
        places = [i for i, value in enumerate(values) if self._is_array(value)]
        form = Form(
            replace(structure, scalars=frozenset()),
            replace(held, scalars=frozenset()),
            tuple(None if i in places else value for i, value in enumerate(values)),
            tuple(places),
        )
        arrays = [values[i] for i in places]
        native = next((leaf for leaf in given if self.is_native(leaf)), None)
        with self.setting(native):
            call = Call(self, form, structure, held, given, values, native)
            value, gradients = self._run(call)
            self._require_finite(structure.paths, given, value, gradients)
            if out is None:
                return float(value), structure.unflatten(self._finished(call, gradients))
            return float(value), self._write(out, gradients, given, structure, arrays)

    def _run(self, call: Call) -> tuple[Any, list[Any]]:
        """Return loss and gradient by the stored way; find one at the first call of a form."""
        others: list[Any] = []
        form, bindings = self._keys(call.form, others)
        if form is None:
            return self._first(call, is_kept=False)[1]
        # Without compilation the loss itself runs, so its key does not need what the loss reads.
        fast = form, call.native is not None, bindings
        slow = form, call.native is not None, *map(id, others)
        prepared = self._prepared.get(fast) or self._prepared.get(slow)
        self._here.bindings = bindings
        if prepared is None:
            prepared, result = self._first(call, is_kept=self._compiles and bindings is not None)
            self._latest = prepared.way
        else:
            if prepared.bindings != bindings:
                prepared.seen.clear()
            result = self._evaluate(prepared, call)
        after = self._keys(call.form, [])[1]
        if prepared.way.compiled and bindings is not None and bindings != after:
            self._note_change(bindings.difference(after) if after else "what it reads")
            return result
        prepared.bindings = after
        self._prepared[fast if prepared.way.compiled else slow] = prepared
        if len(self._prepared) > MAX_COMPILED_FORMS:
            self._prepared.popitem(last=False)
        return result

    def _keys(self, form: Form, others: list[Any]) -> tuple[Any, Bindings | None]:
        """Return keys of a form and of what the loss reads; None if changes cannot be detected."""
        key = None
        try:
            key = form.key(others)
            return key, None if self._changes >= MAX_SUCCESSIVE_CHANGES else self._surroundings.key(
                others
            )
        except UnkeyableError as error:
            if self._compiles:
                self._warn(error)
            return key, None
        except HigherDerivativeError as error:
            raise LossError(self._is_nested) from error

    def _note_change(self, place: str) -> None:
        """Count calls in which the loss changes what it reads; stop compiling after a few."""
        self._changes += 1
        if self._changes >= MAX_SUCCESSIVE_CHANGES:
            self._warn(UnkeyableError(f"it changes {place} in each call"))

    def _first(self, call: Call, is_kept: bool) -> tuple[Prepared, tuple[Any, list[Any]]]:
        """Try the ways in order; return the first that works, and its result."""
        ways = self.ways(call.native is not None, is_kept)
        if self._latest in ways:
            ways = [self._latest, *[way for way in ways if way != self._latest]]
        failures: list[tuple[Way, Exception]] = []
        for way in ways:
            if not way.plain and any(isinstance(error, UntraceableError) for _, error in failures):
                continue  # the derivative that was refused there would also be lost here
            prepared = Prepared(way, self.prepare(call.form, way))
            try:
                result = self._evaluate(prepared, call)
                if is_kept and ways[0].compiled and not way.compiled:
                    self._warn(failures[0][1])
                return prepared, result
            except UntraceableError as error:
                failures.append((way, error))
            except GradlabError:
                raise
            except Exception as error:
                failures.append((way, error))
        raise self._failure(call, failures)

    def _warn(self, why: Exception) -> None:
        """Warn once that the loss is not compiled."""
        if self._is_warned:
            return
        self._is_warned = True
        warnings.warn(
            f"{self.name} cannot compile the loss, and runs it operation by operation, which is "
            f"slow: {reason_of(why)}",
            UntraceableWarning,
            stacklevel=5,
        )

    def _failure(self, call: Call, failures: list[tuple[Way, Exception]]) -> Exception:
        """Return the most helpful error if no way works."""
        by_way = dict(failures)
        plain = next((error for way, error in failures if way.plain), None)
        native = by_way.get(next((way for way in by_way if not way.plain), failures[0][0]))
        if call.native is not None:
            return self._explained(native or failures[0][1])
        outcome = call.on_plain_arrays()
        if isinstance(outcome, Exception):
            is_of_numpy = native is None or self.reason(native) is not None
            if not is_of_numpy and isinstance(outcome, (TypeError, AttributeError)):
                return self._explained(native or outcome)
            note_origin(outcome, f"the loss ({place_of(outcome.__traceback__)})")
            return outcome
        if plain is None or isinstance(plain, GradlabError):
            return plain or self._explained(failures[0][1])
        what = f"{type(plain).__name__}: {reason_of(plain)}"
        unfit = UntraceableError(
            f"{self.name} cannot trace the loss, which fails only on traced arrays ({what}; "
            f"{place_of(plain.__traceback__)}): write that line with other functions of NumPy's, "
            f"or use {NUMERICAL_BACKEND}"
        )
        unfit.__cause__ = plain
        return unfit

    def _explained(self, error: Exception) -> Exception:
        """Return an error of the loss with its origin, or with its meaning."""
        if isinstance(error, GradlabError):
            return error
        if (reason := self.reason(error)) is not None:
            unfit = LossError(
                f"{self.name} cannot run the loss: {reason} ({place_of(error.__traceback__)})"
            )
            note_origin(unfit, f"the loss on {self.arrays}")
            unfit.__cause__ = error
            return unfit
        note_origin(error, f"the loss on {self.arrays} ({place_of(error.__traceback__)})")
        return error

    def _evaluate(self, prepared: Prepared, call: Call) -> tuple[Any, list[Any]]:
        """Run the loss in one way, verify its value, and replace traced values that it keeps."""
        way, here = prepared.way, self._here
        here.traces = []
        try:
            result = prepared.run(*call.inputs(way))
        except Exception as error:
            if way.plain and here.traces:
                list(release(self._loss, call.args))
            is_of_numpy = call.native is None and is_write(error)
            if is_of_numpy and is_write(call.on_plain_arrays(protected=True)):
                raise write_refused(place_of(error.__traceback__)) from error
            if isinstance(error, GradlabError):
                error.__notes__ = []  # of JAX, on frames that it hides
                raise
            if prepared.seen:
                raise self._explained(error) from error.__cause__
            raise
        traces, here.traces = here.traces, []
        if not traces:
            if call.native is None and not prepared.seen:
                self.is_pure &= verify(prepared, call, result[0])
            return result
        is_stateful = any(trace.detached for trace in traces)
        watch = Watch(traces)
        del traces
        self.is_pure = self.is_pure and not is_stateful
        if names := watch.replace(self._loss, call.args):
            self._require_cache(call, way, names)
        elif not is_stateful and call.native is None:
            self.is_pure &= verify(prepared, call, result[0])
        return result

    def _require_cache(self, call: Call, way: Way, names: list[str]) -> None:
        """Warn of values that the loss keeps; refuse if compiled code would have to read them."""
        where, self.is_pure = ", ".join(names), False
        if way.compiled and not call.agrees_with_itself():
            raise LossError(
                f"the loss keeps a traced value in {where} and reads it in the next call, which "
                f'{self.name} cannot compile: return it, or use backend="autograd" and keep '
                "gradlab.detach(value) there"
            )
        warnings.warn(
            f"the loss is not pure: it keeps a traced value in {where}, where its plain number is "
            "put now; keep gradlab.detach(value) there",
            StatefulLossWarning,
            stacklevel=6,
        )

    def _require_finite(
        self, paths: Sequence[str], given: Sequence[Any], value: Any, gradients: Sequence[Any]
    ) -> None:
        """Raise an error that names an entry that is not finite; one check covers all arrays."""
        natives = [
            row for row in zip(paths, given, gradients, strict=True) if self.is_native(row[1])
        ]
        arrays = [array for _, *pair in natives for array in pair]
        fine = not arrays or bool(self.are_finite(arrays))
        if not fine:
            for path, leaf, _ in natives:
                as_array(self.to_numpy(leaf), path)
        real_scalar(float(value))
        if not fine:
            for path, leaf, gradient in natives:
                finish_gradient(path, self.to_numpy(gradient), self.to_numpy(leaf))

    def _finished(self, call: Call, gradients: Sequence[Any]) -> list[Any]:
        """Return the gradient's leaves on the devices and in the dtypes of the parameters."""
        structure, leaves = call.params, call.leaves
        try:
            return [
                gradient
                if self.is_native(leaf)
                else finish_gradient(path, self.to_numpy(gradient), leaf)
                for path, gradient, leaf in zip(structure.paths, gradients, leaves, strict=True)
            ]
        except NonFiniteError:
            if call.native is not None:
                raise
            found = list(map(self.to_numpy, gradients))
            return finish_with_forward_mode(self._loss, leaves, structure, call.args, found)

    def _write(
        self,
        out: Any,
        gradients: Sequence[Any],
        given: Sequence[Any],
        structure: Structure,
        arrays: Sequence[Any],
    ) -> Any:
        """Write the gradient into the caller's arrays."""
        if any(map(self.is_native, given)):
            raise OptionError(f"out= takes the gradient of NumPy's arrays, not of {self.arrays}")
        leaves = [floating(leaf) for leaf in given]
        targets = out_leaves(out, leaves, structure)
        require_apart(targets, [*given, *(a for a in arrays if not self.is_native(a))], structure)
        for path, target, gradient in zip(structure.paths, targets, gradients, strict=True):
            with np.errstate(over="ignore"):
                np.copyto(target, self.to_numpy(gradient), casting="same_kind")
            if not np.isfinite(target).all():
                finish_gradient(path, self.to_numpy(gradient), target)  # raises
        return out
