"""What the backends of other array libraries share: how a loss gets over to them, and back.

A loss in plain NumPy runs on *duck arrays* (`gradlab.arrays.ducks`): NumPy's arrays to the loss,
the library's inside. One that is written for the library itself runs on its *native* arrays. Which
of the two it is, and whether it can be compiled, is tried at the first call of a form, in an order
of `Way`s, and remembered.

With parameters of NumPy, the loss is also evaluated on plain arrays at that call. Where its value
differs from the library's by more than rounding, that is an error: the library has other rules
than NumPy somewhere, and its derivative is of another function.

What already is an array of the library stays one, on its device, and so does its gradient. What a
library does once for all calls of one *form*, such as compiling, is kept by the form: the structure
of the parameters and arguments, and the values of all that is no array.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np

from gradlab.arrays.dispatch import NUMERICAL, is_traced
from gradlab.arrays.ducks import DuckLibrary, Trace, within
from gradlab.arrays.leaks import Watch, release
from gradlab.arrays.places import place_of
from gradlab.arrays.read_only import is_write, read_only, write_refused
from gradlab.arrays.rewriting import following_rewrites
from gradlab.arrays.tracing import run_traced
from gradlab.errors import (
    GradlabError,
    LossError,
    MissingDependencyError,
    OptionError,
    ParameterError,
    StatefulLossWarning,
    UntraceableError,
    UntraceableWarning,
    reason_of,
)
from gradlab.gradients.calls import out_leaves, require_apart
from gradlab.gradients.keywords import positional
from gradlab.gradients.protocol import Loss, finish_gradient, note_origin, real_scalar
from gradlab.params import Array, Structure, as_array, flatten, floating
from gradlab.program.cache_key import Bindings, Surroundings, key_of_argument
from gradlab.program.closure import HigherDerivativeError, UnkeyableError

KEPT = 32
"""Call signatures for which the compiled function is kept; the oldest is dropped first."""

FEW = 2
"""Calls in a row in which the loss may change what it reads before it is not compiled any more."""

CLOSE = 1e4
"""Roundings of its own value, or of its parameters, by which the library's value may differ from
NumPy's: sums and products come in another order."""

ADVICE = "write it in plain NumPy, or for the library alone"

Run: TypeAlias = Callable[[list[Any], list[Any]], tuple[Any, list[Any]]]
"""From leaves and arrays of the library to the loss and the leaves of its gradient."""


def require(package: str, name: str) -> None:
    """Raise an error that names the extra, if a package is not installed."""
    if find_spec(package) is None:
        raise MissingDependencyError(
            f'the backend {package} needs {name}: pip install "gradlab[{package}]"'
        )


def load(package: str, name: str) -> Any:
    """Import a package."""
    require(package, name)
    return import_module(package)


@dataclass(frozen=True)
class Way:
    """How a loss is run.

    Attributes
    ----------
    plain : bool
        Whether it gets duck arrays, and may be plain NumPy; else native arrays.
    compiled : bool
        Whether it is traced once, without numbers; else it runs operation by operation.
    data : bool
        Whether arrays among the arguments are the library's, too; else they stay NumPy's.
    """

    plain: bool
    compiled: bool
    data: bool = True


@dataclass
class Prepared:
    """What is kept for calls of a form.

    Attributes
    ----------
    way : Way
        How the loss is run.
    run : callable
        What computes loss and gradient.
    seen : set
        Shapes for which the value was held to NumPy's.
    bindings : Bindings or None
        What the loss read in the latest call.
    """

    way: Way
    run: Run
    seen: set[Any] = field(default_factory=set)
    bindings: Bindings | None = None


@dataclass(frozen=True)
class Form:
    """What is fixed about a call: everything but the numbers in its arrays.

    Attributes
    ----------
    params, args : Structure
        How the leaves hang together.
    values : tuple
        The leaves of the arguments, None in the place of each array.
    arrays : tuple of int
        Where the arrays are among them.
    """

    params: Structure
    args: Structure
    values: tuple[Any, ...]
    arrays: tuple[int, ...]

    def key(self, others: list[Any]) -> Any:
        """Return what is equal for equal forms, or raise `UnkeyableError`; see `keys`."""
        parts = (self.params.template, self.args.template, self.values, self.arrays)
        return key_of_argument(parts, [], others)

    def arguments(self, leaves: Sequence[Any], arrays: Sequence[Any]) -> tuple[Any, ...]:
        """Return what the loss is called with."""
        values = list(self.values)
        for place, array in zip(self.arrays, arrays, strict=True):
            values[place] = array
        return self.params.unflatten(leaves), *self.args.unflatten(values)


class LibraryGradient:
    """``f(params, *args, out=None) -> (value, grads)``: what these backends return.

    A library defines what is left open below.
    """

    writes_out = True
    surveyed = ("_loss",)
    name: str
    arrays: str
    """What the library calls its arrays."""
    writeable = False
    """Whether native arrays can be written into."""

    def __init__(
        self, loss: Loss, library: DuckLibrary, *, compiles: bool, **settings: Any
    ) -> None:
        self._loss = loss
        self.settings = settings
        self._library = library
        self._compiles = compiles
        # What is compiled has the numbers of all arrays in it.
        self._surroundings = Surroundings(loss, contents=compiles)
        self._changes = 0  # compilations in a row in which the loss changed what it reads
        self._is_warned = False
        self._prepared: OrderedDict[Any, Prepared] = OrderedDict()
        self._latest: Way | None = None
        self.is_pure = True  # as far as is known
        self._here = threading.local()

    # What a library defines

    def is_native(self, value: Any) -> bool:
        """Tell whether a value is an array of the library."""
        return self._library.is_native(value)

    def to_native(self, array: Array, like: Any) -> Any:
        """Return NumPy's array as what `prepare` takes, where `like` is if that is native."""
        raise NotImplementedError

    def to_numpy(self, array: Any) -> Array:
        """Return an array of the library as NumPy's, which may share its memory."""
        raise NotImplementedError

    def to_float(self, array: Any) -> Any:
        """Return integers of the library as floats of its widest type."""
        raise NotImplementedError

    def kind(self, array: Any) -> str:
        """Return the kind of an array's dtype: "b", "i", "f" or "c"."""
        raise NotImplementedError

    def are_finite(self, arrays: list[Any]) -> Any:
        """Return whether all entries of native arrays are finite, as a native truth value."""
        raise NotImplementedError

    def setting(self, native: Any) -> AbstractContextManager[Any]:
        """Return the context of a call: with a native parameter, or None where all are NumPy's."""
        raise NotImplementedError

    def device_of(self, leaves: Sequence[Any]) -> Any:
        """Return the device on which the parameters lie, None for the usual one."""
        return None

    def ways(self, is_native: bool, is_kept: bool) -> list[Way]:
        """Return how to run a loss, in the order of the attempts.

        Parameters
        ----------
        is_native : bool
            Whether a parameter is the library's.
        is_kept : bool
            Whether there are other calls of the form, for which compiling pays.
        """
        raise NotImplementedError

    def prepare(self, form: Form, way: Way) -> Run:
        """Return what computes loss and gradient, for calls of a form."""
        raise NotImplementedError

    def reason(self, error: Exception) -> str | None:
        """Say why a loss cannot run on the library's arrays, if that is what an error means."""
        raise NotImplementedError

    # What all do

    @cached_property
    def named(self) -> LibraryGradient:
        """The same for calls with keyword arguments, which are a dict there; see `keywords`."""
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
                done = map(self._finish, structure.paths, gradients, given)
                return float(value), structure.unflatten(list(done))
            return float(value), self._write(out, gradients, given, structure, arrays)

    def _run(self, call: Call) -> tuple[Any, list[Any]]:
        """Return loss and gradient, in the way that is known to work, or find one."""
        others: list[Any] = []
        form, bindings = self._keys(call.form, others)
        if form is None:
            return self._first(call, is_kept=False)[1]
        # What is not compiled runs the loss itself, on the same objects, whatever it reads.
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
        if len(self._prepared) > KEPT:
            self._prepared.popitem(last=False)
        return result

    def _keys(self, form: Form, others: list[Any]) -> tuple[Any, Bindings | None]:
        """Return keys of a form and of what the loss reads; None for what may change unseen."""
        key = None
        try:
            key = form.key(others)
            return key, None if self._changes >= FEW else self._surroundings.key(others)
        except UnkeyableError as error:
            if self._compiles:
                self._warn(error)
            return key, None
        except HigherDerivativeError as error:
            raise LossError(self._is_nested) from error

    def _note_change(self, place: str) -> None:
        """Compile a loss no more that changes what it reads, time and again."""
        self._changes += 1
        if self._changes >= FEW:
            self._warn(UnkeyableError(f"it changes {place} in each call"))

    def _first(self, call: Call, is_kept: bool) -> tuple[Prepared, tuple[Any, list[Any]]]:
        """Try one way after the other."""
        ways = self.ways(call.native is not None, is_kept)
        if self._latest in ways:
            ways = [self._latest, *[way for way in ways if way != self._latest]]
        failures: list[tuple[Way, Exception]] = []
        for way in ways:
            if not way.plain and any(isinstance(error, UntraceableError) for _, error in failures):
                continue  # a refusal: where a derivative would be lost, it would be so there, too
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
        """Say once that the loss is not compiled."""
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
        """Return the error that tells most of why no way works."""
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
            f"{self.name} cannot trace the loss, which fails on traced arrays alone ({what}; "
            f"{place_of(plain.__traceback__)}): write that line with other functions of NumPy's, "
            f"or use {NUMERICAL}"
        )
        unfit.__cause__ = plain
        return unfit

    def _explained(self, error: Exception) -> Exception:
        """Return an error of the loss with where it came from, or what it means."""
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
        """Run the loss in one way, and look at what it has left behind."""
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
                self._verify(prepared, call, result[0])
            return result
        is_stateful = any(trace.detached for trace in traces)
        watch = Watch(traces)
        del traces
        self.is_pure = self.is_pure and not is_stateful
        if names := watch.replace(self._loss, call.args):
            self._require_cache(call, way, names)
        elif not is_stateful and call.native is None:
            self._verify(prepared, call, result[0])
        return result

    def _require_cache(self, call: Call, way: Way, names: list[str]) -> None:
        """Warn of what the loss keeps, or refuse what it reads again while it is compiled."""
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

    def _verify(self, prepared: Prepared, call: Call, value: Any) -> None:
        """Hold the value to that on plain arrays, at the first call with each shape."""
        shapes = call.shapes()
        if shapes in prepared.seen or len(prepared.seen) > KEPT:
            return
        kinds = [
            self.to_numpy(value).dtype,
            *[k for _, k in shapes if getattr(k, "kind", "") == "f"],
        ]
        dtype = max(kinds, key=lambda kind: np.finfo(kind).eps)  # what is coarsest counts
        outcome = call.on_plain_arrays()
        if isinstance(outcome, (IndexError, ValueError)):
            raise outcome
        if not isinstance(outcome, Exception) and not _is_close(outcome, float(value), dtype):
            self._judge(prepared.way, call, float(outcome), float(value), dtype)
        prepared.seen.add(shapes)

    def _judge(self, way: Way, call: Call, wanted: float, value: float, dtype: Any) -> None:
        """Refuse a value that is not NumPy's, unless the loss is random or that inaccurate."""
        again = call.on_plain_arrays()
        if isinstance(again, Exception) or float(again) != wanted:
            if way.compiled:
                raise UntraceableError(
                    f"the loss draws random numbers or keeps state, which {self.name} would "
                    "compile into it for good: draw them outside of it and pass them as "
                    'arguments, or use backend="autograd"'
                )
            self.is_pure = False
            return
        spread = max(abs(near - wanted) for near in call.nearby(dtype))
        if not abs(value - wanted) <= CLOSE * spread:
            raise LossError(
                f"the loss is {value!r} on {self.arrays} and {wanted!r} on NumPy's: a function "
                f'that it calls differs in {self.name}; use backend="autograd" or {NUMERICAL}'
            )

    # The loss

    def call(self, form: Form, way: Way, leaves: Sequence[Any], arrays: Sequence[Any]) -> Any:
        """Call the loss on the library's arrays; return a native scalar, or a NumPy one."""
        if not way.plain:
            value = self._loss(*form.arguments(leaves, arrays))
        else:
            trace = Trace(known=not way.compiled, device=self.device_of(leaves))
            self._here.traces.append(trace)
            with within(trace):
                duck = self._library.duck
                traced = [duck(leaf) for leaf in leaves]
                given = [duck(a) if self.is_native(a) else a for a in arrays]
                for array in (*traced, *filter(is_traced, given)):
                    array._is_argument = True
                params, *args = form.arguments(traced, given)
                value = following_rewrites(lambda: run_traced(self._loss, params, args))
            value = value.native if is_traced(value) else value
        if not self.is_native(value):
            return real_scalar(value)
        shape = tuple(value.shape)
        if np.prod(shape) != 1:
            raise LossError(
                f"the loss returned an array of shape {shape}; "
                "return one number (for example the mean)"
            )
        value = value.reshape(())
        kind = self.kind(value)
        if kind == "c":
            raise LossError(
                f"the loss returned a complex number ({value.dtype}); return a real one"
            )
        if kind == "b":
            raise LossError("the loss returned a truth value; return one real number")
        return value if kind == "f" else self.to_float(value)

    @property
    def _is_nested(self) -> str:
        return (
            f"{self.name}: its gradient is being differentiated by another backend; "
            'use backend="autograd" for the inner gradient, too'
        )

    def _as_leaf(self, value: Any, path: str) -> Any:
        if is_traced(value):
            raise LossError(self._is_nested)
        if not self.is_native(value):
            return as_array(value, path)
        kind = self.kind(value)
        if kind not in "fi":
            what = "complex" if kind == "c" else str(value.dtype)
            raise ParameterError(f"{path} is {what}; parameters are arrays of real numbers")
        return value

    def _is_array(self, value: Any) -> bool:
        if is_traced(value):
            raise LossError(self._is_nested)
        if isinstance(value, np.ma.MaskedArray):
            return False  # what it is would be lost
        numpys = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc"
        return numpys or self.is_native(value)

    def over(self, array: Any, like: Any) -> Any:
        """Return an array as the library's."""
        return array if self.is_native(array) else self.to_native(np.asarray(array), like)

    def leaf_over(self, leaf: Any, like: Any) -> Any:
        """Return a leaf as the library's, in floating point."""
        if not self.is_native(leaf):
            return self.to_native(floating(leaf), like)
        return leaf if self.kind(leaf) == "f" else self.to_float(leaf)

    def _require_finite(
        self, paths: Sequence[str], given: Sequence[Any], value: Any, gradients: Sequence[Any]
    ) -> None:
        """Raise an error that names what is not finite, with one look at the library's arrays."""
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

    def _finish(self, path: str, gradient: Any, leaf: Any) -> Any:
        """Return one leaf's gradient where the leaf is, and in its dtype."""
        if self.is_native(leaf):
            return gradient
        return finish_gradient(path, self.to_numpy(gradient), leaf)

    def _write(
        self,
        out: Any,
        gradients: Sequence[Any],
        given: Sequence[Any],
        structure: Structure,
        arrays: Sequence[Any],
    ) -> Any:
        """Write the gradient into arrays of the caller's."""
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


@dataclass(frozen=True)
class Call:
    """One call: its form, and the numbers in it.

    Attributes
    ----------
    owner : LibraryGradient
        Who is called.
    form : Form
        What is fixed about it.
    params, arguments : Structure
        How its leaves hang together, numbers being numbers.
    leaves, values : list
        The parameters; the leaves of the arguments.
    native : array, optional
        A parameter that is the library's.
    """

    owner: LibraryGradient
    form: Form
    params: Structure
    arguments: Structure
    leaves: list[Any]
    values: list[Any]
    native: Any

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments beside the parameters, as they were given."""
        args: tuple[Any, ...] = self.arguments.unflatten(self.values)
        return args

    def inputs(self, way: Way) -> tuple[list[Any], list[Any]]:
        """Return parameters and arrays as a loss that runs in this way gets them."""
        arrays, leaves = [self.values[i] for i in self.form.arrays], self.leaves
        if not way.plain and self.owner.writeable:  # nothing keeps the loss from writing there
            arrays, leaves = [*map(_copy, arrays)], [*map(_copy, leaves)]
        if way.data:
            arrays = [self.owner.over(array, self.native) for array in arrays]
        return [self.owner.leaf_over(leaf, self.native) for leaf in leaves], arrays

    def shapes(self) -> Any:
        """Return the shapes and dtypes of all arrays, as a key."""
        arrays = [*self.leaves, *[self.values[i] for i in self.form.arrays]]
        return tuple([(np.shape(array), array.dtype) for array in arrays])

    def on_plain_arrays(
        self, leaves: Sequence[Any] | None = None, *, protected: bool = False
    ) -> Any:
        """Return the loss on copies that are NumPy's, or the exception that it raises.

        With `protected`, the loss may not write into its arguments.
        """
        copies = [np.array(floating(x)) for x in (self.leaves if leaves is None else leaves)]
        values = [
            _copy(value) if i in self.form.arrays else value for i, value in enumerate(self.values)
        ]
        values = read_only(values) if protected else values
        state = np.random.get_state()  # noqa: NPY002  the loss may draw from it
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return real_scalar(
                    self.owner._loss(
                        self.params.unflatten(copies), *self.arguments.unflatten(values)
                    )
                )
        except Exception as error:
            return error
        finally:
            np.random.set_state(state)  # noqa: NPY002

    def agrees_with_itself(self) -> bool:
        """Tell whether two evaluations on plain arrays are equal, and finite."""
        first, second = self.on_plain_arrays(), self.on_plain_arrays()
        return not isinstance(first, Exception) and bool(first == second)

    def nearby(self, dtype: Any) -> list[float]:
        """Return losses at parameters that are off by a rounding: how far off its value may be."""
        step = 4 * float(np.finfo(dtype).eps)
        rng = np.random.default_rng(0)
        found = []
        for _ in range(4):
            leaves = [
                floating(leaf) * (1 + step * rng.choice([-1, 1], np.shape(leaf)))
                for leaf in self.leaves
            ]
            outcome = self.on_plain_arrays(leaves)
            found.append(np.inf if isinstance(outcome, Exception) else float(outcome))
        return found


def _copy(value: Any) -> Any:
    """Return a copy of an array, of its own class; a number as it is."""
    copy = getattr(value, "clone", None) or getattr(value, "copy", None)
    return value if copy is None or isinstance(value, np.generic) else copy()


def _is_close(wanted: Any, value: float, dtype: Any) -> bool:
    """Tell whether two values agree but for rounding, without asking how much there may be."""
    eps = max(float(np.finfo(dtype).eps), float(np.finfo(np.asarray(wanted, float).dtype).eps))
    return bool(abs(float(wanted) - value) <= CLOSE / 100 * eps * abs(float(wanted)))
